//! `POST /api/v1/replay`: all flagged jobs that pass a filter.

use std::time::Duration;

use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{domain::ledger::Mode, engine::manage::ReplayCount, problem::Problem};

use super::{Surface, not_stored, params::Filter};

/// The largest body, in bytes: a filter has eight short members.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a caller may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// The body of the call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    filter: Filter,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn handle(State(surface): State<Surface>, request: Request) -> Result<Json<ReplayCount>, Problem> {
    let Json(body) = Json::<Body>::from_bytes(&read_body(request).await?).map_err(|rejection| {
        let detail = format!("{}; send {{\"filter\": {{…}}, \"dry_run\": false}}", rejection.body_text());
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let Some(filter) = body.filter.resolve(&surface)? else { return Ok(Json(ReplayCount::default())) };
    let mode = if body.dry_run { Mode::Rehearsal } else { Mode::Earnest };
    let count = surface.engine.replay_many(filter, mode).await.map_err(|error| not_stored(&error))?;
    Ok(Json(count))
}

async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the filter as application/json"));
    }
    match timeout(BODY_WITHIN, to_bytes(request.into_body(), BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let detail = format!("the body broke off, or it is larger than {BODY_BYTES_MAX} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(_) => {
            let detail = format!("the body must come within {} seconds", BODY_WITHIN.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}
