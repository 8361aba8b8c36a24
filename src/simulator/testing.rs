//! What the simulator's tests share: a platform without sockets, and a sender written a second time, small, on
//! other crates than the judge.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{digest, hmac};
use axum::body::Bytes;
use axum::http::Request;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::manners::Likeness;
use super::message::{Answer, Call};
use super::options::{Client, Consumer, Jwks, Options};
use super::platform::Platform;

pub(super) const BASE: &str = "http://lms.test";
/// 2026-11-18 11:06:40 UTC.
pub(super) const NOW_MS: i64 = 1_795_000_000_000;
pub(super) const CLIENT: &str = "tool-1";

/// Consumer `key` with `secret`, one client, context `c1` with the line items `a` and `b`.
pub(super) fn options() -> Options {
    Options {
        consumers: vec![Consumer::new("key", "secret")],
        clients: vec![Client::new(CLIENT, Jwks::Inline(jwks("k1")))],
        contexts: vec![("c1".to_owned(), vec!["a".to_owned(), "b".to_owned()])],
        ..Options::default()
    }
}

pub(super) fn platform() -> Platform {
    platform_like(None)
}

pub(super) fn platform_like(like: Option<Likeness>) -> Platform {
    Platform::new(Options { like, ..options() }, BASE.to_owned()).expect("sensible options")
}

pub(super) fn call(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Call {
    let mut request = Request::builder().method(method).uri(url).header("host", "lms.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    Call { parts, body: Bytes::copy_from_slice(body.as_bytes()) }
}

pub(super) async fn answer(platform: &Platform, call: &Call, now_ms: i64) -> Answer {
    platform.answer(platform.place(call.path()), call, now_ms).await
}

/// Sends a control call; the status, and the body as JSON.
pub(super) async fn send(platform: &Platform, method: &str, url: &str, body: &str) -> (u16, Value) {
    let answer = answer(platform, &call(method, url, &[], body), NOW_MS).await;
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).expect("JSON"))
}

/// The reason of a refusal; empty if there is none.
pub(super) fn reason(answer: &Answer) -> &str {
    answer.refusal.as_deref().unwrap_or_default()
}

/// A replaceResult message.
pub(super) fn replace_result(sourced_id: &str, score: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><imsx_POXEnvelopeRequest xmlns="http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"><imsx_POXHeader><imsx_POXRequestHeaderInfo><imsx_version>V1.0</imsx_version><imsx_messageIdentifier>m&amp;1</imsx_messageIdentifier></imsx_POXRequestHeaderInfo></imsx_POXHeader><imsx_POXBody><replaceResultRequest><resultRecord><sourcedGUID><sourcedId>{sourced_id}</sourcedId></sourcedGUID><result><resultScore><language>en</language><textString>{score}</textString></resultScore></result></resultRecord></replaceResultRequest></imsx_POXBody></imsx_POXEnvelopeRequest>"#
    )
}

/// The OAuth header of a POST of `body` to `url`, whose query is already encoded and sorted.
pub(super) fn oauth_header(url: &str, body: &str, nonce: &str, timestamp_s: i64) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, body.as_bytes());
    let mut fields = vec![
        ("oauth_body_hash", BASE64_STANDARD.encode(hash)),
        ("oauth_consumer_key", "key".to_owned()),
        ("oauth_nonce", nonce.to_owned()),
        ("oauth_signature_method", "HMAC-SHA1".to_owned()),
        ("oauth_timestamp", timestamp_s.to_string()),
        ("oauth_version", "1.0".to_owned()),
    ];
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let own: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let mut all: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).chain(own).collect();
    all.sort();
    let base = format!("POST&{}&{}", encode(address), encode(&all.join("&")));
    let secret = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"secret&");
    fields.push(("oauth_signature", BASE64_STANDARD.encode(hmac::sign(&secret, base.as_bytes()))));
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}=\"{}\"", encode(value))).collect();
    format!("OAuth {}", fields.join(","))
}

fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The tool's public key set, with the one key under this name.
pub(super) fn jwks(kid: &str) -> Value {
    let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let key = tool_key().public_key();
    let (n, e) = (key.modulus(), key.exponent());
    let (n, e) = (number(n.big_endian_without_leading_zero()), number(e.big_endian_without_leading_zero()));
    json!({"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid, "n": n, "e": e}]})
}

/// Claims that pass at `now_ms`.
pub(super) fn claims(jti: &str, audience: &str, now_ms: i64) -> Value {
    let second = now_ms / 1000;
    json!({"iss": CLIENT, "sub": CLIENT, "aud": audience, "iat": second - 5, "exp": second + 60, "jti": jti})
}

pub(super) fn assertion(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; tool_key().public_modulus_len()];
    let signed = tool_key().sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature);
    signed.expect("a key of 2048 bits signs");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The form of a token request.
pub(super) fn token_form(assertion: &str, scope: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
         client-assertion-type%3Ajwt-bearer&client_assertion={assertion}&scope={}",
        encode(scope)
    )
}

fn tool_key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).expect("a key can be made"))
}
