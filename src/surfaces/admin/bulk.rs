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
    show_job::{aside, read_id},
    view::{self, JobView},
};

/// A list tells where the jobs of its first changes stand, of so many jobs together.
const COUNTED_MAX: u64 = 10_000;

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
    /// Where those that were changed stand by now; null while it runs, where it is not kept any more which they were, and in
    /// a list where they are too many.
    now: Option<NowView>,
}

/// Jobs of a bulk change, by where they stand.
#[derive(Debug, Serialize)]
struct NowView {
    #[serde(flatten)]
    by_state: BTreeMap<&'static str, u64>,
    /// Kept no longer, or unreadable.
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
    let read = move || {
        let page = surface.engine.tasks(cursor, limit)?;
        let mut left = COUNTED_MAX;
        let mut shown = |(id, task): &(JobId, Task)| {
            let Some(after) = left.checked_sub(task.matched) else { return Ok(view(*id, task)) };
            left = after;
            with_now(&surface, *id, task)
        };
        let replays = page.tasks.iter().map(&mut shown).collect::<Result<_, _>>()?;
        Ok(Page { replays, next_cursor: page.next })
    };
    aside(read).await.map(Json)
}

pub(super) async fn show(State(surface): State<Surface>, Segment(id): Segment) -> Result<Json<TaskView>, Problem> {
    let id = read_id(&id)?;
    let task = known(&surface, id)?;
    aside(move || with_now(&surface, id, &task)).await.map(Json)
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

/// With where its jobs stand by now, once it has ended. Blocks for some milliseconds for ten thousand jobs.
fn with_now(surface: &Surface, id: JobId, task: &Task) -> Result<TaskView, StoreError> {
    let now = if task.standing == Standing::Running { None } else { surface.engine.whereabouts(id, task)? };
    Ok(TaskView { now: now.map(now_view), ..view(id, task) })
}

fn now_view(now: Whereabouts) -> NowView {
    let by_state = StateName::ALL.into_iter().zip(now.by_state).map(|(state, count)| (state.name(), count)).collect();
    NowView { by_state, gone: now.gone }
}
