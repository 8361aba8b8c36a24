//! `passback verify JOB`: whether the LMS has the grade of a job as it was sent.

use clap::Args;
use serde::Deserialize;
use serde_json::Number;

use super::{
    client::Payload,
    connect::{AskArgs, FindLocal},
    fault::CliError,
    output::{Look, NOTHING, Screen, Tone, facts, printable},
};
use crate::domain::job::JobId;

/// `passback verify`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct VerifyArgs {
    /// The job's id
    #[arg(value_name = "JOB")]
    pub id: JobId,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

const EXAMPLES: &str = "Examples:
  passback verify 01JD8Y3K5V7Q2W9XZB4N6M8P0R
  passback verify 01JD8Y3K5V7Q2W9XZB4N6M8P0R --json | jq -r .result

The worker reads the grade from the LMS (LTI 1.1 readResult, or AGS results) and changes nothing. The result is same,
different, nothing (the LMS has no grade there) or cannot_be_read. The exit code is 0 for same alone, 1 for the others.
The AGS registration needs the scope result.readonly; a delegated delivery cannot be read back.";

/// What the API answers, read leniently.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Verification {
    result: String,
    sent: Grade,
    there: Option<Grade>,
    detail: Option<String>,
    checked_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Grade {
    operation: Option<String>,
    score: Option<Number>,
    max_score: Option<Number>,
}

/// Carries the command out; it fails where the grade is not known to be there.
pub async fn run(args: &VerifyArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.ask.connect.client(local)?;
    let body = client.post(&["api", "v1", "jobs", &args.id.to_string(), "verify"], Payload::Empty).await?;
    let found: Verification = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if args.ask.json {
        screen.json(&body)?;
    } else {
        screen.print(&render(args.id, &found, screen.look))?;
    }
    match found.result.as_str() {
        "same" => Ok(()),
        "different" => Err(CliError::Failed("the LMS has another grade".to_owned())),
        "nothing" => Err(CliError::Failed("the LMS has no grade there".to_owned())),
        "cannot_be_read" => Err(CliError::Failed("the grade cannot be read back".to_owned())),
        _ => Err(client.strange(&body).into()),
    }
}

fn render(id: JobId, found: &Verification, look: Look) -> String {
    let tone = match found.result.as_str() {
        "same" => Tone::Good,
        "cannot_be_read" => Tone::Waiting,
        _ => Tone::Bad,
    };
    let cleared = found.sent.operation.as_deref() == Some("delete");
    let sent = if cleared { "cleared".to_owned() } else { found.sent.text() };
    let there = found.there.as_ref().map_or_else(|| NOTHING.to_owned(), Grade::text);
    let mut told = vec![("sent", sent), ("there", there)];
    told.extend(found.detail.clone().map(|detail| ("detail", detail)));
    told.extend(found.checked_at.as_deref().map(|at| ("checked", look.full_moment(at))));
    format!("{id}  {}\n\n{}", look.paint(tone, &printable(&found.result)), facts(look, &told))
}

impl Grade {
    fn text(&self) -> String {
        match (&self.score, &self.max_score) {
            (Some(score), Some(maximum)) => format!("{score} / {maximum}"),
            _ => NOTHING.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{self, Api, Seen, Written},
        *,
    };

    const ID: &str = "01JD8Y3K5V7Q2W9XZB4N6M8P0R";

    async fn verify(json: bool, answer: fn(&Seen) -> (u16, String)) -> (Result<(), CliError>, String, Vec<Seen>) {
        let api = Api::start(answer).await;
        let written = Written::default();
        let mut screen = written.screen(testing::program());
        let args = VerifyArgs { id: ID.parse().expect("an id"), ask: AskArgs { json, connect: api.connect() } };
        let result = run(&args, &testing::nowhere, &mut screen).await;
        (result, written.text(), api.seen())
    }

    fn same(_: &Seen) -> (u16, String) {
        let body = r#"{"job":"01JD8Y3K5V7Q2W9XZB4N6M8P0R","result":"same","sent":{"operation":"replace","score":0.8,"max_score":1},"there":{"score":0.80000001,"max_score":1},"reason":null,"detail":"The LMS has it.","checked_at":"2026-11-21T10:29:00.000Z"}"#;
        (200, body.to_owned())
    }

    #[tokio::test]
    async fn the_same_grade_ends_well() {
        let (result, text, seen) = verify(false, same).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(seen[0].line, format!("POST /api/v1/jobs/{ID}/verify"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], format!("{ID}  same"));
        for line in ["0.8 / 1", "0.80000001 / 1", "The LMS has it.", "2026-11-21T10:29:00Z"] {
            assert!(text.contains(line), "{text}");
        }
        let (result, text, _) = verify(true, same).await;
        assert!(result.is_ok() && text.starts_with("{\"job\":"), "{text}");
    }

    #[tokio::test]
    async fn all_else_ends_with_1() {
        fn different(_: &Seen) -> (u16, String) {
            let body = r#"{"result":"different","sent":{"operation":"delete","score":null,"max_score":null},"there":{"score":1,"max_score":2}}"#;
            (200, body.to_owned())
        }
        fn nothing(_: &Seen) -> (u16, String) {
            (200, r#"{"result":"nothing","sent":{"score":8,"max_score":10},"there":null}"#.to_owned())
        }
        fn unread(_: &Seen) -> (u16, String) {
            (200, r#"{"result":"cannot_be_read","detail":"Broken \u001b[31m certificate"}"#.to_owned())
        }
        let check = async |answer: fn(&Seen) -> (u16, String), words: &str, shown: &str| {
            let (result, text, _) = verify(false, answer).await;
            let error = result.expect_err(words);
            assert_eq!(error.exit_code(), 1, "{error}");
            assert!(error.to_string().contains(words) && text.contains(shown), "{error} {text}");
            // The answer stands on the output for a program, too.
            assert_eq!(verify(true, answer).await.1.is_empty(), text.is_empty());
        };
        check(different, "another grade", "1 / 2").await;
        check(nothing, "no grade", "8 / 10").await;
        check(unread, "cannot be read", "Broken [31m certificate").await;
        check(|_| (404, r#"{"detail":"there is no job"}"#.to_owned()), "there is no job", "").await;
        check(|_| (503, r#"{"detail":"ask again"}"#.to_owned()), "ask again", "").await;
        check(|_| (200, "<html>".to_owned()), "no answer of a passback worker", "").await;
    }
}
