//! The folder of the store. The store itself stays shut: whether it opens is tried on a copy.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Remark, STEP_LIMIT, Section};
use crate::adapters::store::{
    RESERVE_BYTES,
    look::{Folder, FolderLook, look},
    proof::{Proof, prove},
};
use crate::domain::ledger::Rules;

/// Looks at the folder and judges what was seen.
pub(super) async fn section(path: &Path, rules: Rules) -> Vec<Remark> {
    let mut section = Section::named("store", whole(path).display().to_string());
    match look_in_time(path.to_owned()).await {
        Some(looked) => {
            judge(&mut section, &looked);
            if is_at_rest(&looked) {
                let path = path.to_owned();
                judge_proof(&mut section, in_time(move || prove(&path, rules)).await);
            }
        }
        None => {
            let seen = format!("the disk did not answer within {} s", STEP_LIMIT.as_secs());
            section.fail("folder", seen, "the disk hangs: look at the machine's own log, and at the mount");
        }
    }
    section.done()
}

/// The path from the root on: `.` and `store` say little to whoever stands elsewhere.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What is seen of a folder; none where its disk hangs.
pub(super) async fn look_in_time(path: PathBuf) -> Option<FolderLook> {
    in_time(move || look(&path)).await
}

/// A thread of its own, which a disk that hangs keeps without keeping us.
async fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new().name("look".to_owned()).spawn(move || drop(tell.send(work()))).ok()?;
    timeout(STEP_LIMIT, told).await.ok()?.ok()
}

/// Whether there is a store that nobody has open.
fn is_at_rest(looked: &FolderLook) -> bool {
    matches!(looked, FolderLook::There(folder) if folder.store_bytes.is_some() && !folder.in_use && folder.written.is_ok())
}

fn judge_proof(section: &mut Section, proof: Option<Proof>) {
    const HOW: &str = "docs/operations.md says how to go on, under \"A damaged store\"";
    match proof {
        Some(Proof::Sound { jobs }) => section.ok("open", format!("it opens, and is sound; jobs in it: {jobs}")),
        Some(Proof::Flawed(why)) => section.warn("open", format!("it opens, and some of it is damaged: {why}"), HOW),
        Some(Proof::Unusable(why)) => section.fail("open", why, HOW),
        Some(Proof::NotTried(why)) => section.ok("open", format!("not tried: {why}")),
        None => section.ok("open", format!("not tried: its files could not be read within {} s", STEP_LIMIT.as_secs())),
    }
}

fn judge(section: &mut Section, looked: &FolderLook) {
    match looked {
        FolderLook::Missing { above, makeable: Ok(()) } => {
            section
                .ok("folder", format!("it is not there yet; the first start makes it in {}", whole(above).display()));
        }
        FolderLook::Missing { above, makeable: Err(error) } => {
            let seen = format!("it is not there, and {} cannot be written: {error}", above.display());
            section.fail("folder", seen, "make the folder and give it to the user that runs the worker");
        }
        FolderLook::Unusable(error) => {
            section.fail("folder", told(error), "[store] path must name a folder that this user can enter");
        }
        FolderLook::There(folder) => judge_folder(section, folder),
    }
}

fn judge_folder(section: &mut Section, folder: &Folder) {
    match &folder.written {
        Ok(()) => section.ok("folder", "it can be written and synced"),
        Err(error) if is_full(error) => section.fail("folder", "the disk is full", "make room: 32 MiB are enough"),
        Err(error) => section.fail(
            "folder",
            format!("it cannot be written: {}", told(error)),
            "give the folder to the user that runs the worker (and check that it is not mounted read-only)",
        ),
    }
    owner(section, folder);
    if let (Ok(()), Some(room)) = (&folder.written, folder.room_bytes) {
        judge_room(section, room);
    }
    match (folder.store_bytes, folder.in_use) {
        // A folder that is closed to us shows nothing of what is in it.
        (None, _) if folder.written.is_err() => {}
        (None, _) => section.ok("use", "there is no store in it yet"),
        (Some(bytes), true) => section.ok("use", format!("a worker runs here; the store has {}", size(bytes))),
        (Some(bytes), false) => section.ok("use", format!("no worker runs here; the store has {}", size(bytes))),
    }
}

fn owner(section: &mut Section, folder: &Folder) {
    let others = folder.mode & 0o077;
    if folder.owner != folder.user {
        let seen = format!("it belongs to the user {}, and this check runs as {}", folder.owner, folder.user);
        section.warn("owner", seen, "run the worker, and this check, as the user that the folder belongs to");
    } else if others != 0 {
        let seen = format!("others on this machine may look into it (mode {:04o})", folder.mode);
        section.warn("owner", seen, "the worker takes that away when it starts; it holds students' grades");
    } else {
        section.ok("owner", format!("it is this user's alone (mode {:04o})", folder.mode));
    }
}

/// The worker needs twice the reserve to go on after a full disk; below this many times as much it is a matter of days.
const ROOM_BYTES_WANTED: u64 = 16 * RESERVE_BYTES;

fn judge_room(section: &mut Section, room: u64) {
    let seen = format!("{} are free", size(room));
    if room < 2 * RESERVE_BYTES {
        section.fail("room", seen, "the worker takes nothing in on a full disk: make room");
    } else if room < ROOM_BYTES_WANTED {
        section.warn("room", seen, "make room before the disk is full: the worker takes nothing in then");
    } else {
        section.ok("room", seen);
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// tempfile says a path that nobody knows; the cause is what counts.
fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => error.kind().to_string(),
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes >= 10 * 1024 * MIB {
        format!("{} GiB", bytes / 1024 / MIB)
    } else {
        format!("{} MiB", bytes.div_ceil(MIB))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Mark, *};

    fn folder() -> Folder {
        let room_bytes = Some(1 << 40);
        Folder { mode: 0o700, owner: 7, user: 7, written: Ok(()), room_bytes, store_bytes: Some(1 << 20), in_use: true }
    }

    fn check(folder: Folder, status: Mark, step: &str, words: &str) {
        let mut section = Section::new("store");
        judge(&mut section, &FolderLook::There(folder));
        let remark = section.remarks.iter().find(|remark| remark.step == step).expect(step);
        assert!(remark.status == status && remark.seen.contains(words), "{step}: {remark:?}");
    }

    #[test]
    fn what_stands_in_the_way_of_a_store_is_named() {
        check(folder(), Mark::Ok, "use", "a worker runs here");
        check(Folder { in_use: false, ..folder() }, Mark::Ok, "use", "no worker runs here");
        check(Folder { mode: 0o755, ..folder() }, Mark::Warning, "owner", "0755");
        check(Folder { owner: 8, ..folder() }, Mark::Warning, "owner", "belongs to the user 8");
        check(Folder { room_bytes: Some(20 << 20), ..folder() }, Mark::Failed, "room", "20 MiB");
        check(Folder { room_bytes: Some(100 << 20), ..folder() }, Mark::Warning, "room", "100 MiB");
        check(folder(), Mark::Ok, "room", "1024 GiB");
        let denied = io::Error::from_raw_os_error(13);
        check(Folder { written: Err(denied), ..folder() }, Mark::Failed, "folder", "Permission denied");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        check(Folder { written: Err(full), ..folder() }, Mark::Failed, "folder", "the disk is full");
    }
}
