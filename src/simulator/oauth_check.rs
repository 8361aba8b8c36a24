//! Judges an OAuth 1.0a signature (RFC 5849) with the body-hash extension, as LTI 1.1 uses it.
//!
//! Written from the standards and sharing nothing with the sender. HMAC-SHA1 only; parameters from the header and
//! from the query of the address, never from a body (ours is XML). A nonce is remembered only once all else is
//! good, so that a request which fails does not spoil its correction.

use std::collections::{BTreeMap, HashMap};

use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha1::{Digest as _, Sha1};

use super::manners::{BodyHash, Nonces, OauthRules, Query};
use super::message::{Call, Reason, form_pairs, percent_decode};
use super::seen::Seen;

/// Why a request is not believed, told apart as platforms tell it apart to the sender.
#[derive(Debug, thiserror::Error)]
pub(super) enum OauthRefusal {
    #[error("{0}")]
    NoOauth(Reason),
    #[error("{0}")]
    NotValid(Reason),
    #[error("{0}")]
    Stale(Reason),
    #[error("{0}")]
    Replayed(Reason),
}

impl From<Reason> for OauthRefusal {
    fn from(reason: Reason) -> Self {
        Self::NotValid(reason)
    }
}

impl From<&str> for OauthRefusal {
    fn from(reason: &str) -> Self {
        Self::NotValid(reason.to_owned())
    }
}

/// What a signature is judged against.
pub(super) struct OauthCheck<'a> {
    /// Scheme, host and port of the address that was signed.
    pub(super) origin: &'a str,
    pub(super) consumers: &'a HashMap<String, SecretString>,
    pub(super) nonces: &'a Seen,
    pub(super) rules: &'a OauthRules,
    pub(super) now_ms: i64,
}

impl OauthCheck<'_> {
    /// Checks everything about the request's `Authorization` header.
    pub(super) fn check(&self, request: &Call) -> Result<(), OauthRefusal> {
        let header = request.header(&AUTHORIZATION).map_err(OauthRefusal::NoOauth)?;
        let Some(fields) = header.strip_prefix("OAuth ") else {
            return Err(OauthRefusal::NoOauth("the Authorization header does not begin with `OAuth `".to_owned()));
        };
        self.check_fields(request, fields)
    }

    fn check_fields(&self, request: &Call, fields: &str) -> Result<(), OauthRefusal> {
        let fields = header_fields(fields)?;
        let field = |name: &str| {
            let value = fields.get(name).filter(|value| !value.is_empty());
            value.map(String::as_str).ok_or_else(|| format!("{name} is missing"))
        };
        let key = field("oauth_consumer_key")?;
        let secret = self.consumers.get(key).ok_or("the consumer key is not known here")?;
        expect(field("oauth_version")? == "1.0", "oauth_version is not 1.0")?;
        expect(field("oauth_signature_method")? == "HMAC-SHA1", "oauth_signature_method is not HMAC-SHA1")?;
        self.check_timestamp(field("oauth_timestamp")?)?;
        if self.rules.body_hash == BodyHash::Needed || fields.contains_key("oauth_body_hash") {
            let body_hash = BASE64_STANDARD.encode(Sha1::digest(&request.body));
            expect(field("oauth_body_hash")? == body_hash, "oauth_body_hash is not that of the body")?;
        }
        let query = if self.rules.query == Query::Signed { request.query() } else { "" };
        let base = base_string(request, query, self.origin, &fields)?;
        check_signature(&base, secret, field("oauth_signature")?)?;
        let nonce = field("oauth_nonce")?;
        if self.rules.nonces == Nonces::Unchecked || self.nonces.first_time((key, nonce), self.now_ms) {
            return Ok(());
        }
        Err(OauthRefusal::Replayed("the nonce was used before".to_owned()))
    }

    fn check_timestamp(&self, text: &str) -> Result<(), OauthRefusal> {
        expect(text.bytes().all(|byte| byte.is_ascii_digit()), "oauth_timestamp is not a whole number of seconds")?;
        let sent_s: i64 = text.parse().map_err(|_| "oauth_timestamp is too large")?;
        let off_s = sent_s.saturating_sub(self.now_ms.div_euclid(1000));
        let limit = if off_s < 0 { self.rules.age_max_s } else { self.rules.ahead_max_s };
        match limit.filter(|limit| off_s.abs() > *limit) {
            Some(limit) => Err(OauthRefusal::Stale(format!("oauth_timestamp is {off_s} s off, and may be {limit} s"))),
            None => Ok(()),
        }
    }
}

/// The scheme, host and port that a request came to: `Host` in lower case, without the scheme's own port.
pub(super) fn origin_of(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    format!("http://{}", host.strip_suffix(":80").unwrap_or(&host))
}

fn expect(good: bool, otherwise: &str) -> Result<(), Reason> {
    if good { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// The fields of the header, decoded (RFC 5849, 3.5.1), `realm` left out.
fn header_fields(fields: &str) -> Result<BTreeMap<String, String>, Reason> {
    let mut decoded = BTreeMap::new();
    for field in fields.split(',').map(str::trim) {
        let (name, value) = field.split_once('=').ok_or("a field of the Authorization header has no value")?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value.ok_or_else(|| format!("the value of {name} is not in quotes"))?;
        if name.eq_ignore_ascii_case("realm") {
            continue;
        }
        let plain = |text: &str| text.bytes().all(|byte| is_unreserved(byte) || byte == b'%');
        expect(plain(name) && plain(value), "a field of the Authorization header is not percent-encoded")?;
        if decoded.insert(percent_decode(name)?, percent_decode(value)?).is_some() {
            return Err(format!("{name} stands twice in the Authorization header"));
        }
    }
    Ok(decoded)
}

/// The text that is signed (RFC 5849, 3.4.1).
fn base_string(request: &Call, query: &str, origin: &str, fields: &BTreeMap<String, String>) -> Result<String, Reason> {
    let query = form_pairs(query)?;
    let of_query = query.iter().map(|(name, value)| (name, value));
    let of_header = fields.iter().filter(|(name, _)| *name != "oauth_signature");
    let mut parameters: Vec<(String, String)> =
        of_query.chain(of_header).map(|(name, value)| (percent_encode(name), percent_encode(value))).collect();
    parameters.sort();
    let parameters: Vec<String> = parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let address = percent_encode(&format!("{origin}{}", request.path()));
    Ok(format!("{}&{address}&{}", request.parts.method, percent_encode(&parameters.join("&"))))
}

fn check_signature(base: &str, secret: &SecretString, signature: &str) -> Result<(), Reason> {
    let signature = BASE64_STANDARD.decode(signature).map_err(|_| "oauth_signature is not base64")?;
    let key = format!("{}&", percent_encode(secret.expose_secret()));
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).map_err(|_| "the secret cannot be a key")?;
    mac.update(base.as_bytes());
    mac.verify_slice(&signature).map_err(|_| "oauth_signature is not right".to_owned())
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn percent_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            encoded.extend(['%', char::from(digits[0]), char::from(digits[1])]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::http::Request;

    use super::*;

    /// RFC 5849, 3.4.1.1, without the parameters of its form body.
    #[test]
    fn the_base_string_is_that_of_the_standard() {
        let request =
            Request::post("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b").body(()).expect("a request");
        let request = Call { parts: request.into_parts().0, body: Bytes::new() };
        let header = r#"realm="Example", oauth_consumer_key="9djdj82h48djs9d2", oauth_token="kkk9d7dh3k39sjv7",
            oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_nonce="7d8f3e4a",
            oauth_signature="bYT5CMsGcbgUdFHObYMEfcx6bsw%3D""#;
        let fields = header_fields(header).expect("well-formed");
        let base =
            base_string(&request, request.query(), &origin_of("EXAMPLE.COM:80"), &fields).expect("a base string");
        assert_eq!(
            base,
            "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26\
             oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26\
             oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
        );
    }

    #[test]
    fn malformed_headers_are_refused() {
        for fields in ["oauth_nonce", "oauth_nonce=x", "a=\"1\", a=\"2\"", "a=\"b c\"", "a=\"%4\"", ""] {
            assert!(header_fields(fields).is_err(), "{fields}");
        }
    }
}
