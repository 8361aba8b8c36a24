//! `passback platforms list|check|pause|resume`: how each platform is doing, the way there, and whether grades go to it.

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::{
    answers::{Checked, PlatformHealth, Platforms},
    check,
    client::Payload,
    connect::{AskArgs, FindLocal, NoteArgs},
    fault::CliError,
    names,
    output::{Column, Fit, Look, NOTHING, Rows, Screen, Tone, note, printable, table, thousands},
};

/// `passback platforms …`
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List the platforms: open, held or paused, since when, and when a held one is tried again
    List(ListArgs),
    /// Have the worker try the way to a platform, step by step as `passback check` does; no grade is written
    #[command(after_long_help = CHECK_EXAMPLES, override_usage = "passback platforms check [OPTIONS] <NAME>")]
    Check(CheckArgs),
    /// Send nothing to a platform until it is resumed; its jobs wait and use up no attempts
    #[command(after_long_help = CHANGE_EXAMPLES, override_usage = "passback platforms pause [OPTIONS] <NAME>")]
    Pause(ChangeArgs),
    /// Let a paused or held platform's grades go on at once
    #[command(after_long_help = CHANGE_EXAMPLES, override_usage = "passback platforms resume [OPTIONS] <NAME>")]
    Resume(ChangeArgs),
}

const CHANGE_EXAMPLES: &str = "Examples:
  passback platforms pause moodle --note 'maintenance until six'
  passback platforms resume moodle

A pause is kept over a restart. An attempt that is under way is let end.";

const CHECK_EXAMPLES: &str = "Examples:
  passback platforms check moodle
  passback platforms check moodle --json | jq -r '.checks[] | select(.status != \"ok\") | .seen'

The worker does it, with the keys and registrations that it has now, so it also works from elsewhere; `passback check` beside it
tries the rest of the configuration too. Exit codes: 0 all is well (there may be warnings), 1 something failed.";

/// `passback platforms list`
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `passback platforms check`
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The platform: its configured name, else its host (with `:port` where it is not the usual one)
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `passback platforms pause|resume`
#[derive(Args, Clone, Debug)]
pub struct ChangeArgs {
    /// The platform: its configured name, else its host (with `:port` where it is not the usual one)
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Why.
    #[command(flatten)]
    pub why: NoteArgs,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries the command out.
pub async fn run(command: &Command, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    match command {
        Command::List(args) => list(args, local, screen).await,
        Command::Check(args) => check(args, local, screen).await,
        Command::Pause(args) => change(args, "pause", local, screen).await,
        Command::Resume(args) => change(args, "resume", local, screen).await,
    }
}

async fn list(args: &ListArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.ask.connect.client(local)?;
    let body = client.get(&["api", "v1", "platforms"], &[]).await?;
    if args.ask.json {
        return screen.json(&body);
    }
    let Platforms { platforms } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if platforms.is_empty() {
        note("no platforms: none is configured, and no grade has gone anywhere");
        return Ok(());
    }
    screen.print(&render(&platforms, screen.look))
}

async fn check(args: &CheckArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let (body, Checked { checks }) = post(&args.name, "check", Payload::Empty, &args.ask, local).await?;
    if args.ask.json {
        screen.json(&body)?;
    } else {
        checks.iter().try_for_each(|step| screen.print(&check::shown(step, screen.look)))?;
    }
    check::conclude(&checks, args.ask.json, screen)
}

async fn change(args: &ChangeArgs, verb: &str, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let (body, platform): (_, PlatformHealth) = post(&args.name, verb, args.why.payload(), &args.ask, local).await?;
    if args.ask.json {
        return screen.json(&body);
    }
    let waiting = thousands(platform.queued);
    screen.line(&format!("{}: {}, {waiting} queued", printable(&platform.name), printable(&platform.state)))
}

/// Asks for something to be done to a platform; the answer as it came, and read.
async fn post<T: DeserializeOwned>(
    name: &str,
    verb: &str,
    payload: Payload,
    ask: &AskArgs,
    local: FindLocal<'_>,
) -> Result<(String, T), CliError> {
    let client = ask.connect.client(local)?;
    match client.post(&["api", "v1", "platforms", name, verb], payload).await {
        Ok(body) => {
            let read = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
            Ok((body, read))
        }
        Err(error) => Err(names::explained(error, name, &client).await),
    }
}

const COLUMNS: [Column; 7] = [
    Column { heading: "PLATFORM", width_min: 0, fit: Fit::Words },
    Column { heading: "STATE", width_min: 0, fit: Fit::Whole },
    Column { heading: "SINCE", width_min: 70, fit: Fit::Whole },
    Column { heading: "QUEUED", width_min: 0, fit: Fit::Number },
    Column { heading: "FLAGGED", width_min: 0, fit: Fit::Number },
    Column { heading: "NEXT TRY", width_min: 80, fit: Fit::Whole },
    Column { heading: "LAST ERROR", width_min: 100, fit: Fit::Words },
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
