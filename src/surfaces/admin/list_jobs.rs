//! `GET /api/v1/jobs`: a page of jobs, newest first.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Serialize;

use crate::{domain::job::JobId, ports::JobFilter, problem::Problem};

use super::{
    Surface,
    params::ListQuery,
    view::{self, JobView},
};

/// Calls to the store for one page, so that a filter that matches little cannot keep a request running.
const STEPS_MAX: usize = 4;

/// A page.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    jobs: Vec<JobView<u64>>,
    next_cursor: Option<String>,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(pairs) = query.map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let ListQuery { filter, limit, cursor } = ListQuery::read(pairs)?;
    let Some(filter) = filter.resolve(&surface)? else { return Ok(Json(Page::default())) };
    // Reading and decoding a page keeps a core busy for a while; deliveries must not wait for it.
    let page = tokio::task::spawn_blocking(move || collect(&surface, &filter, limit, cursor)).await;
    page.unwrap_or_else(|_| Err(Problem::store_unavailable())).map(Json)
}

fn collect(surface: &Surface, filter: &JobFilter, limit: usize, mut cursor: Option<JobId>) -> Result<Page, Problem> {
    let mut page = Page::default();
    for _ in 0..STEPS_MAX {
        let wanted = limit - page.jobs.len();
        let found = surface.engine.list(filter, cursor, wanted).map_err(|_| Problem::store_unavailable())?;
        page.jobs.extend(found.jobs.iter().map(|job| view::in_list(job, &surface.labels)));
        cursor = found.next;
        page.next_cursor = found.next.map(|next| next.to_string());
        if page.jobs.len() >= limit || cursor.is_none() {
            break;
        }
    }
    Ok(page)
}
