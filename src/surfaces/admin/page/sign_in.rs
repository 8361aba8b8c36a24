//! `POST /session` with a token signs in, `GET /session` says who is, `DELETE /session` signs out.
//!
//! The token is sent once. A wrong one is slowed down, counted and told like any other that is refused.

use std::time::Duration;

use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::{
    config::{
        access::{Badge, Principal},
        tokens::Right,
    },
    domain::notice::SignIn,
    problem::Problem,
};

use super::{super::Surface, super::auth, cookie};

/// The largest body, in bytes: a token is a line.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// How long a browser may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The body of a sign-in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    token: String,
}

/// Who has signed in.
#[derive(Debug, Serialize)]
pub(super) struct Who {
    name: String,
    role: &'static str,
}

impl From<&Principal> for Who {
    fn from(principal: &Principal) -> Self {
        Self { name: principal.name.to_string(), role: principal.role.name() }
    }
}

pub(super) async fn who(State(surface): State<Surface>, headers: HeaderMap) -> Result<Json<Who>, Problem> {
    let badge = cookie::session_of(&headers).and_then(|session| surface.sessions.find(session));
    let principal = badge.and_then(|badge| surface.access.recognise(badge));
    principal.as_ref().map(|principal| Json(principal.into())).ok_or_else(nobody)
}

pub(super) async fn open(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    if !cookie::is_of_our_page(&headers) {
        return Err(not_our_page());
    }
    let peer = auth::peer(request.extensions());
    let token = read(request).await?;
    let badge = Badge::of(token.trim());
    let Some(principal) = surface.access.recognise(badge) else {
        surface.porter.turn_away(SignIn::Token, peer).await;
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the worker does not know this token"));
    };
    if !principal.role.may(Right::Read) {
        let detail =
            format!("the token {} is a {}, which may not look at the page", principal.name, principal.role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if let Some(before) = cookie::session_of(&headers) {
        surface.sessions.close(before);
    }
    let mut response = Json(Who::from(&principal)).into_response();
    let given = cookie::give(&surface.sessions.open(badge), &headers);
    response.headers_mut().extend(given.map(|value| (header::SET_COOKIE, value)));
    Ok(response)
}

pub(super) async fn close(State(surface): State<Surface>, headers: HeaderMap) -> Result<Response, Problem> {
    if !cookie::is_of_our_page(&headers) {
        return Err(not_our_page());
    }
    if let Some(session) = cookie::session_of(&headers) {
        surface.sessions.close(session);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(cookie::take_away(&headers).map(|value| (header::SET_COOKIE, value)));
    Ok(response)
}

fn nobody() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "nobody has signed in here: send POST /session with {\"token\": …}")
}

/// 403: the cookie opens changes to our own page alone.
pub(in super::super) fn not_our_page() -> Problem {
    let detail = "only the page of this worker may do this with a cookie: it sends X-Passback: 1 from its own origin; \
                  a program sends `Authorization: Bearer …` instead";
    Problem::new(StatusCode::FORBIDDEN, detail)
}

async fn read(request: Request) -> Result<String, Problem> {
    let body: Bytes = match timeout(BODY_WITHIN, to_bytes(request.into_body(), BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let detail = format!("the body broke off, or it is larger than {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Err(_) => {
            let detail = format!("the body must come within {} seconds", BODY_WITHIN.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    // What was sent may be a token that was mistyped, so it is not repeated.
    let body = serde_json::from_slice::<Body>(&body);
    body.map(|body| body.token).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "send {\"token\": \"…\"} as JSON"))
}
