//! What the tests of the store share: a store in a folder, a clock that stands still, events, and a way to wait.

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex},
};

use passback::{
    adapters::store::{OpenError, Options, Store},
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

/// Keeps every notice.
#[derive(Default)]
pub(crate) struct Notices(pub(crate) Mutex<Vec<Notice>>);

impl Observer for Notices {
    fn observe(&self, notice: &Notice) {
        self.0.lock().expect("no test panics in here").push(notice.clone());
    }
}

/// What the sink was given since it was last asked.
pub(crate) type Reports = Arc<Mutex<Vec<Report>>>;

pub(crate) fn rules() -> Rules {
    Rules { retry: RetryPolicy::default(), supersede: true }
}

/// Opens a store, with what its sink is given.
pub(crate) fn open(path: &Path, rules: Rules) -> Result<(Store, Reports), OpenError> {
    let reports = Reports::default();
    let kept = reports.clone();
    let sink = Box::new(move |report| kept.lock().expect("no test panics in here").push(report));
    let observer = Arc::new(Notices::default());
    let store = Store::open(Options { path: path.into(), rules, sink, observer, clock: Arc::new(StandingClock) })?;
    Ok((store, reports))
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
