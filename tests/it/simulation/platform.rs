//! A platform as a plain value: a request goes in, an answer comes out, and the grade book is there to be looked at. It
//! has its own reading of the protocols, which it shares with nobody.
//!
//! What a platform does it does when the request comes in; only its reply is slow. So no grade is written by a request
//! whose sender has long been dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use passback::{
    domain::{job::JobId, time::Timestamp},
    lti::wire::{Answer, Request, TransportFault, Written},
};

use super::{
    mood::{Mood, failure, reply, wait_reply},
    plan::Grade,
    world::Chance,
};

/// What sort of platform it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Lti11,
    Delegated,
    /// AGS, with the line item in the event.
    AgsKnown,
    /// AGS, with a line item that is found or made.
    AgsSought,
}

impl Kind {
    pub(super) fn is_ags(self) -> bool {
        matches!(self, Self::AgsKnown | Self::AgsSought)
    }
}

/// In which words a platform says that a score is not newer than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotNewerWords {
    Status409,
    Canvas,
    OpenEdx,
}

/// The ways of one platform.
#[derive(Clone, Debug)]
pub(super) struct Flavour {
    pub(super) canvas: bool,
    /// None: it takes any score.
    pub(super) not_newer: Option<NotNewerWords>,
    pub(super) page_items: usize,
    pub(super) token_life_secs: u64,
    /// Teachers write into this grade book too.
    pub(super) foreign: bool,
}

/// What stands in a cell of the grade book.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) grade: Grade,
    pub(super) timestamp: Option<Timestamp>,
    /// Whose grade it is; none: a teacher's.
    pub(super) by: Option<JobId>,
    /// Whether a state without a grade came after it, with a timestamp of its own.
    pub(super) state_since: bool,
}

/// A grade as it was heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) cell: String,
    pub(super) grade: Grade,
    pub(super) timestamp: Option<Timestamp>,
    /// Whether it stands in the book now.
    pub(super) applied: bool,
}

/// What came of a request.
pub(super) struct Handled {
    pub(super) answer: Answer,
    /// The answer is there after this time.
    pub(super) after: Duration,
    pub(super) heard: Option<Heard>,
}

/// A platform.
pub(super) struct Platform {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) flavour: Flavour,
    pub(super) mood: Option<Mood>,
    pub(super) strength: f64,
    /// How far its clock is off.
    pub(super) skew_secs: i64,
    /// How far all clocks are off.
    pub(super) common_secs: i64,
    pub(super) book: BTreeMap<String, Entry>,
    pub(super) tokens: BTreeMap<String, Timestamp>,
    /// Found and made columns: what they are known by.
    pub(super) columns: BTreeMap<u64, String>,
    /// Columns that cannot be found now.
    pub(super) hidden: BTreeSet<u64>,
    pub(super) nonces: BTreeSet<String>,
    pub(super) serial: u64,
}

impl Platform {
    pub(super) fn new(number: usize, kind: Kind, flavour: Flavour) -> Self {
        Self {
            number,
            kind,
            flavour,
            mood: None,
            strength: 0.0,
            skew_secs: 0,
            common_secs: 0,
            book: BTreeMap::new(),
            tokens: BTreeMap::new(),
            columns: BTreeMap::new(),
            hidden: BTreeSet::new(),
            nonces: BTreeSet::new(),
            serial: 0,
        }
    }

    /// Another mood begins, or none.
    pub(super) fn turn(&mut self, mood: Option<Mood>, strength: f64, chance: &mut Chance) {
        self.mood = mood;
        self.strength = strength;
        self.hidden.clear();
        self.skew_secs = match mood {
            Some(Mood::WrongClock) => chance.one_of(&[-7200, -400, -200, 200, 400, 7200]),
            _ => 0,
        };
    }

    /// Answers a request on behalf of `job`.
    pub(super) fn handle(
        &mut self,
        request: &Request,
        job: JobId,
        now: Timestamp,
        timeout: Duration,
        chance: &mut Chance,
    ) -> Handled {
        let mood = self.mood.filter(|_| chance.hits(self.strength));
        let quick = chance.span(Duration::from_millis(5), Duration::from_millis(800));
        if let Some((answer, after)) = mood.and_then(|mood| self.refuse(mood, request, now, chance)) {
            let after = if after { timeout } else { quick };
            return Handled { answer, after, heard: None };
        }
        let local = Timestamp::from_micros(now.as_micros() + (self.common_secs + self.skew_secs) * 1_000_000);
        if let Some(mood) = mood {
            self.meddle(mood, request, local, chance);
        }
        let (answer, heard) = self.serve(request, job, local);
        let (answer, after) = self.spoil(mood, answer, heard.as_ref(), timeout, chance);
        Handled { answer, after: after.unwrap_or(quick), heard }
    }

    /// Moods in which nothing is done. True: the answer is the end of all patience.
    fn refuse(&mut self, mood: Mood, request: &Request, now: Timestamp, chance: &mut Chance) -> Option<(Answer, bool)> {
        let is_token = request.url.as_url().path() == "/token";
        let bears_grade = !is_token && request.url.as_url().path() != "/items";
        let quick = |answer| Some((answer, false));
        match mood {
            Mood::Shut => quick(failure(TransportFault::Connection, Written::No, None)),
            Mood::LosesRequests if chance.hits(0.5) => {
                quick(failure(TransportFault::Connection, Written::Perhaps, None))
            }
            Mood::LosesRequests => Some((failure(TransportFault::Timeout, Written::Perhaps, None), true)),
            Mood::BadGateway if chance.hits(0.5) => quick(reply(chance.one_of(&[502, 504]), "bad gateway")),
            Mood::RateLimits if self.flavour.canvas && chance.hits(0.5) => {
                quick(reply(403, "403 Forbidden (Rate Limit Exceeded)"))
            }
            Mood::RateLimits => quick(wait_reply(429, now, chance)),
            Mood::Unavailable => quick(wait_reply(503, now, chance)),
            Mood::Fails => quick(reply(500, "")),
            Mood::ShowsAPage => quick(reply(200, "<html><body>Please log in</body></html>")),
            Mood::RefusesTokens if is_token => quick(reply(400, r#"{"error":"invalid_client"}"#)),
            Mood::Refuses if bears_grade => quick(self.refusal()),
            // It may be at work on a grade that it has: see `spoil`.
            Mood::Hollow if self.kind == Kind::Lti11 && chance.hits(0.5) => None,
            Mood::Hollow if bears_grade => quick(match self.kind {
                Kind::Lti11 => pox(chance.one_of(&["failure", "processing", "unsupported"]), "not now"),
                Kind::Delegated => reply(202, ""),
                Kind::AgsKnown | Kind::AgsSought => reply(200, "[]"),
            }),
            _ => None,
        }
    }

    fn refusal(&self) -> Answer {
        match self.kind {
            Kind::Lti11 => pox("failure", "User is not enrolled"),
            _ => reply(400, "the student is not enrolled"),
        }
    }

    /// Moods in which something happens before the request is looked at.
    fn meddle(&mut self, mood: Mood, request: &Request, local: Timestamp, chance: &mut Chance) {
        match mood {
            Mood::ForgetsTokens => self.tokens.clear(),
            Mood::LosesColumns => self.lose_column(request),
            Mood::WritesItself if self.flavour.foreign && !self.book.is_empty() => {
                let cells: Vec<String> = self.book.keys().cloned().collect();
                let ahead = Duration::from_secs(chance.one_of(&[0, 0, 3600]));
                let entry = Entry {
                    grade: Grade::Points(5.0, 10.0),
                    timestamp: Some(local + ahead),
                    by: None,
                    state_since: false,
                };
                self.book.insert(cells[chance.below(cells.len())].clone(), entry);
            }
            _ => {}
        }
    }

    /// A column that was made is deleted, and its grades with it; one that was there from the beginning is hidden.
    fn lose_column(&mut self, request: &Request) {
        let Some(column) = super::judge::column_of(request) else {
            return;
        };
        match self.columns.remove(&column) {
            Some(resource) => self.book.retain(|cell, _| !cell.starts_with(&format!("{resource} "))),
            None => drop(self.hidden.insert(column)),
        }
    }

    /// Moods in which the work is done, and the reply is not what it should be; or comes after another time.
    fn spoil(
        &self,
        mood: Option<Mood>,
        answer: Answer,
        heard: Option<&Heard>,
        timeout: Duration,
        chance: &mut Chance,
    ) -> (Answer, Option<Duration>) {
        let is_success = answer.as_ref().is_ok_and(|reply| matches!(reply.status, 200..=299));
        let is_applied = heard.is_some_and(|heard| heard.applied);
        match mood {
            Some(Mood::LosesReplies) if chance.hits(0.5) => {
                (failure(TransportFault::Connection, Written::Perhaps, None), None)
            }
            Some(Mood::LosesReplies) => (failure(TransportFault::Timeout, Written::Perhaps, None), Some(timeout)),
            Some(Mood::BadGateway) => (reply(chance.one_of(&[502, 504]), "bad gateway"), None),
            Some(Mood::HalfABody) if is_success => {
                let fault = chance.one_of(&[TransportFault::Connection, TransportFault::Unreadable]);
                (failure(fault, Written::Perhaps, Some(200)), None)
            }
            Some(Mood::Hollow) if is_applied && self.kind == Kind::Lti11 => (pox("processing", "in the queue"), None),
            Some(Mood::FailsAndKeeps) if is_applied && self.flavour.not_newer == Some(NotNewerWords::OpenEdx) => {
                (reply(500, ""), None)
            }
            Some(Mood::Slow) => match chance.span(timeout / 10, timeout * 2) {
                late if late >= timeout => (failure(TransportFault::Timeout, Written::Perhaps, None), Some(timeout)),
                late => (answer, Some(late)),
            },
            _ => (answer, None),
        }
    }
}

/// A reply of Basic Outcomes.
pub(super) fn pox(code: &str, words: &str) -> Answer {
    let body = format!(
        "<imsx_POXEnvelopeResponse><imsx_codeMajor>{code}</imsx_codeMajor>\
         <imsx_description>{words}</imsx_description></imsx_POXEnvelopeResponse>"
    );
    reply(200, &body)
}
