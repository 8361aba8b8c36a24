//! `passback stats`: how many jobs stand where, and how each platform is doing.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    answers::Stats,
    client::Client,
    connect::{AskArgs, FindLocal},
    fault::CliError,
    job_table::tone,
    output::{Column, Fit, Look, Rows, Screen, Tone, note, table, thousands},
    platforms,
};
use crate::{config::duration, domain::job::StateName};

/// `passback stats`
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    /// Show them again every so many seconds, until Ctrl-C; on a terminal in the same place
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries the command out.
pub async fn run(args: &StatsArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.ask.connect.client(local)?;
    let first = look(args, &client, screen.look).await?;
    match args.watch {
        None => show(args, &first, screen),
        Some(seconds) => {
            tokio::select! {
                watched = watch(args, Duration::from_secs(seconds), first, &client, screen) => watched,
                stopped = tokio::signal::ctrl_c() => stopped.map_err(|error| CliError::of_output(&error)),
            }
        }
    }
}

/// Shows it again and again. A worker that is away for a while is said to be, and waited for.
async fn watch(
    args: &StatsArgs,
    pause: Duration,
    first: String,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let (began, beginning) = (Instant::now(), screen.look.now);
    let is_in_place = screen.look.width.is_some() && !args.ask.json;
    let mut shown = Ok(first);
    loop {
        match shown {
            Ok(text) if is_in_place => {
                let every = duration::format(pause);
                screen.print(&format!("{CLEAR}{text}\nevery {every}, Ctrl-C ends\n"))?;
            }
            Ok(text) => show(args, &text, screen)?,
            Err(error) => note(&format!("{error}")),
        }
        sleep(pause).await;
        screen.look.now = beginning + began.elapsed();
        shown = look(args, client, screen.look).await;
    }
}

/// To the upper left, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What is shown: the answer, or what a person sees of it.
async fn look(args: &StatsArgs, client: &Client, look: Look) -> Result<String, CliError> {
    let body = client.get(&["api", "v1", "stats"], &[]).await?;
    if args.ask.json {
        return Ok(body);
    }
    let stats: Stats = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    Ok(render(&stats, look))
}

fn show(args: &StatsArgs, text: &str, screen: &mut Screen) -> Result<(), CliError> {
    if args.ask.json { screen.json(text) } else { screen.print(text) }
}

const JOBS: [Column; 2] = [
    Column { heading: "JOBS", width_min: 0, fit: Fit::Whole },
    Column { heading: "COUNT", width_min: 0, fit: Fit::Number },
];

fn render(stats: &Stats, look: Look) -> String {
    // A colour is for what needs a look, so a zero has none.
    let count = |state: StateName| {
        let number = stats.jobs.get(state.name()).and_then(Value::as_u64).unwrap_or(0);
        let tone = if number == 0 { Tone::Plain } else { tone(state.name()) };
        vec![(Tone::Plain, state.name().to_owned()), (tone, thousands(number))]
    };
    let due = match stats.oldest_due_at.as_deref() {
        Some(due) => format!("The oldest job whose turn it is waits since {}.", look.full_moment(due)),
        None => "No job is overdue.".to_owned(),
    };
    let jobs = table(look, &JOBS, Rows::Cut, &StateName::ALL.map(count));
    if stats.platforms.is_empty() {
        return format!("{jobs}\n{due}\n");
    }
    format!("{jobs}\n{due}\n\n{}", platforms::render(&stats.platforms, look))
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    const ANSWER: &str = r#"{
        "jobs": {"queued": 12, "delivered": 1240, "flagged": 3, "superseded": 7, "discarded": 0},
        "oldest_due_at": "2026-11-21T10:26:40.000Z",
        "platforms": [
            {"name": "moodle", "state": "held", "since": "2026-11-21T09:30:00.000Z", "queued": 11, "flagged": 3,
             "last_error": "503 Service Unavailable", "next_probe_at": "2026-11-21T10:31:00.000Z"},
            {"name": "lms.example.edu:8443", "state": "open", "since": null, "queued": 1, "flagged": 0,
             "last_error": null, "next_probe_at": null}]}"#;

    #[test]
    fn stats_are_compact_for_a_person_and_countable_for_a_program() {
        let stats: Stats = serde_json::from_str(ANSWER).expect("an answer");
        let expected = "\
JOBS        COUNT
queued         12
delivered   1,240
flagged         3
superseded      7
discarded       0

The oldest job whose turn it is waits since 2026-11-21 10:26:40Z (3 min ago).

PLATFORM              STATE  SINCE    QUEUED  FLAGGED  NEXT TRY  LAST ERROR
moodle                held   1 h ago      11        3  in 1 min  503 Service Unavailable
lms.example.edu:8443  open   -             1        0  -         -
";
        assert_eq!(render(&stats, testing::person(100)), expected);
        let piped = render(&stats, testing::program());
        assert!(piped.contains("moodle                held   2026-11-21T09:30:00Z      11        3"), "{piped}");
        for width in 40..120 {
            let text = render(&stats, testing::person(width));
            // The sentence between the tables may go on in the next line.
            let tables = text.lines().filter(|line| !line.starts_with("The oldest"));
            assert!(tables.clone().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
        }
    }
}
