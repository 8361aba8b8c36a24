//! Who may call what: a bearer token, and a role that has the right.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderMap, StatusCode, header},
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

/// The door of a group of calls.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) access: Arc<Access>,
    pub(super) porter: Arc<dyn Porter>,
    pub(super) right: Right,
}

/// Lets a request pass whose token has the right; the principal goes along as an extension.
pub(super) async fn require(
    State(Door { access, porter, right }): State<Door>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(principal) = authenticate(&access, request.headers()) else {
        let presented = request.headers().contains_key(header::AUTHORIZATION);
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

fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|Peer(address)| *address)
}

fn authenticate(access: &Access, headers: &HeaderMap) -> Option<Principal> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| access.authenticate(token.trim())).flatten()
}
