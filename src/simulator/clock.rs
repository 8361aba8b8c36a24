//! The simulated LMS's clock and chance: the one file here in which either enters.
//!
//! The simulator plays another machine, with a clock of its own, so it does not take the worker's. Everything
//! else in this folder gets the time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Milliseconds since 1970 (UTC). A clock set before 1970 reads as 0.
#[expect(clippy::disallowed_methods, reason = "the simulated LMS is the other side of the wire and has its own clock")]
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A moment as the `Date` header tells it (RFC 9110, 5.6.7).
pub(super) fn http_date(at_ms: i64) -> HeaderValue {
    let moment = UNIX_EPOCH + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    HeaderValue::from_str(&httpdate::fmt_http_date(moment)).expect("a date has no control characters")
}

/// An access token that nobody can guess: 32 random bytes in base64url. `None` when the system has no randomness.
pub(super) fn opaque_token() -> Option<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
