//! The high-water mark: how many commits were on disk, in a file of its own.
//!
//! sled takes whatever cannot be read at the end of its log for a write that a power cut interrupted, and goes on
//! without it. Where a disk went bad that would be a silent loss of what was accepted. So the number of commits is
//! noted beside it, some moments later, and a store that has fewer is not opened as if nothing were amiss.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use super::disk::Fault;
use crate::domain::time::Timestamp;

/// The name of the file.
pub(super) const NAME: &str = "highwater";

/// It is noted at most so often, since it costs a sync of its own.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// The file, open.
pub(super) struct HighWater {
    file: File,
    noted: u64,
    noted_at: Timestamp,
}

impl HighWater {
    /// Opens the file in a folder, and makes it where it is missing.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(folder.join(NAME))?;
        if file.metadata()?.len() == 0 {
            // It is new, and only as safe as its name.
            File::open(folder)?.sync_all()?;
        }
        let noted = read(&file);
        Ok(Self { file, noted, noted_at: Timestamp::from_micros(i64::MIN) })
    }

    /// So many commits were on disk at the least.
    pub(super) fn noted(&self) -> u64 {
        self.noted
    }

    /// Notes that so many commits are on disk, if it is time to.
    pub(super) fn reach(&mut self, commits: u64, now: Timestamp) -> Result<(), Fault> {
        // A clock that went back must not put it off for long.
        if now.since(self.noted_at) < NOTED_EVERY && now >= self.noted_at {
            return Ok(());
        }
        self.noted_at = now;
        self.settle(commits)
    }

    /// Notes that so many commits are on disk.
    pub(super) fn settle(&mut self, commits: u64) -> Result<(), Fault> {
        if commits != self.noted {
            let bytes = [commits.to_be_bytes(), (!commits).to_be_bytes()].concat();
            self.file.write_all_at(&bytes, 0).and_then(|()| self.file.sync_data()).map_err(Fault::of_io)?;
            self.noted = commits;
        }
        Ok(())
    }
}

/// How many commits were on disk at the least, by the file in a folder, which is only read; 0 where it tells nothing.
pub(super) fn noted_in(folder: &Path) -> u64 {
    File::open(folder.join(NAME)).map_or(0, |file| read(&file))
}

/// A file that is new, cut short or torn tells nothing.
fn read(file: &File) -> u64 {
    let mut bytes = [0; 16];
    let is_whole = file.read_exact_at(&mut bytes, 0).is_ok();
    let [commits, check] = [0, 8].map(|at| bytes[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    if is_whole && check == !commits { commits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_number_and_believes_no_torn_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || HighWater::open(folder.path()).expect("it opens");
        assert_eq!(open().noted(), 0);
        open().settle(7).expect("a write");
        assert_eq!(open().noted(), 7);
        std::fs::write(folder.path().join(NAME), [0, 0, 0, 0, 0, 0, 0, 9, 1]).expect("a write");
        assert_eq!(open().noted(), 0);
        std::fs::write(folder.path().join(NAME), [9; 16]).expect("a write");
        assert_eq!(open().noted(), 0);
    }

    #[test]
    fn it_is_noted_now_and_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut water = HighWater::open(folder.path()).expect("it opens");
        for (commits, millis, noted) in [(1, 0, 1), (2, 500, 1), (3, 999, 1), (4, 1_000, 4), (5, 900, 5), (6, 950, 5)] {
            water.reach(commits, Timestamp::from_micros(millis * 1_000)).expect("a write");
            assert_eq!(water.noted(), noted, "{commits}");
        }
    }
}
