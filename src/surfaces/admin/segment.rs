//! One segment of the path, decoded; and the names of a query, so that an unknown one is refused.

use axum::{
    extract::{FromRequestParts, Path, Request, State, rejection::PathRejection},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};
use url::form_urlencoded;

use crate::problem::Problem;

use super::{Surface, params::wrong};

/// What stands in the path; refused with a problem document where it is no text.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<Surface> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, surface: &Surface) -> Result<Self, Problem> {
        let segment: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, surface).await;
        match segment {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())),
        }
    }
}

/// Refuses a query that names what the call does not know.
pub(super) async fn only_known(
    State(known): State<&'static [&'static str]>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let query = request.uri().query().unwrap_or_default();
    match form_urlencoded::parse(query.as_bytes()).find(|(name, _)| !known.contains(&&**name)) {
        Some((name, _)) => Err(wrong(&name, "is not a parameter of this call")),
        None => Ok(next.run(request).await),
    }
}
