//! Damaged files: whatever bytes of a store are flipped, zeroed, moved or cut off, it opens or says what to do, and what
//! can be asked of it is answered or refused. Nothing panics and nothing hangs.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use passback::{
    adapters::store::{
        OpenError, Store, export,
        look::{FolderLook, look},
    },
    domain::{
        job::JobId,
        ledger::{Answer, Work},
        outcome::{FailureReason, Finding, Verdict},
        time::Timestamp,
        transition::Trial,
    },
    ports::{JobFilter, JobStore},
};
use serde_json::Value;

use crate::store_common::{SMALL, admit, carry_out, lti11_event, open_with, order, rules, until, wait};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// How many ways of damage; a campaign takes more.
const DAMAGES: &str = "PASSBACK_DAMAGES";

/// No step takes so long, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store with jobs in every state, made by many commits, opened twice so that it has a snapshot.
pub(crate) fn sample(folder: &Path) -> Vec<JobId> {
    let (store, _) = open_with(folder, rules(), SMALL).expect("a new store");
    let mut ids = Vec::new();
    for student in 0..60 {
        let Answer::Stored(id) = carry_out(&store, admit(&lti11_event(student, 4_000), 1), NOW) else {
            panic!("it is stored");
        };
        ids.push(id);
        if student % 3 > 0 {
            carry_out(&store, Work::Start { id }, NOW);
        }
        let end =
            |finding| Work::Finish { id, verdict: Verdict::without_reply(finding, "words"), trial: Trial::Regular };
        match student % 6 {
            1 => drop(carry_out(&store, end(Finding::Accepted), NOW)),
            2 => drop(carry_out(&store, end(Finding::Unsendable(FailureReason::UnknownKey)), NOW)),
            4 => drop(carry_out(&store, end(Finding::Failed(FailureReason::Timeout)), NOW)),
            _ => {}
        }
    }
    drop(store);
    drop(open_with(folder, rules(), SMALL).expect("the same store"));
    ids
}

/// Chance with a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).expect("it is below the limit")
    }
}

/// Damages one file of a store in one way; says how.
fn damage(folder: &Path, chance: &mut Chance) -> String {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file() && path.file_name().is_some_and(|name| name != "reserve"));
    files.sort();
    // Most of the bytes are in sled's log.
    let log = folder.join("db");
    let path = if chance.below(3) > 0 { &log } else { &files[chance.below(files.len())] };
    let mut bytes = fs::read(path).expect("a file");
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (from, len) = (chance.below(used), 1 + chance.below(6_000));
    let to = (from + len).min(bytes.len());
    let how = match chance.below(8) {
        _ if bytes.is_empty() => {
            bytes = vec![7; len];
            format!("{len} bytes written to it, which was empty")
        }
        0..=2 => {
            bytes[from] ^= 1 << chance.below(8);
            format!("a bit at {from} flipped")
        }
        3 => {
            bytes[from..to].fill(0);
            format!("{from}..{to} zeroed")
        }
        4 => {
            bytes[from..to].iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).expect("a byte"));
            format!("{from}..{to} overwritten")
        }
        5 => {
            bytes.truncate(from);
            format!("cut at {from}")
        }
        6 => {
            let (a, b) = (from / 4096 * 4096, chance.below(used) / 4096 * 4096);
            if a.max(b) + 4096 <= bytes.len() {
                let page = bytes[a..a + 4096].to_vec();
                bytes.copy_within(b..b + 4096, a);
                bytes[b..b + 4096].copy_from_slice(&page);
            }
            format!("pages {a} and {b} swapped")
        }
        _ => {
            bytes.clear();
            "emptied".to_owned()
        }
    };
    fs::write(path, bytes).expect("a write");
    format!("{}: {how}", path.file_name().expect("a name").display())
}

/// What became of a damaged store.
fn ask_everything(folder: &Path, ids: &[JobId]) -> String {
    let store = match open_with(folder, rules(), SMALL) {
        Ok((store, _)) => store,
        Err(error) => {
            let words = error.to_string();
            let says_what_to_do = ["export --salvage", "check that the folder", "start the newer version"];
            assert!(says_what_to_do.iter().any(|advice| words.contains(advice)), "{words}");
            let kind = match error {
                OpenError::Damaged { .. } => "refused as damaged",
                OpenError::Lost { .. } => "refused as shorter than it was",
                OpenError::Unusable { .. } => "refused as unusable",
                _ => "refused otherwise",
            };
            return kind.to_owned();
        }
    };
    let report = store.check();
    let found = ids.iter().filter(|id| matches!(store.job(**id), Ok(Some(_)))).count();
    read_and_write(&store, ids);
    match report {
        Ok(report) if report.is_sound() && found == ids.len() => "opened, sound".to_owned(),
        Ok(report) if report.is_sound() => "opened, sound, with less in it".to_owned(),
        _ => "opened, and the check finds the damage".to_owned(),
    }
}

/// Salvages what is left; so many jobs come out, each as it was.
fn salvaged(folder: &Path, whole: &BTreeMap<String, Value>) -> Option<usize> {
    let before = image(folder);
    let mut lines = Vec::new();
    let summary = export::salvage(folder, &mut lines);
    assert_eq!(image(folder), before, "the folder stays as it is");
    let summary = summary.map_err(|error| says_that_nothing_is_left(folder, &error)).ok()?;
    let jobs: Vec<Value> = jobs_of(&lines);
    assert_eq!(jobs.len() as u64, summary.jobs);
    let as_it_was = |job: &&Value| whole.get(job["id"].as_str().expect("an id")) == Some(*job);
    Some(jobs.iter().filter(as_it_was).count())
}

/// The advice leads neither back to where it came from nor to a copy that is gone.
fn says_that_nothing_is_left(folder: &Path, error: &export::ExportError) {
    let words = error.to_string();
    let named = format!("nothing of the store in {} can be read", folder.display());
    assert!(words.starts_with(&named) && words.contains("restore a backup"), "{words}");
    let rest = words.replace(&named, "");
    assert!(!["--salvage", "backtrace", "tmp"].iter().any(|word| rest.contains(word)), "{words}");
}

fn image(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files =
        fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

fn jobs_of(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<Value>(line).expect("a line of JSON"));
    lines.filter(|line| line["kind"] == "job").collect()
}

/// Each of these may fail, and none may panic.
fn read_and_write(store: &Store, ids: &[JobId]) {
    drop(store.list(&JobFilter::default(), None, 1_000));
    for platform in store.platforms().unwrap_or_default() {
        drop(store.due(&platform.origin, None, 1_000));
    }
    store.census();
    drop(wait(store.submit(order(admit(&lti11_event(999, 0), 1), NOW))));
    drop(wait(store.submit(order(Work::Start { id: ids[0] }, NOW))));
    drop(wait(store.submit(order(Work::Prune { ended_before: NOW + PATIENCE, limit: 100 }, NOW))));
    drop(store.check());
}

/// Runs a step on a thread of its own; a step that does not come to its end is a failure.
fn within_patience<T: Send + 'static>(what: &str, step: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let handle = thread::spawn(move || done.send(step()));
    match ended.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs: {what}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let _ = handle.join().expect_err("it panicked");
            panic!("it panics: {what}")
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder");
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn damaged_files_open_or_say_what_to_do_and_never_panic_or_hang() {
    let count: u64 = env::var(DAMAGES).ok().and_then(|count| count.parse().ok()).unwrap_or(240);
    let whole = tempfile::tempdir().expect("a folder");
    let ids = sample(whole.path());
    let mut lines = Vec::new();
    let summary = export::export(whole.path(), &mut lines).expect("a sound store");
    assert_eq!((summary.jobs, summary.platforms, summary.unread), (60, 1, 0));
    let exported: BTreeMap<String, Value> =
        jobs_of(&lines).into_iter().map(|job| (job["id"].as_str().expect("an id").to_owned(), job)).collect();
    let (mut refused, mut saved) = (0, Vec::new());
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 1..=count {
        let folder = tempfile::tempdir().expect("a folder");
        copy(whole.path(), folder.path());
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let how = (0..=chance.below(2)).map(|_| damage(folder.path(), &mut chance)).collect::<Vec<_>>().join(", ");
        let damaged = tempfile::tempdir().expect("a folder");
        copy(folder.path(), damaged.path());
        let (path, ids) = (folder.path().to_owned(), ids.clone());
        let outcome = within_patience(&format!("seed {seed}, {how}"), move || ask_everything(&path, &ids));
        if outcome.starts_with("refused") {
            let exported = exported.clone();
            refused += 1;
            saved.extend(within_patience(&format!("seed {seed}, {how}, salvaged"), move || {
                salvaged(damaged.path(), &exported)
            }));
        }
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{count} damaged stores: {outcomes:?}");
    let (all, some) =
        (saved.iter().filter(|jobs| **jobs == 60).count(), saved.iter().filter(|jobs| **jobs > 0).count());
    let jobs = saved.iter().sum::<usize>();
    println!(
        "of {refused} that were refused, salvage saved all jobs of {all}, some of {some}; {jobs} of {}",
        60 * refused
    );
    assert!(jobs > 0, "salvage saves something");
    let kinds = outcomes.keys().filter(|kind| kind.starts_with("refused")).count();
    assert!(kinds > 0 && outcomes.len() > 2, "the damage is worth the name: {outcomes:?}");
}

/// A store that has written its log over and over: jobs come, end, are pruned, and others come. Returns the lines of a
/// sound export.
fn churned(folder: &Path) -> Vec<u8> {
    let (store, _) = open_with(folder, rules(), SMALL).expect("a new store");
    let all = |works: Vec<Work>| -> Vec<Answer> {
        let answers = works.into_iter().map(|work| store.submit(order(work, NOW)));
        wait(join_all(answers)).into_iter().map(|answer| answer.expect("the store takes orders")).collect()
    };
    let end = |id: JobId| {
        let verdict = Verdict::without_reply(Finding::Accepted, "words");
        Work::Finish { id, verdict, trial: Trial::Regular }
    };
    let mut waiting: Vec<JobId> = Vec::new();
    for round in 0..12 {
        // A few at a time: how many share a commit is otherwise the machine's to decide, and with it how long the log is.
        for first in (0..60).step_by(5) {
            let arrivals = (first..first + 5).map(|student| admit(&lti11_event(1_000 * round + student, 9_000), 1));
            waiting.extend(all(arrivals.collect()).iter().map(|answer| match answer {
                Answer::Stored(id) => *id,
                other => panic!("it is stored: {other:?}"),
            }));
        }
        let ended: Vec<JobId> = waiting.iter().copied().step_by(2).take(50).collect();
        waiting.retain(|id| !ended.contains(id));
        all(ended.iter().map(|id| Work::Start { id: *id }).collect());
        all(ended.iter().copied().map(end).collect());
        if round < 6 {
            all(vec![Work::Prune { ended_before: NOW + PATIENCE, limit: 100 }]);
        }
    }
    drop(store);
    drop(open_with(folder, rules(), SMALL).expect("the same store"));
    let mut lines = Vec::new();
    export::export(folder, &mut lines).expect("a sound store");
    lines
}

/// What a job has from its first day.
fn unchanging(job: &Value) -> [&Value; 5] {
    ["event", "key", "cell", "created_at", "session_id"].map(|field| &job[field])
}

/// So long is a segment of sled's log, in bytes; it reuses them as a whole.
const SEGMENT: usize = 512 * 1024;

/// A log without some of its segments.
fn blanked(log: &[u8], segments: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut damaged = log.to_vec();
    for segment in segments {
        let end = log.len().min((segment + 1) * SEGMENT);
        damaged[segment * SEGMENT..end].fill(0);
    }
    damaged
}

/// Salvages a store with another log: what is written is right, and what is told to be missing is true. Tells how many of its
/// jobs are saved, and how many are missing at least, if that is known. Which jobs a part of the log holds is sled's to decide.
fn salvage_tells_the_truth(how: &str, whole: &Path, log: &[u8], sound: &[u8]) -> (usize, Option<u64>) {
    let by_id = |jobs: Vec<Value>| -> BTreeMap<String, Value> {
        jobs.into_iter().map(|job| (job["id"].to_string(), job)).collect()
    };
    let all = by_id(jobs_of(sound));
    let folder = tempfile::tempdir().expect("a folder");
    copy(whole, folder.path());
    fs::write(folder.path().join("db"), log).expect("a write");
    let mut lines = Vec::new();
    let salvaged = export::salvage(folder.path(), &mut lines);
    assert_eq!(fs::read(folder.path().join("db")).expect("a file"), log, "the store stays as it is");
    let summary = match salvaged {
        Err(export::ExportError::Nothing { .. }) => return (0, None),
        salvaged => salvaged.expect("a store that is damaged is read as far as it can be"),
    };
    let saved = by_id(jobs_of(&lines));
    let known = saved.iter().filter_map(|(id, job)| Some((job, all.get(id)?)));
    let count = known.clone().count();
    println!("{how}: {count} of {}; {}", all.len(), summary.loss.map_or(String::new(), |loss| loss.to_string()));
    assert_eq!(saved.len() as u64, summary.jobs, "{how}: no job comes twice");
    for (job, as_it_was) in known {
        assert_eq!(unchanging(job), unchanging(as_it_was), "{how}");
    }
    let Some(loss) = summary.loss else {
        assert!(lines == sound, "{how}: all is well only if all is there, as it was");
        return (count, Some(0));
    };
    if let Some(told) = loss.jobs {
        assert!(summary.jobs + told >= all.len() as u64, "{how}: {loss}");
        assert!(count as u64 + told <= all.len() as u64, "{how}: {loss}");
    }
    (count, loss.jobs)
}

#[test]
fn what_salvage_writes_is_right_and_what_it_says_is_missing_is_true() {
    let whole = tempfile::tempdir().expect("a folder");
    let sound = churned(whole.path());
    let is_held = || matches!(look(whole.path()), FolderLook::There(folder) if folder.in_use);
    until("sled to let go of it", || !is_held());
    let log = fs::read(whole.path().join("db")).expect("a file");
    let last = log.len().div_ceil(SEGMENT);
    assert!(last > 8, "there is something to damage");
    let check = |how: &str, log: &[u8]| salvage_tells_the_truth(how, whole.path(), log, &sound);
    let all = jobs_of(&sound).len();
    assert_eq!(check("sound", &log), (all, Some(0)));
    let saves = |how: &str, log: &[u8]| assert!(check(how, log).0 > 0, "{how}");
    saves("the last 3 cut off", &log[..(last - 3) * SEGMENT]);
    saves("the first 2 zeroed", &blanked(&log, 0..2));
    // Of a store as small as this, so much may have held every event.
    check("the last third cut off", &log[..last * 2 / 3 * SEGMENT]);
    check("cut off within a segment", &log[..last / 2 * SEGMENT + 70_000]);
    check("the last 5 zeroed", &blanked(&log, last - 5..last));
    check("each third zeroed", &blanked(&log, (0..last).step_by(3)));
    let mut pages = log.clone();
    for segment in pages.chunks_mut(SEGMENT) {
        segment.iter_mut().skip(99_000).take(4_096).for_each(|byte| *byte = 7);
    }
    saves("a page in each", &pages);
    let one = (0..last).map(|segment| check(&format!("{segment} zeroed"), &blanked(&log, segment..=segment)));
    let one: Vec<(usize, Option<u64>)> = one.collect();
    assert!(one.iter().any(|(_, told)| told.is_some_and(|missing| missing > 0)), "a number is told: {one:?}");
    assert!(one.iter().all(|(saved, _)| 5 * saved > all), "one segment never holds nearly all: {one:?}");
    for entry in fs::read_dir(whole.path()).expect("the folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::write(entry.path(), "nonsense").expect("a write");
        }
    }
    assert_eq!(check("the snapshot", &log), (all, Some(0)), "sled can do nothing without it");
    check("the snapshot and the last 3", &blanked(&log, last - 3..last));
}

#[test]
fn a_sound_store_without_jobs_is_saved_too() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open_with(folder.path(), rules(), SMALL).expect("a new store"));
    let mut lines = Vec::new();
    let summary = export::salvage(folder.path(), &mut lines).expect("nothing is wrong with it");
    assert_eq!((summary.jobs, summary.unread, summary.loss), (0, 0, None));
}

#[test]
fn where_nothing_can_be_read_salvage_says_so_and_where_something_stands_before_it_is_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ids = sample(folder.path());
    let log = folder.path().join("db");
    let whole = fs::read(&log).expect("a file");
    // The last third is lost, with the snapshot that speaks of it.
    let mut bytes = whole.clone();
    let cut = whole.len() - whole.len() / 3;
    bytes[cut..].fill(0xab);
    fs::write(&log, &bytes).expect("a write");
    for entry in fs::read_dir(folder.path()).expect("the folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::write(entry.path(), "nonsense").expect("a write");
        }
    }
    let mut lines = Vec::new();
    let summary = export::salvage(folder.path(), &mut lines).expect("something is left");
    let saved = jobs_of(&lines);
    ids.retain(|id| saved.iter().any(|job| job["id"] == id.to_string()));
    assert!(!ids.is_empty() && ids.len() == saved.len(), "{summary:?}");
    fs::write(&log, vec![0xab; whole.len()]).expect("a write");
    let error = export::salvage(folder.path(), &mut Vec::new()).expect_err("nothing is left");
    says_that_nothing_is_left(folder.path(), &error);
}
