//! The HTTP interface: one file per operation, the router that puts them together, and who may call what.

mod audit_log;
mod auth;
pub mod backup;
mod bulk;
mod change_job;
mod change_many;
mod check_platform;
mod groups;
mod health;
pub mod import;
mod list_jobs;
mod manners;
mod openapi;
pub mod page;
mod params;
mod patience;
mod platforms;
pub mod reload;
mod schemas;
mod segment;
pub mod server;
mod show_job;
mod signed;
mod stats;
mod verify_job;
pub mod view;
mod waits;

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
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    check::desk::Desk,
    config::{access::Access, names::Labels, tokens::Right},
    engine::{
        EngineHandle,
        manage::{NotStored, StoreHealth},
    },
    ports::{Porter, QueueHealth},
    problem::Problem,
};

use super::{
    metrics::{Metrics, Snapshot},
    recent::{MINUTES, Recent},
    token_health::TokenHealth,
};

use self::openapi::{GROUPS, LIST, PAGE};

pub use self::openapi::Says;

/// What the handlers share.
#[derive(Clone)]
pub struct Surface {
    /// The engine.
    pub engine: EngineHandle,
    /// The platforms' public names.
    pub labels: Arc<Labels>,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Who has signed in to the page.
    pub sessions: Arc<page::sessions::Sessions>,
    /// Who remembers those that were not let in.
    pub porter: Arc<dyn Porter>,
    /// Which queues have their consumer.
    pub intake: Arc<dyn QueueHealth>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// The last hour.
    pub recent: Arc<Recent>,
    /// How tokens are.
    pub tokens: Arc<TokenHealth>,
    /// Where platforms are checked.
    pub desk: Arc<Desk>,
    /// Cancelled when the worker stops.
    pub drain: CancellationToken,
    /// The public halves of the tool's keys, as they are now.
    pub jwks: Arc<dyn Fn() -> Arc<serde_json::Value> + Send + Sync>,
    /// Reads keys, platforms and tokens anew, and tells what is otherwise; an error changes nothing and says why.
    pub reload: reload::Reload,
    /// Begins a copy of the store.
    pub backup: backup::Begin,
    /// Imports into the store.
    pub imports: Arc<dyn import::Importing>,
}

/// A call of the interface.
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// The path; names in braces stand for one segment.
    pub path: &'static str,
    /// What its token must allow; none where no token is needed.
    pub needs: Option<Right>,
    /// What `/openapi.json` says of it.
    pub says: Says,
    handler: MethodRouter<Surface>,
}

impl Call {
    fn get<H: Handler<T, Surface>, T: 'static>(
        path: &'static str,
        needs: Option<Right>,
        handler: H,
        says: Says,
    ) -> Self {
        Self { method: "GET", path, needs, says, handler: get(handler) }
    }

    fn post<H: Handler<T, Surface>, T: 'static>(path: &'static str, handler: H, says: Says) -> Self {
        Self { method: "POST", path, needs: Some(Right::Operate), says, handler: post(handler) }
    }
}

/// All calls, but the two doors for events.
pub fn calls() -> Vec<Call> {
    [of_jobs(), of_many(), of_platforms(), of_the_worker()].into_iter().flatten().collect()
}

const READ: Option<Right> = Some(Right::Read);
const STATUS: &[(u16, &str)] = &[(200, "Status")];

fn of_jobs() -> Vec<Call> {
    const JOB: &[(u16, &str)] = &[(200, "WholeJob")];
    vec![
        Call::get(
            "/api/v1/jobs",
            READ,
            list_jobs::handle,
            Says::that(
                "A page of jobs, newest first; it may be short and still name where to go on",
                &[(200, "JobPage")],
            )
            .asks(LIST),
        ),
        Call::get("/api/v1/jobs/{id}", READ, show_job::handle, Says::that("A job", JOB).refuses(&[404])),
        Call::post(
            "/api/v1/jobs/{id}/replay",
            change_job::replay,
            Says::that("Tries a job again", JOB).takes("Note").refuses(&[404, 409]),
        ),
        Call::post(
            "/api/v1/jobs/{id}/discard",
            change_job::discard,
            Says::that("Gives a job up", JOB).takes("Note").refuses(&[404, 409]),
        ),
        Call::post(
            "/api/v1/jobs/{id}/verify",
            verify_job::handle,
            Says::that("Reads the grade of a job back", &[(200, "Verification")]).refuses(&[404, 409]),
        ),
    ]
}

fn of_many() -> Vec<Call> {
    vec![
        Call::get(
            "/api/v1/groups",
            READ,
            groups::handle,
            Says::that("Flagged jobs, counted by platform and reason", &[(200, "Groups")]).asks(GROUPS),
        ),
        Call::post(
            "/api/v1/replay",
            change_many::replay,
            Says::that("Tries many jobs again", &[(200, "ReplayNumbers"), (202, "Replay")])
                .needs("ManyChanges")
                .refuses(&[409, 422]),
        ),
        Call::post(
            "/api/v1/discard",
            change_many::discard,
            Says::that("Gives many jobs up", &[(200, "DiscardNumbers"), (202, "Replay")])
                .needs("ManyChanges")
                .refuses(&[409, 422]),
        ),
        Call::get(
            "/api/v1/replays",
            READ,
            bulk::list,
            Says::that("Changes of many in the background, newest first", &[(200, "ReplayPage")]).asks(PAGE),
        ),
        Call::get(
            "/api/v1/replays/{id}",
            READ,
            bulk::show,
            Says::that("How far a change of many is", &[(200, "Replay")]).refuses(&[404]),
        ),
        Call::get(
            "/api/v1/replays/{id}/jobs",
            READ,
            bulk::jobs,
            Says::that("What came of each job of a change of many, newest first", &[(200, "ReplayJobPage")])
                .asks(PAGE)
                .refuses(&[404]),
        ),
    ]
}

fn of_platforms() -> Vec<Call> {
    const PLATFORM: &[(u16, &str)] = &[(200, "Platform")];
    vec![
        Call::get("/api/v1/stats", READ, stats::handle, Says::that("The numbers", &[(200, "Stats")])),
        Call::get("/api/v1/platforms", READ, platforms::list, Says::that("Each platform", &[(200, "Platforms")])),
        Call::get("/api/v1/recent", READ, recent, Says::that("The last hour, by minute", &[(200, "Recent")])),
        Call::post(
            "/api/v1/platforms/{name}/pause",
            platforms::pause,
            Says::that("Stops a platform's deliveries", PLATFORM).takes("Note").refuses(&[404]),
        ),
        Call::post(
            "/api/v1/platforms/{name}/resume",
            platforms::resume,
            Says::that("Lets a platform's deliveries go on", PLATFORM).takes("Note").refuses(&[404]),
        ),
        Call::post(
            "/api/v1/platforms/{name}/check",
            check_platform::handle,
            Says::that("Tries the way to a platform, step by step", &[(200, "Findings")]).refuses(&[404, 409]),
        ),
    ]
}

fn of_the_worker() -> Vec<Call> {
    vec![
        Call::get(
            "/api/v1/audit",
            READ,
            audit_log::handle,
            Says::that("Who did what, newest first", &[(200, "AuditPage")]).asks(PAGE),
        ),
        Call::post(
            "/api/v1/reload",
            reload::handle,
            Says::that("Reads keys, platforms and tokens anew", &[(200, "Reloaded")]).takes("Note").refuses(&[422]),
        ),
        Call::post(
            "/api/v1/backup",
            backup::handle,
            Says::that("A copy of the store, which `passback backup` makes a store of", &[(200, "bytes")])
                .takes("Note")
                .refuses(&[409]),
        ),
        Call::post(
            "/api/v1/import",
            import::begin,
            Says::that("Imports what `passback import` has put into the folder of the store", &[(202, "Import")])
                .takes("ImportWish")
                .refuses(&[409]),
        ),
        Call::get("/api/v1/import", READ, import::show, Says::that("How the last import stands", &[(200, "Import")])),
        Call::get("/healthz", None, health::healthz, Says::that("The process is alive", STATUS)),
        Call::get("/readyz", None, health::readyz, Says::that("It does its work", STATUS).refuses(&[503])),
        Call::get("/metrics", None, metrics, Says::that("The numbers, for Prometheus", &[(200, "text")])),
        Call::get("/.well-known/jwks.json", None, jwks, Says::that("The tool's public keys", &[(200, "Jwks")])),
        Call::get("/openapi.json", None, openapi::handle, Says::that("This document", &[(200, "Document")])),
    ]
}

/// The whole interface. `events` takes events and wants a producer; `grade_passback` has its own sign-in.
pub fn router(surface: &Surface, events: Router, grade_passback: Router) -> Router {
    let door = |right| {
        let (access, porter) = (Arc::clone(&surface.access), Arc::clone(&surface.porter));
        let sessions = Arc::clone(&surface.sessions);
        middleware::from_fn_with_state(auth::Door { access, sessions, porter, right }, auth::require)
    };
    let ours = calls().into_iter().fold(Router::new(), |router, Call { path, needs, handler, says, .. }| {
        let handler = match needs {
            Some(right) => {
                let only_known = middleware::from_fn_with_state(says.query, segment::only_known);
                handler.route_layer(only_known).route_layer(door(right))
            }
            None => handler,
        };
        router.route(path, handler)
    });
    ours.with_state(surface.clone())
        .merge(events.route_layer(door(Right::Produce)))
        .merge(grade_passback)
        .merge(page::router(surface))
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

/// `GET /api/v1/recent`: attempts of the last hour, minute by minute, and since when they are counted.
async fn recent(State(surface): State<Surface>) -> Json<serde_json::Value> {
    Json(json!({"minutes": MINUTES, "since": surface.recent.since(), "platforms": surface.recent.hours()}))
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
