//! The conversation of an AGS delivery: a token; the column, where it is not known; the score. Once in an attempt a
//! refused token is replaced, and once a column that is gone is looked for again.
//!
//! The same conversation reads a grade where it does not write one: it makes no column, remembers none and locks none.

use std::{mem, sync::Arc};

use super::{
    access_token::{AccessToken, Freshness, TokenRequest},
    ags,
    classify::{Ask, Subject, classify, subject},
    columns::{self, ColumnSearch, Making, Progress},
    exchange::{Standing, Step, lost_thread},
    results::{self, ResultSearch},
    wire::{Answer, Reply},
    words::{self, Hidden},
};
use crate::domain::{
    destination::{AgsTarget, Column, ServiceUrl, WantedColumn},
    event::GradeEvent,
    family::Family,
    outcome::{FailureReason, Finding, Verdict},
    platform::{Registration, SigningKey},
    score::Points,
    time::Timestamp,
    verification::Reading,
};

/// An AGS delivery under way.
pub(super) struct AgsExchange {
    turn: Turn,
    errand: Errand,
    /// What was read.
    reading: Option<Reading>,
    /// Where the column has to be looked for.
    sought: Option<Sought>,
    request: TokenRequest,
    family: Option<Family>,
    token: Option<AccessToken>,
    /// One new token in an attempt.
    refreshed: bool,
    /// What the event says of the registration, and was not believed.
    ignored_claims: Vec<&'static str>,
}

/// What is done in the column.
enum Errand {
    /// This score document is sent.
    Write(String),
    /// The result of this user is read.
    Read(String),
}

/// A column that is known by what finds it.
struct Sought {
    key: [u8; 16],
    container: ServiceUrl,
    wanted: WantedColumn,
    making: Making,
    maximum: Option<Points>,
    /// The column that answered 404, and its words: it is looked for once more in an attempt.
    dead: Option<(ServiceUrl, Verdict)>,
    /// Whether one was made in its place, in this attempt or an earlier one.
    remade: Remade,
}

/// Whether a column that was gone was made anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remade {
    Never,
    Earlier,
    Now,
}

enum Turn {
    /// Get a token, then go on with this.
    Token(Freshness, Box<Turn>),
    Recall(Key),
    Forget(Key),
    Search(Box<ColumnSearch>),
    Remember(Key, ServiceUrl),
    /// Send the score to this column.
    Score(ServiceUrl),
    Read(Box<ResultSearch>),
    Done(Verdict),
}

/// What a column is remembered by.
type Key = [u8; 16];

impl AgsExchange {
    /// The delivery of an event.
    pub(super) fn new(
        target: &AgsTarget,
        event: &GradeEvent,
        registration: Registration,
        signing_key: Arc<SigningKey>,
        standing: Standing,
    ) -> Self {
        let errand = Errand::Write(ags::score_document(&target.user_id, event, standing));
        let maximum = event.score.as_ref().map(|score| score.maximum().clone());
        let remade = if standing.column_was_remade { Remade::Earlier } else { Remade::Never };
        Self::with(errand, target, (maximum, remade), registration, signing_key)
    }

    /// A look at the grade.
    pub(super) fn inquiry(target: &AgsTarget, registration: Registration, signing_key: Arc<SigningKey>) -> Self {
        Self::with(Errand::Read(target.user_id.clone()), target, (None, Remade::Never), registration, signing_key)
    }

    fn with(
        errand: Errand,
        target: &AgsTarget,
        (maximum, remade): (Option<Points>, Remade),
        registration: Registration,
        signing_key: Arc<SigningKey>,
    ) -> Self {
        let (scope, refusal) = match &errand {
            Errand::Write(_) => {
                (ags::SCOPE_SCORE, "the launch did not grant the scope to write scores (lis_data.scope)")
            }
            Errand::Read(_) => {
                (ags::SCOPE_RESULT, "the launch did not grant the scope to read results (lis_data.scope)")
            }
        };
        let scopes = ags::scopes(target, scope);
        let is_asked = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
        let making = match &errand {
            Errand::Read(_) => Making::Unwanted,
            Errand::Write(_) if is_asked(ags::SCOPE_LINEITEM) => Making::Allowed,
            Errand::Write(_) => Making::Forbidden,
        };
        let (first, sought) = match &target.column {
            Column::Known(url) => (errand.turn(url.clone()), None),
            Column::Sought { container, wanted } => {
                let sought = Sought {
                    key: columns::key(&target.client_id, container, wanted),
                    container: container.clone(),
                    wanted: wanted.clone(),
                    making,
                    maximum,
                    dead: None,
                    remade,
                };
                (Turn::Recall(sought.key), Some(sought))
            }
        };
        let turn = if is_asked(scope) {
            Turn::Token(Freshness::Any, Box::new(first))
        } else {
            Turn::Done(Verdict::without_reply(Finding::Failed(FailureReason::TokenRefused), refusal))
        };
        Self {
            turn,
            errand,
            reading: None,
            sought,
            ignored_claims: registration.ignored_claims.clone(),
            request: TokenRequest::new(Arc::new(registration), signing_key, scopes),
            family: Family::of_target(target),
            token: None,
            refreshed: false,
        }
    }

    /// What to do next.
    pub(super) fn poll(&self) -> Step {
        match (&self.turn, &self.token) {
            (Turn::Done(verdict), _) => Step::Done(self.with_remarks(verdict)),
            (Turn::Token(freshness, _), _) => Step::Token(self.request.clone(), freshness.clone()),
            (Turn::Recall(key), _) => Step::RecallColumn { key: *key },
            (Turn::Forget(key), _) => Step::RememberColumn { key: *key, url: None },
            (Turn::Remember(key, url), _) => {
                Step::RememberColumn { key: *key, url: Some(url.as_url().as_str().to_owned()) }
            }
            (Turn::Search(search), Some(token)) => Step::Send(search.request(token)),
            (Turn::Read(search), Some(token)) => Step::Send(search.request(token)),
            (Turn::Score(column), Some(token)) => match &self.errand {
                Errand::Write(document) => Step::Send(ags::score_request(column, document, token)),
                Errand::Read(_) => Step::Done(lost_thread()),
            },
            (Turn::Search(_) | Turn::Score(_) | Turn::Read(_), None) => Step::Done(lost_thread()),
        }
    }

    /// What was read.
    pub(super) fn reading(&self) -> Option<Reading> {
        self.reading
    }

    /// Whether the request that is polled now is the one with the score.
    pub(super) fn sends_score(&self) -> bool {
        matches!(self.turn, Turn::Score(_))
    }

    /// Whether the column has to be kept locked.
    pub(super) fn holds_column(&self) -> bool {
        let turn = match &self.turn {
            Turn::Token(_, next) => next,
            turn => turn,
        };
        matches!(self.errand, Errand::Write(_))
            && matches!(turn, Turn::Forget(_) | Turn::Search(_) | Turn::Remember(..))
    }

    /// Whether this attempt found its column gone and made it anew.
    pub(super) fn remade_column(&self) -> bool {
        self.sought.as_ref().is_some_and(|sought| sought.remade == Remade::Now)
    }

    /// Takes in a token, or why there is none.
    pub(super) fn handle_token(&mut self, token: Result<AccessToken, Verdict>) {
        self.turn = match (self.take_turn(), token) {
            (Turn::Token(_, next), Ok(token)) => {
                self.token = Some(token);
                *next
            }
            (Turn::Token(..), Err(verdict)) => Turn::Done(verdict),
            (other, _) => other,
        };
    }

    /// Takes in the URL that is remembered for the column.
    pub(super) fn handle_column(&mut self, remembered: Option<&str>) {
        let (Turn::Recall(key), Some(sought)) = (&self.turn, &self.sought) else {
            return;
        };
        let usable = remembered.and_then(|url| ServiceUrl::parse(url).ok());
        self.turn = match usable.filter(|url| url.origin() == sought.container.origin()) {
            Some(url) if sought.verdict_of(&url).is_some() => Turn::Forget(*key),
            Some(url) => self.errand.turn(url),
            None => sought.search(),
        };
    }

    /// Takes note that the column was remembered, or forgotten.
    pub(super) fn handle_remembered(&mut self) {
        self.turn = match (self.take_turn(), &self.sought) {
            (Turn::Remember(_, url), _) => Turn::Score(url),
            (Turn::Forget(_), Some(sought)) => sought.search(),
            (other, _) => other,
        };
    }

    /// Takes in what came back.
    pub(super) fn handle_reply(&mut self, answer: &Answer, now: Timestamp, hidden: &Hidden) {
        self.turn = match self.take_turn() {
            Turn::Score(column) => self.after_score(column, answer, now, hidden),
            Turn::Search(mut search) => {
                let progress = search.handle_reply(answer, now, hidden);
                self.after_search(search, progress)
            }
            Turn::Read(mut search) => {
                let progress = search.handle_reply(answer, now, hidden);
                self.after_read(search, progress)
            }
            other => other,
        };
    }

    fn take_turn(&mut self) -> Turn {
        mem::replace(&mut self.turn, Turn::Done(lost_thread()))
    }

    fn after_score(&mut self, column: ServiceUrl, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Turn {
        let verdict = classify(Ask::Score, answer, now, hidden);
        if let Some(freshness) = self.refresh(&verdict) {
            return Turn::Token(freshness, Box::new(Turn::Score(column)));
        }
        let is_gone = answer.as_ref().is_ok_and(|reply| self.means_gone(reply, hidden));
        match &mut self.sought {
            Some(sought) if is_gone && sought.dead.is_none() => {
                sought.dead = Some((column, verdict));
                Turn::Recall(sought.key)
            }
            _ => Turn::Done(verdict),
        }
    }

    /// Whether a refusal says that the column is gone. Sakai says 400 to almost everything, so there the words must name
    /// the column.
    fn means_gone(&self, reply: &Reply, hidden: &Hidden) -> bool {
        match (reply.status, subject(reply, hidden)) {
            (404, Subject::Column | Subject::Unsaid) => true,
            (400, Subject::Column) => self.family == Some(Family::Sakai),
            _ => false,
        }
    }

    fn after_search(&mut self, search: Box<ColumnSearch>, progress: Progress) -> Turn {
        if let Some(sought) = self.sought.as_mut().filter(|sought| sought.dead.is_some() && search.has_asked_to_make())
        {
            sought.remade = Remade::Now;
        }
        match (progress, &self.sought) {
            (Progress::Goes, _) => Turn::Search(search),
            (Progress::Made(url), Some(sought)) => Turn::Remember(sought.key, url),
            (Progress::Found(url), Some(sought)) => match sought.verdict_of(&url) {
                // The list still shows the column that answers 404: asking it again would change nothing.
                Some(verdict) => Turn::Done(verdict.clone()),
                None if matches!(self.errand, Errand::Read(_)) => self.errand.turn(url),
                None => Turn::Remember(sought.key, url),
            },
            (Progress::Found(url) | Progress::Made(url), None) => self.errand.turn(url),
            (Progress::Ends(verdict), _) => match self.refresh(&verdict) {
                Some(freshness) => Turn::Token(freshness, Box::new(Turn::Search(search))),
                None => Turn::Done(verdict),
            },
        }
    }

    fn after_read(&mut self, search: Box<ResultSearch>, progress: results::Progress) -> Turn {
        match progress {
            results::Progress::Goes => Turn::Read(search),
            results::Progress::Found(reading) => {
                self.reading = Some(reading);
                Turn::Done(Verdict::without_reply(Finding::Accepted, ""))
            }
            results::Progress::Ends(verdict) => match self.refresh(&verdict) {
                Some(freshness) => Turn::Token(freshness, Box::new(Turn::Read(search))),
                None => Turn::Done(verdict),
            },
        }
    }

    /// Which token to ask for where a request was refused: any but the one that was; none the second time.
    fn refresh(&mut self, verdict: &Verdict) -> Option<Freshness> {
        let may_be_dead =
            verdict.finding == Finding::Failed(FailureReason::Unauthorized) || self.is_sakais_401(verdict);
        if !may_be_dead || mem::replace(&mut self.refreshed, true) {
            return None;
        }
        Some(self.token.clone().map_or(Freshness::Any, Freshness::Not))
    }

    /// Sakai says of a token that died what it says of everything: 400, and why.
    fn is_sakais_401(&self, verdict: &Verdict) -> bool {
        let words = verdict.message.to_lowercase();
        self.family == Some(Family::Sakai)
            && verdict.http_status == Some(400)
            && ["signature", "token", "bearer", "jwt"].iter().any(|word| words.contains(word))
    }

    /// A verdict, with what an admin has to know besides.
    fn with_remarks(&self, verdict: &Verdict) -> Verdict {
        let mut remarks = Vec::new();
        let is_refused = verdict.finding == Finding::Failed(FailureReason::Unauthorized);
        let missing = self.token.as_ref().map(|token| token.missing_scopes(&self.request)).unwrap_or_default();
        if is_refused && !missing.is_empty() {
            remarks.push(format!("the platform gave a token without {}", missing.join(", ")));
        }
        if !self.ignored_claims.is_empty() {
            let claims = self.ignored_claims.join(", ");
            remarks.push(format!("the registration's own values were used, not those of lis_data: {claims}"));
        }
        let column_remade = self.remade_column();
        if column_remade {
            remarks.push("the column was gone, and was made anew".to_owned());
        }
        Verdict { message: words::message(&verdict.message, &remarks.join("; ")), column_remade, ..verdict.clone() }
    }
}

impl Errand {
    /// What comes when the column is known.
    fn turn(&self, column: ServiceUrl) -> Turn {
        match self {
            Self::Write(_) => Turn::Score(column),
            Self::Read(user_id) => Turn::Read(Box::new(ResultSearch::new(&column, user_id))),
        }
    }
}

impl Sought {
    fn search(&self) -> Turn {
        let making = match (self.making, self.remade) {
            (Making::Allowed, Remade::Earlier | Remade::Now) if self.dead.is_some() => Making::Done,
            (making, _) => making,
        };
        let (container, wanted) = (self.container.clone(), self.wanted.clone());
        Turn::Search(Box::new(ColumnSearch::new(container, wanted, making, self.maximum.as_ref())))
    }

    /// What a column answered that is known to be gone.
    fn verdict_of(&self, column: &ServiceUrl) -> Option<&Verdict> {
        self.dead.as_ref().filter(|(dead, _)| dead == column).map(|(_, verdict)| verdict)
    }
}
