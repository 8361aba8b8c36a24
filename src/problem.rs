//! Problem documents (RFC 9457): the one form in which the HTTP interface says that something is wrong.
//!
//! A leaf: both ways in over HTTP and the admin API use it, and it uses nothing of ours.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

/// A problem document: a status, a sentence, and members of its own.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this status, explained in one sentence that says how to mend it.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// 503: the store takes no writes; the sender keeps what it has and tries again.
    pub fn store_unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store takes no writes now: nothing was taken, send it again later",
        )
        .with_header(header::RETRY_AFTER, "10")
    }

    /// 503: the store did not answer in time, and what was asked for may be done yet.
    pub fn outcome_unknown() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store did not answer in time: whether this was done is not known; look again before you ask for it \
             again (an event may be sent again as it is)",
        )
        .with_header(header::RETRY_AFTER, "10")
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        self.members.insert("type".to_owned(), "about:blank".into());
        self.members.insert("title".to_owned(), title.into());
        self.members.insert("status".to_owned(), self.status.as_u16().into());
        self.members.insert("detail".to_owned(), self.detail.into());
        let mut response = (self.status, Json(Value::Object(self.members))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}
