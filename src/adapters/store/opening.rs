//! Opening: from the files of a folder to a store that knows where it is, or to an error that says what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Thresholds,
    bookkeeper::Bookkeeper,
    file::SledFile,
    highwater::{self, HighWater},
};
use crate::domain::ledger::Rules;

/// Why the store could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {} is in use by another passback: stop that one first, or talk to it with --url",
        folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no room, and sled needs some to open.
    #[error("the disk that holds the store in {} is full: make room and start again, nothing is lost", folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder or a file in it cannot be used.
    #[error("the store in {} cannot be opened: check that the folder can be written by this user", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// sled cannot read its own files.
    #[error(
        "the files of the store in {} are damaged ({detail}): keep a copy of the folder, then restore a backup or start \
         with an empty one",
        folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What sled says.
        detail: String,
    },
    /// What was on disk once is not there any more.
    #[error(
        "the store in {} has lost its last {commits} commits, which had been accepted: the disk is damaged, or its files \
         were put back from different times; restore a backup, or delete the file {} there to go on with what is left",
        folder.display(), highwater::NAME
    )]
    Lost {
        /// The folder.
        folder: PathBuf,
        /// How many commits are missing.
        commits: u64,
    },
    /// The records that everything hangs on cannot be read.
    #[error("the store cannot be used ({detail}): keep a copy of the folder, then restore a backup")]
    Unusable {
        /// What is wrong.
        detail: String,
    },
    /// It was written by a newer program.
    #[error("the store has the format {found}, and this passback knows up to {known}: start the newer version again")]
    Newer {
        /// The format that was found.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// No thread could be started.
    #[error("the store's writer could not be started: the machine gives no more threads")]
    Thread(#[source] io::Error),
}

/// Opens the files in a folder, and makes them where there are none.
pub(super) fn open(folder: &Path, rules: Rules, thresholds: &Thresholds) -> Result<(Bookkeeper, HighWater), OpenError> {
    let bookkeeper = Bookkeeper::open(Box::new(SledFile::open(folder)?), rules, thresholds)?;
    let high_water = HighWater::open(folder).map_err(|cause| OpenError::Folder { folder: folder.into(), cause })?;
    match high_water.noted().saturating_sub(bookkeeper.commits()) {
        0 => Ok((bookkeeper, high_water)),
        commits => Err(OpenError::Lost { folder: folder.into(), commits }),
    }
}
