//! `GET /api/v1/jobs/{id}`: one job with its event and every attempt.

use axum::{Json, extract::State, http::StatusCode};

use crate::{domain::job::JobId, problem::Problem};

use super::{
    Surface,
    segment::Segment,
    view::{self, WholeJobView},
    waits,
};

pub(super) async fn handle(
    State(surface): State<Surface>,
    Segment(id): Segment,
) -> Result<Json<WholeJobView>, Problem> {
    let id = read_id(&id)?;
    let job = surface.engine.job(id).map_err(|_| Problem::store_unavailable())?.ok_or_else(|| no_such_job(id))?;
    // A loop that does not answer now holds nobody up.
    let picture = surface.engine.look().await.unwrap_or_default();
    Ok(Json(view::whole(&job, &surface.labels).waiting(waits::of(&job, &picture))))
}

/// A job id out of a path.
pub(super) fn read_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|why| Problem::new(StatusCode::NOT_FOUND, format!("the path {why}")))
}

/// 404: there is no such job.
pub(super) fn no_such_job(id: JobId) -> Problem {
    let detail = format!("there is no job {id}; a job that has ended is kept for [store] retain_delivered");
    Problem::new(StatusCode::NOT_FOUND, detail)
}
