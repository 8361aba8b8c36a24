//! The keys: which one signs, whether all are published, the shared secrets and the tokens. What the loader refuses does not come
//! here.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Remark, Section, counted, listed, registrations};
use crate::config::{
    Config,
    lti::{LtiKey, SigningKeyConfig},
    rsa,
    secret::Secret,
    tokens::Token,
};

/// Judges all keys.
pub(super) fn section(config: &Config) -> Vec<Remark> {
    let mut section = Section::new("keys");
    signing_keys(&mut section, config);
    shared_secrets(&mut section, &config.lti_keys);
    tokens(&mut section, &config.tokens);
    section.done()
}

fn signing_keys(section: &mut Section, config: &Config) {
    let keys: Vec<_> = config.signing_keys.iter().map(SigningKeyConfig::signing_key).collect();
    let advice = "make one with `passback keys generate`, configure it, and give the platforms the JWKS address";
    let needed = registrations(&config.platforms).count();
    match rsa::jwks(&keys) {
        Err(error) => section.fail("signing keys", format!("the private_key {error}"), advice),
        Ok(_) if keys.is_empty() && needed > 0 => {
            section.fail("signing keys", "there is none, and LTI 1.3 platforms are configured", advice);
        }
        Ok(_) if keys.is_empty() => section.ok("signing keys", "there is none, and no LTI 1.3 platform needs one"),
        Ok(set) => tell_set(section, &set, keys.len()),
    }
}

fn tell_set(section: &mut Section, set: &Value, count: usize) {
    let published = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told: Vec<String> = { published.iter().enumerate() }
        .map(|(index, jwk)| {
            let kid = jwk["kid"].as_str().unwrap_or_default();
            let does = if index == 0 { "signs" } else { "is published" };
            format!("{kid} (RSA, {} bits) {does}", bits(jwk))
        })
        .collect();
    if published.len() == count {
        let halves = if count == 1 { "its public half".to_owned() } else { format!("all {count} public halves") };
        section.ok("signing keys", format!("{}; the JWKS has {halves}", told.join(", ")));
    } else {
        let seen = format!("the JWKS has {} of {count} public halves", published.len());
        section.fail("signing keys", seen, "give each key a kid of its own");
    }
}

/// The length of a public key, in bits.
fn bits(jwk: &Value) -> usize {
    let modulus = jwk["n"].as_str().and_then(|n| URL_SAFE_NO_PAD.decode(n).ok()).unwrap_or_default();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (modulus.len() * 8).saturating_sub(unused)
}

fn shared_secrets(section: &mut Section, keys: &[LtiKey]) {
    let is_padded = |key: &&LtiKey| key.secret.expose().trim().len() < key.secret.expose().len();
    let padded: Vec<&str> = keys.iter().filter(is_padded).map(|key| key.key.as_str()).collect();
    let weak: Vec<&str> = keys.iter().filter(|key| is_weak(&key.secret)).map(|key| key.key.as_str()).collect();
    if !weak.is_empty() {
        let seen = format!("the secret of {} is shorter than {CHARS_MIN} characters", listed(&weak));
        section.warn(
            "lti keys",
            seen,
            "whoever guesses it can write grades in our name: have a longer one made on both sides",
        );
    }
    if !padded.is_empty() {
        let seen = format!("the secret of {} begins or ends with white space", listed(&padded));
        section.warn("lti keys", seen, "if the platform does not have it so, take it away where the secret is kept");
    } else if keys.is_empty() {
        section.ok("lti keys", "there is none: nothing is delivered by LTI 1.1 or delegated");
    } else {
        let seen = format!("{}, each with its secret", counted(keys.len(), "consumer key"));
        section.ok("lti keys", format!("{seen}; whether it is right, --outcome-url with --sourcedid shows"));
    }
}

fn tokens(section: &mut Section, tokens: &[Token]) {
    let weak: Vec<&str> =
        tokens.iter().filter(|token| is_weak(&token.token)).map(|token| token.name.as_str()).collect();
    if !weak.is_empty() {
        let seen = format!("the token of {} is shorter than {CHARS_MIN} characters", listed(&weak));
        section.warn("tokens", seen, "it can be guessed: make one with `openssl rand -hex 32`");
    }
}

/// What is shorter can be guessed by trying.
const CHARS_MIN: usize = 16;

fn is_weak(secret: &Secret) -> bool {
    secret.expose().trim().chars().count() < CHARS_MIN
}

/// The hosts that keys name, each with its keys. A pattern for many hosts names none that could be tried.
pub(super) fn hosts(keys: &[LtiKey]) -> BTreeMap<String, Vec<String>> {
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in keys {
        for host in key.hosts.iter().map(ToString::to_string).filter(|host| !host.starts_with("*.")) {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            hosts.entry(host).or_default().push(key.key.clone());
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::{super::Mark, *};
    use crate::config::tokens::Role;

    #[test]
    fn what_can_be_guessed_is_named_and_not_shown() {
        let (short, long) = ("hunter2-hunter2", "hunter2-hunter2-");
        let key =
            |name: &str, secret: &str| LtiKey { key: name.to_owned(), secret: Secret::new(secret), hosts: Vec::new() };
        let token =
            |name: &str, text: &str| Token { name: name.to_owned(), token: Secret::new(text), role: Role::Viewer };
        let config = Config {
            lti_keys: vec![key("moodle", short), key("canvas", long), key("sakai", "s")],
            tokens: vec![token("ops", short), token("app", long)],
            ..Config::default()
        };
        let remarks = section(&config);
        let warnings: Vec<_> = remarks.iter().filter(|remark| remark.status == Mark::Warning).collect();
        let seen: Vec<&str> = warnings.iter().map(|remark| remark.seen.as_str()).collect();
        let expected = [
            "the secret of moodle and sakai is shorter than 16 characters",
            "the token of ops is shorter than 16 characters",
        ];
        assert_eq!(seen, expected);
        assert!(!format!("{remarks:?}").contains("hunter2"), "{remarks:?}");
    }
}
