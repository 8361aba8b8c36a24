//! A file system of a few MiB in memory, for tests of a full disk. It needs root; a machine that has none says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::service::power_cuts::aloud;

/// A mounted file system, which is gone when this is dropped.
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB on a folder, which is made. None, and a line that says why, where that is not allowed.
    pub(crate) fn mount(folder: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder");
        let mut mount = Command::new("mount");
        let options = format!("size={mib}m,mode=700");
        let output = mount.args(["-t", "tmpfs", "-o", &options, "passback-test"]).arg(folder).output();
        match output {
            Ok(output) if output.status.success() => Some(Self { folder: folder.into() }),
            other => {
                let why = other.map_or_else(
                    |error| error.to_string(),
                    |output| String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                );
                aloud(&format!("a full disk, because mounting a file system needs root: {why}"));
                None
            }
        }
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut step = vec![0; 1024 * 1024];
        let mut number = 0;
        while !step.is_empty() {
            let full = fs::write(self.filler(number), &step).is_err();
            number += 1;
            if full {
                step.truncate(step.len() / 2);
            }
        }
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        for entry in fs::read_dir(&self.folder).expect("the folder").flatten() {
            if entry.file_name().to_string_lossy().starts_with(FILLER) {
                fs::remove_file(entry.path()).expect("it goes");
            }
        }
    }

    fn filler(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{FILLER}{number}"))
    }
}

const FILLER: &str = "filler-";

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still uses it keeps it; its name goes at once.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "it can be unmounted");
    }
}
