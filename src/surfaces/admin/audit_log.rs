//! `GET /api/v1/audit`: who replayed, discarded, paused what, when, and why.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;

use crate::{
    domain::{audit::Entry, job::JobId},
    problem::Problem,
};

use super::{Surface, params::PageQuery};

/// A page of the log, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    entries: Vec<Entry>,
    next_cursor: Option<JobId>,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let PageQuery { limit, cursor } = PageQuery::read(query)?;
    let page = surface.engine.audit(cursor, limit).map_err(|_| Problem::store_unavailable())?;
    Ok(Json(Page { entries: page.entries, next_cursor: page.next }))
}
