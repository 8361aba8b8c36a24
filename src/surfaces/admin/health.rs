//! `GET /healthz` and `GET /readyz`: is the process alive, and does it do its work?

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{engine::manage::StoreHealth, problem::Problem};

use super::Surface;

pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

/// 200 when the store takes writes, and answers, and every queue has its consumer; else 503 that names what is missing.
pub(super) async fn readyz(State(surface): State<Surface>) -> Response {
    let mut missing = Vec::new();
    if surface.drain.is_cancelled() {
        missing.push("the worker is stopping".to_owned());
    }
    match surface.engine.store_health() {
        StoreHealth::Healthy => {}
        StoreHealth::Failed => missing.push("the store takes no writes".to_owned()),
        StoreHealth::Stuck => missing.push("the store does not answer: its disk may hang".to_owned()),
    }
    missing.extend(
        surface.intake.queues_without_consumer().into_iter().map(|queue| format!("no consumer on queue {queue}")),
    );
    if missing.is_empty() {
        return Json(json!({"status": "ready"})).into_response();
    }
    let detail = format!("not ready: {}", missing.join("; "));
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("missing", missing).into_response()
}
