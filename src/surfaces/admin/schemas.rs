//! The forms of the HTTP interface, as JSON Schema: what is sent and what is answered. A test holds real answers against
//! them, so whoever changes a view changes its form here.

use serde_json::{Map, Value, json};

use super::{import, waits};
use crate::{
    check::Mark,
    domain::{
        audit::{Action, NOTE_CHARS_MAX},
        bulk::{Came, Change, Standing},
        destination::Delivery,
        job::StateName,
        notice::PlatformState,
        outcome::FailureReason,
    },
    surfaces::recent::MINUTES,
};

/// All forms, by name.
pub(super) fn all() -> Value {
    json!({
        "Problem": of(&[("type", text()), ("title", text()), ("status", count()), ("detail", text())], Closed::No),
        "Job": closed(&job(count())),
        "JobPage": page("jobs", "Job", &id()),
        "WholeJob": whole_job(),
        "Attempt": closed(&[
            ("started_at", moment()), ("duration_ms", count()), ("http_status", maybe("integer")), ("outcome", text()),
            ("message", text()),
        ]),
        "JobChange": closed(&[
            ("at", moment()), ("who", text()), ("action", one_of(&[Action::Replay, Action::Discard].map(Action::name))),
            ("note", maybe("string")), ("bulk", or_null(&id())),
        ]),
        "Verification": verification(),
        "Note": {"type": "object", "additionalProperties": false, "properties": {"note": note()}},
        "Filter": filter(),
        "ManyChanges": many_changes(),
        "ReplayNumbers": closed(&[("matched", count()), ("replayed", count()), ("superseded", count())]),
        "DiscardNumbers": closed(&[("matched", count()), ("discarded", count())]),
        "Replay": task(),
        "ReplayJob": closed(&[
            ("id", id()), ("result", one_of(&Came::ALL.map(Came::name))), ("job", or_null(&reference("Job"))),
        ]),
        "ReplayJobPage": page("jobs", "ReplayJob", &id()),
        "ReplayPage": page("replays", "Replay", &id()),
        "Groups": closed(&[("groups", list("Group")), ("omitted", count())]),
        "Group": closed(&[
            ("state", json!({"const": StateName::Flagged.name()})), ("platform", text()),
            ("reason", one_of(&FailureReason::ALL.map(FailureReason::name))), ("count", count()), ("advice", text()),
        ]),
        "Platform": platform(),
        "Findings": closed(&[("ok", json!({"type": "boolean"})), ("checks", list("Remark"))]),
        "Remark": closed(&[
            ("part", text()), ("name", maybe("string")), ("step", text()),
            ("status", one_of(&[Mark::Ok, Mark::Warning, Mark::Failed].map(Mark::name))), ("seen", text()),
            ("advice", maybe("string")),
        ]),
        "Platforms": closed(&[("platforms", list("Platform"))]),
        "Recent": closed(&[("minutes", count()), ("since", moment()), ("platforms", list("Hour"))]),
        "Hour": closed(&[("name", text()), ("delivered", counts()), ("failed", counts())]),
        "Stats": closed(&[
            ("jobs", closed(&StateName::ALL.map(|state| (state.name(), count())))), ("oldest_due_at", maybe_moment()),
            ("platforms", list("Platform")),
        ]),
        "AuditEntry": closed(&[
            ("at", moment()), ("who", text()), ("action", one_of(&Action::ALL.map(Action::name))),
            ("job", or_null(&id())), ("filter", maybe("object")), ("count", maybe("integer")), ("note", maybe("string")),
            ("bulk", or_null(&id())),
        ]),
        "AuditPage": page("entries", "AuditEntry", &id()),
        "Import": closed(&[
            ("state", one_of(&import::STANDINGS)), ("result", or_null(&reference("ImportTally"))),
            ("error", maybe("string")),
        ]),
        "ImportTally": closed(&[
            ("imported", count()), ("already_there", count()), ("event_already_there", count()), ("jobs", count()),
            ("unread", count()),
        ]),
        "ImportWish": {
            "type": "object", "additionalProperties": false,
            "properties": {"partial": {"type": "boolean"}, "note": note()},
        },
        "Status": closed(&[("status", text())]),
        "Reloaded": closed(&[("status", text()), ("changes", json!({"type": "array", "items": text()}))]),
        "Jwks": of(&[("keys", json!({"type": "array", "items": {"type": "object"}}))], Closed::No),
        "Document": {"type": "object"},
        "Taken": closed(&[("events", json!({"type": "array", "items": taken()}))]),
        "Event": of(&[("lis_data", json!({"type": "object"}))], Closed::No),
    })
}

/// The form of this name.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A refusal.
pub(super) fn problem() -> Value {
    let content = json!({"application/problem+json": {"schema": reference("Problem")}});
    json!({"description": "what is wrong, and how to mend it", "content": content})
}

/// An id or a cursor.
pub(super) fn id() -> Value {
    json!({"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$"})
}

/// A time.
pub(super) fn moment() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// `POST /v1/events`.
pub(super) fn post_events() -> Value {
    let events = json!({"type": "array", "items": reference("Event")});
    let body = json!({
        "application/json": {"schema": {"anyOf": [reference("Event"), events]}},
        "application/x-ndjson": {"schema": {"type": "string"}},
    });
    let taken = json!({"description": "on disk", "content": {"application/json": {"schema": reference("Taken")}}});
    let mut operation = json!({
        "summary": "Takes events: one, an array, or one a line; all of them or none",
        "requestBody": {"required": true, "content": body},
        "security": [{"token": []}],
        "responses": {"202": taken},
    });
    refuse(&mut operation, &[400, 401, 403, 408, 413, 415, 422, 503]);
    operation
}

/// `POST /lti/grade_passback`.
pub(super) fn post_grade_passback() -> Value {
    let mut operation = json!({
        "summary": "Takes Learnosity's own LTI 1.3 grade passback",
        "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object"}}}},
        "security": [{"lti_key": []}],
        "responses": {"204": {"description": "on disk"}},
    });
    refuse(&mut operation, &[400, 401, 403, 408, 413, 415, 422, 503]);
    operation
}

fn refuse(operation: &mut Value, refusals: &[u16]) {
    for status in refusals {
        operation["responses"][status.to_string()] = problem();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    Yes,
    No,
}

/// An object with these members, all of them always there.
fn of(members: &[(&str, Value)], closed: Closed) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let mut object = json!({"type": "object", "required": required, "properties": properties});
    if closed == Closed::Yes {
        object["additionalProperties"] = false.into();
    }
    object
}

/// An object with these members and no others.
fn closed(members: &[(&str, Value)]) -> Value {
    of(members, Closed::Yes)
}

fn list(name: &str) -> Value {
    json!({"type": "array", "items": reference(name)})
}

fn page(member: &str, name: &str, cursor: &Value) -> Value {
    closed(&[(member, list(name)), ("next_cursor", or_null(cursor))])
}

fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// One of each minute of the last hour.
fn counts() -> Value {
    json!({"type": "array", "items": count(), "minItems": MINUTES, "maxItems": MINUTES})
}

fn maybe(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn maybe_moment() -> Value {
    or_null(&moment())
}

fn or_null(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn one_of(names: &[&str]) -> Value {
    json!({"enum": names})
}

fn reason() -> Value {
    or_null(&one_of(&FailureReason::ALL.map(FailureReason::name)))
}

/// A note; control characters but line ends become spaces.
fn note() -> Value {
    json!({"type": ["string", "null"], "maxLength": NOTE_CHARS_MAX})
}

fn job(attempts: Value) -> Vec<(&'static str, Value)> {
    vec![
        ("id", id()),
        ("state", one_of(&StateName::ALL.map(StateName::name))),
        ("delivery", one_of(&Delivery::ALL.map(Delivery::name))),
        ("platform", text()),
        ("session_id", maybe("string")),
        ("user_id", maybe("string")),
        ("activity_id", maybe("string")),
        ("score", maybe("number")),
        ("max_score", maybe("number")),
        ("attempts", attempts),
        ("reason", reason()),
        ("advice", maybe("string")),
        ("last_error", maybe("string")),
        ("created_at", moment()),
        ("updated_at", moment()),
        ("next_attempt_at", maybe_moment()),
        ("delivered_at", maybe_moment()),
        ("flagged_at", maybe_moment()),
    ]
}

fn whole_job() -> Value {
    let mut members = job(list("Attempt"));
    let waits = closed(&[
        ("why", one_of(&waits::WHY)),
        ("since", maybe_moment()),
        ("until", maybe_moment()),
        ("error", maybe("string")),
    ]);
    members.extend([
        ("attempts_omitted", count()),
        ("event", maybe("object")),
        ("waits", or_null(&waits)),
        ("changes", list("JobChange")),
    ]);
    closed(&members)
}

fn verification() -> Value {
    let grade = closed(&[("score", json!({"type": "number"})), ("max_score", json!({"type": "number"}))]);
    let sent = closed(&[
        ("operation", one_of(&["replace", "delete"])),
        ("score", maybe("number")),
        ("max_score", maybe("number")),
    ]);
    closed(&[
        ("job", id()),
        ("result", one_of(&["same", "different", "nothing", "cannot_be_read"])),
        ("sent", sent),
        ("there", or_null(&grade)),
        ("reason", reason()),
        ("detail", text()),
        ("checked_at", moment()),
    ])
}

/// What a list and a bulk change are narrowed by.
fn filter() -> Value {
    let narrow = |schema: Value| or_null(&schema);
    json!({"type": "object", "additionalProperties": false, "properties": {
        "state": narrow(one_of(&StateName::ALL.map(StateName::name))), "platform": maybe("string"), "reason": reason(),
        "delivery": narrow(one_of(&Delivery::ALL.map(Delivery::name))),
        "user_id": maybe("string"), "session_id": maybe("string"), "activity_id": maybe("string"),
        "since": narrow(moment()), "until": narrow(moment()),
    }})
}

fn many_changes() -> Value {
    let both = json!({"dry_run": {"const": true}, "background": {"const": true}});
    let both = json!({"required": ["dry_run", "background"], "properties": both});
    json!({"type": "object", "additionalProperties": false, "required": ["filter"], "not": both, "properties": {
        "filter": reference("Filter"), "dry_run": {"type": "boolean", "default": false},
        "background": {"type": "boolean", "default": false, "description": "not together with dry_run"}, "note": note(),
    }})
}

fn task() -> Value {
    closed(&[
        ("id", id()),
        ("action", one_of(&[Change::Replay, Change::Discard].map(|change| change.action().name()))),
        ("state", one_of(&[Standing::Running, Standing::Done, Standing::Failed].map(Standing::name))),
        ("filter", reference("Filter")),
        ("who", text()),
        ("note", maybe("string")),
        ("started_at", moment()),
        ("ended_at", maybe_moment()),
        ("error", maybe("string")),
        ("total", maybe("integer")),
        ("matched", count()),
        ("replayed", count()),
        ("superseded", count()),
        ("discarded", count()),
        ("skipped", count()),
        ("now", or_null(&now())),
    ])
}

/// Where the jobs of a change stand.
fn now() -> Value {
    let states = StateName::ALL.map(|state| (state.name(), count()));
    closed(&[&states[..], &[("gone", count())]].concat())
}

fn platform() -> Value {
    let tokens = closed(&[
        ("granted_at", maybe_moment()),
        ("failed_at", maybe_moment()),
        ("reason", reason()),
        ("error", maybe("string")),
    ]);
    closed(&[
        ("name", text()),
        ("state", one_of(&PlatformState::ALL.map(PlatformState::name))),
        ("since", maybe_moment()),
        ("queued", count()),
        ("flagged", count()),
        ("last_error", maybe("string")),
        ("next_probe_at", maybe_moment()),
        ("rests_until", maybe_moment()),
        ("origins", json!({"type": "array", "items": text()})),
        ("limits", closed(&[("under_way", count()), ("concurrency_now", count()), ("concurrency", count())])),
        ("tokens", or_null(&tokens)),
    ])
}

fn taken() -> Value {
    closed(&[("id", id()), ("event_id", maybe("string")), ("result", one_of(&["stored", "duplicate"]))])
}
