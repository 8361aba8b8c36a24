//! `passback import`: the lines of an export, into the store of a stopped worker. How they get there is not known here;
//! what came of it is an [`Outcome`].

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    fault::CliError,
    output::{Screen, counted, note},
};

/// `passback import`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ImportArgs {
    /// The file that `passback export` wrote; `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Take a file that was cut short, or from which jobs were left out
    #[arg(long)]
    pub partial: bool,
    /// Print JSON: what was imported and what was there already
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  passback import jobs.ndjson
  gunzip -c jobs.ndjson.gz | passback import -
  jq -c 'select(.kind != \"job\" or .state == \"flagged\")' jobs.ndjson | passback import --partial -

The jobs go into the store at [store] path, which no worker may have open; it is made where there is none. All of the file is
imported, or nothing: each bad line is named by its number, and the store stays as it was. Jobs keep their ids, states and
attempts. A job that is there already, or whose event is, is left alone and counted. Where a gradebook cell has jobs of both,
the newest grade wins. There must be room for the store a second time.";

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Jobs that are new.
    pub imported: u64,
    /// Jobs that were there already.
    pub known: u64,
    /// Jobs whose event was there under another id.
    pub repeated: u64,
    /// Jobs in the store now.
    pub in_all: u64,
    /// Jobs and records that could not be read when the file was written.
    pub unread: u64,
}

/// Says what was imported.
pub fn report(args: &ImportArgs, outcome: Outcome, screen: &mut Screen) -> Result<(), CliError> {
    let Outcome { imported, known, repeated, in_all, unread } = outcome;
    if args.json {
        let answer = json!({
            "imported": imported, "already_there": known, "event_already_there": repeated, "jobs": in_all,
            "unread": unread,
        });
        return screen.json(&answer.to_string());
    }
    note(&format!(
        "{} imported; the store has {} now",
        counted(imported, "job", "jobs"),
        counted(in_all, "job", "jobs")
    ));
    if known > 0 {
        note(&format!("{} there already, and left as they are", counted(known, "job was", "jobs were")));
    }
    if repeated > 0 {
        let jobs = counted(repeated, "job was", "jobs were");
        note(&format!("{jobs} left out: their events are there already under other ids"));
    }
    if unread > 0 {
        note(&format!("{unread} jobs or records could not be read when the file was written: they are not in it"));
    }
    Ok(())
}
