//! Copies of a store: taken while it is in use, and made a store again; its export, and the import of that. What comes
//! back is what was there.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use passback::{
    adapters::store::{
        Store,
        copying::{CopyError, Copying},
        import::{ImportError, Imported, Wholeness, import},
        restore::{Damaged, RestoreError, Taken, Taking},
    },
    domain::{
        audit::Word,
        bulk::{Change, Standing, Task},
        drawer::Drawer,
        job::{JobId, StateName},
        ledger::{Answer, Rules, Work},
        outcome::{FailureReason, Finding, Verdict},
        time::Timestamp,
        transition::Trial,
    },
    ports::{JobFilter, JobStore as _},
};
use serde_json::{Value, json};

use crate::{
    store_common::{
        SMALL, Strike, admit, assert_no_blobs, carry_out, lti11_event, open, open_on, open_with, rules, until,
    },
    store_golden::{goes_on, lines, make},
};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

fn finish(store: &Store, id: JobId, finding: Finding) {
    assert!(matches!(carry_out(store, Work::Start { id }, NOW), Answer::Job(_)));
    let verdict = Verdict::without_reply(finding, "words");
    assert!(matches!(carry_out(store, Work::Finish { id, verdict, trial: Trial::Regular }, NOW), Answer::Job(_)));
}

fn stored(store: &Store, event: &str, luck: u128) -> JobId {
    match carry_out(store, admit(event, luck), NOW) {
        Answer::Stored(id) => id,
        other => panic!("not stored: {other:?}"),
    }
}

/// All bytes of a copy.
fn bytes_of(copying: &mut Copying) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = copying.step().expect("a copy") {
        bytes.extend(piece);
    }
    bytes
}

fn restored(bytes: &[u8], folder: &Path) -> Result<u64, RestoreError> {
    Ok(taken(bytes, folder, Damaged::IsRefused)?.jobs)
}

fn taken(bytes: &[u8], folder: &Path, damaged: Damaged) -> Result<Taken, RestoreError> {
    let mut taking = Taking::begin(folder)?;
    // In pieces that end anywhere.
    for piece in bytes.chunks(1_013) {
        taking.take(piece)?;
    }
    taking.finish(rules(), damaged)
}

fn jobs(store: &Store) -> BTreeSet<(JobId, StateName)> {
    let mut jobs = BTreeSet::new();
    let mut before = None;
    loop {
        let page = store.list(&JobFilter::default(), before, 500).expect("reading works");
        jobs.extend(page.jobs.iter().map(|job| (job.id, job.state_name())));
        let Some(next) = page.next else { return jobs };
        before = Some(next);
    }
}

/// Four senders and their deliveries go on while the store is copied, again and again. `SMALL` makes parts, runs and
/// settled entries of a few jobs, so that every kind of record changes behind the walk.
#[test]
fn a_copy_of_a_store_in_use_holds_all_that_was_acknowledged_before_and_is_one_moment_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open_with(&folder.path().join("store"), rules(), SMALL).expect("a store");
    let store = Arc::new(store);
    let (acknowledged, student) = (Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let busy = || {
        while !done.load(Ordering::Relaxed) {
            let student = student.fetch_add(1, Ordering::Relaxed);
            let id = stored(&store, &lti11_event(student, 700), student.into());
            acknowledged.lock().expect("no panic").insert(id);
            match student % 3 {
                0 => finish(&store, id, Finding::Accepted),
                1 => finish(&store, id, Finding::Unsendable(FailureReason::UnknownKey)),
                _ => {}
            }
        }
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(busy)).collect();
        for round in 0..4 {
            let wanted = 150 * (round + 1);
            until("some jobs", || acknowledged.lock().expect("no panic").len() >= wanted);
            let before = acknowledged.lock().expect("no panic").clone();
            let bytes = bytes_of(&mut Copying::of(&store).expect("no other copy"));
            let copy = folder.path().join(format!("copy-{round}"));
            // It was checked: what follows from its jobs is there, and nothing else.
            let count = restored(&bytes, &copy).expect("a sound copy");
            let (copied, _) = open_with(&copy, rules(), SMALL).expect("a store");
            let found: BTreeSet<_> = jobs(&copied).into_iter().map(|(id, _)| id).collect();
            assert_eq!((before.difference(&found).count(), found.len() as u64), (0, count));
            assert_no_blobs(&copy);
        }
        done.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().expect("no panic");
        }
    });
}

#[test]
fn what_is_copied_at_rest_is_the_same_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, copy) = (folder.path().join("store"), folder.path().join("copy"));
    make(&from);
    let bytes = bytes_of(&mut Copying::of_stopped(&from).expect("nobody has it open"));
    restored(&bytes, &copy).expect("a sound copy");
    assert!(lines(&copy) == lines(&from), "a copy holds the same");
    let (store, _) = open_with(&copy, rules(), SMALL).expect("a store");
    assert_eq!(store.cut_off().len(), 2, "attempts that were under way are known as cut off");
    goes_on(&store);
}

/// Whatever spot of a copy goes bad on its shelf: it opens with every job, or it says that it is damaged.
#[test]
fn a_copy_that_was_damaged_later_is_never_taken_for_a_smaller_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open_with(&folder.path().join("store"), rules(), SMALL).expect("a store");
    for student in 0..300 {
        stored(&store, &lti11_event(student, 700), student.into());
    }
    let bytes = bytes_of(&mut Copying::of(&Arc::new(store)).expect("no other copy"));
    let copy = folder.path().join("copy");
    assert_eq!(restored(&bytes, &copy).expect("a sound copy"), 300);
    let db = fs::read(copy.join("db")).expect("its file");
    let (mut refused, mut whole) = (0, 0);
    for spot in 0..40 {
        let damaged = tempfile::tempdir().expect("a folder");
        for entry in fs::read_dir(&copy).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), damaged.path().join(entry.file_name())).expect("a copy");
        }
        let mut bytes = db.clone();
        let at = db.len() * spot / 40;
        bytes[at..(at + 64).min(db.len())].iter_mut().for_each(|byte| *byte ^= 0x55);
        if spot % 4 == 3 {
            bytes.truncate(at);
        }
        fs::write(damaged.path().join("db"), bytes).expect("a write");
        match open_with(damaged.path(), rules(), SMALL) {
            Ok((store, _)) => {
                assert_eq!(jobs(&store).len(), 300, "spot {spot}: jobs are gone without a word");
                whole += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused} refused, {whole} whole");
}

/// One record of a store is damaged, and the store serves the others: its copy is kept by whoever says so.
#[test]
fn a_copy_of_a_damaged_store_is_kept_only_by_whoever_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, copy) = (folder.path().join("store"), folder.path().join("copy"));
    let (store, _) = open_with(&from, rules(), SMALL).expect("a store");
    for student in 0..30 {
        stored(&store, &lti11_event(student, 700), student.into());
    }
    drop(store);
    {
        let tree = sled::Config::new().path(&from).use_compression(false).segment_size(512 * 1024).open();
        let tree = tree.expect("nobody has it open");
        let (key, event) = tree.scan_prefix(b"b").nth(3).expect("there are some").expect("reading works");
        tree.insert(key, &event[..event.len() / 2]).expect("a write");
        tree.flush().expect("a sync");
    }
    let bytes = bytes_of(&mut Copying::of_stopped(&from).expect("nobody has it open"));
    let refused = taken(&bytes, &copy, Damaged::IsRefused).expect_err("it is damaged").to_string();
    assert!(refused.contains("--keep-damaged") && !copy.exists(), "{refused}");
    let kept = taken(&bytes, &copy, Damaged::IsKept).expect("it is wanted");
    assert!(kept.damages.as_ref().is_some_and(|damages| damages.contains("is damaged")), "{kept:?}");
    let (restored, _) = open_with(&copy, rules(), SMALL).expect("it serves whatever can be read");
    assert!((20..30).contains(&jobs(&restored).len()), "the other jobs are there");
}

#[test]
fn a_copy_that_is_not_whole_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = folder.path().join("store");
    make(&from);
    let bytes = bytes_of(&mut Copying::of_stopped(&from).expect("nobody has it open"));
    let check = |bytes: &[u8], words: &str| {
        let copy = folder.path().join("copy");
        let error = restored(bytes, &copy).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!copy.exists(), "nothing is left of it");
    };
    let header = bytes.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
    check(&bytes[..bytes.len() - 1], "broke off");
    check(&bytes[..header], "broke off");
    check(&[], "broke off");
    check(&[&bytes[..], b"P"].concat(), "more after its end");
    check(&[&bytes[..header], b"X\x00\x03why"].concat(), "not kept: why");
    check(b"<html>\n", "no header");
    check(&vec![b' '; 5_000], "no header");
    check(b"{\"passback_copy\": 2, \"jobs\": 1, \"parts\": 1}\n", "use the worker's version");
    let mut other = bytes.clone();
    let in_an_event = bytes.len() / 2;
    other[in_an_event] ^= 1;
    let copy = folder.path().join("copy");
    assert!(restored(&other, &copy).is_err() && !copy.exists());
    fs::create_dir(&copy).expect("a folder");
    fs::write(copy.join("mine"), "x").expect("a write");
    assert!(matches!(restored(&bytes, &copy), Err(RestoreError::NotEmpty(_))));
    assert!(copy.join("mine").exists());
}

#[test]
fn there_is_one_copy_at_a_time_and_one_that_is_given_up_makes_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a store");
    let store = Arc::new(store);
    let mut first = Copying::of(&store).expect("no other copy");
    first.step().expect("a header");
    assert!(matches!(Copying::of(&store), Err(CopyError::UnderWay)));
    drop(first);
    let bytes = bytes_of(&mut Copying::of(&store).expect("no other copy any more"));
    // One that has come to its end makes room before it is dropped.
    let copy = folder.path().join("copy");
    assert_eq!(restored(&bytes, &copy).expect("an empty store is one too"), 0);
}

#[test]
fn a_store_that_is_opened_anew_meanwhile_ends_the_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = crate::store_common::FaultyDisk::default();
    let (store, _) = open_on(folder.path(), disk.opener()).expect("a store");
    let store = Arc::new(store);
    stored(&store, &lti11_event(1, 300), 1);
    let mut copying = Copying::of(&store).expect("no other copy");
    copying.step().expect("a header");
    disk.strike(Strike::AtApply);
    let refused =
        crate::store_common::wait(store.submit(crate::store_common::order(admit(&lti11_event(2, 300), 2), NOW)));
    assert!(refused.is_err());
    until("the store to be opened anew", || store.is_writable());
    assert!(matches!(copying.step(), Err(CopyError::Reopened)));
    drop(copying);
    assert!(Copying::of(&store).is_ok());
}

/// A kill in the middle of an import leaves the store as it was, and what was made aside goes at the next start.
#[test]
fn what_a_killed_import_leaves_behind_is_removed_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    make(&store);
    let before = lines(&store);
    let aside = store.join(".in-the-making");
    make(&aside);
    let at_work = open_with(&aside, rules(), SMALL).expect("as an import has it");
    assert!(bring_in(&store, &before, Wholeness::Needed).is_err_and(|error| error.to_string().contains("in use")));
    drop(open_with(&store, rules(), SMALL).expect("a store"));
    assert!(aside.exists(), "one that is made is left alone");
    drop(at_work);
    until("sled to let go of it", || {
        drop(open_with(&store, rules(), SMALL).expect("a store"));
        !aside.exists()
    });
    assert!(lines(&store) == before, "the store is as it was");
}

fn bring_in(folder: &Path, text: &str, wholeness: Wholeness) -> Result<Imported, ImportError> {
    let spare = tempfile::tempdir().expect("a folder");
    let file = spare.path().join("lines");
    fs::write(&file, text).expect("a write");
    let mut file = File::open(file).expect("a file");
    import(folder, &mut file, wholeness, (rules(), NOW), &mut |_, _, _| {})
}

#[test]
fn export_import_export_is_the_same_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("store"), folder.path().join("other"));
    make(&from);
    let (store, _) = open_with(&from, rules(), SMALL).expect("a store");
    for (number, drawer) in (0_u8..).zip(Drawer::ALL) {
        for (key, record) in [(vec![number; 16], b"{\"who\": \"ops\"}".to_vec()), (vec![number; 32], vec![0xff, 0, 7])]
        {
            carry_out(&store, Work::PutNote { drawer, key, record: Some(record) }, NOW);
        }
    }
    drop(store);
    let text = lines(&from);
    assert_eq!(text.lines().filter(|line| line.contains("\"kind\":\"note\"")).count(), 2 * Drawer::ALL.len());
    let count = text.lines().filter(|line| line.contains("\"kind\":\"job\"")).count() as u64;
    let imported = bring_in(&to, &text, Wholeness::Needed).expect("good lines");
    assert_eq!(imported, Imported { jobs: count, in_all: count, ..Imported::default() });
    assert!(lines(&to) == text, "what was written comes back as it was");
    assert_no_blobs(&to);
    // In whatever order the lines come, and a second time.
    let mut back: Vec<&str> = text.lines().collect();
    back[1..].reverse();
    let again = folder.path().join("again");
    bring_in(&again, &back.join("\n"), Wholeness::Needed).expect("good lines");
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(sorted(&lines(&again)) == sorted(&text), "in another order it is the same");
    let imported = bring_in(&to, &text, Wholeness::Needed).expect("good lines");
    assert_eq!(imported, Imported { known: count, in_all: count, ..Imported::default() });
    assert!(lines(&to) == text, "what was written comes back as it was");
    let (store, _) = open_with(&to, rules(), SMALL).expect("a store");
    assert_eq!(store.cut_off().len(), 2);
    goes_on(&store);
}

#[test]
fn bad_lines_are_named_by_number_and_nothing_is_imported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("store"), folder.path().join("other"));
    make(&from);
    let text = lines(&from);
    let lines_of = || text.lines().map(str::to_owned).collect::<Vec<_>>();
    let job = lines_of().iter().position(|line| line.contains("\"kind\":\"job\"")).expect("a job");
    let check = |lines: &[String], words: &str| {
        let error = bring_in(&to, &lines.join("\n"), Wholeness::Needed).expect_err(words).to_string();
        assert!(error.contains("nothing was imported") && error.contains(words), "{words}: {error}");
        assert!(!to.exists(), "nothing is left of it");
    };
    let change = |member: &str, value: Value| {
        let mut lines = lines_of();
        let mut line: Value = serde_json::from_str(&lines[job]).expect("JSON");
        line[member] = value;
        lines[job] = line.to_string();
        lines
    };
    let number = job + 1;
    check(&change("state", json!("lost")), &format!("line {number}: unknown variant `lost`"));
    check(&change("colour", json!("red")), &format!("line {number}: unknown field `colour`"));
    check(&change("cell", json!("xyz")), &format!("line {number}: cell: must be hexadecimal"));
    check(&change("cell", json!("ab")), &format!("line {number}: cell: must have 32"));
    check(&change("id", json!("17")), &format!("line {number}: is not a job id"));
    check(&change("event", json!("{}")), &format!("line {number}: event: "));
    check(&change("attempts", json!([{"started_at": "now"}])), &format!("line {number}: "));
    check(&change("kind", json!("jab")), &format!("line {number}: kind: \"jab\" is unknown"));
    check(
        &change("kind", json!("j".repeat(100_000))),
        &format!("line {number}: kind: \"{}\" is unknown", "j".repeat(120)),
    );
    let mut twice = lines_of();
    twice.insert(job + 1, twice[job].clone());
    check(&twice, &format!("line {}: is job", number + 1));
    let mut torn = lines_of();
    torn[job].truncate(100);
    torn[job + 1] = "[]".to_owned();
    check(&torn, &format!("line {number}: is no JSON"));
    check(&torn, &format!("line {}: is no JSON object", number + 1));
    let mut short = lines_of();
    short.pop();
    check(&short, "cut short");
    short.remove(job);
    short.push(lines_of().pop().expect("an end"));
    check(&short, "its end tells of");
    let imported = bring_in(&to, &short.join("\n"), Wholeness::Waived).expect("it is taken as it is");
    assert_eq!(imported.jobs + 1, lines_of().iter().filter(|line| line.contains("\"kind\":\"job\"")).count() as u64);
}

/// A new worker has taken events already when the jobs of the old one come to it.
#[test]
fn jobs_of_two_stores_are_put_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let event = |student: u64, score: u32, second: u32| {
        let mut event: Value = serde_json::from_str(&lti11_event(student, 300)).expect("an event");
        event["event_id"] = format!("{student}-{score}").into();
        event["score"] = score.into();
        event["occurred_at"] = format!("2026-01-01T00:00:{second:02}Z").into();
        event.to_string()
    };
    let (waits, given_up, repeated, newer) = {
        let (store, _) = open_with(&old, rules(), SMALL).expect("a store");
        let waits = stored(&store, &event(1, 5, 10), 1);
        let given_up = stored(&store, &event(2, 5, 10), 2);
        finish(&store, given_up, Finding::Unsendable(FailureReason::UnknownKey));
        let repeated = stored(&store, &event(3, 5, 10), 3);
        let newer = stored(&store, &event(4, 5, 30), 4);
        (waits, given_up, repeated, newer)
    };
    let text = lines(&old);
    let (newest, older_there) = {
        let (store, _) = open_with(&new, rules(), SMALL).expect("a store");
        let newest = stored(&store, &event(1, 8, 20), 11);
        stored(&store, &event(3, 5, 10), 12);
        let older_there = stored(&store, &event(4, 2, 20), 13);
        // As many as make parts, settled entries and runs of both.
        for student in 100..140 {
            stored(&store, &lti11_event(student, 300), student.into());
        }
        (newest, older_there)
    };
    fs::write(new.join("operator.token"), "kept").expect("a write");
    let in_use = open_with(&new, rules(), SMALL).expect("a store");
    let refused = bring_in(&new, &text, Wholeness::Needed).expect_err("it is in use").to_string();
    assert!(refused.contains("stop that one first"), "{refused}");
    drop(in_use);
    // As it is where root imports for a worker that runs as somebody else; only root may do this.
    let was_given = chown(&new, Some(4_711), Some(4_712)).is_ok();
    let imported = bring_in(&new, &text, Wholeness::Needed).expect("good lines");
    assert_eq!(imported, Imported { jobs: 3, repeated: 1, in_all: 46, ..Imported::default() });
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).expect("it is there");
    assert_eq!(owner(&new) == (4_711, 4_712), was_given);
    for name in ["db", "conf"] {
        assert_eq!(owner(&new.join(name)), owner(&new), "{name}");
    }
    assert!(new.join("operator.token").exists());
    let (store, _) = open_with(&new, rules(), SMALL).expect("a store");
    assert!(store.check().expect("reading works").is_sound());
    let state = |id| store.job(id).expect("reading works").map(|job| job.state_name());
    assert_eq!(state(waits), Some(StateName::Superseded), "a newer grade is in its cell");
    assert_eq!(state(newest), Some(StateName::Queued));
    assert_eq!(state(given_up), Some(StateName::Flagged));
    assert_eq!(state(repeated), None, "its event is there under another id");
    assert_eq!(state(newer), Some(StateName::Queued));
    assert_eq!(state(older_there), Some(StateName::Superseded), "the one that came is newer");
    assert!(matches!(carry_out(&store, admit(&event(2, 5, 10), 50), NOW), Answer::Duplicate(id) if id == given_up));
    finish(&store, newest, Finding::Accepted);
    assert!(matches!(carry_out(&store, admit(&lti11_event(999, 300), 99), NOW), Answer::Stored(_)));
}

/// The front job of a cell could not be read when the lines were written: the next one takes its place.
#[test]
fn a_job_whose_front_is_missing_goes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let kept = Rules { supersede: false, ..rules() };
    let event = |second: u32| {
        let mut event: Value = serde_json::from_str(&lti11_event(1, 300)).expect("an event");
        event["event_id"] = second.to_string().into();
        event["occurred_at"] = format!("2026-01-01T00:00:{second:02}Z").into();
        event.to_string()
    };
    let [front, next, last] = {
        let (store, _) = open_with(&old, kept, SMALL).expect("a store");
        [10, 20, 30].map(|second| stored(&store, &event(second), second.into()))
    };
    let text = lines(&old);
    let without: Vec<&str> = text.lines().filter(|line| !line.contains(&front.to_string())).collect();
    assert_eq!(without.len() + 1, text.lines().count());
    let spare = folder.path().join("lines");
    fs::write(&spare, without.join("\n")).expect("a write");
    let mut spare = File::open(spare).expect("a file");
    let imported = import(&new, &mut spare, Wholeness::Waived, (kept, NOW), &mut |_, _, _| {}).expect("good lines");
    assert_eq!(imported.jobs, 2);
    let (store, due) = open_with(&new, kept, SMALL).expect("a store");
    assert!(store.check().expect("reading works").is_sound());
    drop(due);
    assert!(matches!(carry_out(&store, Work::Start { id: last }, NOW), Answer::NotNow), "it still waits");
    finish(&store, next, Finding::Accepted);
    finish(&store, last, Finding::Accepted);
}

/// What an admin wanted done to the jobs of one store is not done to those of another.
#[test]
fn a_bulk_change_that_was_under_way_is_over_in_a_store_of_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new, fresh) = (folder.path().join("old"), folder.path().join("new"), folder.path().join("fresh"));
    let begin = |path: &Path, student: u64, key: u8| {
        let (store, _) = open_with(path, rules(), SMALL).expect("a store");
        stored(&store, &lti11_event(student, 300), student.into());
        let task = Task::new(Change::Discard, Word::of("ops"), json!({}), None, NOW);
        for (drawer, record) in [(Drawer::Bulk, task.record()), (Drawer::Audit, task.entry().record())] {
            carry_out(&store, Work::PutNote { drawer, key: vec![key; 16], record: Some(record) }, NOW);
        }
    };
    begin(&old, 1, 1);
    begin(&new, 2, 2);
    let text = lines(&old);
    let task = |path: &Path, key: u8| {
        let (store, _) = open_with(path, rules(), SMALL).expect("a store");
        let read = |drawer| store.note(drawer, &[key; 16]).expect("reading works").expect("it is there");
        let entry: Value = serde_json::from_slice(&read(Drawer::Audit)).expect("JSON");
        (Task::read(&read(Drawer::Bulk)).expect("a task"), entry["count"].clone())
    };
    bring_in(&fresh, &text, Wholeness::Needed).expect("good lines");
    assert_eq!(task(&fresh, 1).0.standing, Standing::Running, "it is the same store elsewhere");
    bring_in(&fresh, &text, Wholeness::Needed).expect("good lines");
    assert_eq!(task(&fresh, 1).0.standing, Standing::Running, "nothing came to it");
    bring_in(&new, &text, Wholeness::Needed).expect("good lines");
    for key in [1, 2] {
        let (task, count) = task(&new, key);
        assert_eq!((task.standing, task.ended_at, count), (Standing::Failed, Some(NOW), json!(0)), "{key}");
        assert!(task.error.is_some_and(|words| words.contains("another store")));
    }
}

/// Whatever is imported fits the records of a store, and a worker can go on from it.
#[test]
fn what_no_store_can_hold_is_refused_by_line_and_member() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("store"), folder.path().join("other"));
    make(&from);
    let text = lines(&from);
    let check = |kind: &str, member: &str, value: Value, words: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let of_attempt = member.starts_with("/attempts/");
        let fits = |line: &Value| if of_attempt { line["attempts"][0].is_object() } else { line["state"] == "flagged" };
        let is_it = |line: &Value| line["kind"] == kind && (kind != "job" || fits(line));
        let found = lines.iter_mut().enumerate().find_map(|(at, line)| {
            let read: Value = serde_json::from_str(line).expect("JSON");
            is_it(&read).then_some((at, line, read))
        });
        let (at, line, mut read) = found.expect("a line of this kind");
        *read.pointer_mut(member).expect("a member") = value;
        *line = read.to_string();
        let error = bring_in(&to, &lines.join("\n"), Wholeness::Needed).expect_err(words).to_string();
        let wanted = format!("line {}: {words}", at + 1);
        assert!(error.contains(&wanted) && error.len() < 400, "{wanted}: {error}");
        assert!(!to.exists(), "nothing is left of it");
    };
    let (long, longer) = (json!("x".repeat(5_000)), json!("x".repeat(2_000_000)));
    check("job", "/attempts/0/message", long.clone(), "message of an attempt: is longer than 4096 bytes");
    check("job", "/attempts/0/outcome", long.clone(), "outcome: ");
    check("job", "/attempts/0/http_status", json!(7), "http_status of an attempt: ");
    check("job", "/attempts/0/duration_us", json!(u64::MAX), "duration_us of an attempt: ");
    check("job", "/attempts/0/started_at", json!("2199-01-01T00:00:00Z"), "started_at of an attempt: ");
    check("job", "/session_id", longer.clone(), "session_id: is longer than 65536 bytes");
    check("job", "/platform", long.clone(), "platform: is longer than 300 bytes");
    check("job", "/reason", Value::Null, "reason: is missing");
    check("job", "/tries", json!(u32::MAX), "tries: is greater than");
    check("job", "/ends", json!(u32::MAX), "ends: is greater than");
    check("job", "/attempts_omitted", json!(u32::MAX), "attempts_omitted: is greater than");
    check("job", "/id", json!(JobId::LAST), "id: is of a time after the year 2099");
    check("job", "/id", json!("81JD8Y3K5V7Q2W9XZB4N6M8P0R"), "is not a job id");
    for member in ["occurred_at", "created_at", "updated_at", "ended_at"] {
        let moment = json!("9999-12-31T23:59:59Z");
        check("job", &format!("/{member}"), moment, &format!("{member}: is after the year 2099"));
    }
    let large = json!(format!("{{\"user_id\": \"{}\"}}", "u".repeat(70_000)));
    check("job", "/event", large, "event: ");
    check("column", "/url", longer.clone(), "url: is longer than 65536 bytes");
    check("platform", "/client_id", longer, "client_id: is longer than 65536 bytes");
    check("platform", "/origin", long, "origin: is longer than 300 bytes");
    check("platform", "/held_since", json!("9999-12-31T23:59:59Z"), "held_since: is after the year 2099");
    check("store", "/format", json!(99), "was written by passback");
}
