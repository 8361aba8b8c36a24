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

use crate::store_common::{
    Ears, SMALL, admit, assert_no_blobs, carry_out, lti11_event, open, open_with, order, rules, wait,
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
    let (store, ears) = open_with(folder.as_ref(), rules(), SMALL).expect("a store");
    match task.as_str() {
        "work" => work_for_ever(&store),
        "fill" => work_until_it_fails(&store, &ears),
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

/// Stores jobs until the store says no, and looks how it behaves then.
fn work_until_it_fails(store: &Store, ears: &Ears) {
    for student in 0.. {
        match wait(store.submit(order(admit(&lti11_event(student, 1_200), 1), NOW))) {
            Ok(Answer::Stored(id)) => say("stored", id),
            Ok(other) => panic!("not stored: {other:?}"),
            Err(error) => {
                say("failed", error);
                break;
            }
        }
    }
    assert!(!store.is_writable());
    let is_failure = |notice: &&Notice| matches!(notice, Notice::StoreFailed { .. });
    assert_eq!(ears.notices.lock().expect("no panic").iter().filter(is_failure).count(), 1, "it is told once");
    assert!(wait(store.submit(order(admit(&lti11_event(0, 1_200), 1), NOW))).is_err(), "a failure is final");
    let known = JobFilter::default();
    assert!(!store.list(&known, None, 10).expect("reads go on").jobs.is_empty());
    say("readable", "");
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
fn a_full_disk_is_loud_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // A limit on the size of files looks like a full disk to whoever writes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8000; exec \"$0\" \"$@\""]);
    limited.arg(env::current_exe().expect("a test binary has a path"));
    let output = other(&mut limited, folder.path(), "fill").wait_with_output().expect("it ends");
    let lines = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{lines}");
    let said = |what: &str| lines.lines().filter_map(|line| line.strip_prefix(what)).map(str::trim).collect::<Vec<_>>();
    assert_eq!((said("failed ").len(), said("readable").len()), (1, 1));
    let (store, _) = open(folder.path(), rules()).expect("there is room again");
    let stored = said("stored ");
    assert!(stored.len() > 100);
    for id in stored {
        let id = id.parse().expect("an id");
        assert!(store.job(id).expect("reading works").is_some(), "{id} was acknowledged and is not there");
    }
    let report = store.check().expect("reading works");
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn an_acknowledgement_leaves_after_the_sync_of_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let store = folder.path().join("store");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "64", "-e", "trace=fdatasync,fsync,pwrite64,pwritev,write", "-o"]).arg(&trace);
    strace.arg("--").arg(env::current_exe().expect("a test binary has a path"));
    let output = other(&mut strace, &store, "commit").wait_with_output().expect("it ends");
    let trace = fs::read_to_string(trace).expect("strace wrote it");
    assert!(output.status.success(), "strace failed: {trace}");
    let db = format!("{}>", store.join("db").display());
    let trace: Vec<&str> = trace.lines().collect();
    let find = |what: &[&str]| trace.iter().position(|line| what.iter().all(|part| line.contains(part)));
    let begin = find(&["write(1", "begin"]).expect("the mark before the commit");
    let acknowledged = find(&["write(1", "acknowledged"]).expect("the acknowledgement");
    let writes = |line: &&str| line.contains("pwrite64(") && line.contains(&db);
    let written = trace[..acknowledged].iter().rposition(writes).expect("the commit writes to db");
    assert!(begin < written, "nothing was written between the order and its acknowledgement");
    let synced = written + done(&trace[written..], "fdatasync", &db).expect("a sync of db follows the write");
    assert!(synced < acknowledged, "acknowledged at line {acknowledged}, synced at line {synced}");
    // What sled writes once when it makes a store, and never syncs.
    for name in ["store/conf>", "store>"] {
        assert!(done(&trace[..begin], "fsync", name).is_some(), "{name} was not synced");
    }
    assert_no_blobs(&store);
}

/// Where a call on a file has come back with success. strace splits a call when another thread calls in between.
fn done(trace: &[&str], call: &str, file: &str) -> Option<usize> {
    let begun = trace.iter().position(|line| line.contains(&format!("{call}(")) && line.contains(file))?;
    if trace[begun].ends_with("= 0") {
        return Some(begun);
    }
    let thread = trace[begun].split_whitespace().next()?;
    let ended = |line: &&str| line.starts_with(thread) && line.contains(&format!("{call} resumed"));
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
