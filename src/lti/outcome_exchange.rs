//! The conversation of an LTI 1.1 delivery: one request and one reply, unless the platform says that it is still at
//! work. That is no end: then the grade is read back in the same attempt, and only one that is there is delivered.
//!
//! The same conversation reads a grade and writes none, for those who want to verify one.

use std::mem;

use super::{
    basic_outcomes::{CodeMajor, OutcomeErrand, PoxStatus, read_grade},
    classify::{Ask, classify},
    clock,
    exchange::{Step, lost_thread},
    pages::own_words,
    wire::Answer,
    words::{self, Hidden},
};
use crate::domain::{
    outcome::{FailureReason, Finding, Verdict},
    time::Timestamp,
    verification::{Comparison, Reading, Sent},
};

/// An LTI 1.1 conversation under way. Each request is signed anew.
pub(super) struct OutcomeExchange {
    errand: OutcomeErrand,
    turn: Turn,
    reading: Option<Reading>,
    /// One new signature in an attempt.
    signed_anew: bool,
}

enum Turn {
    /// Write the grade, or clear it.
    Write(Sent),
    /// Look whether it is there; the verdict says that the platform is still at work, in its words.
    Check(Sent, Verdict),
    /// Read what is there.
    Read,
    Done(Verdict),
}

impl OutcomeExchange {
    /// A delivery of what is `sent`.
    pub(super) fn delivery(errand: OutcomeErrand, sent: Sent) -> Self {
        Self { errand, turn: Turn::Write(sent), reading: None, signed_anew: false }
    }

    /// A look at the grade.
    pub(super) fn inquiry(errand: OutcomeErrand) -> Self {
        Self { errand, turn: Turn::Read, reading: None, signed_anew: false }
    }

    /// What to do next.
    pub(super) fn poll(&self, now: Timestamp, luck: u128) -> Step {
        match &self.turn {
            Turn::Write(_) => Step::Send(self.errand.request(now, luck)),
            Turn::Check(..) | Turn::Read => Step::Send(self.errand.read_request(now, luck)),
            Turn::Done(verdict) => Step::Done(verdict.clone()),
        }
    }

    /// Whether the request that is polled now is the one with the grade.
    pub(super) fn sends_score(&self) -> bool {
        matches!(self.turn, Turn::Write(_))
    }

    /// Whether it has come to a good end.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(&self.turn, Turn::Done(verdict) if verdict.finding == Finding::Accepted)
    }

    /// What was read.
    pub(super) fn reading(&self) -> Option<Reading> {
        self.reading
    }

    /// Takes in what came back.
    pub(super) fn handle_reply(&mut self, answer: &Answer, now: Timestamp, hidden: &Hidden) {
        self.turn = match mem::replace(&mut self.turn, Turn::Done(lost_thread())) {
            Turn::Write(sent) if !self.signed_anew && is_out_of_date(answer, now, hidden) => {
                self.signed_anew = true;
                Turn::Write(sent)
            }
            Turn::Write(sent) => after_write(sent, answer, now, hidden),
            Turn::Check(sent, at_work) => Turn::Done(after_check(sent, &at_work, answer, now, hidden)),
            Turn::Read => {
                let read = read(answer, now, hidden);
                self.reading = read.as_ref().ok().copied();
                Turn::Done(read.map_or_else(|verdict| verdict, |_| accepted(answer)))
            }
            done @ Turn::Done(_) => done,
        };
    }
}

/// Whether the platform refused the signature for its nonce or its time alone (Canvas: "Duplicate nonce detected",
/// "Timestamp too old"): a new one, of this moment, may do.
fn is_out_of_date(answer: &Answer, now: Timestamp, hidden: &Hidden) -> bool {
    let verdict = classify(Ask::Outcome, answer, now, hidden);
    let words = verdict.message.to_lowercase();
    verdict.finding == Finding::Failed(FailureReason::Unauthorized)
        && ["nonce", "timestamp"].iter().any(|word| words.contains(word))
}

fn after_write(sent: Sent, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Turn {
    let verdict = classify(Ask::Outcome, answer, now, hidden);
    let status = answer.as_ref().ok().filter(|_| verdict.finding == Finding::Failed(FailureReason::BadResponse));
    let pox = status.filter(|reply| !matches!(reply.status, 300..=399)).and_then(|reply| PoxStatus::read(&reply.body));
    match pox {
        Some(pox) if pox.code == CodeMajor::Processing => {
            Turn::Check(sent, Verdict { message: words::redact(&pox.words(), hidden), ..verdict })
        }
        _ => Turn::Done(clock::remarked(verdict, answer, now)),
    }
}

/// What the look at the cell says of a grade that the platform was still at work on. A rate limit is about the whole
/// platform, so it stays one; all else leaves the grade in doubt, and it is sent again.
fn after_check(sent: Sent, at_work: &Verdict, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Verdict {
    let its_words = at_work.message.as_str();
    let (words, hint) = match read(answer, now, hidden) {
        Ok(reading) if Comparison::of(sent, reading) == Comparison::Same => return accepted(answer),
        Ok(Reading::Empty) => {
            (its_words.to_owned(), "the platform is still at work on the grade: read back, there is none yet")
        }
        Ok(Reading::Grade(_)) => {
            (its_words.to_owned(), "the platform is still at work on the grade: read back, there is another one yet")
        }
        Err(limited) if limited.finding == Finding::Failed(FailureReason::RateLimited) => return limited,
        Err(why) => (
            format!("{its_words}; {}", why.message),
            "the platform is still at work on the grade, and it could not be read back",
        ),
    };
    let http_status = answer.as_ref().map_or(at_work.http_status, |reply| Some(reply.status));
    Verdict { message: words::message(&words, hint), http_status, ..at_work.clone() }
}

/// What stands in the cell, or why nobody knows.
fn read(answer: &Answer, now: Timestamp, hidden: &Hidden) -> Result<Reading, Verdict> {
    let verdict = classify(Ask::Reading, answer, now, hidden);
    match answer {
        Ok(reply) if verdict.finding == Finding::Accepted => read_grade(&reply.body).map_err(|why| {
            let words =
                words::message(&words::redact(&why, hidden), "what the platform gives as the grade is no number");
            own_words(reply, words)
        }),
        _ => Err(clock::remarked(verdict, answer, now)),
    }
}

fn accepted(answer: &Answer) -> Verdict {
    let http_status = answer.as_ref().ok().map(|reply| reply.status);
    Verdict { http_status, ..Verdict::without_reply(Finding::Accepted, "") }
}
