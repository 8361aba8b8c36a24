//! `passback import`: the lines of an export, into the store of this machine. How they get there is not known here, only
//! how a worker that has it open is asked; what came of it is an [`Outcome`].

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::{
    client::Payload,
    connect::{ConnectArgs, FindLocal},
    fault::CliError,
    output::{Screen, counted, note},
    progress::Progress,
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
    /// Why, for the audit log of a worker that runs: at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print JSON: what was imported and what was there already
    #[arg(long)]
    pub json: bool,
    /// The worker, where one runs on this machine.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

const EXAMPLES: &str = "Examples:
  passback import jobs.ndjson
  gunzip -c jobs.ndjson.gz | passback import -
  jq -c 'select(.kind != \"job\" or .state == \"flagged\")' jobs.ndjson | passback import --partial -

The jobs go into the store at [store] path; it is made where there is none. A worker that runs on it stands aside meanwhile: it
ends its attempts, answers nobody, and goes on by itself when the import is made. All of the file is imported, or nothing: each
bad line is named by its number, and the store stays as it was. Jobs keep their ids, states and attempts. A job that is there
already, or whose event is, is left alone and counted. Where a gradebook cell has jobs of both, the newest grade wins; a bulk
change that was under way in either is over. There must be room for the store a second time.";

/// What came of it, in jobs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// New in the store.
    pub imported: u64,
    /// There already.
    pub already_there: u64,
    /// Left out, as their event was there under another id.
    pub event_already_there: u64,
    /// In the store now.
    pub jobs: u64,
    /// Jobs and records that could not be read when the file was written.
    pub unread: u64,
}

/// How long a worker may be silent while it stands aside.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// How long a worker that goes on may have its store shut at the most.
const LET_GO_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// What a worker tells of its last import.
#[derive(Deserialize)]
struct Told {
    state: String,
    result: Option<Outcome>,
    error: Option<String>,
}

/// Asks the worker to import what lies in the folder of its store, and waits until that is made, or until nobody has the store
/// open any more.
pub async fn ask(args: &ImportArgs, local: FindLocal<'_>, is_open: impl Fn() -> bool) -> Result<Outcome, CliError> {
    const PATH: &[&str] = &["api", "v1", "import"];
    let client = args.connect.client(local)?;
    let wish = json!({ "partial": args.partial, "note": args.note }).to_string();
    client.post(PATH, Payload::Json(wish)).await?;
    let _progress = Progress::waiting("the worker stands aside while its store is made anew");
    let (mut heard, mut held) = (Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(PAUSE).await;
        if is_open() {
            held = Instant::now();
        }
        // While it stands aside nobody answers.
        let Ok(answer) = client.get(PATH, &[]).await else {
            if held.elapsed().min(heard.elapsed()) > LET_GO_MAX {
                return Err(CliError::Failed(
                    "the worker was stopped meanwhile: its next start makes the import".to_owned(),
                ));
            }
            if heard.elapsed() > SILENCE_MAX {
                let minutes = SILENCE_MAX.as_secs() / 60;
                return Err(CliError::Failed(format!(
                    "the worker has not answered for {minutes} minutes: its log says how the import stands, and its next \
                     start takes it up"
                )));
            }
            continue;
        };
        heard = Instant::now();
        let Told { state, result, error } = serde_json::from_str(&answer).map_err(|_| client.strange(&answer))?;
        match (&*state, result, error) {
            ("waiting" | "running", ..) => {}
            ("done", Some(outcome), _) => return Ok(outcome),
            (_, _, Some(why)) => return Err(CliError::Failed(why)),
            _ => {
                return Err(CliError::Failed(
                    "the worker was started anew meanwhile and does not know what came of the import: its log says so"
                        .to_owned(),
                ));
            }
        }
    }
}

/// Says what was imported.
pub fn report(args: &ImportArgs, outcome: Outcome, screen: &mut Screen) -> Result<(), CliError> {
    if args.json {
        return screen.json(&json!(outcome).to_string());
    }
    let Outcome { imported, already_there: known, event_already_there: repeated, jobs: in_all, unread } = outcome;
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
        let records = counted(unread, "job or record", "jobs or records");
        note(&format!("{records} could not be read when the file was written, and so not imported"));
    }
    Ok(())
}
