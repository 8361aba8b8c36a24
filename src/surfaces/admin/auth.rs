//! Who may call what: a bearer token, and a role that has the right.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};

use crate::{
    config::{
        access::{Access, Principal},
        tokens::Right,
    },
    problem::Problem,
};

/// Lets a request pass whose token has the right; the principal goes along as an extension.
pub(super) async fn require(
    State((access, right)): State<(Arc<Access>, Right)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let presented = request.headers().contains_key(header::AUTHORIZATION);
    let principal = authenticate(&access, request.headers()).ok_or_else(|| {
        let detail = if presented {
            "this token is not one of [[tokens]], or it is not sent as `Authorization: Bearer …`"
        } else {
            "a token is needed: send `Authorization: Bearer …` with one of [[tokens]]"
        };
        Problem::new(StatusCode::UNAUTHORIZED, detail)
            .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"passback\"")
    })?;
    if !principal.role.may(right) {
        let detail = format!("the token {} is a {}, which may not do this", principal.name, principal.role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

fn authenticate(access: &Access, headers: &HeaderMap) -> Option<Principal> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| access.authenticate(token.trim())).flatten()
}
