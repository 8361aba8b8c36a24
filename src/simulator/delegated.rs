//! The delegated passback endpoint: the address that a `grade_passback_url` names, Learnosity's way.
//!
//! HTTP Basic with consumer key and secret, a JSON body that carries all that the launch gave, except for what only
//! the sender needed. 204 is success.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::faults::Trouble;
use super::gradebook::{Accepted, Cell, Grade};
use super::locked;
use super::message::{Answer, Call, Reason};
use super::platform::Platform;

/// Bodies kept, about half a kilobyte each; of more than these the oldest are forgotten.
const BODIES_MAX: usize = 100_000;

/// The bodies that were accepted, oldest first, as text: a test may ask whether `1.50` came as `1.50`.
#[derive(Default)]
pub(super) struct Bodies {
    kept: Mutex<VecDeque<String>>,
}

impl Bodies {
    fn keep(&self, body: &[u8]) {
        let mut kept = locked(&self.kept);
        if kept.len() == BODIES_MAX {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(body).into_owned());
    }

    pub(super) fn all(&self) -> Vec<String> {
        locked(&self.kept).iter().cloned().collect()
    }
}

/// Judges one POST.
pub(super) fn post(platform: &Platform, request: &Call, now_ms: i64) -> Result<Answer, Answer> {
    request.expect_method(&Method::POST)?;
    let key = authenticate(platform, request).map_err(|reason| {
        Answer::error(StatusCode::UNAUTHORIZED, reason).with_header(WWW_AUTHENTICATE, "Basic realm=\"passback\"")
    })?;
    request.expect_json_type("application/json")?;
    let body = request.json_object().map_err(Answer::bad_request)?;
    let grade = read_body(&body, &key).map_err(Answer::bad_request)?;
    let cell = cell_of(&body);
    if let Some(trouble) = platform.trouble_of(&cell) {
        let words = if trouble == Trouble::Locked { "The grade is locked" } else { "User not found" };
        return Err(Answer::error(StatusCode::UNPROCESSABLE_ENTITY, words.to_owned()));
    }
    let accepted = Accepted { at_ms: now_ms, grade, timestamp_ms: None, comment: None };
    let written = platform.gradebook.write(cell, accepted);
    written.map_err(|not_newer| Answer::error(StatusCode::CONFLICT, not_newer.to_string()))?;
    platform.delegated.keep(&request.body);
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// The consumer key, if its secret is right.
fn authenticate(platform: &Platform, request: &Call) -> Result<String, Reason> {
    let header = request.header(&AUTHORIZATION)?;
    let encoded = header.strip_prefix("Basic ").ok_or("the Authorization header does not begin with `Basic `")?;
    let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or("the credentials are not base64 of UTF-8 text")?;
    let (key, secret) = decoded.split_once(':').ok_or("the credentials have no colon")?;
    let expected = platform.consumers.get(key).ok_or("the consumer key is not known here")?;
    if bool::from(expected.expose_secret().as_bytes().ct_eq(secret.as_bytes())) {
        Ok(key.to_owned())
    } else {
        Err("the secret is not that of the consumer key".to_owned())
    }
}

/// The grade in the body; `None` where both numbers are null, to delete.
fn read_body(body: &Map<String, Value>, key: &str) -> Result<Option<Grade>, Reason> {
    if body.get("oauth_consumer_key").and_then(Value::as_str) != Some(key) {
        return Err("oauth_consumer_key is not the user of the credentials".to_owned());
    }
    if let Some(name) = ["lti_version", "grade_passback_url"].iter().find(|name| body.contains_key(**name)) {
        return Err(format!("{name} is for the sender alone and must not be forwarded"));
    }
    let data = body.get("data").and_then(Value::as_object).ok_or("data is missing, or not an object")?;
    if let Some(name) = data.keys().find(|name| !["score", "max_score"].contains(&name.as_str())) {
        return Err(format!("{name} is no member of data"));
    }
    match (data.get("score"), data.get("max_score")) {
        (Some(Value::Null), Some(Value::Null)) => Ok(None),
        (Some(Value::Number(score)), Some(Value::Number(maximum))) => {
            let (score, maximum) = (score.as_f64().unwrap_or_default(), maximum.as_f64().unwrap_or_default());
            if score < 0.0 || maximum <= 0.0 {
                return Err("data.score must not be negative, and data.max_score must be above 0".to_owned());
            }
            Ok(Some(Grade { score, maximum }))
        }
        _ => Err("data.score and data.max_score must be two JSON numbers, or two nulls".to_owned()),
    }
}

fn cell_of(body: &Map<String, Value>) -> Cell {
    let first_of = |names: &[&str]| {
        let found = names.iter().find_map(|name| body.get(*name).and_then(Value::as_str));
        found.unwrap_or_default()
    };
    Cell::delegated(first_of(&["lineitem", "resource_link_id", "activity_id"]), first_of(&["user_id", "session_id"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{NOW_MS, answer, call, platform, reason};
    use super::*;

    #[tokio::test]
    async fn good_bodies_are_kept_and_bad_ones_refused() {
        let platform = platform();
        let good = json!({"oauth_consumer_key": "key", "user_id": "u", "lineitem": "l", "extra": {"a": 1.50},
            "data": {"score": 8, "max_score": 10}});
        let check = async |credentials: &str, changes: Value, status: u16, words: &str| {
            let mut body = good.clone();
            for (name, value) in changes.as_object().expect("an object") {
                body[name] = value.clone();
            }
            let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials));
            let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
            let request = call("POST", "/delegated/passback", &headers, &body.to_string());
            let answer = answer(&platform, &request, NOW_MS).await;
            assert_eq!(answer.status.as_u16(), status, "{}", reason(&answer));
            assert!(reason(&answer).contains(words), "{words}: {}", reason(&answer));
        };
        check("key:wrong", json!({}), 401, "secret").await;
        check("other:secret", json!({}), 401, "not known").await;
        check("key:secret", json!({"oauth_consumer_key": "k"}), 400, "oauth_consumer_key").await;
        check("key:secret", json!({"lti_version": "1.3"}), 400, "lti_version").await;
        check("key:secret", json!({"grade_passback_url": "x"}), 400, "grade_passback_url").await;
        check("key:secret", json!({"data": {"score": "8", "max_score": 10}}), 400, "JSON numbers").await;
        check("key:secret", json!({"data": {"score": 8, "max_score": 0}}), 400, "max_score").await;
        check("key:secret", json!({"data": {"score": null, "max_score": 10}}), 400, "two nulls").await;
        assert!(platform.delegated.all().is_empty());
        check("key:secret", json!({}), 204, "").await;
        assert_eq!(platform.delegated.all(), [good.to_string()]);
        let cell = Cell::delegated("l", "u");
        let grade = |score| Some(Grade { score, maximum: 10.0 });
        assert_eq!(platform.gradebook.cell(&cell).and_then(|state| state.grade), grade(8.0));
        check("key:secret", json!({"data": {"score": null, "max_score": null}}), 204, "").await;
        assert_eq!(platform.gradebook.cell(&cell).and_then(|state| state.grade), None);
    }
}
