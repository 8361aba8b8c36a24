//! Golden stores: one of each format that was ever released, kept for ever, opened and compared with a text of what is in
//! it. `tests/golden/README.md` says how to make the next one.
//!
//! sled's files are nearly all zeros, so they are kept packed: only the blocks that say something.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use passback::{
    adapters::store::{
        Store,
        copying::Copying,
        export,
        import::{Wholeness, import},
        restore::{Damaged, Taking},
    },
    domain::{
        destination::Origin,
        job::JobId,
        ledger::{Answer, Work},
        outcome::{FailureReason, Finding, Verdict},
        time::Timestamp,
        transition::Trial,
    },
    ports::{JobFilter, JobStore},
};
use serde_json::{Value, json};

use crate::store_common::{SMALL, admit, carry_out, lti11_event, open_with, rules};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// Where a new golden store is written.
const GOLDEN: &str = "PASSBACK_GOLDEN";

const BLOCK: usize = 512;

/// A store in which everything is that a store can hold.
pub(crate) fn make(folder: &Path) {
    let (store, _) = open_with(folder, rules(), SMALL).expect("a new store");
    let stored = |event: &str, luck| match carry_out(&store, admit(event, luck), NOW) {
        Answer::Stored(id) => id,
        other => panic!("not stored: {other:?}"),
    };
    let finish = |id, finding, words: &str, trial, now| {
        carry_out(&store, Work::Start { id }, now);
        let verdict = Verdict { http_status: Some(503), ..Verdict::without_reply(finding, words) };
        carry_out(&store, Work::Finish { id, verdict, trial }, now);
    };
    let ids: Vec<JobId> = (0..14).map(|student| stored(&lti11_event(student, 300), student.into())).collect();
    finish(ids[0], Finding::Accepted, "ok", Trial::Regular, NOW);
    finish(ids[1], Finding::Unsendable(FailureReason::UnknownKey), "no such key", Trial::Regular, NOW);
    finish(ids[2], Finding::Failed(FailureReason::ServerError), "später", Trial::Regular, NOW);
    carry_out(&store, Work::Discard { id: ids[3] }, NOW);
    carry_out(&store, Work::Start { id: ids[4] }, NOW);
    let mut now = NOW;
    for probe in 0..4 {
        finish(
            ids[5],
            Finding::Failed(FailureReason::Timeout),
            &format!("{probe} {}", "w".repeat(90)),
            Trial::Probe,
            now,
        );
        now = now + Duration::from_secs(1);
    }
    // A newer grade, an event in several pieces, the other deliveries.
    let mut newer: Value = serde_json::from_str(&lti11_event(6, 300)).expect("an event");
    newer["event_id"] = "newer".into();
    stored(&newer.to_string(), 100);
    stored(&lti11_event(1_000, 14_000), 101);
    let ags = json!({
        "session_id": "s", "activity_progress": "Started", "occurred_at": "2026-01-01T00:00:00Z",
        "lis_data": {
            "lti_version": "1.3", "client_id": "client", "user_id": "ann", "lineitem": "https://moodle.example.edu/1/lineitem",
        },
    });
    let ags = stored(&ags.to_string(), 102);
    carry_out(&store, Work::Start { id: ags }, NOW);
    let delegated = json!({
        "session_id": "s", "score": 7, "max_score": 10,
        "lis_data": { "lti_version": "1.3", "grade_passback_url": "https://client.example.edu/", "oauth_consumer_key": "k" },
    });
    stored(&delegated.to_string(), 103);
    let origin = Origin::from_stored("https://moodle.example.edu");
    carry_out(&store, Work::NotePlatform { origin, paused_since: Some(NOW), held_since: Some(NOW) }, NOW);
    carry_out(&store, Work::PutColumn { key: [7; 16], url: Some("https://moodle.example.edu/7".into()) }, NOW);
    assert!(store.check().expect("reading works").is_sound());
    drop(store);
    // With a snapshot.
    drop(open_with(folder, rules(), SMALL).expect("the same store"));
}

/// The files of a store, as a text of blocks: `file NAME LENGTH`, then `block OFFSET HEX`.
fn pack(folder: &Path) -> String {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file() && !path.ends_with("reserve"));
    files.sort();
    let mut text = String::new();
    for path in files {
        let bytes = fs::read(&path).expect("a file");
        let name = path.file_name().expect("a name").display().to_string();
        writeln!(text, "file {name} {}", bytes.len()).expect("a text takes everything");
        for (number, block) in bytes.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0))
        {
            write!(text, "block {} ", number * BLOCK).expect("a text takes everything");
            for byte in block {
                write!(text, "{byte:02x}").expect("a text takes everything");
            }
            text.push('\n');
        }
    }
    text
}

fn unpack(text: &str, folder: &Path) {
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["file", name, len] => files.push((name, vec![0; len.parse().expect("a length")])),
            ["block", offset, hex] => {
                let (_, bytes) = files.last_mut().expect("a file before its blocks");
                let offset: usize = offset.parse().expect("an offset");
                for (place, pair) in (offset..).zip(hex.as_bytes().chunks(2)) {
                    let pair = str::from_utf8(pair).expect("digits");
                    bytes[place] = u8::from_str_radix(pair, 16).expect("hex digits");
                }
            }
            _ => panic!("no line of a packed store: {line}"),
        }
    }
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("a write");
    }
    // sled looks for it.
    fs::create_dir_all(folder.join("blobs")).expect("a folder");
}

pub(crate) fn lines(folder: &Path) -> String {
    let mut lines = Vec::new();
    export::export(folder, &mut lines).expect("a sound store");
    String::from_utf8(lines).expect("JSON is text")
}

/// The lines by what they speak of. The first line names the program that wrote them.
fn by_name(lines: &str) -> BTreeMap<String, Value> {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let named = lines.filter(|line| line["kind"] != "store").map(|line| {
        let name = ["id", "origin", "key"].into_iter().find_map(|name| line[name].as_str()).unwrap_or("end");
        (format!("{} {name}", line["kind"]), line)
    });
    named.collect()
}

/// A store that was packed holds what the text says: nothing less, and no member of a line with another value.
fn check(packed: &str, text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    unpack(packed, folder.path());
    let (store, _) = open_with(folder.path(), rules(), SMALL).expect("a store of any format opens");
    let report = store.check().expect("reading works");
    assert!(report.is_sound(), "{report:?}");
    assert!(report.without_outline < report.jobs, "those near flagged jobs are found fast: {report:?}");
    goes_on(&store);
    let report = store.check().expect("reading works");
    assert_eq!(report.without_outline, 0, "who changes gets one: {report:?}");
    drop(store);
    let folder = tempfile::tempdir().expect("a folder");
    unpack(packed, folder.path());
    let (found, expected) = (by_name(&lines(folder.path())), by_name(text));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in expected {
        for (member, value) in expected.as_object().expect("an object") {
            assert!(
                tells(&found[&name][member], value),
                "{name}: {member} is {} and was {value}",
                found[&name][member]
            );
        }
    }
}

/// Whether all that was said is said, though an object may have members that the older program did not know.
fn tells(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| found.get(name).is_some_and(|found| tells(found, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| tells(found, expected))
        }
        _ => found == expected,
    }
}

/// It is a store like any other: what it knows it knows, and it takes more.
pub(crate) fn goes_on(store: &Store) {
    let later = NOW + Duration::from_secs(86_400);
    assert!(matches!(carry_out(store, admit(&lti11_event(3, 300), 1), later), Answer::Duplicate(_)));
    assert!(matches!(carry_out(store, admit(&lti11_event(99, 300), 1), later), Answer::Stored(_)));
    for job in store.list(&JobFilter::default(), None, 100).expect("reading works").jobs {
        carry_out(store, Work::Interrupt { id: job.id, reply_lost: true }, later);
        carry_out(store, Work::Discard { id: job.id }, later);
    }
    let pruned = carry_out(store, Work::Prune { ended_before: later + Duration::from_secs(1), limit: 100 }, later);
    assert!(matches!(pruned, Answer::Pruned { removed: 15.., .. }), "{pruned:?}");
    assert!(store.check().expect("reading works").is_sound());
}

#[test]
fn the_golden_store_of_each_format_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for entry in fs::read_dir(golden).expect("the golden stores").flatten().filter(|entry| entry.path().is_dir()) {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).expect("a golden store has it");
        check(&read("files.txt"), &read("lines.ndjson"));
        count += 1;
    }
    assert!(count >= 1, "there is one of each format");
}

/// A backup before an upgrade is for those who may have to go back.
#[test]
fn what_only_reads_an_older_store_leaves_its_format_alone() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-1/files.txt");
    let folder = tempfile::tempdir().expect("a folder");
    let (store, copy) = (folder.path().join("store"), folder.path().join("copy"));
    fs::create_dir(&store).expect("a folder");
    unpack(&fs::read_to_string(golden).expect("the golden store"), &store);
    let records = || {
        let tree = sled::Config::new().path(&store).use_compression(false).segment_size(512 * 1024).open();
        let records = tree.expect("nobody has it open").iter().map(|record| record.expect("reading works"));
        records.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<BTreeMap<_, _>>()
    };
    let before = records();
    let text = lines(&store);
    let mut copying = Copying::of_stopped(&store).expect("nobody has it open");
    let mut taking = Taking::begin(&copy).expect("a new folder");
    while let Some(piece) = copying.step().expect("a copy") {
        taking.take(&piece).expect("a copy");
    }
    drop(copying);
    taking.finish(rules(), Damaged::IsRefused).expect("a sound copy");
    let mut wrong = tempfile::tempfile().expect("a file");
    wrong.write_all(b"{}").expect("a write");
    assert!(import(&store, &mut wrong, Wholeness::Needed, (rules(), NOW), &mut |_, _, _| {}).is_err());
    assert!(records() == before, "no record has changed");
    assert!(lines(&copy) == text, "a copy of an older store holds the same");
}

/// Makes a store of the present format; a new one is kept where the environment says.
#[test]
fn a_golden_store_is_made_of_the_present_format() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let packed = pack(folder.path());
    let text = lines(folder.path());
    check(&packed, &text);
    if let Ok(to) = env::var(GOLDEN) {
        fs::create_dir_all(&to).expect("a folder");
        fs::write(Path::new(&to).join("files.txt"), packed).expect("a write");
        fs::write(Path::new(&to).join("lines.ndjson"), text).expect("a write");
    }
}
