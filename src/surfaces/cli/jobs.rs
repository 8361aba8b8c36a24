//! `passback jobs list|show`, and the listing and showing that `failures` shares with it.

use clap::{Args, Subcommand, builder::PossibleValuesParser, value_parser};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    answers::{Job, JobPage},
    client::Client,
    connect::{AskArgs, FindLocal},
    fault::CliError,
    filter::FilterArgs,
    job_page, job_table, names,
    output::{Screen, note, printable},
};
use crate::domain::job::{JobId, StateName};

/// The most jobs that the API gives at once.
const PAGE_MAX: u32 = 1000;
/// The most jobs that one list shows; whoever needs more wants `--cursor`, or an export.
const LIMIT_MAX: i64 = 100_000;

/// `passback jobs …`
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List jobs, newest first
    #[command(after_long_help = LIST_EXAMPLES)]
    List(Box<ListArgs>),
    /// Show one job: who, what, where, its state, and every attempt
    Show(ShowArgs),
}

/// Jobs in every state.
const ANY: &str = "any";

const LIST_EXAMPLES: &str = "Examples:
  passback jobs list
  passback jobs list --state queued --platform moodle
  passback jobs list --since 2h --json | jq -r '.jobs[].id'";

/// `passback jobs list`
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only those in this state; `any`, as without it, means all
    #[arg(long, value_name = "STATE",
        value_parser = PossibleValuesParser::new(StateName::ALL.map(StateName::name).into_iter().chain([ANY])))]
    pub state: Option<String>,
    /// What is listed, and how.
    #[command(flatten)]
    pub listing: ListingArgs,
}

/// What all lists take.
#[derive(Args, Clone, Debug)]
pub struct ListingArgs {
    /// Show at most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = value_parser!(u32).range(1..=LIMIT_MAX))]
    pub limit: u32,
    /// Go on where another list ended, with its `next_cursor`
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Which jobs.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `… show ID`
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    pub id: JobId,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Which columns a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Jobs in any state.
    Jobs,
    /// Flagged jobs.
    Failures,
}

/// Carries the command out.
pub async fn run(command: &Command, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    match command {
        Command::List(args) => {
            let state = args.state.as_deref().filter(|state| *state != ANY);
            list(ListKind::Jobs, state, &args.listing, local, screen).await
        }
        Command::Show(args) => show(args, local, screen).await,
    }
}

/// Lists the jobs of a state, or of all.
pub(super) async fn list(
    kind: ListKind,
    state: Option<&str>,
    args: &ListingArgs,
    local: FindLocal<'_>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let mut query = args.filter.pairs(screen.look.now)?;
    query.extend(state.map(|state| ("state", state.to_owned())));
    let client = args.ask.connect.client(local)?;
    let list = fetch(&client, &query, args).await?;
    let unknown = match &args.filter.platform {
        Some(name) if list.jobs.is_empty() => names::unknown(name, &client).await,
        _ => None,
    };
    if let Some(words) = unknown {
        note(&format!("warning: {words}"));
    }
    if args.ask.json {
        return screen.json(&list.to_json()?);
    }
    let jobs: Result<Vec<Job>, _> = list.jobs.iter().map(|job| serde_json::from_str(job.get())).collect();
    let jobs = jobs.map_err(|_| client.strange("a list of jobs with something else in it"))?;
    if jobs.is_empty() {
        note(if kind == ListKind::Failures { "no flagged jobs" } else { "no jobs" });
        return Ok(());
    }
    screen.print(&job_table::render(kind, &jobs, screen.look))?;
    if let Some(cursor) = list.next_cursor {
        let (shown, cursor) = (jobs.len(), printable(&cursor));
        note(&format!("{shown} shown, there are more: --limit COUNT for more, or --cursor {cursor} to go on"));
    }
    Ok(())
}

/// Shows one job.
pub(super) async fn show(args: &ShowArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.ask.connect.client(local)?;
    let body = client.get(&["api", "v1", "jobs", &args.id.to_string()], &[]).await?;
    if args.ask.json {
        return screen.json(&body);
    }
    let job: Job = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    screen.print(&job_page::render(&job, screen.look))
}

/// Jobs of one page or of several.
struct JobList {
    /// The answer itself, where there is only one.
    whole: Option<String>,
    jobs: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl JobList {
    /// One answer as it came; several joined into one of the same form.
    fn to_json(&self) -> Result<String, CliError> {
        #[derive(Serialize)]
        struct Joined<'a> {
            jobs: &'a [Box<RawValue>],
            next_cursor: Option<&'a str>,
        }
        match &self.whole {
            Some(whole) => Ok(whole.clone()),
            None => serde_json::to_string(&Joined { jobs: &self.jobs, next_cursor: self.next_cursor.as_deref() })
                .map_err(|error| CliError::Failed(format!("the pages cannot be joined: {error}"))),
        }
    }
}

/// Follows the cursors up to the limit.
async fn fetch(client: &Client, query: &[(&str, String)], args: &ListingArgs) -> Result<JobList, CliError> {
    let mut list = JobList { whole: None, jobs: Vec::new(), next_cursor: args.cursor.clone() };
    let mut rest = args.limit;
    loop {
        let mut query = query.to_vec();
        query.push(("limit", rest.min(PAGE_MAX).to_string()));
        query.extend(list.next_cursor.take().map(|cursor| ("cursor", cursor)));
        let body = client.get(&["api", "v1", "jobs"], &query).await?;
        let page: JobPage = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
        let got = u32::try_from(page.jobs.len()).unwrap_or(u32::MAX);
        list.whole = list.jobs.is_empty().then_some(body);
        list.jobs.extend(page.jobs);
        list.next_cursor = page.next_cursor;
        rest = rest.saturating_sub(got);
        // An empty page with a cursor would go round for ever.
        if rest == 0 || got == 0 || list.next_cursor.is_none() {
            return Ok(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{
        super::{
            Cli, Command as Any, failures, stats,
            testing::{self, Api, Seen, Written},
        },
        *,
    };

    /// 2,500 jobs in pages, behind a cursor that is the number of the next.
    fn pages(request: &Seen) -> (u16, String) {
        let (_, query) = request.line.split_once('?').unwrap_or_default();
        let parameter = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.map(|value| value.parse::<usize>().expect("a number"))
        };
        let (from, limit) = (parameter("cursor").unwrap_or(0), parameter("limit").expect("a limit"));
        let to = (from + limit).min(2_500);
        let job = |number: usize| format!(r#"{{"id":"J{number}","state":"flagged","score":1.50}}"#);
        let jobs = (from..to).map(job).collect::<Vec<_>>().join(",");
        let next = if to < 2_500 { format!("\"{to}\"") } else { "null".to_owned() };
        (200, format!("{{\"jobs\": [{jobs}], \"next_cursor\": {next}}}"))
    }

    /// Runs a command line against an API; what it printed, and what it asked.
    async fn run_line(line: &str, answer: fn(&Seen) -> (u16, String)) -> (Result<(), CliError>, String, Vec<Seen>) {
        let api = Api::start(answer).await;
        let given = ["--url", &api.url, "--token", "t"];
        let cli = Cli::try_parse_from(["passback"].into_iter().chain(line.split_whitespace()).chain(given));
        let written = Written::default();
        let mut screen = written.screen(testing::program());
        let result = match cli.expect(line).command {
            Any::Jobs(command) => run(&command, &testing::nowhere, &mut screen).await,
            Any::Failures(command) => failures::run(&command, &testing::nowhere, &mut screen).await,
            Any::Stats(args) => stats::run(&args, &testing::nowhere, &mut screen).await,
            _ => panic!("{line} asks no API"),
        };
        (result, written.text(), api.seen())
    }

    #[tokio::test]
    async fn a_list_follows_the_cursors_up_to_its_limit() {
        let check = async |line: &str, asked: &[&str], shown: usize| {
            let (result, text, seen) = run_line(line, pages).await;
            assert!(result.is_ok(), "{result:?}");
            assert_eq!(text.lines().count(), shown + 1, "{line}");
            let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
            assert_eq!(lines, asked);
        };
        check("jobs list", &["GET /api/v1/jobs?limit=50"], 50).await;
        check("jobs list --state any", &["GET /api/v1/jobs?limit=50"], 50).await;
        check("failures list --limit 3", &["GET /api/v1/jobs?state=flagged&limit=3"], 3).await;
        let three = [
            "GET /api/v1/jobs?limit=1000",
            "GET /api/v1/jobs?limit=1000&cursor=1000",
            "GET /api/v1/jobs?limit=1000&cursor=2000",
        ];
        check("jobs list --limit 9999", &three, 2_500).await;
        check("jobs list --cursor 2499", &["GET /api/v1/jobs?limit=50&cursor=2499"], 1).await;
        let all = "jobs list --state flagged --session s --platform p --reason timeout --since 1h --user u --activity a --delivery lti11";
        let asked = "GET /api/v1/jobs?platform=p&reason=timeout&since=2026-11-21T09%3A30%3A00.000Z&user_id=u&activity_id=a\
                     &session_id=s&delivery=lti11&state=flagged&limit=50";
        check(all, &[asked], 50).await;
    }

    #[tokio::test]
    async fn json_is_what_the_api_answered() {
        let (_, text, _) = run_line("jobs list --json --limit 1", pages).await;
        assert_eq!(
            text,
            "{\"jobs\": [{\"id\":\"J0\",\"state\":\"flagged\",\"score\":1.50}], \"next_cursor\": \"1\"}\n"
        );
        let (_, text, _) = run_line("jobs list --json --limit 1500", pages).await;
        assert_eq!(text.matches("\"score\":1.50").count(), 1_500);
        assert!(text.ends_with("],\"next_cursor\":\"1500\"}\n"), "{}", &text[text.len() - 60..]);
    }

    #[tokio::test]
    async fn single_jobs_are_shown_replayed_and_given_up() {
        fn api(request: &Seen) -> (u16, String) {
            match request.line.as_str() {
                line if line.ends_with("0R") => (200, r#"{"id": "x", "state": "flagged"}"#.to_owned()),
                line if line.ends_with("0R/replay") => (200, r#"{"state": "queued"}"#.to_owned()),
                line if line.ends_with("0R/discard") => (200, r#"{"state": "discarded"}"#.to_owned()),
                _ => (409, r#"{"detail": "the job is delivered already"}"#.to_owned()),
            }
        }
        const GOOD: &str = "01JD8Y3K5V7Q2W9XZB4N6M8P0R";
        const DONE: &str = "01JD8Y3K5V7Q2W9XZB4N6M8P0S";
        let check = async |line: String, printed: &str, failure: &str| {
            let (result, text, _) = run_line(&line, api).await;
            assert_eq!(text, printed.replace("GOOD", GOOD), "{line}");
            assert_eq!(result.err().map(|error| error.to_string()).unwrap_or_default(), failure, "{line}");
        };
        let again = "GOOD: queued again; see `passback jobs show GOOD`\n";
        check(format!("failures replay {GOOD}"), again, "").await;
        check(format!("failures replay {GOOD} --json"), "{\"state\": \"queued\"}\n", "").await;
        check(format!("failures replay {DONE}"), "", "the job is delivered already").await;
        let refused = "1 of 2 jobs were refused, as said above";
        check(format!("failures replay {DONE} {GOOD}"), again, refused).await;
        check(format!("failures discard {GOOD}"), "GOOD: discarded\n", "").await;
        let would = "GOOD: flagged: would be queued again, unless its gradebook cell has a newer grade\n";
        check(format!("failures replay {GOOD} --dry-run"), would, "").await;
        check(format!("jobs show {GOOD} --json"), "{\"id\": \"x\", \"state\": \"flagged\"}\n", "").await;
    }

    #[tokio::test]
    async fn a_replay_of_many_sends_its_filter() {
        fn api(_: &Seen) -> (u16, String) {
            (200, r#"{"matched": 3, "replayed": 2, "superseded": 1}"#.to_owned())
        }
        let check = async |line: &str, body: serde_json::Value| {
            let (result, text, seen) = run_line(line, api).await;
            assert!(result.is_ok() && text.starts_with("3 flagged jobs match: 2 jobs "), "{text}");
            assert_eq!(seen[0].line, "POST /api/v1/replay");
            assert_eq!(seen[0].content_type.as_deref(), Some("application/json"));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&seen[0].body).expect("JSON"), body);
        };
        check("failures replay --all", serde_json::json!({ "filter": {}, "dry_run": false })).await;
        let filter = serde_json::json!({ "platform": "moodle", "until": "2026-11-20T10:30:00.000Z" });
        let body = serde_json::json!({ "filter": filter, "dry_run": true });
        check("failures replay --platform moodle --until 1d --dry-run", body).await;
    }

    #[tokio::test]
    async fn what_is_no_answer_of_a_worker_is_said_so() {
        for line in ["jobs list", "stats", "failures replay --all"] {
            let (result, _, _) = run_line(line, |_| (200, "<html>".to_owned())).await;
            let error = result.expect_err("it is HTML");
            assert!(error.to_string().contains("no answer of a passback worker: <html>"), "{error}");
        }
    }
}
