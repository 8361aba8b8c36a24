//! The LTI 1.3 token endpoint (RFC 6749, 4.4 with RFC 7523) and the tokens that it gave out.
//!
//! Tokens are opaque, live in memory only, and can be revoked all at once to play an LMS that forgot them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use serde_json::json;

use super::assertion_check::{Assertion, BadClaim, Expected};
use super::jwks::NoKey;
use super::manners::{Jti, KeysUnreachable, Scopes, TokenErrorForm, TokenManners};
use super::message::{Answer, Call, Reason, form_pairs};
use super::platform::Platform;
use super::{clock, faults, locked};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// More tokens than this at once, and the expired ones are swept; if that does not help, all are.
const TOKENS_MAX: usize = 100_000;

/// Judges one request for a token.
pub(super) async fn answer(platform: &Platform, request: &Call, now_ms: i64) -> Answer {
    grant(platform, request, now_ms).await.unwrap_or_else(|refused| refused)
}

async fn grant(platform: &Platform, request: &Call, now_ms: i64) -> Result<Answer, Answer> {
    let manners = &platform.manners.token;
    request.expect_method(&Method::POST)?;
    let form = Form::read(request).map_err(|reason| refusal(manners, "invalid_request", reason))?;
    if form.grant_type != "client_credentials" {
        return Err(refusal(manners, "unsupported_grant_type", "grant_type is not client_credentials".to_owned()));
    }
    if form.assertion_type != ASSERTION_TYPE {
        return Err(refusal(manners, "invalid_request", format!("client_assertion_type is not {ASSERTION_TYPE}")));
    }
    let client_scopes = believe(platform, &form.assertion, now_ms).await?;
    let granted = granted(manners, &form.scope, &client_scopes)?;
    let scope = granted.join(" ");
    let token = platform.tokens.give(granted, now_ms);
    let token =
        token.ok_or_else(|| Answer::empty(StatusCode::INTERNAL_SERVER_ERROR).refusing("no randomness".to_owned()))?;
    let life_s = platform.tokens.life.as_secs();
    let body =
        json!({"access_token": token, "token_type": manners.token_type.is, "expires_in": life_s, "scope": scope});
    let answer = Answer::text(StatusCode::OK, manners.reply_type.is, body.to_string());
    Ok(answer.with_header(CACHE_CONTROL, "no-store"))
}

/// The scopes of the grant.
fn granted(manners: &TokenManners, asked: &str, own: &[String]) -> Result<Vec<String>, Answer> {
    let (granted, foreign): (Vec<&str>, Vec<&str>) =
        asked.split(' ').partition(|scope| own.iter().any(|own| own == scope));
    let is_refused = match manners.scopes.is {
        Scopes::Intersected => granted.is_empty(),
        Scopes::AllOrNone => !foreign.is_empty(),
        Scopes::Dropped => false,
    };
    if is_refused {
        let reason = format!("scopes that are not this client's: {}", foreign.join(" "));
        return Err(refusal(manners, "invalid_scope", reason));
    }
    Ok(granted.into_iter().map(str::to_owned).collect())
}

/// Checks the assertion from end to end; the scopes of its client, if all is well.
async fn believe(platform: &Platform, assertion: &str, now_ms: i64) -> Result<Vec<String>, Answer> {
    let manners = &platform.manners.token;
    let invalid = |reason: Reason| refusal(manners, "invalid_client", reason);
    let assertion = Assertion::read(assertion).map_err(invalid)?;
    let client_id = assertion.issuer().map_err(invalid)?;
    let registered =
        platform.clients.find(client_id).ok_or_else(|| invalid("the client is not registered here".to_owned()))?;
    let key = registered.key(assertion.kid()).await.map_err(|error| match error {
        NoKey::Unreachable(_) => keys_unreachable(manners, error.to_string()),
        NoKey::Unknown(_) => invalid(unknown_kid(manners, &error)),
    })?;
    assertion.check_signature(&key).map_err(|reason| match manners.bad_signature.is {
        500 => Answer::empty(StatusCode::INTERNAL_SERVER_ERROR).refusing(reason),
        _ => invalid(reason),
    })?;
    let expected = Expected {
        client_id,
        token_url: &platform.token_url(),
        manners,
        deployment_ids: &registered.client.deployment_ids,
        now_ms,
    };
    assertion.check_claims(&expected).map_err(|bad| match bad {
        BadClaim::Any(reason) => invalid(reason),
        BadClaim::Time(reason) => refusal(manners, manners.errors.is.time_code, reason),
        BadClaim::Stumble(reason) => Answer::empty(StatusCode::INTERNAL_SERVER_ERROR).refusing(reason),
    })?;
    if manners.jti.is == Jti::Once && !platform.jtis.first_time((client_id, assertion.jti().map_err(invalid)?), now_ms)
    {
        return Err(invalid("the jti was used before".to_owned()));
    }
    Ok(registered.client.scopes.clone())
}

/// In Moodle the words of its library, whose quotes make the body no JSON.
fn unknown_kid(manners: &TokenManners, error: &NoKey) -> Reason {
    match manners.errors.is.form {
        TokenErrorForm::RawWords => "\"kid\" invalid, unable to lookup correct key".to_owned(),
        _ => error.to_string(),
    }
}

/// An OAuth error (RFC 6749, 5.2), in the platform's form.
fn refusal(manners: &TokenManners, error: &'static str, reason: Reason) -> Answer {
    let errors = &manners.errors.is;
    let status =
        if error == "invalid_client" { faults::status(errors.invalid_client) } else { StatusCode::BAD_REQUEST };
    let answer = match errors.form {
        TokenErrorForm::Described => Answer::json(status, &json!({"error": error, "error_description": reason})),
        TokenErrorForm::CodeAlone => Answer::json(status, &json!({"error": error})),
        TokenErrorForm::RawWords => {
            let words = if error == "invalid_client" { reason.as_str() } else { error };
            Answer::text(status, manners.reply_type.is, format!("{{\"error\":\"{words}\"}}"))
        }
    };
    answer.with_header(CACHE_CONTROL, "no-store").refusing(reason)
}

fn keys_unreachable(manners: &TokenManners, reason: Reason) -> Answer {
    let page =
        "<!DOCTYPE html><html><head><title>Error</title></head><body><p>Unable to fetch the key set</p></body></html>";
    match manners.keys_unreachable.is {
        KeysUnreachable::NotFoundPage => {
            Answer::text(StatusCode::NOT_FOUND, "text/html; charset=utf-8", page).refusing(reason)
        }
        KeysUnreachable::InvalidClient => refusal(manners, "invalid_client", reason),
    }
}

struct Form {
    grant_type: String,
    assertion_type: String,
    assertion: String,
    scope: String,
}

impl Form {
    fn read(request: &Call) -> Result<Self, Reason> {
        let media_type = request.header(&CONTENT_TYPE)?;
        if media_type.split(';').next() != Some("application/x-www-form-urlencoded") {
            return Err(format!("the content type must be application/x-www-form-urlencoded, not {media_type}"));
        }
        let text = std::str::from_utf8(&request.body).map_err(|_| "the form is not UTF-8")?;
        let mut fields = HashMap::new();
        for (name, value) in form_pairs(text)? {
            if fields.contains_key(&name) {
                return Err(format!("{name} stands twice in the form"));
            }
            fields.insert(name, value);
        }
        let mut field = |name: &str| {
            let value = fields.remove(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("{name} is missing"))
        };
        Ok(Self {
            grant_type: field("grant_type")?,
            assertion_type: field("client_assertion_type")?,
            assertion: field("client_assertion")?,
            scope: field("scope")?,
        })
    }
}

/// The tokens given out and still good.
pub(super) struct Tokens {
    life: Duration,
    by_token: Mutex<HashMap<String, Grant>>,
}

struct Grant {
    scopes: Vec<String>,
    expires_at_ms: i64,
}

/// Why a token does not open a door.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenRefusal {
    #[error("the access token is unknown or has expired")]
    Dead,
    #[error("Insufficient permissions: the access token has not the scope for this")]
    Scope,
}

impl Tokens {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, by_token: Mutex::default() }
    }

    /// A new token with these scopes; `None` when the system has no randomness.
    pub(super) fn give(&self, scopes: Vec<String>, now_ms: i64) -> Option<String> {
        let token = clock::opaque_token()?;
        let life_ms = i64::try_from(self.life.as_millis()).unwrap_or(i64::MAX);
        let mut tokens = locked(&self.by_token);
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, grant| grant.expires_at_ms > now_ms);
        }
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(token.clone(), Grant { scopes, expires_at_ms: now_ms.saturating_add(life_ms) });
        Some(token)
    }

    /// Whether the token is alive and has one of these scopes.
    pub(super) fn check(&self, token: &str, scopes: &[&str], now_ms: i64) -> Result<(), TokenRefusal> {
        let tokens = locked(&self.by_token);
        let grant = tokens.get(token).filter(|grant| grant.expires_at_ms > now_ms).ok_or(TokenRefusal::Dead)?;
        if grant.scopes.iter().any(|own| scopes.contains(&own.as_str())) { Ok(()) } else { Err(TokenRefusal::Scope) }
    }

    /// Forgets all tokens, before their time.
    pub(super) fn revoke_all(&self) {
        locked(&self.by_token).clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::options::{SCOPE_LINEITEM, SCOPE_SCORE};
    use super::super::testing::{NOW_MS, answer, assertion, call, claims, platform, reason, token_form};
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn header() -> Value {
        json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
    }

    async fn ask(platform: &Platform, assertion: &str, scope: &str) -> (StatusCode, Value, String) {
        let request = call("POST", "/lti13/token", &[("content-type", FORM)], &token_form(assertion, scope));
        let answer = answer(platform, &request, NOW_MS).await;
        let body = serde_json::from_slice(&answer.body).expect("JSON");
        (answer.status, body, reason(&answer).to_owned())
    }

    #[tokio::test]
    async fn a_good_assertion_gets_a_token_once() {
        let platform = platform();
        let assertion = assertion(&header(), &claims("j1", &platform.token_url(), NOW_MS));
        let (status, body, reason) = ask(&platform, &assertion, &format!("{SCOPE_SCORE} https://x.example/y")).await;
        assert_eq!((status, reason.as_str()), (StatusCode::OK, ""));
        assert_eq!(
            (&body["token_type"], &body["expires_in"], &body["scope"]),
            (&json!("Bearer"), &json!(3600), &json!(SCOPE_SCORE))
        );
        let token = body["access_token"].as_str().expect("a token");
        platform.tokens.check(token, &[SCOPE_SCORE], NOW_MS + 3_599_999).expect("alive");
        platform.tokens.check(token, &[SCOPE_LINEITEM], NOW_MS).expect_err("another scope");
        platform.tokens.check(token, &[SCOPE_SCORE], NOW_MS + 3_600_000).expect_err("expired");

        let (status, body, reason) = ask(&platform, &assertion, SCOPE_SCORE).await;
        assert_eq!((status, &body["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
        assert_eq!(reason, "the jti was used before");
    }

    #[tokio::test]
    async fn tampered_assertions_are_refused() {
        let platform = platform();
        let good = claims("j", &platform.token_url(), NOW_MS);
        let check = async |header: Value, changes: Value, expected: &str| {
            let mut claims = good.clone();
            for (name, value) in changes.as_object().expect("an object") {
                claims[name] = value.clone();
            }
            let (status, _, reason) = ask(&platform, &assertion(&header, &claims), SCOPE_SCORE).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert!(reason.contains(expected), "{expected}: {reason}");
        };
        let now_s = NOW_MS / 1000;
        check(json!({"alg": "HS256", "kid": "k1"}), json!({}), "alg").await;
        check(json!({"alg": "RS256"}), json!({}), "kid").await;
        check(json!({"alg": "RS256", "kid": "k2"}), json!({}), "k2").await;
        check(header(), json!({"iss": "other"}), "not registered").await;
        check(header(), json!({"sub": "other"}), "sub").await;
        check(header(), json!({"aud": [platform.token_url()]}), "aud").await;
        check(header(), json!({"aud": platform.token_url() + "/"}), "aud").await;
        check(header(), json!({"iat": now_s + 1}), "iat").await;
        check(header(), json!({"iat": now_s - 301}), "iat").await;
        check(header(), json!({"exp": now_s}), "Expired").await;
        check(header(), json!({"exp": now_s + 301}), "exp").await;
        check(header(), json!({"exp": null}), "exp").await;
        check(header(), json!({"jti": ""}), "jti").await;
        check(header(), json!({"https://purl.imsglobal.org/spec/lti/claim/deployment_id": 1}), "deployment_id").await;

        let signed = assertion(&header(), &good);
        let other = assertion(&header(), &claims("k", "x", NOW_MS));
        let forged = format!(
            "{}.{}",
            &signed[..signed.rfind('.').expect("a dot")],
            &other[other.rfind('.').expect("a dot") + 1..]
        );
        let (_, _, reason) = ask(&platform, &forged, SCOPE_SCORE).await;
        assert_eq!(reason, "Signature verification failed");
    }

    #[tokio::test]
    async fn malformed_requests_get_their_oauth_error() {
        let platform = platform();
        let good = token_form("a.b.c", SCOPE_SCORE);
        let check = async |media_type: &str, form: String, error: &str| {
            let request = call("POST", "/lti13/token", &[("content-type", media_type)], &form);
            let answer = answer(&platform, &request, NOW_MS).await;
            let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(body["error"], json!(error), "{}", reason(&answer));
        };
        check("application/json", good.clone(), "invalid_request").await;
        check(FORM, good.replace("client_credentials", "password"), "unsupported_grant_type").await;
        check(FORM, good.replace("jwt-bearer", "saml2"), "invalid_request").await;
        check(FORM, good.replace("&scope=", "&scoop="), "invalid_request").await;
        check(FORM, format!("{good}&scope=x"), "invalid_request").await;
        check(FORM, good, "invalid_client").await;
        let assertion = assertion(&header(), &claims("j", &platform.token_url(), NOW_MS));
        check(FORM, token_form(&assertion, "openid"), "invalid_scope").await;
    }
}
