//! Everything that the worker is not: what outlives it, and what it talks to.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use passback::{
    domain::{
        destination::{AgsTarget, ServiceUrl},
        job::JobId,
        outcome::FailureReason,
        platform::{Registration, SharedSecret, SigningKey},
        time::Timestamp,
    },
    lti::wire::{Answer, Request},
    ports::Registry,
};

use super::{
    boundary::Boundary,
    broker::{Broker, EventNo},
    climate::Climate,
    disk::FakeDisk,
    oracle::Oracle,
    plan::{GENESIS, origin},
    platform::Platform,
    process::Local,
    world::World,
};

/// Everything that can happen in a universe.
pub(super) enum Happening {
    /// An event is sent, by its own way.
    Sent(EventNo),
    /// Something inside the worker of this life.
    Local(u32, Local),
    /// A request comes to its platform.
    Arrives(Box<Parcel>),
    /// The worker starts.
    Starts,
    /// The worker is asked to stop.
    Stops,
    /// The worker is ended from outside.
    Dies,
    /// The broker drops the connection.
    ConnectionLost,
    /// A platform's mood changes.
    Turns(usize),
    TurnsOnce(usize),
    /// The disk fills up or fails, and is mended.
    DiskTurns,
    DiskIsMended,
    /// The worker's clock is set forward.
    ClockIsSet,
    /// The worker's clock goes wrong, by whole seconds, and is set right again some time later.
    ClockGoesWrong,
    ClockGoesWrongOnce,
    ClockIsSetBy(i64),
    /// An admin does something.
    AdminActs,
    AdminActsOnce,
    /// All keys are configured.
    KeysCome,
    /// The faults end.
    Calm,
}

/// A request on its way.
pub(super) struct Parcel {
    pub(super) life: u32,
    pub(super) attempt: u64,
    pub(super) job: JobId,
    pub(super) request: Request,
    pub(super) sent_at: Timestamp,
    pub(super) errand: Errand,
}

/// For whom a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// For the exchange of the attempt.
    Exchange,
    /// For the token that the attempt asked for.
    Token,
}

/// What came back for a parcel.
pub(super) struct Return {
    pub(super) attempt: u64,
    pub(super) answer: Answer,
    pub(super) errand: Errand,
}

/// The world around the worker.
pub(super) struct Outside {
    pub(super) world: World<Happening>,
    pub(super) climate: Climate,
    pub(super) broker: Broker,
    pub(super) platforms: Vec<Platform>,
    pub(super) disk: FakeDisk,
    pub(super) registry: Keys,
    pub(super) oracle: Oracle,
    /// Which worker this is.
    pub(super) life: u32,
    /// The faults are over.
    pub(super) calm: bool,
    /// How far the worker's clock is off, in microseconds.
    pub(super) clock_off: i64,
    /// Events that were posted and are not answered.
    pub(super) posted: BTreeSet<EventNo>,
    pub(super) stats: Stats,
}

/// Figures.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    pub(super) steps: u64,
    pub(super) trace: u64,
    pub(super) events: u64,
    pub(super) jobs: u64,
    pub(super) attempts: u64,
    pub(super) commits: u64,
    pub(super) redelivered: u64,
    pub(super) holds: u64,
    pub(super) flagged: u64,
    pub(super) virtual_secs: u64,
    /// Crashes at each boundary, and those at any other moment.
    pub(super) crashes: [u64; Boundary::ALL.len()],
    pub(super) killed: u64,
    pub(super) stops: u64,
    /// Times that the worker saw its clock set back.
    pub(super) set_back: u64,
    /// Steps of bulk changes that had jobs, and changes of which a step came after a crash.
    pub(super) bulk_steps: u64,
    pub(super) bulk_resumed: u64,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.trace ^= other.trace;
        self.events += other.events;
        self.jobs += other.jobs;
        self.attempts += other.attempts;
        self.commits += other.commits;
        self.redelivered += other.redelivered;
        self.holds += other.holds;
        self.flagged += other.flagged;
        self.virtual_secs += other.virtual_secs;
        self.killed += other.killed;
        self.stops += other.stops;
        self.set_back += other.set_back;
        self.bulk_steps += other.bulk_steps;
        self.bulk_resumed += other.bulk_resumed;
        for (mine, others) in self.crashes.iter_mut().zip(other.crashes) {
            *mine += others;
        }
    }

    pub(super) fn crashes_in_all(&self) -> u64 {
        self.crashes.iter().sum::<u64>() + self.killed
    }
}

impl Outside {
    /// The time on the worker's clock.
    pub(super) fn clock(&self) -> Timestamp {
        Timestamp::from_micros(self.world.now().as_micros() + self.clock_off)
    }

    /// The clock that is never set.
    pub(super) fn steady(&self) -> Duration {
        self.world.now().since(GENESIS)
    }

    /// Something will happen inside the worker of now.
    pub(super) fn local(&mut self, after: Duration, local: Local) {
        let life = self.life;
        self.world.after(after, Happening::Local(life, local));
    }

    /// A moment, as tasks and threads take before they go on.
    pub(super) fn moment(&mut self) -> Duration {
        Duration::from_micros(self.world.chance.between(1, 3000))
    }

    /// Whether the worker dies here.
    pub(super) fn dies_at(&mut self, boundary: Boundary) -> bool {
        let faults = &self.climate.faults;
        let may = !self.calm
            && self.stats.crashes_in_all() < u64::from(faults.crashes_max)
            && faults.boundaries.contains(&boundary);
        // Recovery is rare, so it is struck more often.
        let often = if boundary == Boundary::InRecovery { faults.crash.sqrt() } else { faults.crash };
        may && self.world.chance.hits(often)
    }
}

/// The keys and registrations of all platforms; those of odd platforms may come later.
#[derive(Clone)]
pub(super) struct Keys {
    complete: Arc<AtomicBool>,
    key: Arc<SigningKey>,
}

impl Keys {
    pub(super) fn new(complete: bool) -> Self {
        let pem = include_str!("../../vectors/signing_key.pem");
        Self { complete: Arc::new(AtomicBool::new(complete)), key: Arc::new(SigningKey::new("kid", pem)) }
    }

    pub(super) fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }

    fn knows(&self, number: usize) -> bool {
        number.is_multiple_of(2) || self.complete.load(Ordering::Relaxed)
    }
}

fn number(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.parse().ok()
}

impl Registry for Keys {
    fn shared_secret(&self, consumer_key: &str, _: &str) -> Result<SharedSecret, FailureReason> {
        let known = number(consumer_key, "key-").filter(|number| self.knows(*number));
        known.map(|_| SharedSecret::new("secret")).ok_or(FailureReason::UnknownKey)
    }

    fn registration(&self, target: &AgsTarget) -> Result<Registration, FailureReason> {
        let number = number(&target.client_id, "client-").filter(|number| self.knows(*number));
        let url = number.map(|number| format!("{}/token", origin(number))).ok_or(FailureReason::UnknownPlatform)?;
        Ok(Registration {
            name: None,
            client_id: target.client_id.clone(),
            token_url: ServiceUrl::parse(&url).expect("a URL"),
            token_audience: url,
            deployment_id: None,
            ignored_claims: Vec::new(),
        })
    }

    fn signing_key(&self) -> Result<Arc<SigningKey>, FailureReason> {
        Ok(Arc::clone(&self.key))
    }
}
