//! Replies that are late, cut, wrong, huge or none, to each delivery and to the token request.

use std::{future::Future, time::Duration};

use futures_util::StreamExt as _;
use passback::domain::{
    advice::advice,
    job::{Job, StateName},
    outcome::{AttemptOutcome, FailureReason},
};

use super::{
    conduct::{Conduct, Script},
    scene::{AMPLE, SHORT, Scene, event, open_transport},
};
use crate::service::worker::wait_for;

const DELIVERIES: [&str; 3] = ["lti11", "lti13-delegated", "lti13-ags"];

/// Whether the platform may have the grade all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Yes,
    No,
}

/// A conduct, and what becomes of an attempt that meets it.
struct Case {
    conduct: Conduct,
    reason: FailureReason,
    status: Option<u16>,
    words: &'static str,
    lost: Lost,
}

fn case(conduct: Conduct, reason: FailureReason, status: Option<u16>, words: &'static str, lost: Lost) -> Case {
    Case { conduct, reason, status, words, lost }
}

/// What is the same for everybody who asked.
fn cases() -> Vec<Case> {
    use Conduct::{Bytes, Closes, Drips, Resets, Says, Silent, SlowHeaders, TenMegabytes, TenMegabytesInChunks};
    use FailureReason::{BadResponse, Connection, RateLimited, ServerError, Timeout};
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<imsx_POXEnvelope";
    const HALF_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Le";
    const TOO_LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"a\":\"much longer than that\"}";
    const NO_NUMBER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}";
    const BROKEN_CHUNK: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n";
    const NO_TEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n{\xff\xfe\x00";
    vec![
        case(Resets, Connection, None, "cut the connection", Lost::Yes),
        case(Closes, Connection, None, "closed the connection", Lost::Yes),
        case(Bytes(HALF_HEAD), Connection, None, "closed the connection", Lost::Yes),
        case(Bytes(HALF), Connection, Some(200), "closed the connection before", Lost::Yes),
        case(Silent, Timeout, None, "did not answer within 1 s", Lost::Yes),
        case(SlowHeaders, Timeout, None, "did not answer within 1 s", Lost::Yes),
        case(Drips, Timeout, Some(200), "the whole reply was not there within 1 s", Lost::Yes),
        case(TenMegabytes, BadResponse, Some(200), "larger than 256 KiB", Lost::Yes),
        case(TenMegabytesInChunks, BadResponse, Some(200), "larger than 256 KiB", Lost::Yes),
        case(Bytes(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), BadResponse, None, "no HTTP", Lost::Yes),
        case(Bytes(b"\0\x01\x02garbage\r\n\r\n"), BadResponse, None, "no HTTP", Lost::Yes),
        case(Bytes(NO_NUMBER), BadResponse, None, "no HTTP", Lost::Yes),
        case(Bytes(BROKEN_CHUNK), BadResponse, Some(200), "broken", Lost::Yes),
        // From here on there was a whole answer, if a useless one.
        case(Bytes(TOO_LONG), BadResponse, Some(200), "", Lost::No),
        case(Bytes(NO_TEXT), BadResponse, Some(200), "", Lost::No),
        case(Says(302, ""), BadResponse, Some(302), "a redirect, which is not followed", Lost::No),
        case(Says(200, "<html><body>Please log in</body></html>"), BadResponse, Some(200), "Please log in", Lost::No),
        case(Says(500, "oh no"), ServerError, Some(500), "oh no", Lost::No),
        case(Says(503, "later"), ServerError, Some(503), "later", Lost::No),
        case(Says(502, "gateway"), ServerError, Some(502), "gateway", Lost::Yes),
        case(Says(504, "gateway"), ServerError, Some(504), "gateway", Lost::Yes),
        case(Says(429, "slow down"), RateLimited, Some(429), "slow down", Lost::No),
    ]
}

/// The first attempt met the conduct and ended in time, saying what it must and telling no secret; and there was a second.
#[track_caller]
fn check_first(job: &Job, case: &Case, limit: Duration) {
    let (first, what) = (&job.attempts[0], &case.conduct);
    assert_eq!(first.outcome, AttemptOutcome::Failed(case.reason), "{what:?}: {}", first.message);
    assert_eq!(first.http_status, case.status, "{what:?}");
    assert!(first.message.contains(case.words), "{what:?}: {}", first.message);
    assert!(!first.message.contains("hush") && !first.message.contains('?'), "{what:?}: {}", first.message);
    assert!(first.reply_lost == (case.lost == Lost::Yes), "{what:?}: {}", first.message);
    assert!(first.counted, "{what:?}");
    assert!(first.duration <= limit + Duration::from_secs(10), "{what:?} took {:?}", first.duration);
    // On a machine that is very busy a good answer may come too late as well, where the limit is short.
    let (_, between) = job.attempts[1..].split_last().expect("there was a second");
    let late = AttemptOutcome::Failed(FailureReason::Timeout);
    assert!(between.iter().all(|attempt| limit == SHORT && attempt.outcome == late), "{what:?}: {between:?}");
}

/// The limit that a conduct is met with: short where it is to run out, ample where it is not.
fn limit(case: &Case) -> Duration {
    if case.reason == FailureReason::Timeout { SHORT } else { AMPLE }
}

/// Most of the time is waiting; so some cases go side by side.
async fn some_at_once<F>(cases: Vec<Case>, meet: impl Fn(Case) -> F)
where
    F: Future<Output = ()>,
{
    futures_util::stream::iter(cases).for_each_concurrent(4, &meet).await;
}

/// One bad reply to a delivery; to the second try the platform says `then`.
async fn meet(delivery: &str, case: &Case, then: Conduct) -> Job {
    let script = Script::for_scores(&[case.conduct.clone(), then]);
    let server = script.server().await;
    let base = format!("http://{}", server.address);
    let scene = Scene::start(open_transport(), &base, limit(case));
    let id = scene.submit(&event(delivery, &base)).await;
    let job = scene.ended(id).await;
    check_first(&job, case, limit(case));
    wait_for("the slot to be free", async || (scene.handle.look().await?.under_way == 0).then_some(())).await;
    let scores = script.seen().iter().filter(|path| *path != "/token").count();
    assert_eq!(scores, job.attempts.len(), "nothing was sent twice, and no redirect was followed");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reply_ends_the_attempt_and_the_next_one_delivers() {
    some_at_once(cases(), |case| async move {
        for delivery in DELIVERIES {
            let job = meet(delivery, &case, Conduct::Good).await;
            assert_eq!(job.state_name(), StateName::Delivered, "{:?}", case.conduct);
        }
    })
    .await;
}

/// To a second try that follows a lost reply, "not newer" means that the platform has the grade; after any other failure
/// it means that it has a newer one.
#[tokio::test(flavor = "multi_thread")]
async fn not_newer_after_a_lost_reply_is_a_delivery_and_else_it_is_not() {
    some_at_once(cases(), |case| async move {
        let job = meet("lti13-ags", &case, Conduct::Says(409, "not newer")).await;
        let want = if case.lost == Lost::Yes { StateName::Delivered } else { StateName::Superseded };
        assert_eq!(job.state_name(), want, "{:?}", case.conduct);
    })
    .await;
}

/// The same at the token endpoint: no grade was on its way, so no reply to one was lost, whatever happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reply_of_the_token_endpoint_loses_no_grade() {
    some_at_once(cases(), |mut case| async move {
        case.lost = Lost::No;
        let script = Script::for_tokens(std::slice::from_ref(&case.conduct));
        let server = script.server().await;
        let base = format!("http://{}", server.address);
        let scene = Scene::start(open_transport(), &base, limit(&case));
        let id = scene.submit(&event("lti13-ags", &base)).await;
        let job = scene.ended(id).await;
        check_first(&job, &case, limit(&case));
        assert_eq!(job.state_name(), StateName::Delivered);
        let seen = script.seen();
        assert_eq!(seen[..2], ["/token", "/token"], "{:?}", case.conduct);
        assert_eq!(seen.last().map(String::as_str), Some("/lineitems/1/scores?ticket=hush"), "{:?}", case.conduct);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_token_endpoint_is_told_as_one() {
    for (status, body) in [(400, r#"{"error":"invalid_client"}"#), (401, ""), (403, "no"), (404, "<html>oops</html>")] {
        let refused = case(Conduct::Says(status, body), FailureReason::TokenRefused, Some(status), "", Lost::No);
        let script = Script::for_tokens(std::slice::from_ref(&refused.conduct));
        let server = script.server().await;
        let base = format!("http://{}", server.address);
        let scene = Scene::start(open_transport(), &base, AMPLE);
        let job = scene.ended(scene.submit(&event("lti13-ags", &base)).await).await;
        check_first(&job, &refused, AMPLE);
    }
}

/// A platform that never gets better: six attempts, then flagged with the reason, whatever it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_stays_bad_ends_in_a_flag() {
    for conduct in
        [Conduct::Drips, Conduct::TenMegabytes, Conduct::Resets, Conduct::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")]
    {
        let script = Script::for_scores(&vec![conduct.clone(); 6]);
        let server = script.server().await;
        let base = format!("http://{}", server.address);
        let limit = if matches!(conduct, Conduct::Drips) { SHORT } else { AMPLE };
        let scene = Scene::start(open_transport(), &base, limit);
        let job = scene.ended(scene.submit(&event("lti11", &base)).await).await;
        assert_eq!((job.state_name(), job.attempts.len(), job.tries), (StateName::Flagged, 6, 6), "{conduct:?}");
        let AttemptOutcome::Failed(reason) = job.attempts[5].outcome else { panic!("a failure") };
        let advice = advice(&job, job.event().ok().as_deref());
        assert!(job.reason == Some(reason) && advice.is_some_and(|advice| advice.ends_with('.')), "{conduct:?}");
    }
}

/// A byte a second, as the real ones do it: the attempt ends at its limit, not with the reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_busy_for_no_longer_than_the_limit() {
    let script = Script::for_scores(&[Conduct::Drips]);
    let server = script.server().await;
    let base = format!("http://{}", server.address);
    let scene = Scene::start(open_transport(), &base, SHORT);
    let slow = scene.submit(&event("lti11", &base)).await;
    // There is one slot in all: another platform's grade has to wait for it, and no longer.
    let other = Script::default();
    let neighbour = other.server().await;
    let quick = scene.submit(&event("lti13-delegated", &format!("http://{}", neighbour.address))).await;
    let quick = scene.ended(quick).await;
    assert_eq!((quick.state_name(), quick.attempts.len()), (StateName::Delivered, 1));
    let waited = quick.attempts[0].started_at.since(quick.created_at);
    assert!(waited <= SHORT + Duration::from_secs(10), "{waited:?}");
    let slow = scene.ended(slow).await;
    let told: Vec<_> = slow.attempts.iter().map(|attempt| &attempt.message).collect();
    assert_eq!(slow.state_name(), StateName::Delivered, "{told:?}");
}
