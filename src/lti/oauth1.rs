//! OAuth 1.0a (RFC 5849) with HMAC-SHA1 and a body hash (the OAuth Request Body Hash extension), as LTI 1.1 signs.
//!
//! There is no token in LTI, only a consumer. The query of the URL is part of what is signed; Open edX alone leaves it
//! out, and its outcome URLs have none.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::{Digest, Sha1};
use url::{Position, Url, form_urlencoded};

use crate::domain::{platform::SharedSecret, time::Timestamp};

/// Who signs, and what makes this signature differ from every other.
pub(super) struct Signer<'a> {
    /// `oauth_consumer_key`.
    pub(super) key: &'a str,
    /// The secret that goes with it.
    pub(super) secret: &'a SharedSecret,
    /// Platforms refuse a timestamp that is off by more than five minutes (Moodle) or ninety (Canvas).
    pub(super) now: Timestamp,
    /// A nonce that was never used: Canvas refuses one that it has seen.
    pub(super) luck: u128,
}

impl Signer<'_> {
    /// The `Authorization` header of a POST of `body` to `url`.
    pub(super) fn authorization(&self, url: &Url, body: &[u8]) -> String {
        let (hash, nonce, timestamp) = (body_hash(body), format!("{:032x}", self.luck), self.now.as_secs().to_string());
        let params = [
            ("oauth_body_hash", hash.as_str()),
            ("oauth_consumer_key", self.key),
            ("oauth_nonce", &nonce),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", &timestamp),
            ("oauth_version", "1.0"),
        ];
        let signature = signature(&base_string("POST", url, params), self.secret.expose(), "");
        let mut header = String::with_capacity(HEADER_BYTES);
        for (name, value) in params.into_iter().chain([("oauth_signature", signature.as_str())]) {
            header.push_str(if header.is_empty() { "OAuth " } else { ", " });
            header.push_str(name);
            header.push_str("=\"");
            push_escaped(&mut header, value);
            header.push('"');
        }
        header
    }
}

/// Room for a header as most of them are.
const HEADER_BYTES: usize = 384;

/// `oauth_body_hash`: the base64 of the SHA-1 of the body as it is sent.
fn body_hash(body: &[u8]) -> String {
    STANDARD.encode(Sha1::digest(body))
}

/// The signature base string (RFC 5849, section 3.4.1) of a request with these `OAuth` parameters; those of the
/// URL's query are added.
fn base_string<'a>(method: &str, url: &'a Url, params: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let params = params.into_iter().map(|(name, value)| (escaped(name), escaped(value)));
    let query = form_urlencoded::parse(url.query().unwrap_or_default().as_bytes());
    let query = query.map(|(name, value)| (escape(&name).into(), escape(&value).into()));
    let mut all: Vec<(Cow<'_, str>, Cow<'_, str>)> = params.chain(query).collect();
    all.sort_unstable();
    let mut base = String::with_capacity(HEADER_BYTES);
    base.push_str(method);
    base.push('&');
    push_escaped(&mut base, base_uri(url));
    // `name=value&name=value`, escaped as a whole.
    let mut between = "&";
    for (name, value) in &all {
        base.push_str(between);
        push_escaped(&mut base, name);
        base.push_str("%3D");
        push_escaped(&mut base, value);
        between = "%26";
    }
    base
}

/// The base string URI (section 3.4.1.2). A [`Url`] has its host in lower case and drops the scheme's own port.
fn base_uri(url: &Url) -> &str {
    &url[..Position::AfterPath]
}

/// HMAC-SHA1 (section 3.4.2). In LTI the token secret is empty.
fn signature(base: &str, consumer_secret: &str, token_secret: &str) -> String {
    let key = format!("{}&{}", escape(consumer_secret), escape(token_secret));
    let mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    STANDARD.encode(mac.chain_update(base.as_bytes()).finalize().into_bytes())
}

/// Percent-encodes everything but the unreserved characters (RFC 3986, section 2.3; RFC 5849, section 3.6).
pub(super) fn escape(text: &str) -> String {
    escaped(text).into_owned()
}

fn escaped(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, KEPT).into()
}

fn push_escaped(to: &mut String, text: &str) {
    to.extend(utf8_percent_encode(text, KEPT));
}

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// `tests/vectors/oauth1.json`.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vector {
        name: String,
        method: String,
        url: String,
        body: Option<String>,
        params: Vec<(String, String)>,
        consumer_secret: String,
        token_secret: String,
        base_string: Option<String>,
        body_hash: Option<String>,
        signature: Option<String>,
    }

    #[test]
    fn the_published_vectors_come_out() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/oauth1.json")).expect("vectors");
        assert!(vectors.len() >= 6);
        for mut vector in vectors {
            if let Some(want) = &vector.body_hash {
                let hash = body_hash(vector.body.as_deref().unwrap_or_default().as_bytes());
                assert_eq!(hash, *want, "{}", vector.name);
                vector.params.push(("oauth_body_hash".to_owned(), hash));
            }
            let url = Url::parse(&vector.url).expect("a URL");
            let params = vector.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let base = base_string(&vector.method, &url, params);
            if let Some(want) = vector.base_string {
                assert_eq!(base, want, "{}", vector.name);
            }
            if let Some(want) = vector.signature {
                assert_eq!(signature(&base, &vector.consumer_secret, &vector.token_secret), want, "{}", vector.name);
            }
        }
    }

    #[test]
    fn a_header_carries_every_parameter_and_never_the_secret() {
        let secret = SharedSecret::new("hush");
        let signer = Signer { key: "a key&", secret: &secret, now: Timestamp::from_secs(137_131_201), luck: 7 };
        let url = Url::parse("https://lms.example.edu:443/o?b=2&a=1").expect("a URL");
        let header = signer.authorization(&url, b"Hello World!");
        for part in [
            "OAuth oauth_body_hash=\"Lve95gjOVATpfV8EL5X4nxwjKHE%3D\", ",
            "oauth_consumer_key=\"a%20key%26\", ",
            "oauth_nonce=\"00000000000000000000000000000007\", ",
            "oauth_signature_method=\"HMAC-SHA1\", ",
            "oauth_timestamp=\"137131201\", ",
            "oauth_version=\"1.0\", ",
            "oauth_signature=\"",
        ] {
            assert!(header.contains(part), "{part} in {header}");
        }
        assert!(!header.contains("hush"));
        let other = Url::parse("https://lms.example.edu/o?b=2&a=2").expect("a URL");
        assert_ne!(header, signer.authorization(&other, b"Hello World!"), "the query is signed");
    }
}
