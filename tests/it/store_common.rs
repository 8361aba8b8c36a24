//! What the tests of the store share: a store in a folder, a clock that stands still, events, and a way to wait.

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex},
};

use passback::{
    adapters::store::{OpenError, Options, Store, Thresholds},
    domain::{
        event::{Door, GradeEvent},
        job::IdempotencyKey,
        ledger::{Answer, Arrival, Order, Report, Rules, Work},
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
    Rules { retry: RetryPolicy::default(), supersede: true }
}

/// So small that a few dozen jobs fill parts, settle them, and write and renew runs.
pub(crate) const SMALL: Thresholds = Thresholds { part_jobs: 4, young_jobs: 6, run_marks: 8 };

/// Opens a store, with what it tells.
pub(crate) fn open(path: &Path, rules: Rules) -> Result<(Store, Arc<Ears>), OpenError> {
    open_with(path, rules, Thresholds::default())
}

/// The same, with thresholds of one's own.
pub(crate) fn open_with(path: &Path, rules: Rules, thresholds: Thresholds) -> Result<(Store, Arc<Ears>), OpenError> {
    let ears = Arc::new(Ears::default());
    let kept = ears.clone();
    let sink = Box::new(move |report| kept.reports.lock().expect("no test panics in here").push(report));
    let clock = Arc::new(StandingClock);
    let options = Options { path: path.into(), rules, sink, observer: ears.clone(), clock };
    Ok((Store::open_with(options, thresholds)?, ears))
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
