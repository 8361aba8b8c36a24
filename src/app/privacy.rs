//! What the process and its files show to others on the machine: as little as the system allows.
//!
//! The process holds LTI secrets, private keys and tokens, and its store holds students' grades. So it leaves no core
//! dump, lets nobody of its own user read its memory or its environment, and every file that it makes is its owner's
//! alone. Whoever is root can read it all the same.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, setrlimit, umask},
};

/// What others than the owner may do with a file.
const OTHERS: u32 = 0o077;

/// Shuts the process off, before it reads anything secret. What the system refuses is told and stops nothing: a worker
/// that delivers grades is worth more than one that does not start.
pub fn shut_off() -> Result<(), io::Error> {
    umask(Mode::from_bits_truncate(OTHERS));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Also turns away debuggers and readers of /proc/PID/environ and /proc/PID/mem that run as the same user.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Makes a folder that only its owner enters, and takes what a store has in it already away from everybody else; what
/// else lies there is left as it is. Gives back the files that others could get at until now.
pub(super) fn keep_to_oneself(folder: &Path) -> io::Result<Vec<PathBuf>> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut open = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = folder.ends_with(BLOBS) || name.starts_with(SNAPSHOT) || NAMES.contains(&name.as_str());
        if !is_ours {
            continue;
        }
        let found = entry.metadata()?;
        if found.is_dir() {
            open.extend(keep_to_oneself(&entry.path())?);
        }
        let mode = found.permissions().mode();
        if !found.is_symlink() && mode & OTHERS != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(mode & !OTHERS))?;
            open.push(entry.path());
        }
    }
    Ok(open)
}

/// What the store and the worker keep in the folder of the store.
const NAMES: [&str; 6] = ["db", "conf", BLOBS, "highwater", "reserve", "operator.token"];
const BLOBS: &str = "blobs";
const SNAPSHOT: &str = "snap.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_read_is_taken_away_from_them_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("deep/store");
        assert_eq!(keep_to_oneself(&store).expect("it is made"), Vec::<PathBuf>::new());
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&store), 0o700);
        for (name, before) in [("db", 0o644), ("operator.token", 0o660), ("conf", 0o600), ("blobs/1", 0o604)] {
            let path = store.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            fs::write(&path, "x").expect("it is written");
            fs::set_permissions(&path, Permissions::from_mode(before)).expect("it is ours");
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "x").expect("it is written");
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o644)).expect("it is ours");
        std::os::unix::fs::symlink(&elsewhere, store.join("link")).expect("a link");
        let mut open = keep_to_oneself(&store).expect("it is read");
        open.sort();
        let named: Vec<_> = open.iter().map(|path| path.strip_prefix(&store).expect("inside")).collect();
        assert_eq!(named, ["blobs", "blobs/1", "db", "operator.token"].map(Path::new));
        for name in ["db", "operator.token", "conf", "blobs/1"] {
            assert_eq!(mode(&store.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&elsewhere), 0o644, "a link is not followed");
    }
}
