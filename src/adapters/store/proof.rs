//! Whether a stopped store opens, tried on a copy of its files: the store itself stays as it is, whatever comes of it.

use std::{
    fs::{self, Metadata},
    io,
    path::Path,
};

use tempfile::TempDir;

use super::{OpenError, Thresholds, file::SledFile, highwater, opening::Opener, reserve::Reserve};
use crate::domain::ledger::Rules;

/// A larger store is not copied: it would take long, and fill the folder for temporary files.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It opens, and everything in it is as it must be.
    Sound {
        /// How many jobs it has.
        jobs: u64,
    },
    /// It opens, and some of its records are damaged: their jobs are passed by.
    Flawed(String),
    /// A worker could not start with it; why, and what to do.
    Unusable(String),
    /// It was not tried, and why.
    NotTried(String),
}

/// Opens a copy of the store in a folder as a worker would, and checks it. Blocks as long as the disk does.
pub fn prove(folder: &Path, rules: Rules) -> Proof {
    let copy = match copy(folder) {
        Ok(Ok(copy)) => copy,
        Ok(Err(why)) => return Proof::NotTried(why.to_owned()),
        Err(error) => return Proof::NotTried(format!("its files cannot be copied: {error}")),
    };
    match open(copy.path(), rules) {
        Ok(proof) => proof,
        // The words name the folder that was opened.
        Err(error) => Proof::Unusable(error.to_string().replace(&*shown(copy.path()), &shown(folder))),
    }
}

fn shown(folder: &Path) -> String {
    folder.display().to_string()
}

fn open(copy: &Path, rules: Rules) -> Result<Proof, OpenError> {
    let path = copy.to_owned();
    let open_disk = Box::new(move || Ok(Box::new(SledFile::open(&path)?) as _));
    let (folder, thresholds, reserve) = (copy.to_owned(), Thresholds::default(), Reserve::in_folder(copy, 0));
    let opened = Opener { folder, rules, thresholds, reserve, open_disk }.open()?;
    let report = opened.bookkeeper.check().map_err(|fault| OpenError::Unusable { detail: fault.to_string() })?;
    Ok(match report.faults.into_iter().next() {
        None => Proof::Sound { jobs: report.jobs },
        Some(first) => Proof::Flawed(format!("{first} (faults in all: {})", report.fault_count)),
    })
}

/// The files that a start reads; or why they are not copied.
fn copy(folder: &Path) -> io::Result<Result<TempDir, &'static str>> {
    let before = fs::metadata(folder.join("db"))?;
    if before.len() > BYTES_MAX {
        return Ok(Err("it is too large to try it on a copy; the start reads it"));
    }
    let copy = tempfile::tempdir()?;
    for entry in fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let text = name.to_string_lossy();
        let is_wanted = ["db", "conf", highwater::NAME].contains(&&*text) || text.starts_with("snap.");
        if is_wanted && path.is_file() {
            fs::copy(path, copy.path().join(&name))?;
        }
    }
    let stamp = |found: &Metadata| (found.len(), found.modified().ok());
    let is_same = stamp(&fs::metadata(folder.join("db"))?) == stamp(&before);
    Ok(if is_same { Ok(copy) } else { Err("a worker has begun to use it meanwhile") })
}
