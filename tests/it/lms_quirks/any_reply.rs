//! The classification of what any request may meet: no answer, no TLS, too many requests, pages and redirects.

use std::{sync::Arc, time::Duration};

use passback::{
    adapters::transport::{EgressRules, HttpTransport, Lookup, Options},
    domain::{
        job::StateName,
        outcome::{AttemptOutcome, FailureReason},
        retry::RetryPolicy,
    },
    simulator::{FaultKind, Likeness, Route},
};

use super::{
    campus::{Campus, each, is_delivered, is_flagged},
    scripted::{Conduct, DELIVERIES, Script, meet, meet_as, meet_for_a_token, over_tls, shake, token_requests},
};
use crate::{
    lms_faults::{
        handshakes::{Handshake, NAME},
        scene::{AMPLE, SHORT, Scene, Setting, event, open_transport},
    },
    service::worker::free_address,
    transport::{Authority, Server},
};

#[tokio::test(flavor = "multi_thread")]
async fn class_connection_faults_are_tried_again() {
    use FailureReason::{Connection, Timeout};
    each(DELIVERIES, |delivery| async move {
        let short = |setting: Setting| Setting { timeout: SHORT, ..setting.flagging() };
        for (conduct, reason) in [(Conduct::Resets, Connection), (Conduct::Silent, Timeout)] {
            let (job, _) = meet_as(delivery, vec![conduct.clone()], short).await;
            assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(reason), "{delivery} {conduct:?}");
            assert!(job.attempts[0].reply_lost, "{delivery} {conduct:?}: it may have arrived");
            assert_eq!(job.state_name(), StateName::Delivered, "{delivery} {conduct:?}");
        }
        let base = format!("http://{}", free_address());
        let scene = Scene::set(open_transport(), Setting::with_tokens_from(&base, AMPLE).flagging());
        let job = scene.ended(scene.submit(&event(delivery, &base)).await).await;
        is_flagged(&job, Connection, "refused the connection", "Nothing listens");
        assert!(job.attempts.len() == 6 && job.attempts.iter().all(|attempt| !attempt.reply_lost), "refused");

        let options =
            Options { egress: EgressRules { allow_http: true, ..EgressRules::default() }, ..Options::default() };
        let nowhere: Lookup = Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such host")) }));
        let transport = HttpTransport::with_lookup(options, nowhere).expect("a transport");
        let base = format!("http://{NAME}");
        let scene = Scene::set(transport, Setting::with_tokens_from(&base, AMPLE).flagging());
        let job = scene.ended(scene.submit(&event(delivery, &base)).await).await;
        is_flagged(&job, Connection, NAME, "cannot be resolved");
        assert_eq!(job.attempts.len(), 6, "a name that is not found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn class_tls_certificate_invalid_is_its_own_reason() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let ours = &ours;
    let bad = [ours.acceptor(NAME, 2021), ours.acceptor("other.example.edu", 2090), theirs.acceptor(NAME, 2090)];
    each(bad, |acceptor| async move {
        let job = shake(Handshake::With(acceptor.clone()), ours).await;
        is_delivered(&job, 2, "people renew certificates");
        assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::Tls));
        let stays = Server::start(move |stream| {
            let acceptor = acceptor.clone();
            async move { drop(acceptor.accept(stream).await) }
        })
        .await;
        for delivery in DELIVERIES {
            let job = over_tls(&stays, ours, delivery).await;
            is_flagged(&job, FailureReason::Tls, "certificate", "certificate");
            assert_eq!(job.attempts.len(), 6, "{delivery}");
        }
    })
    .await;
}

/// How long after the first try the second one is due.
async fn rests(reply: Conduct) -> (Duration, AttemptOutcome) {
    let script = Script::for_scores(&[reply]);
    let server = script.server().await;
    let base = format!("http://{}", server.address);
    let setting = Setting::with_tokens_from(&format!("{base}/token"), AMPLE).patient().flagging();
    let retry = RetryPolicy { initial: Duration::from_secs(1), ..setting.retry };
    let scene = Scene::set(open_transport(), Setting { retry, ..setting });
    let id = scene.submit(&event("lti11", &base)).await;
    let job = scene.tried(id, 1).await;
    let due = job.queued().expect("it waits").due;
    (due.since(job.attempts[0].started_at), job.attempts[0].outcome)
}

/// 429 is a rate limit; 408 and 425 are refusals that are tried again by default. `Retry-After` is obeyed, in seconds and as
/// a date, within bounds; what makes no sense is as if it were not there.
#[tokio::test(flavor = "multi_thread")]
async fn class_408_425_429_are_tried_again_and_retry_after_is_obeyed() {
    for code in [408, 425, 429] {
        for delivery in DELIVERIES {
            let (job, _) = meet_as(delivery, vec![Conduct::Says(code, "not now")], |setting| setting).await;
            is_delivered(&job, 2, delivery);
        }
    }
    let (limited, failed) = (FailureReason::RateLimited, FailureReason::ServerError);
    let minute = Duration::from_secs(60);
    let cases: [(&'static [u8], FailureReason, Duration, Duration); 5] = [
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 300\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", limited, minute * 5, minute * 6),
        (b"HTTP/1.1 503 Later\r\nRetry-After: 300\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", failed, minute * 5, minute * 6),
        // Bounded by the longest wait of the schedule.
        (
            b"HTTP/1.1 503 Later\r\nRetry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            failed,
            minute * 360,
            minute * 361,
        ),
        (b"HTTP/1.1 503 Later\r\nRetry-After: -5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", failed, Duration::from_secs(1), minute),
        (b"HTTP/1.1 429 Slow\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", limited, Duration::from_secs(1), minute),
    ];
    for (reply, reason, least, most) in cases {
        let (rest, outcome) = rests(Conduct::Bytes(reply)).await;
        assert_eq!(outcome, AttemptOutcome::Failed(reason));
        assert!(rest >= least && rest < most, "{rest:?}: {}", String::from_utf8_lossy(reply));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_403_rate_limit_is_a_rate_limit_by_header_or_words() {
    const EMPTY: &[u8] =
        b"HTTP/1.1 403 Forbidden\r\nX-Rate-Limit-Remaining: -3.5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    for reply in [Conduct::Bytes(EMPTY), Conduct::Says(403, "403 Forbidden (Rate Limit Exceeded)\n")] {
        for delivery in DELIVERIES {
            let (job, script) = meet(delivery, vec![reply.clone()]).await;
            is_delivered(&job, 2, delivery);
            assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::RateLimited), "{delivery}");
            assert!(token_requests(&script) <= 1, "{delivery}: the token is not to blame");
        }
        let (job, _) = meet_for_a_token(vec![reply], Setting::flagging).await;
        assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::RateLimited));
    }
}

/// Never a success, whoever wrote it; tried again, and flagged in the end.
#[tokio::test(flavor = "multi_thread")]
async fn class_200_html_is_never_a_success() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        for (route, event) in [(Route::Lti11, campus.lti11("7", 8)), (Route::Scores, campus.known("7", 8))] {
            campus.once(route, FaultKind::Html);
            let job = campus.deliver(&event).await;
            is_delivered(&job, 2, like.word());
            assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::BadResponse), "{like}");
        }
    })
    .await;
    each(DELIVERIES, |delivery| async move {
        let page = Conduct::Says(200, "<!DOCTYPE html><html><body>Please log in</body></html>");
        let (job, _) = meet(delivery, vec![page; 6]).await;
        is_flagged(&job, FailureReason::BadResponse, "Please log in", "check");
    })
    .await;
}

/// A wrong address: tried again as all else, never followed, and the place that it wants is told.
#[tokio::test(flavor = "multi_thread")]
async fn class_3xx_is_never_followed() {
    each(DELIVERIES, |delivery| async move {
        for code in [301, 302, 303, 307, 308] {
            let (job, script) = meet(delivery, vec![Conduct::Says(code, ""); 2]).await;
            is_delivered(&job, 3, delivery);
            assert_eq!(
                job.attempts[0].outcome,
                AttemptOutcome::Failed(FailureReason::BadResponse),
                "{delivery} {code}"
            );
            assert!(job.attempts[0].message.contains("http://127.0.0.1:1/login"), "{}", job.attempts[0].message);
            let asked = script.seen().len() - token_requests(&script);
            assert_eq!(asked, 3, "{delivery} {code}");
        }
    })
    .await;
}
