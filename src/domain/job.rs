//! The job: the durable record of one passback. The event as it came, where it goes, its state, and every attempt.
//!
//! A job is changed by `transition::apply` and by nothing else. It names its keys and never carries a secret.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    destination::{Delivery, GradeCell, Origin, digest16},
    event::{Door, GradeEvent, Refused},
    outcome::{AttemptOutcome, FailureReason},
    time::Timestamp,
};

/// The most attempts that a job's history shows; older failed probes go first, then the oldest attempts, and last of
/// all those that tell what a later "not newer" means. It bounds the record of a job that is replayed for years.
pub const HISTORY_MAX: usize = 100;

/// A job's name: a ULID, so that names sort by the time of storing and never repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Ulid);

/// The text is no job id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a job id: 26 letters and digits such as 01JD8Y3K5V7Q2W9XZB4N6M8P0R")]
pub struct NotAJobId;

impl JobId {
    /// No id is greater.
    pub const LAST: Self = Self(Ulid(u128::MAX));

    /// The id of a job stored at `now`, after `last`. `luck` is 80 bits of chance.
    pub fn next(last: Option<Self>, now: Timestamp, luck: u128) -> Self {
        let fresh = Self(Ulid::from_parts(now.as_millis(), luck));
        match last {
            // The clock went back, or the same millisecond drew a smaller number: order of storing comes first.
            Some(last) if fresh <= last => last.following(),
            _ => fresh,
        }
    }

    /// The 16 bytes, in sorting order.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.0.to_be_bytes()
    }

    /// From the 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid(u128::from_be_bytes(bytes)))
    }

    /// The smallest id that is greater.
    #[must_use]
    pub fn following(self) -> Self {
        Self(Ulid(self.0.0.saturating_add(1)))
    }

    /// The smallest id of a job stored at `moment` or later.
    pub fn first_at(moment: Timestamp) -> Self {
        Self(Ulid::from_parts(moment.as_millis(), 0))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = NotAJobId;

    fn from_str(text: &str) -> Result<Self, NotAJobId> {
        // 26 letters of five bits are two bits more than there are, and none may be lost: it would be the id of another job.
        let fits = text.as_bytes().first().is_some_and(|first| *first <= b'7');
        Ulid::from_string(text).ok().filter(|_| fits).map(Self).ok_or(NotAJobId)
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What makes an event the same event, as a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IdempotencyKey {
    /// The sender's `event_id`: one namespace for all ways in.
    Event([u8; 16]),
    /// The AMQP `message_id`: one namespace for all queues.
    Message([u8; 16]),
    /// The bytes as received; counts against the newest event of the cell alone.
    Content([u8; 16]),
}

impl IdempotencyKey {
    /// The first that there is: `event_id`, `message_id`, the content. `user` is the consumer key of a
    /// [`Door::GradePassback`], which is part of its content.
    pub fn of(event_id: Option<&str>, message_id: Option<&str>, body: &[u8], user: Option<&str>) -> Self {
        match (event_id, message_id) {
            (Some(id), _) => Self::Event(digest16([id.as_bytes()])),
            (None, Some(id)) => Self::Message(digest16([id.as_bytes()])),
            (None, None) => Self::Content(digest16([body, user.unwrap_or_default().as_bytes()])),
        }
    }
}

/// The five states, by their public names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Due now or later.
    Queued,
    /// The platform has the grade.
    Delivered,
    /// Given up after the retries; waits for an admin.
    Flagged,
    /// A newer grade took its place.
    Superseded,
    /// An admin gave it up.
    Discarded,
}

impl StateName {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Delivered, Self::Flagged, Self::Superseded, Self::Discarded];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Flagged => "flagged",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
        }
    }

    /// Reads a stable text name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A job's state, with what only that state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    /// Waits for its turn, or has an attempt under way.
    Queued(Queued),
    /// The platform has the grade.
    Delivered,
    /// Given up after the retries.
    Flagged,
    /// A newer grade took its place.
    Superseded,
    /// An admin gave it up.
    Discarded,
}

/// A job that is still to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queued {
    /// When it may be tried.
    pub due: Timestamp,
    /// What it is waiting for.
    pub place: Place,
}

/// What a queued job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Its due time and its turn.
    Ready,
    /// An older job of its cell, which goes first.
    Behind,
    /// The end of the attempt that began at `since`.
    UnderWay {
        /// When the attempt began.
        since: Timestamp,
    },
}

/// One try to deliver a job: all of the HTTP requests that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that have nothing to do with each other")]
pub struct Attempt {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The status of the reply that decided.
    pub http_status: Option<u16>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The platform's words, cut and redacted.
    pub message: Box<str>,
    /// The score may have been written although no whole answer says so.
    pub reply_lost: bool,
    /// Whether it used up one of the job's tries; a failed probe of a held platform does not.
    pub counted: bool,
    /// Whether it found its column gone and made it anew.
    pub column_remade: bool,
    /// Whether `http_status` answers the request with the grade, and not one for a token or a column before it.
    pub grade_answered: bool,
}

impl Attempt {
    /// Whether the platform may have taken the score although it did not say so: a probe of a long hold can be this too,
    /// and hundreds of others may follow it.
    fn is_evidence(&self) -> bool {
        self.reply_lost || self.column_remade || self.grade_status() == Some(500)
    }

    /// The status that answered the request with the grade.
    fn grade_status(&self) -> Option<u16> {
        self.http_status.filter(|_| self.grade_answered)
    }
}

/// Advice that fits the case better than that of the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// The platform failed once, and then said that it has a score of this time: nobody knows which.
    LookAtTheGrade,
}

impl Hint {
    /// The sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::LookAtTheGrade => {
                "The platform failed once and now says that it has this score already: look at the grade there, then discard this job or send the event again."
            }
        }
    }
}

/// The durable record of one passback. Its `Debug` shows no body.
#[derive(Clone)]
pub struct Job {
    /// Its name, which also tells when it was stored.
    pub id: JobId,
    /// How its bytes are read.
    pub door: Door,
    /// The event as it came: what is delivered is made from it at each attempt, and an admin sees it unchanged.
    pub body: Arc<[u8]>,
    /// The same as it was read at the door, until the job ends or is forgotten in memory; see [`Job::event`].
    pub parsed: Option<Arc<GradeEvent>>,
    /// Which of the three deliveries.
    pub delivery: Delivery,
    /// The platform.
    pub origin: Origin,
    /// The gradebook cell; jobs of one cell go in order.
    pub cell: GradeCell,
    /// What makes a repeat of the event harmless.
    pub key: IdempotencyKey,
    /// Writes or clears a grade; otherwise it is a change of state only.
    pub bears_grade: bool,
    /// The session, kept beside the body so that each log line can name it.
    pub session_id: Option<Arc<str>>,
    /// When the session changed state; with the id it orders the jobs of a cell. Never after `created_at`, unless the
    /// clock was set back.
    pub occurred_at: Timestamp,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Where it stands.
    pub state: JobState,
    /// The history, oldest first; at most [`HISTORY_MAX`].
    pub attempts: Vec<Attempt>,
    /// Attempts that the history no longer shows.
    pub attempts_omitted: u32,
    /// Attempts that count against the present set of retries; a replay begins a new set.
    pub tries: u32,
    /// The AGS timestamp, fixed at the first attempt and kept through all of them.
    pub ags_timestamp: Option<Timestamp>,
    /// Why the last attempt failed; none once it is delivered.
    pub reason: Option<FailureReason>,
    /// Advice that fits better than the reason's own.
    pub hint: Option<Hint>,
    /// When it left the queue; none while it is in it.
    pub ended_at: Option<Timestamp>,
    /// How often it has come to an end, over all replays.
    pub ends: u32,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Job {
    /// The state's public name.
    pub fn state_name(&self) -> StateName {
        match self.state {
            JobState::Queued(_) => StateName::Queued,
            JobState::Delivered => StateName::Delivered,
            JobState::Flagged => StateName::Flagged,
            JobState::Superseded => StateName::Superseded,
            JobState::Discarded => StateName::Discarded,
        }
    }

    /// The place in the queue, if it is in it.
    pub fn queued(&self) -> Option<Queued> {
        match self.state {
            JobState::Queued(queued) => Some(queued),
            _ => None,
        }
    }

    /// When its place in the queue was decided, or shortly before: its last attempt, else its storing.
    pub fn planned_at(&self) -> Timestamp {
        self.attempts.last().map_or(self.created_at, |attempt| attempt.started_at)
    }

    /// When the attempt that is under way began.
    pub fn under_way_since(&self) -> Option<Timestamp> {
        match self.queued()?.place {
            Place::UnderWay { since } => Some(since),
            Place::Ready | Place::Behind => None,
        }
    }

    /// What orders the jobs of a cell: the time of the event, then the order of storing.
    pub fn order(&self) -> (Timestamp, JobId) {
        (self.occurred_at, self.id)
    }

    /// The event; read again from its bytes where it is not at hand. It was read once before it became a job, so a failure
    /// means that the rules have become stricter since.
    pub fn event(&self) -> Result<Arc<GradeEvent>, Refused> {
        match &self.parsed {
            Some(event) => Ok(Arc::clone(event)),
            None => GradeEvent::parse(&self.body, self.door).map(Arc::new),
        }
    }

    /// Whether a reply to one of the attempts was lost after the score request was written.
    pub fn lost_a_reply(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.reply_lost)
    }

    /// Whether the platform may hold the grade from an earlier attempt: it took the request and failed afterwards, its
    /// answer was lost, or was none that could be read.
    pub fn may_have_arrived(&self) -> bool {
        let is_doubtful = |status: Option<u16>| matches!(status, Some(200..=299 | 500..=599));
        self.attempts.iter().any(|attempt| attempt.reply_lost || is_doubtful(attempt.grade_status()))
    }

    /// Whether one of the attempts found its column gone and made it anew.
    pub fn remade_its_column(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.column_remade)
    }

    /// Whether the platform has answered the grade of one of the attempts with a plain 500.
    pub fn met_a_500(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.grade_status() == Some(500))
    }

    /// Adds an attempt to the history, within [`HISTORY_MAX`].
    pub(super) fn remember(&mut self, attempt: Attempt) {
        if self.attempts.len() >= HISTORY_MAX {
            let first = |goes: fn(&Attempt) -> bool| self.attempts.iter().position(goes);
            let oldest = first(|known| !known.counted && !known.is_evidence());
            self.attempts.remove(oldest.or_else(|| first(|known| !known.is_evidence())).unwrap_or(0));
            self.attempts_omitted = self.attempts_omitted.saturating_add(1);
        }
        self.attempts.push(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_even_when_the_clock_goes_back() {
        let first = JobId::next(None, Timestamp::from_secs(1_000), 7);
        let second = JobId::next(Some(first), Timestamp::from_secs(10), 3);
        let third = JobId::next(Some(second), Timestamp::from_secs(2_000), 0);
        assert!(first < second && second < third);
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(JobId::from_bytes(third.to_bytes()), third);
        assert_eq!("nonsense".parse::<JobId>(), Err(NotAJobId));
        let last = JobId::LAST.to_string();
        assert_eq!(last.parse(), Ok(JobId::LAST));
        assert_eq!(last.replacen('7', "8", 1).parse::<JobId>(), Err(NotAJobId), "it is beyond the last");
    }

    #[test]
    fn the_first_key_that_there_is_counts() {
        let key = |event, message| IdempotencyKey::of(event, message, b"body", None);
        assert_eq!(key(Some("1"), Some("2")), key(Some("1"), None));
        assert!(matches!(key(None, Some("2")), IdempotencyKey::Message(_)));
        assert!(matches!(key(None, None), IdempotencyKey::Content(_)));
        assert_ne!(key(None, None), IdempotencyKey::of(None, None, b"body", Some("user")));
    }
}
