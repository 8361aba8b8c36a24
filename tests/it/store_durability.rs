//! What the store has acknowledged is on disk: after `kill -9` at any moment it is all there, and a trace of the system
//! calls shows that no acknowledgement leaves before its commit was synced.
//!
//! The tests start this binary again as another process, which works with a store until it is killed.

use std::{
    env,
    fmt::Display,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use passback::{
    adapters::store::{OpenError, Store},
    domain::{
        job::{JobId, StateName},
        ledger::{Answer, Work},
        notice::Notice,
        outcome::{Finding, Verdict},
        time::Timestamp,
        transition::Trial,
    },
    ports::{JobFilter, JobStore},
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    small_disk::SmallDisk,
    store_common::{
        RESERVE, SMALL, admit, assert_no_blobs, carry_out, lti11_event, open, open_with, order, rules, until, wait,
    },
};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// In the environment of the other process: its folder.
const FOLDER: &str = "PASSBACK_TEST_STORE";
/// And what it does there.
const TASK: &str = "PASSBACK_TEST_TASK";

/// The other process. Without the environment of one it is no test of anything.
#[test]
fn other_process() {
    let (Ok(folder), Ok(task)) = (env::var(FOLDER), env::var(TASK)) else {
        return;
    };
    let (store, _) = open_with(folder.as_ref(), rules(), SMALL).expect("a store");
    match task.as_str() {
        "work" => work_for_ever(&store),
        "mend" => one_commit_after_a_failure(&store),
        _ => one_commit(&store),
    }
}

/// Stores and delivers jobs in groups, and says so as soon as it is acknowledged.
fn work_for_ever(store: &Store) {
    let start = store.census().by_state.iter().sum::<u64>();
    for first in (start..).step_by(20) {
        let events: Vec<_> = (first..first + 20)
            .map(|student| store.submit(order(admit(&lti11_event(student, 1_200), 1), NOW)))
            .collect();
        let mut ids = Vec::new();
        for event in events {
            if let Ok(Answer::Stored(id)) = wait(event) {
                say("stored", id);
                ids.push(id);
            }
        }
        let ends: Vec<_> = ids
            .iter()
            .step_by(2)
            .map(|id| {
                (*id, store.submit(order(Work::Start { id: *id }, NOW)), {
                    let verdict = Verdict::without_reply(Finding::Accepted, "ok");
                    store.submit(order(Work::Finish { id: *id, verdict, trial: Trial::Regular }, NOW))
                })
            })
            .collect();
        for (id, _, end) in ends {
            if let Ok(Answer::Job(_)) = wait(end) {
                say("delivered", id);
            }
        }
    }
}

/// No file may grow, until the store has noticed; then one commit.
fn one_commit_after_a_failure(store: &Store) {
    let limit = |current| Rlimit { current, maximum: None };
    carry_out(store, admit(&lti11_event(2, 1_200), 1), NOW);
    setrlimit(Resource::Fsize, limit(Some(1))).expect("a limit of one's own");
    wait(store.submit(order(admit(&lti11_event(3, 1_200), 1), NOW))).expect_err("nothing can be written");
    setrlimit(Resource::Fsize, limit(None)).expect("a limit of one's own");
    until("the store to go on", || store.is_writable());
    one_commit(store);
}

fn one_commit(store: &Store) {
    say("begin", "");
    if let Answer::Stored(id) = carry_out(store, admit(&lti11_event(1, 1_200), 1), NOW) {
        say("acknowledged", id);
    }
}

/// A line in one write, so that a trace shows when.
fn say(what: &str, of: impl Display) {
    std::io::stdout().write_all(format!("\n{what} {of}\n").as_bytes()).expect("the parent reads");
    std::io::stdout().flush().expect("the parent reads");
}

fn other(program: &mut Command, folder: &Path, task: &str) -> Child {
    program
        .args(["--exact", "store_durability::other_process", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the process starts; strace is needed for one of these tests")
}

fn this_binary() -> Command {
    Command::new(env::current_exe().expect("a test binary has a path"))
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut stored, mut delivered) = (Vec::new(), Vec::new());
    for round in 1..=8 {
        let mut child = other(&mut this_binary(), folder.path(), "work");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut left = 37 * round;
        while let Some(Ok(line)) = lines.next() {
            match line.split_once(' ') {
                Some(("stored", id)) => stored.push(id.parse::<JobId>().expect("an id")),
                Some(("delivered", id)) => delivered.push(id.parse::<JobId>().expect("an id")),
                _ => continue,
            }
            left -= 1;
            if left == 0 {
                child.kill().expect("it runs");
            }
        }
        child.wait().expect("it was killed");
        assert!(left <= 0, "the other process ended by itself");
        let (store, _) = open(folder.path(), rules()).expect("the store opens after a kill");
        for id in &stored {
            assert!(store.job(*id).expect("reading works").is_some(), "{id} was acknowledged and is not there");
        }
        for id in &delivered {
            let state = store.job(*id).expect("reading works").map(|job| job.state_name());
            assert_eq!(state, Some(StateName::Delivered), "{id} was acknowledged as delivered");
        }
        let report = store.check().expect("reading works");
        assert!(report.is_sound(), "{report:?}");
        assert_no_blobs(folder.path());
    }
}

#[test]
fn a_full_disk_is_loud_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk/store");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 24) else { return };
    let (store, ears) = open_with(&path, rules(), SMALL).expect("a store");
    let submit = |store: &Store, work| wait(store.submit(order(work, NOW)));
    let mut stored: Vec<JobId> = Vec::new();
    let mut fill_up = |store: &Store| loop {
        match submit(store, admit(&lti11_event(stored.len() as u64, 30_000), 1)) {
            Ok(Answer::Stored(id)) => stored.push(id),
            Ok(other) => panic!("not stored: {other:?}"),
            Err(error) => {
                assert!(error.to_string().contains("is full: make room"), "{error}");
                return stored.clone();
            }
        }
    };
    let under_way = match submit(&store, admit(&lti11_event(1_000_000, 0), 1)) {
        Ok(Answer::Stored(id)) => id,
        other => panic!("not stored: {other:?}"),
    };
    carry_out(&store, Work::Start { id: under_way }, NOW);
    let known = fill_up(&store);
    assert!(known.len() > 100, "{} events fitted", known.len());
    assert!(!store.is_writable());
    let is_failure = |notice: &&Notice| matches!(notice, Notice::StoreFailed { .. });
    assert_eq!(ears.notices.lock().expect("no panic").iter().filter(is_failure).count(), 1, "it is told once");
    assert!(submit(&store, Work::Start { id: known[0] }).is_err());
    let list = || store.list(&JobFilter::default(), None, 10);
    until("the files to be opened anew, to be read", || list().is_ok_and(|page| page.jobs.len() == 10));
    assert!(!store.is_writable());
    drop(store);

    // There is still no room; so it opens, to be read, and takes nothing.
    disk.fill();
    let (store, _) = open_with(&path, rules(), SMALL).expect("it opens on a full disk");
    assert!(!store.is_writable() && submit(&store, Work::Start { id: known[0] }).is_err());
    assert!(store.job(known[0]).expect("reads go on").is_some());
    assert_eq!(store.cut_off(), [under_way]);
    disk.make_room();
    // A large disk, now.
    let larger = Command::new("mount").args(["-o", "remount,size=48m"]).arg(folder.path().join("disk")).status();
    assert!(larger.is_ok_and(|status| status.success()));
    until("it goes on by itself", || store.is_writable());
    let known = {
        let before = known.len();
        let all = fill_up(&store);
        assert!(all.len() > before + 100, "it has taken {} more", all.len() - before);
        all
    };
    let larger = Command::new("mount").args(["-o", "remount,size=64m"]).arg(folder.path().join("disk")).status();
    assert!(larger.is_ok_and(|status| status.success()));
    until("it goes on by itself, and opens the files anew", || store.is_writable());
    for id in &known {
        assert!(store.job(*id).expect("reading works").is_some(), "{id} was acknowledged and is not there");
    }
    let answer = submit(&store, Work::Interrupt { id: under_way, reply_lost: true });
    assert!(matches!(answer, Ok(Answer::Job(job)) if job.attempts.len() == 1), "what was under way is still so");
    let report = store.check().expect("reading works");
    assert!(report.is_sound(), "{report:?}");
    assert_no_blobs(&path);
    let reserve = fs::metadata(path.join("reserve")).expect("the reserve is there again");
    assert_eq!(reserve.len(), RESERVE);
}

#[test]
fn an_acknowledgement_leaves_after_the_sync_of_what_was_written() {
    let (trace, begin) = traced("commit");
    // What sled writes once when it makes a store, and never syncs.
    for name in ["store/conf>", "store>"] {
        assert!(done(&trace[..begin], "fsync", name).is_some(), "{name} was not synced");
    }
}

#[test]
fn a_store_that_was_opened_anew_syncs_before_it_acknowledges() {
    let (trace, begin) = traced("mend");
    assert!(trace[..begin].iter().any(|line| line.contains("EFBIG")), "a write has failed");
}

/// The system calls of another process with one commit, in which the acknowledgement leaves after the sync; and the
/// line at which that commit begins.
fn traced(task: &str) -> (Vec<String>, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let store = folder.path().join("store");
    let mut strace = Command::new("sh");
    strace.args(["-c", "trap '' XFSZ; exec strace \"$@\"", "sh"]);
    strace.args(["-f", "-y", "-s", "64", "-e", "trace=fdatasync,fsync,pwrite64,pwritev,write", "-o"]).arg(&trace);
    strace.arg("--").arg(env::current_exe().expect("a test binary has a path"));
    let output = other(&mut strace, &store, task).wait_with_output().expect("it ends");
    let trace = fs::read_to_string(trace).expect("strace wrote it");
    assert!(output.status.success(), "strace failed: {trace}");
    let db = format!("{}>", store.join("db").display());
    let trace: Vec<String> = trace.lines().map(str::to_owned).collect();
    let find = |what: &[&str]| trace.iter().position(|line| what.iter().all(|part| line.contains(part)));
    let begin = find(&["write(1", "begin"]).expect("the mark before the commit");
    let acknowledged = find(&["write(1", "acknowledged"]).expect("the acknowledgement");
    let writes = |line: &String| line.contains("pwrite64(") && line.contains(&db);
    let written = trace[..acknowledged].iter().rposition(writes).expect("the commit writes to db");
    assert!(begin < written, "nothing was written between the order and its acknowledgement");
    let synced = written + done(&trace[written..], "fdatasync", &db).expect("a sync of db follows the write");
    assert!(synced < acknowledged, "acknowledged at line {acknowledged}, synced at line {synced}");
    assert_no_blobs(&store);
    (trace, begin)
}

/// Where a call on a file has come back with success. strace splits a call when another thread calls in between.
fn done(trace: &[String], call: &str, file: &str) -> Option<usize> {
    let begun = trace.iter().position(|line| line.contains(&format!("{call}(")) && line.contains(file))?;
    if trace[begun].ends_with("= 0") {
        return Some(begun);
    }
    let thread = trace[begun].split_whitespace().next()?;
    let ended = |line: &String| line.starts_with(thread) && line.contains(&format!("{call} resumed"));
    let end = begun + trace[begun..].iter().position(ended)?;
    trace[end].ends_with("= 0").then_some(end)
}

#[test]
fn a_store_is_open_once_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a new store");
    let error = open(folder.path(), rules()).err().expect("it is locked");
    assert!(matches!(&error, OpenError::Locked { .. }) && error.to_string().contains("in use by another"), "{error}");
    drop(store);
    drop(open(folder.path(), rules()).expect("it is free again"));
}

#[test]
fn the_folder_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/data");
    drop(open(&path, rules()).expect("a new store"));
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn damaged_files_are_an_error_that_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a new store");
    for student in 0..200 {
        carry_out(&store, admit(&lti11_event(student, 1_200), 1), NOW);
    }
    drop(store);
    // sled writes a snapshot when it opens a store that has something in it.
    drop(open(folder.path(), rules()).expect("the same store"));
    let snapshot = fs::read_dir(folder.path()).expect("the folder").flatten();
    for file in snapshot.filter(|file| file.file_name().to_string_lossy().starts_with("snap")) {
        fs::write(file.path(), b"this is no snapshot of anything").expect("a write");
    }
    let error = open(folder.path(), rules()).err().expect("it cannot be read");
    assert!(error.to_string().contains("are damaged"), "{error}");
}

#[test]
fn a_kill_while_the_files_are_opened_does_no_harm() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a new store");
    carry_out(&store, admit(&lti11_event(1, 1_200), 1), NOW);
    // What sled leaves behind when it is killed while it writes a snapshot, or has no room for it.
    let half_made = folder.path().join("snap.00000000FFFFFFFF.generating");
    fs::write(&half_made, b"half of it").expect("a write");
    assert!(matches!(open(folder.path(), rules()).err(), Some(OpenError::Locked { .. })));
    assert!(half_made.exists(), "it may be another one's");
    drop(store);
    let (store, _) = open(folder.path(), rules()).expect("it opens");
    assert!(!half_made.exists());
    assert_eq!(store.census().by_state[0], 1);
}

#[test]
fn a_log_that_lost_its_end_is_not_taken_for_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (store, _) = open(path, rules()).expect("a new store");
    carry_out(&store, admit(&lti11_event(1, 1_200), 1), NOW);
    drop(store);
    let early = fs::read(path.join("db")).expect("the file as it was");
    let (store, _) = open(path, rules()).expect("the same store");
    carry_out(&store, admit(&lti11_event(2, 1_200), 1), NOW);
    drop(store);
    // As if the disk had never got what it had said that it has.
    fs::write(path.join("db"), early).expect("a write");
    for snapshot in fs::read_dir(path).expect("the folder").flatten() {
        if snapshot.file_name().to_string_lossy().starts_with("snap") {
            fs::remove_file(snapshot.path()).expect("it goes");
        }
    }
    let error = open(path, rules()).err().expect("something is missing");
    assert!(matches!(error, OpenError::Lost { commits: 1, .. }), "{error}");
    fs::remove_file(path.join("highwater")).expect("it goes");
    let (store, _) = open(path, rules()).expect("what is left");
    assert_eq!(store.census().by_state[0], 1);
}

#[test]
fn a_closed_store_answers_with_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a new store");
    let pending: Vec<_> =
        (0..300).map(|student| store.submit(order(admit(&lti11_event(student, 0), 1), NOW))).collect();
    store.close().expect("a clean end");
    for answer in pending {
        assert!(matches!(wait(answer), Ok(Answer::Stored(_))), "what was submitted before the end is carried out");
    }
    assert!(!store.is_writable());
    assert!(wait(store.submit(order(admit(&lti11_event(1, 0), 1), NOW))).is_err());
    assert!(store.due(&store.platforms().expect("reading works")[0].origin, None, 1).is_ok(), "reads go on");
}
