//! What every answer says to a browser, and what a browser may not do: the interface is for programs, and a page of
//! another site has no business here.
//!
//! A bearer token is sent by nobody who was not told to, so another site's page can do nothing with it. What a browser
//! adds by itself (the cookie of our own page, HTTP Basic that it remembers) is turned away by `Sec-Fetch-Site`, which no
//! page can forge; what the cookie needs besides stands in [`cookie`].
//!
//! [`cookie`]: super::page

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::problem::Problem;

/// Headers of every answer that does not say otherwise itself: never sniffed, framed, kept, or embedded elsewhere.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Refuses what a browser sends for another site, and adds [`HEADERS`].
pub(super) async fn keep(request: Request, next: Next) -> Response {
    let mut response = if is_of_another_site(&request) {
        let detail = "a page of another site may not call this";
        Problem::new(StatusCode::FORBIDDEN, detail).into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn is_of_another_site(request: &Request) -> bool {
    let site = request.headers().get("sec-fetch-site");
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    changes && site.is_some_and(|site| site != "same-origin" && site != "none")
}
