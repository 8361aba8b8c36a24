//! `GET /openapi.json`: what the calls take and answer, as OpenAPI 3.1. Paths, methods, rights and parameters are those
//! of the table that the router is made from; the forms stand in [`super::schemas`].

use std::sync::LazyLock;

use axum::Json;
use serde_json::{Map, Value, json};

use super::{Call, calls, schemas};
use crate::domain::{destination::Delivery, job::StateName, outcome::FailureReason};

/// What the document says of a call, beside its method, its path and who may use it.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    /// In one line.
    pub(super) summary: &'static str,
    /// The parameters of its query.
    pub(super) query: &'static [&'static str],
    /// The form of its body, and whether one is needed.
    pub(super) body: Option<(&'static str, bool)>,
    /// The form of each success.
    pub(super) answers: &'static [(u16, &'static str)],
    /// The refusals that not every call has.
    pub(super) refusals: &'static [u16],
}

/// The parameters of a list of jobs.
pub(super) const LIST: &[&str] = &[
    "state",
    "platform",
    "reason",
    "delivery",
    "user_id",
    "session_id",
    "activity_id",
    "since",
    "until",
    "limit",
    "cursor",
];

/// The parameters of the groups.
pub(super) const GROUPS: &[&str] = &["state"];

/// The parameters of a list without filters.
pub(super) const PAGE: &[&str] = &["limit", "cursor"];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(&calls()));

pub(super) async fn handle() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

impl Says {
    /// A call that takes nothing and answers one form.
    pub(super) const fn that(summary: &'static str, answers: &'static [(u16, &'static str)]) -> Self {
        Self { summary, query: &[], body: None, answers, refusals: &[] }
    }

    pub(super) const fn asks(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// A body that there may be.
    pub(super) const fn takes(self, form: &'static str) -> Self {
        Self { body: Some((form, false)), ..self }
    }

    /// A body that there must be.
    pub(super) const fn needs(self, form: &'static str) -> Self {
        Self { body: Some((form, true)), ..self }
    }

    pub(super) const fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}

fn document(calls: &[Call]) -> Value {
    let mut paths = Map::new();
    for call in calls {
        let methods = paths.entry(call.path).or_insert_with(|| json!({}));
        methods[call.method.to_lowercase()] = operation(call);
    }
    paths.insert("/v1/events".to_owned(), json!({ "post": schemas::post_events() }));
    paths.insert("/lti/grade_passback".to_owned(), json!({ "post": schemas::post_grade_passback() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "passback",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "puts each grade into the LMS gradebook",
            "description": "Errors are problem documents (RFC 9457). Unknown parameters and members are refused by name. \
                            The page at / signs in at /session, which is for the page alone: programs send a token.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "one of [[tokens]]"},
                "lti_key": {"type": "http", "scheme": "basic", "description": "a consumer key and its secret"},
            },
        },
    })
}

fn operation(call: &Call) -> Value {
    let Says { summary, query, body, answers, refusals } = call.says;
    let mut operation = json!({"summary": summary, "responses": responses(call, answers, refusals)});
    let mut parameters: Vec<Value> = query.iter().map(|name| parameter(name, query)).collect();
    for segment in call.path.split('/') {
        if let Some(name) = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            let schema = if name == "id" { schemas::id() } else { json!({"type": "string", "minLength": 1}) };
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((form, required)) = body {
        let content = json!({"application/json": {"schema": schemas::reference(form)}});
        operation["requestBody"] = json!({"required": required, "content": content});
    }
    operation["security"] = match call.needs {
        Some(_) => json!([{"token": []}]),
        None => json!([]),
    };
    operation
}

fn responses(call: &Call, answers: &[(u16, &str)], refusals: &[u16]) -> Value {
    let mut responses = Map::new();
    for (status, form) in answers {
        let content = match *form {
            "text" => json!({"text/plain": {"schema": {"type": "string"}}}),
            "bytes" => json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}),
            form => json!({"application/json": {"schema": schemas::reference(form)}}),
        };
        responses.insert(status.to_string(), json!({"description": call.says.summary, "content": content}));
    }
    let guarded: &[u16] = if call.needs.is_some() { &[400, 401, 403, 503] } else { &[] };
    let with_body: &[u16] = if call.says.body.is_some() { &[408, 413, 415] } else { &[] };
    for status in guarded.iter().chain(with_body).chain(refusals) {
        responses.insert(status.to_string(), schemas::problem());
    }
    responses.into()
}

fn parameter(name: &str, query: &[&str]) -> Value {
    let schema = match name {
        "state" if query == GROUPS => json!({"const": StateName::Flagged.name()}),
        "state" => json!({"enum": StateName::ALL.map(StateName::name)}),
        "reason" => json!({"enum": FailureReason::ALL.map(FailureReason::name)}),
        "delivery" => json!({"enum": Delivery::ALL.map(Delivery::name)}),
        "since" | "until" => schemas::moment(),
        "limit" => json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}),
        "cursor" => schemas::id(),
        _ => json!({"type": "string"}),
    };
    json!({"name": name, "in": "query", "schema": schema})
}
