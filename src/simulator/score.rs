//! The AGS score service (AGS 2.0, 3.4): judges a score document and writes or clears a grade.
//!
//! What a document must hold, which timestamps are taken and what a score does beside the grade is a matter of the
//! platform's manners. Extensions are keyed by addresses and let through; Canvas's is read.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ags::{authorize, expect_media, find};
use super::faults;
use super::gradebook::{Accepted, Cell, Effect, Grade, Manner, NotNewer};
use super::manners::{Denied, Document, Future, Order, ScoreManners, Submissions, Taken, Unfinished, UserIds, Zero};
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

/// Canvas's extension, by which a sender says what a score does beside the grade.
const CANVAS_EXTENSION: &str = "https://canvas.instructure.com/lti/submission";

/// Judges one posted score.
pub(super) fn post(
    platform: &Platform,
    request: &Call,
    context: &str,
    id: &str,
    now_ms: i64,
) -> Result<Answer, Answer> {
    let manners = &platform.manners.scores;
    request.expect_method(&Method::POST)?;
    authorize(platform, request, &[SCOPE_SCORE], now_ms)?;
    expect_media(platform, request, SCORE)?;
    let item = find(platform, request, context, id)?;
    let body = request.json_object().map_err(Answer::bad_request)?;
    let score = Score::read(&body, now_ms, manners)?;
    if manners.user_ids.is == UserIds::Numbers && !score.user.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Answer::error(StatusCode::BAD_GATEWAY, "the user id is no number".to_owned()));
    }
    let taken = taken(platform, request, context, id, &score.user);
    let cell = Cell::ags(context, id, &score.user);
    match platform.trouble_of(&cell).map(|trouble| manners.refused.is.of(trouble)) {
        Some(Denied::Taken) => return Ok(taken),
        Some(Denied::With(status, words)) => return Err(Answer::error(faults::status(status), words.to_owned())),
        None => {}
    }
    let manner = Manner { order: manners.order.is, effect: score.effect, submissions: score.submissions };
    let on_the_columns_scale = |grade: Grade| match grade.maximum {
        0.0 => Grade { maximum: item.score_maximum, ..grade },
        _ => grade,
    };
    let accepted = Accepted {
        at_ms: now_ms,
        grade: score.grade.map(on_the_columns_scale),
        timestamp_ms: Some(score.timestamp_ms),
        comment: score.comment,
    };
    let written = platform.gradebook.write_in(manner, cell, accepted);
    written.map_err(|not_newer| refuse_time(manners.order.is, &not_newer))?;
    Ok(taken)
}

fn taken(platform: &Platform, request: &Call, context: &str, id: &str, user: &str) -> Answer {
    match platform.manners.scores.taken.is {
        Taken::Empty => Answer::empty(StatusCode::OK),
        Taken::ResultUrl => {
            let url = format!("{}/results/{user}", platform.lineitem_url(context, id));
            Answer::json(StatusCode::OK, &json!({"resultUrl": url}))
        }
        Taken::Echo => Answer::text(StatusCode::CREATED, SCORE, request.body.clone()),
    }
}

/// A score that is not newer, in the platform's words.
fn refuse_time(order: Order, not_newer: &NotNewer) -> Answer {
    let moment = |ms: i64| {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
        moment.ok().and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default()
    };
    let (sent, stored) = (moment(not_newer.sent_ms), moment(not_newer.stored_ms));
    match order {
        Order::NotOlder => {
            Answer::bad_request(format!("Provided timestamp of {sent} before last updated timestamp of {stored}"))
        }
        Order::NewerOr400 if not_newer.sent_ms == not_newer.stored_ms => {
            Answer::bad_request("Score already exists for the provided timestamp.".to_owned())
        }
        Order::NewerOr400 => Answer::bad_request("Score can only be updated to a later point in time.".to_owned()),
        Order::NewerMillisecond | Order::NewerSecond | Order::Unchecked => {
            Answer::error(StatusCode::CONFLICT, not_newer.to_string())
        }
    }
}

struct Score {
    user: String,
    timestamp_ms: i64,
    /// `None` clears the cell: not fully graded, or no score.
    grade: Option<Grade>,
    effect: Effect,
    submissions: u64,
    comment: Option<String>,
}

/// A member that makes the platform refuse a score, with its status.
struct Bad {
    status: u16,
    reason: Reason,
}

impl From<Reason> for Bad {
    fn from(reason: Reason) -> Self {
        Self { status: 400, reason }
    }
}

impl From<Bad> for Answer {
    fn from(bad: Bad) -> Self {
        Self::error(faults::status(bad.status), bad.reason)
    }
}

impl Score {
    fn read(body: &Map<String, Value>, now_ms: i64, manners: &ScoreManners) -> Result<Self, Bad> {
        let document = manners.document.is;
        let unknown = body.keys().find(|name| !MEMBERS.contains(&name.as_str()) && !name.starts_with("https://"));
        if let Some(name) = unknown.filter(|_| document == Document::Strict) {
            return Err(format!("{name} is no member of a score; extensions are keyed by an address").into());
        }
        let timestamp_ms = match timestamp_ms(body, "timestamp") {
            Err(_) if document == Document::UserOnly => now_ms,
            moment => moment?,
        };
        if manners.future.is == Future::Refused && timestamp_ms > now_ms + FUTURE_MAX_MS {
            return Err(format!("timestamp is {} ms in the future", timestamp_ms - now_ms).into());
        }
        progress(document, body, "activityProgress", &ACTIVITY_PROGRESS)?;
        let grading = progress(document, body, "gradingProgress", &GRADING_PROGRESS)?;
        check_submission(body)?;
        let grade = read_grade(body, manners)?.filter(|_| grading == "FullyGraded");
        let extension = Extension::read(body);
        Ok(Self {
            user: required_text(body, "userId")?.to_owned(),
            timestamp_ms,
            grade,
            effect: effect(grade, &extension, manners),
            submissions: u64::from(manners.submissions.is == Submissions::EachScore && extension.makes_submission),
            comment: optional_text(body, "comment")?,
        })
    }
}

/// What a score does to the grade that is there.
fn effect(grade: Option<Grade>, extension: &Extension, manners: &ScoreManners) -> Effect {
    let leaves = match (grade, manners.unfinished.is) {
        (Some(grade), _) => grade.score == 0.0 && manners.zero.is == Zero::Unpublished,
        (None, Unfinished::Wipes) => false,
        (None, Unfinished::WipesUnlessPreserved) => extension.preserves_score,
        (None, Unfinished::LeavesGrade) => true,
    };
    if leaves { Effect::LeavesGrade } else { Effect::Replaces }
}

/// What Canvas's extension asks for.
struct Extension {
    makes_submission: bool,
    preserves_score: bool,
}

impl Extension {
    fn read(body: &Map<String, Value>) -> Self {
        let member = |name: &str| body.get(CANVAS_EXTENSION).and_then(|extension| extension.get(name));
        let is = |name: &str, wanted: bool| {
            let word = if wanted { "true" } else { "false" };
            member(name).is_some_and(|value| value.as_bool() == Some(wanted) || value.as_str() == Some(word))
        };
        let is_none = member("submission_type").and_then(Value::as_str) == Some("none");
        Self { makes_submission: !is("new_submission", false) && !is_none, preserves_score: is("preserve_score", true) }
    }
}

/// The word of a progress. A lenient platform takes any, and one that asks for the user alone does without.
fn progress<'a>(
    document: Document,
    body: &'a Map<String, Value>,
    name: &str,
    words: &[&str],
) -> Result<&'a str, Reason> {
    match (required_text(body, name), document) {
        (Err(_), Document::UserOnly) => Ok("FullyGraded"),
        (Err(reason), _) => Err(reason),
        (Ok(word), Document::Strict) if !words.contains(&word) => Err(format!("{name} cannot be {word}")),
        (Ok(word), _) => Ok(word),
    }
}

fn read_grade(body: &Map<String, Value>, manners: &ScoreManners) -> Result<Option<Grade>, Bad> {
    let given = number(body, "scoreGiven")?;
    let maximum = number(body, "scoreMaximum")?;
    let bad = |status, words: &str| Err(Bad { status, reason: words.to_owned() });
    if maximum.is_some_and(|maximum| maximum < 0.0 || (maximum == 0.0 && manners.no_maximum.is != 0)) {
        return bad(manners.no_maximum.is.max(400), "scoreMaximum must be above 0");
    }
    let Some(score) = given else { return Ok(None) };
    if score < 0.0 && manners.negative.is != 0 {
        return bad(manners.negative.is, "scoreGiven must not be negative");
    }
    let maximum = maximum.ok_or_else(|| "scoreMaximum is missing beside scoreGiven".to_owned())?;
    Ok(Some(Grade { score: score.max(0.0), maximum }))
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
    use super::super::manners::Manners;
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
            let score =
                Score::read(&document(changes), NOW_MS, &Manners::of(None).scores).ok().expect("a good document");
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
            let bad = Score::read(&document(changes), NOW_MS, &Manners::of(None).scores);
            let reason = bad.err().expect("a bad document").reason;
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
