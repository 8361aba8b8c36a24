//! The HTTP interface: one file per operation, the router that puts them together, and who may call what.

mod auth;
mod change_job;
mod health;
mod list_jobs;
mod params;
mod platforms;
mod replay_many;
pub mod server;
mod show_job;
mod stats;
pub mod view;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use tokio_util::sync::CancellationToken;

use crate::{
    config::{access::Access, names::Labels, tokens::Right},
    engine::EngineHandle,
    ports::QueueHealth,
    problem::Problem,
};

use super::metrics::{Metrics, Snapshot};

/// What the handlers share.
#[derive(Clone)]
pub struct Surface {
    /// The engine.
    pub engine: EngineHandle,
    /// The platforms' public names.
    pub labels: Arc<Labels>,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Which queues have their consumer.
    pub intake: Arc<dyn QueueHealth>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the worker stops.
    pub drain: CancellationToken,
    /// The public halves of the tool's keys, as they are now.
    pub jwks: Arc<dyn Fn() -> Arc<serde_json::Value> + Send + Sync>,
}

/// The whole interface. `events` takes events and wants a producer; `grade_passback` has its own sign-in.
pub fn router(surface: &Surface, events: Router, grade_passback: Router) -> Router {
    let needs = |right| middleware::from_fn_with_state((Arc::clone(&surface.access), right), auth::require);
    let read = Router::new()
        .route("/api/v1/jobs", get(list_jobs::handle))
        .route("/api/v1/jobs/{id}", get(show_job::handle))
        .route("/api/v1/stats", get(stats::handle))
        .route("/api/v1/platforms", get(platforms::list))
        .route_layer(needs(Right::Read));
    let operate = Router::new()
        .route("/api/v1/jobs/{id}/replay", post(change_job::replay))
        .route("/api/v1/jobs/{id}/discard", post(change_job::discard))
        .route("/api/v1/replay", post(replay_many::handle))
        .route("/api/v1/platforms/{name}/pause", post(platforms::pause))
        .route("/api/v1/platforms/{name}/resume", post(platforms::resume))
        .route_layer(needs(Right::Operate));
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks));
    let ours = read.merge(operate).merge(open).with_state(surface.clone());
    ours.merge(events.route_layer(needs(Right::Produce)))
        .merge(grade_passback)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
}

async fn metrics(State(surface): State<Surface>) -> Response {
    let picture = surface.engine.look().await.unwrap_or_default();
    let text = surface.metrics.render(&Snapshot {
        jobs: surface.engine.census().by_state,
        inflight_attempts: picture.under_way,
        oldest_due_age: picture.oldest_due.map_or(Duration::ZERO, |due| picture.taken_at.since(due)),
        store_healthy: surface.engine.is_writable(),
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn jwks(State(surface): State<Surface>) -> Json<Arc<serde_json::Value>> {
    Json((surface.jwks)())
}

async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path; the calls are under /api/v1 and /v1/events")
}

async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path knows no such method")
}
