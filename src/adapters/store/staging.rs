//! A store in the making: it is written in a folder inside the one it is for, and takes its place there at one stroke.
//!
//! That stroke is the renaming of sled's file. Before it the folder holds what it held, afterwards the new store, and
//! nothing in between, whenever the power fails. What belongs to the old file alone (snapshots, which only shorten the
//! opening, and the high-water mark) is removed before.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    process::geteuid,
};

use super::{
    OpenError,
    file::{SledFile, make_private},
    highwater::{self, HighWater},
};

/// The folder in which a store is made.
const NAME: &str = ".in-the-making";

/// What is in the place of the new store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No store.
    Free,
    /// A store, which goes if it is still as it was seen.
    Taken(Seen),
}

/// A store's file as it was seen while it was locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Seen {
    pub(super) fn in_folder(folder: &Path) -> Result<Self, OpenError> {
        let metadata = fs::metadata(folder.join("db"));
        metadata.map(|metadata| Self::of(&metadata)).map_err(|cause| OpenError::Folder { folder: folder.into(), cause })
    }

    fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), bytes: file.len(), changed: (file.mtime(), file.mtime_nsec()) }
    }
}

/// The folder in which a store is made. It is removed with all that is in it unless it was put in place.
pub(super) struct Staging {
    folder: PathBuf,
    inside: PathBuf,
    /// The folder was made for it.
    is_new_folder: bool,
}

impl Staging {
    /// Removes what an import that was killed has left behind in the folder of a store that nobody has open.
    pub(super) fn clear(folder: &Path) -> io::Result<()> {
        let inside = folder.join(NAME);
        let is_made = File::open(inside.join("db"))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
        match if is_made { Ok(()) } else { fs::remove_dir_all(inside) } {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Begins a store for `folder`. What an earlier one has left behind there goes; one that is still made is left alone.
    pub(super) fn begin(folder: &Path) -> Result<Self, OpenError> {
        let failed = |cause| OpenError::Folder { folder: folder.into(), cause };
        let is_new_folder = !folder.exists();
        make_private(folder)?;
        let inside = folder.join(NAME);
        Self::clear(folder).map_err(failed)?;
        if inside.exists() {
            return Err(OpenError::Locked { folder: inside });
        }
        make_private(&inside)?;
        let staging = Self { folder: folder.to_owned(), inside, is_new_folder };
        staging.give_to_owner().map_err(failed)?;
        Ok(staging)
    }

    /// Opens the file of the store that is made.
    pub(super) fn open(&self) -> Result<SledFile, OpenError> {
        let disk = SledFile::open(&self.inside)?;
        let failed = |cause| OpenError::Folder { folder: self.folder.clone(), cause };
        self.give_to_owner().map(|()| disk).map_err(failed)
    }

    /// Gives what is made, and what sled has written beside the old file, to whoever owns the folder. It may be made by
    /// root for a worker that is somebody else, and must be able to open it, or to clear it away.
    fn give_to_owner(&self) -> io::Result<()> {
        let owner = fs::metadata(&self.folder)?;
        give(&self.inside, &owner)?;
        for folder in [&self.folder, &self.inside] {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if matches!(
                    entry.file_name().as_encoded_bytes(),
                    b"db" | b"conf" | b"blobs" | b"highwater" | [b's', b'n', b'a', b'p', b'.', ..]
                ) {
                    give(&entry.path(), &owner)?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is one in a folder, or was.
    pub(super) fn is_in(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Whether something in a folder was left behind by a staging.
    pub(super) fn is_its_own(name: &std::ffi::OsStr) -> bool {
        name == NAME
    }

    /// Puts the store in its place. Whoever had either open must have closed it. The old one cannot be locked without a gap
    /// then; if somebody else has used it in that blink, it stays.
    /// `commits` are in the new one: whoever opens it and finds fewer knows that its files were damaged meanwhile.
    pub(super) fn install(self, place: Place, commits: u64) -> Result<(), OpenError> {
        let failed = |cause| OpenError::Folder { folder: self.folder.clone(), cause };
        // sled's threads outlive it for a blink.
        let new = lock(&self.inside)?;
        let old = match place {
            Place::Taken(seen) => Some(self.lock_as_seen(seen)?),
            Place::Free => None,
        };
        self.move_in(place).map_err(failed)?;
        let noted = HighWater::open(&self.folder).map_err(failed)?.settle(commits);
        noted.map_err(|fault| failed(io::Error::other(fault)))?;
        self.give_to_owner().map_err(failed)?;
        drop((old, new));
        Ok(())
    }

    fn lock_as_seen(&self, seen: Seen) -> Result<File, OpenError> {
        let old = lock(&self.folder)?;
        // A new one may have been put there, and the one that is locked have no name any more.
        if Seen::in_folder(&self.folder)? == seen {
            Ok(old)
        } else {
            Err(OpenError::Changed { folder: self.folder.clone() })
        }
    }

    fn move_in(&self, place: Place) -> io::Result<()> {
        if place == Place::Free && self.folder.join("db").exists() {
            return Err(io::Error::other("somebody has made a store there meanwhile"));
        }
        // A value that is moved out there would not come along. No record is large enough for it.
        if fs::read_dir(self.inside.join("blobs")).is_ok_and(|mut blobs| blobs.next().is_some()) {
            return Err(io::Error::other("a record of the new store is too large"));
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == highwater::NAME || name.as_encoded_bytes().starts_with(b"snap.") {
                fs::remove_file(entry.path())?;
            }
        }
        self.give_to_owner()?;
        for name in ["db", "conf"] {
            File::open(self.inside.join(name))?.sync_all()?;
        }
        fs::rename(self.inside.join("conf"), self.folder.join("conf"))?;
        // The old store must have forgotten its snapshots before it can be gone.
        File::open(&self.folder)?.sync_all()?;
        let flags = if place == Place::Free { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        renameat_with(CWD, self.inside.join("db"), CWD, self.folder.join("db"), flags)?;
        File::open(&self.folder)?.sync_all()?;
        if let Some(parent) = fs::canonicalize(&self.folder)?.parent()
            && let Ok(parent) = File::open(parent)
        {
            parent.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays behind is removed by the next one.
        let _ = fs::remove_dir_all(&self.inside);
        if self.is_new_folder {
            // Only if it is empty.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Gives a file or folder to the owner of another, as root may. Nobody else can; then it stays whose it is.
fn give(path: &Path, owner: &Metadata) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if (found.uid(), found.gid()) == (owner.uid(), owner.gid()) || !geteuid().is_root() {
        return Ok(());
    }
    lchown(path, Some(owner.uid()), Some(owner.gid()))
}

/// Locks the file of a store that nobody has open.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |cause| OpenError::Folder { folder: folder.into(), cause };
    let file = File::open(folder.join("db")).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        thread::sleep(LOCK_PAUSE);
    }
    Err(OpenError::Locked { folder: folder.into() })
}

const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(folder: &Path, text: &str) -> Staging {
        let staging = Staging::begin(folder).expect("a staging");
        for name in ["db", "conf"] {
            fs::write(staging.inside.join(name), text).expect("a write");
        }
        staging
    }

    #[test]
    fn it_takes_the_place_of_the_old_one_at_one_stroke() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("store");
        staged(&folder, "old").install(Place::Free, 7).expect("the place is free");
        fs::write(folder.join("snap.0"), "old").expect("a write");
        fs::write(folder.join(highwater::NAME), "old").expect("a write");
        fs::write(folder.join("operator.token"), "kept").expect("a write");
        assert!(staged(&folder, "new").install(Place::Free, 7).is_err(), "what is there is not written over unasked");
        assert_eq!(fs::read(folder.join("db")).expect("the old one"), b"old");
        let seen = Seen::in_folder(&folder).expect("it is there");
        staged(&folder, "new").install(Place::Taken(seen), 7).expect("it is put in place");
        let mut names: Vec<_> = fs::read_dir(&folder).expect("a folder").flatten().map(|e| e.file_name()).collect();
        names.sort();
        assert_eq!(names, ["conf", "db", "highwater", "operator.token"]);
        assert_eq!(fs::read(folder.join("db")).expect("the new one"), b"new");
    }

    #[test]
    fn a_store_that_somebody_has_used_meanwhile_stays() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("store");
        staged(&folder, "old").install(Place::Free, 7).expect("the place is free");
        let seen = Seen::in_folder(&folder).expect("it is there");
        let staging = staged(&folder, "new");
        fs::write(folder.join("db"), "old and more").expect("a write");
        assert!(matches!(staging.install(Place::Taken(seen), 7), Err(OpenError::Changed { .. })));
        let seen = Seen::in_folder(&folder).expect("it is there");
        let staging = staged(&folder, "new");
        fs::write(folder.join("other"), "old and less").expect("a write");
        fs::rename(folder.join("other"), folder.join("db")).expect("another import");
        assert!(matches!(staging.install(Place::Taken(seen), 7), Err(OpenError::Changed { .. })));
        assert_eq!(fs::read(folder.join("db")).expect("it stays"), b"old and less");
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_folder() {
        let above = tempfile::tempdir().expect("a folder");
        if !geteuid().is_root() {
            // Nobody else can give a file away, and it is no error.
            let own = fs::metadata(above.path()).expect("it is there");
            return give(Path::new("/"), &own).expect("it is left alone");
        }
        let folder = above.path().join("store");
        staged(&folder, "old").install(Place::Free, 7).expect("the place is free");
        for path in [folder.clone(), folder.join("db"), folder.join("conf")] {
            lchown(path, Some(4_711), Some(4_712)).expect("root may");
        }
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).expect("it is there");
        let seen = Seen::in_folder(&folder).expect("it is there");
        let staging = staged(&folder, "new");
        assert_eq!(owner(&staging.inside), (4_711, 4_712), "the worker can clear it away");
        staging.install(Place::Taken(seen), 7).expect("it is put in place");
        assert_eq!(fs::read(folder.join("db")).expect("the new one"), b"new");
        for name in ["db", "conf"] {
            assert_eq!(owner(&folder.join(name)), (4_711, 4_712), "{name}");
        }
    }

    #[test]
    fn what_is_not_put_in_place_leaves_nothing_behind() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("store");
        drop(staged(&folder, "new"));
        assert!(!folder.exists());
        fs::create_dir_all(folder.join(NAME)).expect("as after a kill");
        fs::write(folder.join(NAME).join("db"), "half").expect("a write");
        let other = File::open(folder.join(NAME).join("db")).expect("a file");
        flock(&other, FlockOperation::NonBlockingLockExclusive).expect("nobody has it");
        assert!(matches!(Staging::begin(&folder), Err(OpenError::Locked { .. })), "another one is at work");
        drop(other);
        drop(staged(&folder, "new"));
        assert!(fs::read_dir(&folder).expect("it was there before").next().is_none());
    }
}
