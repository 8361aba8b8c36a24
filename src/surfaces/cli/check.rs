//! `passback check`: prints what the check of the same name finds, step by step, and ends with 1 where something failed.

use std::{
    io::{self, Read as _},
    pin::pin,
};

use clap::Args;
use futures_util::{Stream, StreamExt as _};
use secrecy::{ExposeSecret, SecretString};

use super::{
    answers::Found,
    fault::CliError,
    output::{Look, Screen, Tone, printable},
};
use crate::{
    check::{ColumnsWish, Findings, Mark, OutcomeWish, Remark, Wishes},
    domain::destination::ServiceUrl,
};

/// `passback check`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CheckArgs {
    /// Where platforms fetch our public keys: compares what is there with the configured keys
    #[arg(long, value_name = "URL", value_parser = service_url)]
    pub jwks_url: Option<ServiceUrl>,
    /// Read the columns of a course, by the `lineitems` URL of a launch; may be given several times
    #[arg(long, value_name = "URL", value_parser = service_url)]
    pub lineitems: Vec<ServiceUrl>,
    /// The platform whose token reads them, by its name in `[[platforms]]`; not needed where there is only one. Without
    /// `--lineitems`: try this platform and leave the rest of the configuration alone
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// Try an LTI 1.1 outcome service, by its `lis_outcome_service_url`
    #[arg(long, value_name = "URL", value_parser = service_url, requires = "key")]
    pub outcome_url: Option<ServiceUrl>,
    /// The consumer key to try it with, of `[[lti_keys]]`
    #[arg(long, value_name = "KEY", requires = "outcome_url")]
    pub key: Option<String>,
    /// A `lis_result_sourcedid` of a launch, whose grade is read (and not written); `-` takes it from standard input, so
    /// that neither `ps` nor the shell's history shows it
    #[arg(long, value_name = "ID", requires = "outcome_url")]
    pub sourcedid: Option<SecretString>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  passback check
  passback check --config /etc/passback/passback.toml --json
  passback check --platform moodle
  passback check --jwks-url https://tool.example.edu/.well-known/jwks.json
  passback check --platform moodle --lineitems 'https://lms.example.edu/mod/lti/services.php/2/lineitems?type_id=1'
  passback check --outcome-url https://lms.example.edu/mod/lti/service.php --key learnosity --sourcedid - <sourcedid.txt

It writes no grade, makes no column and no queue, and needs no lock, so it runs beside a worker. Run it as the user that
runs the worker, on the same machine: it tries what the worker would.

Exit codes: 0 all is well (there may be warnings), 1 something failed, 2 wrong usage or configuration.";

fn service_url(text: &str) -> Result<ServiceUrl, String> {
    ServiceUrl::parse(text.trim()).map_err(|error| error.to_string())
}

impl CheckArgs {
    /// What is to be tried beside the configuration. `input` holds the sourcedid where that is `-`.
    ///
    /// # Errors
    ///
    /// Wrong usage where it holds none, or what cannot be one.
    pub fn wishes(&self, input: impl io::Read) -> Result<Wishes, CliError> {
        let columns = (!self.lineitems.is_empty())
            .then(|| ColumnsWish { platform: self.platform.clone(), containers: self.lineitems.clone() });
        let sourcedid = match self.sourcedid.as_ref().map(ExposeSecret::expose_secret) {
            Some("-") => Some(sourcedid_in(input)?),
            given => given.map(str::to_owned),
        };
        let outcome =
            self.outcome_url.clone().zip(self.key.clone()).map(|(url, key)| OutcomeWish { url, key, sourcedid });
        let only = self.platform.clone().filter(|_| self.lineitems.is_empty());
        Ok(Wishes { jwks_url: self.jwks_url.clone(), columns, outcome, only })
    }
}

/// The sourcedid that stands in a file: all of it but the end of its line.
fn sourcedid_in(input: impl io::Read) -> Result<String, CliError> {
    let unusable = |why: &str| CliError::Usage(format!("--sourcedid -: {why}"));
    let mut text = String::new();
    let read = input.take(SOURCEDID_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.map_err(|error| unusable(&format!("standard input cannot be read: {error}")))?;
    if u64::try_from(read).is_ok_and(|read| read > SOURCEDID_BYTES_MAX) {
        return Err(unusable("standard input is longer than any sourcedid"));
    }
    let sourcedid = text.trim_end_matches(['\r', '\n']);
    if sourcedid.is_empty() { Err(unusable("standard input holds no sourcedid")) } else { Ok(sourcedid.to_owned()) }
}

/// As much as an event may have.
const SOURCEDID_BYTES_MAX: u64 = 64 * 1024;

/// Prints remarks as they come, each section at once.
pub async fn run(
    args: &CheckArgs,
    remarks: impl Stream<Item = Vec<Remark>>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let mut remarks = pin!(remarks);
    let mut all = Vec::new();
    while let Some(section) = remarks.next().await {
        if !args.json {
            section.iter().try_for_each(|remark| screen.print(&shown(&Found::from(remark), screen.look)))?;
        }
        all.extend(section);
    }
    let steps: Vec<Found> = all.iter().map(Found::from).collect();
    if args.json {
        screen.json(&document(all)?)?;
    }
    conclude(&steps, args.json, screen)
}

/// Says how it stands as a whole; it fails where a step did.
pub(super) fn conclude(steps: &[Found], is_json: bool, screen: &mut Screen) -> Result<(), CliError> {
    let count = |status: Mark| steps.iter().filter(|step| step.status == status.name()).count();
    match (count(Mark::Failed), count(Mark::Warning)) {
        (0, _) if is_json => Ok(()),
        (0, 0) => screen.line("\nAll is well."),
        (0, 1) => screen.line("\nGrades can flow; one thing is worth a look."),
        (0, warnings) => screen.line(&format!("\nGrades can flow; {warnings} things are worth a look.")),
        (failed, _) => Err(CliError::Failed(format!("{failed} of {} steps failed", steps.len()))),
    }
}

/// A configuration that cannot be used is the only remark.
pub fn unusable(args: &CheckArgs, error: CliError, screen: &mut Screen) -> Result<(), CliError> {
    if args.json {
        let remark = Remark {
            part: "configuration",
            name: None,
            step: "file",
            status: Mark::Failed,
            seen: error.to_string(),
            advice: Some("correct it and check again; nothing else was tried".to_owned()),
        };
        screen.json(&document(vec![remark])?)?;
    }
    Err(error)
}

/// What a program reads.
fn document(checks: Vec<Remark>) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(&Findings::from(checks));
    text.map_err(|error| CliError::Failed(format!("it cannot be written as JSON: {error}")))
}

/// A step on a line, its advice below it; wrapped where a person reads.
pub(super) fn shown(step: &Found, look: Look) -> String {
    let tone = match step.status.as_str() {
        "ok" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Waiting,
    };
    let status = look.paint(tone, &format!("{:<INDENT$}", printable(&step.status)));
    let name = step.name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let place = format!("{}{name}, {}: ", step.part, step.step);
    let room = look.width.map(|width| usize::from(width).saturating_sub(INDENT));
    let told = wrapped(&printable(&format!("{place}{}", step.seen)), room);
    let advice = step.advice.as_ref().map(|advice| wrapped(&format!("→ {}", printable(advice)), room));
    let margin = " ".repeat(INDENT);
    let lines: Vec<String> = told.into_iter().chain(advice.into_iter().flatten()).collect();
    format!("{status}{}\n", lines.join(&format!("\n{margin}")))
}

/// The width of `warning` and a gap.
const INDENT: usize = 9;

/// A text in lines of so many characters; a longer word has a line of its own.
fn wrapped(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else { return vec![text.to_owned()] };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::{Value, json};

    use super::{super::testing, *};

    fn args(json: bool) -> CheckArgs {
        let (jwks_url, lineitems, platform) = (None, Vec::new(), None);
        CheckArgs { jwks_url, lineitems, platform, outcome_url: None, key: None, sourcedid: None, json }
    }

    fn remark(status: Mark, advice: Option<&str>) -> Remark {
        Remark {
            part: "platform",
            name: Some("moodle".to_owned()),
            step: "token",
            status,
            seen: "HTTP 400: \u{1b}[31mno".to_owned(),
            advice: advice.map(str::to_owned),
        }
    }

    async fn printed(json: bool, width: Option<u16>, found: Vec<Remark>) -> (Result<(), CliError>, String) {
        let written = testing::Written::default();
        let look = width.map_or_else(testing::program, testing::person);
        let ended = run(&args(json), stream::iter([Vec::new(), found]), &mut written.screen(look)).await;
        (ended, written.text())
    }

    #[test]
    fn a_sourcedid_is_taken_from_standard_input() {
        let wishes = |given: &str, input: &[u8]| {
            let url = ServiceUrl::parse("https://lms.example.edu/o").expect("a URL");
            let (outcome_url, key, sourcedid) = (Some(url), Some("k".to_owned()), Some(given.into()));
            let wishes = CheckArgs { outcome_url, key, sourcedid, ..args(false) }.wishes(input);
            wishes.map(|wishes| wishes.outcome.and_then(|outcome| outcome.sourcedid).unwrap_or_default())
        };
        assert_eq!(wishes("-", b" {\"data\":1} \r\n").expect("one"), " {\"data\":1} ", "to the letter");
        assert_eq!(wishes("ann", b"bob").expect("one"), "ann", "standard input is not looked at");
        let check = |input: &[u8], why: &str| {
            let error = wishes("-", input).expect_err(why);
            assert!(error.exit_code() == 2 && error.to_string().contains(why), "{error}");
        };
        check(b"\n", "holds no sourcedid");
        check("a".repeat(64 * 1024 + 1).as_bytes(), "longer than any sourcedid");
        check(&[0xff], "cannot be read");
    }

    #[tokio::test]
    async fn remarks_are_lines_with_their_advice_below() {
        let found = vec![remark(Mark::Ok, None), remark(Mark::Failed, Some("compare the client_id there"))];
        let (ended, text) = printed(false, None, found.clone()).await;
        let expected = "\
ok       platform moodle, token: HTTP 400: [31mno
failed   platform moodle, token: HTTP 400: [31mno
         → compare the client_id there
";
        assert_eq!(text, expected);
        let error = ended.expect_err("a step failed");
        assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "1 of 2 steps failed"));
        let (_, narrow) = printed(false, Some(40), found).await;
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        let (ended, text) = printed(false, None, vec![remark(Mark::Warning, Some("look"))]).await;
        assert!(ended.is_ok() && text.ends_with("one thing is worth a look.\n"), "{text}");
    }

    #[tokio::test]
    async fn a_program_reads_a_document() {
        let (ended, text) = printed(true, None, vec![remark(Mark::Failed, Some("look"))]).await;
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((ended.is_err(), &document["ok"]), (true, &json!(false)));
        let expected = json!({
            "part": "platform", "name": "moodle", "step": "token", "status": "failed", "seen": "HTTP 400: \u{1b}[31mno",
            "advice": "look",
        });
        assert_eq!(document["checks"][0], expected);
        let (ended, text) = printed(true, None, vec![remark(Mark::Ok, None)]).await;
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (ended.is_ok(), &document["ok"], &document["checks"][0]["advice"]),
            (true, &json!(true), &Value::Null)
        );
    }
}
