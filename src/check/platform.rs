//! One `[[platforms]]` entry: the way to its token endpoint, and a token for the least scopes; for an entry that only
//! names an origin, the way there.

use std::sync::Arc;

use super::{
    Remark, Road, SERVED_LATER, Section, clock, listed, reach,
    refusal::{Cause, Refusal},
    signature::{self, Past, Proof},
    told,
};
use crate::{
    config::lti::Platform,
    domain::{
        cause::TokenCause,
        destination::ServiceUrl,
        outcome::Verdict,
        platform::{Registration, SigningKey},
    },
    lti::{
        access_token::{self, AccessToken, TokenRequest},
        probe::{self, Purpose},
        wire::{Answer, Reply},
    },
    ports::Registry as _,
};

/// Tries a platform. Without a past nothing is said of what was not signed.
pub(super) async fn section(road: Road<'_>, platform: &Platform, past: Option<Past>) -> Vec<Remark> {
    let mut section = Section::named("platform", &platform.name);
    let mut proof = Proof::Unsigned;
    if let Some(registration) = platform.registration() {
        proof = Proof::Signed;
        try_tokens(road, &mut section, registration).await;
    }
    let token_origin = platform.token_url.as_ref().map(ServiceUrl::origin);
    if let Some(origin) = platform.origin.as_ref().filter(|origin| Some(*origin) != token_origin.as_ref()) {
        let url = ServiceUrl::parse(&format!("{}/", origin.as_str()));
        if let Ok(url) = url {
            reach::visit(road, &mut section, &url, "origin").await;
        }
    }
    if let Some(past) = past {
        signature::tell(&mut section, proof, &past);
    }
    section.done()
}

async fn try_tokens(road: Road<'_>, section: &mut Section, registration: Registration) {
    if !reach::is_on_the_way(road, section, &registration.token_url, "token_url").await {
        return;
    }
    let Ok(signing_key) = road.registry.signing_key() else {
        let advice = "make a key with `passback keys generate`, configure it, and give the platform the JWKS address";
        section.fail("token", "there is no [[signing_keys]] entry to sign an assertion with", advice);
        return;
    };
    let desk = TokenDesk { registration: Arc::new(registration), signing_key };
    if desk.ask_for_scores(road, section).await {
        desk.ask_for_columns(road, section).await;
    }
}

/// Who asks a platform for tokens.
pub(super) struct TokenDesk {
    pub(super) registration: Arc<Registration>,
    pub(super) signing_key: Arc<SigningKey>,
}

/// What came of asking for a token.
pub(super) enum Asked {
    /// A token, and the scopes that were asked for and not granted.
    Granted(AccessToken, Vec<String>),
    /// None.
    Refused(Refused),
}

/// A token that was not given.
pub(super) struct Refused {
    /// Why, where a reply tells.
    cause: Option<Cause>,
    /// What was seen.
    seen: String,
}

/// A question to the token endpoint, answered.
struct Answered {
    answer: Answer,
    ahead_millis: Option<i64>,
    /// By whose clock the assertion was signed that was answered.
    signed_by: SignedBy,
    granted: Result<AccessToken, Verdict>,
    request: TokenRequest,
}

/// Whose clock gave the times of an assertion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SignedBy {
    OurClock,
    /// Ours was refused for its times, and the platform had said its own.
    TheirClock,
}

impl TokenDesk {
    /// The first question, which also shows the connection and the clock. True where a token for scores was given.
    async fn ask_for_scores(&self, road: Road<'_>, section: &mut Section) -> bool {
        let answered = match self.question(road, Purpose::Scores).await {
            Ok(answered) => answered,
            Err(verdict) => {
                section.fail("token", verdict.message, "make a key with `passback keys generate` and configure it");
                return false;
            }
        };
        let token_url = &self.registration.token_url;
        let Some(reply) = reach::contact(road, section, &answered.answer, token_url, "token_url").await else {
            return false;
        };
        if let Some(ahead_millis) = answered.ahead_millis {
            clock::tell(section, ahead_millis);
        }
        match &answered.granted {
            Ok(token) => {
                let missing = probe::missing_scopes(token, &answered.request);
                if missing.is_empty() && answered.signed_by == SignedBy::TheirClock {
                    let seen = "a token was given only when the assertion was signed by the platform's own clock";
                    section.warn("token", seen, "AGS does with that; LTI 1.1 does not: keep both clocks right");
                } else if missing.is_empty() {
                    section.ok("token", "a token was given for the scope score");
                } else {
                    let advice = Cause::Said(TokenCause::Scope).advice(&self.registration, &self.signing_key.kid);
                    section.fail("scope", "a token was given, but not for the scope score", advice);
                }
                missing.is_empty()
            }
            Err(verdict) => {
                let refused = self.refused(road, reply, verdict, answered.ahead_millis).await;
                if refused.is_for_keys() && road.has_no_worker_yet() {
                    section.warn(refused.step(), refused.seen, SERVED_LATER);
                } else {
                    section.fail(refused.step(), refused.seen.clone(), self.advice(&refused));
                }
                false
            }
        }
    }

    /// What remark and making columns takes; an event that names its own needs none of it.
    async fn ask_for_columns(&self, road: Road<'_>, section: &mut Section) {
        let without = "events that name their own `lineitem` are delivered, columns cannot be found or made";
        match self.ask(road, Purpose::Columns).await {
            Asked::Granted(_, missing) if missing.is_empty() => {
                section.ok("scope", "score and lineitem are granted: columns can be found and made");
            }
            Asked::Granted(_, missing) => {
                let missing: Vec<&str> = missing.iter().map(|scope| probe::short_scope(scope)).collect();
                let seen = format!("the scope {} is not granted", listed(&missing));
                let advice =
                    format!("{without}; to have them, allow the tool to manage line items (AGS) in the platform");
                section.warn("scope", seen, advice);
            }
            Asked::Refused(refused) => {
                let seen = format!("no token for the scopes lineitem and score: {}", refused.seen);
                let advice =
                    format!("{without}; to have them, allow the tool to manage line items (AGS) in the platform");
                section.warn("scope", seen, advice);
            }
        }
    }

    /// Asks for a token.
    pub(super) async fn ask(&self, road: Road<'_>, purpose: Purpose) -> Asked {
        let answered = match self.question(road, purpose).await {
            Ok(answered) => answered,
            Err(verdict) => return Asked::Refused(Refused { cause: None, seen: verdict.message }),
        };
        match (answered.granted, answered.answer) {
            (Ok(token), _) => {
                let missing = probe::missing_scopes(&token, &answered.request);
                Asked::Granted(token, missing)
            }
            (Err(verdict), Ok(reply)) => {
                Asked::Refused(self.refused(road, &reply, &verdict, answered.ahead_millis).await)
            }
            (Err(verdict), Err(failure)) => {
                let cause = reach::is_slow(&failure).then_some(Cause::Slow);
                Asked::Refused(Refused { cause, seen: verdict.message })
            }
        }
    }

    async fn question(&self, road: Road<'_>, purpose: Purpose) -> Result<Answered, Verdict> {
        let (registration, signing_key) = (Arc::clone(&self.registration), Arc::clone(&self.signing_key));
        let request = TokenRequest::new(registration, signing_key, purpose.scopes());
        let clock = road.clock;
        let asked_at = clock.now();
        let mut answer = road.send(request.assertion_request(asked_at, clock.luck())?).await;
        let mut answered_at = clock.now();
        let ahead_millis = answer.as_ref().ok().and_then(|reply| clock::ahead_millis(reply, asked_at, answered_at));
        let mut signed_by = SignedBy::OurClock;
        // As the worker does.
        if let Some(theirs) = access_token::clock_of(&answer, answered_at) {
            answer = road.send(request.assertion_request(theirs, clock.luck())?).await;
            answered_at = clock.now();
            signed_by = SignedBy::TheirClock;
        }
        let granted = access_token::read_discreetly(&answer, answered_at, road.registry.confidential());
        Ok(Answered { answer, ahead_millis, signed_by, granted, request })
    }

    async fn refused(&self, road: Road<'_>, reply: &Reply, verdict: &Verdict, ahead_millis: Option<i64>) -> Refused {
        let plain_status = if matches!(reply.status, 404 | 410) {
            // An endpoint whose platform only fails to fetch our keys still knows what it is.
            let plain = road.send(probe::page_request(self.registration.token_url.clone())).await;
            plain.ok().map(|reply| reply.status)
        } else {
            None
        };
        let seen = told(verdict);
        let cause = Refusal { reply, verdict, plain_status, ahead_millis }.cause();
        Refused { cause: Some(cause), seen }
    }

    /// What to do about a refusal.
    pub(super) fn advice(&self, refused: &Refused) -> String {
        refused.cause.unwrap_or(Cause::Unsaid).advice(&self.registration, &self.signing_key.kid)
    }
}

impl Refused {
    /// What was seen.
    pub(super) fn seen(&self) -> &str {
        &self.seen
    }

    /// Whether it was for the scopes that were asked for.
    pub(super) fn is_for_scopes(&self) -> bool {
        self.cause == Some(Cause::Said(TokenCause::Scope))
    }

    /// Whether it was because our keys could not be fetched.
    fn is_for_keys(&self) -> bool {
        self.cause == Some(Cause::Said(TokenCause::KeysUnreachable))
    }

    /// Whether nothing came in time.
    pub(super) fn is_slow(&self) -> bool {
        self.cause == Some(Cause::Slow)
    }

    /// The step that it belongs to.
    pub(super) fn step(&self) -> &'static str {
        match self.cause {
            Some(Cause::Said(TokenCause::Scope)) => "scope",
            Some(Cause::Said(TokenCause::KeysUnreachable)) => "jwks",
            _ => "token",
        }
    }
}
