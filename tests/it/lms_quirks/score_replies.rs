//! The classification of replies to an AGS score, and of the refusals that any delivery may meet.

use passback::{
    domain::{
        job::StateName,
        outcome::{AttemptOutcome, FailureReason},
    },
    simulator::{Fault, FaultKind, Likeness, Route, Trouble},
};

use super::{
    campus::{Campus, each, is_delivered, is_flagged, is_refused},
    scripted::{Conduct, DELIVERIES, meet, meet_as, token_requests},
    tap::Sort,
};

/// Canvas counts what is left for us in each of its answers.
const ROOM: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\nX-Rate-Limit-Remaining: 512.5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn class_score_2xx_is_a_delivery_but_for_an_empty_list() {
    for (code, body) in
        [(200, ""), (200, "{\"resultUrl\":\"https://l/r/7\"}"), (201, "{\"userId\":\"7\"}"), (202, ""), (204, "")]
    {
        is_delivered(&meet("lti13-ags", vec![Conduct::Says(code, body)]).await.0, 1, &code.to_string());
    }
    let moodle = Campus::flagging(Likeness::Moodle).await;
    moodle.lms.set_fault(Route::Scores, Fault::always(FaultKind::EmptyList)).expect("a fault");
    let job = moodle.deliver(&moodle.known("7", 8)).await;
    is_refused(&job, FailureReason::Rejected, "Moodle stored nothing", "stored nothing although it said 200");
}

/// The platform has a newer grade; after a try whose answer was lost it has this one.
#[tokio::test(flavor = "multi_thread")]
async fn class_409_is_superseded_or_delivered_already() {
    let (job, _) = meet("lti13-ags", vec![Conduct::Says(409, "")]).await;
    assert_eq!(job.state_name(), StateName::Superseded);
    let (job, _) = meet("lti13-ags", vec![Conduct::Says(503, "later"), Conduct::Says(409, "")]).await;
    assert_eq!(job.state_name(), StateName::Superseded, "a 503 wrote nothing");
    for lost in [Conduct::Resets, Conduct::Says(502, ""), Conduct::Says(504, "")] {
        is_delivered(&meet("lti13-ags", vec![lost, Conduct::Says(409, "")]).await.0, 2, "lost");
    }
}

/// The same in the words of Canvas and Open edX. After a 500 of Open edX "already exists" proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn class_400_older_is_superseded_or_delivered_already() {
    let words = [
        "Provided timestamp of 2026-01-15T07:30:00Z before last updated timestamp of 2026-01-15T07:31:00Z",
        "Score already exists for the provided timestamp.",
        "Score can only be updated to a later point in time.",
    ];
    for words in words {
        let says = Conduct::Says(400, words);
        let (job, _) = meet("lti13-ags", vec![says.clone()]).await;
        assert_eq!(job.state_name(), StateName::Superseded, "{words}");
        is_delivered(&meet("lti13-ags", vec![Conduct::Closes, says]).await.0, 2, words);
    }
    let (job, _) = meet("lti13-ags", vec![Conduct::Says(500, ""), Conduct::Says(400, words[1])]).await;
    assert_eq!(job.attempts.len(), 2);
    is_flagged(&job, FailureReason::Rejected, "", "look at the grade");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_400_and_other_refusals_are_permanent() {
    each(DELIVERIES, |delivery| async move {
        for code in [400, 405, 406, 412, 415, 422] {
            let (job, _) = meet(delivery, vec![Conduct::Says(code, "no")]).await;
            is_refused(&job, FailureReason::Rejected, "no", "");
            let (job, _) = meet_as(delivery, vec![Conduct::Says(code, "no")], |setting| setting).await;
            is_delivered(&job, 2, "by default they are tried again");
        }
    })
    .await;
}

/// A column that the launch gave is never made anew; one that was found or made is, once.
#[tokio::test(flavor = "multi_thread")]
async fn class_404_on_score_is_permanent_where_the_launch_gave_the_column() {
    each(
        [Likeness::Moodle, Likeness::Canvas, Likeness::OpenEdx, Likeness::Brightspace, Likeness::Blackboard],
        |like| async move {
            let campus = Campus::flagging(like).await;
            assert!(campus.lms.delete_line_item("c", "1"));
            is_refused(&campus.deliver(&campus.known("7", 8)).await, FailureReason::NotFound, "", "still exists");
            assert_eq!((campus.tap.count(Sort::Columns), campus.tap.count(Sort::NewColumn)), (0, 0), "{like}");
        },
    )
    .await;
}

/// Brightspace says 404 for a user and 403 for an enrolment: no column is at fault, and none is made.
#[tokio::test(flavor = "multi_thread")]
async fn class_404_403_naming_the_user_makes_no_column() {
    for (trouble, reason) in
        [(Trouble::Unknown, FailureReason::NotFound), (Trouble::NotEnrolled, FailureReason::Unauthorized)]
    {
        let campus = Campus::flagging(Likeness::Brightspace).await;
        is_delivered(&campus.deliver(&campus.sought("7", 8)).await, 1, "somebody else");
        let asked = || (campus.tap.count(Sort::Columns), campus.tap.count(Sort::NewColumn));
        let before = asked();
        campus.lms.refuse("8", trouble);
        is_refused(&campus.deliver(&campus.sought("8", 8)).await, reason, "User in requested score", "enrol them");
        assert_eq!(asked(), before, "{}", reason.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_410_is_permanent() {
    each(DELIVERIES, |delivery| async move {
        let (job, _) = meet(delivery, vec![Conduct::Says(410, "gone")]).await;
        is_refused(&job, FailureReason::NotFound, "gone", "replay or discard");
    })
    .await;
}

/// One new token within the attempt, and then it is final.
#[tokio::test(flavor = "multi_thread")]
async fn class_401_asks_for_one_new_token_and_then_is_permanent() {
    let refused = vec![Conduct::Says(401, "who are you"); 2];
    let (job, script) = meet("lti13-ags", refused).await;
    is_refused(&job, FailureReason::Unauthorized, "who are you", "refused a fresh token");
    assert_eq!((token_requests(&script), script.seen().len()), (2, 4));
    let (job, script) = meet("lti13-ags", vec![Conduct::Says(401, "")]).await;
    is_delivered(&job, 1, "with the new token");
    assert_eq!(token_requests(&script), 2);
    for delivery in ["lti11", "lti13-delegated"] {
        is_refused(
            &meet(delivery, vec![Conduct::Says(401, "no")]).await.0,
            FailureReason::Unauthorized,
            "no",
            "then replay",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_403_no_rate_limit_asks_for_one_new_token_and_then_is_permanent() {
    let (job, script) = meet("lti13-ags", vec![Conduct::Says(403, "not for you"); 2]).await;
    is_refused(&job, FailureReason::Unauthorized, "not for you", "refused a fresh token");
    assert_eq!(token_requests(&script), 2);
    let (job, script) = meet("lti13-ags", vec![Conduct::Bytes(ROOM)]).await;
    is_delivered(&job, 1, "there is room in the bucket, so it is the token");
    assert_eq!(token_requests(&script), 2);
}

/// Tried again as they are by default; only the words of Open edX after a failure need a look.
#[tokio::test(flavor = "multi_thread")]
async fn class_500_502_503_504_are_tried_again_and_then_flagged() {
    each(DELIVERIES, |delivery| async move {
        for code in [500, 502, 503, 504] {
            let (job, _) = meet(delivery, vec![Conduct::Says(code, "oh no")]).await;
            is_delivered(&job, 2, delivery);
            let first = &job.attempts[0];
            assert_eq!(first.outcome, AttemptOutcome::Failed(FailureReason::ServerError), "{delivery} {code}");
            assert_eq!(first.reply_lost, matches!(code, 502 | 504), "{delivery} {code}");
        }
        let (job, _) = meet(delivery, vec![Conduct::Says(500, "oh no"); 6]).await;
        is_flagged(&job, FailureReason::ServerError, "oh no", "ask its admins");
        assert_eq!(job.attempts.len(), 6);
    })
    .await;
}
