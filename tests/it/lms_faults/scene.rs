//! The real engine on the real transport and the real clock, with a store of plain maps, room for one attempt in all, and
//! a schedule short enough for a test.

use std::{sync::Arc, time::Duration};

use passback::{
    adapters::{clock::SystemClock, transport::HttpTransport},
    domain::{
        destination::{AgsTarget, ServiceUrl},
        dispatch::Limits,
        event::Door,
        job::{Job, JobId},
        ledger::{Outcomes, Rules},
        notice::{Notice, Source},
        outcome::FailureReason,
        platform::{Registration, SharedSecret, SigningKey},
        retry::RetryPolicy,
    },
    engine::{Engine, EngineHandle, Inbox, Options, World},
    ports::{Incoming, Intake, JobStore, Observer, Registry},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{service::worker::wait_for, virtual_time::books::MapStore};

/// `[delivery] timeout` where something is to run out of time.
pub(crate) const SHORT: Duration = Duration::from_secs(1);
/// The same where nothing is to.
pub(crate) const AMPLE: Duration = Duration::from_secs(20);

/// An engine at work.
pub(crate) struct Scene {
    pub(crate) handle: EngineHandle,
    store: Arc<MapStore>,
    _task: JoinSet<()>,
}

struct Keys {
    token_url: String,
}

impl Registry for Keys {
    fn shared_secret(&self, _: &str, _: &str) -> Result<SharedSecret, FailureReason> {
        Ok(SharedSecret::new("sesame-open-1"))
    }

    fn registration(&self, target: &AgsTarget) -> Result<Registration, FailureReason> {
        Ok(Registration {
            name: None,
            client_id: target.client_id.clone(),
            token_url: ServiceUrl::parse(&self.token_url).map_err(|_| FailureReason::UnknownPlatform)?,
            token_audience: self.token_url.clone(),
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
    /// `base` is where the token endpoint is. There is room for one attempt in all: a second one proves that the first
    /// has given its slot back.
    pub(crate) fn start(transport: HttpTransport, base: &str, timeout: Duration) -> Self {
        let wait = Duration::from_millis(50);
        let retry = RetryPolicy { initial: wait, multiplier: 1.0, max: wait, jitter: 0.0, ..RetryPolicy::default() };
        let store = Arc::new(MapStore::new(Rules { retry, supersede: true, outcomes: Outcomes::Dropped }));
        let inbox = Inbox::new();
        store.tell(inbox.report_sink());
        let world = World {
            store: Arc::clone(&store) as _,
            transport: Arc::new(transport),
            clock: Arc::new(SystemClock),
            registry: Arc::new(Keys { token_url: format!("{base}/token") }),
            observer: Arc::new(Nobody),
        };
        let limits = Limits { total: 1, per_platform: 1, retry };
        let engine = Engine::new(Options { limits, timeout, drain: timeout, retain: AMPLE }, world, inbox);
        let handle = engine.handle();
        let mut task = JoinSet::new();
        task.spawn(async move { engine.run(CancellationToken::new()).await });
        Self { handle, store, _task: task }
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
        wait_for("the job to end", async || {
            let job = self.store.job(id).expect("maps never fail").expect("the job");
            job.queued().is_none().then_some(job)
        })
        .await
    }
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
