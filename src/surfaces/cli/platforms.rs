//! `passback platforms list|pause|resume`: how each platform is doing, and whether grades go to it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    answers::{PlatformHealth, Platforms},
    client::{Client, Payload},
    connect::{ConnectArgs, FindLocal},
    fault::CliError,
    output::{Column, Fit, Look, NOTHING, Rows, Screen, Tone, note, printable, table, thousands},
};

/// `passback platforms …`
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List the platforms: open, held or paused, since when, and when a held one is tried again
    List(ListArgs),
    /// Send nothing to a platform until it is resumed; its jobs wait and use up no attempts
    #[command(after_long_help = CHANGE_EXAMPLES)]
    Pause(ChangeArgs),
    /// Let a paused or held platform's grades go on at once
    #[command(after_long_help = CHANGE_EXAMPLES)]
    Resume(ChangeArgs),
}

const CHANGE_EXAMPLES: &str = "Examples:
  passback platforms pause moodle --note 'maintenance until six'
  passback platforms resume moodle

A pause is kept over a restart. An attempt that is under way is let end.";

/// `passback platforms list`
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Print JSON, as the API answers it
    #[arg(long)]
    pub json: bool,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `passback platforms pause|resume`
#[derive(Args, Clone, Debug)]
pub struct ChangeArgs {
    /// The platform: its configured name, else its host (with `:port` where it is not the usual one)
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Why, for the audit log: at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print JSON, as the API answers it
    #[arg(long)]
    pub json: bool,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Carries the command out.
pub async fn run(command: &Command, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    match command {
        Command::List(args) => list(args, local, screen).await,
        Command::Pause(args) => change(args, "pause", local, screen).await,
        Command::Resume(args) => change(args, "resume", local, screen).await,
    }
}

async fn list(args: &ListArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.connect.client(local)?;
    let body = client.get(&["api", "v1", "platforms"], &[]).await?;
    if args.json {
        return screen.json(&body);
    }
    let Platforms { platforms } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if platforms.is_empty() {
        note("no platforms: none is configured, and no grade has gone anywhere");
        return Ok(());
    }
    screen.print(&render(&platforms, screen.look))
}

async fn change(args: &ChangeArgs, verb: &str, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client: Client = args.connect.client(local)?;
    let payload = match &args.note {
        Some(note) => Payload::Json(json!({ "note": note }).to_string()),
        None => Payload::Empty,
    };
    let body = client.post(&["api", "v1", "platforms", &args.name, verb], payload).await?;
    if args.json {
        return screen.json(&body);
    }
    let platform: PlatformHealth = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    let waiting = thousands(platform.queued);
    screen.line(&format!("{}: {}, {waiting} queued", printable(&platform.name), printable(&platform.state)))
}

const COLUMNS: [Column; 7] = [
    Column { heading: "PLATFORM", width_min: 0, fit: Fit::Words },
    Column { heading: "STATE", width_min: 0, fit: Fit::Whole },
    Column { heading: "SINCE", width_min: 70, fit: Fit::Whole },
    Column { heading: "QUEUED", width_min: 0, fit: Fit::Number },
    Column { heading: "FLAGGED", width_min: 0, fit: Fit::Number },
    Column { heading: "NEXT TRY", width_min: 100, fit: Fit::Whole },
    Column { heading: "LAST ERROR", width_min: 90, fit: Fit::Words },
];

/// The table.
pub(super) fn render(platforms: &[PlatformHealth], look: Look) -> String {
    let rows: Vec<_> = platforms.iter().map(|platform| row(platform, look)).collect();
    table(look, &COLUMNS, Rows::Cut, &rows)
}

fn row(platform: &PlatformHealth, look: Look) -> Vec<(Tone, String)> {
    // A platform that asked for fewer requests rests though it is open.
    let rests = platform.state == "open" && platform.rests_until.is_some();
    let (tone, state) = match platform.state.as_str() {
        "open" if rests => (Tone::Waiting, "rests"),
        "open" => (Tone::Good, "open"),
        other => (Tone::Bad, other),
    };
    let flagged = if platform.flagged == 0 { Tone::Plain } else { Tone::Bad };
    let next = platform.next_probe_at.as_deref().or(platform.rests_until.as_deref());
    vec![
        (Tone::Plain, platform.name.clone()),
        (tone, state.to_owned()),
        (Tone::Plain, look.moment(platform.since.as_deref())),
        (Tone::Plain, thousands(platform.queued)),
        (flagged, thousands(platform.flagged)),
        (Tone::Plain, look.moment(next)),
        (Tone::Plain, platform.last_error.clone().unwrap_or_else(|| NOTHING.to_owned())),
    ]
}
