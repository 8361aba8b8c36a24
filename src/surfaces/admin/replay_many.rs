//! `POST /api/v1/replay`: all flagged jobs that pass a filter.

use axum::{Json, extract::State, extract::rejection::JsonRejection, http::StatusCode};
use serde::Deserialize;

use crate::{domain::ledger::Mode, engine::manage::ReplayCount, problem::Problem};

use super::{Surface, params::Filter};

/// The body of the call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    filter: Filter,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    body: Result<Json<Body>, JsonRejection>,
) -> Result<Json<ReplayCount>, Problem> {
    let Json(body) = body.map_err(|rejection| {
        let detail = format!("{}; send {{\"filter\": {{…}}, \"dry_run\": false}}", rejection.body_text());
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let Some(filter) = body.filter.resolve(&surface)? else { return Ok(Json(ReplayCount::default())) };
    let mode = if body.dry_run { Mode::Rehearsal } else { Mode::Earnest };
    let count = surface.engine.replay_many(filter, mode).await.map_err(|_| Problem::store_unavailable())?;
    Ok(Json(count))
}
