//! The simulated LMS's own controls over HTTP: faults, gradebook, counts. For demos and tests, so without a key;
//! listen on an address that only they reach.

mod cells;
mod columns;

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::{Fault, Trouble};
use super::ledger::Route;
use super::message::{Answer, Call, Reason};
use super::platform::Platform;

/// Every call: its method, and its path below `/_control/`.
pub(super) const CALLS: [(&str, &str); 10] = [
    ("GET", "faults"),
    ("PUT", "faults"),
    ("GET", "gradebook"),
    ("PUT", "gradebook"),
    ("DELETE", "gradebook"),
    ("GET", "columns"),
    ("PUT", "columns/{context}/{id}"),
    ("DELETE", "columns/{context}/{id}"),
    ("GET", "requests"),
    ("GET", "delegated"),
];

/// Answers `/_control/{call}`.
pub(super) fn answer(platform: &Platform, request: &Call, call: &str) -> Result<Answer, Answer> {
    let method = request.parts.method.as_str();
    let segments: Vec<_> = call.split('/').collect();
    match (method, segments.as_slice()) {
        ("GET", ["faults"]) => Ok(Answer::json(StatusCode::OK, &faults(platform))),
        ("PUT", ["faults"]) => {
            change_faults(platform, request).map_err(Answer::bad_request)?;
            Ok(Answer::json(StatusCode::OK, &faults(platform)))
        }
        ("GET", ["gradebook"]) => cells::list(platform, request),
        ("PUT", ["gradebook"]) => cells::put(platform, request),
        ("DELETE", ["gradebook"]) => cells::delete(platform, request),
        ("GET", ["columns"]) => columns::list(platform),
        ("PUT", ["columns", context, id]) => columns::put(platform, request, context, id),
        ("DELETE", ["columns", context, id]) => columns::delete(platform, context, id),
        ("GET", ["requests"]) => Ok(Answer::json(StatusCode::OK, &requests(platform))),
        ("GET", ["delegated"]) => Ok(Answer::json(StatusCode::OK, &delegated(platform))),
        (_, [name, ..]) if CALLS.iter().any(|(_, path)| path.split('/').next() == Some(name)) => {
            Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, calls("this call is not understood", name)))
        }
        _ => Err(Answer::error(StatusCode::NOT_FOUND, calls("there is no such call", ""))),
    }
}

/// What went wrong, and the calls whose names begin so.
fn calls(wrong: &str, name: &str) -> Reason {
    let fitting = CALLS.iter().filter(|(_, path)| path.starts_with(name));
    let calls: Vec<_> = fitting.map(|(method, path)| format!("{method} /_control/{path}")).collect();
    format!("{wrong}; there are {}", calls.join(", "))
}

fn faults(platform: &Platform) -> Value {
    json!({"routes": platform.faults.current(), "refused_users": platform.faults.refused()})
}

/// The body of a PUT. A route that is named gets these faults in the place of its own, an empty list for none; so
/// do the refused users. What is not named stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultChanges {
    #[serde(default)]
    routes: BTreeMap<Route, Vec<Fault>>,
    #[serde(default)]
    refused_users: Option<Vec<String>>,
}

/// All or nothing: a fault that makes no sense leaves everything as it was.
fn change_faults(platform: &Platform, request: &Call) -> Result<(), Reason> {
    let changes: FaultChanges = serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
    for (route, faults) in &changes.routes {
        let in_words = |error| format!("{route:?}: {error}");
        faults.iter().try_for_each(|fault| fault.check(*route)).map_err(in_words)?;
    }
    for (route, faults) in changes.routes {
        platform.faults.set(route, faults).map_err(|error| error.to_string())?;
    }
    if let Some(users) = changes.refused_users {
        let refused = users.into_iter().map(|user| (user, Trouble::NotEnrolled)).collect();
        platform.faults.change_refused(|now| *now = refused);
    }
    Ok(())
}

/// The bodies as JSON; they were read as such when they came.
fn delegated(platform: &Platform) -> Value {
    let bodies = platform.delegated.all();
    Value::Array(bodies.iter().map(|body| serde_json::from_str(body).unwrap_or_default()).collect())
}

fn requests(platform: &Platform) -> Value {
    let routes: BTreeMap<_, _> = Route::ALL.into_iter().map(|route| (route, platform.ledger.counts(route))).collect();
    json!({"routes": routes, "refusals": platform.ledger.refusals()})
}

#[cfg(test)]
mod tests {
    use super::super::faults::FaultKind;
    use super::super::testing::{platform, send};
    use super::*;

    #[tokio::test]
    async fn faults_are_switched_by_name_or_not_at_all() {
        let platform = platform();
        let faults = r#"{"routes": {"scores": [{"kind": {"status": {"code": 503, "retry_after": "7"}}, "times": 2},
            {"kind": "cut_before", "every": 3}]}, "refused_users": ["u"]}"#;
        let (status, reply) = send(&platform, "PUT", "/_control/faults", faults).await;
        assert_eq!((status, &reply["routes"]["scores"][0]["times"]), (200, &json!(2)));
        assert!(platform.faults.trouble_of("u").is_some());
        assert!(matches!(platform.faults.poll(Route::Scores), Some(FaultKind::Status { code: 503, .. })));
        let (_, reply) = send(&platform, "GET", "/_control/faults", "").await;
        assert_eq!((&reply["routes"]["scores"][0]["times"], &reply["refused_users"]), (&json!(1), &json!(["u"])));

        let check = async |body: &str, words: &str| {
            let (status, reply) = send(&platform, "PUT", "/_control/faults", body).await;
            let reason = reply["reason"].as_str().unwrap_or_default();
            assert_eq!(status, 400);
            assert!(reason.contains(words), "{words}: {reason}");
        };
        check(r#"{"route": {}}"#, "route").await;
        check(r#"{"routes": {"score": []}}"#, "score").await;
        check(r#"{"routes": {"scores": [{"kind": "slow"}]}}"#, "slow").await;
        check(r#"{"routes": {"scores": [{"kind": "html", "often": 1}]}}"#, "often").await;
        check(r#"{"routes": {"scores": [{"kind": {"delay": {"seconds": 1}}}]}}"#, "seconds").await;
        check(
            r#"{"routes": {"lti11": [], "token": [{"kind": {"status": {"code": 1}}}]}, "refused_users": []}"#,
            "code",
        )
        .await;
        assert!(platform.faults.trouble_of("u").is_some(), "nothing of a bad change is done");
    }

    #[tokio::test]
    async fn the_counts_can_be_read_and_what_is_no_call_names_those_there_are() {
        let platform = platform();
        let (_, requests) = send(&platform, "GET", "/_control/requests", "").await;
        assert_eq!(requests["routes"]["scores"], json!({"accepted": 0, "refused": 0, "faulted": 0}));
        let check = async |method: &str, path: &str, status: u16, words: &str| {
            let reply = send(&platform, method, path, "").await;
            let reason = reply.1["reason"].as_str().unwrap_or_default();
            assert!(reply.0 == status && reason.contains(words), "{path}: {} {reason}", reply.0);
        };
        check("POST", "/_control/requests", 405, "there are GET /_control/requests").await;
        check("PATCH", "/_control/columns/c1/a", 405, "DELETE /_control/columns/{context}/{id}").await;
        check("GET", "/_control/columns/c1/a/b", 405, "GET /_control/columns").await;
        check("GET", "/_control/grades", 404, "PUT /_control/gradebook").await;
        check("GET", "/_control", 404, "PUT /_control/faults").await;
    }
}
