//! The file: sled with the settings under which it keeps what it was given, and the sync that it leaves out.
//!
//! sled's `flush` does not reach the disk on Linux, so each commit ends with an `fdatasync` of our own. A value that
//! is larger than [`VALUE_BYTES_MAX`] would end in a file of its own that nobody syncs, so none is taken. sled may
//! panic on damaged files; that is caught here and told as the damage that it is. No type of sled leaves this file.

use std::{
    cell::RefCell,
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    panic::{self, AssertUnwindSafe, Location},
    path::{Path, PathBuf},
    sync::Once,
    thread,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::{
    OpenError,
    disk::{Changes, Disk, Fault, KEY_BYTES_MAX, Record, SEGMENT_BYTES, Scan, VALUE_BYTES_MAX, Value, is_full},
    nudge::Nudge,
    staging::Staging,
};

/// What sled may keep in memory; a larger cache makes writing no faster.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// The open file.
pub(super) struct SledFile {
    /// Goes first, so that the last handle on the tree is the one below, or one that a nudge in the making still has.
    nudge: Nudge,
    tree: sled::Db,
    /// Our own handle on sled's file, for the sync.
    file: File,
}

impl SledFile {
    /// Opens the file in a folder, and makes it where it is missing.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::HighThroughput)
            .use_compression(false)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None);
        remove_half_made(folder).map_err(|cause| OpenError::Folder { folder: folder.into(), cause })?;
        let tree = open_patiently(folder, &config)?;
        let file = File::open(folder.join("db")).map_err(|cause| OpenError::Folder { folder: folder.into(), cause })?;
        sync_names(folder)?;
        let other = tree.clone();
        // What comes of it the flush that is nudged tells as well.
        let flush = move || drop(other.flush());
        Ok(Self { nudge: Nudge::start(flush).map_err(OpenError::Thread)?, tree, file })
    }
}

impl Disk for SledFile {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, Fault> {
        Ok(flat(caught(|| self.tree.get(key)))?.map(value))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        Box::new(Walk(self.tree.range(from.to_vec()..to.to_vec())))
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        Box::new(Walk(self.tree.scan_prefix(prefix)))
    }

    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            let bytes = value.as_ref().map_or(0, Vec::len);
            if bytes > VALUE_BYTES_MAX || key.len() > KEY_BYTES_MAX {
                return Err(Fault::TooLarge { key, bytes });
            }
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        flat(caught(|| self.tree.apply_batch(batch)))
    }

    fn sync(&self) -> Result<(), Fault> {
        flat(self.nudge.watched(|| caught(|| self.tree.flush())))?;
        self.file.sync_data().map_err(Fault::of_io)
    }

    fn size_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// A walk over records.
struct Walk(sled::Iter);

impl Iterator for Walk {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        record(caught(|| self.0.next()))
    }
}

fn record(step: Result<Option<sled::Result<(sled::IVec, sled::IVec)>>, String>) -> Option<Result<Record, Fault>> {
    match step {
        Ok(None) => None,
        Ok(Some(Ok((key, held)))) => Some(Ok((value(key), value(held)))),
        Ok(Some(Err(error))) => Some(Err(of_sled(error))),
        Err(_) => Some(Err(Fault::Panicked(BROKE_OFF.into()))),
    }
}

fn value(held: sled::IVec) -> Value {
    Value::of(held)
}

fn flat<T>(outcome: Result<sled::Result<T>, String>) -> Result<T, Fault> {
    outcome.map_err(|_| Fault::Panicked(BROKE_OFF.into()))?.map_err(of_sled)
}

/// What a panic of sled's says is of use to nobody who looks after a store.
const BROKE_OFF: &str = "sled broke off while it read its files";

fn of_sled(error: sled::Error) -> Fault {
    match error {
        sled::Error::Io(cause) => Fault::of_io(of_system(cause)),
        error => Fault::File(words_of(&error)),
    }
}

/// sled hands an error of the system on as its `Debug` words; this is the error again, with the system's own words.
fn of_system(cause: io::Error) -> io::Error {
    let words = cause.to_string();
    let code = words.strip_prefix("Os { code: ").and_then(|rest| rest.split(',').next()?.parse().ok());
    code.map_or(cause, io::Error::from_raw_os_error)
}

/// Runs a step; a panic comes back as its words and its place, in a file without its folders, and is not printed by itself.
pub(super) fn caught<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        /// None where panics are printed as usual; else the place of the last one.
        static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    }
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(place_of).unwrap_or_default();
            let is_caught = PLACE.with_borrow_mut(|known| known.as_mut().map(|known| *known = place)).is_some();
            if !is_caught {
                usual(panic);
            }
        }));
    });
    let outer = PLACE.replace(Some(String::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(step));
    let place = PLACE.replace(outer).unwrap_or_default();
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("{} at {place}", text.as_deref().unwrap_or("a panic without words"))
    })
}

/// Where the program was built is nobody's business.
fn place_of(location: &Location<'_>) -> String {
    let file = location.file().rsplit('/').next().unwrap_or_default();
    format!("{file}:{}", location.line())
}

/// Makes the folder, and lets nobody else in: it holds students' data.
pub(super) fn make_private(folder: &Path) -> Result<(), OpenError> {
    let failed = |cause| OpenError::Folder { folder: folder.into(), cause };
    // What the system would say of it ("File exists") helps nobody.
    if folder.exists() && !folder.is_dir() {
        return Err(failed(io::Error::other("it is a file, and must be a folder")));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Removes snapshots that sled was making when it was killed or the disk was full. It would take such a one for the
/// newest, and itself for damaged. A snapshot only shortens the opening, and gets its name when it is whole. What an import
/// has left behind goes too.
fn remove_half_made(folder: &Path) -> io::Result<()> {
    let mut half_made = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b"snap.") && name.as_bytes().ends_with(b".generating") {
            half_made.push(entry.path());
        }
    }
    if (half_made.is_empty() && !Staging::is_in(folder)) || !folder.join("db").exists() {
        return Ok(());
    }
    // Not while another process is making it. It is told later that the store is locked.
    let file = File::open(folder.join("db"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => half_made.iter().try_for_each(fs::remove_file).and_then(|()| Staging::clear(folder)),
        Err(_) => Ok(()),
    }
}

/// A file is only as safe as its name: syncs what sled writes once and never syncs, and the folders that name it.
fn sync_names(folder: &Path) -> Result<(), OpenError> {
    let parent = fs::canonicalize(folder).ok().and_then(|whole| whole.parent().map(PathBuf::from));
    let paths = [Some(folder.join("conf")), Some(folder.join("db")), Some(folder.into()), parent];
    for path in paths.into_iter().flatten() {
        match File::open(&path).and_then(|file| file.sync_all()) {
            // The parent may be closed to us, as a mount point's often is; the folder itself never is.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !path.starts_with(folder) => {}
            outcome => outcome.map_err(|cause| OpenError::Folder { folder: folder.into(), cause })?,
        }
    }
    Ok(())
}

/// A store that was closed just now may still be held for a blink by one of sled's threads, which outlive it. So a
/// locked store is tried some times more.
fn open_patiently(folder: &Path, config: &sled::Config) -> Result<sled::Db, OpenError> {
    let mut tries = LOCK_TRIES;
    loop {
        tries -= 1;
        let opened = caught(|| config.open());
        let opened = opened.map_err(|_| OpenError::Damaged { folder: folder.into(), detail: BROKE_OFF.into() })?;
        match opened.map_err(|error| open_error(folder, error)) {
            Err(OpenError::Locked { .. }) if tries > 0 => thread::sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
}

pub(super) const LOCK_TRIES: u32 = 50;
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(20);

fn open_error(folder: &Path, error: sled::Error) -> OpenError {
    let folder = folder.into();
    match error {
        sled::Error::Io(cause) if cause.to_string().contains("could not acquire lock") => OpenError::Locked { folder },
        sled::Error::Io(cause) if is_full(&cause) => OpenError::Full { folder },
        sled::Error::Io(cause) => OpenError::Folder { folder, cause },
        other => OpenError::Damaged { folder, detail: words_of(&other) },
    }
}

/// What sled says, without the mark of a trace that it was not built to take.
fn words_of(error: &sled::Error) -> String {
    let words = error.to_string();
    words.strip_suffix(" backtrace ()").map_or(words.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_has_its_own_words() {
        let own = || io::Error::from_raw_os_error(5);
        // As sled clones it.
        let handed_on = io::Error::new(own().kind(), format!("{:?}", own()));
        assert_eq!(of_system(handed_on).to_string(), own().to_string());
        assert_eq!(of_system(io::Error::other("something else")).to_string(), "something else");
    }

    #[test]
    fn a_panic_names_no_folder() {
        let words = caught(|| panic!("it is no good")).expect_err("it panics");
        assert!(words.starts_with("it is no good at file.rs:"), "{words}");
    }

    #[test]
    fn of_damage_its_place_is_told_and_no_trace() {
        let words = words_of(&sled::Error::Corruption { at: None, bt: () });
        assert_eq!(words, "Read corrupted data at file offset None");
    }
}
