//! AGS scores: users who are refused, addresses, tokens that died, times, numbers, and what a platform says afterwards.

use std::time::Duration;

use passback::{
    domain::{job::StateName, outcome::FailureReason, time::Timestamp},
    simulator::{Cell, FaultKind, Likeness, Route, Trouble},
};
use serde_json::json;

use super::{
    campus::{Campus, Plan, each, is_delivered, is_flagged, is_refused, status},
    scripted::{Conduct, meet, meet_for_a_token},
    tap::Sort,
};

/// The top failure of all: each platform has its own status for it, and the advice says what it is.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_01_a_user_who_is_refused_is_told_as_one() {
    use FailureReason::{NotFound, Rejected, Unauthorized};
    use Trouble::{Locked, NotEnrolled, Unknown};
    let cases = [
        (Likeness::Moodle, NotEnrolled, Rejected, "[]", "not enrolled, is a teacher"),
        (Likeness::Canvas, NotEnrolled, Rejected, "not a student", "enrol them"),
        (Likeness::Brightspace, NotEnrolled, Unauthorized, "not enrolled in the org unit", "enrol them"),
        (Likeness::Brightspace, Unknown, NotFound, "does not exist", "no such student"),
        (Likeness::Brightspace, Locked, Rejected, "cannot be graded", "not as a student"),
        (Likeness::Blackboard, Unknown, Rejected, "could not be found", "enrol them"),
        (Likeness::Sakai, NotEnrolled, Rejected, "does not belong to site", "enrol"),
    ];
    each(cases, |(like, trouble, reason, words, advice)| async move {
        let campus = Campus::flagging(like).await;
        campus.lms.refuse("7001", trouble);
        let job = campus.deliver(&campus.known("7001", 8)).await;
        is_refused(&job, reason, words, advice);
        assert!(!job.attempts[0].message.contains("7001"), "{like}: {}", job.attempts[0].message);
        assert_eq!(campus.writes(), 0, "{like}");
    })
    .await;
}

/// The others of the class wait for nobody: each job ends by itself.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_01_one_refused_user_holds_up_nobody() {
    let campus = Plan::like(Likeness::Canvas).room(8).flagging().open().await;
    campus.lms.refuse("3", Trouble::NotEnrolled);
    campus.once(Route::Token, status(500));
    let class: Vec<_> = (1..=8).map(|user| campus.known(&user.to_string(), 8)).collect();
    let jobs = campus.deliver_all(&class).await;
    let flagged: Vec<_> = (0..8).filter(|number| jobs[*number].state_name() == StateName::Flagged).collect();
    assert_eq!((flagged, campus.writes()), (vec![2], 7));
}

/// Moodle's line items have a query, and answer 400 when the path goes on after it.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_02_scores_stands_before_the_query() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        let url = campus.tap.all(Sort::Score)[0].request.url.as_url().clone();
        let line_item = url::Url::parse(&campus.lms.lineitem_url("c", "1")).expect("a URL");
        assert_eq!(url.path(), format!("{}/scores", line_item.path()), "{like}");
        assert_eq!(url.query(), line_item.query(), "{like}");
        assert_eq!(url.query().is_some(), like == Likeness::Moodle, "{like}");
    })
    .await;
}

/// 401 on Moodle and Canvas, 403 on Open edX and Sakai: a new token, and the grade goes out in the same attempt. A 403 that
/// is a rate limit asks for none.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_04_a_dead_token_is_replaced_at_401_and_at_403() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        campus.lms.revoke_tokens();
        is_delivered(&campus.deliver(&campus.known("8", 8)).await, 1, like.word());
        let statuses: Vec<_> = campus.tap.all(Sort::Score).iter().map(|talk| talk.status.unwrap_or_default()).collect();
        let dead = if matches!(like, Likeness::OpenEdx | Likeness::Sakai) { 403 } else { 401 };
        assert_eq!((statuses.len(), statuses[1]), (3, dead), "{like}: {statuses:?}");
        assert_eq!(campus.tap.count(Sort::Token), 2, "{like}");
    })
    .await;
    let canvas = Campus::flagging(Likeness::Canvas).await;
    canvas.once(Route::Scores, FaultKind::RateLimit);
    is_delivered(&canvas.deliver(&canvas.known("7", 8)).await, 2, "after the rate limit");
    assert_eq!(canvas.tap.count(Sort::Token), 1);
}

/// Open edX takes 0 and does not publish it; that is its own, and we send it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_05_zero_is_a_score_in_ags() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.known("7", 0)).await, 1, like.word());
        let sent = campus.tap.all(Sort::Score)[0].json();
        assert_eq!((&sent["scoreGiven"], &sent["gradingProgress"]), (&json!(0), &json!("FullyGraded")), "{like}");
        let stored = if like == Likeness::OpenEdx { None } else { Some(0.0) };
        assert_eq!(campus.grade("7").map(|grade| grade.score), stored, "{like}");
    })
    .await;
}

/// However late it goes out, the times are those of the work; and Canvas makes one submission of it, though it is sent
/// twice.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_06_the_times_are_those_of_the_work_and_a_repeat_is_no_new_submission() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::like(like).await;
        let mut event = campus.known("7", 8);
        event["occurred_at"] = json!("2026-01-15T07:30:00Z");
        event["submitted_at"] = json!("2026-01-15T07:29:00Z");
        campus.once(Route::Scores, FaultKind::AcceptThenCut);
        is_delivered(&campus.deliver(&event).await, 2, like.word());
        let scores: Vec<_> = campus.tap.all(Sort::Score).iter().map(super::tap::Talk::json).collect();
        for (number, score) in scores.iter().enumerate() {
            assert_eq!(score["timestamp"], json!("2026-01-15T07:30:00.000Z"), "{like}");
            assert_eq!(score["submission"]["submittedAt"], json!("2026-01-15T07:29:00.000Z"), "{like}");
            let extension = &score["https://canvas.instructure.com/lti/submission"];
            let want = if like == Likeness::Canvas { json!(number == 0) } else { json!(null) };
            assert_eq!(extension["new_submission"], want, "{like}");
        }
        let submissions = campus.lms.cell(&Cell::ags("c", "1", "7")).map(|cell| cell.submissions);
        assert_eq!(submissions, Some(u64::from(like == Likeness::Canvas)), "{like}");
    })
    .await;
}

/// A state change without a score would clear the grade on Canvas.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_06_a_change_of_state_keeps_canvas_grade_and_makes_no_submission() {
    let campus = Campus::flagging(Likeness::Canvas).await;
    let (mut graded, mut state) = (campus.known("7", 8), campus.known("7", 8));
    graded["occurred_at"] = json!("2026-01-15T07:30:00Z");
    state["occurred_at"] = json!("2026-01-15T07:40:00Z");
    state["activity_progress"] = json!("InProgress");
    state["grading_progress"] = json!("Pending");
    let members = state.as_object_mut().expect("an object");
    members.remove("score");
    members.remove("max_score");
    is_delivered(&campus.deliver(&graded).await, 1, "the grade");
    is_delivered(&campus.deliver(&state).await, 1, "the change of state");
    let cell = campus.lms.cell(&Cell::ags("c", "1", "7")).expect("it was written");
    assert_eq!((cell.writes, cell.submissions, cell.grade.map(|grade| grade.score)), (2, 1, Some(8.0)));
}

/// The same timestamp at each try: so a platform that has the grade from a try whose answer was lost says "not newer", each
/// in its way, and that is a delivery.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_11_a_lost_reply_is_found_out_by_the_same_timestamp() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::like(like).await;
        campus.once(Route::Scores, FaultKind::AcceptThenCut);
        let job = campus.deliver(&campus.known("7", 8)).await;
        is_delivered(&job, 2, like.word());
        assert!(job.attempts[0].reply_lost, "{like}");
        let scores = campus.tap.all(Sort::Score);
        assert_eq!(scores[0].json()["timestamp"], scores[1].json()["timestamp"], "{like}");
        let again = match like {
            Likeness::Canvas | Likeness::Sakai => 200,
            Likeness::OpenEdx => 400,
            _ => 409,
        };
        assert_eq!(scores[1].status, Some(again), "{like}");
        assert_eq!(campus.grade("7").map(|grade| grade.score), Some(8.0), "{like}");
    })
    .await;
}

/// A time in the future would block Moodle's cell until then.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_11_no_timestamp_is_in_the_future() {
    let campus = Campus::flagging(Likeness::Moodle).await;
    let mut event = campus.known("7", 8);
    event["occurred_at"] = json!("2100-01-01T00:00:00Z");
    let job = campus.deliver(&event).await;
    is_delivered(&job, 1, "as if it had just happened");
    let sent = campus.tap.all(Sort::Score)[0].json()["timestamp"].as_str().map(Timestamp::parse);
    let sent = sent.expect("a text").expect("a time");
    assert!(sent <= job.attempts[0].started_at && sent >= job.created_at.back(Duration::from_secs(2)), "{sent}");
}

/// Moodle's grain is a second, and the later of two within one would lose.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_11_two_grades_of_one_second_are_told_a_second_apart() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        for (occurred_at, score) in [("2026-01-15T07:30:00.100Z", 5), ("2026-01-15T07:30:00.600Z", 6)] {
            let mut event = campus.known("7", score);
            event["occurred_at"] = json!(occurred_at);
            is_delivered(&campus.deliver(&event).await, 1, like.word());
        }
        let scores = campus.tap.all(Sort::Score);
        assert_eq!(scores[0].json()["timestamp"], json!("2026-01-15T07:30:00.100Z"), "{like}");
        assert_eq!(scores[1].json()["timestamp"], json!("2026-01-15T07:30:01.100Z"), "{like}");
        assert_eq!(campus.grade("7").map(|grade| grade.score), Some(6.0), "{like}");
    })
    .await;
}

/// To the letter: Moodle says 400 to a blank before `;`, Open edX 415 to any other type.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_12_a_score_is_sent_as_its_own_type() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        assert_eq!(campus.tap.all(Sort::Score)[0].header("content-type"), "application/vnd.ims.lis.v1.score+json");
    })
    .await;
    let (_, script) = meet("lti13-ags", vec![Conduct::Good]).await;
    let head = script.heard().last().map(|request| request.to_lowercase()).unwrap_or_default();
    assert!(head.contains("\r\ncontent-type: application/vnd.ims.lis.v1.score+json\r\n"), "as it left");
}

/// Raw points with their own maximum, as the event wrote them: nothing is rounded away, and nothing is capped.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_18_raw_points_are_sent_as_they_came() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        for (user, score) in [("1", 8.5), ("2", 12.0), ("3", 1.0 / 3.0), ("4", 0.1 + 0.2)] {
            is_delivered(&campus.deliver(&campus.known(user, score)).await, 1, like.word());
            let talk = campus.tap.all(Sort::Score).pop().expect("it was sent");
            assert_eq!(talk.json()["scoreGiven"].as_f64(), Some(score), "{like}");
            assert_eq!(talk.json()["scoreMaximum"], json!(10), "{like}");
            assert!(
                !talk.body().contains('\n'),
                "one line: a line break makes Moodle say 200 to what it did not store"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quirk_25_courses_that_are_over_and_grades_that_are_locked_are_told() {
    let canvas = Campus::flagging(Likeness::Canvas).await;
    canvas.lms.refuse("7", Trouble::CourseOver);
    let job = canvas.deliver(&canvas.known("7", 8)).await;
    is_refused(&job, FailureReason::Rejected, "This course has concluded", "over or closed");

    let moodle = Campus::flagging(Likeness::Moodle).await;
    moodle.lms.refuse("7", Trouble::Locked);
    let job = moodle.deliver(&moodle.known("7", 8)).await;
    is_flagged(&job, FailureReason::ServerError, "[]", "whose grade or column is locked");
    assert_eq!(job.attempts.len(), 6, "it looks like trouble that passes");

    moodle.lms.refuse("8", Trouble::CourseOver);
    is_refused(&moodle.deliver(&moodle.known("8", 8)).await, FailureReason::NotFound, "", "still exists");
    let sakai = Campus::flagging(Likeness::Sakai).await;
    sakai.lms.refuse("7", Trouble::Locked);
    is_refused(&sakai.deliver(&sakai.known("7", 8)).await, FailureReason::Rejected, "Unable to set grade", "refused");
}

/// Behind Moodle's 502 there is an id that is no number, or a database in trouble: tried again, and flagged with both.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_25_moodles_502_is_tried_again_and_flagged_with_its_two_causes() {
    let campus = Campus::flagging(Likeness::Moodle).await;
    let job = campus.deliver(&campus.known("ann", 8)).await;
    is_flagged(&job, FailureReason::ServerError, "", "they are numbers");
    assert_eq!(job.attempts.len(), 6);
    campus.once(Route::Scores, status(502));
    is_delivered(&campus.deliver(&campus.known("7", 8)).await, 2, "the database is well again");
}

/// Open edX calls it `bearer`, Moodle takes no other spelling than `Bearer`.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_26_the_word_is_bearer_with_a_capital() {
    each([Likeness::OpenEdx, Likeness::Moodle], |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        assert!(campus.tap.all(Sort::Score)[0].header("authorization").starts_with("Bearer "), "{like}");
    })
    .await;
    let token = r#"{"access_token":"t1","token_type":"bearer","expires_in":3600}"#;
    let (job, script) = meet_for_a_token(vec![Conduct::Says(200, token)], |setting| setting).await;
    is_delivered(&job, 1, "bearer in small letters");
    assert!(script.heard().iter().any(|request| request.contains("Bearer t1\r\n")));
}
