//! `passback stats`: how many jobs stand where, and how each platform is doing.

use clap::Args;
use serde_json::Value;

use super::{
    answers::{PlatformHealth, Stats},
    connect::{ConnectArgs, FindLocal},
    fault::CliError,
    job_table::tone,
    output::{Column, Fit, Look, NOTHING, Rows, Screen, Tone, table, thousands},
};
use crate::domain::job::StateName;

/// `passback stats`
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    /// Print JSON, as the API answers it
    #[arg(long)]
    pub json: bool,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Carries the command out.
pub async fn run(args: &StatsArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.connect.client(local)?;
    let body = client.get(&["api", "v1", "stats"], &[]).await?;
    if args.json {
        return screen.json(&body);
    }
    let stats: Stats = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    screen.print(&render(&stats, screen.look))
}

const JOBS: [Column; 2] = [
    Column { heading: "JOBS", width_min: 0, fit: Fit::Whole },
    Column { heading: "COUNT", width_min: 0, fit: Fit::Number },
];

const PLATFORMS: [Column; 7] = [
    Column { heading: "PLATFORM", width_min: 0, fit: Fit::Words },
    Column { heading: "STATE", width_min: 0, fit: Fit::Whole },
    Column { heading: "SINCE", width_min: 70, fit: Fit::Whole },
    Column { heading: "QUEUED", width_min: 0, fit: Fit::Number },
    Column { heading: "FLAGGED", width_min: 0, fit: Fit::Number },
    Column { heading: "NEXT PROBE", width_min: 100, fit: Fit::Whole },
    Column { heading: "LAST ERROR", width_min: 90, fit: Fit::Words },
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
    let rows: Vec<_> = stats.platforms.iter().map(|platform| platform_row(platform, look)).collect();
    format!("{jobs}\n{due}\n\n{}", table(look, &PLATFORMS, Rows::Cut, &rows))
}

fn platform_row(platform: &PlatformHealth, look: Look) -> Vec<(Tone, String)> {
    let state = if platform.state == "open" { Tone::Good } else { Tone::Bad };
    let flagged = if platform.flagged == 0 { Tone::Plain } else { Tone::Bad };
    vec![
        (Tone::Plain, platform.name.clone()),
        (state, platform.state.clone()),
        (Tone::Plain, look.moment(platform.since.as_deref())),
        (Tone::Plain, thousands(platform.queued)),
        (flagged, thousands(platform.flagged)),
        (Tone::Plain, look.moment(platform.next_probe_at.as_deref())),
        (Tone::Plain, platform.last_error.clone().unwrap_or_else(|| NOTHING.to_owned())),
    ]
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

PLATFORM              STATE  SINCE    QUEUED  FLAGGED  NEXT PROBE  LAST ERROR
moodle                held   1 h ago      11        3  in 1 min    503 Service Unavailable
lms.example.edu:8443  open   -             1        0  -           -
";
        assert_eq!(render(&stats, testing::person(100)), expected);
        let piped = render(&stats, testing::program());
        assert!(piped.contains("moodle                held   2026-11-21T09:30:00Z      11        3"), "{piped}");
        assert!(render(&stats, testing::person(60)).lines().all(|line| line.chars().count() <= 78), "it fits");
    }
}
