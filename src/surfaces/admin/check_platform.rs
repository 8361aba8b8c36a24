//! `POST /api/v1/platforms/{name}/check`: the steps of `passback check` for one platform, taken by this worker. It makes the
//! worker call an LMS, so it is an operator's; it writes no grade and changes nothing.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
};

use crate::{
    check::{Findings, desk::NotChecked},
    domain::destination::Origin,
    problem::Problem,
};

use super::{Surface, params::origins_of, platforms::no_such_platform, segment::Segment};

pub(super) async fn handle(State(surface): State<Surface>, Segment(name): Segment) -> Result<Json<Findings>, Problem> {
    let origins = origins_of(&surface, &name)?;
    if origins.is_empty() && !surface.labels.names().configured().any(|configured| **configured == *name) {
        return Err(no_such_platform(&name));
    }
    let_rest(&surface, &origins).await?;
    surface.desk.check(&name, &origins).await.map(Json).map_err(|why| match why {
        NotChecked::UnderWay(_) => Problem::new(StatusCode::CONFLICT, why.to_string()),
        NotChecked::Busy => later(why.to_string()),
    })
}

/// A rate limit is for checks as well. A loop that does not answer now holds nobody up.
async fn let_rest(surface: &Surface, origins: &[Origin]) -> Result<(), Problem> {
    let picture = surface.engine.look().await.unwrap_or_default();
    let here = picture.platforms.iter().filter(|known| origins.contains(&known.origin));
    match here.filter_map(|known| known.rests_until).max().filter(|until| *until > picture.taken_at) {
        None => Ok(()),
        Some(until) => {
            let asked = "the platform asked for fewer requests, so nothing is sent there";
            Err(later(format!("{asked} until {until}: ask again then")))
        }
    }
}

fn later(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, "5")
}
