//! `GET /api/v1/replays`, `GET /api/v1/replays/{id}` and `GET /api/v1/replays/{id}/jobs`: bulk changes in the background,
//! how far they are, and what came of each job.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    domain::{
        bulk::{Came, Change, Standing, Task},
        job::{JobId, StateName},
        time::Timestamp,
    },
    engine::bulk::Whereabouts,
    ports::StoreError,
    problem::Problem,
};

use super::{
    Surface,
    params::PageQuery,
    segment::Segment,
    show_job::read_id,
    view::{self, JobView},
};

/// A bulk change.
#[derive(Debug, Serialize)]
pub(super) struct TaskView {
    id: JobId,
    action: Change,
    state: Standing,
    filter: Value,
    who: String,
    note: Option<String>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    /// Why it was given up.
    error: Option<String>,
    /// Jobs that passed the filter at the start; null until they are counted.
    total: Option<u64>,
    matched: u64,
    replayed: u64,
    superseded: u64,
    discarded: u64,
    /// Jobs that passed the filter and could not be changed.
    skipped: u64,
    /// Where those that were changed stand by now; null while it runs, in a list, and where it is not kept any more which
    /// they were.
    now: Option<NowView>,
}

/// Jobs of a bulk change, by where they stand.
#[derive(Debug, Serialize)]
struct NowView {
    #[serde(flatten)]
    by_state: BTreeMap<&'static str, u64>,
    /// Kept no longer.
    gone: u64,
}

/// A page of them, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    replays: Vec<TaskView>,
    next_cursor: Option<JobId>,
}

/// What came of a job.
#[derive(Debug, Serialize)]
pub(super) struct CameView {
    id: JobId,
    result: Came,
    /// The job as it is now; null where it is gone or cannot be read.
    job: Option<JobView<u64>>,
}

/// A page of them, newest first.
#[derive(Debug, Serialize)]
pub(super) struct CamePage {
    jobs: Vec<CameView>,
    next_cursor: Option<JobId>,
}

pub(super) async fn list(
    State(surface): State<Surface>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let PageQuery { limit, cursor } = PageQuery::read(query)?;
    let page = surface.engine.tasks(cursor, limit).map_err(|_| Problem::store_unavailable())?;
    let replays = page.tasks.iter().map(|(id, task)| view(*id, task)).collect();
    Ok(Json(Page { replays, next_cursor: page.next }))
}

pub(super) async fn show(State(surface): State<Surface>, Segment(id): Segment) -> Result<Json<TaskView>, Problem> {
    let id = read_id(&id)?;
    let task = known(&surface, id)?;
    let shown = view(id, &task);
    if task.standing == Standing::Running {
        return Ok(Json(shown));
    }
    let now = aside(move || surface.engine.whereabouts(id, &task)).await?;
    Ok(Json(TaskView { now: now.map(now_view), ..shown }))
}

pub(super) async fn jobs(
    State(surface): State<Surface>,
    Segment(id): Segment,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<CamePage>, Problem> {
    let (id, PageQuery { limit, cursor }) = (read_id(&id)?, PageQuery::read(query)?);
    known(&surface, id)?;
    let read = move || {
        let page = surface.engine.came(id, cursor, limit)?;
        let shown = |(id, result): (JobId, Came)| {
            let job = surface.engine.job(id).ok().flatten();
            CameView { id, result, job: job.map(|job| view::in_list(&job, &surface.labels)) }
        };
        Ok(CamePage { jobs: page.jobs.into_iter().map(shown).collect(), next_cursor: page.next })
    };
    aside(read).await.map(Json)
}

/// As for a list of jobs: deliveries must not wait for the reading.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(_)) | Err(_) => Err(Problem::store_unavailable()),
    }
}

fn known(surface: &Surface, id: JobId) -> Result<Task, Problem> {
    let task = surface.engine.task(id).map_err(|_| Problem::store_unavailable())?;
    let detail = "there is no such bulk change; the last 200 are kept: see GET /api/v1/replays";
    task.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, detail))
}

pub(super) fn view(id: JobId, task: &Task) -> TaskView {
    let task = task.clone();
    TaskView {
        id,
        action: task.change,
        state: task.standing,
        filter: task.filter,
        who: task.word.who,
        note: task.word.note,
        started_at: task.started_at,
        ended_at: task.ended_at,
        error: task.error,
        total: task.total,
        matched: task.matched,
        replayed: task.replayed,
        superseded: task.superseded,
        discarded: task.discarded,
        skipped: task.skipped,
        now: None,
    }
}

fn now_view(now: Whereabouts) -> NowView {
    let by_state = StateName::ALL.into_iter().zip(now.by_state).map(|(state, count)| (state.name(), count)).collect();
    NowView { by_state, gone: now.gone }
}
