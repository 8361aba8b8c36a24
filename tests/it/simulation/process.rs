//! The worker: a shell without threads, sockets or waiting around the production dispatcher, exchange, token cache and
//! bookkeeper. It does what the engine does, in the same order, and decides nothing; and it can be dropped at every
//! boundary. The conversations of its attempts are in `talk`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use passback::{
    adapters::store::{
        bookkeeper::{Bookkeeper, Commit},
        disk::Fault,
        doubt::{Doubt, Lost, Steps},
    },
    domain::{
        destination::Origin,
        dispatch::{Dispatcher, Launch},
        drawer::{Drawer, Note},
        event::Door,
        health::Signal,
        job::JobId,
        ledger::{Answer, DueEntry, Mode, Order, Report, Work},
        notice::{Notice, PlatformState, Source},
        time::{Draw, Timestamp},
        watch::Watch,
    },
    engine::{admit, retain},
    lti::access_token::TokenCache,
    ports::{Incoming, StoreError},
};

use super::{
    boundary::Boundary,
    broker::EventNo,
    bulk::Bulk,
    disk::Condition,
    oracle::Said,
    outside::{Happening, Outside, Return},
    set_back::Spell,
    talk::{Attempt, Flight},
};

/// Why the worker is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It died at a boundary.
    Died(Boundary),
    /// It stopped as it was asked to.
    Stopped,
}

/// What happens inside the worker.
pub(super) enum Local {
    /// There may be messages to pull.
    Pull,
    /// The writer takes the orders that wait.
    Write,
    /// What the writer did is on disk.
    Written(Box<(Vec<Who>, Commit)>),
    /// The loop wakes.
    Wake,
    /// An order is answered.
    Answered(Who, Box<Result<Answer, StoreError>>),
    /// A parcel's answer is there.
    Back(Box<Return>),
    /// The lock of a column is free for this attempt.
    Unlocked(u64, [u8; 16]),
    /// An attempt has taken too long.
    TimeUp(u64),
    /// The store is asked again to take the end of an attempt.
    SettleAgain(u64),
    /// An attempt whose start the store did not take is given back.
    GiveBack(u64, Timestamp),
    /// An attempt of the last run is still to be ended on paper.
    RecoverAgain(JobId, Timestamp),
    /// The store is opened anew after a failure, if it can be.
    Mend(Duration),
    /// The drain time is over; and then the time for what was cut off.
    DrainEnds,
    CutOffEnds,
    /// Old jobs are swept.
    Sweep,
    /// A bulk change may go a step further.
    Bulk,
    /// After the clock was set back: what waits is put forward.
    Hasten(u64),
}

/// Who waits for the answer to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Message { tag: u64, event: EventNo },
    Post { event: EventNo },
    Start(u64),
    End(u64),
    Column(u64),
    Recovery(JobId, Timestamp),
    Sweep(Timestamp),
    Fence(u64),
    Hasten(u64, JobId, Timestamp),
    Bulk,
    BulkBegun,
    Nobody,
}

/// What comes into the loop, in its order.
pub(super) enum Inward {
    Committed(Report),
    Answered { launch: Launch, signal: Signal, error: Option<String>, again: Option<DueEntry> },
    Settled(Launch),
    Pause(Origin),
    Resume(Origin),
    ResumeAll,
}

/// The worker.
pub(super) struct Process {
    pub(super) books: Bookkeeper,
    pub(super) dispatcher: Dispatcher,
    /// Orders that wait for the writer.
    desk: VecDeque<(Who, Order)>,
    writing: bool,
    /// Why the store takes no writes.
    failed: Option<StoreError>,
    /// What was told of the store, by the rules of the real writer.
    doubt: Doubt,
    inbox: VecDeque<Inward>,
    /// When the loop wakes by itself, by the true time.
    alarm: Option<Timestamp>,
    pub(super) attempts: BTreeMap<u64, Attempt>,
    pub(super) last_attempt: u64,
    pub(super) tokens: TokenCache,
    pub(super) flights: Vec<Flight>,
    /// Who holds the lock of a column, and who waits for it.
    pub(super) columns: BTreeMap<[u8; 16], VecDeque<u64>>,
    /// Attempts of the last run that are still to be ended on paper.
    recovering: usize,
    pub(super) watch: Watch,
    /// The tasks that put forward what waits.
    pub(super) spells: BTreeMap<u64, Spell>,
    pub(super) last_spell: u64,
    pub(super) bulk: Bulk,
    pub(super) stopping: bool,
    pub(super) cut_off: bool,
}

/// How long the store is left alone after it refused a change.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The pauses between two tries to mend the store, as in the real writer.
const A_MOMENT: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const CUT_OFF_WITHIN: Duration = Duration::from_secs(10);

impl Process {
    /// Starts on what the last one left.
    pub(super) fn start(books: Bookkeeper, out: &mut Outside) -> Result<Self, Gone> {
        let mut process = Self {
            doubt: Doubt::at_start(&books),
            books,
            dispatcher: Dispatcher::with_window(out.climate.limits, out.climate.window),
            desk: VecDeque::new(),
            writing: false,
            failed: None,
            inbox: VecDeque::new(),
            alarm: None,
            attempts: BTreeMap::new(),
            last_attempt: 0,
            tokens: TokenCache::default(),
            flights: Vec::new(),
            columns: BTreeMap::new(),
            recovering: 0,
            watch: Watch::new(out.clock(), out.steady()),
            spells: BTreeMap::new(),
            last_spell: 0,
            bulk: Bulk::New,
            stopping: false,
            cut_off: false,
        };
        if out.dies_at(Boundary::InRecovery) {
            return Err(Gone::Died(Boundary::InRecovery));
        }
        let cut_off = process.books.cut_off().to_vec();
        process.recovering = cut_off.len();
        for id in cut_off {
            let job = process.books.reader().job(id).expect("this disk damages nothing").expect("a job under way");
            let since = job.under_way_since().expect("it is under way");
            process.order(Work::cut_off(id, since), Who::Recovery(id, since), out);
        }
        let now = out.clock();
        for record in process.books.reader().platforms() {
            process.dispatcher.handle_platform(&record, now);
        }
        process.look_at_start(out);
        if out.calm {
            process.inbox.push_back(Inward::ResumeAll);
        }
        out.local(Duration::ZERO, Local::Wake);
        out.local(Duration::ZERO, Local::Pull);
        out.local(Duration::ZERO, Local::Bulk);
        let sweep = out.climate.sweep_every;
        out.local(sweep, Local::Sweep);
        Ok(process)
    }

    /// Does what is to be done now.
    pub(super) fn handle(&mut self, local: Local, out: &mut Outside) -> Result<(), Gone> {
        match local {
            Local::Pull => self.pull(out)?,
            Local::Write => self.write(out)?,
            Local::Written(done) => self.written(*done, out)?,
            Local::Wake => self.wake(out),
            Local::Answered(who, answer) => self.answered(who, *answer, out)?,
            Local::Back(back) => self.back(*back, out)?,
            Local::Unlocked(attempt, key) => self.unlocked(attempt, key, out)?,
            Local::TimeUp(attempt) => self.time_up(attempt, out)?,
            Local::SettleAgain(attempt) => self.settle(attempt, out),
            Local::GiveBack(attempt, due) => self.give_back(attempt, due, out),
            Local::RecoverAgain(id, since) => self.order(Work::cut_off(id, since), Who::Recovery(id, since), out),
            Local::Mend(pause) => self.mend(pause, out),
            Local::DrainEnds => self.drain_ends(out)?,
            Local::CutOffEnds => return Err(Gone::Stopped),
            Local::Sweep => self.sweep(out),
            Local::Bulk => self.work_off(out),
            Local::Hasten(spell) => self.hasten(spell, out),
        }
        if self.stopping && self.attempts.is_empty() && self.desk.is_empty() && !self.writing {
            return Err(Gone::Stopped);
        }
        Ok(())
    }

    /// Asked to stop: nothing new is begun.
    pub(super) fn stop(&mut self, out: &mut Outside) {
        self.stopping = true;
        let drain = out.climate.drain;
        out.local(drain, Local::DrainEnds);
        out.local(Duration::ZERO, Local::Wake);
    }

    pub(super) fn is_writable(&self) -> bool {
        self.failed.is_none()
    }

    /// Puts something into the loop's inbox.
    pub(super) fn tell(&mut self, inward: Inward, out: &mut Outside) {
        self.inbox.push_back(inward);
        let moment = out.moment();
        out.local(moment, Local::Wake);
    }

    /// Hands work to the writer.
    pub(super) fn order(&mut self, work: Work, who: Who, out: &mut Outside) {
        if let Some(failed) = &self.failed {
            let failed = failed.clone();
            let moment = out.moment();
            return out.local(moment, Local::Answered(who, Box::new(Err(failed))));
        }
        let order = Order { work, now: out.clock(), draw: out.world.chance.draw() };
        self.desk.push_back((who, order));
        if !self.writing {
            self.writing = true;
            let moment = out.moment();
            out.local(moment, Local::Write);
        }
    }

    /// An event comes in by HTTP; its sender waits for the answer.
    pub(super) fn post(&mut self, event: EventNo, out: &mut Outside) -> Result<(), Gone> {
        match take_in(event, Source::Http, out) {
            Some(arrival) => {
                if out.dies_at(Boundary::ReceivedNotStored) {
                    return Err(Gone::Died(Boundary::ReceivedNotStored));
                }
                self.order(arrival, Who::Post { event }, out);
            }
            None => {
                out.posted.remove(&event);
                out.oracle.refused(event);
            }
        }
        Ok(())
    }

    fn pull(&mut self, out: &mut Outside) -> Result<(), Gone> {
        // Who brings events on their own account asks whether the store is open.
        while !self.stopping && self.is_writable() {
            let Some((tag, event)) = out.broker.deliver(out.climate.prefetch) else {
                return Ok(());
            };
            match take_in(event, Source::Amqp, out) {
                Some(work) => {
                    if out.dies_at(Boundary::ReceivedNotStored) {
                        return Err(Gone::Died(Boundary::ReceivedNotStored));
                    }
                    self.order(work, Who::Message { tag, event }, out);
                }
                None => {
                    out.broker.bury(event);
                    out.broker.settle(tag);
                    out.oracle.refused(event);
                }
            }
        }
        Ok(())
    }

    /// The writer makes one commit of the orders that wait.
    fn write(&mut self, out: &mut Outside) -> Result<(), Gone> {
        let waiting = self.desk.len();
        let taken = if out.world.chance.hits(0.8) { waiting } else { out.world.chance.below(waiting.max(1)) + 1 };
        let (mut whos, mut orders): (Vec<Who>, Vec<Order>) = self.desk.drain(..taken.min(waiting)).unzip();
        let published = self.take_out(out);
        whos.extend(published.iter().map(|_| Who::Nobody));
        orders.extend(published);
        let mut said: Vec<Said> = whos.iter().zip(&orders).map(|(who, order)| Said::of(*who, order)).collect();
        said.extend(orders.iter().flat_map(Said::of_each));
        let steps = Steps::of(&orders);
        let dying = arm(&whos, out);
        let committed = self.books.commit(orders);
        if out.disk.took_the_worker() {
            out.disk.set(Condition::Well);
            out.oracle.interrupted(said);
            return Err(Gone::Died(dying.expect("only an armed disk takes the worker")));
        }
        if dying.is_some() {
            out.disk.set(Condition::Well);
        }
        out.stats.commits += 1;
        match committed {
            Ok(commit) => {
                out.world.note(format_args!("commit of {} orders, {} changes", commit.answers.len(), commit.changes));
                out.oracle.committed(&said, &commit, self.books.reader());
                self.doubt.committed(&steps, &commit.answers);
                let takes = out.climate.commit_takes;
                out.local(takes, Local::Written(Box::new((whos, commit))));
            }
            Err(fault) => {
                out.world.note(format_args!("the store failed: {fault}"));
                out.oracle.interrupted(said);
                self.fail(&fault, whos, out);
            }
        }
        Ok(())
    }

    /// With each fourth commit goes what was published since the last time: the notes of the two oldest ends. It asks for
    /// no commit of its own and draws nothing, so that all else goes the same way with outcomes and without.
    fn take_out(&self, out: &Outside) -> Vec<Order> {
        if out.stats.commits % 4 != 3 {
            return Vec::new();
        }
        let notes = self.books.reader().notes(Drawer::Outcomes, None, 2).unwrap_or_default();
        let take_out = |note: Note| Order {
            work: Work::PutNote { drawer: Drawer::Outcomes, key: note.key, record: None },
            now: out.clock(),
            draw: Draw::MIDDLE,
        };
        notes.into_iter().map(take_out).collect()
    }

    /// From now on nothing is written, until the store is opened anew.
    fn fail(&mut self, fault: &Fault, whos: Vec<Who>, out: &mut Outside) {
        let error = StoreError::Unavailable(fault.to_string().into());
        let rest = self.desk.drain(..).map(|(who, _)| who).collect::<Vec<_>>();
        for who in whos.into_iter().chain(rest) {
            let moment = out.moment();
            out.local(moment, Local::Answered(who, Box::new(Err(error.clone()))));
        }
        self.doubt.failed(&mut self.books);
        self.failed = Some(error);
        self.writing = false;
        out.local(A_MOMENT, Local::Mend(STORE_PAUSE));
        if out.climate.faults.restarts {
            let soon = out.world.chance.span(Duration::from_secs(1), Duration::from_secs(600));
            out.world.after(soon, Happening::Dies);
        }
    }

    /// Opens the store anew, as the real writer does, and tells the loop what is true now.
    fn mend(&mut self, pause: Duration, out: &mut Outside) {
        if self.failed.is_none() {
            return;
        }
        if out.disk.condition() != Condition::Well {
            return out.local(pause, Local::Mend((pause * 2).min(PAUSE_MAX)));
        }
        let opened = Bookkeeper::open(Box::new(out.disk.open()), out.climate.rules, &out.climate.thresholds);
        let mut books = match opened {
            Ok(books) => books,
            Err(error) => return out.oracle.broken("the store opens", error.to_string()),
        };
        out.oracle.reopened(&books);
        if let Err(Lost { commits }) = self.doubt.compare(&books) {
            let words = format!("{commits} commits are missing beside {}", books.commits());
            return out.oracle.broken("what was promised is there after a failure", words);
        }
        self.doubt.reopened(&books);
        let orders = self.doubt.withdrawals(&books, out.clock());
        let said: Vec<Said> = orders.iter().map(|order| Said::of(Who::Nobody, order)).collect();
        match books.commit(orders) {
            Ok(commit) => {
                out.oracle.committed(&said, &commit, books.reader());
                self.doubt.tell_later(commit.report);
            }
            Err(fault) => return out.oracle.broken("a good disk takes every order", fault.to_string()),
        }
        out.world.note(format_args!("the store is open again, {} taken back", said.len()));
        self.books = books;
        self.failed = None;
        let untold = self.doubt.take_untold();
        self.tell(Inward::Committed(untold), out);
        out.local(Duration::ZERO, Local::Pull);
    }

    /// A commit is on disk: the loop is told first, then those who wait.
    fn written(&mut self, (whos, commit): (Vec<Who>, Commit), out: &mut Outside) -> Result<(), Gone> {
        self.writing = !self.desk.is_empty();
        if self.writing {
            let moment = out.moment();
            out.local(moment, Local::Write);
        }
        let has_ends = whos.iter().any(|who| matches!(who, Who::End(_)));
        if has_ends && out.dies_at(Boundary::OutcomeNotTold) {
            return Err(Gone::Died(Boundary::OutcomeNotTold));
        }
        self.tell(Inward::Committed(commit.report), out);
        let has_events = whos.iter().any(|who| matches!(who, Who::Message { .. } | Who::Post { .. }));
        if has_events && out.dies_at(Boundary::StoredNotSettled) {
            return Err(Gone::Died(Boundary::StoredNotSettled));
        }
        for (who, answer) in whos.into_iter().zip(commit.answers) {
            let moment = out.moment();
            out.local(moment, Local::Answered(who, Box::new(answer)));
        }
        Ok(())
    }

    fn answered(&mut self, who: Who, answer: Result<Answer, StoreError>, out: &mut Outside) -> Result<(), Gone> {
        match who {
            Who::Message { tag, event } => {
                self.settle_message(tag, event, answer, out);
                return self.pull(out);
            }
            Who::Post { event } => settle_post(event, &answer, out),
            Who::Start(attempt) => return self.begin(attempt, answer, out),
            Who::End(attempt) => self.ended(attempt, answer.is_ok(), out),
            Who::Column(attempt) => return self.remembered(attempt, out),
            Who::Recovery(id, since) if answer.is_err() => out.local(STORE_PAUSE, Local::RecoverAgain(id, since)),
            Who::Recovery(..) => {
                self.recovering -= 1;
                if self.recovering == 0 {
                    out.oracle.recovered();
                }
            }
            Who::Sweep(began) => {
                if let Ok(Answer::Pruned { more: true, .. }) = answer {
                    let work = retain::step(began, out.climate.retain);
                    self.order(work, Who::Sweep(began), out);
                }
            }
            Who::Fence(spell) => self.fenced(spell, answer.is_ok(), out),
            Who::Hasten(spell, id, due) => self.hastened(spell, (id, due), answer.is_ok(), out),
            Who::Bulk => self.stepped(answer.is_ok(), out),
            Who::BulkBegun => out.local(Duration::ZERO, Local::Bulk),
            Who::Nobody => {}
        }
        Ok(())
    }

    fn settle_message(&mut self, tag: u64, event: EventNo, answer: Result<Answer, StoreError>, out: &mut Outside) {
        if !out.broker.waits_for(tag) {
            // The connection that brought it is gone, and the message comes again.
            return;
        }
        match answer {
            Ok(Answer::Stored(id) | Answer::Duplicate(id)) => {
                if out.world.chance.hits(if out.calm { 0.0 } else { out.climate.faults.ack_lost }) {
                    lose_connection(out);
                } else if out.broker.settle(tag).is_some() {
                    out.world.note(format_args!("event {event} is settled: {id}"));
                    out.oracle.promised(event, id, self.books.reader(), out.disk.has_pending());
                }
            }
            Ok(other) => out.oracle.broken("an event becomes a job", format!("event {event}: {other:?}")),
            Err(_) => lose_connection(out),
        }
    }

    /// The loop: takes in what has happened, and starts what may start.
    fn wake(&mut self, out: &mut Outside) {
        if !self.stopping {
            self.look(out);
        }
        while let Some(inward) = self.inbox.pop_front() {
            self.take(inward, out);
        }
        if self.stopping || !self.is_writable() {
            return;
        }
        let now = out.clock();
        loop {
            while let Some(refill) = self.dispatcher.poll_refill() {
                let entries = self.books.reader().due(&refill.origin, refill.after, self.dispatcher.window());
                match entries {
                    Ok(entries) => self.dispatcher.handle_refill(&refill.origin, &entries),
                    Err(error) => out.oracle.broken("the store can be read", error.to_string()),
                }
            }
            let Some(launch) = self.dispatcher.poll_start(now) else { break };
            self.launch(launch, out);
        }
        if let Some(wakeup) = self.dispatcher.poll_wakeup() {
            if wakeup <= now {
                out.oracle.broken("the loop never spins", format!("it is woken at {wakeup}, and now is {now}"));
            }
            let at = out.world.now() + wakeup.since(now);
            // One alarm is enough; one that rings too early does no harm.
            if self.alarm.is_none_or(|alarm| at < alarm || alarm <= out.world.now()) {
                self.alarm = Some(at);
                out.local(wakeup.since(now), Local::Wake);
            }
        }
        out.oracle.rests(&self.dispatcher, now);
    }

    fn take(&mut self, inward: Inward, out: &mut Outside) {
        let now = out.clock();
        match inward {
            Inward::Committed(report) => {
                if report.reopened {
                    self.handle_reopened(out);
                }
                report.queued.iter().for_each(|entry| self.dispatcher.handle_queued(entry));
            }
            Inward::Answered { launch, signal, error, again } => {
                let draw = out.world.chance.draw();
                out.oracle.answered(&launch, signal, now);
                let notices = self.dispatcher.handle_answered(&launch, signal, error.as_deref(), now, draw);
                if let Some(again) = again {
                    self.dispatcher.handle_queued(&again);
                }
                for notice in &notices {
                    if let Notice::Platform { origin, state, .. } = notice {
                        out.stats.holds += u64::from(*state == PlatformState::Held);
                        out.world.note(format_args!("{origin} is {}", state.name()));
                        self.remember(origin, out);
                    }
                }
            }
            Inward::Settled(launch) => {
                out.oracle.settled(&launch);
                self.dispatcher.handle_settled(&launch);
            }
            Inward::Pause(origin) => {
                self.dispatcher.handle_pause(&origin, now);
                self.remember(&origin, out);
            }
            Inward::Resume(origin) => {
                self.dispatcher.handle_resume(&origin);
                out.oracle.resumed(&origin);
                self.remember(&origin, out);
            }
            Inward::ResumeAll => {
                let paused = self.dispatcher.lanes().filter(|lane| lane.health.paused_since().is_some());
                let mut paused: Vec<Origin> = paused.map(|lane| lane.origin.clone()).collect();
                paused.sort();
                for origin in paused {
                    self.take(Inward::Resume(origin), out);
                }
            }
        }
    }

    /// What waits in the store is read again, and what it does not know of holds and pauses is noted again.
    fn handle_reopened(&mut self, out: &mut Outside) {
        let platforms = self.books.reader().platforms();
        self.dispatcher.handle_reopened(&platforms, out.clock());
        for known in &platforms {
            let health = self.dispatcher.health(&known.origin);
            let is_as_known = health.is_some_and(|health| {
                (health.paused_since(), health.held_since()) == (known.paused_since, known.held_since)
            });
            if !is_as_known {
                self.remember(&known.origin, out);
            }
        }
    }

    fn remember(&mut self, origin: &Origin, out: &mut Outside) {
        if let Some(work) = self.dispatcher.note(origin) {
            self.order(work, Who::Nobody, out);
        }
    }

    fn sweep(&mut self, out: &mut Outside) {
        let now = out.clock();
        let work = retain::step(now, out.climate.retain);
        self.order(work, Who::Sweep(now), out);
        // After the storm one last sweep is enough: the sweeps must not outlive everything else.
        if !out.calm {
            let sweep = out.climate.sweep_every;
            out.local(sweep, Local::Sweep);
        }
    }

    fn drain_ends(&mut self, out: &mut Outside) -> Result<(), Gone> {
        self.cut_off = true;
        let under_way: Vec<u64> = self.attempts.keys().copied().collect();
        for attempt in under_way {
            self.cut(attempt, out)?;
        }
        out.local(CUT_OFF_WITHIN, Local::CutOffEnds);
        Ok(())
    }

    /// What an admin does: replays, discards.
    pub(super) fn administer(&mut self, work: Work, out: &mut Outside) {
        self.order(work, Who::Nobody, out);
    }

    /// An admin replays every flagged job, page by page.
    pub(super) fn replay_all(&mut self, out: &mut Outside) {
        let filter =
            passback::ports::JobFilter { state: Some(passback::domain::job::StateName::Flagged), ..Default::default() };
        let mut before = None;
        loop {
            let Ok(page) = self.books.reader().list(&filter, before, 3) else {
                return out.oracle.broken("the store can be read", "a list".to_owned());
            };
            for job in page.jobs {
                self.order(Work::Replay { id: job.id, mode: Mode::Earnest }, Who::Nobody, out);
            }
            before = page.next;
            if before.is_none() {
                return;
            }
        }
    }
}

/// Reads an event at the door.
fn take_in(event: EventNo, source: Source, out: &mut Outside) -> Option<Work> {
    let planned = &out.climate.events[event];
    let incoming = Incoming {
        body: planned.body.clone().into(),
        door: Door::Event,
        source,
        message_id: planned.message_id.clone().filter(|_| source == Source::Amqp),
        sent_at: planned.is_dated.then(|| super::plan::GENESIS + planned.sent_after[0]),
        user: None,
    };
    let luck = out.world.chance.luck();
    admit::read(incoming, luck).ok().map(Work::Admit)
}

fn settle_post(event: EventNo, answer: &Result<Answer, StoreError>, out: &mut Outside) {
    if let Ok(Answer::Stored(id) | Answer::Duplicate(id)) = answer {
        out.posted.remove(&event);
        out.world.note(format_args!("event {event} is accepted: {id}"));
        out.oracle.accepted(event, *id, out.disk.has_pending());
    } else {
        out.posted.remove(&event);
        send_again(event, out);
    }
}

/// A sender that got no good answer sends again.
pub(super) fn send_again(event: EventNo, out: &mut Outside) {
    let after = out.world.chance.span(Duration::from_secs(1), Duration::from_secs(120));
    out.world.after(after, Happening::Sent(event));
}

/// The session with the broker ends, and another one begins.
pub(super) fn lose_connection(out: &mut Outside) {
    out.broker.lose_connection();
    let after = out.world.chance.span(Duration::from_millis(100), Duration::from_secs(30));
    out.local(after, Local::Pull);
}

/// Lets the disk take the worker in the middle of this commit, if it is to be.
fn arm(whos: &[Who], out: &mut Outside) -> Option<Boundary> {
    if out.disk.condition() != Condition::Well {
        return None;
    }
    let recovers = whos.iter().any(|who| matches!(who, Who::Recovery(..))) && out.dies_at(Boundary::InRecovery);
    let boundary = [Boundary::NotApplied, Boundary::AppliedNotSynced].into_iter().find(|at| out.dies_at(*at));
    let boundary = if recovers { Some(Boundary::InRecovery) } else { boundary };
    out.disk.set(match boundary? {
        Boundary::NotApplied => Condition::DiesAtApply,
        Boundary::AppliedNotSynced => Condition::DiesAtSync,
        _ => out.world.chance.one_of(&[Condition::DiesAtApply, Condition::DiesAtSync]),
    });
    boundary
}
