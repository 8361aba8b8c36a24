//! The real engine on the real transport and the real clock, with a store of plain maps and a schedule short enough for a
//! test. What else a test needs of it stands in its [`Setting`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use passback::{
    adapters::{
        clock::SystemClock,
        transport::{self, EgressRules, HttpTransport},
    },
    domain::{
        destination::{AgsTarget, ServiceUrl},
        dispatch::Limits,
        event::Door,
        job::{Job, JobId},
        ledger::{Outcomes, Rules},
        notice::{Notice, Source},
        outcome::FailureReason,
        platform::{Registration, SharedSecret, SigningKey},
        retry::{Permanent, RetryPolicy},
        time::{Draw, Timestamp},
    },
    engine::{Engine, EngineHandle, Inbox, Options, World},
    ports::{Clock, Incoming, Intake, JobStore, Observer, Registry, Transport},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{service::worker::wait_for, virtual_time::books::MapStore};

/// `[delivery] timeout` where something is to run out of time.
pub(crate) const SHORT: Duration = Duration::from_secs(1);
/// The same where nothing is to.
pub(crate) const AMPLE: Duration = Duration::from_secs(20);

/// Between two tries, where nothing else is said.
pub(crate) const WAIT: Duration = Duration::from_millis(20);

/// What a scene is set up with.
pub(crate) struct Setting {
    pub(crate) token_url: String,
    pub(crate) token_audience: String,
    /// The secret of every consumer key.
    pub(crate) secret: &'static str,
    pub(crate) timeout: Duration,
    /// Attempts under way, in all and at one platform.
    pub(crate) room: usize,
    pub(crate) retry: RetryPolicy,
    /// `[delivery] supersede`.
    pub(crate) supersede: bool,
}

impl Setting {
    /// There is room for one attempt in all: a second one proves that the first has given its slot back.
    pub(crate) fn with_tokens_from(token_url: &str, timeout: Duration) -> Self {
        Self {
            token_url: token_url.to_owned(),
            token_audience: token_url.to_owned(),
            secret: "sesame-open-1",
            timeout,
            room: 1,
            retry: RetryPolicy { initial: WAIT, multiplier: 1.0, max: WAIT, jitter: 0.0, ..RetryPolicy::default() },
            supersede: true,
        }
    }

    /// What looks permanent is flagged at once: so a test sees what does.
    pub(crate) fn flagging(self) -> Self {
        Self { retry: RetryPolicy { permanent: Permanent::Flag, ..self.retry }, ..self }
    }

    /// Nothing is tried again for an hour, and `Retry-After` is obeyed up to six.
    pub(crate) fn patient(self) -> Self {
        let (initial, max) = (Duration::from_secs(3600), Duration::from_secs(6 * 3600));
        Self { retry: RetryPolicy { initial, max, ..self.retry }, ..self }
    }
}

/// An engine at work.
pub(crate) struct Scene {
    pub(crate) handle: EngineHandle,
    pub(crate) clock: Arc<AheadClock>,
    store: Arc<MapStore>,
    _task: JoinSet<()>,
}

/// The machine's clock, and how far it was set forward.
#[derive(Default)]
pub(crate) struct AheadClock {
    ahead_secs: AtomicU64,
}

impl AheadClock {
    /// Sets it forward.
    pub(crate) fn jump(&self, secs: u64) {
        self.ahead_secs.fetch_add(secs, Ordering::SeqCst);
    }
}

impl Clock for AheadClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(self.ahead_secs.load(Ordering::SeqCst))
    }

    fn draw(&self) -> Draw {
        SystemClock.draw()
    }

    fn luck(&self) -> u128 {
        SystemClock.luck()
    }
}

struct Keys {
    token_url: String,
    token_audience: String,
    secret: &'static str,
}

impl Registry for Keys {
    fn shared_secret(&self, _: &str, _: &str) -> Result<SharedSecret, FailureReason> {
        Ok(SharedSecret::new(self.secret))
    }

    fn registration(&self, target: &AgsTarget) -> Result<Registration, FailureReason> {
        Ok(Registration {
            // A platform that the configuration names, so its clock is believed.
            name: Some("lms".to_owned()),
            client_id: target.client_id.clone(),
            token_url: ServiceUrl::parse(&self.token_url).map_err(|_| FailureReason::UnknownPlatform)?,
            token_audience: self.token_audience.clone(),
            deployment_id: None,
            ignored_claims: Vec::new(),
        })
    }

    fn signing_key(&self) -> Result<Arc<SigningKey>, FailureReason> {
        Ok(Arc::new(SigningKey::new("k1", include_str!("../../vectors/signing_key.pem"))))
    }
}

/// The jobs tell what these tests ask.
struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &Notice) {}
}

impl Scene {
    /// `base` is where the token endpoint is.
    pub(crate) fn start(transport: impl Transport, base: &str, timeout: Duration) -> Self {
        Self::set(transport, Setting::with_tokens_from(&format!("{base}/token"), timeout))
    }

    /// As the setting says.
    pub(crate) fn set(transport: impl Transport, setting: Setting) -> Self {
        let Setting { token_url, token_audience, secret, timeout, room, retry, supersede } = setting;
        let store = Arc::new(MapStore::new(Rules { retry, supersede, outcomes: Outcomes::Dropped }));
        let inbox = Inbox::new();
        store.tell(inbox.report_sink());
        let clock = Arc::new(AheadClock::default());
        let world = World {
            store: Arc::clone(&store) as _,
            transport: Arc::new(transport),
            clock: Arc::clone(&clock) as _,
            registry: Arc::new(Keys { token_url, token_audience, secret }),
            observer: Arc::new(Nobody),
        };
        let limits = Limits { total: room, per_platform: room, retry };
        let engine = Engine::new(Options { limits, timeout, drain: timeout, retain: AMPLE }, world, inbox);
        let handle = engine.handle();
        let mut task = JoinSet::new();
        task.spawn(async move { engine.run(CancellationToken::new()).await });
        Self { handle, clock, store, _task: task }
    }

    /// Brings an event to the engine's door.
    pub(crate) async fn submit(&self, event: &Value) -> JobId {
        let body = event.to_string().into_bytes().into();
        let (door, source) = (Door::Event, Source::Http);
        let incoming = Incoming { body, door, source, message_id: None, sent_at: None, user: None };
        let arrival = self.handle.read(incoming).expect("a good event");
        self.handle.store(arrival).await.expect("maps never fail").id
    }

    /// Waits until a job has left the queue.
    pub(crate) async fn ended(&self, id: JobId) -> Job {
        self.job_where(id, "the job to end", |job| job.queued().is_none()).await
    }

    /// Waits until a job was tried so often, and is not being tried now.
    pub(crate) async fn tried(&self, id: JobId, attempts: usize) -> Job {
        let is_tried = |job: &Job| job.attempts.len() == attempts && job.under_way_since().is_none();
        self.job_where(id, "the attempts to end", is_tried).await
    }

    async fn job_where(&self, id: JobId, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        wait_for(what, async || {
            let job = self.store.job(id).expect("maps never fail").expect("the job");
            is_so(&job).then_some(job)
        })
        .await
    }
}

/// The real transport, for servers on the loopback.
pub(crate) fn open_transport() -> HttpTransport {
    let egress = EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() };
    HttpTransport::new(transport::Options { egress, ..transport::Options::default() }).expect("a transport")
}

/// An event for a platform at `base`, such as `http://127.0.0.1:4711`.
pub(crate) fn event(delivery: &str, base: &str) -> Value {
    let lis_data = match delivery {
        "lti11" => json!({
            "lis_outcome_service_url": format!("{base}/outcomes?ticket=hush"),
            "lis_result_sourcedid": "hush-sourcedid", "oauth_consumer_key": "key",
        }),
        "lti13-delegated" => json!({
            "lti_version": "1.3", "grade_passback_url": format!("{base}/endpoint?ticket=hush"),
            "oauth_consumer_key": "key",
        }),
        _ => json!({
            "lti_version": "1.3", "client_id": "tool-1", "user_id": "hush-student",
            "lineitem": format!("{base}/lineitems/1?ticket=hush"),
        }),
    };
    json!({ "session_id": "s", "score": 8, "max_score": 10, "lis_data": lis_data })
}
