//! Access tokens of a platform: the client assertion that asks for one (1EdTech Security Framework 1.0, section 4.1),
//! the grant that is read, and the cache that keeps tokens for as long as they serve.
//!
//! A token never prints. Whoever drives an exchange asks the [`TokenCache`] first and lets one request at a time go
//! out for a [`TokenKey`]: platforms limit how often they give out tokens.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::{
    classify::{Ask, classify},
    clock, json,
    wire::{Answer, Method, Request},
    words::{self, Confidential, Hidden},
};
use crate::domain::{
    cause::{Words, speaks_of_time},
    destination::ServiceUrl,
    outcome::{FailureReason, Finding, Verdict},
    platform::{Registration, SigningKey},
    time::Timestamp,
};

/// Platforms refuse an assertion from their future without leeway (Moodle), so it is made a little older.
const ASSERTION_BACKDATED: Duration = Duration::from_secs(5);

/// How long an assertion is good for. With the backdating under five minutes.
const ASSERTION_LIFE: Duration = Duration::from_secs(240);

/// How long a token serves whose grant does not say, or not in a number.
const LIFE_UNSAID_SECS: i64 = 300;

/// No token is kept for longer than this, whatever the grant says.
const LIFE_SECS_MAX: i64 = 24 * 3600;

/// A token is not used in the last part of its life: a minute, or a quarter where that is less.
const SPARED_SECS_MAX: i64 = 60;

/// The longest token that is taken, in bytes; servers refuse headers that are longer. The longest known have 4 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The longest list of granted scopes that is looked at, in bytes.
const GRANTED_BYTES_MAX: usize = 4 * 1024;

/// How many tokens a cache keeps: one for each registration, deployment and set of scopes in use.
const CACHED_TOKENS_MAX: usize = 1024;

/// What makes two tokens the same: one that was given for one of these serves all that ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey {
    token_url: String,
    client_id: String,
    deployment_id: Option<String>,
    scopes: Vec<String>,
}

/// A token that is wanted, with everything needed to ask for it.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// What the token will be known by.
    pub key: TokenKey,
    registration: Arc<Registration>,
    signing_key: Arc<SigningKey>,
}

/// Which token will do.
#[derive(Clone, Debug)]
pub enum Freshness {
    /// Any that still serves.
    Any,
    /// Any but this one, which the platform has just refused.
    Not(AccessToken),
}

/// A bearer token. It never prints.
#[derive(Clone)]
pub struct AccessToken {
    secret: Arc<SecretString>,
    /// Before this moment it does not serve: the clock was set back, and nobody knows how old it is.
    serves_from: Timestamp,
    serves_until: Timestamp,
    granted: Option<Arc<str>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(
        rename = "https://purl.imsglobal.org/spec/lti/claim/deployment_id",
        skip_serializing_if = "Option::is_none"
    )]
    deployment_id: Option<&'a str>,
}

impl TokenRequest {
    /// A request for a token with these scopes.
    pub fn new(registration: Arc<Registration>, signing_key: Arc<SigningKey>, scopes: Vec<String>) -> Self {
        let key = TokenKey {
            token_url: registration.token_url.as_url().to_string(),
            client_id: registration.client_id.clone(),
            deployment_id: registration.deployment_id.clone(),
            scopes,
        };
        Self { key, registration, signing_key }
    }

    /// Whether the platform's word for the time of day is taken: it must be one that the configuration names.
    pub fn goes_by_their_clock(&self) -> bool {
        self.registration.name.is_some()
    }

    /// The token endpoint.
    pub fn url(&self) -> &ServiceUrl {
        &self.registration.token_url
    }

    /// The POST to the token endpoint, with a client assertion of its own. Fails where the signing key is none.
    pub fn assertion_request(&self, now: Timestamp, luck: u128) -> Result<Request, Verdict> {
        let assertion = self.assertion(now, luck).map_err(|_| {
            let words = format!("the signing key {} is no RSA key in PEM: replace it in [[signing_keys]]", self.kid());
            Verdict::without_reply(Finding::Unsendable(FailureReason::UnknownKey), words)
        })?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion)
            .append_pair("scope", &self.key.scopes.join(" "))
            .finish();
        Ok(Request {
            method: Method::Post,
            url: self.registration.token_url.clone(),
            headers: vec![
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("accept", "application/json".to_owned()),
            ],
            body: form.into_bytes(),
        })
    }

    fn assertion(&self, now: Timestamp, luck: u128) -> jsonwebtoken::errors::Result<String> {
        let registration = &self.registration;
        let claims = Claims {
            iss: &registration.client_id,
            sub: &registration.client_id,
            // One string: Brightspace refuses a list, Canvas one slash too many.
            aud: &registration.token_audience,
            iat: now.as_secs() - ASSERTION_BACKDATED.as_secs().cast_signed(),
            exp: (now + ASSERTION_LIFE).as_secs(),
            jti: format!("{luck:032x}"),
            deployment_id: registration.deployment_id.as_deref(),
        };
        let header = Header { kid: Some(self.kid().to_owned()), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_pem(self.signing_key.expose_pem().as_bytes())?;
        jsonwebtoken::encode(&header, &claims, &key)
    }

    fn kid(&self) -> &str {
        &self.signing_key.kid
    }
}

/// Reads what the token endpoint answered (RFC 6749, section 5): a token, or why there is none. Moodle calls its JSON
/// `text/html`, and some servers put warnings in front of it.
pub fn read(answer: &Answer, now: Timestamp) -> Result<AccessToken, Verdict> {
    read_discreetly(answer, now, Arc::default())
}

/// The same, and keeps these secrets out of the platform's words.
pub fn read_discreetly(
    answer: &Answer,
    now: Timestamp,
    confidential: Arc<Confidential>,
) -> Result<AccessToken, Verdict> {
    let mut hidden = Hidden::default();
    hidden.keep(confidential);
    let granted = answer.as_ref().ok().filter(|reply| matches!(reply.status, 200..=299));
    let grant = granted.and_then(|reply| json::read(&reply.body, '{'));
    match grant.and_then(|grant| AccessToken::from_grant(&grant, now)) {
        Some(token) => Ok(token),
        None => {
            let verdict = classify(Ask::Token, answer, now, &hidden);
            let hint = clock_of(answer, now).map(|theirs| clock::difference(theirs, now)).unwrap_or_default();
            Err(Verdict { message: words::message(&verdict.message, &hint), ..verdict })
        }
    }
}

/// The platform's own time of day, where it refused an assertion because of its times and its clock is not ours: signed by
/// that, the assertion may do (Moodle takes none from a second ahead of it).
pub fn clock_of(answer: &Answer, now: Timestamp) -> Option<Timestamp> {
    let reply = answer.as_ref().ok().filter(|reply| matches!(reply.status, 400 | 401))?;
    let theirs = clock::of(answer)?;
    let words = Words::of(&words::readable(&reply.body));
    ((APART_MIN..=APART_MAX).contains(&clock::apart(theirs, now)) && speaks_of_time(&words)).then_some(theirs)
}

/// A `Date` header has whole seconds, and took its time to come here.
const APART_MIN: Duration = Duration::from_secs(3);

/// No clock that somebody looks after is further off, and an assertion for another day is worth stealing.
const APART_MAX: Duration = Duration::from_secs(1200);

impl AccessToken {
    /// A token from a grant; none where the grant holds nothing that a header could carry.
    fn from_grant(grant: &Value, now: Timestamp) -> Option<Self> {
        let secret = grant.get("access_token")?.as_str()?;
        if secret.is_empty() || secret.len() > TOKEN_BYTES_MAX || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let life = json::member(grant, "expires_in").and_then(|life| life.trim().parse::<f64>().ok());
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the limit is applied to it")]
        let life = life.filter(|life| life.is_finite()).map_or(LIFE_UNSAID_SECS, |life| life as i64);
        let life = life.clamp(0, LIFE_SECS_MAX);
        let serves_for = life - SPARED_SECS_MAX.min(life / 4);
        Some(Self {
            secret: Arc::new(SecretString::from(secret)),
            serves_from: now,
            serves_until: now + Duration::from_secs(serves_for.unsigned_abs()),
            granted: json::member(grant, "scope")
                .filter(|scope| scope.len() <= GRANTED_BYTES_MAX)
                .map(|scope| scope.as_ref().into()),
        })
    }

    /// Until when it may be used.
    pub fn serves_until(&self) -> Timestamp {
        self.serves_until
    }

    /// The value of the `Authorization` header. Moodle knows only this spelling, whatever `token_type` says.
    pub(super) fn authorization(&self) -> String {
        format!("Bearer {}", self.secret.expose_secret())
    }

    /// Which of the scopes that were asked for the platform says that it did not grant. Most say nothing, or repeat
    /// what was asked for; Moodle grants a part.
    pub(super) fn missing_scopes<'a>(&self, request: &'a TokenRequest) -> Vec<&'a str> {
        let Some(granted) = self.granted.as_deref().filter(|granted| !granted.trim().is_empty()) else {
            return Vec::new();
        };
        let is_granted = |scope: &str| granted.split_whitespace().any(|known| known == scope);
        request.key.scopes.iter().map(String::as_str).filter(|scope| !is_granted(scope)).collect()
    }

    fn is_same(&self, other: &Self) -> bool {
        bool::from(self.secret.expose_secret().as_bytes().ct_eq(other.secret.expose_secret().as_bytes()))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("serves_until", &self.serves_until).finish_non_exhaustive()
    }
}

/// The tokens in use. Bounded: where it is full, the one that would end first makes room.
#[derive(Debug, Default)]
pub struct TokenCache {
    tokens: HashMap<TokenKey, AccessToken>,
}

impl TokenCache {
    /// A token that serves at `now` and is fresh enough. One that does not serve any more, or was refused, is dropped.
    pub fn get(&mut self, key: &TokenKey, freshness: &Freshness, now: Timestamp) -> Option<AccessToken> {
        let known = self.tokens.get(key)?;
        let refused = matches!(freshness, Freshness::Not(refused) if refused.is_same(known));
        if refused || now < known.serves_from || known.serves_until <= now {
            self.tokens.remove(key);
            return None;
        }
        Some(known.clone())
    }

    /// Keeps a token, in the place of the one before.
    pub fn put(&mut self, key: TokenKey, token: AccessToken) {
        if self.tokens.len() >= CACHED_TOKENS_MAX && !self.tokens.contains_key(&key) {
            let first_to_end = self.tokens.iter().min_by_key(|(_, known)| known.serves_until).map(|(key, _)| key);
            if let Some(key) = first_to_end.cloned() {
                self.tokens.remove(&key);
            }
        }
        self.tokens.insert(key, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lti::wire::{Reply, TransportFailure, TransportFault, Written};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A key for tests alone, made for this file.
    const PEM: &str = include_str!("../../tests/vectors/signing_key.pem");
    const PUBLIC_PEM: &str = include_str!("../../tests/vectors/signing_key.pub.pem");

    fn wanted(pem: &str) -> TokenRequest {
        let registration = Registration {
            name: None,
            client_id: "client".to_owned(),
            token_url: ServiceUrl::parse("https://lms.example.edu/token").expect("a URL"),
            token_audience: "https://lms.example.edu/audience".to_owned(),
            deployment_id: Some("1".to_owned()),
            ignored_claims: Vec::new(),
        };
        let scopes = vec!["a".to_owned(), "b".to_owned()];
        TokenRequest::new(Arc::new(registration), Arc::new(SigningKey::new("kid-1", pem)), scopes)
    }

    #[test]
    fn a_refusal_for_its_time_tells_the_platforms_clock() {
        let refused = |status: u16, date: &str, body: &str| {
            let headers = vec![("date".to_owned(), date.to_owned())];
            Ok(Reply { status, headers, body: body.as_bytes().to_vec() })
        };
        let prior = r#"{"error":"Cannot handle token with iat prior to 2027-01-15T07:58:00+0000"}"#;
        let behind = "Fri, 15 Jan 2027 07:58:00 GMT";
        let answer = refused(400, behind, prior);
        assert_eq!(clock_of(&answer, NOW), Some(NOW.back(Duration::from_secs(120))));
        let verdict = read(&answer, NOW).expect_err("a refusal");
        assert!(verdict.message.ends_with("(the platform's clock is 120 s behind ours)"), "{}", verdict.message);
        let ahead = refused(401, "Fri, 15 Jan 2027 08:10:00 GMT", "Expired token");
        assert_eq!(clock_of(&ahead, NOW), Some(NOW + Duration::from_secs(600)));
        let none = [
            refused(400, "Fri, 15 Jan 2027 08:20:01 GMT", prior),
            refused(400, "Sat, 15 Jan 2028 08:00:00 GMT", prior),
            refused(400, "Fri, 15 Jan 2027 08:00:02 GMT", prior),
            refused(400, "yesterday", prior),
            refused(400, behind, r#"{"error":"invalid_client"}"#),
            refused(400, behind, r#"{"error":"client not associated with this deployment"}"#),
            refused(500, behind, prior),
            refused(200, behind, prior),
        ];
        for answer in none {
            assert_eq!(clock_of(&answer, NOW), None, "{answer:?}");
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "answers come as the transport gives them")]
    fn reply(status: u16, body: &str) -> Answer {
        Ok(Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
    }

    #[test]
    fn the_assertion_is_what_the_security_framework_wants() {
        let request = wanted(PEM).assertion_request(NOW, 0xfeed).expect("a request");
        assert_eq!(request.headers[0].1, "application/x-www-form-urlencoded");
        let form: HashMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(form["scope"], "a b");
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(PUBLIC_PEM.as_bytes()).expect("a key");
        let mut rules = jsonwebtoken::Validation::new(Algorithm::RS256);
        rules.set_audience(&["https://lms.example.edu/audience"]);
        rules.validate_exp = false;
        let token = jsonwebtoken::decode::<Value>(&form["client_assertion"], &key, &rules).expect("a signed token");
        assert_eq!(token.header.kid.as_deref(), Some("kid-1"));
        let want = serde_json::json!({
            "iss": "client", "sub": "client", "aud": "https://lms.example.edu/audience",
            "iat": 1_799_999_995, "exp": 1_800_000_240, "jti": format!("{:032x}", 0xfeed),
            "https://purl.imsglobal.org/spec/lti/claim/deployment_id": "1",
        });
        assert_eq!(token.claims, want);
    }

    #[test]
    fn a_key_that_is_none_is_said_before_anything_is_sent() {
        let verdict = wanted("hush").assertion_request(NOW, 1).expect_err("no key");
        assert_eq!(verdict.finding, Finding::Unsendable(FailureReason::UnknownKey));
        assert!(verdict.message.contains("kid-1") && !verdict.message.contains("hush"));
    }

    #[test]
    fn a_grant_serves_until_a_minute_or_a_quarter_before_its_end() {
        let check = |body: &str, serves_for: u64| {
            let token = read(&reply(200, body), NOW).expect(body);
            assert_eq!(token.serves_until(), NOW + Duration::from_secs(serves_for), "{body}");
            assert_eq!(token.authorization(), "Bearer t-1", "{body}");
        };
        check(r#"{"access_token":"t-1","token_type":"bearer","expires_in":3600}"#, 3540);
        check(r#"{"access_token":"t-1","expires_in":"3600"}"#, 3540);
        check(r#"{"access_token":"t-1","expires_in":100}"#, 75);
        check(r#"{"access_token":"t-1","expires_in":0}"#, 0);
        check(r#"{"access_token":"t-1","expires_in":-5}"#, 0);
        check(r#"{"access_token":"t-1","expires_in":1e300}"#, 24 * 3600 - 60);
        check(r#"{"access_token":"t-1","expires_in":"soon"}"#, 240);
        check(r#"{"access_token":"t-1","expires_in":null}"#, 240);
        check("<br />\n<b>Warning</b>: x\n{\"access_token\":\"t-1\"}", 240);
    }

    #[test]
    fn a_refusal_says_why() {
        let check = |answer: &Answer, reason: FailureReason, words: &str| {
            let verdict = read(answer, NOW).expect_err(words);
            assert_eq!(verdict.finding, Finding::Failed(reason), "{answer:?}");
            assert!(verdict.message.contains(words), "{words} in {}", verdict.message);
            assert!(!verdict.reply_lost);
        };
        check(&reply(400, r#"{"error":"invalid_client"}"#), FailureReason::TokenRefused, "invalid_client");
        check(&reply(401, "no"), FailureReason::TokenRefused, "no");
        check(&reply(403, "no"), FailureReason::TokenRefused, "no");
        check(&reply(400, r#"{"error":"kid "k" unknown"}"#), FailureReason::TokenRefused, "unknown");
        check(&reply(404, "<html><body>Not found</body></html>"), FailureReason::TokenRefused, "JWKS");
        check(&reply(500, "<html>oops</html>"), FailureReason::ServerError, "oops");
        check(&reply(429, ""), FailureReason::RateLimited, "");
        check(&reply(403, "403 Forbidden (Rate Limit Exceeded)"), FailureReason::RateLimited, "Rate Limit");
        check(&reply(303, ""), FailureReason::BadResponse, "redirect");
        check(&reply(200, "<html>Log in</html>"), FailureReason::BadResponse, "Log in");
        check(&reply(200, r#"{"access_token":""}"#), FailureReason::BadResponse, "");
        check(&reply(200, r#"{"access_token":"a\nb"}"#), FailureReason::BadResponse, "");
        check(&reply(200, r#"{"access_token":7}"#), FailureReason::BadResponse, "");
        let failure = TransportFailure {
            fault: TransportFault::Timeout,
            written: Written::Perhaps,
            status: None,
            detail: "no answer in 10 s".to_owned(),
        };
        check(&Err(failure), FailureReason::Timeout, "no answer");
    }

    #[test]
    fn a_token_is_not_shown_in_a_refusal_nor_by_debug() {
        let verdict = read(&reply(500, r#"{"access_token":"hush-1"}"#), NOW).expect_err("no grant");
        assert!(!verdict.message.contains("hush"), "{}", verdict.message);
        let token = read(&reply(200, r#"{"access_token":"hush-1","scope":"a"}"#), NOW).expect("a token");
        let request = wanted("hush-pem");
        assert!(!format!("{token:?} {:?} {request:?}", Freshness::Not(token.clone())).contains("hush"));
        assert_eq!(token.missing_scopes(&request), ["b"]);
    }

    #[test]
    fn the_cache_serves_what_is_fresh_and_stays_small() {
        let key = wanted(PEM).key;
        let mut cache = TokenCache::default();
        let token = |name: &str| read(&reply(200, &format!(r#"{{"access_token":"{name}","expires_in":100}}"#)), NOW);
        let (first, second) = (token("1").expect("a token"), token("2").expect("a token"));
        cache.put(key.clone(), first.clone());
        assert!(cache.get(&key, &Freshness::Any, NOW).is_some());
        assert!(cache.get(&key, &Freshness::Not(second), NOW).is_some(), "it is another one");
        assert!(cache.get(&key, &Freshness::Not(first.clone()), NOW).is_none(), "it was refused");
        assert!(cache.get(&key, &Freshness::Any, NOW).is_none(), "so it is gone");
        cache.put(key.clone(), first.clone());
        assert!(cache.get(&key, &Freshness::Any, NOW + Duration::from_secs(75)).is_none(), "its time is over");
        cache.put(key.clone(), first.clone());
        let set_back = Timestamp::from_secs(NOW.as_secs() - 3_600);
        assert!(cache.get(&key, &Freshness::Any, set_back).is_none(), "nobody knows how old it is");
        for number in 0..=CACHED_TOKENS_MAX {
            cache.put(TokenKey { client_id: number.to_string(), ..key.clone() }, first.clone());
        }
        assert_eq!(cache.tokens.len(), CACHED_TOKENS_MAX);
    }
}
