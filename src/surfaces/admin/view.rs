//! A job in JSON, as lists and single views show it (the public contract, section 7).

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::names::Labels;
use crate::domain::{
    advice,
    destination::Delivery,
    event::GradeEvent,
    job::{Attempt, Job, StateName},
    outcome::{FailureReason, missing_key},
    score::Points,
    time::Timestamp,
};

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

/// A single job: the members of a list, every attempt, and the event as it came.
#[derive(Debug, Serialize)]
pub struct WholeJobView {
    #[serde(flatten)]
    job: JobView<Vec<AttemptView>>,
    attempts_omitted: u32,
    event: Option<Box<RawValue>>,
}

/// A job as a list shows it.
pub fn in_list(job: &Job, labels: &Labels) -> JobView<u64> {
    let count = job.attempts.len() as u64 + u64::from(job.attempts_omitted);
    view(job, labels, count)
}

/// A job as its own page shows it.
pub fn whole(job: &Job, labels: &Labels) -> WholeJobView {
    let attempts = job.attempts.iter().map(attempt_view).collect();
    WholeJobView {
        job: view(job, labels, attempts),
        attempts_omitted: job.attempts_omitted,
        event: serde_json::from_slice(&job.body).ok(),
    }
}

fn view<A>(job: &Job, labels: &Labels, attempts: A) -> JobView<A> {
    let event = job.event().ok();
    let event = event.as_deref();
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
