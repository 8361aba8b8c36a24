//! A request as it came and an answer as it goes out, and the strict decoding that all routes share.
//!
//! Nothing here knows a protocol. A reason for a refusal is plain text: it is read by people, in the list of
//! refusals, and no code branches on it.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use serde_json::Value;

/// Why something is refused, in words.
pub(super) type Reason = String;

/// A request whose body has been read to its end.
pub(super) struct Call {
    pub(super) parts: Parts,
    pub(super) body: Bytes,
}

impl Call {
    /// The path, without the query, as sent.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The query, without the question mark, as sent; empty if there is none.
    pub(super) fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// The value of a header that must stand exactly once.
    pub(super) fn header(&self, name: &HeaderName) -> Result<&str, Reason> {
        let mut values = self.parts.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().map_err(|_| format!("the {name} header is not plain ASCII")),
            (None, _) => Err(format!("the {name} header is missing")),
            (Some(_), Some(_)) => Err(format!("the {name} header stands more than once")),
        }
    }

    /// Checks that the method is the only one that the place understands.
    pub(super) fn expect_method(&self, method: &Method) -> Result<(), Answer> {
        if self.parts.method == *method {
            return Ok(());
        }
        let reason = format!("{} is not understood here, only {method}", self.parts.method);
        Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, reason))
    }

    /// Checks for a JSON media type, exact but for parameters such as `;charset=utf-8` right after it.
    pub(super) fn expect_json_type(&self, media_type: &str) -> Result<(), Answer> {
        let unsupported = |reason| Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
        let sent = self.header(&CONTENT_TYPE).map_err(unsupported)?;
        if sent == media_type || sent.strip_prefix(media_type).is_some_and(|rest| rest.starts_with(';')) {
            return Ok(());
        }
        Err(unsupported(format!("the content type must be {media_type}, not {sent}")))
    }

    /// The body as a JSON object.
    pub(super) fn json_object(&self) -> Result<serde_json::Map<String, Value>, Reason> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err("the body is JSON, but not an object".to_owned()),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        }
    }

    /// The decoded value of a query parameter that stands at most once.
    pub(super) fn parameter(&self, name: &str) -> Result<Option<String>, Reason> {
        let mut found = None;
        for (key, value) in form_pairs(self.query())? {
            if key == name && found.replace(value).is_some() {
                return Err(format!("the query names {name} twice"));
            }
        }
        Ok(found)
    }
}

/// What goes back, and for a refusal the exact reason, which may say more than the caller is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    pub(super) refusal: Option<Reason>,
    /// What stands in the status line behind the number, where it is not the usual.
    pub(super) phrase: Option<ReasonPhrase>,
}

impl Answer {
    /// A status without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), refusal: None, phrase: None }
    }

    /// A body of the given type.
    pub(super) fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(media_type))];
        Self { status, headers, body: body.into(), refusal: None, phrase: None }
    }

    /// A JSON body.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// A refusal that tells the caller its reason, in Moodle's form of a JSON error.
    pub(super) fn error(status: StatusCode, reason: Reason) -> Self {
        Self::json(status, &serde_json::json!({"status": status.as_u16(), "reason": reason})).refusing(reason)
    }

    /// 400 with the reason: what most checks end in.
    pub(super) fn bad_request(reason: Reason) -> Self {
        Self::error(StatusCode::BAD_REQUEST, reason)
    }

    /// The same answer with one header more. A value that no header can carry is left out.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.push((name, value));
        }
        self
    }

    /// The same answer, marked as a refusal.
    pub(super) fn refusing(mut self, reason: Reason) -> Self {
        self.refusal = Some(reason);
        self
    }

    /// The answer as HTTP.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        if let Some(phrase) = self.phrase {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

/// Decodes `application/x-www-form-urlencoded` text (a form or a query), in order.
pub(super) fn form_pairs(text: &str) -> Result<Vec<(String, String)>, Reason> {
    let pieces = text.split('&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((percent_decode(&name.replace('+', " "))?, percent_decode(&value.replace('+', " "))?))
        })
        .collect()
}

/// Undoes percent-encoding; a `%` that two hexadecimal digits do not follow is refused.
pub(super) fn percent_decode(text: &str) -> Result<String, Reason> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let value = digit(rest.next()).zip(digit(rest.next())).map(|(high, low)| high * 16 + low);
        let value = value.and_then(|value| u8::try_from(value).ok());
        bytes.push(value.ok_or("a percent sign is not followed by two hexadecimal digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "percent-encoded text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_decoding_is_strict() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(percent_decode(text).ok().as_deref(), expected, "{text}");
        };
        check("plain", Some("plain"));
        check("a%20b%2Bc%3d", Some("a b+c="));
        check("%C3%A9", Some("é"));
        check("%", None);
        check("%2", None);
        check("%zz", None);
        check("%ff", None);
    }

    #[test]
    fn form_text_keeps_order_and_empty_values() {
        let pairs = form_pairs("b=1+2&a&&c=%26").expect("well-formed");
        let expected = [("b", "1 2"), ("a", ""), ("c", "&")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
