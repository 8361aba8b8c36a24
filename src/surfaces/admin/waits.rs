//! Why a queued job does not go out although it could: its platform is paused, held or rests, or an older grade of its cell
//! goes first. A retry time alone is no such reason: `next_attempt_at` tells it.

use serde::Serialize;

use crate::{
    domain::{
        job::{Job, Place},
        notice::PlatformState,
        time::Timestamp,
    },
    engine::{Picture, PlatformPicture},
};

/// What a queued job waits for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Waits {
    /// `paused`, `held`, `resting` or `older_grade`.
    why: &'static str,
    /// Since when the platform is paused or held.
    since: Option<Timestamp>,
    /// The next probe of a held platform, or the end of a rest.
    until: Option<Timestamp>,
    /// What went wrong at the platform last.
    error: Option<String>,
}

/// What each job may wait for.
pub(super) const WHY: [&str; 4] = ["paused", "held", "resting", "older_grade"];

/// What this job waits for, as the engine sees its platform; none where nothing stops it.
pub(super) fn of(job: &Job, picture: &Picture) -> Option<Waits> {
    let [paused, held, resting, older_grade] = WHY;
    let queued = job.queued()?;
    if job.under_way_since().is_some() {
        return None;
    }
    let platform = picture.platforms.iter().find(|known| known.origin == job.origin);
    let at_platform = platform.and_then(|known| {
        let PlatformPicture { state, since, next_probe_at, rests_until, last_error, .. } = known.clone();
        let rests_until = rests_until.filter(|until| *until > picture.taken_at);
        let waits = |why, since, until| Waits { why, since, until, error: last_error.clone() };
        match (state, rests_until) {
            (PlatformState::Paused, _) => Some(Waits { error: None, ..waits(paused, since, None) }),
            (PlatformState::Held, _) => Some(waits(held, since, next_probe_at.max(rests_until))),
            (PlatformState::Open, Some(until)) => Some(waits(resting, None, Some(until))),
            (PlatformState::Open, None) => None,
        }
    });
    let behind =
        (queued.place == Place::Behind).then_some(Waits { why: older_grade, since: None, until: None, error: None });
    at_platform.or(behind)
}
