//! `GET /api/v1/jobs`: a page of jobs, newest first.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{domain::job::JobId, ports::JobFilter, problem::Problem};

use super::{
    Surface,
    params::{ListQuery, read_pairs},
    view::{self, JobView},
};

/// A filter that matches little may be looked for so long before a page is full; then the page is short, and names where
/// to go on. The last look may take a little longer.
const LOOK_WITHIN: Duration = Duration::from_millis(50);

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
    let ListQuery { filter, limit, cursor } = ListQuery::read(read_pairs(query)?)?;
    let Some(filter) = filter.resolve(&surface)? else { return Ok(Json(Page::default())) };
    // Reading and decoding a page keeps a core busy for a while; deliveries must not wait for it.
    let page = tokio::task::spawn_blocking(move || collect(&surface, &filter, limit, cursor)).await;
    page.unwrap_or_else(|_| Err(Problem::store_unavailable())).map(Json)
}

fn collect(surface: &Surface, filter: &JobFilter, limit: usize, mut cursor: Option<JobId>) -> Result<Page, Problem> {
    let mut page = Page::default();
    let began = Instant::now();
    loop {
        let wanted = limit - page.jobs.len();
        let found = surface.engine.list(filter, cursor, wanted).map_err(|_| Problem::store_unavailable())?;
        page.jobs.extend(found.jobs.iter().map(|job| view::in_list(job, &surface.labels)));
        cursor = found.next;
        page.next_cursor = found.next.map(|next| next.to_string());
        if page.jobs.len() >= limit || cursor.is_none() || began.elapsed() >= LOOK_WITHIN {
            return Ok(page);
        }
    }
}
