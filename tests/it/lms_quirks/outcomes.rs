//! LTI 1.1 Basic Outcomes: signatures, sourcedids, numbers, and success that stands inside or does not.

use passback::{
    domain::outcome::{AttemptOutcome, FailureReason},
    simulator::{Cell, Consumer, FaultKind, Likeness, Protocol, Route, Trouble},
};
use serde_json::json;

use super::{
    campus::{Campus, Plan, each, is_delivered, is_flagged, is_refused, status},
    tap::Sort,
};
use crate::{
    lms_faults::scene::{Setting, WAIT},
    lms_quirks::scripted::{Conduct, meet},
};

#[tokio::test(flavor = "multi_thread")]
async fn quirk_05_zero_is_a_score_in_lti11() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::like(like).await;
        is_delivered(&campus.deliver(&campus.lti11("7", 0)).await, 1, like.word());
        assert_eq!(campus.grade("7").map(|grade| grade.score), Some(0.0), "{like}");
    })
    .await;
}

/// Canvas alone takes a time with the grade; a strict schema elsewhere might refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_06_canvas_is_told_when_the_work_was_handed_in() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::like(like).await;
        let mut event = campus.lti11("7", 8);
        event["submitted_at"] = json!("2026-01-15T07:29:00Z");
        campus.once(Route::Lti11, status(503));
        is_delivered(&campus.deliver(&event).await, 2, like.word());
        for talk in campus.tap.all(Sort::Outcome) {
            let told = talk.body().contains("<submittedAt>2026-01-15T07:29:00.000Z</submittedAt>");
            assert_eq!(told, like == Likeness::Canvas, "{like}");
        }
    })
    .await;
}

/// The status alone never decides: neither a 200 with a failure inside, nor a 422 with a success.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_10_a_failure_inside_a_200_is_none_and_a_success_inside_a_422_is_one() {
    let moodle = Campus::flagging(Likeness::Moodle).await;
    moodle.lms.refuse("7", Trouble::Locked);
    let job = moodle.deliver(&moodle.lti11("7", 8)).await;
    is_refused(&job, FailureReason::Rejected, "Grade replace response", "locked in Moodle's gradebook");
    assert_eq!(moodle.tap.all(Sort::Outcome)[0].status, Some(200));

    let canvas = Campus::flagging(Likeness::Canvas).await;
    canvas.lms.refuse("7", Trouble::NotEnrolled);
    let job = canvas.deliver(&canvas.lti11("7", 8)).await;
    is_refused(&job, FailureReason::Rejected, "[user_not_in_course]", "enrol them there");
    assert_eq!(canvas.tap.all(Sort::Outcome)[0].status, Some(422));

    let (job, _) = meet("lti11", vec![Conduct::Says(422, "<imsx_codeMajor>success</imsx_codeMajor>")]).await;
    is_delivered(&job, 1, "422 with a success");
}

/// Canvas takes no charset behind it.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_12_xml_is_sent_as_bare_application_xml() {
    let canvas = Campus::flagging(Likeness::Canvas).await;
    is_delivered(&canvas.deliver(&canvas.lti11("7", 8)).await, 1, "canvas, which says 415 to any other type");
    let (_, script) = meet("lti11", vec![Conduct::Good]).await;
    assert!(script.heard()[0].to_lowercase().contains("\r\ncontent-type: application/xml\r\n"), "as it left");
}

/// The query of the outcome service's address is signed where the platform counts it, and left out where it does not.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_13_the_signature_holds_with_every_query() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        for query in ["", "?course=7", "?b=2&a=1&a=0&empty=", "?x=a%20b%2Bc&%C3%A9=%26"] {
            let mut event = campus.lti11("7", 8);
            let url = campus.lms.outcomes_url() + query;
            event["lis_data"]["lis_outcome_service_url"] = url.as_str().into();
            is_delivered(&campus.deliver(&event).await, 1, &format!("{like} {query} {:?}", campus.lms.refusals()));
            let column = url.strip_prefix(campus.lms.base_url()).expect("its own").to_owned();
            let cell = Cell { protocol: Protocol::Lti11, column, user: "7".to_owned() };
            assert!(campus.lms.grade(&cell).is_some(), "{like} {query}");
        }
    })
    .await;
}

/// Any reason why a signature is not believed looks alike on Moodle; the advice names the likely ones.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_13_a_signature_that_is_not_believed_is_told_with_its_likely_causes() {
    let cases = [
        (Likeness::Moodle, "Message signature not valid", "wrong sslproxy setting"),
        (Likeness::Canvas, "Invalid authorization header", "app's configuration in Canvas"),
        (Likeness::OpenEdx, "OAuth", "lti_passports"),
        (Likeness::Sakai, "signature", "port included"),
    ];
    each(cases, |(like, words, advice)| async move {
        let mut plan = Plan::like(like).flagging();
        plan.options.consumers = vec![Consumer::new("key", "another-secret")];
        let campus = plan.open().await;
        let job = campus.deliver(&campus.lti11("7", 8)).await;
        is_refused(&job, FailureReason::Unauthorized, words, advice);
        assert_eq!(campus.writes(), 0, "{like}");
    })
    .await;
}

/// The windows are five minutes on Moodle: a signature of the first try would not do for a retry.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_14_each_try_is_signed_at_its_own_time() {
    let campus = Plan::like(Likeness::Moodle).set(Setting::patient).open().await;
    campus.once(Route::Lti11, status(503));
    let id = campus.submit(&campus.lti11("7", 8)).await;
    campus.scene.tried(id, 1).await;
    campus.scene.clock.jump(600);
    campus.scene.handle.replay(id, None).await.expect("it waits");
    is_delivered(&campus.scene.ended(id).await, 2, "the second try");
    let [first, second] = &campus.tap.all(Sort::Outcome)[..] else { panic!("two requests") };
    let field = |talk: &super::tap::Talk, name: &str| {
        let (_, rest) = talk.header("authorization").split_once(&format!("{name}=\"")).expect("a field");
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let seconds = |talk| field(talk, "oauth_timestamp").parse::<u64>().expect("seconds");
    assert!((600..660).contains(&(seconds(second) - seconds(first))));
    assert_ne!(field(first, "oauth_nonce"), field(second, "oauth_nonce"));
}

/// Moodle's is JSON with quotes, Open edX's is percent-encoded already; and Open edX repeats it unescaped in a reply that
/// says success.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_17_a_sourcedid_arrives_as_it_was_launched() {
    let sourcedids = [
        r#"{"data":{"instanceid":"5","userid":"7","typeid":"2","launchid":99},"hash":"b2f0"}"#,
        "course-v1%3AX%2BY%2BZ:edx.example.edu-1:ab12",
        "a<b>&amp;'c'\"d\" e+f/g==",
        "Zoë 学生 🎓",
    ];
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        for sourcedid in sourcedids {
            is_delivered(&campus.deliver(&campus.lti11(sourcedid, 8)).await, 1, &format!("{like} {sourcedid}"));
            assert!(campus.lms.grade(&campus.lms.lti11_cell(sourcedid)).is_some(), "{like} {sourcedid}");
        }
    })
    .await;
}

/// A point, no exponent, never beyond 1, and as many digits as the standard's readers take.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_18_a_share_is_a_plain_decimal_from_0_to_1() {
    let campus = Campus::flagging(Likeness::Moodle).await;
    let cases = [
        ("a", json!(8.5), json!(10), 0.85),
        ("b", json!(1), json!(3), 1.0 / 3.0),
        ("c", json!(12), json!(10), 1.0),
        ("d", json!(0.1 + 0.2), json!(0.3), 1.0),
        ("e", json!(1e-9), json!(100), 1e-11),
        ("f", json!(123_456_789), json!(1e9), 0.123_456_789),
    ];
    for (student, score, maximum, share) in cases {
        let mut event = campus.lti11(student, score);
        event["max_score"] = maximum;
        is_delivered(&campus.deliver(&event).await, 1, student);
        let text = campus.tap.all(Sort::Outcome).last().expect("it was sent").between("<textString>", "<");
        assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{text}");
        assert!(text.split('.').nth(1).unwrap_or_default().len() <= 15, "{text}");
        let sent: f64 = text.parse().expect("a number");
        assert!((0.0..=1.0).contains(&sent) && (sent - share).abs() < 1e-15, "{text} for {share}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quirk_25_a_closed_activity_is_told_as_one() {
    let cases = [
        (Likeness::Moodle, Trouble::CourseOver, "Tool does not accept grades", "takes no grades for this activity"),
        (Likeness::Canvas, Trouble::CourseOver, "[course_not_available]", "over or closed"),
        (Likeness::Canvas, Trouble::Unknown, "[sourcedid_invalid]", "does not accept the sourcedId"),
        (Likeness::OpenEdx, Trouble::Locked, "Grade is past due", "takes no late grades"),
        (Likeness::Sakai, Trouble::CourseOver, "Site not found", "refused this grade"),
        (Likeness::Blackboard, Trouble::CourseOver, "The course does not exist.", "refused this grade"),
    ];
    each(cases, |(like, trouble, words, advice)| async move {
        let campus = Campus::flagging(like).await;
        campus.lms.refuse("7", trouble);
        is_refused(&campus.deliver(&campus.lti11("7", 8)).await, FailureReason::Rejected, words, advice);
    })
    .await;
}

/// An answer that was lost, or is not final yet, is no delivery: the grade is written once more, which does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_27_an_ambiguous_answer_is_not_taken_for_a_delivery() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        campus.once(Route::Lti11, FaultKind::AcceptThenCut);
        let job = campus.deliver(&campus.lti11("7", 8)).await;
        is_delivered(&job, 2, like.word());
        assert!(job.attempts[0].reply_lost && campus.writes() == 2, "{like}");
        assert!(campus.grade("7").is_some_and(|grade| (grade.score - 0.8).abs() < 1e-9), "{like}");
    })
    .await;
}

/// A student who is not enrolled is a success on Moodle, and nothing is written. Nobody can see it from here, so nothing is
/// promised that we cannot keep: the page of failures says it.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_31_moodle_says_success_for_nobody_and_we_promise_no_more() {
    let campus = Campus::flagging(Likeness::Moodle).await;
    campus.lms.refuse("7", Trouble::NotEnrolled);
    is_delivered(&campus.deliver(&campus.lti11("7", 8)).await, 1, "as Moodle says");
    assert_eq!(campus.writes(), 0, "and as Moodle does");
    let page = include_str!("../../../docs/failures.md");
    assert!(page.contains("A student who is not enrolled gets a *success* from Moodle"), "the page says it");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_lti11_success_is_a_delivery_at_200_and_422() {
    for code in [200, 201, 422] {
        let reply = Conduct::Says(code, "<imsx_codeMajor>Success</imsx_codeMajor>");
        is_delivered(&meet("lti11", vec![reply]).await.0, 1, &code.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_lti11_processing_is_accepted_and_not_final() {
    let processing = Conduct::Says(200, "<imsx_codeMajor>processing</imsx_codeMajor>");
    let (job, _) = meet("lti11", vec![processing.clone(), processing]).await;
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::BadResponse));
    assert!(job.attempts[0].message.contains("still at work"), "{}", job.attempts[0].message);
    is_delivered(&job, job.attempts.len(), "in the end");
}

/// Permanent, unless the platform's own side failed; a signature is no matter of the grade. Blackboard is known to change
/// its mind, and by default every refusal is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn class_lti11_failure_is_permanent_unless_its_words_say_otherwise() {
    const fn says(words: &'static str) -> Conduct {
        Conduct::Says(200, words)
    }
    let refused =
        "<imsx_codeMajor>failure</imsx_codeMajor><imsx_description>Score not between 0.0 and 1.0</imsx_description>";
    is_refused(&meet("lti11", vec![says(refused)]).await.0, FailureReason::Rejected, "not between", "refused");
    let signature =
        "<imsx_codeMajor>failure</imsx_codeMajor><imsx_description>Message signature not valid</imsx_description>";
    is_refused(&meet("lti11", vec![says(signature)]).await.0, FailureReason::Unauthorized, "signature", "its secret");
    let internal =
        "<imsx_codeMajor>failure</imsx_codeMajor><imsx_description>Error writing to database</imsx_description>";
    let (job, _) = meet("lti11", vec![says(internal)]).await;
    is_delivered(&job, 2, "a database in trouble gets better");
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::ServerError));

    let blackboard = Campus::like(Likeness::Blackboard).await;
    blackboard.once(Route::Lti11, FaultKind::Failure { description: "Incorrect sourcedId".to_owned() });
    is_delivered(&blackboard.deliver(&blackboard.lti11("7", 8)).await, 2, "it flaps");
}

/// Open edX knows replaceResult alone, so a grade cannot be cleared there.
#[tokio::test(flavor = "multi_thread")]
async fn class_lti11_unsupported_is_permanent() {
    let campus = Campus::flagging(Likeness::OpenEdx).await;
    let mut event = campus.lti11("7", 8);
    let event = event.as_object_mut().expect("an object");
    event.remove("score");
    event.remove("max_score");
    event.insert("operation".to_owned(), "delete".into());
    let job = campus.deliver(&json!(event)).await;
    is_refused(&job, FailureReason::Rejected, "deleteResult is not supported", "");
}

/// A nonce that was seen and a timestamp that is too old are mended within the attempt, which is signed anew once.
#[tokio::test(flavor = "multi_thread")]
async fn class_lti11_401_is_permanent_and_each_try_is_signed_anew() {
    is_refused(
        &meet("lti11", vec![Conduct::Says(401, "Invalid authorization header")]).await.0,
        FailureReason::Unauthorized,
        "Invalid authorization header",
        "check its secret",
    );
    for (words, advice) in [("Duplicate nonce detected", "saw this request before"), ("Timestamp too old", "by NTP")] {
        let reply = Conduct::Says(401, words);
        let (job, script) = meet("lti11", vec![reply.clone(), reply.clone()]).await;
        is_refused(&job, FailureReason::Unauthorized, words, advice);
        assert_eq!(script.heard().len(), 2, "once and no more");
        let (job, script) = meet("lti11", vec![reply]).await;
        is_delivered(&job, 1, words);
        let nonces: Vec<_> = script
            .heard()
            .iter()
            .filter_map(|head| Some(head.split_once("oauth_nonce=")?.1[..20].to_owned()))
            .collect();
        assert!(nonces.len() == 2 && nonces[0] != nonces[1], "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_lti11_200_unparsable_is_tried_again_and_then_flagged() {
    let bodies = ["<html><body>Site maintenance</body></html>", "", "OK", "<imsx_POXEnvelopeResponse><imsx_co"];
    each(bodies, |body| async move {
        let (job, _) = meet("lti11", vec![Conduct::Says(200, body)]).await;
        is_delivered(&job, 2, body);
        assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::BadResponse), "{body}");
        let (job, _) = meet("lti11", vec![Conduct::Says(200, body); 6]).await;
        is_flagged(&job, FailureReason::BadResponse, "", "check");
        assert_eq!(job.attempts.len(), 6);
        assert!(job.attempts[5].started_at.since(job.attempts[4].started_at) >= WAIT);
    })
    .await;
}
