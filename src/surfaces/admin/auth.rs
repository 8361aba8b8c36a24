//! Who may call what: a bearer token or a session of the page, and a role that has the right.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};

use crate::{
    config::{
        access::{Access, Principal},
        tokens::Right,
    },
    domain::notice::SignIn,
    ports::{Peer, Porter},
    problem::Problem,
};

use super::page::{cookie, sessions::Sessions, sign_in::not_our_page};

/// The door of a group of calls.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) access: Arc<Access>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) porter: Arc<dyn Porter>,
    pub(super) right: Right,
}

/// Lets a request pass whose token has the right, or whose session's token has it; the principal goes along as an extension.
pub(super) async fn require(
    State(Door { access, sessions, porter, right }): State<Door>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // Nobody posts events from the page, so the cookie does not open that door.
    let is_for_the_page = matches!(right, Right::Read | Right::Operate);
    let presented = presents_a_token(request.headers(), is_for_the_page);
    let principal = if is_for_the_page && !presented {
        by_session(&access, &sessions, &request)?
    } else {
        authenticate(&access, request.headers())
    };
    let Some(principal) = principal else {
        if presented {
            porter.turn_away(SignIn::Token, peer(request.extensions())).await;
        }
        return Err(unknown(presented));
    };
    if !principal.role.may(right) {
        let detail = format!("the token {} is a {}, which may not do this", principal.name, principal.role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

fn unknown(presented: bool) -> Problem {
    let detail = if presented {
        "this token is not one of [[tokens]], or it is not sent as `Authorization: Bearer …`"
    } else {
        "a token is needed: send `Authorization: Bearer …` with one of [[tokens]]"
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"passback\"")
}

pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|Peer(address)| *address)
}

/// Whether the request bears something that is to be judged as a token. A browser adds by itself what a proxy before the
/// page has asked for, such as HTTP Basic: beside the cookie of a session that is no token of ours.
fn presents_a_token(headers: &HeaderMap, is_for_the_page: bool) -> bool {
    let by_cookie = is_for_the_page && cookie::session_of(headers).is_some();
    headers.get(header::AUTHORIZATION).is_some_and(|value| !by_cookie || bearer(value).is_some())
}

/// Who is signed in to the page. With a cookie only the page itself may change anything.
fn by_session(access: &Access, sessions: &Sessions, request: &Request) -> Result<Option<Principal>, Problem> {
    let session = cookie::session_of(request.headers());
    let principal = session.and_then(|session| sessions.find(session)).and_then(|badge| access.recognise(badge));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if principal.is_some() && changes && !cookie::is_of_our_page(request.headers()) {
        return Err(not_our_page());
    }
    Ok(principal)
}

fn authenticate(access: &Access, headers: &HeaderMap) -> Option<Principal> {
    access.authenticate(bearer(headers.get(header::AUTHORIZATION)?)?)
}

/// The token of `Bearer TOKEN`.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
