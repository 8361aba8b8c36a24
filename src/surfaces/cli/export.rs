//! `passback export`: the jobs of a store as NDJSON, in a file or on standard output. How a store is read is not known
//! here; what was read comes in as a [`Tally`].

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use tempfile::NamedTempFile;

use super::{
    connect::ConnectArgs,
    fault::CliError,
    output::{counted, note},
};

/// `passback export`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ExportArgs {
    /// The file to write, which must not be there yet; `-` or nothing for standard output
    pub file: Option<PathBuf>,
    /// Bring out what can be read of a damaged store. It is read from a copy in the folder for temporary files
    /// (`TMPDIR`) and stays as it is; no worker is asked, whatever `PASSBACK_URL` says
    #[arg(long)]
    pub salvage: bool,
    /// The worker, where the store is in use.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl ExportArgs {
    /// Whether the lines go to a file, and not to standard output.
    pub fn names_a_file(&self) -> bool {
        file_of(self).is_some()
    }
}

const EXAMPLES: &str = "Examples:
  passback export jobs.ndjson
  passback export --salvage saved.ndjson
  passback export | gzip > jobs.ndjson.gz

The worker may run: then a copy of its store is taken first, as `passback backup` does, into the folder for temporary files,
and the lines are written from that. For --salvage it must be stopped. The lines hold students' data: a file is made for you
alone to read, and gets its name when it is whole. Without --salvage a damaged record ends it with 1. With --salvage it ends
with 0 if all that is in the store was read, else with 1.";

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Jobs.
    pub jobs: u64,
    /// Platforms.
    pub platforms: u64,
    /// Jobs and records that could not be read.
    pub unread: u64,
    /// What is missing of a damaged store, in words.
    pub loss: Option<String>,
}

/// Where the lines go. A file gets its name when it is whole.
pub enum Target {
    /// Standard output.
    Output(BufWriter<io::Stdout>),
    /// A file, under a name of its own until it is whole.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Target {
    /// The target that is asked for.
    pub fn of(args: &ExportArgs) -> Result<Self, CliError> {
        must_be_new(args)?;
        let Some(path) = file_of(args) else { return Ok(Self::Output(BufWriter::new(io::stdout()))) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // It can be read by its owner alone.
        let file = NamedTempFile::with_prefix_in(".export-", folder);
        let file = file.map_err(|error| not_made(path, &error))?;
        Ok(Self::File(BufWriter::new(file), path.to_owned()))
    }

    /// All is written.
    pub fn finish(self) -> Result<(), CliError> {
        match self {
            Self::Output(mut output) => output.flush().map_err(|error| CliError::of_output(&error)),
            Self::File(file, path) => {
                let file = file.into_inner().map_err(|error| not_made(&path, error.error()))?;
                file.as_file().sync_all().map_err(|error| not_made(&path, &error))?;
                file.persist_noclobber(&path).map(drop).map_err(|error| not_made(&path, &error.error))
            }
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Output(output) => output.write(bytes),
            Self::File(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Output(output) => output.flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}

fn file_of(args: &ExportArgs) -> Option<&Path> {
    args.file.as_deref().filter(|path| *path != Path::new("-"))
}

/// A file is never written over.
pub fn must_be_new(args: &ExportArgs) -> Result<(), CliError> {
    match file_of(args) {
        Some(path) if path.symlink_metadata().is_ok() => Err(not_made(path, &io::ErrorKind::AlreadyExists.into())),
        _ => Ok(()),
    }
}

fn not_made(path: &Path, error: &io::Error) -> CliError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::Usage(format!("{path} is there already, and is not written over: name another file"))
        }
        _ => CliError::Failed(format!("cannot make {path}: {error}")),
    }
}

fn written(tally: &Tally) -> String {
    let (jobs, platforms) = (counted(tally.jobs, "job", "jobs"), counted(tally.platforms, "platform", "platforms"));
    format!("written: {jobs} and {platforms}")
}

/// Says what was written, and whether that is all.
pub fn report(tally: &Tally) -> Result<(), CliError> {
    note(&written(tally));
    let unread = || format!("{} could not be read", counted(tally.unread, "job or record", "jobs or records"));
    match &tally.loss {
        Some(loss) => Err(CliError::Failed(loss.clone())),
        None if tally.unread > 0 => Err(CliError::Failed(unread())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_well_only_if_all_was_read() {
        let sound = Tally { jobs: 3, platforms: 1, ..Tally::default() };
        assert!(report(&sound).is_ok());
        let check = |tally: Tally, words: &str| {
            let error = report(&tally).expect_err("something is missing");
            assert!(error.to_string().contains(words) && error.exit_code() == 1, "{error}");
        };
        assert_eq!(written(&sound), "written: 3 jobs and 1 platform");
        check(Tally { unread: 1, ..sound.clone() }, "1 job or record could not be read");
        check(Tally { unread: 2, ..sound.clone() }, "2 jobs or records could not be read");
        check(
            Tally { unread: 9, loss: Some("at least 9 jobs are missing".into()), ..sound },
            "at least 9 jobs are missing",
        );
    }

    #[test]
    fn a_file_is_for_its_owner_alone_and_never_written_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.ndjson");
        let args = ExportArgs { file: Some(file.clone()), salvage: false, connect: ConnectArgs::default() };
        drop(Target::of(&args).expect("a new file"));
        assert!(std::fs::read_dir(folder.path()).expect("a folder").next().is_none(), "what failed leaves nothing");
        let mut target = Target::of(&args).expect("a new file");
        target.write_all(b"{}\n").expect("a write");
        assert!(!file.exists(), "it has no name yet");
        target.finish().expect("it is whole");
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&file).expect("it is there"), b"{}\n");
        let again = Target::of(&args).err().expect("it is there");
        assert_eq!(again.exit_code(), 2, "as with a backup or a key");
        let again = again.to_string();
        assert!(again.ends_with("jobs.ndjson is there already, and is not written over: name another file"), "{again}");
    }
}
