//! `passback export`: the jobs of a stopped store as NDJSON, in a file or on standard output. How a store is read is
//! not known here; what was read comes in as a [`Tally`].

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{fault::CliError, output::note};

/// `passback export`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ExportArgs {
    /// The file to write, which must not be there yet; `-` or nothing for standard output
    pub file: Option<PathBuf>,
    /// Bring out what can be read of a damaged store. It is read from a copy in the folder for temporary files
    /// (`TMPDIR`) and stays as it is
    #[arg(long)]
    pub salvage: bool,
}

const EXAMPLES: &str = "Examples:
  passback export jobs.ndjson
  passback export --salvage saved.ndjson
  passback export | gzip > jobs.ndjson.gz

The worker must be stopped. The lines hold students' data: a file is made for you alone to read. Without --salvage a
damaged record ends it with 1. With --salvage it ends with 0 if all that is in the store was read, else with 1.";

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Jobs.
    pub jobs: u64,
    /// Platforms.
    pub platforms: u64,
    /// Jobs and records that could not be read.
    pub unread: u64,
    /// What was left out so that the rest could be read.
    pub remedy: Option<String>,
}

/// Where the lines go.
pub fn target(args: &ExportArgs) -> Result<Box<dyn Write>, CliError> {
    match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(BufWriter::new(io::stdout()))),
        Some(path) => {
            let file: io::Result<File> = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(|error| CliError::Failed(format!("cannot make {}: {error}", path.display())))?;
            Ok(Box::new(BufWriter::new(file)))
        }
    }
}

/// Says what was written, and whether that is all.
pub fn report(tally: &Tally) -> Result<(), CliError> {
    note(&format!("{} jobs and {} platforms are written", tally.jobs, tally.platforms));
    let remedy = tally.remedy.iter().map(|remedy| format!("the store could be opened only after {remedy}"));
    let unread = Some(tally.unread).filter(|unread| *unread > 0);
    let unread = unread.map(|unread| format!("{unread} jobs or records could not be read"));
    let missing: Vec<String> = remedy.chain(unread).collect();
    if missing.is_empty() { Ok(()) } else { Err(CliError::Failed(missing.join("; "))) }
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
        check(Tally { unread: 2, ..sound.clone() }, "2 jobs or records could not be read");
        check(Tally { remedy: Some("the end was left out".into()), ..sound }, "only after the end was left out");
    }

    #[test]
    fn a_file_is_for_its_owner_alone_and_never_written_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.ndjson");
        let args = ExportArgs { file: Some(file.clone()), salvage: false };
        drop(target(&args).expect("a new file"));
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(target(&args).err().expect("it is there").to_string().contains("jobs.ndjson"));
    }
}
