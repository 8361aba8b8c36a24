//! A job in JSON, as lists and single views show it (the public contract, section 7).

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use serde_json::value::RawValue;

use super::waits::Waits;
use crate::config::names::Labels;
use crate::domain::{
    advice,
    audit::{Action, Entry},
    destination::Delivery,
    drawer::JobEnd,
    event::GradeEvent,
    job::{Attempt, Job, JobId, StateName},
    outcome::{FailureReason, missing_key},
    score::Points,
    time::Timestamp,
};
use crate::engine::audit::Deed;

/// The members that every view of a job has. `A` is a count in lists and the list of attempts in a single view.
#[derive(Debug, Serialize)]
pub struct JobView<A> {
    id: String,
    state: StateName,
    delivery: Delivery,
    platform: Arc<str>,
    session_id: Option<String>,
    user_id: Option<String>,
    activity_id: Option<String>,
    score: Option<Box<RawValue>>,
    max_score: Option<Box<RawValue>>,
    attempts: A,
    reason: Option<FailureReason>,
    advice: Option<Cow<'static, str>>,
    last_error: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    flagged_at: Option<Timestamp>,
}

/// One attempt.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    started_at: Timestamp,
    duration_ms: u64,
    http_status: Option<u16>,
    outcome: &'static str,
    message: String,
}

/// A single job: the members of a list, every attempt, the event as it came, and what stops it now.
#[derive(Debug, Serialize)]
pub struct WholeJobView {
    #[serde(flatten)]
    job: JobView<Vec<AttemptView>>,
    attempts_omitted: u32,
    event: Option<Box<RawValue>>,
    waits: Option<Waits>,
    changes: Vec<ChangeView>,
}

/// What somebody did to a job.
#[derive(Debug, Serialize)]
struct ChangeView {
    at: Timestamp,
    who: String,
    action: Action,
    note: Option<String>,
    /// The bulk change that it was a part of.
    bulk: Option<JobId>,
}

impl WholeJobView {
    /// The same, of a job that waits.
    pub(super) fn waiting(self, waits: Option<Waits>) -> Self {
        Self { waits, ..self }
    }

    /// The same, of a job to which somebody did something.
    pub(super) fn changed(self, deeds: Vec<Deed>) -> Self {
        let change =
            |Deed { entry: Entry { at, who, action, note, .. }, bulk }| ChangeView { at, who, action, note, bulk };
        Self { changes: deeds.into_iter().map(change).collect(), ..self }
    }
}

/// A job as a list shows it.
pub fn in_list(job: &Job, labels: &Labels) -> JobView<u64> {
    let count = job.attempts.len() as u64 + u64::from(job.attempts_omitted);
    view(job, job.event().ok().as_deref(), labels, count)
}

/// A job that has come to an end, as it is told to the assessment platform.
#[derive(Debug, Serialize)]
struct OutcomeView {
    #[serde(flatten)]
    job: JobView<u64>,
    event_id: Option<String>,
}

/// The JSON of an outcome. Whatever became of the job since, state and times are those of this end; one that is gone, or
/// cannot be read any more, is told with the little that is known.
pub fn outcome(end: &JobEnd, job: Option<&Job>, labels: &Labels) -> Vec<u8> {
    let body = job.and_then(|job| serde_json::to_vec(&outcome_view(end, job, labels)).ok());
    body.unwrap_or_else(|| serde_json::json!({"id": end.job.to_string(), "state": end.state}).to_string().into_bytes())
}

fn outcome_view(end: &JobEnd, job: &Job, labels: &Labels) -> OutcomeView {
    let event = job.event().ok();
    let count = job.attempts.len() as u64 + u64::from(job.attempts_omitted);
    let mut shown = view(job, event.as_deref(), labels, count);
    let came_at = |state| (end.state == state).then_some(end.at);
    shown.state = end.state;
    shown.next_attempt_at = None;
    shown.delivered_at = came_at(StateName::Delivered);
    shown.flagged_at = came_at(StateName::Flagged);
    OutcomeView { job: shown, event_id: event.and_then(|event| event.event_id.clone()) }
}

/// A job as its own page shows it.
pub fn whole(job: &Job, labels: &Labels) -> WholeJobView {
    let attempts = job.attempts.iter().map(attempt_view).collect();
    WholeJobView {
        job: view(job, job.event().ok().as_deref(), labels, attempts),
        attempts_omitted: job.attempts_omitted,
        event: serde_json::from_slice(&job.body).ok(),
        waits: None,
        changes: Vec::new(),
    }
}

fn view<A>(job: &Job, event: Option<&GradeEvent>, labels: &Labels, attempts: A) -> JobView<A> {
    let state = job.state_name();
    let ended = |wanted| (state == wanted).then_some(job.ended_at).flatten();
    let score = event.and_then(|event| event.score.as_ref());
    JobView {
        id: job.id.to_string(),
        state,
        delivery: job.delivery,
        platform: labels.label(&job.origin),
        session_id: job.session_id.as_deref().map(str::to_owned),
        user_id: event.and_then(|event| event.user_id.clone()),
        activity_id: event.and_then(|event| event.activity_id.clone()),
        score: score.and_then(|score| number(score.given())),
        max_score: score.and_then(|score| number(score.maximum())),
        attempts,
        reason: job.reason,
        advice: advice::advice(job, event),
        last_error: last_error(job, event),
        created_at: job.created_at,
        updated_at: job.updated_at,
        next_attempt_at: job.queued().map(|queued| queued.due),
        delivered_at: ended(StateName::Delivered),
        flagged_at: ended(StateName::Flagged),
    }
}

fn number(points: &Points) -> Option<Box<RawValue>> {
    RawValue::from_string(points.as_json().to_owned()).ok()
}

/// What went wrong last, while something is wrong. What was known before sending left no attempt, and is told anew.
fn last_error(job: &Job, event: Option<&GradeEvent>) -> Option<String> {
    let reason = job.reason?;
    if reason.is_known_before_sending() {
        return event.map(|event| missing_key(reason, &event.destination));
    }
    job.attempts.last().map(|attempt| attempt.message.clone().into_string())
}

fn attempt_view(attempt: &Attempt) -> AttemptView {
    AttemptView {
        started_at: attempt.started_at,
        duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
        http_status: attempt.http_status,
        outcome: attempt.outcome.name(),
        message: attempt.message.clone().into_string(),
    }
}
