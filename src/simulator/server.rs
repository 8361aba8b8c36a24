//! The sockets: accepts connections, reads requests within their limits, lets faults strike, sends answers.
//!
//! HTTP/1.1 on hyper itself, because a fault must be able to cut a connection in the place of an answer. Every
//! connection is a task of the tracker; `drain` lets the requests under way end, `abort` does not.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{DATE, HeaderName, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::faults::{self, FaultKind};
use super::ledger::{Ending, Refusal, Route};
use super::message::{Answer, Call};
use super::platform::{Place, Platform};
use super::rate::Room;
use super::{clock, lti11};

/// More connections than these wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// A body larger than this is refused; a grade needs a hundredth of it.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// An idle connection, and one that sends its head too slowly, is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const REMAINING: HeaderName = HeaderName::from_static("x-rate-limit-remaining");

/// The two ways to end a server.
#[derive(Clone, Default)]
pub(super) struct Stop {
    /// No new requests; those under way may end.
    pub(super) drain: CancellationToken,
    /// Everything ends where it stands.
    pub(super) abort: CancellationToken,
}

/// Accepts connections until it is stopped.
pub(super) async fn run(listener: TcpListener, platform: Arc<Platform>, tasks: TaskTracker, stop: Stop) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((place, stream))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = stop.drain.cancelled() => return,
        };
        match accepted {
            Ok((place, stream)) => {
                let connection = serve(stream, Arc::clone(&platform), stop.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // Out of file handles, say: waiting a moment is all that helps.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, platform: Arc<Platform>, stop: Stop) {
    // Answers are small and whole; waiting to fill a packet would only delay them. A failure costs speed alone.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| respond(Arc::clone(&platform), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // How a connection ended is of no interest here: the client sees it, and cutting one is a fault that was asked for.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.abort.cancelled() => return,
        () = stop.drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = stop.abort.cancelled() => {}
    }
}

/// The connection ends without an answer, on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut by a fault")]
struct Cut;

async fn respond(platform: Arc<Platform>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let place = platform.place(&path);
    let room = place.route().map_or(Room::Unlimited, |_| platform.rate.take(clock::now_ms()));
    if room == Room::Full {
        let answer = rate_limit(&platform).refusing("one request too many for the rate limit".to_owned());
        note(&platform, place.route(), &answer);
        return Ok(respond_with(&platform, answer));
    }
    let struck = place.route().and_then(|route| Some((route, platform.faults.poll(route)?)));
    if let Some((route, FaultKind::CutBefore)) = struck {
        platform.ledger.count(route, Ending::Faulted);
        return Err(Cut);
    }
    let answer = match read_body(parts, body).await {
        Err(refused) => {
            note(&platform, place.route(), &refused);
            refused
        }
        Ok(request) => match struck {
            None => judge(&platform, place, &request).await,
            Some((route, kind)) => {
                // A request that is only delayed is counted as what becomes of it.
                if !matches!(kind, FaultKind::Delay { .. } | FaultKind::RevokeTokens) {
                    platform.ledger.count(route, Ending::Faulted);
                }
                strike(&platform, place, &request, kind).await?
            }
        },
    };
    Ok(respond_with(&platform, tell_room(&platform, answer, room)))
}

/// A platform that tells how much room a limit leaves tells it in each answer, where requests are counted.
fn tell_room(platform: &Platform, answer: Answer, room: Room) -> Answer {
    let tells = platform.manners.site.rate_limit.is.remaining.is_some();
    match room {
        Room::Left(left) if tells && !answer.headers.iter().any(|(name, _)| *name == REMAINING) => {
            answer.with_header(REMAINING, &format!("{left}.0"))
        }
        _ => answer,
    }
}

fn respond_with(platform: &Platform, answer: Answer) -> Response<Body> {
    let mut response = answer.into_response();
    if platform.clock_skew_ms != 0 {
        // Else the server adds the machine's own time.
        response.headers_mut().insert(DATE, clock::http_date(clock::now_ms() + platform.clock_skew_ms));
    }
    response
}

async fn read_body(parts: Parts, body: Incoming) -> Result<Call, Answer> {
    let whole = timeout(BODY_TIMEOUT, axum::body::to_bytes(Body::new(body), BODY_BYTES_MAX)).await;
    let whole: Result<Bytes, _> =
        whole.map_err(|_| Answer::error(StatusCode::REQUEST_TIMEOUT, "the body came too slowly".to_owned()))?;
    let body = whole.map_err(|_| {
        let reason = format!("the body is broken off, or larger than {BODY_BYTES_MAX} bytes");
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, reason)
    })?;
    Ok(Call { parts, body })
}

/// The answer by the rules, counted.
async fn judge(platform: &Platform, place: Place<'_>, request: &Call) -> Answer {
    let answer = platform.answer(place, request, clock::now_ms() + platform.clock_skew_ms).await;
    note(platform, place.route(), &answer);
    answer
}

fn note(platform: &Platform, route: Option<Route>, answer: &Answer) {
    let ending = if answer.refusal.is_some() { Ending::Refused } else { Ending::Accepted };
    if let Some(route) = route {
        platform.ledger.count(route, ending);
    }
    note_refusal(platform, route, answer);
}

fn note_refusal(platform: &Platform, route: Option<Route>, answer: &Answer) {
    if let Some(reason) = &answer.refusal {
        let (status, reason) = (answer.status.as_u16(), reason.clone());
        platform.ledger.note(Refusal { route, at_ms: clock::now_ms(), status, reason });
    }
}

/// What a fault makes of a request.
async fn strike(platform: &Platform, place: Place<'_>, request: &Call, kind: FaultKind) -> Result<Answer, Cut> {
    Ok(match kind {
        FaultKind::AcceptThenCut => {
            carry_out(platform, place, request).await;
            return Err(Cut);
        }
        FaultKind::AcceptThenStatus { code } => {
            carry_out(platform, place, request).await;
            Answer::empty(faults::status(code))
        }
        FaultKind::Status { code, body, retry_after } => {
            let answer = Answer::text(faults::status(code), "text/plain; charset=utf-8", body.unwrap_or_default());
            with_retry_after(answer, retry_after.as_deref())
        }
        FaultKind::Html => {
            Answer::text(StatusCode::OK, "text/html; charset=utf-8", platform.manners.site.maintenance.is.page)
        }
        FaultKind::RateLimit => rate_limit(platform),
        FaultKind::Maintenance => {
            let manner = &platform.manners.site.maintenance.is;
            let answer = Answer::text(faults::status(manner.status), "text/html; charset=utf-8", manner.page);
            with_retry_after(answer, manner.retry_after)
        }
        FaultKind::RevokeTokens => {
            platform.tokens.revoke_all();
            judge(platform, place, request).await
        }
        FaultKind::Failure { description } => lti11::failure(platform, request, &description),
        FaultKind::EmptyList => Answer::json(StatusCode::OK, &serde_json::json!([])),
        FaultKind::Delay { ms } => {
            sleep(Duration::from_millis(ms)).await;
            judge(platform, place, request).await
        }
        FaultKind::CutBefore => return Err(Cut),
    })
}

/// What the platform says to somebody who asks too often.
fn rate_limit(platform: &Platform) -> Answer {
    let manner = &platform.manners.site.rate_limit.is;
    let answer = Answer::text(faults::status(manner.status), "text/plain; charset=utf-8", manner.words);
    let answer = with_retry_after(answer, manner.retry_after);
    match manner.remaining {
        Some(remaining) => answer.with_header(REMAINING, remaining),
        None => answer,
    }
}

fn with_retry_after(answer: Answer, retry_after: Option<&str>) -> Answer {
    match retry_after {
        Some(text) => answer.with_header(RETRY_AFTER, text),
        None => answer,
    }
}

/// Does what is asked and throws the answer away; a refusal is noted with its reason all the same.
async fn carry_out(platform: &Platform, place: Place<'_>, request: &Call) {
    let answer = platform.answer(place, request, clock::now_ms() + platform.clock_skew_ms).await;
    note_refusal(platform, place.route(), &answer);
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::{Value, json};

    use super::super::jwks::http_client;
    use super::super::testing::{CLIENT, assertion, claims, jwks, oauth_header, options, replace_result, token_form};
    use super::super::{Cell, Client, Fault, Jwks, Likeness, Options, SCOPE_SCORE, SimulatedLms};
    use super::*;

    async fn lms() -> SimulatedLms {
        SimulatedLms::start(options()).await.expect("a free port")
    }

    async fn post(lms: &SimulatedLms, user: &str) -> reqwest::Result<reqwest::Response> {
        let body = json!({"oauth_consumer_key": "key", "user_id": user, "data": {"score": 1, "max_score": 2}});
        http_client()?
            .post(lms.delegated_url())
            .header("authorization", format!("Basic {}", BASE64_STANDARD.encode("key:secret")))
            .json(&body)
            .send()
            .await
    }

    async fn status_of(lms: &SimulatedLms, user: &str) -> u16 {
        post(lms, user).await.expect("an answer").status().as_u16()
    }

    #[tokio::test]
    async fn the_protocols_work_over_sockets() {
        let lms = lms().await;
        let http = http_client().expect("a client");
        let (url, body) = (lms.outcomes_url() + "?course=7", replace_result("s", "0.5"));
        let header = oauth_header(&url, &body, "n", clock::now_ms() / 1000);
        let request = http.post(&url).header("content-type", "application/xml").header("authorization", header);
        let reply = request.body(body).send().await.expect("an answer").text().await.expect("a body");
        assert!(reply.contains("<imsx_codeMajor>success"), "{:?}", lms.refusals());

        let assertion =
            assertion(&json!({"alg": "RS256", "kid": "k1"}), &claims("j", &lms.token_url(), clock::now_ms()));
        let request = http.post(lms.token_url()).header("content-type", "application/x-www-form-urlencoded");
        let grant = request.body(token_form(&assertion, SCOPE_SCORE)).send().await.expect("an answer");
        let grant: Value = grant.json().await.expect("JSON");
        let score = json!({"userId": "u", "timestamp": "2020-01-01T00:00:00Z", "activityProgress": "Completed",
            "gradingProgress": "FullyGraded", "scoreGiven": 3, "scoreMaximum": 4});
        let request = http.post(lms.lineitem_url("c1", "a").replace('?', "/scores?"));
        let request = request.bearer_auth(grant["access_token"].as_str().unwrap_or_default());
        let request = request.header("content-type", "application/vnd.ims.lis.v1.score+json").body(score.to_string());
        assert_eq!(request.send().await.expect("an answer").status(), 200, "{:?}", lms.refusals());
        assert_eq!(lms.grade(&Cell::ags("c1", "a", "u")).map(|grade| grade.score), Some(3.0));
        assert_eq!(lms.gradebook().len(), 2);
        assert_eq!((lms.requests(Route::Scores).accepted, lms.requests(Route::Token).total()), (1, 1));
        lms.stop().await;
    }

    #[tokio::test]
    async fn faults_do_what_they_say() {
        let lms = lms().await;
        let strike = async |kind: FaultKind| {
            lms.set_fault(Route::Delegated, Fault::times(kind, 1)).expect("a sensible fault");
            post(&lms, "u").await
        };
        let writes = || lms.cell(&Cell::delegated("", "u")).map_or(0, |state| state.writes);

        assert!(strike(FaultKind::CutBefore).await.is_err());
        assert_eq!(writes(), 0);
        assert!(strike(FaultKind::AcceptThenCut).await.is_err());
        assert_eq!(writes(), 1, "the grade is there, the answer is not");
        assert_eq!(strike(FaultKind::AcceptThenStatus { code: 502 }).await.expect("an answer").status(), 502);
        assert_eq!(writes(), 2);
        let status = FaultKind::Status { code: 503, body: Some("later".to_owned()), retry_after: Some("7".to_owned()) };
        let reply = strike(status).await.expect("an answer");
        assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (503, &"7".parse().expect("a value")));
        assert_eq!(reply.text().await.expect("a body"), "later");
        let reply = strike(FaultKind::RateLimit).await.expect("an answer");
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["x-rate-limit-remaining"]),
            (403, &"0.0".parse().expect("a value"))
        );
        assert!(reply.text().await.expect("a body").contains("Rate Limit Exceeded"));
        let reply = strike(FaultKind::Html).await.expect("an answer");
        assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(strike(FaultKind::EmptyList).await.expect("an answer").text().await.expect("a body"), "[]");
        assert_eq!(writes(), 2);
        assert_eq!(strike(FaultKind::Delay { ms: 1 }).await.expect("an answer").status(), 204);
        assert_eq!((writes(), status_of(&lms, "u").await), (3, 204));
        let counts = lms.requests(Route::Delegated);
        assert_eq!((counts.accepted, counts.refused, counts.faulted), (2, 0, 7));
    }

    #[tokio::test]
    async fn requests_beyond_the_rate_are_turned_away_as_the_platform_does() {
        for (like, status, retry_after) in [(None, 403, None), (Some(Likeness::Moodle), 429, Some("1"))] {
            let options = Options { rate_limit: Some(2), like, ..options() };
            let lms = SimulatedLms::start(options).await.expect("a free port");
            let mut seen = Vec::new();
            for _ in 0..3 {
                let reply = post(&lms, "u").await.expect("an answer");
                let header =
                    |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                seen.push((reply.status().as_u16(), header("x-rate-limit-remaining"), header("retry-after")));
            }
            let left = |left: &str| like.is_none().then(|| left.to_owned());
            let expected = [
                (204, left("1.0"), None),
                (204, left("0.0"), None),
                (status, left("0.0"), retry_after.map(str::to_owned)),
            ];
            assert_eq!(seen, expected, "{like:?}");
            let counts = lms.requests(Route::Delegated);
            assert_eq!((counts.accepted, counts.refused), (2, 1));
            assert!(lms.refusals()[0].reason.contains("rate limit"));
            let controls = http_client().expect("a client").get(format!("{}/_control/requests", lms.base_url()));
            assert_eq!(controls.send().await.expect("an answer").status(), 200, "the controls are not counted");
        }
    }

    #[tokio::test]
    async fn a_codemajor_failure_echoes_the_message() {
        let lms = lms().await;
        let failure = FaultKind::Failure { description: "Error writing to <database>".to_owned() };
        lms.set_fault(Route::Lti11, Fault::always(failure)).expect("a sensible fault");
        let request = http_client().expect("a client").post(lms.outcomes_url()).body(replace_result("s", "1"));
        let reply = request.send().await.expect("an answer").text().await.expect("a body");
        assert!(reply.contains("<imsx_codeMajor>failure<") && reply.contains("to &lt;database&gt;<"), "{reply}");
        assert!(reply.contains("<imsx_messageRefIdentifier>m&amp;1<"), "{reply}");
    }

    #[tokio::test]
    async fn refused_users_are_refused_until_they_are_welcome() {
        let lms = lms().await;
        lms.refuse_user("u");
        assert_eq!((status_of(&lms, "u").await, status_of(&lms, "v").await), (422, 204));
        lms.welcome_user("u");
        assert_eq!(status_of(&lms, "u").await, 204);
        let reasons: Vec<_> = lms.refusals().into_iter().map(|refusal| (refusal.status, refusal.reason)).collect();
        assert_eq!(reasons, [(422, "User not found".to_owned())]);
    }

    #[tokio::test]
    async fn keys_are_fetched_and_fetched_again_for_an_unknown_kid() {
        let lms = lms().await;
        // A second simulated LMS, told to answer with a key set, plays the tool's key server.
        let tool = self::lms().await;
        let ask = async |kid: &str, jti: &str| {
            let header = json!({"alg": "RS256", "kid": kid});
            let assertion = assertion(&header, &claims(jti, &lms.token_url(), clock::now_ms()));
            let request = http_client().expect("a client").post(lms.token_url());
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let reply = request.body(token_form(&assertion, SCOPE_SCORE)).send().await.expect("an answer");
            reply.status().as_u16()
        };
        let serve = |kid: &str| {
            let body = Some(jwks(kid).to_string());
            let kind = FaultKind::Status { code: 200, body, retry_after: None };
            tool.set_fault(Route::Delegated, Fault::always(kind)).expect("a sensible fault");
        };
        lms.add_client(Client::new(CLIENT, Jwks::Url(tool.delegated_url()))).expect("a client");
        assert_eq!(ask("new", "1").await, 404, "no key set there: Moodle's 404 page");
        serve("new");
        assert_eq!((ask("new", "2").await, ask("newer", "3").await), (200, 401));
        serve("newer");
        assert_eq!(ask("newer", "4").await, 200);
        let fetches = tool.requests(Route::Delegated).total();
        assert_eq!((ask("newer", "5").await, tool.requests(Route::Delegated).total()), (200, fetches), "kept");
    }

    #[tokio::test]
    async fn a_stopped_lms_refuses_connections_and_can_come_back() {
        let lms = lms().await;
        let address = lms.address();
        assert_eq!(status_of(&lms, "u").await, 204);
        let url = lms.delegated_url();
        lms.stop().await;
        let error = http_client().expect("a client").post(&url).send().await.expect_err("nobody listens");
        assert!(error.is_connect());
        let again =
            SimulatedLms::start(Options { listen: address, ..options() }).await.expect("the port is free again");
        assert_eq!(status_of(&again, "u").await, 204);
        assert_eq!(again.describe().consumers[0].secret, "secret");
    }

    #[tokio::test]
    async fn senseless_options_are_refused() {
        let bad_name = Options { contexts: vec![("a b".to_owned(), vec![])], ..Options::default() };
        let bad_keys = Options { clients: vec![Client::new("c", Jwks::Inline(json!({})))], ..Options::default() };
        for options in [bad_name, bad_keys] {
            let error = SimulatedLms::start(options).await.err().expect("senseless");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
