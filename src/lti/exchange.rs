//! One delivery as a conversation: what to do next, and what was heard.
//!
//! LTI 1.1 and delegated deliveries are one request and one reply; a platform that is still at work on the grade is
//! asked back once. AGS begins with a token, may have to find or make the column, and asks once more where the token
//! had died or the column was gone.
//!
//! The same conversation, as an [inquiry](Exchange::inquiry), reads a grade back and changes nothing.
//!
//! ```text
//!   loop { match exchange.poll(now, luck) {
//!       Send(request)                 → the transport, then handle_reply
//!       Token(request, freshness)     → the token cache, else the token endpoint, then handle_token
//!       RecallColumn { key }          → lock the column, look into the store, then handle_column
//!       RememberColumn { key, url }   → the store, then handle_remembered
//!       Done(verdict)                 → the end
//!   }}
//! ```
//!
//! The lock of a column is held for as long as [`Exchange::holds_column`] says, so that two workers on one class do
//! not make two columns; the scores themselves go side by side.

use std::{fmt, sync::Arc};

use super::{
    access_token::{AccessToken, Freshness, TokenRequest},
    ags_exchange::AgsExchange,
    basic_outcomes::{OutcomeErrand, PoxStatus},
    classify::{Ask, classify},
    delegated,
    outcome_exchange::OutcomeExchange,
    wire::{Answer, Request},
    words::{Confidential, Hidden},
};
use crate::domain::{
    destination::Destination,
    event::GradeEvent,
    family::Family,
    outcome::{FailureReason, Finding, Verdict},
    platform::{Registration, SharedSecret, SigningKey},
    time::Timestamp,
    verification::{Reading, Sent},
};

/// What a delivery signs in with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// LTI 1.1 and delegated: the secret of the consumer key.
    Shared(SharedSecret),
    /// AGS: the tool's registration at the platform, and the key that signs for it.
    Platform {
        /// The registration.
        registration: Registration,
        /// The key of client assertions.
        key: Arc<SigningKey>,
    },
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this; then [`Exchange::handle_reply`].
    Send(Request),
    /// Get a token, from the cache where it has one that is fresh enough; then [`Exchange::handle_token`].
    Token(TokenRequest, Freshness),
    /// Lock this column and look whether its URL is remembered; then [`Exchange::handle_column`].
    RecallColumn {
        /// What the column is remembered by.
        key: [u8; 16],
    },
    /// Remember the URL of this column, or forget it; then [`Exchange::handle_remembered`].
    RememberColumn {
        /// What the column is remembered by.
        key: [u8; 16],
        /// Its URL; none forgets it.
        url: Option<String>,
    },
    /// The delivery is over.
    Done(Verdict),
}

/// What a delivery has to know of its job beside the event.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The AGS timestamp that the job keeps through all of its tries; without one it is `occurred_at`.
    pub ags_timestamp: Option<Timestamp>,
    /// When the session changed state.
    pub occurred_at: Timestamp,
    /// What earlier tries may have left at the platform.
    pub earlier: Earlier,
    /// Whether an earlier try found its column gone and made it anew: that is done once for a job.
    pub column_was_remade: bool,
    /// What replies have shown the platform to be, where its address does not tell.
    pub shown: Option<Family>,
}

/// What earlier tries of a job may have left at the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing: there was none, or each was refused.
    Nothing,
    /// Perhaps the grade, although no answer says so.
    Perhaps,
}

impl Standing {
    /// That of a job which was never tried.
    pub fn first(occurred_at: Timestamp) -> Self {
        Self { ags_timestamp: None, occurred_at, earlier: Earlier::Nothing, column_was_remade: false, shown: None }
    }
}

/// One delivery, from the first request to its verdict. It never prints what it carries.
pub struct Exchange {
    talk: Talk,
    /// Whether the score request is out and unanswered.
    score_is_out: bool,
    hidden: Hidden,
    /// What the platform's replies have shown it to be.
    shown: Option<Family>,
}

enum Talk {
    Outcome(Box<OutcomeExchange>),
    Delegated(Request),
    Ags(Box<AgsExchange>),
    /// Delegated is over with the first reply.
    Done(Verdict),
}

impl Exchange {
    /// An exchange for an event. Fails with the reason where nothing can be sent.
    pub fn new(event: &GradeEvent, credentials: Credentials, standing: Standing) -> Result<Self, FailureReason> {
        let hidden = hidden(event, &credentials);
        let talk = match (&event.destination, credentials) {
            (Destination::Lti11(service), Credentials::Shared(secret)) => {
                let errand = OutcomeErrand::new(service.clone(), secret, event, standing)?;
                Talk::Outcome(Box::new(OutcomeExchange::delivery(errand, Sent::of(event))))
            }
            (Destination::Delegated(endpoint), Credentials::Shared(secret)) => {
                Talk::Delegated(delegated::request(endpoint, &secret, event)?)
            }
            (Destination::Ags(target), Credentials::Platform { registration, key }) => {
                Talk::Ags(Box::new(AgsExchange::new(target, event, registration, key, standing)))
            }
            (Destination::Lti11(_) | Destination::Delegated(_), _) => return Err(FailureReason::UnknownKey),
            (Destination::Ags(_), _) => return Err(FailureReason::UnknownPlatform),
        };
        Ok(Self { talk, score_is_out: false, hidden, shown: None })
    }

    /// An exchange that reads the grade of an event's cell back. It is over with a verdict as well: what was
    /// [read](Self::reading), or why nothing could be.
    pub fn inquiry(event: &GradeEvent, credentials: Credentials) -> Result<Self, FailureReason> {
        let hidden = hidden(event, &credentials);
        let talk = match (&event.destination, credentials) {
            (Destination::Lti11(service), Credentials::Shared(secret)) => {
                let errand = OutcomeErrand::reading(service.clone(), secret);
                Talk::Outcome(Box::new(OutcomeExchange::inquiry(errand)))
            }
            (Destination::Ags(target), Credentials::Platform { registration, key }) => {
                Talk::Ags(Box::new(AgsExchange::inquiry(target, registration, key)))
            }
            // A client's own endpoint has no call to read a grade back, so nobody is asked.
            (Destination::Delegated(_), _) => return Err(FailureReason::Rejected),
            (Destination::Lti11(_), _) => return Err(FailureReason::UnknownKey),
            (Destination::Ags(_), _) => return Err(FailureReason::UnknownPlatform),
        };
        Ok(Self { talk, score_is_out: false, hidden, shown: None })
    }

    /// What an inquiry has read.
    pub fn reading(&self) -> Option<Reading> {
        match &self.talk {
            Talk::Outcome(outcome) => outcome.reading(),
            Talk::Ags(ags) => ags.reading(),
            Talk::Delegated(_) | Talk::Done(_) => None,
        }
    }

    /// Keeps these secrets out of a platform's words, beside those that this exchange sends.
    pub fn keep(&mut self, confidential: Arc<Confidential>) {
        self.hidden.keep(confidential);
    }

    /// What to do next. Call it once after each `handle_…`; `luck` must never repeat: nonces are made of it.
    pub fn poll(&mut self, now: Timestamp, luck: u128) -> Step {
        let (step, bears_score) = match &self.talk {
            Talk::Outcome(outcome) => (outcome.poll(now, luck), outcome.sends_score()),
            Talk::Delegated(request) => (Step::Send(request.clone()), true),
            Talk::Ags(ags) => (ags.poll(), ags.sends_score()),
            Talk::Done(verdict) => (Step::Done(verdict.clone()), false),
        };
        if let Step::Send(request) = &step {
            self.score_is_out = bears_score;
            self.hide(request);
        }
        step
    }

    /// Takes in what came back for a [`Step::Send`].
    pub fn handle_reply(&mut self, answer: &Answer, now: Timestamp) {
        self.score_is_out = false;
        match &mut self.talk {
            Talk::Outcome(outcome) => outcome.handle_reply(answer, now, &self.hidden),
            Talk::Delegated(_) => self.talk = Talk::Done(classify(Ask::Delegated, answer, now, &self.hidden)),
            Talk::Ags(ags) => ags.handle_reply(answer, now, &self.hidden),
            Talk::Done(_) => return,
        }
        if self.shown.is_none() {
            self.shown = match &self.talk {
                Talk::Outcome(outcome) if !outcome.is_accepted() => family_of(answer).or_else(|| family_of_pox(answer)),
                Talk::Outcome(_) | Talk::Ags(_) => family_of(answer),
                Talk::Delegated(_) | Talk::Done(_) => None,
            };
        }
    }

    /// Takes in the token of a [`Step::Token`], or why there is none.
    pub fn handle_token(&mut self, token: Result<AccessToken, Verdict>) {
        if let Talk::Ags(ags) = &mut self.talk {
            ags.handle_token(token);
        }
    }

    /// Takes in the URL that is remembered for the column of a [`Step::RecallColumn`].
    pub fn handle_column(&mut self, remembered: Option<&str>) {
        if let Talk::Ags(ags) = &mut self.talk {
            ags.handle_column(remembered);
        }
    }

    /// Takes note that a [`Step::RememberColumn`] was carried out.
    pub fn handle_remembered(&mut self) {
        if let Talk::Ags(ags) = &mut self.talk {
            ags.handle_remembered();
        }
    }

    /// Whether the lock that [`Step::RecallColumn`] took is still needed. Ask after each `handle_…`, and let it go as
    /// soon as it is not: an exchange may take it a second time.
    pub fn holds_column(&self) -> bool {
        matches!(&self.talk, Talk::Ags(ags) if ags.holds_column())
    }

    /// What the platform has shown itself to be in its replies.
    pub fn shown(&self) -> Option<Family> {
        self.shown
    }

    /// The verdict where the time for the whole attempt ran out.
    pub fn interrupt(&self) -> Verdict {
        let finding = Finding::Failed(FailureReason::Timeout);
        let verdict =
            Verdict::without_reply(finding, "the attempt as a whole took longer than five times [delivery] timeout");
        let column_remade = matches!(&self.talk, Talk::Ags(ags) if ags.remade_column());
        Verdict { reply_lost: self.score_is_out, column_remade, ..verdict }
    }

    /// A platform may echo what it got: the body, and whatever we signed in with.
    fn hide(&mut self, request: &Request) {
        self.hidden.add(String::from_utf8_lossy(&request.body));
        for (_, value) in request.headers.iter().filter(|(name, _)| *name == "authorization") {
            self.hidden.add(value.split_once(' ').map_or(value.as_str(), |(_, credentials)| credentials));
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("score_is_out", &self.score_is_out).finish_non_exhaustive()
    }
}

/// Canvas counts what each request costs, and says so in headers that nobody else has.
fn family_of(answer: &Answer) -> Option<Family> {
    let reply = answer.as_ref().ok()?;
    let is_canvas = ["x-canvas-meta", "x-request-cost"].iter().any(|name| reply.header(name).is_some());
    is_canvas.then_some(Family::Canvas)
}

/// Canvas's own element stands in each of its refusals, whatever address it has.
fn family_of_pox(answer: &Answer) -> Option<Family> {
    let reply = answer.as_ref().ok()?;
    let has_canvas_code = PoxStatus::read(&reply.body).is_some_and(|pox| pox.canvas_code().is_some());
    has_canvas_code.then_some(Family::Canvas)
}

/// What a platform may repeat and nobody may read, before anything was sent.
fn hidden(event: &GradeEvent, credentials: &Credentials) -> Hidden {
    let mut hidden = Hidden::default();
    hidden.add(event.comment.as_deref().unwrap_or_default());
    if let Credentials::Shared(secret) = credentials {
        hidden.add(secret.expose());
    }
    if let Destination::Lti11(service) = &event.destination {
        hidden.add(service.sourcedid.as_str());
    }
    hidden
}

/// For a driver that calls out of turn. A bug, but none that may take the worker down or pass for a delivery.
pub(super) fn lost_thread() -> Verdict {
    Verdict::without_reply(Finding::Failed(FailureReason::BadResponse), "the delivery lost its thread: report this")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{destination::ServiceUrl, event::Door, outcome::NotNewer, verification::Grade},
        lti::{
            access_token,
            wire::{Reply, TransportFailure, TransportFault, Written},
        },
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const LTI11: &str = r#""lis_outcome_service_url":"https://l/o?a=1","lis_result_sourcedid":"hush-sourcedid","oauth_consumer_key":"key""#;
    const DELEGATED: &str =
        r#""lti_version":"1.3","grade_passback_url":"https://c/p","oauth_consumer_key":"key","x":"hush-x""#;
    const KNOWN: &str = r#""lti_version":"1.3","client_id":"c","user_id":"hush-user","lineitem":"https://l/1?t=2""#;
    const SOUGHT: &str =
        r#""lti_version":"1.3","client_id":"c","user_id":"hush-user","lineitems":"https://l/items","tag":"t""#;

    fn exchange(lis_data: &str) -> Exchange {
        exchange_of(lis_data, Standing::first(NOW))
    }

    fn exchange_of(lis_data: &str, standing: Standing) -> Exchange {
        let (event, credentials) = event(lis_data);
        Exchange::new(&event, credentials, standing).expect("an exchange")
    }

    fn inquiry(lis_data: &str) -> Exchange {
        let (event, credentials) = event(lis_data);
        Exchange::inquiry(&event, credentials).expect("an inquiry")
    }

    fn event(lis_data: &str) -> (GradeEvent, Credentials) {
        let json = format!(
            r#"{{"session_id":"s","score":8,"max_score":10,"comment":"hush-comment","lis_data":{{{lis_data}}}}}"#
        );
        let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json);
        let credentials = match &event.destination {
            Destination::Ags(_) => Credentials::Platform {
                registration: Registration {
                    name: None,
                    client_id: "c".to_owned(),
                    token_url: ServiceUrl::parse("https://l/token").expect("a URL"),
                    token_audience: "https://l/token".to_owned(),
                    deployment_id: None,
                    ignored_claims: vec!["token_url"],
                },
                key: Arc::new(SigningKey::new("kid", "hush-pem")),
            },
            _ => Credentials::Shared(SharedSecret::new("hush-secret")),
        };
        (event, credentials)
    }

    /// What the world gives back.
    enum Give {
        Reply(u16, &'static str),
        Lost,
        Token(&'static str),
        NoToken,
        Column(Option<&'static str>),
        Remembered,
    }

    fn token(name: &str) -> AccessToken {
        let body = format!(r#"{{"access_token":"{name}","scope":"other"}}"#).into_bytes();
        access_token::read(&Ok(Reply { status: 200, headers: Vec::new(), body }), NOW).expect("a token")
    }

    fn told(step: &Step) -> String {
        match step {
            Step::Send(request) if request.body.windows(10).any(|part| part == b"readResult") => {
                format!("Read {}", request.url.as_url())
            }
            Step::Send(request) => format!("{:?} {}", request.method, request.url.as_url()),
            Step::Token(_, Freshness::Any) => "token".to_owned(),
            Step::Token(_, Freshness::Not(_)) => "another token".to_owned(),
            Step::RecallColumn { .. } => "recall".to_owned(),
            Step::RememberColumn { url, .. } => format!("remember {}", url.as_deref().unwrap_or("nothing")),
            Step::Done(_) => "done".to_owned(),
        }
    }

    /// Plays an exchange: what must be polled, and what is given back; then its verdict. `*` before a step: the column
    /// is locked while it is carried out.
    fn play(lis_data: &str, standing: Standing, talk: &[(&str, Give)]) -> Verdict {
        play_on(&mut exchange_of(lis_data, standing), talk)
    }

    fn play_on(exchange: &mut Exchange, talk: &[(&str, Give)]) -> Verdict {
        for (number, (want, give)) in talk.iter().enumerate() {
            let step = exchange.poll(NOW, number as u128);
            let lock = if exchange.holds_column() { "*" } else { "" };
            assert_eq!(format!("{lock}{}", told(&step)), *want, "step {number}");
            assert!(!format!("{step:?} {exchange:?}").contains("hush"), "{step:?}");
            let is_score = want.contains("Post") && !want.ends_with("/items");
            assert_eq!(exchange.interrupt().reply_lost, is_score, "step {number}");
            match give {
                Give::Reply(status, body) => {
                    let reply = Reply { status: *status, headers: Vec::new(), body: body.as_bytes().to_vec() };
                    exchange.handle_reply(&Ok(reply), NOW);
                }
                Give::Lost => {
                    let (fault, written) = (TransportFault::Timeout, Written::Perhaps);
                    let detail = "no answer in 10 s".to_owned();
                    exchange.handle_reply(&Err(TransportFailure { fault, written, status: None, detail }), NOW);
                }
                Give::Token(name) => exchange.handle_token(Ok(token(name))),
                Give::NoToken => exchange.handle_token(Err(Verdict::without_reply(
                    Finding::Failed(FailureReason::TokenRefused),
                    "invalid_client",
                ))),
                Give::Column(url) => exchange.handle_column(*url),
                Give::Remembered => exchange.handle_remembered(),
            }
            assert!(!exchange.interrupt().reply_lost, "step {number} was answered");
        }
        match exchange.poll(NOW, u128::MAX) {
            Step::Done(verdict) => {
                assert!(!verdict.message.contains("hush"), "{}", verdict.message);
                verdict
            }
            step => panic!("{} is still to do", told(&step)),
        }
    }

    fn check(lis_data: &str, talk: &[(&str, Give)], want: Result<(), FailureReason>) -> Verdict {
        let verdict = play(lis_data, Standing::first(NOW), talk);
        let finding = want.map_or_else(Finding::Failed, |()| Finding::Accepted);
        assert_eq!(verdict.finding, finding, "{}", verdict.message);
        verdict
    }

    use FailureReason as F;
    use Give::{Column, Lost, NoToken, Remembered, Reply as Says, Token};

    #[test]
    fn one_request_delivers_lti11_and_delegated() {
        const SUCCESS: &str = "<imsx_codeMajor>success</imsx_codeMajor>";
        const ECHO: &str = "<imsx_codeMajor>failure</imsx_codeMajor><imsx_description>No hush-sourcedid; oauth_signature=hush \
            hush-secret</imsx_description>";
        check(LTI11, &[("Post https://l/o?a=1", Says(200, SUCCESS))], Ok(()));
        check(LTI11, &[("Post https://l/o?a=1", Says(200, ECHO))], Err(F::Unauthorized));
        check(LTI11, &[("Post https://l/o?a=1", Says(401, ""))], Err(F::Unauthorized));
        check(DELEGATED, &[("Post https://c/p", Says(204, ""))], Ok(()));
        check(DELEGATED, &[("Post https://c/p", Says(400, "bad {\"x\":\"hush-x\",\"oauth"))], Err(F::Rejected));
        assert!(check(DELEGATED, &[("Post https://c/p", Lost)], Err(F::Timeout)).reply_lost);
    }

    #[test]
    fn a_known_column_takes_a_token_and_a_score() {
        const POST: &str = "Post https://l/1/scores?t=2";
        let verdict = check(KNOWN, &[("token", Token("t")), (POST, Says(200, ""))], Ok(()));
        assert_eq!(verdict.message, "the registration's own values were used, not those of lis_data: token_url");
        check(KNOWN, &[("token", NoToken)], Err(F::TokenRefused));
        check(KNOWN, &[("token", Token("t")), (POST, Says(404, "gone"))], Err(F::NotFound));
        assert!(check(KNOWN, &[("token", Token("t")), (POST, Says(504, ""))], Err(F::ServerError)).reply_lost);
        let verdict = play(KNOWN, Standing::first(NOW), &[("token", Token("t")), (POST, Says(409, ""))]);
        assert_eq!(verdict.finding, Finding::NotNewer(NotNewer::Older));
        check(&format!(r#"{KNOWN},"scope":["x"]"#), &[], Err(F::TokenRefused));
    }

    #[test]
    fn a_refused_token_is_replaced_once() {
        const POST: &str = "Post https://l/1/scores?t=2";
        let refused = |status| [("token", Token("a")), (POST, Says(status, "no")), ("another token", Token("b"))];
        for status in [401, 403] {
            let talk = refused(status).into_iter().chain([(POST, Says(200, ""))]).collect::<Vec<_>>();
            check(KNOWN, &talk, Ok(()));
            let talk = refused(status).into_iter().chain([(POST, Says(status, "still no"))]).collect::<Vec<_>>();
            let verdict = check(KNOWN, &talk, Err(F::Unauthorized));
            assert!(verdict.message.starts_with("still no (the platform gave a token without https://"));
        }
        check(KNOWN, &[("token", Token("a")), (POST, Says(401, "")), ("another token", NoToken)], Err(F::TokenRefused));
        let limit = "403 Forbidden (Rate Limit Exceeded)";
        check(KNOWN, &[("token", Token("a")), (POST, Says(403, limit))], Err(F::RateLimited));
    }

    const WRITE: &str = "Post https://l/o?a=1";
    const READ: &str = "Read https://l/o?a=1";
    const AT_WORK: &str =
        "<imsx_codeMajor>processing</imsx_codeMajor><imsx_description>In the queue</imsx_description>";

    fn shows(grade: &str) -> &'static str {
        let reply = format!(
            "<imsx_codeMajor>success</imsx_codeMajor><readResultResponse><textString>{grade}</textString>\
             </readResultResponse>"
        );
        Box::leak(reply.into_boxed_str())
    }

    #[test]
    fn a_platform_that_is_still_at_work_is_asked_back() {
        const CLEAR: &str = r#""lis_outcome_service_url":"https://l/o?a=1","lis_result_sourcedid":"hush-sourcedid","oauth_consumer_key":"key"},"operation":"delete","x":{"#;
        let at_work = || (WRITE, Says(200, AT_WORK));
        let check = |lis_data: &str, read: Give, want: Result<(), FailureReason>, words: &str| {
            let verdict = check(lis_data, &[at_work(), (READ, read)], want);
            assert!(verdict.message.contains(words), "{}", verdict.message);
            // The platform has answered to the grade, so nothing of it was lost.
            assert!(!verdict.reply_lost);
            verdict
        };
        check(LTI11, Says(200, shows("0.8")), Ok(()), "");
        check(LTI11, Says(200, shows("0.8000001")), Ok(()), "");
        check(
            LTI11,
            Says(200, shows("0.5")),
            Err(F::BadResponse),
            "In the queue (the platform is still at work on the grade: read back, there is another one yet)",
        );
        check(LTI11, Says(200, shows("")), Err(F::BadResponse), "read back, there is none yet");
        check(CLEAR, Says(200, shows("")), Ok(()), "");
        check(CLEAR, Says(200, shows("0.8")), Err(F::BadResponse), "read back, there is another one yet");
        let doubt = "it could not be read back";
        check(LTI11, Says(200, AT_WORK), Err(F::BadResponse), doubt);
        check(LTI11, Says(200, "<imsx_codeMajor>unsupported</imsx_codeMajor>"), Err(F::BadResponse), doubt);
        check(LTI11, Says(200, "<html>Log in</html>"), Err(F::BadResponse), doubt);
        check(LTI11, Says(401, ""), Err(F::BadResponse), doubt);
        check(LTI11, Says(503, ""), Err(F::BadResponse), doubt);
        check(LTI11, Lost, Err(F::BadResponse), doubt);
        check(LTI11, Says(200, shows("A+ for hush-sourcedid")), Err(F::BadResponse), "A+ for [hidden]");
        check(LTI11, Says(429, ""), Err(F::RateLimited), "");
    }

    #[test]
    fn only_the_word_processing_itself_is_asked_back() {
        for (status, reason) in
            [(500, F::ServerError), (302, F::BadResponse), (401, F::Unauthorized), (404, F::NotFound)]
        {
            check(LTI11, &[(WRITE, Says(status, AT_WORK))], Err(reason));
        }
        check(LTI11, &[(WRITE, Says(200, "<imsx_codeMajor>perhaps</imsx_codeMajor>"))], Err(F::BadResponse));
        check(LTI11, &[(WRITE, Says(422, AT_WORK)), (READ, Says(200, shows("0.8")))], Ok(()));
    }

    #[test]
    fn an_inquiry_reads_and_writes_nothing() {
        const RESULTS: &str = "Get https://l/1/results?t=2&user_id=hush-user";
        const OURS: &str = r#"[{"userId":"hush-user","resultScore":80,"resultMaximum":100}]"#;
        let check = |lis_data: &str, talk: &[(&str, Give)], want: Result<Reading, FailureReason>| {
            let mut exchange = inquiry(lis_data);
            let verdict = play_on(&mut exchange, talk);
            let finding = want.map_or_else(Finding::Failed, |_| Finding::Accepted);
            assert_eq!((verdict.finding, exchange.reading()), (finding, want.ok()), "{}", verdict.message);
            assert!(!verdict.reply_lost);
            verdict.message
        };
        let grade = |score, maximum| Ok(Reading::Grade(Grade::new(score, maximum).expect("a grade")));
        check(LTI11, &[(READ, Says(200, shows("0.8")))], grade(0.8, 1.0));
        check(LTI11, &[(READ, Says(200, shows("")))], Ok(Reading::Empty));
        check(LTI11, &[(READ, Says(200, shows("A+")))], Err(F::BadResponse));
        check(LTI11, &[(READ, Says(200, AT_WORK))], Err(F::BadResponse));
        check(LTI11, &[(READ, Says(200, "<imsx_codeMajor>unsupported</imsx_codeMajor>"))], Err(F::Rejected));
        check(LTI11, &[(READ, Lost)], Err(F::Timeout));
        let (event, credentials) = event(DELEGATED);
        assert_eq!(Exchange::inquiry(&event, credentials).err(), Some(F::Rejected), "there is no call to read it back");
        check(KNOWN, &[("token", Token("a")), (RESULTS, Says(200, OURS))], grade(80.0, 100.0));
        check(KNOWN, &[("token", NoToken)], Err(F::TokenRefused));
        let again = [
            ("token", Token("a")),
            (RESULTS, Says(401, "")),
            ("another token", Token("b")),
            (RESULTS, Says(200, "[]")),
        ];
        check(KNOWN, &again, Ok(Reading::Empty));
        let refused = [
            ("token", Token("a")),
            (RESULTS, Says(401, "no")),
            ("another token", Token("b")),
            (RESULTS, Says(401, "no")),
        ];
        assert!(
            check(KNOWN, &refused, Err(F::Unauthorized))
                .contains("without https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly")
        );
        let granted = KNOWN.replace(
            r#""client_id""#,
            r#""scope":["https://purl.imsglobal.org/spec/lti-ags/scope/score"],"client_id""#,
        );
        assert!(check(&granted, &[], Err(F::TokenRefused)).contains("did not grant the scope to read results"));
    }

    #[test]
    fn an_inquiry_finds_its_column_and_makes_remembers_and_locks_none() {
        const LIST: &str = "Get https://l/items?tag=t";
        const RESULTS: &str = "Get https://l/items/7/results?user_id=hush-user";
        let check = |talk: &[(&str, Give)], want: Result<Reading, FailureReason>| {
            let mut exchange = inquiry(SOUGHT);
            let verdict = play_on(&mut exchange, talk);
            let finding = want.map_or_else(Finding::Failed, |_| Finding::Accepted);
            assert_eq!((verdict.finding, exchange.reading()), (finding, want.ok()), "{}", verdict.message);
        };
        let start = || ("token", Token("t"));
        let known = || ("recall", Column(Some("https://l/items/7")));
        check(&[start(), known(), (RESULTS, Says(200, "[]"))], Ok(Reading::Empty));
        check(&[start(), known(), (RESULTS, Says(404, ""))], Err(F::NotFound));
        let found = [start(), ("recall", Column(None)), (LIST, Says(200, ITEM_7)), (RESULTS, Says(200, "[]"))];
        check(&found, Ok(Reading::Empty));
        check(&[start(), ("recall", Column(None)), (LIST, Says(200, "[]"))], Err(F::NotFound));
    }

    const LIST: &str = "*Get https://l/items?tag=t";
    const ITEM_7: &str = r#"[{"id":"https://l/items/7","tag":"t"}]"#;
    const ITEM_9: &str = r#"[{"id":"https://l/items/9","tag":"t"}]"#;
    const SCORE_7: &str = "Post https://l/items/7/scores";
    const SCORE_9: &str = "Post https://l/items/9/scores";
    const MADE_9: &str = r#"{"id":"https://l/items/9"}"#;

    #[test]
    fn a_column_is_remembered_found_or_made() {
        let start = || ("token", Token("t"));
        check(SOUGHT, &[start(), ("recall", Column(Some("https://l/items/7"))), (SCORE_7, Says(200, ""))], Ok(()));
        let found = [
            start(),
            ("recall", Column(None)),
            (LIST, Says(200, ITEM_7)),
            ("*remember https://l/items/7", Remembered),
            (SCORE_7, Says(200, "")),
        ];
        check(SOUGHT, &found, Ok(()));
        let made = [
            start(),
            ("recall", Column(Some("https://elsewhere/7"))),
            (LIST, Says(200, "[]")),
            ("*Post https://l/items", Says(201, MADE_9)),
            (LIST, Says(200, ITEM_9)),
            ("*remember https://l/items/9", Remembered),
            (SCORE_9, Says(200, "")),
        ];
        check(SOUGHT, &made, Ok(()));
        check(SOUGHT, &[start(), ("recall", Column(None)), (LIST, Says(404, ""))], Err(F::NotFound));
        let refreshed = [
            start(),
            ("recall", Column(None)),
            (LIST, Says(401, "")),
            ("*another token", Token("b")),
            (LIST, Says(401, "")),
        ];
        check(SOUGHT, &refreshed, Err(F::Unauthorized));
        let lost = [
            start(),
            ("recall", Column(None)),
            (LIST, Says(200, "[]")),
            ("*Post https://l/items", Lost),
            (LIST, Says(200, "[]")),
        ];
        assert!(!check(SOUGHT, &lost, Err(F::Timeout)).reply_lost, "no score was sent");
    }

    #[test]
    fn a_column_that_is_gone_is_looked_for_again_once() {
        let gone = |body| {
            [("token", Token("t")), ("recall", Column(Some("https://l/items/7"))), (SCORE_7, Says(404, body))]
                .into_iter()
        };
        let then = |body, more: Vec<(&'static str, Give)>| gone(body).chain(more).collect::<Vec<_>>();
        let forget = || [("recall", Column(Some("https://l/items/7"))), ("*remember nothing", Remembered)];
        let made = || {
            forget().into_iter().chain([
                (LIST, Says(200, "[]")),
                ("*Post https://l/items", Says(201, MADE_9)),
                (LIST, Says(200, ITEM_9)),
                ("*remember https://l/items/9", Remembered),
            ])
        };
        check(SOUGHT, &then("", made().chain([(SCORE_9, Says(200, ""))]).collect()), Ok(()));
        check(SOUGHT, &then("", made().chain([(SCORE_9, Says(404, ""))]).collect()), Err(F::NotFound));
        let listed = forget().into_iter().chain([(LIST, Says(200, ITEM_7))]).collect();
        check(SOUGHT, &then("", listed), Err(F::NotFound));
        let no_container = forget().into_iter().chain([(LIST, Says(404, ""))]).collect();
        check(SOUGHT, &then("", no_container), Err(F::NotFound));
        // Somebody else has found the new column meanwhile.
        let mended = vec![("recall", Column(Some("https://l/items/9"))), (SCORE_9, Says(200, ""))];
        check(SOUGHT, &then("", mended), Ok(()));
        check(SOUGHT, &then("User in requested score does not exist", vec![]), Err(F::NotFound));
        check(SOUGHT, &then("Course 7 was deleted", vec![]), Err(F::NotFound));
    }

    #[test]
    fn a_dead_token_is_a_400_in_sakai() {
        const POST: &str = "Post https://l/imsblis/lti13/lineitems/s/7/scores";
        let known = KNOWN.replace("https://l/1?t=2", "https://l/imsblis/lti13/lineitems/s/7");
        let talk = |last| {
            let dead = Says(400, r#"{"error":"JWT signature does not match"}"#);
            vec![("token", Token("a")), (POST, dead), ("another token", Token("b")), (POST, last)]
        };
        check(&known, &talk(Says(200, "")), Ok(()));
        check(&known, &talk(Says(400, "signature")), Err(F::Rejected));
    }

    #[test]
    fn a_signature_out_of_date_is_made_anew_once() {
        const POST: &str = "Post https://l/o?a=1";
        for words in ["Duplicate nonce detected", "Timestamp too old"] {
            check(
                LTI11,
                &[(POST, Says(401, words)), (POST, Says(200, "<imsx_codeMajor>success</imsx_codeMajor>"))],
                Ok(()),
            );
            check(LTI11, &[(POST, Says(401, words)), (POST, Says(401, words))], Err(F::Unauthorized));
        }
        check(LTI11, &[(POST, Says(401, "Invalid authorization header"))], Err(F::Unauthorized));
    }

    #[test]
    fn what_came_before_the_grade_leaves_nothing_behind() {
        const POST: &str = "Post https://l/1/scores?t=2";
        let first = Standing::first(NOW);
        let verdict = play(KNOWN, first, &[("token", NoToken)]);
        assert!(!verdict.grade_answered);
        let verdict = play(SOUGHT, first, &[("token", Token("t")), ("recall", Column(None)), (LIST, Says(500, ""))]);
        assert!(!verdict.grade_answered);
        assert!(play(KNOWN, first, &[("token", Token("t")), (POST, Says(500, ""))]).grade_answered);
        assert!(!play(KNOWN, first, &[("token", Token("t")), (POST, Lost)]).grade_answered);
    }

    #[test]
    fn sakai_says_400_of_a_column_that_is_gone() {
        let talk = |body, listed| {
            let first = [
                ("token", Token("t")),
                ("recall", Column(Some("https://l/imsblis/lti13/lineitems/s/7"))),
                ("Post https://l/imsblis/lti13/lineitems/s/7/scores", Says(400, body)),
            ];
            let look = [
                ("recall", Column(Some("https://l/imsblis/lti13/lineitems/s/7"))),
                ("*remember nothing", Remembered),
                ("*Get https://l/imsblis/lti13/lineitems/s?tag=t", Says(200, listed)),
            ];
            (first, look)
        };
        let sakai = SOUGHT.replace("https://l/items", "https://l/imsblis/lti13/lineitems/s");
        let (first, look) = talk(r#"{"error":"Could not load column"}"#, r#"[{"id":"8","tag":"t"}]"#);
        let then = [
            ("*remember https://l/imsblis/lti13/lineitems/8", Remembered),
            ("Post https://l/imsblis/lti13/lineitems/8/scores", Says(200, "")),
        ];
        check(&sakai, &first.into_iter().chain(look).chain(then).collect::<Vec<_>>(), Ok(()));
        let (first, _) = talk(r#"{"error":"User does not belong to site"}"#, "");
        check(&sakai, &first.into_iter().collect::<Vec<_>>(), Err(F::Rejected));
        // Words that name no column: a bad score, say.
        let (first, _) = talk(r#"{"error":"?"}"#, "");
        check(&sakai, &first.into_iter().collect::<Vec<_>>(), Err(F::Rejected));
        // The column is still on the list, so the words meant something else.
        let (first, look) = talk(
            r#"{"error":"Could not load column"}"#,
            r#"[{"id":"https://l/imsblis/lti13/lineitems/s/7","tag":"t"}]"#,
        );
        check(&sakai, &first.into_iter().chain(look).collect::<Vec<_>>(), Err(F::Rejected));
    }

    #[test]
    fn a_column_is_made_anew_once_for_a_job() {
        let gone = || {
            vec![
                ("token", Token("t")),
                ("recall", Column(Some("https://l/items/7"))),
                (SCORE_7, Says(404, "")),
                ("recall", Column(Some("https://l/items/7"))),
                ("*remember nothing", Remembered),
                (LIST, Says(200, "[]")),
            ]
        };
        let remade = || {
            [
                ("*Post https://l/items", Says(201, MADE_9)),
                (LIST, Says(200, ITEM_9)),
                ("*remember https://l/items/9", Remembered),
            ]
        };
        let first = Standing::first(NOW);
        let talk = gone().into_iter().chain(remade()).chain([(SCORE_9, Lost)]).collect::<Vec<_>>();
        let verdict = play(SOUGHT, first, &talk);
        assert!(verdict.column_remade && verdict.message.contains("was made anew"), "{verdict:?}");
        let later = Standing { column_was_remade: true, ..first };
        let verdict = play(SOUGHT, later, &gone());
        assert_eq!(verdict.finding, Finding::Failed(F::NotFound));
        assert!(!verdict.column_remade && verdict.message.contains("made anew for this grade once"), "{verdict:?}");
        // A column that was never there is made all the same.
        let talk = [("token", Token("t")), ("recall", Column(None)), (LIST, Says(200, "[]"))];
        let talk = talk.into_iter().chain(remade()).chain([(SCORE_9, Says(200, ""))]).collect::<Vec<_>>();
        assert!(!play(SOUGHT, later, &talk).column_remade);
    }

    #[test]
    fn a_platform_shows_what_it_is_in_its_refusals() {
        let shown = |body: &str| {
            let mut exchange = exchange(LTI11);
            drop(exchange.poll(NOW, 1));
            exchange.handle_reply(&Ok(Reply { status: 422, headers: Vec::new(), body: body.as_bytes().to_vec() }), NOW);
            exchange.shown()
        };
        let refusal = "<imsx_codeMajor>failure</imsx_codeMajor>";
        assert_eq!(shown(refusal), None);
        let canvas = format!("{refusal}<ext_canvas_error_code>bad_score</ext_canvas_error_code>");
        assert_eq!(shown(&canvas), Some(Family::Canvas));
        let standing = Standing { shown: Some(Family::Canvas), ..Standing::first(NOW) };
        let Step::Send(request) = exchange_of(LTI11, standing).poll(NOW, 1) else { panic!("a request") };
        assert!(String::from_utf8_lossy(&request.body).contains("<submittedAt>"));
    }

    #[test]
    fn a_driver_out_of_turn_does_no_harm() {
        let mut exchange = exchange(SOUGHT);
        exchange.handle_remembered();
        exchange.handle_column(Some("https://l/items/7"));
        exchange.handle_reply(&Ok(Reply { status: 200, ..Reply::default() }), NOW);
        assert_eq!(told(&exchange.poll(NOW, 1)), "token");
    }

    #[test]
    fn without_the_right_credentials_nothing_is_sent() {
        let json = format!(r#"{{"session_id":"s","score":8,"max_score":10,"lis_data":{{{KNOWN}}}}}"#);
        let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect("an event");
        let shared = Credentials::Shared(SharedSecret::new("hush"));
        assert_eq!(Exchange::new(&event, shared, Standing::first(NOW)).err(), Some(F::UnknownPlatform));
    }
}
