//! Why a token endpoint refused: its status, its words and what was measured beside them as a cause, and a cause as a
//! sentence of advice. Which words speak of what is known to `domain::cause` alone.

use crate::{
    domain::{
        cause::{Clocks, TokenCause, Words},
        destination::ServiceUrl,
        outcome::{FailureReason, Finding, Verdict},
        platform::Registration,
    },
    lti::{probe, wire::Reply},
};

/// What is known of a refusal.
pub(super) struct Refusal<'a> {
    /// What the endpoint answered.
    pub(super) reply: &'a Reply,
    /// How the worker would read it.
    pub(super) verdict: &'a Verdict,
    /// What the same address says to a GET, which asks for nothing; where that was tried.
    pub(super) plain_status: Option<u16>,
    /// By how many milliseconds our clock is ahead, where that was measured.
    pub(super) ahead_millis: Option<i64>,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is no token endpoint at this address.
    WrongAddress,
    /// The address moves us on.
    Redirected,
    /// A page in the place of an answer.
    Page,
    /// Too many requests.
    Busy,
    /// The platform failed.
    Server,
    /// What its words speak of.
    Said(TokenCause),
    /// No answer in time.
    Slow,
    /// It does not say.
    Unsaid,
}

impl Refusal<'_> {
    /// Why the endpoint refused.
    pub(super) fn cause(&self) -> Cause {
        let status = self.reply.status;
        let is_page = probe::is_page(self.reply);
        match (&self.verdict.finding, status) {
            (Finding::Failed(FailureReason::RateLimited), _) => Cause::Busy,
            (_, 300..=399) => Cause::Redirected,
            // Moodle answers so while it cannot fetch our keys; then the address itself still knows what it is.
            (_, 404 | 410) if self.plain_status.is_none_or(|plain| matches!(plain, 404 | 410)) && !is_page => {
                self.by_words().unwrap_or(Cause::WrongAddress)
            }
            (_, 404 | 410) if is_page => match self.plain_status {
                Some(404 | 410) => Cause::WrongAddress,
                _ => Cause::Said(TokenCause::KeysUnreachable),
            },
            (_, 405) => Cause::WrongAddress,
            (_, 200..=299) => Cause::Page,
            (_, 500..=599) => self.by_words().filter(|_| !is_page).unwrap_or(Cause::Server),
            _ if is_page => self.by_words().unwrap_or(Cause::Page),
            _ => self.by_words().unwrap_or(Cause::Unsaid),
        }
    }

    fn by_words(&self) -> Option<Cause> {
        let is_small = |ahead: i64| ahead.unsigned_abs() < CLOCKS_AGREE_MILLIS;
        let clocks = if self.ahead_millis.is_some_and(is_small) { Clocks::Agree } else { Clocks::MayBeApart };
        TokenCause::of(&Words::of(&self.verdict.message), clocks).map(Cause::Said)
    }
}

/// Clocks that are no further apart are not what a platform means.
const CLOCKS_AGREE_MILLIS: u64 = 3_000;

impl Cause {
    /// What to do about it.
    pub(super) fn advice(self, registration: &Registration, kid: &str) -> String {
        let Registration { client_id, token_audience, token_url, .. } = registration;
        let place = Place(token_url);
        match self {
            Self::WrongAddress => format!("there is no token endpoint at {place}: correct token_url"),
            Self::Redirected => {
                format!(
                    "{place} moves us on, and a redirect is not followed: put the platform's present address into token_url"
                )
            }
            Self::Page => format!(
                "a page came from {place} in the place of a token (a login, a maintenance or an error page): correct token_url, \
                 or wait for the maintenance to end"
            ),
            Self::Busy => {
                "the platform gets too many requests: try again later; the worker keeps its tokens".to_owned()
            }
            Self::Server => {
                "the platform failed on its own side: ask its admins; Sakai and Brightspace also answer so to an \
                 assertion that they cannot read, so compare client_id and token_aud with the registration there"
                    .to_owned()
            }
            Self::Slow => format!("try again when the platform is quick, and look for a firewall before {place}"),
            Self::Said(cause) => advice_of(cause, registration, kid),
            Self::Unsaid => format!(
                "the platform does not say why: compare client_id \"{client_id}\", token_aud \"{token_audience}\" and the JWKS \
                 address with the tool's registration there"
            ),
        }
    }
}

fn advice_of(cause: TokenCause, registration: &Registration, kid: &str) -> String {
    let Registration { client_id, token_audience, .. } = registration;
    match cause {
        TokenCause::KeysUnreachable => {
            "the platform answers so when it cannot fetch our JWKS: see that the worker runs, which serves it, and open the \
             JWKS address that is registered there from the platform's own network (`passback check --jwks-url URL` tries it \
             from here)"
                .to_owned()
        }
        TokenCause::Clock => {
            "the platform does not accept the times in our assertion: compare the clocks of this machine and \
             of the platform, and keep both right by a time service"
                .to_owned()
        }
        TokenCause::Audience => format!(
            "the platform does not accept the audience \"{token_audience}\": set token_aud to what its registration page \
             names (often the token URL to the letter, a last slash included; Brightspace has a value of its own)"
        ),
        TokenCause::Deployment => {
            "the platform does not know the deployment: compare deployment_id with the registration \
             there, or leave it out"
                .to_owned()
        }
        TokenCause::Scope => "the registration there does not allow the scopes of grades: allow the tool to use grade \
             services (AGS) in the platform's settings of this tool"
            .to_owned(),
        TokenCause::Key => format!(
            "the platform cannot check our signature by the key \"{kid}\": it has an older copy of our key set, or fetches \
             another one; have it fetch the JWKS anew, or put back the key that it knows as the first of [[signing_keys]]"
        ),
        TokenCause::Client => format!(
            "the platform does not know client_id \"{client_id}\", or not with our keys: compare client_id and the JWKS \
             address with the tool's registration there"
        ),
    }
}

/// A URL without its query.
struct Place<'a>(&'a ServiceUrl);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::time::Timestamp,
        lti::{access_token, wire::Answer},
    };

    /// What a reply to a token request is taken for.
    fn cause(status: u16, body: &str, plain_status: Option<u16>, ahead_millis: Option<i64>) -> Cause {
        let reply = Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
        let answer: Answer = Ok(reply.clone());
        let verdict = access_token::read(&answer, Timestamp::from_secs(1_800_000_000)).expect_err("no token");
        Refusal { reply: &reply, verdict: &verdict, plain_status, ahead_millis }.cause()
    }

    #[test]
    fn the_words_of_each_platform_lead_to_their_cause() {
        let check = |status: u16, body: &str, expected: Cause| {
            assert_eq!(cause(status, body, None, Some(0)), expected, "{status} {body}");
        };
        check(
            400,
            r#"{"error":"Cannot handle token with iat prior to 2026-11-21T10:30:00+0000"}"#,
            Cause::Said(TokenCause::Clock),
        );
        check(400, r#"{"error":"Expired token"}"#, Cause::Said(TokenCause::Clock));
        check(400, r#"{"error":"unidentified_error"}"#, Cause::Said(TokenCause::Clock));
        check(400, r#"{"error":"Signature verification failed"}"#, Cause::Said(TokenCause::Key));
        check(400, r#"{"error":""kid" invalid, unable to lookup correct key"}"#, Cause::Said(TokenCause::Key));
        check(
            400,
            r#"{"error":"invalid_request","error_description":"KeyId not found in token"}"#,
            Cause::Said(TokenCause::Key),
        );
        check(
            400,
            r#"{"error":"invalid_request","error_description":"the 'aud' is invalid"}"#,
            Cause::Said(TokenCause::Audience),
        );
        check(400, r#"{"error":"invalid_scope"}"#, Cause::Said(TokenCause::Scope));
        check(401, r#"{"error":"invalid_client"}"#, Cause::Said(TokenCause::Client));
        check(400, r#"{"error":"The consumer key is incorrect."}"#, Cause::Said(TokenCause::Client));
        check(400, r#"{"error":"client not associated with this deployment"}"#, Cause::Said(TokenCause::Deployment));
        check(400, r#"{"error":"invalid_grant"}"#, Cause::Unsaid);
        check(403, "", Cause::Unsaid);
        check(429, "", Cause::Busy);
        check(303, "", Cause::Redirected);
        check(503, "<html>maintenance</html>", Cause::Server);
        check(500, r#"{"error":"the aud is an array"}"#, Cause::Said(TokenCause::Audience));
        check(200, "<html>Log in</html>", Cause::Page);
        check(400, "<html>Bad request</html>", Cause::Page);
        check(405, "", Cause::WrongAddress);
    }

    #[test]
    fn a_404_page_is_a_missing_key_set_only_where_the_address_is_one_of_tokens() {
        let page = "<!DOCTYPE html><title>404</title>";
        assert_eq!(cause(404, page, Some(400), None), Cause::Said(TokenCause::KeysUnreachable));
        assert_eq!(cause(404, page, Some(405), None), Cause::Said(TokenCause::KeysUnreachable));
        assert_eq!(cause(404, page, Some(404), None), Cause::WrongAddress);
        assert_eq!(cause(404, page, None, None), Cause::Said(TokenCause::KeysUnreachable));
        assert_eq!(cause(404, "not found", Some(404), None), Cause::WrongAddress);
    }

    #[test]
    fn clocks_that_agree_are_not_at_fault_for_an_audience() {
        let body = r#"{"error":"invalid_client","error_description":"check aud, iat and exp"}"#;
        assert_eq!(cause(400, body, None, Some(0)), Cause::Said(TokenCause::Audience));
        assert_eq!(cause(400, body, None, Some(120_000)), Cause::Said(TokenCause::Clock));
    }

    proptest! {
        /// Whatever comes back, there is a cause and a sentence of a bounded length.
        #[test]
        fn every_reply_has_its_advice(
            status in 100_u16..600,
            body in proptest::collection::vec(any::<u8>(), 0..300),
            plain_status in proptest::option::of(100_u16..600),
            ahead_millis in proptest::option::of(any::<i64>()),
        ) {
            let reply = Reply { status, headers: Vec::new(), body };
            let now = Timestamp::from_secs(1_800_000_000);
            if let Err(verdict) = access_token::read(&Ok(reply.clone()), now) {
                let cause = Refusal { reply: &reply, verdict: &verdict, plain_status, ahead_millis }.cause();
                let token_url = ServiceUrl::parse("https://lms.example.edu/token?ticket=hush").expect("a URL");
                let registration = Registration {
                    name: None,
                    client_id: "c".to_owned(),
                    token_audience: "a".to_owned(),
                    token_url,
                    deployment_id: None,
                    ignored_claims: Vec::new(),
                };
                let advice = cause.advice(&registration, "k");
                prop_assert!((40..500).contains(&advice.len()) && !advice.contains("hush"), "{advice}");
            }
        }
    }
}
