//! What the engine asks of the world: a store, a transport, a clock, somebody to tell; and what it offers to those who
//! bring events. A handful of small traits, implemented by `adapters` from the side and by the simulation.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use crate::{
    domain::{
        destination::{AgsTarget, Delivery, Origin},
        drawer::{Drawer, Note},
        event::{Door, Refused},
        job::{Job, JobId, StateName},
        ledger::{Answer, Arrival, DueEntry, Order, PlatformRecord, Report},
        notice::{Notice, SignIn, Source},
        outcome::FailureReason,
        platform::{Registration, SharedSecret, SigningKey},
        time::{Draw, Timestamp},
    },
    lti::{Confidential, wire},
};

/// A future that a port hands out.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store did not do what it was asked to. Nothing of it is promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It takes no more writes until it is mended, or too much waits: whoever asks again later is served. Reads go on.
    #[error("{0}")]
    Unavailable(Arc<str>),
    /// A record that is needed for this cannot be read. It serves everybody else, and asking again hardly helps.
    #[error("{0}")]
    Unreadable(Arc<str>),
}

/// Jobs on disk.
pub trait JobStore: Send + Sync + 'static {
    /// Hands work to the writer. The answer comes when what it changed is on disk, synced; an error means that
    /// nothing of it is promised. Orders are carried out in the order of the calls. Never blocks.
    fn submit(&self, order: Order) -> Pending<'static, Result<Answer, StoreError>>;

    /// Up to `limit` jobs of a platform that may be started, by due time and then by id, after `after`.
    fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, StoreError>;

    /// The jobs whose attempt was under way when the store was last open. Asked once, at the start; from memory.
    fn cut_off(&self) -> Vec<JobId>;

    /// Every platform that a grade ever went to.
    fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError>;

    /// The URL of a column that was found or made.
    fn column(&self, key: [u8; 16]) -> Result<Option<String>, StoreError>;

    /// Up to `limit` notes of a drawer behind `after`, in the order of their keys.
    fn notes(&self, drawer: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, StoreError>;

    /// What the note under a key says.
    fn note(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// A job.
    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// The state of each of these jobs; none where it is kept no longer. Neighbours are best asked for together.
    fn states(&self, ids: &[JobId]) -> Result<Vec<Option<StateName>>, StoreError> {
        ids.iter().map(|id| Ok(self.job(*id)?.map(|job| job.state_name()))).collect()
    }

    /// Up to `limit` jobs that pass the filter, newest first, older than `before`; and where to go on, if there may
    /// be more. A page may be short, even empty, and still name where to go on: each call does a bounded amount of work.
    fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError>;

    /// How many jobs there are, from memory.
    fn census(&self) -> Census;

    /// Whether the store takes writes, from memory.
    fn is_writable(&self) -> bool;

    /// For how long no order has been answered, though some wait; zero where none waits. From memory. A disk that hangs
    /// shows in nothing else.
    fn stuck_for(&self) -> Duration;
}

/// Where the store's writer tells what each commit brought about, before it answers those who wait.
pub type ReportSink = Box<dyn FnMut(Report) + Send>;

/// Which jobs a list shows. Every member narrows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<StateName>,
    /// Going to one of these platforms.
    pub origins: Option<Vec<Origin>>,
    /// Whose last attempt failed for this reason.
    pub reason: Option<FailureReason>,
    /// Delivered in this way.
    pub delivery: Option<Delivery>,
    /// Of this `user_id` (the assessment platform's own).
    pub user_id: Option<String>,
    /// Of this session.
    pub session_id: Option<String>,
    /// Of this activity.
    pub activity_id: Option<String>,
    /// Stored at this time or later.
    pub since: Option<Timestamp>,
    /// Stored before this time.
    pub until: Option<Timestamp>,
}

impl JobFilter {
    /// Whether a job passes. The members that stand in the event alone are looked at last: reading it costs.
    pub fn admits(&self, job: &Job) -> bool {
        let plain = self.state.is_none_or(|state| job.state_name() == state)
            && self.origins.as_ref().is_none_or(|origins| origins.contains(&job.origin))
            && self.reason.is_none_or(|reason| job.reason == Some(reason))
            && self.delivery.is_none_or(|delivery| job.delivery == delivery)
            && self.session_id.as_ref().is_none_or(|session| job.session_id.as_deref() == Some(session))
            && self.since.is_none_or(|since| job.created_at >= since)
            && self.until.is_none_or(|until| job.created_at < until);
        if !plain || (self.user_id.is_none() && self.activity_id.is_none()) {
            return plain;
        }
        job.event().is_ok_and(|event| {
            (self.user_id.is_none() || event.user_id == self.user_id)
                && (self.activity_id.is_none() || event.activity_id == self.activity_id)
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Where to go on; none at the end.
    pub next: Option<JobId>,
}

/// How many jobs there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By state, in the order of [`StateName::ALL`].
    pub by_state: [u64; StateName::ALL.len()],
    /// Queued and flagged jobs by platform.
    pub by_platform: Vec<(Origin, PlatformCount)>,
}

/// The jobs of one platform that somebody may have to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlatformCount {
    /// Queued.
    pub queued: u64,
    /// Flagged.
    pub flagged: u64,
    /// Flagged, by the reason of the last attempt, in the order of [`FailureReason::ALL`].
    pub flagged_by: [u64; FailureReason::ALL.len()],
}

impl PlatformCount {
    /// How many are flagged for a reason.
    pub fn flagged_for(&self, reason: FailureReason) -> u64 {
        self.flagged_by[reason as usize]
    }
}

/// HTTP to platforms, within limits of time, size and address. Never follows a redirect.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and reads the whole reply; at the latest after `within` there is an answer.
    fn send(&self, request: wire::Request, within: Duration) -> Pending<'_, wire::Answer>;
}

/// The time, and chance.
pub trait Clock: Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;
    /// A draw.
    fn draw(&self) -> Draw;
    /// 128 bits that nobody can guess, for ids and nonces.
    fn luck(&self) -> u128;
}

/// Somebody who wants to know: metrics, the log, a test.
pub trait Observer: Send + Sync + 'static {
    /// Takes note of a fact.
    fn observe(&self, notice: &Notice);
}

/// Where a request comes from; that of a proxy, if there is one in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Who stands at the doors and remembers those that were not let in.
pub trait Porter: Send + Sync + 'static {
    /// Takes note of a refused sign-in. What comes back ends when the refusal may be told: not at once, so that guessing
    /// is slow.
    fn turn_away(&self, way: SignIn, peer: Option<IpAddr>) -> Pending<'static, ()>;
}

/// An event as it comes to a door.
#[derive(Clone)]
pub struct Incoming {
    /// The bytes as received.
    pub body: Arc<[u8]>,
    /// How they are read.
    pub door: Door,
    /// Which way they came.
    pub source: Source,
    /// The AMQP `message_id`.
    pub message_id: Option<String>,
    /// The AMQP `timestamp`.
    pub sent_at: Option<Timestamp>,
    /// The consumer key that signed in at `/lti/grade_passback`.
    pub user: Option<String>,
}

/// An event that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its job.
    pub id: JobId,
    /// The sender's own key, where it gave one.
    pub event_id: Option<String>,
    /// Whether it was known already.
    pub duplicate: bool,
}

/// The engine's door, for those who bring events: first read, then store.
pub trait Intake: Send + Sync + 'static {
    /// Parses an event. A refusal has been noticed (counted and logged) when it is returned.
    fn read(&self, incoming: Incoming) -> Result<Box<Arrival>, Refused>;

    /// Hands a parsed event to the store, in the order of the calls; the receipt comes when its job is on disk.
    fn store(&self, arrival: Box<Arrival>) -> Pending<'static, Result<Receipt, StoreError>>;

    /// Whether the store takes events, from memory. Who brings events on their own account asks this after a failure
    /// before they go on.
    fn is_open(&self) -> bool;
}

/// The keys and registrations that the configuration names. What is missing comes back as the reason to flag with.
pub trait Registry: Send + Sync + 'static {
    /// The shared secret of a consumer key, for use at `host`: [`FailureReason::UnknownKey`] without one,
    /// [`FailureReason::BlockedDestination`] where the key is not for that host.
    fn shared_secret(&self, consumer_key: &str, host: &str) -> Result<SharedSecret, FailureReason>;

    /// The registration that an AGS job finds by its client id (and issuer and deployment, where the event names
    /// them): [`FailureReason::UnknownPlatform`] where none fits, or more than one.
    fn registration(&self, target: &AgsTarget) -> Result<Registration, FailureReason>;

    /// Why there is no registration for a job, in the words of whoever wrote the configuration; none where nothing can be
    /// said besides the reason.
    fn why_unregistered(&self, _target: &AgsTarget) -> Option<String> {
        None
    }

    /// The name that the configuration gives to the platform at `origin`, to which an AGS job with `client_id` goes, if one
    /// does.
    fn platform_name(&self, _origin: &Origin, _client_id: Option<&str>) -> Option<Arc<str>> {
        None
    }

    /// The key that signs client assertions: [`FailureReason::UnknownKey`] where there is none.
    fn signing_key(&self) -> Result<Arc<SigningKey>, FailureReason>;

    /// Every secret of the configuration, so that none is read in a platform's words.
    fn confidential(&self) -> Arc<Confidential> {
        Arc::default()
    }
}

/// Whether events can come in from the broker.
pub trait QueueHealth: Send + Sync + 'static {
    /// The queues that are configured and have no consumer now.
    fn queues_without_consumer(&self) -> Vec<String>;
}
