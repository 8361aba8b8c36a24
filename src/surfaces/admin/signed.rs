//! Whose word a change is: the name of the token, and the note in the body, for the audit log.

use std::time::Duration;

use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{
    config::access::Principal,
    domain::{
        audit::{Entry, NOTE_CHARS_MAX, Word},
        drawer::Note,
    },
    problem::Problem,
};

use super::{Surface, params::wrong};

/// The largest body, in bytes: a filter has nine short members.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a caller may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// The word of whoever calls, with the note of the body `{"note": "…"}`. There may be no body at all.
pub(super) struct Signed(pub(super) Word);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteBody {
    #[serde(default)]
    note: Option<String>,
}

impl FromRequest<Surface> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Surface) -> Result<Self, Problem> {
        let (who, body) = read(request).await?;
        let NoteBody { note } = match body {
            Some(body) => parse(&body, r#"{"note": "…"} or nothing"#)?,
            None => NoteBody::default(),
        };
        word(&who, note.as_deref()).map(Self)
    }
}

/// A word of this caller.
pub(super) fn word(who: &Principal, note: Option<&str>) -> Result<Word, Problem> {
    Word::of(&who.name)
        .saying(note.unwrap_or_default())
        .ok_or_else(|| wrong("note", &format!("is longer than {NOTE_CHARS_MAX} characters")))
}

/// The entry as a note, made now.
pub(super) fn note_of(surface: &Surface, entry: Entry) -> Result<Note, Problem> {
    let entry = Entry { at: surface.engine.now(), ..entry };
    surface.engine.as_note(&entry).map_err(|_| Problem::store_unavailable())
}

/// Who calls, and the JSON in the body; none where the body is empty.
pub(super) async fn read(request: Request) -> Result<(Principal, Option<Bytes>), Problem> {
    let who = request.extensions().get::<Principal>().cloned();
    let who = who.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "a token is needed"))?;
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    match timeout(BODY_WITHIN, to_bytes(request.into_body(), BODY_BYTES_MAX)).await {
        Ok(Ok(body)) if body.is_empty() => Ok((who, None)),
        Ok(Ok(_)) if !is_json => {
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as application/json"))
        }
        Ok(Ok(body)) => Ok((who, Some(body))),
        Ok(Err(_)) => {
            let detail = format!("the body broke off, or it is larger than {BODY_BYTES_MAX} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(_) => {
            let detail = format!("the body must come within {} seconds", BODY_WITHIN.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// Reads an object; a refusal says what to send. An array is none, though serde would take one for it.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], wanted: &str) -> Result<T, Problem> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("this is no JSON object; send {wanted}")));
    }
    let parsed = Json::<T>::from_bytes(body);
    parsed.map(|Json(parsed)| parsed).map_err(|rejection| {
        let words = rejection.body_text();
        // What the library was about when it met it is nobody's concern.
        let why = words.split_once(": ").map_or(&*words, |(_, why)| why);
        Problem::new(StatusCode::BAD_REQUEST, format!("{why}; send {wanted}"))
    })
}
