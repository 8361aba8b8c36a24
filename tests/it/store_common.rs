//! What the tests of the store share: a store in a folder, a clock that stands still, events, and a way to wait.

use std::{
    collections::BTreeMap,
    future::Future,
    io, mem,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use passback::{
    adapters::store::{
        OpenDisk, OpenError, Options, Store, Thresholds,
        disk::{Changes, Disk, Fault, Scan, Value},
    },
    domain::{
        event::{Door, GradeEvent},
        job::IdempotencyKey,
        ledger::{Answer, Arrival, Order, Outcomes, Report, Rules, Work},
        notice::{Notice, Source},
        retry::RetryPolicy,
        time::{Draw, Timestamp},
    },
    ports::{Clock, JobStore, Observer},
};

/// A clock that stands still: the store only measures with it.
pub(crate) struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }

    fn draw(&self) -> Draw {
        Draw::MIDDLE
    }

    fn luck(&self) -> u128 {
        0
    }
}

/// Keeps what the store tells.
#[derive(Default)]
pub(crate) struct Ears {
    /// What the sink was given.
    pub(crate) reports: Mutex<Vec<Report>>,
    /// What was observed.
    pub(crate) notices: Mutex<Vec<Notice>>,
}

impl Observer for Ears {
    fn observe(&self, notice: &Notice) {
        self.notices.lock().expect("no test panics in here").push(notice.clone());
    }
}

pub(crate) fn rules() -> Rules {
    Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped }
}

/// So small that a few dozen jobs fill parts, settle them, and write and renew runs.
pub(crate) const SMALL: Thresholds = Thresholds { part_jobs: 4, young_jobs: 6, run_marks: 8 };

/// The room that the stores of the tests keep aside, in bytes.
pub(crate) const RESERVE: u64 = 2 * 1024 * 1024;

/// Opens a store, with what it tells.
pub(crate) fn open(path: &Path, rules: Rules) -> Result<(Store, Arc<Ears>), OpenError> {
    open_with(path, rules, Thresholds::default())
}

/// The same, with thresholds of one's own.
pub(crate) fn open_with(path: &Path, rules: Rules, thresholds: Thresholds) -> Result<(Store, Arc<Ears>), OpenError> {
    let (options, ears) = options(path, rules);
    Ok((Store::open_with(options, thresholds)?, ears))
}

/// Opens a store on a disk of one's own; what lies beside it is in the folder.
pub(crate) fn open_on(path: &Path, open_disk: OpenDisk) -> Result<(Store, Arc<Ears>), OpenError> {
    let (options, ears) = options(path, rules());
    Ok((Store::open_on(options, SMALL, open_disk)?, ears))
}

fn options(path: &Path, rules: Rules) -> (Options, Arc<Ears>) {
    let ears = Arc::new(Ears::default());
    let kept = ears.clone();
    let sink = Box::new(move |report| kept.reports.lock().expect("no test panics in here").push(report));
    let clock = Arc::new(StandingClock);
    let options = Options { path: path.into(), rules, sink, observer: ears.clone(), clock, reserve_bytes: RESERVE };
    (options, ears)
}

/// The longest wait for anything that a test expects.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits on this thread until something is so.
#[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a future on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Submits one order and waits for its answer.
pub(crate) fn carry_out(store: &Store, work: Work, now: Timestamp) -> Answer {
    wait(store.submit(order(work, now))).expect("the store takes orders")
}

pub(crate) fn order(work: Work, now: Timestamp) -> Order {
    Order { work, now, draw: Draw::MIDDLE }
}

/// An event at the door.
pub(crate) fn admit(body: &str, luck: u128) -> Work {
    let event = GradeEvent::parse(body.as_bytes(), Door::Event).expect("a good event");
    let key = IdempotencyKey::of(event.event_id.as_deref(), None, body.as_bytes(), None);
    let body = body.as_bytes().into();
    let arrival = Arrival { event, body, door: Door::Event, source: Source::Amqp, key, sent_at: None, luck };
    Work::Admit(Box::new(arrival))
}

/// An LTI 1.1 event of a student of its own, with padding to about `bytes`.
pub(crate) fn lti11_event(student: u64, bytes: usize) -> String {
    let event = |padding: &str| {
        serde_json::json!({
            "session_id": format!("session-{student}"),
            "user_id": format!("user-{student}"),
            "activity_id": "activity-1",
            "event_id": format!("event-{student}"),
            "score": 8, "max_score": 10,
            "padding": padding,
            "lis_data": {
                "lis_outcome_service_url": "https://lms.example.edu/outcomes",
                "lis_result_sourcedid": format!("course-1:{student}"),
                "oauth_consumer_key": "key",
            },
        })
        .to_string()
    };
    let bare = event("").len();
    event(&"x".repeat(bytes.saturating_sub(bare)))
}

/// Nothing may ever land in sled's files outside its log: they are not synced.
pub(crate) fn assert_no_blobs(path: &Path) {
    let blobs = std::fs::read_dir(path.join("blobs")).expect("sled makes the folder").count();
    assert_eq!(blobs, 0, "values have landed in blobs/");
}

/// What a [`FaultyDisk`] does to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Nothing is applied.
    AtApply,
    /// It is applied and cannot be synced; `kept` tells whether it is on the disk after all.
    AtSync { kept: bool },
}

/// A disk in memory with a durable and a pending half, which fails when it is told to. What was pending is there or is
/// gone when it is opened the next time. Its clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct FaultyDisk {
    plates: Arc<Mutex<Plates>>,
    /// Whoever holds it keeps every sync from returning.
    gate: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Plates {
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    view: BTreeMap<Vec<u8>, Vec<u8>>,
    strike: Option<Strike>,
    /// What was pending when it failed is kept.
    keeps: bool,
    /// So many times it cannot be opened.
    shut: u32,
}

impl FaultyDisk {
    fn plates(&self) -> MutexGuard<'_, Plates> {
        self.plates.lock().expect("no test panics in here")
    }

    /// The next write fails.
    pub(crate) fn strike(&self, strike: Strike) {
        self.plates().strike = Some(strike);
    }

    /// The strike is called off, if it is still to come.
    pub(crate) fn forget_strike(&self) {
        self.plates().strike = None;
    }

    /// Whether the strike is still to come.
    pub(crate) fn is_to_strike(&self) -> bool {
        self.plates().strike.is_some()
    }

    /// No sync returns while this is held.
    pub(crate) fn hang(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().expect("no test panics in here")
    }

    /// It cannot be opened so many times.
    pub(crate) fn shut(&self, times: u32) {
        self.plates().shut = times;
    }

    /// What is durable, to be put back later.
    pub(crate) fn image(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.plates().durable.clone()
    }

    pub(crate) fn put_back(&self, image: BTreeMap<Vec<u8>, Vec<u8>>) {
        self.plates().durable = image;
    }

    /// It is opened: what was not durable is there or gone.
    pub(crate) fn open(&self) -> Result<Box<dyn Disk>, OpenError> {
        let mut plates = self.plates();
        if plates.shut > 0 {
            plates.shut -= 1;
            let cause = io::Error::other("the disk does not answer");
            return Err(OpenError::Folder { folder: "somewhere".into(), cause });
        }
        if mem::take(&mut plates.keeps) {
            plates.durable = plates.view.clone();
        } else {
            plates.view = plates.durable.clone();
        }
        Ok(Box::new(self.clone()))
    }

    pub(crate) fn opener(&self) -> OpenDisk {
        let disk = self.clone();
        Box::new(move || disk.open())
    }
}

fn broken() -> Fault {
    Fault::of_io(io::Error::other("the disk does not answer"))
}

impl Disk for FaultyDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, Fault> {
        Ok(self.plates().view.get(key).cloned().map(Value::from))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let plates = self.plates();
        let within = plates.view.iter().filter(|(key, _)| key[..] >= *from && key[..] < *to);
        let found: Vec<_> = within.map(|(key, value)| Ok((key.clone().into(), value.clone().into()))).collect();
        Box::new(found.into_iter())
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let plates = self.plates();
        let within = plates.view.iter().filter(|(key, _)| key.starts_with(prefix));
        let found: Vec<_> = within.map(|(key, value)| Ok((key.clone().into(), value.clone().into()))).collect();
        Box::new(found.into_iter())
    }

    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        let mut plates = self.plates();
        if plates.strike.take_if(|strike| *strike == Strike::AtApply).is_some() {
            return Err(Fault::Full);
        }
        for (key, value) in changes {
            match value {
                Some(value) => drop(plates.view.insert(key, value)),
                None => drop(plates.view.remove(&key)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        drop(self.hang());
        let mut plates = self.plates();
        if let Some(Strike::AtSync { kept }) = plates.strike.take_if(|strike| *strike != Strike::AtApply) {
            plates.keeps = kept;
            return Err(broken());
        }
        plates.durable = plates.view.clone();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}
