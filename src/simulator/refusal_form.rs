//! The form of a refusal in AGS: the same status and reason, as each platform puts them.

use axum::body::Bytes;
use axum::http::StatusCode;
use hyper::ext::ReasonPhrase;
use serde_json::json;

use super::manners::ErrorBody;
use super::message::{Answer, Call};
use super::platform::Place;

/// What nginx says when it cannot read a status line.
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n\
    <body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// The answer in the platform's form. One that is no refusal, and those of other services, stay as they are.
pub(super) fn dress(form: ErrorBody, place: Place<'_>, request: &Call, answer: Answer) -> Answer {
    let is_ags = matches!(
        place,
        Place::Container { .. } | Place::LineItem { .. } | Place::Results { .. } | Place::Scores { .. }
    );
    let Some(reason) = answer.refusal.clone().filter(|_| is_ags && !answer.status.is_redirection()) else {
        return answer;
    };
    let (status, path) = (answer.status, request.path());
    let body = match form {
        ErrorBody::StatusAndReason => return answer,
        ErrorBody::InStatusLine if matches!(place, Place::Scores { .. }) => {
            return in_status_line(request, &reason, answer.status);
        }
        ErrorBody::InStatusLine => json!({"status": status.as_u16(), "reason": reason, "request": path}).to_string(),
        ErrorBody::Errors => json!({"errors": {"type": kind(status), "message": reason}}).to_string(),
        ErrorBody::Error => json!({"error": reason}).to_string(),
        ErrorBody::Detail => json!({"detail": reason}).to_string(),
        ErrorBody::StatusAndMessage => json!({"status": status.as_u16(), "message": reason}).to_string(),
        ErrorBody::Text => reason.clone(),
    };
    let media_type =
        if form == ErrorBody::Text { "text/plain; charset=utf-8" } else { "application/json; charset=utf-8" };
    let dressed = Answer::text(status, media_type, body).refusing(reason);
    Answer { headers: dressed.headers.iter().chain(&answer.headers[1..]).cloned().collect(), ..dressed }
}

/// Moodle: the body is `[]`, and the reason stands in the status line, with the whole request for a bad one. A line
/// break in it spoils the line, and PHP sends 200.
fn in_status_line(request: &Call, reason: &str, status: StatusCode) -> Answer {
    if status == StatusCode::BAD_GATEWAY {
        return Answer::text(StatusCode::BAD_GATEWAY, "text/html", BAD_GATEWAY).refusing(reason.to_owned());
    }
    let mut phrase = reason.as_bytes().to_vec();
    if status == StatusCode::BAD_REQUEST {
        phrase.extend_from_slice(b": ");
        phrase.extend_from_slice(&request.body);
    }
    let (status, phrase) = match ReasonPhrase::try_from(Bytes::from(phrase)) {
        Ok(phrase) => (status, Some(phrase)),
        Err(_) => (StatusCode::OK, None),
    };
    let dressed = Answer::text(status, "text/html; charset=utf-8", "[]").refusing(reason.to_owned());
    Answer { phrase, ..dressed }
}

/// Canvas's word for a status.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::PRECONDITION_FAILED => "precondition_failed",
        StatusCode::UNPROCESSABLE_ENTITY => "unprocessable_entity",
        _ => "bad_request",
    }
}
