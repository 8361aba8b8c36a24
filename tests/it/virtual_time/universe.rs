//! A worker's engine with everything around it played, on paused time. It can be stopped, crashed and started again,
//! and its wall clock can be set.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use passback::{
    domain::{
        destination::{AgsTarget, ServiceUrl},
        dispatch::Limits,
        event::Door,
        job::{Job, JobId, StateName},
        ledger::{Outcomes, Rules},
        notice::{Notice, Source},
        outcome::FailureReason,
        platform::{Registration, SharedSecret, SigningKey},
        retry::RetryPolicy,
        time::{Draw, Timestamp},
    },
    engine::{Engine, EngineHandle, Inbox, Options, World},
    ports::{Clock, Incoming, Intake, JobStore, Observer, Registry},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{books::MapStore, lms::Platforms};

/// The wall clock when a universe begins.
pub(crate) const EPOCH: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A wall clock that goes with the steady one, until it is set.
pub(crate) struct WallClock {
    born: Instant,
    ahead_micros: AtomicI64,
    luck: AtomicU64,
}

impl WallClock {
    fn new() -> Self {
        Self { born: Instant::now(), ahead_micros: AtomicI64::new(0), luck: AtomicU64::new(0) }
    }

    /// Sets it forward, or back, by so many seconds.
    pub(crate) fn set_by(&self, seconds: i64) {
        self.ahead_micros.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// How long the universe has been there, by the steady clock.
    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let steady = i64::try_from(self.age().as_micros()).expect("a short life");
        Timestamp::from_micros(EPOCH.as_micros() + steady + self.ahead_micros.load(Ordering::SeqCst))
    }

    /// Well spread, and the same in each run.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn draw(&self) -> Draw {
        let mixed = self.luck.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Draw::new((mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }

    fn luck(&self) -> u128 {
        u128::from(self.luck.fetch_add(1, Ordering::SeqCst)) << 32
    }
}

/// Every key and every registration is known; the token endpoint is `/token` at the platform of the line item.
struct Keys {
    signing: Arc<SigningKey>,
}

impl Registry for Keys {
    fn shared_secret(&self, _: &str, _: &str) -> Result<SharedSecret, FailureReason> {
        Ok(SharedSecret::new("sesame-open-1"))
    }

    fn registration(&self, target: &AgsTarget) -> Result<Registration, FailureReason> {
        let platform = format!("https://{}/token", target.client_id);
        Ok(Registration {
            name: None,
            client_id: target.client_id.clone(),
            token_url: ServiceUrl::parse(&platform).map_err(|_| FailureReason::UnknownPlatform)?,
            token_audience: platform,
            deployment_id: None,
            ignored_claims: Vec::new(),
        })
    }

    fn signing_key(&self) -> Result<Arc<SigningKey>, FailureReason> {
        Ok(Arc::clone(&self.signing))
    }
}

/// What was told, and when by the steady clock. Beats and moves are too many to keep.
struct Facts {
    clock: Arc<WallClock>,
    told: Mutex<Vec<(Duration, Notice)>>,
}

impl Observer for Facts {
    fn observe(&self, notice: &Notice) {
        if !matches!(notice, Notice::Beat { .. } | Notice::Moved { .. } | Notice::EventStored { .. }) {
            self.told.lock().expect("no panic").push((self.clock.age(), notice.clone()));
        }
    }
}

/// The default configuration's limits, with a retry policy of one's own.
pub(crate) fn limits(retry: RetryPolicy) -> Limits {
    Limits { total: 256, per_platform: 16, retry }
}

/// The universe.
pub(crate) struct Universe {
    pub(crate) clock: Arc<WallClock>,
    pub(crate) store: Arc<MapStore>,
    pub(crate) lms: Arc<Platforms>,
    facts: Arc<Facts>,
    limits: Limits,
    running: Option<Running>,
}

struct Running {
    handle: EngineHandle,
    drain: CancellationToken,
    task: JoinSet<()>,
}

impl Universe {
    /// With a running engine. Must be called on paused time.
    pub(crate) fn started(retry: RetryPolicy) -> Self {
        Self::started_with(limits(retry))
    }

    /// The same, with limits of one's own.
    pub(crate) fn started_with(limits: Limits) -> Self {
        let clock = Arc::new(WallClock::new());
        let facts = Arc::new(Facts { clock: Arc::clone(&clock), told: Mutex::default() });
        let store =
            Arc::new(MapStore::new(Rules { retry: limits.retry, supersede: true, outcomes: Outcomes::Dropped }));
        let lms = Arc::new(Platforms::new());
        let mut universe = Self { clock, store, lms, facts, limits, running: None };
        universe.start();
        universe
    }

    /// Starts an engine on what the last one left.
    pub(crate) fn start(&mut self) {
        let inbox = Inbox::new();
        self.store.tell(inbox.report_sink());
        let pem = include_str!("../../vectors/signing_key.pem");
        let world = World {
            store: Arc::clone(&self.store) as _,
            transport: Arc::clone(&self.lms) as _,
            clock: Arc::clone(&self.clock) as _,
            registry: Arc::new(Keys { signing: Arc::new(SigningKey::new("k1", pem)) }),
            observer: Arc::clone(&self.facts) as _,
        };
        let second = Duration::from_secs(1);
        let options =
            Options { limits: self.limits, timeout: second * 30, drain: second * 25, retain: second * 86_400 * 30 };
        let engine = Engine::new(options, world, inbox);
        let (handle, drain, mut task) = (engine.handle(), CancellationToken::new(), JoinSet::new());
        let stop = drain.clone();
        task.spawn(async move { engine.run(stop).await });
        self.running = Some(Running { handle, drain, task });
    }

    /// Stops the engine as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.drain.cancel();
        running.task.join_next().await.expect("a task").expect("a clean end");
    }

    /// Ends the engine as a kill does: nothing more is done or said.
    pub(crate) async fn crash(&mut self) {
        self.running.take().expect("it runs").task.shutdown().await;
    }

    pub(crate) fn handle(&self) -> &EngineHandle {
        &self.running.as_ref().expect("it runs").handle
    }

    /// Brings an event to the engine's door, and waits until it is a job.
    pub(crate) async fn submit(&self, event: &Value) -> JobId {
        let body = event.to_string().into_bytes().into();
        let (door, source) = (Door::Event, Source::Http);
        let incoming = Incoming { body, door, source, message_id: None, sent_at: None, user: None };
        let arrival = self.handle().read(incoming).expect("a good event");
        self.handle().store(arrival).await.expect("maps never fail").id
    }

    pub(crate) fn job(&self, id: JobId) -> Job {
        self.store.job(id).expect("maps never fail").expect("the job")
    }

    /// How many jobs are in a state.
    pub(crate) fn count(&self, state: StateName) -> usize {
        self.store.count(state)
    }

    /// Lets time pass until something is so, looking every `step`, and gives back how long that took. Fails after `most`.
    pub(crate) async fn until(
        &self,
        what: &str,
        step: Duration,
        most: Duration,
        is_so: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < most, "in {most:?} it never came to this: {what}");
            sleep(step).await;
        }
        begin.elapsed()
    }

    /// What was told since the beginning, or since this was last asked.
    pub(crate) fn told(&self) -> Vec<(Duration, Notice)> {
        std::mem::take(&mut *self.facts.told.lock().expect("no panic"))
    }
}

/// An LTI 1.1 grade for a student of its own at `host`.
pub(crate) fn lti11(host: &str, student: usize, score: u32) -> Value {
    json!({
        "session_id": format!("{host}-{student}"), "event_id": format!("{host}-{student}-{score}"),
        "score": score, "max_score": 10,
        "lis_data": {
            "lis_outcome_service_url": format!("https://{host}/outcomes"),
            "lis_result_sourcedid": format!("student-{student}"), "oauth_consumer_key": "key",
        },
    })
}

/// An AGS grade for a student at `host`, whose token endpoint is its own.
pub(crate) fn ags(host: &str, student: usize, score: u32) -> Value {
    json!({
        "session_id": format!("{host}-{student}"), "event_id": format!("{host}-{student}-{score}"),
        "score": score, "max_score": 10,
        "lis_data": {
            "lti_version": "1.3", "client_id": host, "user_id": format!("student-{student}"),
            "lineitem": format!("https://{host}/lineitems/1"),
        },
    })
}
