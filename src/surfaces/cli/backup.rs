//! `passback backup`: a copy of a store, of one that is in use too. What a copy is made of and how it is made a store is
//! not known here: bytes come from a worker's API, or from the folder of a stopped one, and go to a [`Keep`].

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    client::Payload,
    connect::{ConnectArgs, FindLocal},
    fault::CliError,
    output::{Screen, counted, note, printable},
    progress::{self, Progress},
};

/// `passback backup`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct BackupArgs {
    /// The folder to make the copy in; it must be new or empty
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Keep the copy of a store of which some records are damaged, too; it is told which, and the command ends with 1
    #[arg(long)]
    pub keep_damaged: bool,
    /// Why, for the worker's audit log: at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print JSON: the folder, the jobs and the bytes
    #[arg(long)]
    pub json: bool,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

const EXAMPLES: &str = "Examples:
  passback backup /backups/passback-2026-11-22
  passback backup --url https://passback.example.edu /backups/passback-2026-11-22

The worker may run: it goes on delivering. The copy is the store as it was at one moment near the end of the command, between
two commits; every event that was acknowledged before the command was given is in it. It is put in the folder only when it is
whole, and was opened and checked. It holds students' data, for you alone to read, and no secret of the configuration.
Of a damaged store no copy is kept, unless --keep-damaged asks for it: it has whatever the store has.
To restore it, stop the worker and put the folder in the place of [store] path. What was delivered since is sent again.";

/// Makes a store of the bytes of a copy.
pub trait Keep {
    /// Takes the next bytes, and tells how many jobs there are of how many.
    fn take(&mut self, bytes: &[u8]) -> Result<(u64, u64), CliError>;
    /// Checks the whole and puts it in its place.
    fn finish(self: Box<Self>) -> Result<Kept, CliError>;
}

/// A copy in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Jobs in it, those that cannot be read among them.
    pub jobs: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// What is damaged in it, in words, as it is in the store.
    pub damages: Option<String>,
}

/// The next bytes of a copy of a stopped store; none after the last.
pub type Steps = Box<dyn FnMut() -> Result<Option<Vec<u8>>, CliError>>;

/// Where a copy comes from.
pub enum Source {
    /// A stopped store of this machine.
    Folder(Steps),
    /// A worker.
    Worker,
}

/// Carries the command out.
pub async fn run(
    args: &BackupArgs,
    source: Source,
    keep: Box<dyn Keep>,
    local: FindLocal<'_>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let kept = copy(&args.connect, args.note.as_deref(), source, keep, local).await?;
    let folder = args.folder.display().to_string();
    if args.json {
        let answer = json!({ "folder": folder, "jobs": kept.jobs, "bytes": kept.bytes, "damages": kept.damages });
        screen.json(&answer.to_string())?;
    } else {
        let jobs = counted(kept.jobs, "job", "jobs");
        note(&format!("{jobs} copied to {}, and checked", printable(&folder)));
    }
    let damaged = |damages| format!("some records are damaged in the store, and so in the copy: {damages}");
    kept.damages.map_or(Ok(()), |damages| Err(CliError::Failed(damaged(damages))))
}

/// Brings a copy from its source to where it is kept.
pub async fn copy(
    connect: &ConnectArgs,
    why: Option<&str>,
    source: Source,
    mut keep: Box<dyn Keep>,
    local: FindLocal<'_>,
) -> Result<Kept, CliError> {
    let progress = Progress::of("backup", progress::Unit::Jobs);
    let mut take = |bytes: &[u8]| {
        let (done, of) = keep.take(bytes)?;
        progress.set(done, of);
        Ok(())
    };
    match source {
        Source::Folder(mut steps) => {
            while let Some(bytes) = steps()? {
                take(&bytes)?;
            }
        }
        Source::Worker => {
            let payload = match why {
                Some(why) => Payload::Json(json!({ "note": why }).to_string()),
                None => Payload::Empty,
            };
            connect.client(local)?.download(&["api", "v1", "backup"], payload, take).await?;
        }
    }
    keep.finish()
}
