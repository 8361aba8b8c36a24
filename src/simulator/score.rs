//! The AGS score service (AGS 2.0, 3.4): judges a score document and writes or clears a grade.
//!
//! A document is refused for any member that is missing, of the wrong type or not known; extensions are keyed by
//! addresses and let through. A timestamp must be newer than the stored one by a millisecond, and not in the future.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ags::{authorize, find};
use super::gradebook::{Accepted, Cell, Grade};
use super::message::{Answer, Call, Reason};
use super::options::SCOPE_SCORE;
use super::platform::Platform;

const SCORE: &str = "application/vnd.ims.lis.v1.score+json";
/// How far ahead a timestamp may be before it counts as the future.
const FUTURE_MAX_MS: i64 = 5_000;

const ACTIVITY_PROGRESS: [&str; 5] = ["Initialized", "Started", "InProgress", "Submitted", "Completed"];
const GRADING_PROGRESS: [&str; 5] = ["FullyGraded", "Pending", "PendingManual", "Failed", "NotReady"];
const MEMBERS: [&str; 9] = [
    "userId",
    "timestamp",
    "activityProgress",
    "gradingProgress",
    "scoreGiven",
    "scoreMaximum",
    "comment",
    "submission",
    "scoringUserId",
];

/// Judges one posted score. Success is 200 with an empty body, as on Moodle.
pub(super) fn post(
    platform: &Platform,
    request: &Call,
    context: &str,
    id: &str,
    now_ms: i64,
) -> Result<Answer, Answer> {
    request.expect_method(&Method::POST)?;
    authorize(platform, request, &[SCOPE_SCORE], now_ms)?;
    request.expect_json_type(SCORE)?;
    find(platform, request, context, id)?;
    let score = request.json_object().and_then(|body| Score::read(&body, now_ms)).map_err(Answer::bad_request)?;
    if platform.faults.refuses(&score.user) {
        let reason = "User not found in course or is not a student".to_owned();
        return Err(Answer::error(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let cell = Cell::ags(context, id, &score.user);
    let accepted =
        Accepted { at_ms: now_ms, grade: score.grade, timestamp_ms: Some(score.timestamp_ms), comment: score.comment };
    let written = platform.gradebook.write(cell, accepted);
    written.map_err(|not_newer| Answer::error(StatusCode::CONFLICT, not_newer.to_string()))?;
    Ok(Answer::empty(StatusCode::OK))
}

struct Score {
    user: String,
    timestamp_ms: i64,
    /// `None` clears the cell: not fully graded, or no score.
    grade: Option<Grade>,
    comment: Option<String>,
}

impl Score {
    fn read(body: &Map<String, Value>, now_ms: i64) -> Result<Self, Reason> {
        let unknown = body.keys().find(|name| !MEMBERS.contains(&name.as_str()) && !name.starts_with("https://"));
        if let Some(name) = unknown {
            return Err(format!("{name} is no member of a score; extensions are keyed by an address"));
        }
        let timestamp_ms = timestamp_ms(body, "timestamp")?;
        if timestamp_ms > now_ms + FUTURE_MAX_MS {
            return Err(format!("timestamp is {} ms in the future", timestamp_ms - now_ms));
        }
        let activity = required_text(body, "activityProgress")?;
        if !ACTIVITY_PROGRESS.contains(&activity) {
            return Err(format!("activityProgress cannot be {activity}"));
        }
        let grading = required_text(body, "gradingProgress")?;
        if !GRADING_PROGRESS.contains(&grading) {
            return Err(format!("gradingProgress cannot be {grading}"));
        }
        check_submission(body)?;
        let grade = read_grade(body)?.filter(|_| grading == "FullyGraded");
        Ok(Self {
            user: required_text(body, "userId")?.to_owned(),
            timestamp_ms,
            grade,
            comment: optional_text(body, "comment")?,
        })
    }
}

fn read_grade(body: &Map<String, Value>) -> Result<Option<Grade>, Reason> {
    let given = number(body, "scoreGiven")?;
    let maximum = number(body, "scoreMaximum")?;
    if maximum.is_some_and(|maximum| maximum <= 0.0) {
        return Err("scoreMaximum must be above 0".to_owned());
    }
    let Some(score) = given else { return Ok(None) };
    if score < 0.0 {
        return Err("scoreGiven must not be negative".to_owned());
    }
    let maximum = maximum.ok_or("scoreMaximum is missing beside scoreGiven")?;
    Ok(Some(Grade { score, maximum }))
}

fn check_submission(body: &Map<String, Value>) -> Result<(), Reason> {
    optional_text(body, "scoringUserId")?;
    let submission = match body.get("submission") {
        None => return Ok(()),
        Some(Value::Object(submission)) => submission,
        Some(_) => return Err("submission is not an object".to_owned()),
    };
    submission.keys().try_for_each(|name| match name.as_str() {
        "startedAt" | "submittedAt" => timestamp_ms(submission, name).map(drop),
        _ => Err(format!("{name} is no member of submission")),
    })
}

/// A JSON number; `null` is as good as nothing.
fn number(body: &Map<String, Value>, name: &str) -> Result<Option<f64>, Reason> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(format!("{name} is not a JSON number")),
    }
}

fn required_text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Reason> {
    let text = body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("{name} is missing, empty, or not a string"))
}

fn optional_text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Reason> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is not a string")),
    }
}

/// ISO 8601 with a zone, in the profile of RFC 3339; cut to the millisecond.
fn timestamp_ms(body: &Map<String, Value>, name: &str) -> Result<i64, Reason> {
    let text = required_text(body, name)?;
    let moment = OffsetDateTime::parse(text, &Rfc3339);
    let moment = moment.map_err(|_| format!("{name} is not an ISO 8601 date and time with a zone"))?;
    Ok(moment.unix_timestamp() * 1000 + i64::from(moment.millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_795_000_000_000;

    fn document(changes: Value) -> Map<String, Value> {
        let mut document = json!({
            "userId": "u1", "timestamp": "2026-11-18T11:06:40.000Z", "activityProgress": "Completed",
            "gradingProgress": "FullyGraded", "scoreGiven": 8.5, "scoreMaximum": 10,
        });
        let Value::Object(changes) = changes else { panic!("changes are an object") };
        let members = document.as_object_mut().expect("a document is an object");
        for (name, value) in changes {
            if value == json!("absent") {
                members.remove(&name)
            } else {
                members.insert(name, value)
            };
        }
        members.clone()
    }

    #[test]
    fn good_documents_write_or_clear() {
        let check = |changes: Value, expected: Option<(f64, f64)>| {
            let score = Score::read(&document(changes), NOW_MS).expect("a good document");
            assert_eq!(score.grade.map(|grade| (grade.score, grade.maximum)), expected);
        };
        check(json!({}), Some((8.5, 10.0)));
        check(json!({"scoreGiven": 0}), Some((0.0, 10.0)));
        check(json!({"scoreGiven": 12}), Some((12.0, 10.0)));
        check(json!({"timestamp": "2026-11-18T12:06:40+01:00"}), Some((8.5, 10.0)));
        check(json!({"comment": "well done", "scoringUserId": "t", "https://x.example/y": {}}), Some((8.5, 10.0)));
        check(json!({"submission": {"startedAt": "2026-11-18T11:00:00Z"}}), Some((8.5, 10.0)));
        check(json!({"scoreGiven": "absent", "scoreMaximum": "absent"}), None);
        check(json!({"scoreGiven": null}), None);
        check(json!({"gradingProgress": "Pending"}), None);
    }

    #[test]
    fn bad_documents_are_refused_by_name() {
        let check = |changes: Value, words: &str| {
            let reason = Score::read(&document(changes), NOW_MS).err().expect("a bad document");
            assert!(reason.contains(words), "{reason}");
        };
        for name in ["userId", "timestamp", "activityProgress", "gradingProgress", "scoreMaximum"] {
            check(json!({name: "absent"}), name);
        }
        check(json!({"userId": 7}), "userId");
        check(json!({"timestamp": "2026-11-18T11:06:40"}), "timestamp");
        check(json!({"timestamp": 1_795_000_000}), "timestamp");
        check(json!({"timestamp": "2026-11-19T11:06:40Z"}), "future");
        check(json!({"scoreGiven": "8"}), "scoreGiven");
        check(json!({"scoreGiven": -1}), "scoreGiven");
        check(json!({"scoreMaximum": 0}), "scoreMaximum");
        check(json!({"activityProgress": "Done"}), "activityProgress");
        check(json!({"gradingProgress": "Graded"}), "gradingProgress");
        check(json!({"submission": {"endedAt": "2026-11-18T11:00:00Z"}}), "endedAt");
        check(json!({"comment": 5}), "comment");
        check(json!({"user_id": "u"}), "user_id");
    }
}
