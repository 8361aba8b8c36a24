//! `GET /api/v1/jobs`: a page of jobs, newest first.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Serialize;

use crate::problem::Problem;

use super::{
    Surface,
    params::ListQuery,
    view::{self, JobView},
};

/// Calls to the store for one page, so that a filter that matches little cannot keep a request running.
const STEPS_MAX: usize = 20;

/// A page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    jobs: Vec<JobView<u64>>,
    next_cursor: Option<String>,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    let ListQuery { filter, limit, mut cursor } = ListQuery::read(pairs)?;
    let mut page = Page { jobs: Vec::new(), next_cursor: None };
    let Some(filter) = filter.resolve(&surface)? else { return Ok(Json(page)) };
    for _ in 0..STEPS_MAX {
        let wanted = limit - page.jobs.len();
        let found = surface.engine.list(&filter, cursor, wanted).map_err(|_| Problem::store_unavailable())?;
        page.jobs.extend(found.jobs.iter().map(|job| view::in_list(job, &surface.labels)));
        cursor = found.next;
        page.next_cursor = found.next.map(|next| next.to_string());
        if page.jobs.len() >= limit || cursor.is_none() {
            break;
        }
    }
    Ok(Json(page))
}
