//! The attempts of the worker: the production exchange of each, carried to the platforms and back, with one request at a
//! time for a token and one search at a time for a column.

use std::time::Duration;

use passback::{
    domain::{
        dispatch::Launch,
        ending::Ending,
        health::{Health, Signal},
        ledger::{Answer, DueEntry, Work},
        outcome::Verdict,
        time::Timestamp,
    },
    engine::deliver,
    lti::{
        access_token::{self, AccessToken, Freshness, TokenKey, TokenRequest},
        exchange::{Exchange, Step},
        wire::Request,
    },
    ports::StoreError,
};

use super::{
    boundary::Boundary,
    outside::{Errand, Happening, Outside, Parcel, Return},
    process::{Gone, Inward, Local, Process, STORE_PAUSE, Who},
};

/// An attempt under way.
pub(super) struct Attempt {
    launch: Launch,
    stage: Stage,
}

enum Stage {
    /// Its start is on its way to the disk.
    Starting,
    Talking(Box<Exchange>, Option<[u8; 16]>),
    /// Its end is on its way to the disk.
    Ending(Ending),
}

/// A request for a token that is under way, and who waits for its end.
pub(super) struct Flight {
    key: TokenKey,
    asker: u64,
    waiting: Vec<(u64, TokenRequest, Freshness)>,
}

/// An attempt may take so many times the limit of one request, as in the engine.
const REQUESTS_IN_TIME: u32 = 5;

/// How long a job rests whose start the store refuses while it takes others, as in the engine.
const DAMAGED_PAUSE: Duration = Duration::from_secs(60);

impl Process {
    pub(super) fn launch(&mut self, launch: Launch, out: &mut Outside) {
        self.last_attempt += 1;
        let (attempt, id) = (self.last_attempt, launch.id);
        out.world.note(format_args!("launch {id} {:?}", launch.trial));
        let (now, health) = (out.clock(), self.dispatcher.health(&launch.origin));
        let hold = out.climate.rules.retry.hold;
        let held = health.and_then(Health::held_since).is_some_and(|since| now.since(since) <= hold);
        out.oracle.launched(&launch, held, now);
        self.attempts.insert(attempt, Attempt { launch, stage: Stage::Starting });
        self.order(Work::Start { id }, Who::Start(attempt), out);
    }

    /// The store has answered to the start of an attempt.
    pub(super) fn begin(
        &mut self,
        attempt: u64,
        answer: Result<Answer, StoreError>,
        out: &mut Outside,
    ) -> Result<(), Gone> {
        let job = match answer {
            Ok(Answer::Job(job)) => job,
            Ok(_) => {
                self.nothing_began(attempt, None, out);
                return Ok(());
            }
            Err(_) => {
                let Some(known) = self.attempts.get(&attempt) else { return Ok(()) };
                // A store that takes other orders cannot read this job: it rests.
                let due = if self.is_writable() { out.clock() + DAMAGED_PAUSE } else { known.launch.due };
                out.local(STORE_PAUSE, Local::GiveBack(attempt, due));
                return Ok(());
            }
        };
        out.stats.attempts += 1;
        if out.dies_at(Boundary::AttemptNotSent) {
            return Err(Gone::Died(Boundary::AttemptNotSent));
        }
        match deliver::prepare(&out.registry, &job, None) {
            Err(verdict) => self.end(attempt, Ending::Verdict(verdict), out),
            Ok(exchange) if self.cut_off => {
                let reply_lost = exchange.interrupt().reply_lost;
                self.end(attempt, Ending::CutOff { reply_lost }, out)
            }
            Ok(exchange) => {
                let known = self.attempts.get_mut(&attempt).expect("it was launched");
                known.stage = Stage::Talking(Box::new(exchange), None);
                let limit = out.climate.timeout * REQUESTS_IN_TIME;
                out.local(limit, Local::TimeUp(attempt));
                self.go_on(attempt, out)
            }
        }
    }

    /// The store took no start: the job has its place back.
    pub(super) fn give_back(&mut self, attempt: u64, due: Timestamp, out: &mut Outside) {
        self.nothing_began(attempt, Some(due), out);
    }

    fn nothing_began(&mut self, attempt: u64, again_at: Option<Timestamp>, out: &mut Outside) {
        let Some(Attempt { launch, .. }) = self.attempts.remove(&attempt) else { return };
        let again = again_at.map(|due| DueEntry { due, ..launch.entry() });
        self.tell(Inward::Answered { launch: launch.clone(), signal: Signal::Nothing, error: None, again }, out);
        self.tell(Inward::Settled(launch), out);
    }

    fn talking(&mut self, attempt: u64) -> Option<(&mut Exchange, &mut Option<[u8; 16]>)> {
        match &mut self.attempts.get_mut(&attempt)?.stage {
            Stage::Talking(exchange, column) => Some((exchange, column)),
            Stage::Starting | Stage::Ending(_) => None,
        }
    }

    /// Carries a conversation as far as it goes without waiting.
    fn go_on(&mut self, attempt: u64, out: &mut Outside) -> Result<(), Gone> {
        loop {
            let Some((exchange, column)) = self.talking(attempt) else { return Ok(()) };
            if !exchange.holds_column()
                && let Some(key) = column.take()
            {
                self.unlock(key, attempt, out);
                continue;
            }
            let (now, luck) = (out.clock(), out.world.chance.luck());
            match exchange.poll(now, luck) {
                Step::Send(request) => {
                    self.send(attempt, request, Errand::Exchange, out);
                    return Ok(());
                }
                Step::Token(request, freshness) => match self.obtain(attempt, request, freshness, out) {
                    Some(token) => self.give_token(attempt, token),
                    None => return Ok(()),
                },
                Step::RecallColumn { key } => {
                    let queue = self.columns.entry(key).or_default();
                    queue.push_back(attempt);
                    if queue.front() != Some(&attempt) {
                        return Ok(());
                    }
                    self.recall(attempt, key);
                }
                Step::RememberColumn { key, url } => {
                    self.order(Work::PutColumn { key, url }, Who::Column(attempt), out);
                    return Ok(());
                }
                Step::Done(verdict) => return self.end(attempt, Ending::Verdict(verdict), out),
            }
        }
    }

    fn send(&mut self, attempt: u64, request: Request, errand: Errand, out: &mut Outside) {
        let Some(job) = self.attempts.get(&attempt).map(|known| known.launch.id) else { return };
        let (life, sent_at) = (out.life, out.world.now());
        let parcel = Parcel { life, attempt, job, request, sent_at, errand };
        let travels = out.world.chance.span(Duration::from_millis(1), Duration::from_millis(50));
        out.world.after(travels, Happening::Arrives(Box::new(parcel)));
    }

    /// What a parcel brought back.
    pub(super) fn back(&mut self, back: Return, out: &mut Outside) -> Result<(), Gone> {
        if out.dies_at(Boundary::SentReplyUnseen) {
            return Err(Gone::Died(Boundary::SentReplyUnseen));
        }
        let now = out.clock();
        let Return { attempt, answer, errand } = back;
        if let Some(known) = self.attempts.get(&attempt) {
            out.oracle.replied(known.launch.id, &answer, now);
        }
        if errand == Errand::Token {
            return self.landed(attempt, access_token::read(&answer, now), out);
        }
        let Some((exchange, _)) = self.talking(attempt) else { return Ok(()) };
        exchange.handle_reply(&answer, now);
        self.go_on(attempt, out)
    }

    /// A token out of the cache, or why there is none; nothing where the attempt has to wait for one.
    fn obtain(
        &mut self,
        attempt: u64,
        request: TokenRequest,
        freshness: Freshness,
        out: &mut Outside,
    ) -> Option<Result<AccessToken, Verdict>> {
        let now = out.clock();
        if let Some(token) = self.tokens.get(&request.key, &freshness, now) {
            return Some(Ok(token));
        }
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.key == request.key) {
            flight.waiting.push((attempt, request, freshness));
            return None;
        }
        let luck = out.world.chance.luck();
        match request.assertion_request(now, luck) {
            Ok(grant) => {
                self.flights.push(Flight { key: request.key, asker: attempt, waiting: Vec::new() });
                self.send(attempt, grant, Errand::Token, out);
                None
            }
            Err(verdict) => Some(Err(verdict)),
        }
    }

    fn give_token(&mut self, attempt: u64, token: Result<AccessToken, Verdict>) {
        if let Some((exchange, _)) = self.talking(attempt) {
            exchange.handle_token(token);
        }
    }

    /// A request for a token has ended: who waited gets the same failure, or looks into the cache again.
    fn landed(&mut self, asker: u64, token: Result<AccessToken, Verdict>, out: &mut Outside) -> Result<(), Gone> {
        let Some(index) = self.flights.iter().position(|flight| flight.asker == asker) else { return Ok(()) };
        let flight = self.flights.remove(index);
        if let Ok(token) = &token {
            self.tokens.put(flight.key, token.clone());
        }
        let failure = token.as_ref().err().cloned();
        self.give_token(asker, token);
        self.go_on(asker, out)?;
        for (attempt, request, freshness) in flight.waiting {
            let token = match &failure {
                Some(failure) => Some(Err(failure.clone())),
                None => self.obtain(attempt, request, freshness, out),
            };
            if let Some(token) = token {
                self.give_token(attempt, token);
                self.go_on(attempt, out)?;
            }
        }
        Ok(())
    }

    fn recall(&mut self, attempt: u64, key: [u8; 16]) {
        let url = self.books.reader().column(key).unwrap_or_default();
        if let Some((exchange, column)) = self.talking(attempt) {
            *column = Some(key);
            exchange.handle_column(url.as_deref());
        }
    }

    pub(super) fn unlocked(&mut self, attempt: u64, key: [u8; 16], out: &mut Outside) -> Result<(), Gone> {
        if self.talking(attempt).is_none() {
            self.unlock(key, attempt, out);
            return Ok(());
        }
        self.recall(attempt, key);
        self.go_on(attempt, out)
    }

    /// An attempt lets go of a column, or does not wait for it any more.
    fn unlock(&mut self, key: [u8; 16], attempt: u64, out: &mut Outside) {
        let Some(queue) = self.columns.get_mut(&key) else { return };
        let held = queue.front() == Some(&attempt);
        queue.retain(|known| *known != attempt);
        match queue.front().copied() {
            None => drop(self.columns.remove(&key)),
            Some(next) if held => {
                let moment = out.moment();
                out.local(moment, Local::Unlocked(next, key));
            }
            Some(_) => {}
        }
    }

    pub(super) fn remembered(&mut self, attempt: u64, out: &mut Outside) -> Result<(), Gone> {
        let Some((exchange, _)) = self.talking(attempt) else { return Ok(()) };
        exchange.handle_remembered();
        self.go_on(attempt, out)
    }

    pub(super) fn time_up(&mut self, attempt: u64, out: &mut Outside) -> Result<(), Gone> {
        let Some((exchange, _)) = self.talking(attempt) else { return Ok(()) };
        let verdict = exchange.interrupt();
        self.end(attempt, Ending::Verdict(verdict), out)
    }

    /// The drain time is over.
    pub(super) fn cut(&mut self, attempt: u64, out: &mut Outside) -> Result<(), Gone> {
        let Some((exchange, _)) = self.talking(attempt) else { return Ok(()) };
        let reply_lost = exchange.interrupt().reply_lost;
        self.end(attempt, Ending::CutOff { reply_lost }, out)
    }

    /// The conversation is over: the loop is told, and the store.
    fn end(&mut self, attempt: u64, ending: Ending, out: &mut Outside) -> Result<(), Gone> {
        if out.dies_at(Boundary::ReplyNotStored) {
            return Err(Gone::Died(Boundary::ReplyNotStored));
        }
        let Some(known) = self.attempts.get_mut(&attempt) else { return Ok(()) };
        let launch = known.launch.clone();
        let (signal, error) = (ending.signal(), ending.error().map(str::to_owned));
        let words = error.clone().unwrap_or_default();
        out.world.note(format_args!("{} ended: {signal:?} {words}", launch.id));
        let column = match std::mem::replace(&mut known.stage, Stage::Ending(ending)) {
            Stage::Talking(_, column) => column,
            Stage::Starting | Stage::Ending(_) => None,
        };
        self.let_go(attempt, column, out)?;
        self.tell(Inward::Answered { launch, signal, error, again: None }, out);
        self.settle(attempt, out);
        Ok(())
    }

    /// Nobody may wait for what this attempt held.
    fn let_go(&mut self, attempt: u64, column: Option<[u8; 16]>, out: &mut Outside) -> Result<(), Gone> {
        let waited_for: Vec<[u8; 16]> =
            self.columns.iter().filter(|(_, queue)| queue.contains(&attempt)).map(|(key, _)| *key).collect();
        for key in column.into_iter().chain(waited_for) {
            self.unlock(key, attempt, out);
        }
        for flight in &mut self.flights {
            flight.waiting.retain(|(waiting, ..)| *waiting != attempt);
        }
        let Some(index) = self.flights.iter().position(|flight| flight.asker == attempt) else { return Ok(()) };
        for (waiting, request, freshness) in self.flights.remove(index).waiting {
            if let Some(token) = self.obtain(waiting, request, freshness, out) {
                self.give_token(waiting, token);
                self.go_on(waiting, out)?;
            }
        }
        Ok(())
    }

    /// Hands the end of an attempt to the store.
    pub(super) fn settle(&mut self, attempt: u64, out: &mut Outside) {
        if let Some(Attempt { launch, stage: Stage::Ending(ending) }) = self.attempts.get(&attempt) {
            let work = ending.work(launch);
            self.order(work, Who::End(attempt), out);
        }
    }

    /// The end of an attempt is on disk; or the store is asked again.
    pub(super) fn ended(&mut self, attempt: u64, is_on_disk: bool, out: &mut Outside) {
        if !is_on_disk {
            return out.local(STORE_PAUSE, Local::SettleAgain(attempt));
        }
        if let Some(Attempt { launch, .. }) = self.attempts.remove(&attempt) {
            self.tell(Inward::Settled(launch), out);
        }
    }
}
