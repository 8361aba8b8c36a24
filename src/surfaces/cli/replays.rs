//! `passback replays [ID]`: changes of many jobs in the background, and how far they are.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    answers::{JobResult, Results, Task, TaskPage},
    audit::words_of,
    client::Client,
    connect::{ConnectArgs, FindLocal},
    fault::CliError,
    job_table,
    output::{Column, Fit, Look, NOTHING, Rows, Screen, Tone, counted, facts, note, printable, table, thousands},
    progress::{Progress, Unit},
};
use crate::domain::job::JobId;

/// How often a change that goes on is asked about.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a worker that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(300);

/// `passback replays`
#[derive(Args, Clone, Debug)]
pub struct ReplaysArgs {
    /// One of them; without it the last ones are listed, newest first
    #[arg(value_name = "ID")]
    pub id: Option<JobId>,
    /// Wait until it has come to its end; a progress bar is shown on a terminal
    #[arg(long, requires = "id")]
    pub wait: bool,
    /// List its jobs, newest first: what came of each, and where it stands now
    #[arg(long, requires = "id", conflicts_with = "wait")]
    pub jobs: bool,
    /// Of its jobs, show at most so many
    #[arg(long, value_name = "COUNT", requires = "jobs", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Go on where another list of its jobs ended, with its `next_cursor`
    #[arg(long, value_name = "CURSOR", requires = "jobs")]
    pub cursor: Option<String>,
    /// Print JSON, as the API answers it
    #[arg(long)]
    pub json: bool,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Carries the command out.
pub async fn run(args: &ReplaysArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.connect.client(local)?;
    let Some(id) = args.id else { return list(args, &client, screen).await };
    let id = id.to_string();
    if args.wait {
        // Whether there is such a change, and a worker, is told at once.
        client.get(&["api", "v1", "replays", &id], &[]).await?;
        return until_it_ends(&id, args.json, &client, screen).await;
    }
    if args.jobs {
        return results(&id, args, &client, screen).await;
    }
    let body = client.get(&["api", "v1", "replays", &id], &[]).await?;
    show(&body, args.json, &client, screen)
}

/// Waits for the end of a change, and says what it came to. Whoever stops waiting does not stop the change.
pub(super) async fn until_it_ends(
    id: &str,
    is_json: bool,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let progress = Progress::of("working", Unit::Jobs);
    loop {
        let body = look(id, client, PATIENCE).await?;
        let task: Task = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
        progress.set(task.matched + task.skipped, task.total.unwrap_or_default());
        if task.state != "running" {
            drop(progress);
            show(&body, is_json, client, screen)?;
            return match task.state.as_str() {
                "done" => Ok(()),
                _ => Err(CliError::Failed(format!("it was given up: {}", printable(&task.error.unwrap_or_default())))),
            };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
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
    let body = client.get(&["api", "v1", "replays"], &[]).await?;
    if args.json {
        return screen.json(&body);
    }
    let TaskPage { replays } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if replays.is_empty() {
        note("no changes of many in the background");
        return Ok(());
    }
    let rows: Vec<_> = replays.iter().map(|task| row(task, screen.look)).collect();
    screen.print(&table(screen.look, &COLUMNS, Rows::Cut, &rows))
}

const COLUMNS: [Column; 7] = [
    Column { heading: "ID", width_min: 0, fit: Fit::Whole },
    Column { heading: "WHAT", width_min: 0, fit: Fit::Whole },
    Column { heading: "STATE", width_min: 0, fit: Fit::Whole },
    Column { heading: "BEGUN", width_min: 70, fit: Fit::Whole },
    Column { heading: "JOBS", width_min: 0, fit: Fit::Number },
    Column { heading: "WHICH", width_min: 100, fit: Fit::Words },
    Column { heading: "WHO", width_min: 110, fit: Fit::Words },
];

fn row(task: &Task, look: Look) -> Vec<(Tone, String)> {
    let jobs = match task.total {
        Some(total) => format!("{}/{}", thousands(task.matched), thousands(total)),
        None => thousands(task.matched),
    };
    vec![
        (Tone::Plain, task.id.clone()),
        (Tone::Plain, task.action.clone()),
        (tone(&task.state), task.state.clone()),
        (Tone::Plain, look.moment(task.started_at.as_deref())),
        (Tone::Plain, jobs),
        (Tone::Plain, words_of(task.filter.as_ref().unwrap_or(&Value::Null))),
        (Tone::Plain, task.who.clone().unwrap_or_else(|| NOTHING.to_owned())),
    ]
}

/// What came of each job.
async fn results(id: &str, args: &ReplaysArgs, client: &Client, screen: &mut Screen) -> Result<(), CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.cursor.clone().map(|cursor| ("cursor", cursor)));
    let body = client.get(&["api", "v1", "replays", id, "jobs"], &query).await?;
    if args.json {
        return screen.json(&body);
    }
    let Results { jobs, next_cursor } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if jobs.is_empty() {
        note("no job of it is known");
        return Ok(());
    }
    screen.print(&table(screen.look, &RESULTS, Rows::Cut, &jobs.iter().map(result_row).collect::<Vec<_>>()))?;
    if let Some(cursor) = next_cursor {
        note(&format!("there are more: --limit COUNT for more, or --cursor {} to go on", printable(&cursor)));
    }
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
    ];
    let shown: Vec<_> = optional.into_iter().filter_map(|(label, text)| Some((label, text?))).collect();
    format!("{heading}{}", facts(look, &shown))
}

fn changed(task: &Task) -> String {
    if task.action == "discard" {
        return counted(task.discarded, "job discarded", "jobs discarded");
    }
    let out = counted(task.replayed, "job went out again", "jobs went out again");
    match task.superseded {
        0 => out,
        superseded => format!("{out}, {} superseded (the gradebook cell has a newer grade)", thousands(superseded)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{
        super::testing::{self, Api, nowhere},
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
  Changed       1,198 jobs went out again, 2 superseded (the gradebook cell has
                a newer grade)
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
        assert!(row.ends_with("01JD8Y3K5V7Q2W9XZB4N6M8P0R  replay  running  3 min ago  1,200/5,000\n"), "{row}");
    }
}
