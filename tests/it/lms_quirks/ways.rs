//! What lies between us and a platform, and what one cell or one platform may be asked at once: redirects, rate limits, TLS,
//! pages, order.

use passback::{
    adapters::transport::{EgressRules, HttpTransport, Options},
    domain::{
        destination::ServiceUrl,
        job::StateName,
        outcome::{AttemptOutcome, FailureReason},
    },
    simulator::{Fault, FaultKind, Likeness, Route},
};
use serde_json::{Value, json};

use super::{
    campus::{Campus, Plan, each, is_delivered, is_flagged, is_refused},
    scripted::{Conduct, DELIVERIES, meet, meet_for_a_token, shake},
    tap::{Sort, Tap},
};
use crate::{
    lms_faults::{
        handshakes::{Handshake, NAME, to_loopback},
        scene::Setting,
    },
    transport::Authority,
};

/// Canvas says 403 with words, others 429. The token is not to blame, and the platform is spared: after its rest one at a
/// time.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_16_a_rate_limit_slows_the_whole_platform() {
    each(Likeness::ALL, |like| async move {
        let campus = Plan::like(like).room(8).flagging().open().await;
        campus.lms.set_fault(Route::Scores, Fault::times(FaultKind::RateLimit, 8)).expect("a fault");
        let class: Vec<_> = (1..=24).map(|user| campus.known(&user.to_string(), 8)).collect();
        for job in campus.deliver_all(&class).await {
            assert_eq!(job.state_name(), StateName::Delivered, "{like}");
            let (_, before) = job.attempts.split_last().expect("it was tried");
            let limited = AttemptOutcome::Failed(FailureReason::RateLimited);
            assert!(before.iter().all(|attempt| attempt.outcome == limited), "{like}: {before:?}");
        }
        let scores = campus.tap.all(Sort::Score);
        assert_eq!(
            (scores.len(), campus.writes()),
            (32, 24),
            "{like}: nothing was sent but what was limited and taken"
        );
        let limit = if like == Likeness::Canvas { 403 } else { 429 };
        let last = scores.iter().rposition(|talk| talk.status == Some(limit)).expect("there was a limit");
        assert_eq!(scores[last + 1].beside, 1, "{like}: alone after the rest");
        assert_eq!(campus.tap.count(Sort::Token), 1, "{like}");
    })
    .await;
}

/// Moodle's 303 for another host name than its own, and everybody's login page.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_20_a_redirect_is_not_followed_and_names_its_place() {
    let options = Options {
        egress: EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() },
        ..Options::default()
    };
    let transport = HttpTransport::with_lookup(options, to_loopback()).expect("a transport");
    let campus = Plan::like(Likeness::Moodle).open_through(Tap::on(transport)).await;
    let elsewhere = |event: &Value| -> Value {
        let text = event.to_string().replace("127.0.0.1", NAME);
        serde_json::from_str(&text).expect("JSON")
    };
    for (event, sort) in [(campus.lti11("7", 8), Sort::Outcome), (campus.known("7", 8), Sort::Score)] {
        let job = campus.deliver(&elsewhere(&event)).await;
        let place = campus.lms.base_url().to_owned();
        is_flagged(&job, FailureReason::BadResponse, &place, "sends us to another address");
        let talks = campus.tap.all(sort);
        assert!(talks.len() == 6 && talks.iter().all(|talk| talk.status == Some(303)), "{sort:?}");
    }
    assert_eq!(campus.writes(), 0);
}

/// Empty bodies, XML and JSON that are called HTML, tokens that answer in no JSON, sourcedids in the middle of it: what
/// counts is read all the same, and no secret is read in what is shown.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_21_replies_are_read_however_they_are_dressed() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.lti11("<7>", 8)).await, 1, like.word());
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
    })
    .await;
    let dressed = "Warning: something in line 3\n<br />{\"access_token\":\"t1\",\"expires_in\":\"3600\"}";
    is_delivered(&meet_for_a_token(vec![Conduct::Says(200, dressed)], Setting::flagging).await.0, 1, "warnings");
    let echo = r#"{"error":"no such student for Authorization: Bearer 3f2a9c0b77d14e"}"#;
    let (job, _) = meet("lti13-ags", vec![Conduct::Says(400, echo)]).await;
    is_refused(&job, FailureReason::Rejected, "no such student", "");
    assert!(!job.attempts[0].message.contains("3f2a"), "{}", job.attempts[0].message);
    let (job, _) = meet("lti11", vec![Conduct::TenMegabytes]).await;
    is_delivered(&job, 2, "and no more than a quarter of a megabyte is read");
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::BadResponse));
}

/// Canvas refuses whoever does not name himself.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_24_each_request_names_us() {
    let canvas = Campus::flagging(Likeness::Canvas).await;
    is_delivered(&canvas.deliver(&canvas.sought("7", 8)).await, 1, "token, list, column, score");
    is_delivered(&canvas.deliver(&canvas.lti11("7", 8)).await, 1, "outcome");
    each(DELIVERIES, |delivery| async move {
        for request in meet(delivery, vec![Conduct::Good]).await.1.heard() {
            assert!(request.to_lowercase().contains("\r\nuser-agent: passback/"), "{request}");
        }
    })
    .await;
}

/// An outage that answers in HTML, with `Retry-After` where it is Moodle, is waited for, whatever is asked.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_25_maintenance_is_waited_for() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        for (route, event) in [(Route::Lti11, campus.lti11("7", 8)), (Route::Scores, campus.known("7", 8))] {
            campus.once(route, FaultKind::Maintenance);
            let job = campus.deliver(&event).await;
            is_delivered(&job, 2, like.word());
            assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::ServerError), "{like}");
        }
    })
    .await;
}

/// Five grades of one student, newest last, while there is room for eight: one after another, oldest first.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_28_one_cell_gets_one_request_at_a_time() {
    each(Likeness::ALL, |like| async move {
        for (route, sort) in [(Route::Lti11, Sort::Outcome), (Route::Scores, Sort::Score)] {
            let each_one = |setting: Setting| Setting { supersede: false, ..setting };
            let campus = Plan::like(like).room(8).flagging().set(each_one).open().await;
            campus.lms.set_fault(route, Fault::always(FaultKind::Delay { ms: 10 })).expect("a fault");
            let grades: Vec<_> = (1..=5)
                .map(|score| {
                    let mut event = campus.event_by(sort, "7", score);
                    event["occurred_at"] = json!(format!("2026-01-15T07:30:0{score}Z"));
                    event
                })
                .collect();
            for job in campus.deliver_all(&grades).await {
                is_delivered(&job, 1, like.word());
            }
            let talks = campus.tap.all(sort);
            assert!(talks.len() == 5 && talks.iter().all(|talk| talk.beside == 1), "{like} {sort:?}");
            let last = campus.grade("7").map(|grade| grade.score / grade.maximum);
            assert!(last.is_some_and(|share| (share - 0.5).abs() < 1e-9), "{like} {sort:?}: {last:?}");
        }
    })
    .await;
}

/// What waited goes out once, with the newest grade: an old one never comes after it.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_29_of_what_waited_only_the_newest_grade_goes_out() {
    for sort in [Sort::Outcome, Sort::Score] {
        let campus = Plan::like(Likeness::Moodle).flagging().room(8).open().await;
        is_delivered(&campus.deliver(&campus.event_by(sort, "1", 8)).await, 1, "the platform is known");
        let origin = ServiceUrl::parse(campus.lms.base_url()).expect("a URL").origin();
        assert!(campus.scene.handle.pause(&origin, None).await.expect("maps never fail"));
        let mut ids = Vec::new();
        // The newest is not the last that came.
        for score in [1, 5, 2, 4, 3] {
            let mut event = campus.event_by(sort, "7", score);
            event["occurred_at"] = json!(format!("2026-01-15T07:30:0{score}Z"));
            ids.push(campus.submit(&event).await);
        }
        assert!(campus.scene.handle.resume(&origin, None).await.expect("maps never fail"));
        for (number, id) in ids.into_iter().enumerate() {
            let want = if number == 1 { StateName::Delivered } else { StateName::Superseded };
            assert_eq!(campus.scene.ended(id).await.state_name(), want, "{sort:?} {number}");
        }
        assert_eq!((campus.tap.count(sort), campus.writes()), (2, 2), "{sort:?}");
        let grade = campus.grade("7").map(|grade| grade.score / grade.maximum);
        assert!(grade.is_some_and(|share| (share - 0.5).abs() < 1e-9), "{sort:?}");
    }
}

/// A certificate is a matter of configuration, a reset is not.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_30_a_certificate_is_told_from_a_reset() {
    let ours = Authority::new("Ours");
    let below = ours.intermediate("Ours Below").acceptor(NAME, 2090);
    let missing = shake(Handshake::With(below), &ours).await;
    assert_eq!(missing.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::Tls));
    assert!(missing.attempts[0].message.contains("intermediate"), "{}", missing.attempts[0].message);
    let cut = shake(Handshake::Cut, &ours).await;
    assert_eq!(cut.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::Connection));
    for job in [missing, cut] {
        is_delivered(&job, 2, "it got better");
        assert!(!job.attempts[0].reply_lost);
    }
}
