//! Notices: every fact worth counting, logging or showing. The core and the adapters return them; the surfaces turn
//! them into metrics and log lines. No notice carries a secret, a sourcedId or a body.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use super::{
    destination::{Delivery, Origin},
    job::{JobId, StateName},
    outcome::{AttemptOutcome, FailureReason},
    time::Timestamp,
};

/// Which way an event came in, by the names of the metric `events_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// RabbitMQ.
    Amqp,
    /// `POST /v1/events`.
    Http,
    /// `POST /lti/grade_passback`.
    Lti,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Amqp, Self::Http, Self::Lti];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Http => "http",
            Self::Lti => "lti",
        }
    }
}

/// How somebody tries to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignIn {
    /// With a bearer token, one of `[[tokens]]`.
    Token,
    /// With HTTP Basic, one of `[[lti_keys]]`.
    LtiKey,
}

impl SignIn {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Token, Self::LtiKey];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::LtiKey => "lti_key",
        }
    }
}

/// What every notice of a job carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The job.
    pub job: JobId,
    /// Its session.
    pub session: Option<Arc<str>>,
    /// Its delivery.
    pub delivery: Delivery,
    /// Its platform.
    pub origin: Origin,
}

/// The loops whose last success is watched, by the names of `loop_last_success_timestamp_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loop {
    /// Taking events in.
    Intake,
    /// Starting attempts.
    Dispatch,
    /// Committing.
    Store,
}

impl Loop {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Intake, Self::Dispatch, Self::Store];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Dispatch => "dispatch",
            Self::Store => "store",
        }
    }
}

/// Whether a platform takes deliveries, by the names of `platform_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlatformState {
    /// Deliveries flow.
    Open,
    /// It fails again and again; one probe at a time goes out.
    Held,
    /// An admin has stopped its deliveries.
    Paused,
}

impl PlatformState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Held, Self::Paused];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Held => "held",
            Self::Paused => "paused",
        }
    }
}

/// Why no token was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// The reason.
    pub reason: FailureReason,
    /// The platform's words, cut and redacted.
    pub words: Box<str>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An event became a job.
    EventStored {
        /// The job.
        about: About,
        /// Which way it came in.
        source: Source,
        /// Queued, or superseded at once by a newer one.
        state: StateName,
    },
    /// An event that is known already was acknowledged and changed nothing.
    EventDuplicate {
        /// The job of the first one.
        job: JobId,
        /// Which way it came in.
        source: Source,
    },
    /// An event can never become a job.
    EventRefused {
        /// Which way it came in.
        source: Source,
        /// The AMQP `message_id`, by which it is found in the dead-letter queue.
        message_id: Option<String>,
        /// The sender's own name for it, where it can be read.
        event_id: Option<String>,
        /// The field at fault.
        field: String,
        /// The sentence that the sender got.
        detail: String,
    },
    /// Somebody was not let in. What was tried is not told: it may be a secret that was mistyped.
    SignInRefused {
        /// How they tried.
        way: SignIn,
        /// From where; that of a proxy, if there is one in between.
        peer: Option<IpAddr>,
        /// How many others were refused since the last notice of this kind.
        untold: u64,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The job.
        about: About,
        /// How.
        outcome: AttemptOutcome,
        /// How long it took.
        duration: Duration,
        /// The status of the reply that decided.
        http_status: Option<u16>,
        /// The platform's words, cut and redacted.
        message: Box<str>,
        /// Attempts made in this set so far.
        tries: u32,
        /// Whether it used up a try.
        counted: bool,
    },
    /// A retry was put on the schedule.
    RetryScheduled {
        /// The job.
        about: About,
        /// When.
        due: Timestamp,
    },
    /// The platform has the grade.
    Delivered {
        /// The job.
        about: About,
        /// From stored to delivered.
        latency: Duration,
    },
    /// The retries are used up, or no retry could help.
    Flagged {
        /// The job.
        about: About,
        /// Why.
        reason: FailureReason,
        /// What went wrong, in words.
        words: Box<str>,
        /// What an admin can do.
        advice: Cow<'static, str>,
    },
    /// A newer grade took its place.
    Superseded {
        /// The job.
        about: About,
    },
    /// An admin gave it up.
    Discarded {
        /// The job.
        about: About,
    },
    /// An admin wants it tried again.
    Replayed {
        /// The job.
        about: About,
    },
    /// A job was moved from one state to another; the gauges follow it. `from` is none for a new job, `to` none for
    /// one that was pruned.
    Moved {
        /// The state before.
        from: Option<StateName>,
        /// The state after.
        to: Option<StateName>,
    },
    /// A grade goes to a platform for the first time, or its client id became known. It comes before any other notice
    /// of the platform, so that its name can be found.
    PlatformMet {
        /// The platform.
        origin: Origin,
        /// The client id of an AGS job that goes there.
        client_id: Option<String>,
    },
    /// A platform changed between open, held and paused.
    Platform {
        /// The platform.
        origin: Origin,
        /// The state it is in now.
        state: PlatformState,
        /// Why, in words.
        why: &'static str,
    },
    /// A platform asked for fewer requests and rests.
    PlatformRests {
        /// The platform.
        origin: Origin,
        /// Until when.
        until: Timestamp,
    },
    /// A token was asked for.
    TokenRequested {
        /// The platform.
        origin: Origin,
        /// None if it was granted.
        failure: Option<NoToken>,
    },
    /// A commit is on disk.
    StoreCommitted {
        /// How long it took, the sync included.
        duration: Duration,
        /// The changes that shared it.
        changes: usize,
        /// The size of the store on disk, in bytes.
        size_bytes: u64,
    },
    /// The store took no write, and takes none until it is mended.
    StoreFailed {
        /// The whole chain of causes.
        error: String,
    },
    /// The store takes writes again.
    StoreMended,
    /// A record of the store is damaged. It spoils its own jobs alone; told once.
    RecordDamaged {
        /// Which, and what is wrong with it.
        error: String,
    },
    /// A queue has its consumer.
    AmqpConnected {
        /// The queue.
        queue: String,
    },
    /// A queue has lost its consumer; it is being reconnected.
    AmqpLost {
        /// The queue.
        queue: String,
        /// The whole chain of causes.
        error: String,
    },
    /// Acknowledgements that the broker did not get; it will deliver again.
    AcksLost {
        /// How many.
        count: u64,
    },
    /// The ends of jobs can be published.
    OutcomesConnected {
        /// Where.
        exchange: String,
    },
    /// They cannot; the connection is being made again.
    OutcomesLost {
        /// Where.
        exchange: String,
        /// The whole chain of causes.
        error: String,
    },
    /// Ends of jobs were published, and confirmed.
    OutcomesPublished {
        /// How many.
        count: u64,
    },
    /// The number of ends that wait to be published has changed.
    OutcomesWaiting {
        /// How many.
        count: u64,
    },
    /// The time of day was set back; what waits is put forward by as much.
    ClockSetBack {
        /// By how much.
        by: Duration,
    },
    /// A loop has done its work once more.
    Beat {
        /// Which.
        of: Loop,
    },
}
