//! `passback replays [ID]`: changes of many jobs in the background, and how far they are.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    answers::{JobResult, Now, Results, Task, TaskPage},
    audit::words_of,
    client::{Client, ClientError},
    connect::{AskArgs, FindLocal},
    fault::CliError,
    job_table,
    output::{Column, Fit, Look, NOTHING, Rows, Screen, Tone, counted, facts, note, printable, table, thousands},
    progress::{Progress, Unit},
};
use crate::domain::job::JobId;

/// How often a change that goes on is asked about.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long is waited for grades that are queued again, and how long while none of them moves.
const SETTLE_WITHIN: Duration = Duration::from_secs(180);
const STILL_FOR: Duration = Duration::from_secs(15);
/// What a list shows unless told otherwise.
const LIMIT: u32 = 50;
/// How long a worker that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(300);

/// `passback replays`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplaysArgs {
    /// One of them; without it the last ones are listed, newest first
    #[arg(value_name = "ID", value_parser = id_of_a_change)]
    pub id: Option<JobId>,
    /// Wait until it has come to its end, and then until none of its jobs is queued any more: for three minutes at the
    /// most, and no longer than 15 s while none moves. It ends with 1 if some were flagged again by then. A progress bar is
    /// shown on a terminal
    #[arg(long, requires = "id")]
    pub wait: bool,
    /// List its jobs, newest first: what came of each, and where it stands now
    #[arg(long, requires = "id", conflicts_with = "wait")]
    pub jobs: bool,
    /// In a list, show at most so many; 50 unless told otherwise
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Go on where another list ended, with its `next_cursor`
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

fn id_of_a_change(text: &str) -> Result<JobId, &'static str> {
    text.parse().map_err(|_| "is not the id of a change of many: `passback replays` lists them")
}

const EXAMPLES: &str = "Examples:
  passback replays
  passback replays --limit 200
  passback replays 01JD8Y3K5V7Q2W9XZB4N6M8P0R --wait
  passback replays 01JD8Y3K5V7Q2W9XZB4N6M8P0R --jobs --limit 1000 --json

A change that is done has queued its jobs again; `Now` says what has become of them since.";

/// Carries the command out.
pub async fn run(args: &ReplaysArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    if args.id.is_some() && !args.jobs && (args.limit.is_some() || args.cursor.is_some()) {
        let words = "--limit and --cursor are of a list: add --jobs for that of its jobs, or leave the id out";
        return Err(CliError::Usage(words.to_owned()));
    }
    let client = args.ask.connect.client(local)?;
    let Some(id) = args.id else { return list(args, &client, screen).await };
    let id = id.to_string();
    if args.wait {
        // Whether there is such a change, and a worker, is told at once.
        client.get(&["api", "v1", "replays", &id], &[]).await.map_err(no_such_change)?;
        return until_it_ends(&id, args.ask.json, Until::Settled, &client, screen).await;
    }
    if args.jobs {
        return results(&id, args, &client, screen).await;
    }
    let body = client.get(&["api", "v1", "replays", &id], &[]).await.map_err(no_such_change)?;
    show(&body, args.ask.json, &client, screen)
}

/// What the API names by its own calls is named here by the command.
fn no_such_change(error: ClientError) -> CliError {
    match error {
        ClientError::Problem(problem) if problem.status == 404 => CliError::Failed(
            "there is no such change of many; the last 200 are kept: `passback replays` lists them".to_owned(),
        ),
        error => error.into(),
    }
}

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Until the change has come to its end: its jobs are queued again.
    Ended,
    /// And for a while until it is known what has become of them.
    Settled,
}

/// Waits for the end of a change, and says what it came to. Whoever stops waiting does not stop the change.
pub(super) async fn until_it_ends(
    id: &str,
    is_json: bool,
    until: Until,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let progress = Progress::of("working", Unit::Jobs);
    loop {
        let (body, task) = look_and_read(id, client).await?;
        progress.set(task.matched + task.skipped, task.total.unwrap_or_default());
        if task.state != "running" {
            drop(progress);
            let (body, task) = match until {
                Until::Settled if task.state == "done" => until_it_settles(id, (body, task), client).await?,
                _ => (body, task),
            };
            show(&body, is_json, client, screen)?;
            return conclude(&task, until);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no job of a change that is done is queued, or none has moved for a while: what waits for a retry or for a
/// platform may do so for hours.
async fn until_it_settles(id: &str, seen: (String, Task), client: &Client) -> Result<(String, Task), CliError> {
    let _turning = Progress::waiting("its grades go out");
    let queued = |task: &Task| task.now.as_ref().map_or(0, |now| now.queued);
    let (began, mut moved_at, mut seen) = (Instant::now(), Instant::now(), seen);
    while queued(&seen.1) > 0 && began.elapsed() < SETTLE_WITHIN && moved_at.elapsed() < STILL_FOR {
        let asked_at = Instant::now();
        let before = queued(&seen.1);
        seen = look_and_read(id, client).await?;
        if queued(&seen.1) != before {
            moved_at = Instant::now();
        }
        // Each look counts all of its jobs; the worker has other things to do as well.
        tokio::time::sleep(LOOK_EVERY.max(asked_at.elapsed() * 10)).await;
    }
    Ok(seen)
}

/// What a person must not take for the end of it, and what a script must know.
fn conclude(task: &Task, until: Until) -> Result<(), CliError> {
    let id = printable(&task.id);
    if task.state != "done" {
        return Err(CliError::Failed(format!(
            "it was given up: {}",
            printable(task.error.as_deref().unwrap_or_default())
        )));
    }
    let (queued, flagged) = task.now.as_ref().map_or((0, 0), |now| (now.queued, now.flagged));
    if queued > 0 {
        let wait = counted(queued, "job still waits for its", "jobs still wait for their");
        note(&format!("{wait} next try, and may fail again: look later with `passback replays {id}`"));
    }
    if flagged > 0 && until == Until::Settled {
        let jobs = counted(flagged, "job was", "jobs were");
        return Err(CliError::Failed(format!("{jobs} flagged again: see `passback failures list --group`")));
    }
    Ok(())
}

async fn look_and_read(id: &str, client: &Client) -> Result<(String, Task), CliError> {
    let body = look(id, client, PATIENCE).await?;
    let task: Task = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    Ok((body, task))
}

/// How a change that has begun stands. A worker that starts anew is asked again for a while; whatever goes wrong with the
/// asking, the change itself goes on.
async fn look(id: &str, client: &Client, patience: Duration) -> Result<String, CliError> {
    let asked_at = Instant::now();
    loop {
        match client.get(&["api", "v1", "replays", id], &[]).await {
            Ok(body) => return Ok(body),
            Err(error) if error.may_pass() && asked_at.elapsed() < patience => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => {
                let words = "the change goes on in the worker all the same, also over a restart: later, see";
                return Err(CliError::Failed(format!("{error}; {words} `passback replays {}`", printable(id))));
            }
        }
    }
}

async fn list(args: &ReplaysArgs, client: &Client, screen: &mut Screen) -> Result<(), CliError> {
    let body = client.get(&["api", "v1", "replays"], &page_of(args)).await?;
    if args.ask.json {
        return screen.json(&body);
    }
    let TaskPage { replays, next_cursor } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if replays.is_empty() {
        note("no changes of many in the background");
        return Ok(());
    }
    let rows: Vec<_> = replays.iter().map(|task| row(task, screen.look)).collect();
    screen.print(&table(screen.look, &COLUMNS, Rows::Cut, &rows))?;
    more(next_cursor);
    Ok(())
}

/// What part of a list is asked for.
fn page_of(args: &ReplaysArgs) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", args.limit.unwrap_or(LIMIT).to_string())];
    query.extend(args.cursor.clone().map(|cursor| ("cursor", cursor)));
    query
}

fn more(next_cursor: Option<String>) {
    if let Some(cursor) = next_cursor {
        note(&format!("there are more: --limit COUNT for more, or --cursor {} to go on", printable(&cursor)));
    }
}

const COLUMNS: [Column; 8] = [
    Column { heading: "ID", width_min: 0, fit: Fit::Whole },
    Column { heading: "WHAT", width_min: 0, fit: Fit::Whole },
    Column { heading: "STATE", width_min: 0, fit: Fit::Whole },
    Column { heading: "BEGUN", width_min: 70, fit: Fit::Whole },
    Column { heading: "JOBS", width_min: 0, fit: Fit::Number },
    Column { heading: "NOW", width_min: 120, fit: Fit::Words },
    Column { heading: "WHICH", width_min: 100, fit: Fit::Words },
    Column { heading: "WHO", width_min: 110, fit: Fit::Words },
];

fn row(task: &Task, look: Look) -> Vec<(Tone, String)> {
    let jobs = match task.total {
        Some(total) => format!("{}/{}", thousands(task.matched), thousands(total)),
        None => thousands(task.matched),
    };
    let now = task.now.as_ref().and_then(|now| standing(now, &task.action));
    vec![
        (Tone::Plain, task.id.clone()),
        (Tone::Plain, task.action.clone()),
        (tone(&task.state), task.state.clone()),
        (Tone::Plain, look.moment(task.started_at.as_deref())),
        (Tone::Plain, jobs),
        (Tone::Plain, now.unwrap_or_else(|| NOTHING.to_owned())),
        (Tone::Plain, words_of(task.filter.as_ref().unwrap_or(&Value::Null))),
        (Tone::Plain, task.who.clone().unwrap_or_else(|| NOTHING.to_owned())),
    ]
}

/// What came of each job.
async fn results(id: &str, args: &ReplaysArgs, client: &Client, screen: &mut Screen) -> Result<(), CliError> {
    let body = client.get(&["api", "v1", "replays", id, "jobs"], &page_of(args)).await.map_err(no_such_change)?;
    if args.ask.json {
        return screen.json(&body);
    }
    let Results { jobs, next_cursor } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if jobs.is_empty() {
        note("no job of it is known");
        return Ok(());
    }
    screen.print(&table(screen.look, &RESULTS, Rows::Cut, &jobs.iter().map(result_row).collect::<Vec<_>>()))?;
    more(next_cursor);
    Ok(())
}

const RESULTS: [Column; 5] = [
    Column { heading: "ID", width_min: 0, fit: Fit::Whole },
    Column { heading: "RESULT", width_min: 0, fit: Fit::Whole },
    Column { heading: "NOW", width_min: 0, fit: Fit::Whole },
    Column { heading: "PLATFORM", width_min: 70, fit: Fit::Words },
    Column { heading: "REASON", width_min: 90, fit: Fit::Words },
];

fn result_row(result: &JobResult) -> Vec<(Tone, String)> {
    let of = |text: Option<&String>| text.cloned().unwrap_or_else(|| NOTHING.to_owned());
    let job = result.job.as_ref();
    let now = job.map_or(NOTHING, |job| job.state.as_str());
    vec![
        (Tone::Plain, result.id.clone()),
        (Tone::Plain, result.result.clone()),
        (job_table::tone(now), now.to_owned()),
        (Tone::Plain, of(job.and_then(|job| job.platform.as_ref()))),
        (Tone::Plain, of(job.and_then(|job| job.reason.as_ref()))),
    ]
}

fn tone(state: &str) -> Tone {
    match state {
        "done" => Tone::Good,
        "running" => Tone::Waiting,
        _ => Tone::Bad,
    }
}

fn show(body: &str, is_json: bool, client: &Client, screen: &mut Screen) -> Result<(), CliError> {
    if is_json {
        return screen.json(body);
    }
    let task: Task = serde_json::from_str(body).map_err(|_| client.strange(body))?;
    screen.print(&page(&task, screen.look))
}

fn page(task: &Task, look: Look) -> String {
    let heading = format!(
        "{}  {} {}\n\n",
        look.paint(Tone::Quiet, &printable(&task.id)),
        printable(&task.action),
        look.paint(tone(&task.state), &printable(&task.state))
    );
    let optional = [
        ("Which", Some(words_of(task.filter.as_ref().unwrap_or(&Value::Null)))),
        ("Who", task.who.clone()),
        ("Why", task.note.clone()),
        ("Begun", task.started_at.as_deref().map(|at| look.full_moment(at))),
        ("Ended", task.ended_at.as_deref().map(|at| look.full_moment(at))),
        ("At the start", task.total.map(|total| counted(total, "flagged job", "flagged jobs"))),
        ("Changed", Some(changed(task))),
        ("Left alone", Some(task.skipped).filter(|skipped| *skipped > 0).map(thousands)),
        ("Given up", task.error.clone()),
        ("Now", task.now.as_ref().and_then(|now| standing(now, &task.action))),
    ];
    let shown: Vec<_> = optional.into_iter().filter_map(|(label, text)| Some((label, text?))).collect();
    format!("{heading}{}", facts(look, &shown))
}

fn changed(task: &Task) -> String {
    if task.action == "discard" {
        return counted(task.discarded, "job discarded", "jobs discarded");
    }
    let out = counted(task.replayed, "job queued again", "jobs queued again");
    match task.superseded {
        0 => out,
        superseded => format!("{out}, {} superseded (the gradebook cell has a newer grade)", thousands(superseded)),
    }
}

/// Where its jobs stand now: a job that was queued again may be delivered, or flagged once more.
fn standing(now: &Now, action: &str) -> Option<String> {
    let Now { queued, delivered, flagged, superseded, discarded, gone } = *now;
    let flagged_words = if action == "replay" { "flagged again" } else { "flagged" };
    let parts = [
        (delivered, "delivered"),
        (queued, "queued"),
        (flagged, flagged_words),
        (superseded, "superseded"),
        (discarded, "discarded"),
        (gone, "kept no longer"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, words)| format!("{} {words}", thousands(*count))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{
        super::{
            Cli, Command,
            testing::{self, Api, nowhere},
        },
        *,
    };

    #[tokio::test]
    async fn a_worker_that_starts_anew_is_asked_again_and_the_change_goes_on() {
        let asked = AtomicUsize::new(0);
        let api = Api::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => (503, r#"{"title": "Service Unavailable", "detail": "the store takes no writes"}"#.to_owned()),
            1 => (502, "<html>bad gateway</html>".to_owned()),
            2 => (200, "{}".to_owned()),
            _ => (503, r#"{"title": "Service Unavailable"}"#.to_owned()),
        })
        .await;
        let client = api.connect().client(&nowhere).expect("a client");
        assert_eq!(look("01JD", &client, Duration::from_secs(60)).await.expect("an answer"), "{}");
        assert_eq!(api.seen().len(), 3);
        let error = look("01JD", &client, Duration::ZERO).await.expect_err("nobody waits for ever").to_string();
        assert!(error.contains("goes on") && error.contains("`passback replays 01JD`"), "{error}");
        let api = Api::start(|_| (404, r#"{"title": "Not Found", "detail": "no such change"}"#.to_owned())).await;
        let client = api.connect().client(&nowhere).expect("a client");
        look("01JD", &client, Duration::from_secs(60)).await.expect_err("it is not there");
        assert_eq!(api.seen().len(), 1);
    }

    #[test]
    fn a_change_that_is_done_tells_what_became_of_its_jobs() {
        let check = |action: &str, now: &str, words: Option<&str>| {
            let task = format!(r#"{{"id": "01JD", "action": "{action}", "state": "done", "now": {now}}}"#);
            let shown = page(&serde_json::from_str(&task).expect("a task"), testing::program());
            let line = shown.lines().find_map(|line| line.trim_start().strip_prefix("Now "));
            assert_eq!(line.map(str::trim), words, "{shown}");
        };
        let now = r#"{"queued": 150, "delivered": 4800, "flagged": 50, "superseded": 0, "discarded": 0, "gone": 0}"#;
        check("replay", now, Some("4,800 delivered, 150 queued, 50 flagged again"));
        check("discard", r#"{"discarded": 3, "gone": 1}"#, Some("3 discarded, 1 kept no longer"));
        check("replay", "null", None);
        check("replay", "{}", None);
    }

    #[tokio::test]
    async fn whoever_waits_sees_what_became_of_the_jobs_and_not_that_they_are_queued() {
        let answer = |now: &str| format!(r#"{{"id": "01JD", "action": "replay", "state": "done", "now": {now}}}"#);
        let check = async |until, then: &str, failure: Option<&str>, looks: usize| {
            let (asked, then) = (AtomicUsize::new(0), answer(then));
            let api = Api::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => (200, answer(r#"{"queued": 2}"#)),
                _ => (200, then.clone()),
            })
            .await;
            let client = api.connect().client(&nowhere).expect("a client");
            let written = testing::Written::default();
            let ended = until_it_ends("01JD", true, until, &client, &mut written.screen(testing::program())).await;
            assert_eq!(ended.err().map(|error| error.to_string()).as_deref(), failure);
            assert_eq!(api.seen().len(), looks);
        };
        check(Until::Settled, r#"{"delivered": 2}"#, None, 3).await;
        let again = "1 job was flagged again: see `passback failures list --group`";
        check(Until::Settled, r#"{"delivered": 1, "flagged": 1}"#, Some(again), 3).await;
        check(Until::Ended, "{}", None, 1).await;
    }

    #[tokio::test]
    async fn a_list_is_asked_for_by_pages() {
        let api = Api::start(|_| (200, r#"{"replays": [], "jobs": [], "next_cursor": null}"#.to_owned())).await;
        let check = async |line: &str, asked: &str| {
            let given = ["--url", &api.url, "--token", "t"];
            let line = ["passback", "replays"].into_iter().chain(line.split_whitespace()).chain(given);
            let cli = <Cli as clap::Parser>::try_parse_from(line).expect("it is understood");
            let Command::Replays(args) = cli.command else { panic!("replays") };
            let listed = run(&args, &nowhere, &mut testing::Written::default().screen(testing::program())).await;
            match asked {
                "" => assert_eq!(listed.expect_err("it is no list").exit_code(), 2),
                asked => assert_eq!(listed.map(|()| api.seen().pop().expect("a request").line).expect("a list"), asked),
            }
        };
        check("", "GET /api/v1/replays?limit=50").await;
        check("--limit 7 --cursor abc", "GET /api/v1/replays?limit=7&cursor=abc").await;
        let id = "01JD8Y3K5V7Q2W9XZB4N6M8P0R";
        check(&format!("{id} --jobs --limit 3"), &format!("GET /api/v1/replays/{id}/jobs?limit=3")).await;
        check(&format!("{id} --limit 3"), "").await;
        check(&format!("{id} --wait --cursor abc"), "").await;
    }

    #[test]
    fn a_change_tells_how_far_it_is() {
        let task = r#"{"id": "01JD8Y3K5V7Q2W9XZB4N6M8P0R", "action": "replay", "state": "running", "who": "ops",
            "filter": {"platform": "moodle"}, "note": "the LMS is back", "started_at": "2026-11-21T10:26:40.000Z",
            "ended_at": null, "error": null, "total": 5000, "matched": 1200, "replayed": 1198, "superseded": 2,
            "discarded": 0, "skipped": 0}"#;
        let task: Task = serde_json::from_str(task).expect("a task");
        let expected = "\
01JD8Y3K5V7Q2W9XZB4N6M8P0R  replay running

  Which         platform moodle
  Who           ops
  Why           the LMS is back
  Begun         2026-11-21 10:26:40Z (3 min ago)
  At the start  5,000 flagged jobs
  Changed       1,198 jobs queued again, 2 superseded (the gradebook cell has a
                newer grade)
";
        assert_eq!(page(&task, testing::person(80)), expected);
        let results = r#"{"jobs": [{"id": "01JD8Y3K5V7Q2W9XZB4N6M8P0R", "result": "replayed", "job":
            {"id": "x", "state": "flagged", "platform": "moodle", "reason": "timeout", "attempts": 7}},
            {"id": "01JD8Y3K5V7Q2W9XZB4N6M8P0Q", "result": "skipped", "job": null}], "next_cursor": null}"#;
        let Results { jobs, .. } = serde_json::from_str(results).expect("results");
        let listed = table(testing::person(100), &RESULTS, Rows::Cut, &jobs.iter().map(result_row).collect::<Vec<_>>());
        let expected = "\
ID                          RESULT    NOW      PLATFORM  REASON
01JD8Y3K5V7Q2W9XZB4N6M8P0R  replayed  flagged  moodle    timeout
01JD8Y3K5V7Q2W9XZB4N6M8P0Q  skipped   -        -         -
";
        assert_eq!(listed, expected);
        let row = table(testing::person(80), &COLUMNS, Rows::Cut, &[row(&task, testing::person(80))]);
        let expected =
            "01JD8Y3K5V7Q2W9XZB4N6M8P0R  replay  running  3 min ago  1,200/5,000\n  which platform moodle · who ops\n";
        assert!(row.ends_with(expected), "{row}");
        let task = r#"{"id": "01JD", "action": "replay", "state": "done", "now": {"delivered": 9, "flagged": 2}}"#;
        let row = self::row(&serde_json::from_str(task).expect("a task"), testing::person(80));
        assert_eq!(row[5].1, "9 delivered, 2 flagged again");
    }
}
