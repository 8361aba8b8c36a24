//! `POST /api/v1/reload`: keys, platforms and tokens are read anew, as at SIGHUP. A file that is wrong changes nothing.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::{
    domain::{
        audit::{Action, Entry},
        time::Timestamp,
    },
    problem::Problem,
};

use super::{
    Surface,
    signed::{Signed, note_of},
};

/// Reads them anew, and tells what is otherwise, or what is wrong. Blocks as long as the files do.
pub type Reload = Arc<dyn Fn() -> Result<Vec<String>, String> + Send + Sync>;

pub(super) async fn handle(State(surface): State<Surface>, Signed(word): Signed) -> Result<Json<Value>, Problem> {
    let reload = surface.reload.clone();
    // Files are read, perhaps from a disk that is far away.
    let reloaded = tokio::task::spawn_blocking(move || reload()).await;
    let reloaded = reloaded.unwrap_or_else(|_| Err("the reading of the configuration broke off".to_owned()));
    let changes = reloaded.map_err(|why| {
        let detail = format!("the configuration was not read anew, and nothing has changed: {why}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })?;
    let note = note_of(&surface, Entry::new(Timestamp::default(), &word, Action::Reload)).map_err(|_| not_noted())?;
    surface.engine.write_down(note).await.map_err(|_| not_noted())?;
    Ok(Json(json!({"status": "reloaded", "changes": changes})))
}

/// 503: the audit log alone could not be written.
fn not_noted() -> Problem {
    let detail = "what was read anew is in effect, but the store takes no writes, so the audit log has nothing of it";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
