//! `GET /api/v1/audit`: who replayed, discarded, paused what, when, and why.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;

use crate::{
    domain::{audit::Entry, job::JobId},
    engine::audit::Deed,
    problem::Problem,
};

use super::{Surface, params::PageQuery};

/// An entry.
#[derive(Debug, Serialize)]
struct EntryView {
    #[serde(flatten)]
    entry: Entry,
    /// The bulk change in the background that it tells of; null where it is none, or one that is kept no longer.
    bulk: Option<JobId>,
}

/// A page of the log, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    entries: Vec<EntryView>,
    next_cursor: Option<JobId>,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let PageQuery { limit, cursor } = PageQuery::read(query)?;
    let page = surface.engine.audit(cursor, limit).map_err(|_| Problem::store_unavailable())?;
    let entries = page.entries.into_iter().map(|Deed { entry, bulk }| EntryView { entry, bulk }).collect();
    Ok(Json(Page { entries, next_cursor: page.next }))
}
