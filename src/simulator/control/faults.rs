//! Faults and refused users, read and switched. An answer says what is set now, and of a change what it changed; an
//! error says how it is written.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::faults::{Fault, Trouble};
use super::super::ledger::Route;
use super::super::message::{Answer, Call, Reason};
use super::super::platform::Platform;

/// How a fault of each kind is written.
pub(super) const WRITTEN: [(&str, &str); 11] = [
    ("status", r#"{"kind": {"status": {"code": 503, "body": "later", "retry_after": "7"}}}"#),
    ("html", r#"{"kind": "html"}"#),
    ("failure", r#"{"kind": {"failure": {"description": "Grade is past due"}}}"#),
    ("accept_then_cut", r#"{"kind": "accept_then_cut"}"#),
    ("accept_then_status", r#"{"kind": {"accept_then_status": {"code": 504}}}"#),
    ("cut_before", r#"{"kind": "cut_before"}"#),
    ("delay", r#"{"kind": {"delay": {"ms": 2000}}}"#),
    ("rate_limit", r#"{"kind": "rate_limit", "every": 3}"#),
    ("maintenance", r#"{"kind": "maintenance", "times": 2}"#),
    ("revoke_tokens", r#"{"kind": "revoke_tokens"}"#),
    ("empty_list", r#"{"kind": "empty_list"}"#),
];

/// What is set.
pub(super) fn list(platform: &Platform) -> Answer {
    Answer::json(StatusCode::OK, &current(platform))
}

/// A route that is named gets these faults in the place of its own, an empty list for none; so do the refused users.
/// What is not named stays. All or nothing: a fault that makes no sense leaves everything as it was.
pub(super) fn put(platform: &Platform, request: &Call) -> Result<Answer, Answer> {
    let changes = request.json_object().and_then(Changes::read).map_err(Answer::bad_request)?;
    let before = current(platform);
    for (route, faults) in changes.routes {
        platform.faults.set(route, faults).map_err(|error| Answer::bad_request(error.to_string()))?;
    }
    if let Some(users) = changes.refused_users {
        platform.faults.change_refused(|now| *now = users);
    }
    let mut now = current(platform);
    let mut changed: Vec<Value> = Vec::new();
    for (route, faults) in now["routes"].as_object().into_iter().flatten() {
        if *faults != before["routes"][route] {
            changed.push(Value::from(route.as_str()));
        }
    }
    if now["refused_users"] != before["refused_users"] {
        changed.push(Value::from("refused_users"));
    }
    if changed.is_empty() {
        now["note"] = Value::from(
            "nothing is different from before; the body names each route that is to change, as in \
             {\"routes\": {\"scores\": [{\"kind\": \"html\"}]}}, or refused_users",
        );
    }
    now["changed"] = Value::Array(changed);
    Ok(Answer::json(StatusCode::OK, &now))
}

fn current(platform: &Platform) -> Value {
    json!({"routes": platform.faults.current(), "refused_users": platform.faults.refused()})
}

#[derive(Default)]
struct Changes {
    routes: BTreeMap<Route, Vec<Fault>>,
    refused_users: Option<BTreeMap<String, Trouble>>,
}

impl Changes {
    fn read(body: Map<String, Value>) -> Result<Self, Reason> {
        let mut changes = Self::default();
        for (name, value) in body {
            match (name.as_str(), value) {
                ("routes", Value::Object(routes)) => changes.routes = read_routes(routes)?,
                ("routes", _) => return Err("routes is no object, such as {\"scores\": []}".to_owned()),
                ("refused_users", users) => changes.refused_users = Some(read_users(users)?),
                (other, _) => return Err(format!("{other} is not understood, only routes and refused_users")),
            }
        }
        Ok(changes)
    }
}

fn read_routes(routes: Map<String, Value>) -> Result<BTreeMap<Route, Vec<Fault>>, Reason> {
    let mut read = BTreeMap::new();
    for (name, list) in routes {
        let route: Route =
            serde_json::from_value(Value::from(name.as_str())).map_err(|error| format!("routes: {error}"))?;
        let Value::Array(list) = list else {
            return Err(format!("{name} is no list; {}", how(&list)));
        };
        let faults = list.into_iter().map(|sent| read_fault(route, sent));
        read.insert(route, faults.collect::<Result<_, _>>().map_err(|reason: Reason| format!("{name}: {reason}"))?);
    }
    Ok(read)
}

fn read_fault(route: Route, sent: Value) -> Result<Fault, Reason> {
    let how = how(&sent);
    let fault: Fault = serde_json::from_value(sent).map_err(|error| format!("{error}; {how}"))?;
    fault.check(route).map_err(|error| error.to_string())?;
    Ok(fault)
}

/// How a fault of the kind that was meant is written; if none can be told, which kinds there are.
fn how(sent: &Value) -> String {
    let kind = sent.get("kind").unwrap_or(sent);
    let meant = kind.as_str().or_else(|| kind.as_object()?.keys().next().map(String::as_str));
    match WRITTEN.iter().find(|(name, _)| Some(*name) == meant) {
        Some((name, written)) => format!("{name} is written [{written}]"),
        None => {
            let names: Vec<_> = WRITTEN.iter().map(|(name, _)| *name).collect();
            let [_, (_, bare), (_, full), ..] = WRITTEN;
            format!("a fault is written [{bare}] or [{full}]; the kinds are {}", names.join(", "))
        }
    }
}

/// A list of names, who then are not enrolled; or names with why each is refused.
fn read_users(users: Value) -> Result<BTreeMap<String, Trouble>, Reason> {
    const WRITTEN: &str = "refused_users is written [\"user-1\"] or {\"user-1\": \"locked\"}, with not_enrolled, \
        unknown, locked or course_over";
    let read = if users.is_array() {
        let names: Result<Vec<String>, _> = serde_json::from_value(users);
        names.map(|names| names.into_iter().map(|name| (name, Trouble::NotEnrolled)).collect())
    } else {
        serde_json::from_value(users)
    };
    read.map_err(|error| format!("{error}; {WRITTEN}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::faults::FaultKind;
    use super::super::super::testing::{platform, send};
    use super::*;

    const PATH: &str = "/_control/faults";

    #[tokio::test]
    async fn faults_are_switched_by_name_or_not_at_all() {
        let platform = platform();
        let faults = r#"{"routes": {"scores": [{"kind": {"status": {"code": 503, "retry_after": "7"}}, "times": 2},
            {"kind": "cut_before", "every": 3}]}, "refused_users": ["u"]}"#;
        let (status, reply) = send(&platform, "PUT", PATH, faults).await;
        assert_eq!((status, &reply["routes"]["scores"][0]["times"]), (200, &json!(2)));
        assert_eq!((&reply["changed"], &reply["note"]), (&json!(["scores", "refused_users"]), &Value::Null));
        assert!(platform.faults.trouble_of("u").is_some());
        assert!(matches!(platform.faults.poll(Route::Scores), Some(FaultKind::Status { code: 503, .. })));
        let (_, reply) = send(&platform, "GET", PATH, "").await;
        assert_eq!(reply["routes"]["scores"][0]["times"], 1);
        assert_eq!(reply["refused_users"], json!({"u": "not_enrolled"}));
        let taken_as_told = send(&platform, "PUT", PATH, &reply.to_string()).await.1;
        assert_eq!(taken_as_told["changed"], json!([]), "what is told can be sent");
        let (_, reply) = send(&platform, "PUT", PATH, r#"{"refused_users": {"v": "locked"}}"#).await;
        assert_eq!(reply["changed"], json!(["refused_users"]));
        assert_eq!((platform.faults.trouble_of("v"), platform.faults.trouble_of("u")), (Some(Trouble::Locked), None));
    }

    #[tokio::test]
    async fn a_change_that_changes_nothing_says_so() {
        let platform = platform();
        for nothing in ["{}", r#"{"routes": {}}"#, r#"{"routes": {"scores": []}}"#, r#"{"refused_users": []}"#] {
            let (status, reply) = send(&platform, "PUT", PATH, nothing).await;
            assert_eq!((status, &reply["changed"], &reply["routes"]["scores"]), (200, &json!([]), &json!([])));
            assert!(reply["note"].as_str().is_some_and(|note| note.contains("nothing is different")), "{reply}");
        }
    }

    #[tokio::test]
    async fn a_bad_change_is_told_how_it_is_written_and_changes_nothing() {
        let platform = platform();
        platform.faults.change_refused(|refused| *refused = [("u".to_owned(), Trouble::Unknown)].into());
        let check = async |body: &str, words: &[&str]| {
            let (status, reply) = send(&platform, "PUT", PATH, body).await;
            let reason = reply["reason"].as_str().unwrap_or_default();
            assert!(status == 400 && words.iter().all(|words| reason.contains(words)), "{words:?}: {reason}");
        };
        check(r#"{"route": {}}"#, &["route is", "only routes and refused_users"]).await;
        check(r#"{"routes": []}"#, &["routes is no object"]).await;
        check(r#"{"routes": {"score": []}}"#, &["score", "`scores`"]).await;
        check(r#"{"routes": {"scores": {"kind": "html"}}}"#, &["no list", r#"[{"kind": "html"}]"#]).await;
        check(r#"{"routes": {"scores": [{"kind": "slow"}]}}"#, &["scores: ", "slow", "the kinds are status, html"])
            .await;
        check(r#"{"routes": {"scores": ["html"]}}"#, &[r#"html is written [{"kind": "html"}]"#]).await;
        check(r#"{"routes": {"scores": [{"kind": "html", "often": 1}]}}"#, &["often"]).await;
        check(r#"{"routes": {"scores": [{"kind": {"delay": {"seconds": 1}}}]}}"#, &["seconds", r#"{"ms": 2000}"#])
            .await;
        let written = r#"failure is written [{"kind": {"failure": {"description": "#;
        check(r#"{"routes": {"lti11": [{"kind": "failure"}]}}"#, &[written]).await;
        check(r#"{"routes": {"lti11": [{"kind": {"failure": "no"}}]}}"#, &[written]).await;
        check(r#"{"refused_users": "u"}"#, &[r#"written ["user-1"]"#]).await;
        check(r#"{"refused_users": {"u": "ill"}}"#, &["ill", "course_over"]).await;
        let bad = r#"{"routes": {"lti11": [], "token": [{"kind": {"status": {"code": 1}}}]}, "refused_users": []}"#;
        check(bad, &["token: `code` is 1"]).await;
        assert!(platform.faults.trouble_of("u").is_some(), "nothing of a bad change is done");
    }

    #[test]
    fn it_is_told_how_every_kind_is_written() {
        let unknown = serde_json::from_value::<FaultKind>(json!("x")).expect_err("no kind").to_string();
        let (_, kinds) = unknown.split_once("expected one of ").expect("the kinds");
        let mut kinds: Vec<_> = kinds.split(", ").map(|kind| kind.trim_matches('`')).collect();
        kinds.sort_unstable();
        let mut told: Vec<_> = WRITTEN.iter().map(|(name, _)| *name).collect();
        told.sort_unstable();
        assert_eq!(told, kinds);
        for (name, written) in WRITTEN {
            let fault: Fault = serde_json::from_str(written).expect(written);
            fault.check(Route::Lti11).expect(written);
            assert!(written.contains(name) && how(&json!({"kind": name})).contains(written));
        }
    }
}
