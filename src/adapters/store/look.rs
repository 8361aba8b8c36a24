//! A look at the folder of a store from outside, for `passback check`: whether it could be used, and whether somebody
//! uses it. sled stays shut, nothing is made that stays, and a worker that runs there is not disturbed.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock, statvfs},
    process::geteuid,
};

/// What was seen.
#[derive(Debug)]
pub enum FolderLook {
    /// There is no folder yet.
    Missing {
        /// The nearest folder above that is there, in which it would be made.
        above: PathBuf,
        /// Whether it can be made there.
        makeable: io::Result<()>,
    },
    /// It is no folder, or cannot be looked at.
    Unusable(io::Error),
    /// There is one.
    There(Folder),
}

/// A folder that is there.
#[derive(Debug)]
pub struct Folder {
    /// The permission bits.
    pub mode: u32,
    /// The number of the user that owns it.
    pub owner: u32,
    /// The number of the user that looks.
    pub user: u32,
    /// What came of writing and syncing a few bytes into a file without a name.
    pub written: io::Result<()>,
    /// Room that is left on the disk, in bytes; none where the system does not say.
    pub room_bytes: Option<u64>,
    /// The size of the store's file; none where there is no store yet.
    pub store_bytes: Option<u64>,
    /// Whether a process has the store open.
    pub in_use: bool,
}

/// Looks at a folder. Blocks as long as the disk does.
pub fn look(folder: &Path) -> FolderLook {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => FolderLook::There(look_inside(folder, &found)),
        Ok(_) => FolderLook::Unusable(io::Error::from(io::ErrorKind::NotADirectory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = folder.ancestors().skip(1).find(|above| above.exists());
            let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // Rights alone do not tell: nobody makes a folder under /proc.
            let makeable = tempfile::tempdir_in(above).and_then(tempfile::TempDir::close);
            FolderLook::Missing { above: above.to_owned(), makeable }
        }
        Err(error) => FolderLook::Unusable(error),
    }
}

fn look_inside(folder: &Path, found: &Metadata) -> Folder {
    let file = folder.join("db");
    Folder {
        mode: found.mode() & 0o7777,
        owner: found.uid(),
        user: geteuid().as_raw(),
        written: write_something(folder),
        room_bytes: statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        store_bytes: fs::metadata(&file).ok().map(|file| file.len()),
        in_use: is_in_use(&file),
    }
}

/// Writes and syncs a few bytes where nobody sees them.
fn write_something(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&[0; 4096])?;
    file.sync_all()
}

/// sled holds its file locked for itself alone. Our own lock is shared, and given back at once: whoever opens the store in
/// that blink tries again.
fn is_in_use(file: &Path) -> bool {
    let Ok(file) = File::open(file) else { return false };
    let locked = flock(&file, FlockOperation::NonBlockingLockShared);
    matches!(locked, Err(rustix::io::Errno::WOULDBLOCK))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_look_sees_what_is_there_and_leaves_nothing_behind() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("deep/store");
        let FolderLook::Missing { above: found, makeable } = look(&folder) else { panic!("it is not there") };
        assert!(found == above.path() && makeable.is_ok() && !folder.exists());
        fs::create_dir_all(&folder).expect("it is made");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).expect("it is ours");
        let FolderLook::There(seen) = look(&folder) else { panic!("it is there") };
        assert_eq!((seen.mode, seen.owner, seen.store_bytes, seen.in_use), (0o750, seen.user, None, false));
        assert!(seen.written.is_ok() && seen.room_bytes.is_some_and(|bytes| bytes > 0), "{seen:?}");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0);
        assert!(matches!(look(&folder.join("no/such")), FolderLook::Missing { .. }));
        fs::write(folder.join("file"), "x").expect("a file");
        assert!(matches!(look(&folder.join("file")), FolderLook::Unusable(_)));
    }

    #[test]
    fn a_store_that_somebody_has_open_is_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create(folder.path().join("db")).expect("a file");
        let in_use = || matches!(look(folder.path()), FolderLook::There(Folder { in_use: true, .. }));
        assert!(!in_use());
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");
        assert!(in_use());
        flock(&file, FlockOperation::Unlock).expect("it is ours");
        assert!(!in_use());
    }
}
