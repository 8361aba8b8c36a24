//! Opening: from the files of a folder to a store that knows where it is, or to an error that says what to do.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise, statvfs};

use super::{
    Thresholds,
    bookkeeper::Bookkeeper,
    disk::{Disk, is_full},
    file::make_private,
    highwater::{self, HighWater},
    reserve::Reserve,
};
use crate::domain::ledger::Rules;

/// Why the store could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {} is in use by another passback: stop that one first",
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
    /// Somebody else has used it.
    #[error("the store in {} was used by another process meanwhile: stop that one, and begin again", folder.display())]
    Changed {
        /// The folder.
        folder: PathBuf,
    },
    /// sled cannot read its own files.
    #[error(
        "the files of the store in {} are damaged ({detail}): keep a copy of the folder, save what can be read with \
         `passback export --salvage FILE`, then restore a backup or start with an empty folder",
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
        "the store in {} has lost its last commits ({commits}), which had been accepted: the disk is damaged, or its files \
         were put back from different times; restore a backup, or save what is left with `passback export --salvage FILE`, \
         or delete the file {} there to go on with it",
        folder.display(), highwater::NAME
    )]
    Lost {
        /// The folder.
        folder: PathBuf,
        /// How many commits are missing.
        commits: u64,
    },
    /// The records that everything hangs on cannot be read.
    #[error(
        "the store cannot be used ({detail}): keep a copy of the folder, save what can be read with \
         `passback export --salvage FILE`, then restore a backup or start with an empty folder"
    )]
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

/// Opens the disk of a store.
pub type OpenDisk = Box<dyn Fn() -> Result<Box<dyn Disk>, OpenError> + Send>;

/// Opens a store, and opens it anew after a failure.
pub(super) struct Opener {
    pub(super) folder: PathBuf,
    pub(super) rules: Rules,
    pub(super) thresholds: Thresholds,
    pub(super) reserve: Reserve,
    pub(super) open_disk: OpenDisk,
}

/// An open store.
pub(super) struct Opened {
    pub(super) bookkeeper: Bookkeeper,
    pub(super) high_water: HighWater,
}

/// Whether there is room for the reserve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    Short,
}

impl Opener {
    /// Opens the files in the folder, and makes them where there are none. On a full disk the reserve goes for it.
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        Ok(self.open_somehow()?.0)
    }

    /// The same at a start, with the reserve set aside, if there is room. Whoever had to give it up to open the files
    /// does not call it room when it fits in again.
    pub(super) fn start(&self) -> Result<(Opened, Room), OpenError> {
        let (opened, was_full) = self.open_somehow()?;
        let made = if was_full { self.reserve.make_with_margin() } else { self.reserve.make() };
        match made {
            Ok(()) => Ok((opened, Room::Enough)),
            Err(cause) if is_full(&cause) => Ok((opened, Room::Short)),
            Err(cause) => Err(self.of_folder(cause)),
        }
    }

    fn open_somehow(&self) -> Result<(Opened, bool), OpenError> {
        let was_full = self.is_short_of_room();
        if was_full {
            self.give_the_reserve()?;
        }
        match self.open_files() {
            Err(OpenError::Full { .. }) => {
                self.give_the_reserve()?;
                Ok((self.open_files()?, true))
            }
            opened => Ok((opened?, was_full)),
        }
    }

    /// Forgets what the system has in memory of the files, so that the next look goes to the disk. After a write that
    /// failed, memory may hold what the disk has never got.
    pub(super) fn forget_cached(&self) {
        let forget = |path: &Path| -> io::Result<()> { Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?) };
        // What cannot be opened cannot be read from memory either.
        drop(forget(&self.folder.join("db")));
    }

    fn open_files(&self) -> Result<Opened, OpenError> {
        make_private(&self.folder)?;
        let bookkeeper = Bookkeeper::open((self.open_disk)()?, self.rules, &self.thresholds)?;
        let high_water = HighWater::open(&self.folder).map_err(|cause| self.of_folder(cause))?;
        match high_water.noted().saturating_sub(bookkeeper.commits()) {
            0 => Ok(Opened { bookkeeper, high_water }),
            commits => Err(OpenError::Lost { folder: self.folder.clone(), commits }),
        }
    }

    fn is_short_of_room(&self) -> bool {
        let room = statvfs(&self.folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        room.is_ok_and(|bytes| bytes < ROOM_TO_OPEN)
    }

    fn give_the_reserve(&self) -> Result<(), OpenError> {
        self.reserve.release().map_err(|cause| self.of_folder(cause))
    }

    fn of_folder(&self, cause: io::Error) -> OpenError {
        OpenError::Folder { folder: self.folder.clone(), cause }
    }
}

/// sled writes a snapshot when it opens, and begins a segment.
const ROOM_TO_OPEN: u64 = 4 * 1024 * 1024;
