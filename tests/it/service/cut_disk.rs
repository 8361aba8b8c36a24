//! A disk that can lose its power: a file system in a loop device whose image lies on btrfs, where a reflink copies it
//! atomically. The copy holds what had reached the device at that moment, and nothing of what was only in memory.
//!
//! What is mounted is unmounted when the value is dropped, also after a panic. Whoever uses it ends its worker before.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Which file system lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    fn make(self, image: &Path) -> Result<(), String> {
        match self {
            Self::Ext4 => run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image)),
            Self::Xfs => run(Command::new("mkfs.xfs").args(["-q", "-f"]).arg(image)),
        }
    }

    /// A copy has the same identity as what it was made from, and XFS must be told that this is meant.
    fn options(self) -> &'static str {
        match self {
            Self::Ext4 => "loop",
            Self::Xfs => "loop,nouuid",
        }
    }
}

/// The disk, mounted.
pub(crate) struct CutDisk {
    file_system: FileSystem,
    cuts: u32,
    // In the order in which they must go: the disk lies on the btrfs, and that in the folder.
    disk: Mount,
    outer: Mount,
    _folder: tempfile::TempDir,
}

/// The image of a disk at the moment at which the power went.
pub(crate) struct Cut {
    image: PathBuf,
    at: PathBuf,
    file_system: FileSystem,
}

impl CutDisk {
    /// Makes and mounts it, or says why this machine cannot.
    pub(crate) fn prepare(file_system: FileSystem) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("passback-power-").tempdir().map_err(|error| error.to_string())?;
        let inside = |name: &str| folder.path().join(name);
        make_file(&inside("outer.img"), OUTER_BYTES)?;
        run(Command::new("mkfs.btrfs").arg("-q").arg(inside("outer.img")))?;
        let outer = Mount::of(&inside("outer.img"), &inside("outer"), "loop")?;
        let image = outer.at.join(IMAGE);
        make_file(&image, DISK_BYTES)?;
        file_system.make(&image)?;
        let disk = Mount::of(&image, &inside("disk"), file_system.options())?;
        Ok(Self { file_system, cuts: 0, disk, outer, _folder: folder })
    }

    /// Which file system lies on it.
    pub(crate) fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.disk.at
    }

    /// Copies it as it is at this moment.
    pub(crate) fn cut(&mut self) -> Cut {
        self.cuts += 1;
        let image = self.outer.at.join(format!("cut-{}.img", self.cuts));
        copy(&self.outer.at.join(IMAGE), &image);
        Cut { image, at: self.outer.at.with_file_name(format!("cut-{}", self.cuts)), file_system: self.file_system }
    }

    /// Goes on with what a cut has left, as after the power has come back. Nobody may have a file open on it.
    pub(crate) fn go_on_with(&mut self, cut: &Cut) {
        self.disk.unmount();
        fs::remove_file(self.outer.at.join(IMAGE)).expect("the old disk goes");
        copy(&cut.image, &self.outer.at.join(IMAGE));
        let at = self.disk.at.clone();
        self.disk = Mount::of(&self.outer.at.join(IMAGE), &at, self.file_system.options()).expect("a mount");
    }
}

impl Cut {
    /// Mounts it for as long as `look` looks at it.
    pub(crate) fn mounted<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        let scratch = self.image.with_extension("scratch");
        copy(&self.image, &scratch);
        let mount = Mount::of(&scratch, &self.at, self.file_system.options()).expect("what a cut leaves is mounted");
        let seen = look(&mount.at);
        drop(mount);
        fs::remove_file(&scratch).expect("it goes");
        seen
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // If it stays, it goes with the folder.
        let _ = fs::remove_file(&self.image);
    }
}

/// A mounted image. The loop device goes with the mount.
struct Mount {
    at: PathBuf,
    is_mounted: bool,
}

impl Mount {
    fn of(image: &Path, at: &Path, options: &str) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run(Command::new("mount").args(["-o", options]).arg(image).arg(at))?;
        Ok(Self { at: at.to_owned(), is_mounted: true })
    }

    /// A process that has just died may keep the mount busy for a blink.
    fn unmount(&mut self) {
        for _ in 0..UNMOUNT_TRIES {
            if !self.is_mounted || run(Command::new("umount").arg(&self.at)).is_ok() {
                self.is_mounted = false;
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        // Whoever still has it open keeps it; it goes when they do.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
        self.is_mounted = false;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.unmount();
        let _ = fs::remove_dir(&self.at);
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--reflink=always").args([from, to])).expect("btrfs makes reflinks");
}

fn make_file(path: &Path, bytes: u64) -> Result<(), String> {
    fs::File::create(path).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    // Programs that only root needs are not on everybody's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.env("PATH", path).stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

const IMAGE: &str = "disk.img";
/// Sparse, like everything in it. XFS is not made smaller than 300 MB.
const DISK_BYTES: u64 = 320 << 20;
const OUTER_BYTES: u64 = 4 << 30;
const UNMOUNT_TRIES: u32 = 40;
