//! The HTTP interface: one file per operation, the router that puts them together, and who may call what.

mod auth;
mod change_job;
mod health;
mod list_jobs;
mod manners;
mod params;
mod patience;
mod platforms;
mod replay_many;
pub mod server;
mod show_job;
mod stats;
mod verify_job;
pub mod view;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    handler::Handler,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};

use tokio_util::sync::CancellationToken;

use crate::{
    config::{access::Access, names::Labels, tokens::Right},
    engine::{
        EngineHandle,
        manage::{NotStored, StoreHealth},
    },
    ports::{Porter, QueueHealth},
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
    /// Who remembers those that were not let in.
    pub porter: Arc<dyn Porter>,
    /// Which queues have their consumer.
    pub intake: Arc<dyn QueueHealth>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the worker stops.
    pub drain: CancellationToken,
    /// The public halves of the tool's keys, as they are now.
    pub jwks: Arc<dyn Fn() -> Arc<serde_json::Value> + Send + Sync>,
}

/// A call of the interface.
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// The path; names in braces stand for one segment.
    pub path: &'static str,
    /// What its token must allow; none where no token is needed.
    pub needs: Option<Right>,
    handler: MethodRouter<Surface>,
}

impl Call {
    fn get<H: Handler<T, Surface>, T: 'static>(path: &'static str, needs: Option<Right>, handler: H) -> Self {
        Self { method: "GET", path, needs, handler: get(handler) }
    }

    fn post<H: Handler<T, Surface>, T: 'static>(path: &'static str, needs: Option<Right>, handler: H) -> Self {
        Self { method: "POST", path, needs, handler: post(handler) }
    }
}

/// All calls, but the two doors for events.
pub fn calls() -> Vec<Call> {
    const READ: Option<Right> = Some(Right::Read);
    const OPERATE: Option<Right> = Some(Right::Operate);
    vec![
        Call::get("/api/v1/jobs", READ, list_jobs::handle),
        Call::get("/api/v1/jobs/{id}", READ, show_job::handle),
        Call::get("/api/v1/stats", READ, stats::handle),
        Call::get("/api/v1/platforms", READ, platforms::list),
        Call::post("/api/v1/jobs/{id}/replay", OPERATE, change_job::replay),
        Call::post("/api/v1/jobs/{id}/discard", OPERATE, change_job::discard),
        Call::post("/api/v1/jobs/{id}/verify", OPERATE, verify_job::handle),
        Call::post("/api/v1/replay", OPERATE, replay_many::handle),
        Call::post("/api/v1/platforms/{name}/pause", OPERATE, platforms::pause),
        Call::post("/api/v1/platforms/{name}/resume", OPERATE, platforms::resume),
        Call::get("/healthz", None, health::healthz),
        Call::get("/readyz", None, health::readyz),
        Call::get("/metrics", None, metrics),
        Call::get("/.well-known/jwks.json", None, jwks),
    ]
}

/// The whole interface. `events` takes events and wants a producer; `grade_passback` has its own sign-in.
pub fn router(surface: &Surface, events: Router, grade_passback: Router) -> Router {
    let door = |right| {
        let (access, porter) = (Arc::clone(&surface.access), Arc::clone(&surface.porter));
        middleware::from_fn_with_state(auth::Door { access, porter, right }, auth::require)
    };
    let ours = calls().into_iter().fold(Router::new(), |router, Call { path, needs, handler, .. }| {
        let handler = match needs {
            Some(right) => handler.route_layer(door(right)),
            None => handler,
        };
        router.route(path, handler)
    });
    ours.with_state(surface.clone())
        .merge(events.route_layer(door(Right::Produce)))
        .merge(grade_passback)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(manners::keep))
}

async fn metrics(State(surface): State<Surface>) -> Response {
    let picture = surface.engine.look().await.unwrap_or_default();
    let text = surface.metrics.render(&Snapshot {
        jobs: surface.engine.census().by_state,
        inflight_attempts: picture.under_way,
        oldest_due_age: picture.oldest_due.map_or(Duration::ZERO, |due| picture.taken_at.since(due)),
        store_healthy: surface.engine.store_health() == StoreHealth::Healthy,
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Platforms keep it for a while: far less than the day that a new key is published before it signs.
async fn jwks(State(surface): State<Surface>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json((surface.jwks)())).into_response()
}

/// Why a change is not known to be on disk, for the caller.
fn not_stored(error: &NotStored) -> Problem {
    match error {
        NotStored::Failed(_) => Problem::store_unavailable(),
        NotStored::NoAnswer => Problem::outcome_unknown(),
    }
}

async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path; the calls are under /api/v1 and /v1/events")
}

async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path knows no such method")
}
