//! `POST /api/v1/platforms/{name}/check`: the steps of `passback check` for one platform, taken by this worker. It makes the
//! worker call an LMS, so it is an operator's; it writes no grade and changes nothing.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
};
use tokio::time::Instant;

use crate::{
    check::{
        Findings,
        desk::NotChecked,
        signature::{Past, RefusedGrade},
    },
    domain::{
        advice,
        destination::Origin,
        job::{Job, StateName},
        outcome::FailureReason,
    },
    ports::JobFilter,
    problem::Problem,
};

use super::{Surface, params::origins_of, platforms::no_such_platform, segment::Segment};

pub(super) async fn handle(State(surface): State<Surface>, Segment(name): Segment) -> Result<Json<Findings>, Problem> {
    let origins = origins_of(&surface, &name)?;
    if origins.is_empty() && !surface.labels.names().configured().any(|configured| **configured == *name) {
        return Err(no_such_platform(&name));
    }
    let_rest(&surface, &origins).await?;
    let past = past_of(&surface, &origins).await;
    surface.desk.check(&name, &origins, past).await.map(Json).map_err(|why| match why {
        NotChecked::UnderWay(_) => Problem::new(StatusCode::CONFLICT, why.to_string()),
        NotChecked::Busy => later(why.to_string()),
    })
}

/// What became of the grades that went there. A store that cannot be read hinders no check.
async fn past_of(surface: &Surface, origins: &[Origin]) -> Past {
    let (surface, origins) = (surface.clone(), origins.to_vec());
    let read = move || {
        let refused = [StateName::Queued, StateName::Flagged].map(|state| {
            newest(&surface, &JobFilter { reason: Some(FailureReason::Unauthorized), ..in_state(state, &origins) })
        });
        let refused = refused.into_iter().flatten().filter_map(|job| refused_grade(&job));
        let taken = newest(&surface, &in_state(StateName::Delivered, &origins));
        Past { refused: refused.max_by_key(|refused| refused.at), taken_at: taken.and_then(|job| job.ended_at) }
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

fn in_state(state: StateName, origins: &[Origin]) -> JobFilter {
    JobFilter { state: Some(state), origins: Some(origins.to_vec()), ..JobFilter::default() }
}

/// The newest job that passes, if it is found soon.
fn newest(surface: &Surface, filter: &JobFilter) -> Option<Job> {
    let (began, mut cursor) = (Instant::now(), None);
    loop {
        let page = surface.engine.list(filter, cursor, 1).ok()?;
        cursor = page.next;
        match page.jobs.into_iter().next() {
            None if cursor.is_some() && began.elapsed() < LOOK_WITHIN => {}
            found => return found,
        }
    }
}

/// As for a page of a list.
const LOOK_WITHIN: Duration = Duration::from_millis(50);

fn refused_grade(job: &Job) -> Option<RefusedGrade> {
    let last = job.attempts.last()?;
    let event = job.event().ok();
    let advice = advice::advice(job, event.as_deref()).map(std::borrow::Cow::into_owned);
    Some(RefusedGrade { at: last.started_at, words: last.message.clone().into_string(), advice })
}

/// A rate limit is for checks as well. A loop that does not answer now holds nobody up.
async fn let_rest(surface: &Surface, origins: &[Origin]) -> Result<(), Problem> {
    let picture = surface.engine.look().await.unwrap_or_default();
    let here = picture.platforms.iter().filter(|known| origins.contains(&known.origin));
    match here.filter_map(|known| known.rests_until).max().filter(|until| *until > picture.taken_at) {
        None => Ok(()),
        Some(until) => {
            let asked = "the platform asked for fewer requests, so nothing is sent there";
            Err(later(format!("{asked} until {until}: ask again then")))
        }
    }
}

fn later(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, "5")
}
