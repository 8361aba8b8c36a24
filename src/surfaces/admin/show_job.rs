//! `GET /api/v1/jobs/{id}`: one job with its event and every attempt.

use axum::{Json, extract::State, http::StatusCode};

use crate::{domain::job::JobId, ports::StoreError, problem::Problem};

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
    let engine = surface.engine.clone();
    let read = aside(move || match engine.job(id)? {
        Some(job) => Ok(Some((engine.deeds_on(&job)?, job))),
        None => Ok(None),
    });
    let (deeds, job) = read.await?.ok_or_else(|| no_such_job(id))?;
    // A loop that does not answer now holds nobody up.
    let picture = surface.engine.look().await.unwrap_or_default();
    Ok(Json(view::whole(&job, &surface.labels).waiting(waits::of(&job, &picture)).changed(deeds)))
}

/// Reads where it keeps nobody else waiting: deliveries must not wait for the reading.
pub(super) async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(_)) | Err(_) => Err(Problem::store_unavailable()),
    }
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
