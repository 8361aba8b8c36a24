//! The reserve: a file of some size beside the store that holds nothing. sled needs room to open its files, so a disk
//! that is quite full would keep a store shut which could at least be read. Then the reserve is given up, the store is
//! opened, and it takes no writes until the reserve can be made again, with as much room beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

/// The name of the file.
const NAME: &str = "reserve";

/// How much is written at once where a file system cannot set room aside.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Of a disk that has not room for all of it: half of it, a quarter, an eighth.
const PARTS: u32 = 4;

/// `st_blocks` counts in these, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// The file.
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// The reserve of a folder, of so many bytes; nothing is done yet.
    pub(super) fn in_folder(folder: &Path, bytes: u64) -> Self {
        Self { path: folder.join(NAME), bytes }
    }

    /// Makes it, unless it is whole already.
    pub(super) fn make(&self) -> io::Result<()> {
        if self.is_whole() { Ok(()) } else { self.set_aside(self.bytes) }
    }

    /// Makes it, and succeeds only if there is as much room again. Whoever has seen a full disk asks for so much, lest
    /// it fill up again at once. Where it fails, what there is of the reserve is kept, and as much more as fits: whatever
    /// else fills the disk must not take the room to open the store once more.
    pub(super) fn make_with_margin(&self) -> io::Result<()> {
        let held = fs::metadata(&self.path).map_or(0, |file| file.len().min(self.bytes));
        let made = self.set_aside(self.bytes.saturating_mul(2));
        if self.path.exists() {
            let keep = if made.is_ok() { self.bytes } else { held };
            OpenOptions::new().write(true).open(&self.path)?.set_len(keep)?;
        }
        if made.is_err() {
            let parts = (0..PARTS).map(|halved| self.bytes >> halved).take_while(|part| *part > held);
            let grown = { parts }.any(|part| self.set_aside(part).is_ok());
            if held == 0 && !grown {
                self.release()?;
            }
        }
        made
    }

    /// Gives it up.
    pub(super) fn release(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn is_whole(&self) -> bool {
        let whole = |file: fs::Metadata| file.len() == self.bytes && file.blocks() * BLOCK_BYTES >= self.bytes;
        fs::metadata(&self.path).is_ok_and(whole)
    }

    fn set_aside(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(&file, bytes)?,
            outcome => outcome?,
        }
        file.sync_all()
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let step = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&ZEROS[..step])?;
        left -= step as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 256 * 1024;

    #[test]
    fn it_holds_room_until_it_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = Reserve::in_folder(folder.path(), BYTES);
        let blocks = || fs::metadata(folder.path().join(NAME)).map_or(0, |file| file.blocks() * BLOCK_BYTES);
        reserve.make().expect("there is room");
        assert!(blocks() >= BYTES && reserve.is_whole());
        reserve.make_with_margin().expect("there is room");
        assert!((BYTES..2 * BYTES).contains(&blocks()) && reserve.is_whole(), "the margin is given back");
        reserve.release().expect("it goes");
        reserve.release().expect("it is gone");
        assert!(blocks() == 0 && !reserve.is_whole());
        fs::write(folder.path().join(NAME), b"short").expect("a write");
        reserve.make_with_margin().expect("there is room");
        assert!(reserve.is_whole());
    }

    #[test]
    fn where_the_margin_does_not_fit_what_there_is_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = |bytes| Reserve::in_folder(folder.path(), bytes);
        reserve(BYTES).make().expect("there is room");
        // No disk has room for so much.
        reserve(u64::MAX / 4).make_with_margin().expect_err("there is no room");
        assert!(reserve(BYTES).is_whole());
    }

    #[test]
    fn where_room_cannot_be_set_aside_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = Reserve::in_folder(folder.path(), BYTES + 7);
        write_zeros(&File::create(&reserve.path).expect("a file"), BYTES + 7).expect("there is room");
        assert!(reserve.is_whole());
    }

    #[test]
    fn where_there_is_no_room_it_says_so_and_leaves_nothing_half_made() {
        let folder = tempfile::tempdir().expect("a folder");
        // More than any disk has.
        let reserve = Reserve::in_folder(folder.path(), 1 << 60);
        assert!(reserve.make_with_margin().is_err());
        assert!(!folder.path().join(NAME).exists());
    }
}
