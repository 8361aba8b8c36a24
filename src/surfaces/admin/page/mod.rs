//! The admin page at `/`: a document, a few scripts and a style sheet inside the binary, and the sessions of those who
//! have signed in with a token.
//!
//! The page knows nothing that the API does not say: it is a client like any other, and there is no call for it alone but
//! `/session`. Nothing is loaded from elsewhere and nothing runs that is not one of [`assets`], so a text in an event stays a
//! text. What a browser sends by itself (the cookie) opens nothing that changes: see [`cookie`].

mod assets;
pub(super) mod cookie;
pub mod sessions;
pub(super) mod sign_in;

use axum::{Router, routing::get};

use super::Surface;

/// The page, what it is made of, and the sessions.
pub(super) fn router(surface: &Surface) -> Router {
    let session = get(sign_in::who).post(sign_in::open).delete(sign_in::close);
    Router::new().route("/session", session).with_state(surface.clone()).merge(assets::router())
}
