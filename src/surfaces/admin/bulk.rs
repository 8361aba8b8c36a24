//! `GET /api/v1/replays` and `GET /api/v1/replays/{id}`: bulk changes in the background, and how far they are.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    domain::{
        bulk::{Change, Standing, Task},
        job::JobId,
        time::Timestamp,
    },
    problem::Problem,
};

use super::{Surface, params::PageQuery, segment::Segment, show_job::read_id};

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
}

/// A page of them, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    replays: Vec<TaskView>,
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
    let task = surface.engine.task(id).map_err(|_| Problem::store_unavailable())?;
    let detail = "there is no such bulk change; the last 200 are kept: see GET /api/v1/replays";
    let task = task.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, detail))?;
    Ok(Json(view(id, &task)))
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
    }
}
