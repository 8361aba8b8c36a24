//! Events over HTTP: `POST /v1/events`, and `POST /lti/grade_passback`, which is Learnosity's own LTI 1.3 POST.
//!
//! A request is answered only when everything that it brought is on disk. An array or NDJSON is taken whole or not at
//! all: every event is read before the first one is stored. Who may post events is checked before this router is
//! reached; the consumer key of a grade passback is checked here.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::access::Access,
    domain::{
        event::{Door, EVENT_BYTES_MAX, Refused},
        ledger::Arrival,
        notice::{SignIn, Source},
    },
    ports::{Incoming, Intake, Peer, Porter, Receipt, StoreError},
    problem::Problem,
};

/// The largest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a sender may take to send its body.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// Bodies that may be in memory at one time, in KiB: four of the largest.
const ROOM_KIB: usize = 4 * (REQUEST_BYTES_MAX / 1024 + 1);
/// Events of one request that are in the store's hands at one time.
const EVENTS_AT_ONCE: usize = 500;

/// What the handlers share.
#[derive(Clone)]
pub struct Doors {
    intake: Arc<dyn Intake>,
    access: Arc<Access>,
    porter: Arc<dyn Porter>,
    drain: CancellationToken,
    room: Arc<Semaphore>,
    body_within: Duration,
}

/// `POST /v1/events`; wants a layer before it that lets only those in who may.
pub fn events_router(doors: Doors) -> Router {
    Router::new().route("/v1/events", post(post_events)).with_state(doors)
}

/// `POST /lti/grade_passback`, with HTTP Basic of its own.
pub fn grade_passback_router(doors: Doors) -> Router {
    Router::new().route("/lti/grade_passback", post(post_grade_passback)).with_state(doors)
}

#[derive(Serialize)]
struct Taken {
    events: Vec<TakenEvent>,
}

#[derive(Serialize)]
struct TakenEvent {
    id: String,
    event_id: Option<String>,
    result: &'static str,
}

impl From<Receipt> for TakenEvent {
    fn from(receipt: Receipt) -> Self {
        let result = if receipt.duplicate { "duplicate" } else { "stored" };
        Self { id: receipt.id.to_string(), event_id: receipt.event_id, result }
    }
}

async fn post_events(State(doors): State<Doors>, request: Request) -> Result<Response, Problem> {
    doors.is_open()?;
    let form = Form::of(request.headers())?;
    let _room = doors.room_for(request.headers()).await?;
    let body = read_body(request.into_body(), REQUEST_BYTES_MAX, doors.body_within).await?;
    let events = form.split(&body)?;
    // Every event is looked at before the first is stored; what was read is not kept, so that a request of many small
    // events takes no more memory than its bytes.
    let refusals: Vec<(usize, Refused)> =
        events.iter().enumerate().filter_map(|(index, event)| Some((index, doors.read(event).err()?))).collect();
    if !refusals.is_empty() {
        return Err(Form::refuse(&refusals));
    }
    let mut taken = Vec::with_capacity(events.len());
    for some in events.chunks(EVENTS_AT_ONCE) {
        let arrivals = some.iter().map(|event| doors.read(event)).collect::<Result<Vec<_>, _>>();
        let arrivals = arrivals.map_err(|refused| refuse_one(&refused))?;
        let stored = try_join_all(arrivals.into_iter().map(|arrival| doors.intake.store(arrival)));
        let receipts = in_time(stored, taken.len()).await?;
        taken.extend(receipts.into_iter().map(TakenEvent::from));
    }
    Ok((StatusCode::ACCEPTED, Json(Taken { events: taken })).into_response())
}

/// Waits for the store, and not for ever: a disk that hangs must not keep every connection. What is stored after all is
/// known when its sender asks again. So many events of the request were taken before.
async fn in_time<T>(stored: impl Future<Output = Result<T, StoreError>>, taken: usize) -> Result<T, Problem> {
    match timeout(STORE_WITHIN, stored).await {
        Ok(stored) => stored.map_err(|_| store_failed(taken)),
        Err(_) => Err(Problem::outcome_unknown()),
    }
}

/// Far beyond any commit, and below the patience of most senders.
const STORE_WITHIN: Duration = Duration::from_secs(30);

/// The store failed after it had taken so many events of the request.
fn store_failed(taken: usize) -> Problem {
    if taken == 0 {
        return Problem::store_unavailable();
    }
    let detail =
        format!("the store failed after {taken} events: send the request again later, known events do no harm");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, "10")
}

async fn post_grade_passback(State(doors): State<Doors>, request: Request) -> Result<StatusCode, Problem> {
    doors.is_open()?;
    let user = doors.sign_in(request.headers(), request.extensions().get().copied()).await?;
    let body = read_body(request.into_body(), EVENT_BYTES_MAX, doors.body_within).await?;
    if names_another_key(&body, &user) {
        let detail = "oauth_consumer_key is not the key that signed in";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).with("field", "oauth_consumer_key"));
    }
    let incoming = Incoming {
        body: (&*body).into(),
        door: Door::GradePassback,
        source: Source::Lti,
        message_id: None,
        sent_at: None,
        user: Some(user.clone()),
    };
    let arrival = doors.intake.read(incoming).map_err(|refused| refuse_one(&refused))?;
    let url = arrival.event.destination.service_url().as_url();
    if !doors.access.key_reaches(&user, url.host_str().unwrap_or_default()) {
        let detail = "the line item is at a host that is not among the `hosts` of this key";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).with("field", "lineitem"));
    }
    in_time(doors.intake.store(arrival), 0).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Doors {
    /// The doors to the engine, for those who have access; the porter remembers those who have not.
    /// They are shut once `drain` is cancelled.
    pub fn new(
        intake: Arc<dyn Intake>,
        access: Arc<Access>,
        porter: Arc<dyn Porter>,
        drain: CancellationToken,
    ) -> Self {
        Self { intake, access, porter, drain, room: Arc::new(Semaphore::new(ROOM_KIB)), body_within: BODY_WITHIN }
    }

    /// Waits so long for the body of a request.
    #[must_use]
    pub fn waiting_for_bodies(self, body_within: Duration) -> Self {
        Self { body_within, ..self }
    }

    /// The consumer key that signed in with its secret.
    async fn sign_in(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<String, Problem> {
        if let Some(user) = basic_user(headers, &self.access) {
            return Ok(user);
        }
        if headers.contains_key(header::AUTHORIZATION) {
            self.porter.turn_away(SignIn::LtiKey, peer.map(|Peer(address)| address)).await;
        }
        let realm = "Basic realm=\"passback\", charset=\"UTF-8\"";
        Err(Problem::new(StatusCode::UNAUTHORIZED, "sign in with HTTP Basic: a consumer key and its secret")
            .with_header(header::WWW_AUTHENTICATE, realm))
    }

    fn is_open(&self) -> Result<(), Problem> {
        if !self.drain.is_cancelled() {
            return Ok(());
        }
        let detail = "the worker is stopping and takes nothing more in: send it again later";
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, "10"))
    }

    fn read(&self, event: &[u8]) -> Result<Box<Arrival>, Refused> {
        self.intake.read(Incoming {
            body: event.into(),
            door: Door::Event,
            source: Source::Http,
            message_id: None,
            sent_at: None,
            user: None,
        })
    }

    /// Waits until the bodies that are being read leave room for this one.
    async fn room_for(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Problem> {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let bytes = told.unwrap_or(REQUEST_BYTES_MAX).min(REQUEST_BYTES_MAX);
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = timeout(self.body_within, Arc::clone(&self.room).acquire_many_owned(kib)).await;
        room.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = "too many large requests at once: send it again in a moment, or in smaller parts";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, "10")
        })
    }
}

fn refuse_one(refused: &Refused) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refused.detail.clone()).with("field", refused.field.clone())
}

async fn read_body(body: Body, limit: usize, within: Duration) -> Result<Bytes, Problem> {
    let read = timeout(within, axum::body::to_bytes(body, limit)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(too_large(format!("a request must be at most {limit} bytes"))),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off before its end")),
        Err(_) => {
            let detail = format!("the body must come within {} seconds", within.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.to_string().contains("length limit"))
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// The user of HTTP Basic whose password is right.
fn basic_user(headers: &HeaderMap, access: &Access) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    access.check_basic(user, password).then(|| user.to_owned())
}

/// Whether the body names another consumer key than the one that signed in. A body that cannot be read is refused later.
fn names_another_key(body: &[u8], user: &str) -> bool {
    #[derive(Deserialize)]
    struct Keyed<'a> {
        // Raw: a value nested deeper than serde_json reads must not pass for none at all.
        #[serde(borrow)]
        oauth_consumer_key: Option<&'a RawValue>,
    }
    let named = serde_json::from_slice::<Keyed<'_>>(body).ok().and_then(|keyed| keyed.oauth_consumer_key);
    named.is_some_and(|key| serde_json::from_str::<String>(key.get()).ok().as_deref() != Some(user))
}

/// How a request carries its events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else if essence.eq_ignore_ascii_case("application/x-ndjson") {
            Ok(Self::Lines)
        } else {
            let detail = "send events as application/json (one, or an array) or application/x-ndjson";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }

    /// The bytes of each event, as they came.
    fn split(self, body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
        let events = match self {
            Self::Lines => {
                body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect()
            }
            Self::Json if body.trim_ascii_start().first() == Some(&b'[') => elements(body)?,
            Self::Json => vec![body],
        };
        match events.iter().position(|event| event.len() > EVENT_BYTES_MAX) {
            Some(index) => {
                let detail = format!("event {index} is too large: an event must be at most {EVENT_BYTES_MAX} bytes");
                Err(too_large(detail).with("index", index))
            }
            None => Ok(events),
        }
    }

    /// The answer where one or more events can never become jobs.
    fn refuse(refusals: &[(usize, Refused)]) -> Problem {
        let [(_, first), ..] = refusals else {
            return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the events cannot be read");
        };
        let problem = refuse_one(first);
        let errors: Vec<_> = refusals
            .iter()
            .map(|(index, refused)| json!({"index": index, "field": refused.field, "detail": refused.detail}))
            .collect();
        problem.with("errors", errors)
    }
}

fn elements(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("event is not valid JSON (line {}, column {})", error.line(), error.column());
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("field", "event")
    })?;
    Ok(elements.into_iter().map(|element| element.get().as_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_a_store_that_hangs() {
        let began = Instant::now();
        let refused = in_time(pending::<Result<(), StoreError>>(), 0).await.expect_err("it hangs").into_response();
        assert_eq!(began.elapsed().as_secs(), STORE_WITHIN.as_secs());
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        let body = axum::body::to_bytes(refused.into_body(), 4096).await.expect("a short body");
        assert!(String::from_utf8_lossy(&body).contains("is not known"), "{body:?}");
    }
}
