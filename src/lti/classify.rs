//! One table: what came back from a platform, and what it means.
//!
//! The rows are tried in order and the first that fits decides. To treat one reply differently, change one row. What a
//! "not newer" means for a job depends on its history, and is left to the state machine.

use std::{
    cell::OnceCell,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    basic_outcomes::{CodeMajor, PoxStatus},
    json,
    wire::{Answer, Reply, TransportFault, Written},
    words::{self, Hidden},
};
use crate::domain::{
    destination::ServiceUrl,
    outcome::{FailureReason, Finding, NotNewer, RetryAfter, Verdict},
    time::Timestamp,
};

/// What was asked of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Write or clear a grade, LTI 1.1.
    Outcome,
    /// Read a grade, LTI 1.1.
    Reading,
    /// Take a delegated POST.
    Delegated,
    /// Take a score, AGS.
    Score,
    /// Give a token.
    Token,
    /// List columns.
    Columns,
    /// Make a column.
    NewColumn,
    /// List results, AGS.
    Results,
}

impl Ask {
    fn bears_grade(self) -> bool {
        matches!(self, Self::Outcome | Self::Delegated | Self::Score)
    }

    /// Whether it is answered by Basic Outcomes.
    fn speaks_pox(self) -> bool {
        matches!(self, Self::Outcome | Self::Reading)
    }
}

/// Reads what came back. A success of [`Ask::Token`], [`Ask::Columns`], [`Ask::NewColumn`] and [`Ask::Results`] is read by
/// those who ask; a success status that comes here had nothing inside that they could read.
pub(super) fn classify(ask: Ask, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Verdict {
    let sight = Sight::of(ask, answer, hidden);
    let row = sight.row();
    let failed = matches!(row.says, Finding::Failed(_));
    Verdict {
        finding: row.says,
        http_status: answer.as_ref().map_or_else(|failure| failure.status, |reply| Some(reply.status)),
        message: if row.says == Finding::Accepted { String::new() } else { sight.message(row.hint) },
        retry_after: answer.as_ref().ok().filter(|_| failed).and_then(|reply| retry_after(reply, now)),
        reply_lost: ask.bears_grade() && may_have_been_done(answer),
        column_remade: false,
        grade_answered: ask.bears_grade() && answer.is_ok(),
    }
}

/// Whether the platform may have done what was asked although no whole answer says so: the request was written and the
/// answer did not come, or not all of it, or a gateway answered in its place. A head that says 4xx, 500 or 503 is an
/// answer; a failed handshake is none that was written.
pub(super) fn may_have_been_done(answer: &Answer) -> bool {
    match answer {
        Ok(reply) => matches!(reply.status, 502 | 504),
        Err(failure) => {
            failure.written == Written::Perhaps
                && !matches!(failure.fault, TransportFault::Tls | TransportFault::Blocked)
                && failure.status.is_none_or(|status| matches!(status, 200..=299 | 502 | 504))
        }
    }
}

/// What a refusal says is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The line item.
    Column,
    /// The user or the course, so that no column is at fault (Brightspace: 404 "User in requested score does not exist").
    UserOrCourse,
    /// It does not say.
    Unsaid,
}

/// What the words of a refusal speak of. Words with a slash are left out: they are addresses. So is what we sent.
pub(super) fn subject(reply: &Reply, hidden: &Hidden) -> Subject {
    const COLUMN: [&str; 6] = ["lineitem", "lineitems", "item", "items", "column", "assignment"];
    const OTHERS: [&str; 17] = [
        "user",
        "users",
        "userid",
        "student",
        "students",
        "learner",
        "enrolled",
        "enrolment",
        "enrollment",
        "member",
        "membership",
        "course",
        "courses",
        "context",
        "org",
        "orgunit",
        "site",
    ];
    let words = words::redact(&words::readable(&reply.body), hidden).to_lowercase();
    let words: Vec<&str> = words
        .split(|c: char| c.is_whitespace() || "\"',;(){}[]<>".contains(c))
        .filter(|word| !word.contains('/'))
        .flat_map(|word| word.split(|c: char| !c.is_alphanumeric()))
        .collect();
    let speaks_of = |subjects: &[&str]| words.iter().any(|word| subjects.contains(word));
    match (speaks_of(&COLUMN), speaks_of(&OTHERS)) {
        (true, _) => Subject::Column,
        (false, true) => Subject::UserOrCourse,
        (false, false) => Subject::Unsaid,
    }
}

/// `Retry-After` in seconds or as an HTTP date. Negative, past or unreadable: as if it were not there.
fn retry_after(reply: &Reply, now: Timestamp) -> Option<RetryAfter> {
    let text = reply.header("retry-after")?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(RetryAfter::Seconds(text.parse().unwrap_or(u64::MAX)));
    }
    let since_epoch: Duration = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let moment = Timestamp::default() + since_epoch;
    (moment > now).then_some(RetryAfter::At(moment))
}

/// What came back, as the rows see it. The words are made only for a row that asks for them: most replies are successes.
struct Sight<'a> {
    ask: Ask,
    answer: &'a Answer,
    hidden: &'a Hidden,
    /// 0 without a whole reply.
    status: u16,
    pox: Option<PoxStatus<'a>>,
    words: OnceCell<String>,
}

/// What a body looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Empty,
    /// `[]`, Moodle's body of a refusal.
    EmptyList,
    Json,
    /// HTML, or XML.
    Markup,
    /// Neither: `OK`, say.
    Text,
    /// Broken JSON, or no text at all.
    Unreadable,
}

impl Body {
    fn of(reply: &Reply) -> Self {
        let Ok(text) = std::str::from_utf8(&reply.body) else {
            return if words::is_markup(&reply.body) { Self::Markup } else { Self::Unreadable };
        };
        let text = text.trim_start_matches('\u{feff}').trim();
        let says_json = reply.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("json"));
        let says_html = reply.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        match text.as_bytes().first() {
            None => Self::Empty,
            Some(b'<') => Self::Markup,
            Some(b'[') if json::read(text.as_bytes(), '[').is_some_and(|list| list == serde_json::json!([])) => {
                Self::EmptyList
            }
            Some(_) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => Self::Json,
            Some(b'{' | b'[') => Self::Unreadable,
            Some(_) if says_json => Self::Unreadable,
            Some(_) if says_html => Self::Markup,
            Some(_) => Self::Text,
        }
    }
}

impl<'a> Sight<'a> {
    fn of(ask: Ask, answer: &'a Answer, hidden: &'a Hidden) -> Self {
        let pox = answer.as_ref().ok().filter(|_| ask.speaks_pox()).and_then(|reply| PoxStatus::read(&reply.body));
        let status = answer.as_ref().map_or(0, |reply| reply.status);
        Self { ask, answer, hidden, status, pox, words: OnceCell::new() }
    }

    /// The platform's words, on one line, redacted.
    fn words(&self) -> &str {
        self.words.get_or_init(|| {
            // A list of results that cannot be read may hold the grades of others.
            if self.ask == Ask::Results && self.is_success() {
                return String::new();
            }
            let words = match (self.answer, &self.pox) {
                (Err(failure), _) => words::one_line(&failure.detail),
                (_, Some(pox)) => pox.words(),
                (Ok(reply), None) => place(reply).unwrap_or_else(|| words::readable(&reply.body)),
            };
            words::redact(&words, self.hidden)
        })
    }

    fn body(&self) -> Body {
        self.answer.as_ref().map_or(Body::Empty, Body::of)
    }

    fn row(&self) -> &'static Row {
        TABLE.iter().find(|row| (row.fits)(self)).unwrap_or(&NO_ROW)
    }

    fn is_fault(&self, fault: TransportFault) -> bool {
        self.answer.as_ref().is_err_and(|failure| failure.fault == fault)
    }

    fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// What an admin reads: the platform's words and our hint; the bare status where there is neither.
    fn message(&self, hint: &str) -> String {
        match words::message(self.words(), hint) {
            message if message.is_empty() => format!("HTTP {}, without a word", self.status),
            message => message,
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(self.status, 400..=499)
    }

    fn is_code(&self, code: &CodeMajor) -> bool {
        self.pox.as_ref().is_some_and(|pox| pox.code == *code)
    }

    fn is_failure_about(&self, subjects: &[&str]) -> bool {
        self.is_code(&CodeMajor::Failure) && self.says_one_of(subjects)
    }

    fn says_one_of(&self, parts: &[&str]) -> bool {
        let words = self.words().to_lowercase();
        parts.iter().any(|part| words.contains(part))
    }

    /// An empty bucket, or words: how Canvas told it before it learned 429.
    fn has_no_rate_left(&self) -> bool {
        let remaining = self.answer.as_ref().ok().and_then(|reply| reply.header("x-rate-limit-remaining"));
        let is_empty = remaining.and_then(|left| left.trim().parse::<f64>().ok()).is_some_and(|left| left <= 0.0);
        is_empty || self.says_one_of(&["rate limit exceeded"])
    }
}

/// Where a redirect wants to go, without its query: what an admin needs to mend a service URL.
fn place(reply: &Reply) -> Option<String> {
    let target = reply.header("location").filter(|_| matches!(reply.status, 300..=399))?;
    let place = ServiceUrl::parse(target).map(|url| format!("{url:?}"));
    Some(place.unwrap_or_else(|_| target.split(['?', '#']).next().unwrap_or_default().to_owned()))
}

/// One rule.
struct Row {
    /// What it is called in the tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the name is for those who read the table, and the tests"))]
    name: &'static str,
    /// Whether it is about this.
    fits: fn(&Sight<'_>) -> bool,
    /// What it says.
    says: Finding,
    /// What is added to the platform's words.
    hint: &'static str,
}

const fn row(name: &'static str, fits: fn(&Sight<'_>) -> bool, says: Finding, hint: &'static str) -> Row {
    Row { name, fits, says, hint }
}

const fn failed(reason: FailureReason) -> Finding {
    Finding::Failed(reason)
}

/// HTTP knows no other status; a platform may.
const NO_ROW: Row =
    row("not HTTP", |_| true, failed(FailureReason::BadResponse), "a status that is none of a grade service");

/// Words of a refused signature: Moodle "Message signature not valid", "Missing or invalid consumer key or access
/// token."; Canvas "Timestamp too old", "Duplicate nonce detected", "Invalid authorization header"; Open edX's OAuth
/// check.
const SIGNATURE_WORDS: [&str; 7] =
    ["signature", "consumer key", "consumer_key", "oauth", "timestamp", "nonce", "authorization header"];

/// Words of a platform that failed on its own side: Moodle "Error writing to database".
const INTERNAL_WORDS: [&str; 4] = ["database", "internal error", "internal server error", "deadlock"];

/// Words of Canvas and Open edX, in any case of the letters.
const OLDER_WORDS: [&str; 2] = ["before last updated timestamp", "updated to a later point in time"];

#[rustfmt::skip]
static TABLE: [Row; 36] = {
    use FailureReason::{
        BadResponse, BlockedDestination, Connection, NotFound, RateLimited, Rejected, ServerError, Timeout, Tls, TokenRefused,
        Unauthorized,
    };
    [
        // No whole reply. Nothing but the transport can tell why.
        row("blocked", |s| s.is_fault(TransportFault::Blocked), Finding::Unsendable(BlockedDestination), ""),
        row("connection", |s| s.is_fault(TransportFault::Connection), failed(Connection), ""),
        row("timeout", |s| s.is_fault(TransportFault::Timeout), failed(Timeout), ""),
        row("tls", |s| s.is_fault(TransportFault::Tls), failed(Tls), ""),
        row("too large", |s| s.is_fault(TransportFault::TooLarge), failed(BadResponse), "larger than any answer of a grade service"),
        row("broken reply", |s| s.is_fault(TransportFault::Unreadable), failed(BadResponse), ""),
        // "Not now" (RFC 6585, section 4): the same request may do well later, so this is no refusal. Canvas said 403
        // before it learned 429.
        row("429", |s| s.status == 429, failed(RateLimited), ""),
        row("Canvas rate limit", |s| s.status == 403 && s.has_no_rate_left(), failed(RateLimited), ""),
        // What the status alone decides, whoever was asked. A page that moves us on is never followed: a POST would
        // become a GET, and its login page would say 200.
        row("redirect", |s| matches!(s.status, 300..=399), failed(BadResponse), "a redirect, which is not followed: correct the service URL"),
        row("5xx", |s| matches!(s.status, 500..=599), failed(ServerError), ""),
        // The token endpoint (RFC 6749, section 5.2). Moodle 4.5 answers with a 404 page when it cannot fetch our keys.
        row("token 404 page", |s| s.ask == Ask::Token && s.status == 404 && s.body() == Body::Markup, failed(TokenRefused),
            "the platform may not be able to fetch our JWKS"),
        row("token 4xx", |s| s.ask == Ask::Token && s.is_refusal(), failed(TokenRefused), ""),
        // LTI 1.1 (Basic Outcomes, imsx_codeMajor): the code decides, with 200, with Canvas's 422, and with any other.
        row("1.1 success", |s| s.is_code(&CodeMajor::Success), Finding::Accepted, ""),
        // Who we are, and what is not there. Open edX and Sakai say 403 where a token has died.
        row("401", |s| s.status == 401, failed(Unauthorized), ""),
        row("403", |s| s.status == 403, failed(Unauthorized), ""),
        row("404, 410", |s| matches!(s.status, 404 | 410), failed(NotFound), ""),
        row("1.1 processing", |s| s.is_code(&CodeMajor::Processing), failed(BadResponse),
            "the platform is still at work, and does not say that it is done"),
        row("1.1 unsupported", |s| s.is_code(&CodeMajor::Unsupported), failed(Rejected), ""),
        // Canvas's own codes speak of the grade, also `signature_invalid`: that is the sourcedid's.
        row("1.1 Canvas code", |s| s.is_code(&CodeMajor::Failure) && s.pox.as_ref().is_some_and(|p| p.canvas_code().is_some()), failed(Rejected), ""),
        row("1.1 sourcedid", |s| s.is_failure_about(&["sourcedid"]), failed(Rejected), ""),
        row("1.1 signature", |s| s.is_failure_about(&SIGNATURE_WORDS), failed(Unauthorized), ""),
        row("1.1 internal", |s| s.is_failure_about(&INTERNAL_WORDS), failed(ServerError), ""),
        // Moodle 4.5: a locked grade, in the words of a success.
        row("1.1 Moodle locked", |s| s.is_failure_about(&["grade replace response", "grade delete response"]), failed(Rejected),
            "Moodle says so when the grade is locked"),
        row("1.1 failure", |s| s.is_code(&CodeMajor::Failure), failed(Rejected), ""),
        // AGS 2.0, a score that is not newer: 409 in the specification and Moodle, 400 in Open edX ("exists", "later
        // point") and Canvas ("before last"). And Moodle's refusal in the clothes of a success.
        row("409", |s| s.ask == Ask::Score && s.status == 409, Finding::NotNewer(NotNewer::Older), ""),
        row("400 exists", |s| s.ask == Ask::Score && s.status == 400 && s.says_one_of(&["already exists for the provided timestamp"]),
            Finding::NotNewer(NotNewer::AlreadyExists), ""),
        row("400 older", |s| s.ask == Ask::Score && s.status == 400 && s.says_one_of(&OLDER_WORDS), Finding::NotNewer(NotNewer::Older), ""),
        row("200 []", |s| s.ask == Ask::Score && s.is_success() && s.body() == Body::EmptyList, failed(Rejected),
            "a success status with the body of a refusal; Moodle stored nothing"),
        // Every other refusal, and then successes: an empty body or other JSON answers a score well.
        row("4xx", |s| matches!(s.status, 400..=499), failed(Rejected), ""),
        row("a page", |s| s.is_success() && s.ask.bears_grade() && !s.ask.speaks_pox() && s.body() == Body::Markup, failed(BadResponse),
            "a page, not the answer of a grade service"),
        row("broken body", |s| s.is_success() && s.body() == Body::Unreadable, failed(BadResponse), "the answer cannot be read"),
        row("delegated 2xx", |s| s.ask == Ask::Delegated && matches!(s.status, 200 | 201 | 204), Finding::Accepted, ""),
        row("delegated other 2xx", |s| s.ask == Ask::Delegated && s.is_success(), failed(BadResponse), "only 200, 201 and 204 say that it was taken"),
        row("score 2xx", |s| s.ask == Ask::Score && s.is_success(), Finding::Accepted, ""),
        row("1.1 without success", |s| s.ask.speaks_pox() && s.is_success(), failed(BadResponse), "a success status without an LTI success inside"),
        row("2xx without what was asked for", |s| matches!(s.status, 200..=299), failed(BadResponse), "a success status without what was asked for inside"),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::lti::wire::TransportFailure;
    use FailureReason as F;
    use TransportFault as T;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[expect(clippy::unnecessary_wraps, reason = "answers come as the transport gives them")]
    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Reply { status, headers, body: body.as_bytes().to_vec() })
    }

    fn fault(fault: TransportFault, written: Written, status: Option<u16>) -> Answer {
        Err(TransportFailure { fault, written, status, detail: "the cause".to_owned() })
    }

    fn pox(code: &str, description: &str) -> String {
        format!("<imsx_codeMajor>{code}</imsx_codeMajor><imsx_description>{description}</imsx_description>")
    }

    /// What was asked, what came back, the row that decides, and what it says.
    type Case = (Ask, Answer, &'static str, Finding);

    fn plain(status: u16, body: &str) -> Answer {
        reply(status, &[], body)
    }

    fn cases_of_transport_and_status() -> Vec<Case> {
        vec![
            (Ask::Score, fault(T::Blocked, Written::No, None), "blocked", Finding::Unsendable(F::BlockedDestination)),
            (Ask::Token, fault(T::Connection, Written::No, None), "connection", failed(F::Connection)),
            (Ask::Score, fault(T::Connection, Written::Perhaps, Some(500)), "connection", failed(F::Connection)),
            (Ask::Outcome, fault(T::Timeout, Written::Perhaps, None), "timeout", failed(F::Timeout)),
            (Ask::Columns, fault(T::Tls, Written::No, None), "tls", failed(F::Tls)),
            (Ask::Score, fault(T::TooLarge, Written::Perhaps, Some(404)), "too large", failed(F::BadResponse)),
            (Ask::Score, fault(T::Unreadable, Written::Perhaps, Some(200)), "broken reply", failed(F::BadResponse)),
            (Ask::Score, plain(429, ""), "429", failed(F::RateLimited)),
            (Ask::Token, plain(429, "<html>"), "429", failed(F::RateLimited)),
            (
                Ask::Score,
                plain(403, "403 Forbidden (Rate Limit Exceeded)"),
                "Canvas rate limit",
                failed(F::RateLimited),
            ),
            (
                Ask::Token,
                reply(403, &[("x-rate-limit-remaining", "0.0")], ""),
                "Canvas rate limit",
                failed(F::RateLimited),
            ),
            (Ask::Score, reply(403, &[("x-rate-limit-remaining", "500.2")], ""), "403", failed(F::Unauthorized)),
            (Ask::Score, plain(425, ""), "4xx", failed(F::Rejected)),
            (Ask::Delegated, plain(408, ""), "4xx", failed(F::Rejected)),
            (Ask::Score, plain(303, "<html>see other</html>"), "redirect", failed(F::BadResponse)),
            (Ask::Token, plain(301, ""), "redirect", failed(F::BadResponse)),
            (Ask::Outcome, plain(500, &pox("success", "")), "5xx", failed(F::ServerError)),
            (Ask::Token, plain(503, ""), "5xx", failed(F::ServerError)),
            (Ask::Score, plain(502, "<html>"), "5xx", failed(F::ServerError)),
            (Ask::Token, plain(404, " <!DOCTYPE html>"), "token 404 page", failed(F::TokenRefused)),
            (Ask::Token, plain(404, "{}"), "token 4xx", failed(F::TokenRefused)),
            (Ask::Token, plain(401, "{}"), "token 4xx", failed(F::TokenRefused)),
            (Ask::Score, plain(401, "{}"), "401", failed(F::Unauthorized)),
            (Ask::Outcome, plain(401, "Duplicate nonce detected"), "401", failed(F::Unauthorized)),
            (Ask::Columns, plain(403, "{}"), "403", failed(F::Unauthorized)),
            (Ask::Score, plain(404, "{}"), "404, 410", failed(F::NotFound)),
            (Ask::Delegated, plain(410, ""), "404, 410", failed(F::NotFound)),
        ]
    }

    fn cases_of_lti11() -> Vec<Case> {
        let canvas = format!(
            "{}<ext_canvas_error_code>signature_invalid</ext_canvas_error_code>",
            pox("failure", "Invalid signature")
        );
        let says = |code, description| plain(200, &pox(code, description));
        vec![
            (Ask::Outcome, says("success", "signature of the database"), "1.1 success", Finding::Accepted),
            (Ask::Outcome, plain(422, &pox("Success", "")), "1.1 success", Finding::Accepted),
            (Ask::Outcome, plain(404, &pox("success", "")), "1.1 success", Finding::Accepted),
            (Ask::Outcome, plain(403, &pox("failure", "")), "403", failed(F::Unauthorized)),
            (Ask::Outcome, says("processing", ""), "1.1 processing", failed(F::BadResponse)),
            (Ask::Reading, says("success", ""), "1.1 success", Finding::Accepted),
            (Ask::Reading, says("unsupported", "readResult"), "1.1 unsupported", failed(F::Rejected)),
            (Ask::Reading, plain(200, "<html>Log in</html>"), "1.1 without success", failed(F::BadResponse)),
            (Ask::Outcome, says("unsupported", ""), "1.1 unsupported", failed(F::Rejected)),
            (Ask::Outcome, plain(422, &canvas), "1.1 Canvas code", failed(F::Rejected)),
            (Ask::Outcome, says("failure", "Invalid signature in SourcedId"), "1.1 sourcedid", failed(F::Rejected)),
            (Ask::Outcome, says("failure", "Message signature not valid"), "1.1 signature", failed(F::Unauthorized)),
            (
                Ask::Outcome,
                says("failure", "Missing or invalid consumer key or access token."),
                "1.1 signature",
                failed(F::Unauthorized),
            ),
            (Ask::Outcome, says("failure", "Error writing to database"), "1.1 internal", failed(F::ServerError)),
            (Ask::Outcome, says("failure", "Grade replace response"), "1.1 Moodle locked", failed(F::Rejected)),
            (Ask::Outcome, says("failure", "User not found."), "1.1 failure", failed(F::Rejected)),
        ]
    }

    fn cases_of_scores_and_columns() -> Vec<Case> {
        let html = &[("content-type", "text/html; charset=utf-8")][..];
        let json = &[("content-type", "application/json")][..];
        vec![
            (Ask::Score, plain(409, ""), "409", Finding::NotNewer(NotNewer::Older)),
            (
                Ask::Score,
                plain(400, r#"{"timestamp":["Score ALREADY EXISTS for the provided timestamp."]}"#),
                "400 exists",
                Finding::NotNewer(NotNewer::AlreadyExists),
            ),
            (
                Ask::Score,
                plain(400, "Provided timestamp of x before last updated timestamp of y"),
                "400 older",
                Finding::NotNewer(NotNewer::Older),
            ),
            (
                Ask::Score,
                plain(400, "Score can only be updated to a later point in time"),
                "400 older",
                Finding::NotNewer(NotNewer::Older),
            ),
            (Ask::Score, plain(200, " [ ]\n"), "200 []", failed(F::Rejected)),
            (Ask::Delegated, plain(409, ""), "4xx", failed(F::Rejected)),
            (Ask::NewColumn, plain(409, ""), "4xx", failed(F::Rejected)),
            (Ask::Score, plain(400, "[]"), "4xx", failed(F::Rejected)),
            (Ask::Score, plain(422, "User not found in course or is not a student"), "4xx", failed(F::Rejected)),
            (Ask::Outcome, plain(415, ""), "4xx", failed(F::Rejected)),
            (Ask::Score, plain(200, "\u{feff} <html>Log in</html>"), "a page", failed(F::BadResponse)),
            (Ask::Delegated, reply(200, html, "Please log in"), "a page", failed(F::BadResponse)),
            (Ask::Score, plain(200, r#"{"resultUrl":"#), "broken body", failed(F::BadResponse)),
            (Ask::Delegated, reply(201, json, "OK"), "broken body", failed(F::BadResponse)),
            (Ask::Delegated, plain(200, ""), "delegated 2xx", Finding::Accepted),
            (Ask::Delegated, plain(201, "[]"), "delegated 2xx", Finding::Accepted),
            (Ask::Delegated, plain(204, ""), "delegated 2xx", Finding::Accepted),
            (Ask::Delegated, plain(200, "OK"), "delegated 2xx", Finding::Accepted),
            (Ask::Delegated, plain(202, ""), "delegated other 2xx", failed(F::BadResponse)),
            (Ask::Score, reply(200, html, ""), "score 2xx", Finding::Accepted),
            (Ask::Score, plain(201, r#"{"userId":"u"}"#), "score 2xx", Finding::Accepted),
            (Ask::Score, plain(204, ""), "score 2xx", Finding::Accepted),
            (Ask::Outcome, plain(200, "<html>Log in</html>"), "1.1 without success", failed(F::BadResponse)),
            (Ask::Outcome, plain(200, ""), "1.1 without success", failed(F::BadResponse)),
            (Ask::Outcome, plain(200, &pox("perhaps", "")), "1.1 without success", failed(F::BadResponse)),
            (Ask::Columns, plain(200, "{}"), "2xx without what was asked for", failed(F::BadResponse)),
            (Ask::Results, plain(200, "{}"), "2xx without what was asked for", failed(F::BadResponse)),
            (Ask::Token, plain(200, "<html>"), "2xx without what was asked for", failed(F::BadResponse)),
            (Ask::Score, plain(999, ""), "not HTTP", failed(F::BadResponse)),
        ]
    }

    #[test]
    fn each_row_decides_what_it_says() {
        let mut seen = BTreeSet::new();
        let cases =
            [cases_of_transport_and_status(), cases_of_lti11(), cases_of_scores_and_columns()].into_iter().flatten();
        for (ask, answer, name, want) in cases {
            let hidden = Hidden::default();
            let sight = Sight::of(ask, &answer, &hidden);
            assert_eq!(sight.row().name, name, "{ask:?} {answer:?} {}", sight.words());
            assert_eq!(classify(ask, &answer, NOW, &Hidden::default()).finding, want, "{ask:?} {answer:?}");
            seen.insert(name);
        }
        let unseen: Vec<_> = TABLE.iter().map(|row| row.name).filter(|name| !seen.contains(name)).collect();
        assert!(unseen.is_empty(), "rows without a case: {unseen:?}");
    }

    #[test]
    fn a_reply_is_lost_only_where_a_grade_may_have_been_written() {
        let check = |ask: Ask, answer: Answer, lost: bool| {
            assert_eq!(classify(ask, &answer, NOW, &Hidden::default()).reply_lost, lost, "{ask:?} {answer:?}");
        };
        for ask in [Ask::Score, Ask::Outcome, Ask::Delegated] {
            check(ask, fault(T::Timeout, Written::Perhaps, None), true);
            check(ask, fault(T::Connection, Written::Perhaps, Some(200)), true);
            check(ask, fault(T::TooLarge, Written::Perhaps, Some(200)), true);
            check(ask, fault(T::Unreadable, Written::Perhaps, Some(502)), true);
            check(ask, fault(T::Connection, Written::Perhaps, Some(400)), false);
            check(ask, fault(T::Connection, Written::Perhaps, Some(503)), false);
            check(ask, fault(T::Timeout, Written::No, None), false);
            check(ask, fault(T::Tls, Written::Perhaps, None), false);
            for (status, lost) in [(200, false), (400, false), (500, false), (502, true), (503, false), (504, true)] {
                check(ask, reply(status, &[], ""), lost);
            }
        }
        for ask in [Ask::Token, Ask::Columns, Ask::NewColumn, Ask::Reading, Ask::Results] {
            check(ask, fault(T::Timeout, Written::Perhaps, None), false);
            check(ask, reply(502, &[], ""), false);
        }
    }

    #[test]
    fn retry_after_is_read_when_it_makes_sense() {
        let check = |value: &str, want: Option<RetryAfter>| {
            let answer = reply(503, &[("retry-after", value)], "");
            assert_eq!(classify(Ask::Score, &answer, NOW, &Hidden::default()).retry_after, want, "{value}");
        };
        check("300", Some(RetryAfter::Seconds(300)));
        check(" 0 ", Some(RetryAfter::Seconds(0)));
        check("99999999999999999999999", Some(RetryAfter::Seconds(u64::MAX)));
        check("Fri, 15 Jan 2027 08:00:01 GMT", Some(RetryAfter::At(NOW + Duration::from_secs(1))));
        check("Fri, 15 Jan 2027 08:00:00 GMT", None);
        for unreadable in ["-5", "soon", "", "1.5", "+5", "Fri, 99 Jan 2027 08:00:01 GMT"] {
            check(unreadable, None);
        }
        let answer = reply(200, &[("retry-after", "300")], "");
        assert_eq!(classify(Ask::Score, &answer, NOW, &Hidden::default()).retry_after, None);
    }

    #[test]
    fn the_words_are_the_platforms_and_keep_our_secrets() {
        let mut hidden = Hidden::default();
        hidden.add("sourcedid-of-a-student");
        hidden.add("this was already exists for the provided timestamp");
        let check = |ask: Ask, answer: Answer, want: &str| {
            assert_eq!(classify(ask, &answer, NOW, &hidden).message, want);
        };
        let refusal = pox("failure", "No sourcedid-of-a-student &lt;here&gt;");
        check(Ask::Outcome, reply(200, &[], &refusal), "No [hidden] <here>");
        let coded = format!("{}<ext_canvas_error_code>bad_score</ext_canvas_error_code>", pox("failure", "Bad"));
        check(Ask::Outcome, reply(422, &[], &coded), "Bad [bad_score]");
        check(Ask::Outcome, reply(200, &[], &pox("success", "sourcedid-of-a-student")), "");
        check(Ask::Score, reply(500, &[], "<title>Oops</title>\n<p>It broke</p>"), "Oops It broke");
        let away = &[("location", "https://lms.example.edu/login?ticket=hush")][..];
        check(
            Ask::Score,
            reply(303, away, "<html>"),
            "https://lms.example.edu/login (a redirect, which is not followed: correct the service URL)",
        );
        check(Ask::Score, fault(TransportFault::Tls, Written::No, None), "the cause");
        // A student's own comment, echoed, must not be read as the platform's word.
        let echo = reply(400, &[], "bad comment: this was already exists for the provided timestamp");
        assert_eq!(classify(Ask::Score, &echo, NOW, &hidden).finding, failed(FailureReason::Rejected));
    }

    /// What the readers look for.
    const PIECES: &[&str] = &[
        "<imsx_codeMajor>",
        "</imsx_codeMajor>",
        "success",
        "failure",
        "<imsx_description>",
        "</",
        "<",
        ">",
        "<!--",
        "-->",
        "&",
        ";",
        "&#x41;",
        "<![CDATA[",
        "]]>",
        "<script",
        "</style",
        "{\"a\":",
        "[",
        "]",
        "}",
        "\"",
        "eyJhbGciOiJSUzI1NiJ9",
        "Bearer ",
        "ä",
        "\u{202e}",
        "hush-hush",
        "hush-hush and more than that",
        "oauth_signature=",
        " ",
        "\n",
    ];

    /// Bodies of such stuff, in any order.
    fn any_body() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_comes_back_is_read_in_few_words(status in 0_u16..700, ask in 0_usize..8, body in any_body(), header in "[ -~]{0,12}") {
            let reads = [Ask::Token, Ask::Columns, Ask::NewColumn, Ask::Reading, Ask::Results];
            let asks = [&[Ask::Outcome, Ask::Delegated, Ask::Score][..], &reads].concat();
            let mut hidden = Hidden::default();
            hidden.add("hush-hush and more than that, much more");
            let names = ["retry-after", "content-type", "location", "x-rate-limit-remaining", "link"];
            let headers = names.map(|name| (name.to_owned(), header.clone())).to_vec();
            let answer = Ok(Reply { status, headers, body });
            let verdict = classify(asks[ask], &answer, NOW, &hidden);
            prop_assert!(verdict.message.chars().count() <= words::MESSAGE_CHARS_MAX);
            prop_assert!(!verdict.message.contains("hush-hush and more"), "{}", verdict.message);
            prop_assert!(!verdict.message.contains("eyJhbGciOiJSUzI1NiJ9"), "{}", verdict.message);
            prop_assert!(!verdict.message.chars().any(char::is_control));
            prop_assert!(verdict.finding != Finding::Accepted || status < 500, "{status}");
        }
    }

    #[test]
    fn a_refusal_about_the_user_or_the_course_is_told_apart() {
        let mut hidden = Hidden::default();
        hidden.add(r#"{"userId":"u-1","scoreGiven":1}"#);
        let check = |body: &str, want: Subject| {
            let reply = Reply { status: 404, headers: Vec::new(), body: body.as_bytes().to_vec() };
            assert_eq!(subject(&reply, &hidden), want, "{body}");
        };
        check("User in requested score does not exist", Subject::UserOrCourse);
        check(r#"{"error":"course_deleted"}"#, Subject::UserOrCourse);
        check(r#"{"status":404,"reason":"Course","request":{"url":"/3/lineitems"}}"#, Subject::UserOrCourse);
        check("The student is not enrolled", Subject::UserOrCourse);
        check("Line item 5 was not found in this course", Subject::Column);
        check("Could not find the lineitem in context c1", Subject::Column);
        check("", Subject::Unsaid);
        check("Not found. The original was moved", Subject::Unsaid);
        check(r#"{"errors":[{"message":"The specified resource does not exist."}]}"#, Subject::Unsaid);
        check(r#"{"status":404,"request":{"url":"/api/lti/courses/3/line_items/5/scores"}}"#, Subject::Unsaid);
        check(r#"Not found {"userId":"u-1","scoreGiven":1}"#, Subject::Unsaid);
    }

    #[test]
    fn the_results_of_others_are_not_shown() {
        let body = r#"{"results":[{"userId":"another-student","resultScore":3}]}"#;
        let verdict = classify(Ask::Results, &reply(200, &[], body), NOW, &Hidden::default());
        assert!(!verdict.message.contains("another-student") && !verdict.message.is_empty(), "{}", verdict.message);
    }
}
