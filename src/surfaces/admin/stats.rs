//! `GET /api/v1/stats`: counts by state, the oldest due job, every platform.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    domain::{job::StateName, time::Timestamp},
    problem::Problem,
};

use super::{
    Surface,
    platforms::{self, PlatformView},
};

/// The numbers at a moment.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    jobs: BTreeMap<&'static str, u64>,
    oldest_due_at: Option<Timestamp>,
    platforms: Vec<PlatformView>,
}

pub(super) async fn handle(State(surface): State<Surface>) -> Result<Json<Stats>, Problem> {
    let platforms = platforms::views(&surface).await?;
    let oldest_due_at = surface.engine.look().await.and_then(|picture| picture.oldest_due);
    let counts = surface.engine.census().by_state;
    let jobs = StateName::ALL.into_iter().map(StateName::name).zip(counts).collect();
    Ok(Json(Stats { jobs, oldest_due_at, platforms }))
}
