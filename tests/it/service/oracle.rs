//! The ledger oracle: it knows every event that was handed over, and compares the worker's books and the platform's
//! gradebook with it, after each crash and at the end.
//!
//! Each event has a score of its own, so a grade in the gradebook tells which event it came from. The oracle reads a
//! store only while no worker has it, and a copy of it, so that the next start finds what the crash has left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    process::Command,
    sync::Arc,
};

use passback::{
    adapters::{
        clock::SystemClock,
        store::{OpenError, Options, Store},
    },
    config::{lti::SigningKeyConfig, rsa, secret::Secret},
    domain::{
        job::{Job, JobId, StateName},
        ledger::{Outcomes, Rules},
        notice::Notice,
        retry::RetryPolicy,
        time::Timestamp,
    },
    ports::{JobFilter, JobStore as _, Observer},
    simulator::{Cell, Client, Fault, FaultKind, Jwks, Route, SimulatedLms},
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    delivery::{KEY, lms, signing_key},
    worker::{Worker, wait_for},
};

/// The score that is the whole: no number of events comes near it.
const WHOLE: u32 = 1_000_000;
/// Students who come back when so many events have passed.
const STUDENTS: u32 = 1_000;
/// Students who get three grades in quick succession, in turn.
const HASTY: u32 = 200;
/// When the first session came to its end; each further one a second later.
const FIRST: i64 = 1_704_067_200;

/// Everything that was handed over.
#[derive(Default)]
pub(crate) struct Ledger {
    events: Vec<Sent>,
}

struct Sent {
    cell: Cell,
    /// Whether somebody has vouched for it: the broker by a confirm, or the worker by a 202.
    is_confirmed: bool,
}

impl Ledger {
    /// The next event: LTI 1.1, AGS and delegated in turn. Its number is the score, and also its place in time.
    pub(crate) fn next(&mut self, lms: &SimulatedLms) -> Value {
        let number = self.number();
        let student = match number % 5 {
            0 | 1 => format!("student-{}", number % STUDENTS),
            _ => format!("hasty-{}", number / 15 % HASTY),
        };
        match number % 5 {
            0 | 2 => self.lti11(lms, &student),
            1 | 3 => {
                let target = json!({
                    "lti_version": "1.3", "client_id": CLIENT, "user_id": student, "lineitem": lms.lineitem_url("c", "1"),
                });
                self.event(Cell::ags("c", "1", &student), &target)
            }
            _ => {
                let user = format!("user-{number}");
                let target = json!({
                    "lti_version": "1.3", "grade_passback_url": lms.delegated_url(), "oauth_consumer_key": KEY,
                    "user_id": user, "resource_link_id": "link",
                });
                self.event(Cell::delegated("link", &user), &target)
            }
        }
    }

    /// The next event, for a student of LTI 1.1.
    pub(crate) fn lti11(&mut self, lms: &SimulatedLms, student: &str) -> Value {
        let target = json!({
            "lis_outcome_service_url": lms.outcomes_url(), "lis_result_sourcedid": student, "oauth_consumer_key": KEY,
        });
        self.event(Cell::lti11(student), &target)
    }

    fn event(&mut self, cell: Cell, target: &Value) -> Value {
        let number = self.number();
        self.events.push(Sent { cell, is_confirmed: false });
        json!({
            "session_id": session(number), "event_id": format!("event-{number}"),
            "occurred_at": Timestamp::from_secs(FIRST + i64::from(number)).to_string(),
            "score": number, "max_score": WHOLE, "lis_data": target,
        })
    }

    fn number(&self) -> u32 {
        u32::try_from(self.events.len()).expect("few")
    }

    /// Somebody has vouched for the event of this session.
    pub(crate) fn confirm(&mut self, event: &Value) {
        let number = event["score"].as_u64().expect("a score");
        self.events[usize::try_from(number).expect("few")].is_confirmed = true;
    }

    /// How many events somebody has vouched for.
    pub(crate) fn confirmed(&self) -> usize {
        self.events.iter().filter(|sent| sent.is_confirmed).count()
    }

    /// Which they are.
    pub(crate) fn vouched(&self) -> BTreeSet<u32> {
        (0..self.number()).filter(|number| self.events[*number as usize].is_confirmed).collect()
    }

    /// How often the platform has taken the grade of each event. Each must be in the cell that it was sent for.
    pub(crate) fn writes(&self, lms: &SimulatedLms) -> Writes {
        let mut writes = Writes::new();
        for (cell, state) in lms.gradebook() {
            assert_eq!(state.writes, state.history.len() as u64, "{cell:?}: more writes than the platform remembers");
            for accepted in &state.history {
                let grade = accepted.grade.expect("nothing is cleared here");
                let number = number(grade.score / grade.maximum);
                let sent = self.events.get(number as usize);
                assert!(sent.is_some_and(|sent| sent.cell == cell), "{cell:?} got {grade:?}, which nobody sent there");
                *writes.entry(number).or_default() += 1;
            }
        }
        writes
    }

    /// What must be true after a crash at any moment: what the platform had taken before it came from attempts that
    /// are known, and what is delivered is among what the platform had taken by some moment after it.
    pub(crate) fn check(&self, books: &Books, before: &Writes, after: &Writes) {
        for (number, writes) in before {
            let attempts = books.jobs.get(number).map_or(0, Entry::attempts);
            let session = session(*number);
            assert!(
                attempts >= *writes,
                "the platform took {session} {writes} times, and {attempts} attempts are known"
            );
        }
        for (number, entry) in &books.jobs {
            let session = session(*number);
            assert!(*number < self.number(), "{session} was never sent");
            let is_there = after.contains_key(number);
            assert!(entry.state != StateName::Delivered || is_there, "{session} is delivered, and nobody got it");
        }
    }

    /// What must be true when nothing waits any more: every event that somebody vouched for is in exactly one state,
    /// and every cell shows its newest grade, unless that one was given up.
    pub(crate) fn check_end(&self, books: &Books, lms: &SimulatedLms) {
        let writes = self.writes(lms);
        self.check(books, &writes, &writes);
        let mut newest: BTreeMap<&Cell, u32> = BTreeMap::new();
        for number in books.jobs.keys() {
            newest.insert(&self.events[*number as usize].cell, *number);
        }
        for number in self.vouched() {
            let entry = books.jobs.get(&number).unwrap_or_else(|| panic!("{} is lost", session(number)));
            let is_newest = newest[&self.events[number as usize].cell] == number;
            match entry.state {
                StateName::Queued => panic!("{} still waits", session(number)),
                StateName::Superseded => assert!(!is_newest, "{} is superseded by nothing", session(number)),
                StateName::Delivered | StateName::Flagged | StateName::Discarded => {}
            }
        }
        for (cell, number) in newest {
            if books.jobs[&number].state == StateName::Delivered {
                let grade = lms.grade(cell).unwrap_or_else(|| panic!("{cell:?} is empty"));
                let shown = self::number(grade.score / grade.maximum);
                assert_eq!(shown, number, "{cell:?} does not show its newest grade");
            }
        }
    }
}

/// How often the grade of each event was written, by the event's number.
pub(crate) type Writes = BTreeMap<u32, u64>;

/// The client id of the tool at the platform.
const CLIENT: &str = "tool-1";

fn session(number: u32) -> String {
    format!("session-{number}")
}

/// The number of the event that a grade came from.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is rounded, and between 0 and 1")]
pub(crate) fn number(share: f64) -> u32 {
    (share * f64::from(WHOLE)).round() as u32
}

/// What a store says of its jobs.
#[derive(Clone, Default)]
pub(crate) struct Books {
    /// By the number of the event.
    jobs: BTreeMap<u32, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    state: StateName,
    /// Attempts that have ended.
    ended: u64,
    is_under_way: bool,
    id: JobId,
    /// How often it came to an end.
    ends: u32,
}

impl Entry {
    fn attempts(&self) -> u64 {
        self.ended + u64::from(self.is_under_way)
    }
}

impl Books {
    /// Reads a copy of a store that no worker has open, after its consistency check.
    pub(crate) fn copied(store: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("copy");
        // The folder is not there before the first start.
        if !store.exists() {
            return Self::default();
        }
        let copied = Command::new("cp").arg("-r").args([store, &copy]).status().expect("cp");
        assert!(copied.success(), "cp -r {}", store.display());
        Self::read(&copy).unwrap_or_else(|error| panic!("the store does not open: {error}"))
    }

    /// The same, of the store itself.
    pub(crate) fn read(store: &Path) -> Result<Self, OpenError> {
        let options = Options {
            path: store.to_owned(),
            rules: Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped },
            sink: Box::new(drop),
            observer: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
            reserve_bytes: 0,
        };
        let store = Store::open(options)?;
        let report = store.check().expect("the store can be read");
        assert!(report.is_sound(), "{report:?}");
        let mut books = Self::default();
        let mut before = None;
        loop {
            let page = store.list(&JobFilter::default(), before, 500).expect("the store can be read");
            for job in &page.jobs {
                let number = number_of(job);
                assert!(books.jobs.insert(number, Entry::of(job)).is_none(), "{} has two jobs", session(number));
            }
            let Some(next) = page.next else { break };
            before = Some(next);
        }
        assert_eq!(report.jobs, books.jobs.len() as u64, "the list shows every job");
        Ok(books)
    }

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Each job that has come to an end: its state, and how often it came to one.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (JobId, StateName, u32)> {
        let ended = self.jobs.values().filter(|entry| entry.state != StateName::Queued);
        ended.map(|entry| (entry.id, entry.state, entry.ends))
    }

    /// Every one of these events must be a job.
    pub(crate) fn hold_all(&self, numbers: &BTreeSet<u32>) -> Result<(), String> {
        let missing: Vec<String> =
            numbers.iter().filter(|number| !self.jobs.contains_key(number)).map(|number| session(*number)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("acknowledged and not there: {missing:?}")) }
    }

    /// Nothing that stood in earlier books may be gone or undone.
    pub(crate) fn follow(&self, earlier: &Self) {
        for (number, before) in &earlier.jobs {
            let session = session(*number);
            let after = self.jobs.get(number).unwrap_or_else(|| panic!("{session} was there, and is gone"));
            assert!(after.attempts() >= before.attempts(), "{session} had {before:?}, and now has {after:?}");
            if matches!(before.state, StateName::Delivered | StateName::Superseded | StateName::Discarded) {
                assert_eq!(after.state, before.state, "{session} has left its end");
            }
        }
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |state| self.jobs.values().filter(|entry| entry.state == state).count();
        let counts = StateName::ALL.map(|state| format!("{} {}", count(state), state.name()));
        f.write_str(&counts.join(", "))
    }
}

impl Entry {
    fn of(job: &Job) -> Self {
        Self {
            state: job.state_name(),
            ended: job.attempts.len() as u64 + u64::from(job.attempts_omitted),
            is_under_way: job.under_way_since().is_some(),
            id: job.id,
            ends: job.ends,
        }
    }
}

fn number_of(job: &Job) -> u32 {
    let session = job.session_id.as_deref().expect("every event here names its session");
    session.strip_prefix("session-").and_then(|number| number.parse().ok()).expect("a session of ours")
}

struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &Notice) {}
}

/// How often a campaign does what it does: the number in the environment, or what a normal run takes.
pub(crate) fn times(variable: &str, normal: u32) -> u32 {
    std::env::var(variable).ok().map_or(normal, |text| text.parse().expect("a number of times"))
}

/// Chance that a failed run can have again.
pub(crate) fn chance() -> StdRng {
    let seed = times("PASSBACK_SEED", std::process::id());
    println!("PASSBACK_SEED={seed}");
    StdRng::seed_from_u64(seed.into())
}

/// A platform for all three deliveries: replies get lost on the way, and it fails now and then.
pub(crate) async fn flaky_lms() -> SimulatedLms {
    let lms = lms().await;
    // With the keys at hand it need not ask a worker that is dead.
    lms.add_client(Client::new(CLIENT, Jwks::Inline(jwks()))).expect("a client");
    for route in [Route::Lti11, Route::Scores, Route::Delegated, Route::Token] {
        let failing = FaultKind::Status { code: 500, body: None, retry_after: None };
        let cut = Fault { kind: FaultKind::AcceptThenCut, times: None, every: 17 };
        lms.set_faults(route, vec![cut, Fault { kind: failing, times: None, every: 23 }]).expect("faults");
    }
    lms
}

/// The tool's public keys.
fn jwks() -> Value {
    let pem = fs::read_to_string(signing_key()).expect("the tests' key");
    let key = SigningKeyConfig { kid: "k1".to_owned(), private_key: Secret::new(pem) };
    rsa::jwks(&[key.signing_key()]).expect("a key")
}

/// With the faults off, everything comes to an end in the running worker, and what is flagged is delivered by a replay.
/// Then the worker is stopped, and the ledger looked at.
pub(crate) async fn bring_to_an_end(worker: &mut Worker, lms: &SimulatedLms, ledger: &Ledger) -> Books {
    lms.clear_faults();
    let running = &*worker;
    wait_for("every event to come to an end", async || {
        let counts = running.counts().await?;
        let count = |state: &str| counts[state].as_u64();
        let all: u64 = counts.as_object()?.values().filter_map(Value::as_u64).sum();
        if usize::try_from(all).ok()? < ledger.confirmed() || count("queued")? > 0 {
            return None;
        }
        if count("flagged")? > 0 {
            running.post("/api/v1/replay", &json!({"filter": {}})).await;
            return None;
        }
        Some(())
    })
    .await;
    assert_eq!(worker.stop().await, Some(0));
    let books = Books::copied(worker.store());
    ledger.check_end(&books, lms);
    books
}
