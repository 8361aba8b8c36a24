//! What the API answers, read leniently: a member that is missing or new does not hinder the rest from being shown.
//! The whole of an answer is never lost by this, since `--json` prints it as it came.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Number, Value, value::RawValue};

use crate::check::Remark;

/// A page of jobs. Each is kept as text, so that several pages can be joined without a change.
#[derive(Deserialize)]
pub(super) struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Box<RawValue>>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    /// Its name.
    pub id: String,
    /// One of the five states.
    pub state: String,
    /// `lti11`, `lti13-delegated`, `lti13-ags`.
    pub delivery: Option<String>,
    /// The platform's name, or its host.
    pub platform: Option<String>,
    /// Of the event.
    pub session_id: Option<String>,
    /// Of the event.
    pub user_id: Option<String>,
    /// Of the event.
    pub activity_id: Option<String>,
    /// Of the event.
    pub score: Option<Number>,
    /// Of the event.
    pub max_score: Option<Number>,
    /// How many, or which.
    pub attempts: Attempts,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// The platform's words.
    pub last_error: Option<String>,
    /// When it was stored.
    pub created_at: Option<String>,
    /// When it last changed.
    pub updated_at: Option<String>,
    /// When it is tried next.
    pub next_attempt_at: Option<String>,
    /// When the platform took the grade.
    pub delivered_at: Option<String>,
    /// When it was given up.
    pub flagged_at: Option<String>,
    /// The event as it came; in `GET /jobs/{id}` alone. It is kept as text: whoever sent it may have nested it deeper than
    /// anybody reads.
    pub event: Option<Box<RawValue>>,
    /// What a queued job waits for; in `GET /jobs/{id}` alone.
    pub waits: Option<Waits>,
    /// Who replayed or discarded it, oldest first; in `GET /jobs/{id}` alone.
    pub changes: Vec<JobChange>,
}

/// What a queued job waits for beside its next try.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waits {
    /// `paused`, `held`, `resting` or `older_grade`.
    pub why: String,
    /// Since when the platform is paused or held.
    pub since: Option<String>,
    /// The next probe of a held platform, or the end of a rest.
    pub until: Option<String>,
    /// What went wrong at the platform last.
    pub error: Option<String>,
}

/// What somebody did to a job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobChange {
    /// When.
    pub at: Option<String>,
    /// The token's name.
    pub who: Option<String>,
    /// `replay` or `discard`.
    pub action: String,
    /// Why.
    pub note: Option<String>,
    /// The change of many that it was part of.
    pub bulk: Option<String>,
}

/// A job's attempts: a count in a list, all of them in `GET /jobs/{id}`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Attempts {
    /// How many.
    Count(u64),
    /// Which, oldest first.
    List(Vec<Attempt>),
}

impl Default for Attempts {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Attempts {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Count(count) => *count,
            Self::List(attempts) => attempts.len() as u64,
        }
    }
}

/// One attempt.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    /// When it began.
    pub started_at: Option<String>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// The status of the answer that decided.
    pub http_status: Option<u16>,
    /// `delivered`, `superseded`, or a failure reason.
    pub outcome: Option<String>,
    /// The platform's words.
    pub message: Option<String>,
}

impl Job {
    /// `8 / 10`, or nothing.
    pub(super) fn score_text(&self) -> Option<String> {
        match (&self.score, &self.max_score) {
            (Some(score), Some(max)) => Some(format!("{score} / {max}")),
            (Some(score), None) => Some(score.to_string()),
            _ => None,
        }
    }

    /// A member of the event that is a text.
    pub(super) fn event_text(&self, name: &str) -> Option<String> {
        text_of(member(self.event.as_ref()?, name)?)
    }

    /// The address that the grade goes to.
    pub(super) fn service_url(&self) -> Option<String> {
        let event = self.event.as_ref()?;
        // What came to `/lti/grade_passback` is the `lis_data` itself.
        let lis_data = member(event, "lis_data").unwrap_or(event);
        let names = ["grade_passback_url", "lis_outcome_service_url", "lineitem", "lineitems"];
        names.iter().find_map(|name| text_of(member(lis_data, name)?))
    }
}

/// A member of an object, unread.
fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    serde_json::from_str::<HashMap<String, &RawValue>>(object.get()).ok()?.remove(name)
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// What a change of many did, or would do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BulkNumbers {
    /// Jobs that the filter fits.
    pub matched: u64,
    /// Those that are queued again.
    pub replayed: u64,
    /// Those whose cell has a newer grade.
    pub superseded: u64,
    /// Those that are given up.
    pub discarded: u64,
}

/// A change of many in the background.
#[derive(Debug, Deserialize)]
pub(super) struct Task {
    /// Its name.
    pub id: String,
    /// `replay` or `discard`.
    #[serde(default)]
    pub action: String,
    /// `running`, `done` or `failed`.
    #[serde(default)]
    pub state: String,
    /// Which jobs.
    pub filter: Option<Value>,
    /// The token's name.
    pub who: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Why it was given up.
    pub error: Option<String>,
    /// Jobs that passed the filter at the start.
    pub total: Option<u64>,
    /// Jobs that were looked at and fit.
    #[serde(default)]
    pub matched: u64,
    /// Those that were queued again.
    #[serde(default)]
    pub replayed: u64,
    /// Those whose cell has a newer grade.
    #[serde(default)]
    pub superseded: u64,
    /// Those that were given up.
    #[serde(default)]
    pub discarded: u64,
    /// Those that could not be changed.
    #[serde(default)]
    pub skipped: u64,
    /// Where its jobs stand now; none while it runs, and where that is not known any more.
    pub now: Option<Now>,
}

/// Where the jobs of a change stand now.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Now {
    /// They wait.
    pub queued: u64,
    /// The platform has the grade.
    pub delivered: u64,
    /// Given up, perhaps again.
    pub flagged: u64,
    /// A newer grade has taken their place.
    pub superseded: u64,
    /// An admin gave them up.
    pub discarded: u64,
    /// Kept no longer.
    pub gone: u64,
}

/// The changes of many.
#[derive(Debug, Deserialize)]
pub(super) struct TaskPage {
    /// Newest first.
    pub replays: Vec<Task>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// What came of the jobs of a change of many.
#[derive(Debug, Deserialize)]
pub(super) struct Results {
    /// Newest first.
    pub jobs: Vec<JobResult>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// What came of one job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JobResult {
    /// The job.
    pub id: String,
    /// `replayed`, `superseded`, `discarded` or `skipped`.
    pub result: String,
    /// The job as it is now; none where it is kept no longer.
    pub job: Option<Job>,
}

/// A page of the audit log.
#[derive(Debug, Deserialize)]
pub(super) struct AuditPage {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    /// When.
    pub at: Option<String>,
    /// The token's name.
    pub who: String,
    /// What was done.
    pub action: String,
    /// To which job.
    pub job: Option<String>,
    /// Or to which jobs, or which platform.
    pub filter: Option<Value>,
    /// How many jobs.
    pub count: Option<u64>,
    /// Why.
    pub note: Option<String>,
}

/// Flagged jobs by platform and reason.
#[derive(Debug, Deserialize)]
pub(super) struct Groups {
    /// The largest first.
    pub groups: Vec<Group>,
    /// Jobs of groups that are not shown.
    #[serde(default)]
    pub omitted: u64,
}

/// Flagged jobs of one platform and one reason.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    /// The configured name, or the host.
    pub platform: String,
    /// Why the last attempt failed.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// What to do about it.
    pub advice: String,
}

/// The platforms.
#[derive(Debug, Deserialize)]
pub(super) struct Platforms {
    /// By their names.
    pub platforms: Vec<PlatformHealth>,
}

/// The numbers of a worker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    /// Jobs by state.
    pub jobs: serde_json::Map<String, Value>,
    /// Since when the longest waiting due job is due.
    pub oldest_due_at: Option<String>,
    /// Each platform's health.
    pub platforms: Vec<PlatformHealth>,
}

/// One platform's health.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PlatformHealth {
    /// The configured name, or the host.
    pub name: String,
    /// `open`, `held` or `paused`.
    pub state: String,
    /// Since when it is in that state.
    pub since: Option<String>,
    /// Jobs that wait for it.
    pub queued: u64,
    /// Jobs that were given up.
    pub flagged: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When a held one is tried again.
    pub next_probe_at: Option<String>,
    /// Until when nothing is sent there, because it asked for fewer requests.
    pub rests_until: Option<String>,
}

/// What a check of a platform has found.
#[derive(Debug, Deserialize)]
pub(super) struct Checked {
    /// The steps, in their order.
    pub checks: Vec<Found>,
}

/// One step of a check.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    /// What was tried.
    pub part: String,
    /// Which one, where there are several.
    pub name: Option<String>,
    /// The step.
    pub step: String,
    /// `ok`, `warning` or `failed`.
    pub status: String,
    /// What was seen.
    pub seen: String,
    /// What to do.
    pub advice: Option<String>,
}

impl From<&Remark> for Found {
    fn from(remark: &Remark) -> Self {
        let Remark { part, name, step, status, seen, advice } = remark.clone();
        let (part, step, status) = (part.to_owned(), step.to_owned(), status.name().to_owned());
        Self { part, name, step, status, seen, advice }
    }
}

/// What `POST /v1/events` says about events that it took.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    /// Each event, in order.
    pub events: Vec<AcceptedEvent>,
}

/// One event that was taken.
#[derive(Debug, Deserialize)]
pub(super) struct AcceptedEvent {
    /// `stored` or `duplicate`.
    pub result: String,
}
