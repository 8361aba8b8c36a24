//! A platform with the manners of a real one, and the real sender in front of it.

use passback::{
    domain::{
        advice::advice,
        job::{Job, JobId, StateName},
        outcome::{AttemptOutcome, FailureReason},
    },
    simulator::{Client, Consumer, Fault, FaultKind, Grade, Jwks, Likeness, Options, Route, SimulatedLms},
};
use serde_json::{Value, json};

use super::tap::{Sort, Tap};
use crate::{
    check::scene::key_set,
    lms_faults::scene::{AMPLE, Scene, Setting, open_transport},
};

/// What a campus is opened with.
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) client: Client,
    change: Box<dyn FnOnce(Setting) -> Setting + Send>,
}

impl Plan {
    /// A course `c` with the columns `1` and `2`, and a tool with all scopes whose keys the platform has.
    pub(super) fn like(like: Likeness) -> Self {
        let options = Options {
            like: Some(like),
            consumers: vec![Consumer::new("key", "sesame-open-1")],
            contexts: vec![("c".to_owned(), vec!["1".to_owned(), "2".to_owned()])],
            ..Options::default()
        };
        Self {
            options,
            client: Client::new("tool-1", Jwks::Inline(key_set("k1"))),
            change: Box::new(|setting| setting),
        }
    }

    /// With another setting of the sender.
    pub(super) fn set(self, change: impl FnOnce(Setting) -> Setting + Send + 'static) -> Self {
        let before = self.change;
        Self { change: Box::new(move |setting| change(before(setting))), ..self }
    }

    /// What looks permanent is flagged at once.
    pub(super) fn flagging(self) -> Self {
        self.set(Setting::flagging)
    }

    /// With room for so many attempts.
    pub(super) fn room(self, room: usize) -> Self {
        self.set(move |setting| Setting { room, ..setting })
    }

    pub(super) async fn open(self) -> Campus {
        self.open_through(Tap::on(open_transport())).await
    }

    /// The same, by a transport of the test's own.
    pub(super) async fn open_through(mut self, tap: Tap) -> Campus {
        self.options.clients.push(self.client);
        let lms = SimulatedLms::start(self.options).await.expect("a platform");
        let setting = Setting::with_tokens_from(&lms.token_url(), AMPLE);
        let setting = (self.change)(Setting { token_audience: lms.token_audience(), ..setting });
        Campus { scene: Scene::set(tap.clone(), setting), tap, lms }
    }
}

/// A platform at work, with the sender.
pub(super) struct Campus {
    pub(super) lms: SimulatedLms,
    pub(super) scene: Scene,
    pub(super) tap: Tap,
}

impl Campus {
    /// A platform with all that a plan has unless it is told otherwise.
    pub(super) async fn like(like: Likeness) -> Self {
        Plan::like(like).open().await
    }

    /// The same, and what looks permanent is flagged at once.
    pub(super) async fn flagging(like: Likeness) -> Self {
        Plan::like(like).flagging().open().await
    }

    /// A grade for a sourcedid.
    pub(super) fn lti11(&self, sourcedid: &str, score: impl Into<Value>) -> Value {
        json!({
            "session_id": sourcedid, "score": score.into(), "max_score": 10,
            "lis_data": {
                "lis_outcome_service_url": self.lms.outcomes_url(), "lis_result_sourcedid": sourcedid,
                "oauth_consumer_key": "key",
            },
        })
    }

    /// A grade for a user in the column `1`.
    pub(super) fn known(&self, user: &str, score: impl Into<Value>) -> Value {
        let lineitem = self.lms.lineitem_url("c", "1");
        json!({
            "session_id": user, "score": score.into(), "max_score": 10,
            "lis_data": { "lti_version": "1.3", "client_id": "tool-1", "user_id": user, "lineitem": lineitem },
        })
    }

    /// A grade for a user in a column that is not there yet.
    pub(super) fn sought(&self, user: &str, score: impl Into<Value>) -> Value {
        let mut event = self.known(user, score);
        let lis_data = event["lis_data"].as_object_mut().expect("an object");
        lis_data.remove("lineitem");
        lis_data.insert("lineitems".to_owned(), self.lms.lineitems_url("c").into());
        lis_data.insert("resource_id".to_owned(), "quiz".into());
        event
    }

    /// The same grade by each of the protocols that need no column to be sought: to the cell of [`Self::score_by`].
    pub(super) fn event_by(&self, sort: Sort, user: &str, score: impl Into<Value>) -> Value {
        if sort == Sort::Outcome { self.lti11(user, score) } else { self.known(user, score) }
    }

    pub(super) async fn submit(&self, event: &Value) -> JobId {
        self.scene.submit(event).await
    }

    /// Brings an event and waits for the end of its job.
    pub(super) async fn deliver(&self, event: &Value) -> Job {
        self.scene.ended(self.submit(event).await).await
    }

    /// Brings all of them at once, and waits for all ends.
    pub(super) async fn deliver_all(&self, events: &[Value]) -> Vec<Job> {
        let ids = futures_util::future::join_all(events.iter().map(|event| self.submit(event))).await;
        futures_util::future::join_all(ids.into_iter().map(|id| self.scene.ended(id))).await
    }

    /// The next request of a route meets this.
    pub(super) fn once(&self, route: Route, kind: FaultKind) {
        self.lms.set_fault(route, Fault::times(kind, 1)).expect("a sensible fault");
    }

    /// Points by a protocol, wherever the column is.
    pub(super) fn grade(&self, user: &str) -> Option<Grade> {
        self.lms.gradebook().into_iter().find(|(cell, _)| cell.user == user)?.1.grade
    }

    /// How many writes were accepted, in all cells.
    pub(super) fn writes(&self) -> u64 {
        self.lms.gradebook().iter().map(|(_, state)| state.writes).sum()
    }
}

/// A status without a body.
pub(super) fn status(code: u16) -> FaultKind {
    FaultKind::Status { code, body: None, retry_after: None }
}

/// It was delivered, after so many attempts.
#[track_caller]
pub(super) fn is_delivered(job: &Job, attempts: usize, what: &str) {
    let told: Vec<_> = job.attempts.iter().map(|attempt| (attempt.outcome.name(), &attempt.message)).collect();
    assert_eq!((job.state_name(), job.attempts.len()), (StateName::Delivered, attempts), "{what}: {told:?}");
}

/// It was flagged for this reason at the first attempt; the platform said these words, and the advice those. Nobody's id
/// stands in either.
#[track_caller]
pub(super) fn is_refused(job: &Job, reason: FailureReason, words: &str, advises: &str) {
    assert_eq!(job.attempts.len(), 1, "{}: {:?}", reason.name(), job.attempts);
    is_flagged(job, reason, words, advises);
}

/// It was flagged for this reason in the end.
#[track_caller]
pub(super) fn is_flagged(job: &Job, reason: FailureReason, words: &str, advises: &str) {
    let last = job.attempts.last().expect("it was tried");
    let advice = advice(job, job.event().ok().as_deref()).unwrap_or_default();
    assert_eq!((job.state_name(), job.reason), (StateName::Flagged, Some(reason)), "{}", last.message);
    assert_eq!(last.outcome, AttemptOutcome::Failed(reason));
    assert!(last.message.contains(words), "{words}: {}", last.message);
    assert!(advice.contains(advises), "{advises}: {advice} ({})", last.message);
}

/// Checks each of the cases, all side by side: most of the time is waiting.
pub(super) async fn each<T, F: Future<Output = ()>>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) -> F) {
    drop(futures_util::future::join_all(cases.into_iter().map(check)).await);
}
