//! Assignment and Grade Services 2.0, the score service: where a score goes, the document, its media type, and the
//! scopes that it takes.

use super::{
    access_token::AccessToken,
    exchange::{Earlier, Standing},
    json::Object,
    wire::{Method, Request},
};
use crate::domain::{
    destination::{AgsTarget, Column, ServiceUrl},
    event::{ActivityProgress, GradeEvent, GradingProgress, Operation},
    family::Family,
    time::Timestamp,
};

/// The scope that looks for columns and makes them.
pub(super) const SCOPE_LINEITEM: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem";

/// The scope that looks for columns and makes none.
pub(super) const SCOPE_LINEITEM_READONLY: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly";

/// The scope that reads results.
pub(super) const SCOPE_RESULT: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly";

/// The scope that writes scores.
pub(super) const SCOPE_SCORE: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/score";

const SCORE_TYPE: &str = "application/vnd.ims.lis.v1.score+json";

/// The member that tells Canvas what a score means for its submissions.
const CANVAS_SUBMISSION: &str = "https://canvas.instructure.com/lti/submission";

/// The scopes to ask for, within those that the launch granted: Canvas and Sakai refuse the whole request for one
/// scope too many. Where only reading columns was granted, that is asked for in the place of making them.
/// `work` is the scope of what is done in the column.
pub(super) fn scopes(target: &AgsTarget, work: &'static str) -> Vec<String> {
    let granted = |scope: &&str| target.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|known| known == scope));
    let column = match target.column {
        Column::Known(_) => None,
        Column::Sought { .. } => [SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY].into_iter().find(granted),
    };
    column.into_iter().chain(Some(work).filter(granted)).map(str::to_owned).collect()
}

/// What lies below a column, its `scores` or `results`: behind the path and before the query (AGS 2.0, score service;
/// Moodle's line items have a query, and answer 400 when it is put in behind).
pub(super) fn below(column: &ServiceUrl, what: &str) -> ServiceUrl {
    let mut url = column.as_url().clone();
    let path = format!("{}/{what}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_fragment(None);
    // Scheme and host are the column's own, so this parses; a column that did not would answer for itself.
    ServiceUrl::parse(url.as_str()).unwrap_or_else(|_| column.clone())
}

/// The score document, on one line.
pub(super) fn score_document(user_id: &str, event: &GradeEvent, standing: Standing) -> String {
    let is_delete = event.operation == Operation::Delete;
    let timestamp = standing.ags_timestamp.unwrap_or(standing.occurred_at);
    let (activity, grading) = if is_delete {
        (ActivityProgress::Initialized, GradingProgress::NotReady)
    } else {
        (ActivityProgress::Completed, GradingProgress::FullyGraded)
    };
    let mut document = Object::new().text("userId", user_id);
    if let Some(score) = event.score.as_ref().filter(|_| !is_delete) {
        document = document.raw("scoreGiven", score.given().as_json()).raw("scoreMaximum", score.maximum().as_json());
    }
    document = document
        .maybe("comment", event.comment.as_deref())
        .text("timestamp", &timestamp.to_string())
        .text("activityProgress", event.activity_progress.unwrap_or(activity).word())
        .text("gradingProgress", event.grading_progress.unwrap_or(grading).word());
    if event.started_at.is_some() || event.submitted_at.is_some() {
        let time = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        let submission = Object::new()
            .maybe("startedAt", time(event.started_at).as_deref())
            .maybe("submittedAt", time(event.submitted_at).as_deref());
        document = document.raw("submission", &submission.finish());
    }
    if Family::of(&event.destination).or(standing.shown) == Some(Family::Canvas) {
        document = document.raw(CANVAS_SUBMISSION, &canvas_submission(event, standing));
    }
    document.finish()
}

/// Canvas makes a new submission of every score, with all that hangs on it (attempts used up, late marks, mails to
/// teachers). So it is told to make one for work that was handed in, and none for a repeat: the first try may have made it
/// although nobody heard. Without a time of its own a submission would be as late as our queue.
fn canvas_submission(event: &GradeEvent, standing: Standing) -> String {
    let is_delete = event.operation == Operation::Delete;
    let is_handed_in =
        matches!(event.activity_progress, None | Some(ActivityProgress::Submitted | ActivityProgress::Completed));
    let is_new = is_handed_in && !is_delete && standing.earlier == Earlier::Nothing;
    // Canvas refuses a time more than a minute ahead; the score's own is never in the future.
    let timestamp = standing.ags_timestamp.unwrap_or(standing.occurred_at);
    let submitted_at = event.submitted_at.unwrap_or(standing.occurred_at).min(timestamp).to_string();
    let submission = Object::new()
        .raw("new_submission", if is_new { "true" } else { "false" })
        .maybe("submitted_at", is_new.then_some(submitted_at.as_str()));
    // A change of state without a score would wipe the grade that is there.
    let keeps_score = event.score.is_none() && !is_delete;
    if keeps_score { submission.raw("preserve_score", "true").finish() } else { submission.finish() }
}

/// The POST of a score document to a column.
pub(super) fn score_request(column: &ServiceUrl, document: &str, token: &AccessToken) -> Request {
    Request {
        method: Method::Post,
        url: below(column, "scores"),
        headers: vec![
            ("content-type", SCORE_TYPE.to_owned()),
            ("accept", "*/*".to_owned()),
            ("authorization", token.authorization()),
        ],
        body: document.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::{destination::Destination, event::Door};

    /// `tests/vectors/scores.json`.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vector {
        name: String,
        /// The event as it is sent, in its own digits.
        event: Box<serde_json::value::RawValue>,
        /// An earlier try may have reached the platform.
        #[serde(default)]
        is_repeat: bool,
        document: String,
    }

    fn target(lis_data: &str) -> AgsTarget {
        let json = format!(
            r#"{{"session_id":"s","lis_data":{{"lti_version":"1.3","client_id":"c","user_id":"u",{lis_data}}}}}"#
        );
        match GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json).destination {
            Destination::Ags(target) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_documents_are_golden() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/scores.json")).expect("vectors");
        for vector in vectors {
            let event = GradeEvent::parse(vector.event.get().as_bytes(), Door::Event).expect(&vector.name);
            let Destination::Ags(target) = &event.destination else { panic!("an AGS event") };
            let standing = Standing {
                earlier: if vector.is_repeat { Earlier::Perhaps } else { Earlier::Nothing },
                ..Standing::first(Timestamp::parse("2026-11-21T10:30:00.5Z").expect("a time"))
            };
            assert_eq!(score_document(&target.user_id, &event, standing), vector.document, "{}", vector.name);
        }
    }

    #[test]
    fn scores_stands_before_the_query() {
        let check = |column: &str, want: &str| {
            let url = below(&ServiceUrl::parse(column).expect("a URL"), "scores");
            assert_eq!(url.as_url().as_str(), want);
        };
        check("https://l/3/lineitem?type_id=1&a=%2B", "https://l/3/lineitem/scores?type_id=1&a=%2B");
        check("https://l/items/5", "https://l/items/5/scores");
        check("https://l/items/5/", "https://l/items/5/scores");
        check("https://l/a%2Fb#x", "https://l/a%2Fb/scores");
        check("https://l", "https://l/scores");
    }

    #[test]
    fn scopes_are_asked_for_within_the_launch() {
        let check =
            |lis_data: &str, want: &[&str]| assert_eq!(scopes(&target(lis_data), SCOPE_SCORE), want, "{lis_data}");
        let sought = r#""lineitems":"https://l/","tag":"t""#;
        check(r#""lineitem":"https://l/1""#, &[SCOPE_SCORE]);
        check(sought, &[SCOPE_LINEITEM, SCOPE_SCORE]);
        check(&format!(r#"{sought},"scope":["{SCOPE_SCORE}"]"#), &[SCOPE_SCORE]);
        check(
            &format!(r#"{sought},"scope":"{SCOPE_SCORE} {SCOPE_LINEITEM_READONLY} other""#),
            &[SCOPE_LINEITEM_READONLY, SCOPE_SCORE],
        );
        check(&format!(r#"{sought},"scope":["{SCOPE_LINEITEM}"]"#), &[SCOPE_LINEITEM]);
        check(&format!(r#"{sought},"scope":[]"#), &[]);
    }
}
