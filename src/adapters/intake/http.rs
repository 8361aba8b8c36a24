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

use crate::{
    config::access::Access,
    domain::{
        event::{Door, EVENT_BYTES_MAX, Refused},
        ledger::Arrival,
        notice::Source,
    },
    ports::{Incoming, Intake, Receipt},
    problem::Problem,
};

/// The largest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a sender may take to send its body.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// What the handlers share.
#[derive(Clone)]
pub struct Doors {
    /// The engine's door.
    pub intake: Arc<dyn Intake>,
    /// Who may come in.
    pub access: Arc<Access>,
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
    let form = Form::of(request.headers())?;
    let body = read_body(request.into_body(), REQUEST_BYTES_MAX).await?;
    let events = form.split(&body)?;
    let mut arrivals = Vec::with_capacity(events.len());
    let mut refusals = Vec::new();
    for (index, event) in events.iter().enumerate() {
        match read(&doors, event, Door::Event, Source::Http, None) {
            Ok(arrival) => arrivals.push(arrival),
            Err(refused) => refusals.push((index, refused)),
        }
    }
    if !refusals.is_empty() {
        return Err(Form::refuse(&refusals));
    }
    let receipts = try_join_all(arrivals.into_iter().map(|arrival| doors.intake.store(arrival)))
        .await
        .map_err(|_| Problem::store_unavailable())?;
    let events = receipts.into_iter().map(TakenEvent::from).collect();
    Ok((StatusCode::ACCEPTED, Json(Taken { events })).into_response())
}

async fn post_grade_passback(State(doors): State<Doors>, request: Request) -> Result<StatusCode, Problem> {
    let user = basic_user(request.headers(), &doors.access).ok_or_else(|| {
        let realm = "Basic realm=\"passback\", charset=\"UTF-8\"";
        Problem::new(StatusCode::UNAUTHORIZED, "sign in with HTTP Basic: a consumer key and its secret")
            .with_header(header::WWW_AUTHENTICATE, realm)
    })?;
    let body = read_body(request.into_body(), EVENT_BYTES_MAX).await?;
    if consumer_key_of(&body).is_some_and(|key| key != user) {
        let detail = "oauth_consumer_key is not the key that signed in";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).with("field", "oauth_consumer_key"));
    }
    let arrival =
        read(&doors, &body, Door::GradePassback, Source::Lti, Some(user)).map_err(|refused| refuse_one(&refused))?;
    doors.intake.store(arrival).await.map_err(|_| Problem::store_unavailable())?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(doors: &Doors, body: &[u8], door: Door, source: Source, user: Option<String>) -> Result<Box<Arrival>, Refused> {
    doors.intake.read(Incoming { body: body.into(), door, source, message_id: None, sent_at: None, user })
}

fn refuse_one(refused: &Refused) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refused.detail.clone()).with("field", refused.field.clone())
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, limit)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(too_large(format!("a request must be at most {limit} bytes"))),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off before its end")),
        Err(_) => {
            let detail = format!("the body must come within {} seconds", BODY_WITHIN.as_secs());
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

fn consumer_key_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Keyed {
        oauth_consumer_key: Option<String>,
    }
    serde_json::from_slice::<Keyed>(body).ok()?.oauth_consumer_key
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
