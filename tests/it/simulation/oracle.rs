//! The oracle: what must be true. It keeps a picture of its own of every job, made of what the store has promised, and
//! compares at each step; the rules for one job are in `rules`, those for the end of a universe in `ends`.
//!
//! It shares no decision with the worker: it knows what was planned, what the platforms heard and what the store says.

use std::collections::{BTreeMap, BTreeSet};

use passback::{
    adapters::store::bookkeeper::{Bookkeeper, Commit, Reader},
    domain::{
        bulk::Change,
        destination::{GradeCell, Origin},
        dispatch::{Launch, Limits},
        drawer::{Drawer, JobEnd, Note},
        health::Signal,
        job::{Job, JobId, JobState, StateName},
        ledger::{Answer, Mode, Order, Outcomes, Rules, Work},
        notice::Notice,
        time::Timestamp,
    },
    lti::wire::Answer as Reply,
    ports::JobFilter,
};

use super::{
    broker::EventNo,
    climate::Climate,
    plan::{self, Grade, PlannedEvent, Way},
    platform::Heard,
    process::Who,
    rules::{self, Step},
    times::{Times, Wait},
};

/// A rule that was broken.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) rule: &'static str,
    pub(super) words: String,
}

/// What an order was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Admit(EventNo),
    Start(JobId, Timestamp),
    Finish(JobId, Timestamp),
    Interrupt(JobId, Timestamp),
    Replay(JobId),
    Discard(JobId),
    /// A bulk change means this one, if it is still flagged.
    GiveUp(JobId),
    Withdraw(JobId),
    Hasten(JobId),
    Prune(Timestamp),
    /// The end of a job with this number is published, and its note taken out.
    TakeOut(JobId, u32),
    Other,
}

impl Said {
    pub(super) fn of(who: Who, order: &Order) -> Self {
        match (&order.work, who) {
            (Work::Admit(_), Who::Message { event, .. } | Who::Post { event }) => Self::Admit(event),
            (Work::Start { id }, _) => Self::Start(*id, order.now),
            (Work::Finish { id, .. }, _) => Self::Finish(*id, order.now),
            (Work::Interrupt { id, .. } | Work::CutOff { id, .. }, _) => Self::Interrupt(*id, order.now),
            (Work::Replay { id, mode: Mode::Earnest }, _) => Self::Replay(*id),
            (Work::Discard { id }, _) => Self::Discard(*id),
            (Work::Withdraw { id }, _) => Self::Withdraw(*id),
            (Work::Hasten { id, .. }, _) => Self::Hasten(*id),
            (Work::Prune { ended_before, .. }, _) => Self::Prune(*ended_before),
            (Work::PutNote { drawer: Drawer::Outcomes, key, record: None }, _) => {
                let note = Note { key: key.clone(), record: StateName::Delivered.name().into() };
                JobEnd::read(&note).map_or(Self::Other, |end| Self::TakeOut(end.job, end.number))
            }
            _ => Self::Other,
        }
    }

    /// What a step of a bulk change says of each of its jobs. It comes after what all orders say, which have one answer each.
    pub(super) fn of_each(order: &Order) -> Vec<Self> {
        let Work::Step { task, ids, .. } = &order.work else { return Vec::new() };
        let say = match task.change {
            Change::Replay => Self::Replay,
            Change::Discard => Self::GiveUp,
        };
        ids.iter().copied().map(say).collect()
    }

    /// The job that is meant, if there is one.
    pub(super) fn job(self) -> Option<JobId> {
        match self {
            Self::Start(id, _)
            | Self::Finish(id, _)
            | Self::Interrupt(id, _)
            | Self::Replay(id)
            | Self::Discard(id)
            | Self::GiveUp(id)
            | Self::Withdraw(id)
            | Self::Hasten(id) => Some(id),
            Self::Admit(_) | Self::Prune(_) | Self::TakeOut(..) | Self::Other => None,
        }
    }
}

/// A job as the oracle knows it.
pub(super) struct Known {
    pub(super) job: Job,
    pub(super) event: EventNo,
    /// It was pruned.
    pub(super) gone: bool,
    /// How often its grade was written at the platform.
    pub(super) applied: u32,
    /// How often the platform, asked back in the present attempt, showed its grade.
    pub(super) shown: u32,
    /// Whether a request with its score went out in the present attempt.
    pub(super) sent: bool,
    /// Whether the present attempt began while its platform was held.
    pub(super) held: bool,
    /// Until when the platform asked it to wait, by the last reply.
    pub(super) asked: Option<Timestamp>,
    /// When it may be tried, by the true time.
    pub(super) wait: Wait,
}

/// What is under way, as the dispatcher had it begin.
#[derive(Default)]
pub(super) struct UnderWay {
    cells: BTreeSet<GradeCell>,
    at: BTreeMap<Origin, u32>,
    probes: BTreeSet<Origin>,
    all: usize,
}

/// The oracle.
pub(super) struct Oracle {
    pub(super) jobs: BTreeMap<JobId, Known>,
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    /// The job of each event that has a key of its own.
    keys: BTreeMap<EventNo, JobId>,
    /// Events that have become jobs, or were refused.
    pub(super) arrived: BTreeSet<EventNo>,
    keyed: Vec<bool>,
    bodies: BTreeMap<Vec<u8>, Vec<EventNo>>,
    pub(super) grades: Vec<Grade>,
    pub(super) names: Vec<(usize, String)>,
    /// Platforms into whose books others write too.
    pub(super) foreign: Vec<bool>,
    poison: Vec<bool>,
    /// The orders of a commit of which nobody knows whether it is on disk.
    interrupted: Vec<Said>,
    /// The attempts that were under way when the worker started, and since when.
    cut_off: Vec<(JobId, Timestamp)>,
    /// The ends whose notes were taken out, or may have been.
    taken_out: BTreeSet<(JobId, u32)>,
    folded: [i64; StateName::ALL.len()],
    under_way: UnderWay,
    /// Until when a platform asked to be left alone.
    pub(super) rests: BTreeMap<Origin, Timestamp>,
    pub(super) times: Times,
    /// The last timestamp that was sent for a cell, and by which job.
    stamps: BTreeMap<(usize, String), (Timestamp, JobId)>,
    /// The jobs whose grades stand in the books of the platforms, with nothing that came after them.
    pub(super) holders: BTreeSet<JobId>,
    broken: Option<Broken>,
}

impl Oracle {
    pub(super) fn new(climate: &Climate) -> Self {
        let Climate { rules, limits, events, cells, platforms, .. } = climate;
        let name = |cell: usize| plan::name_of(platforms[cells[cell].platform].0, cells[cell], cell);
        let mut bodies: BTreeMap<Vec<u8>, Vec<EventNo>> = BTreeMap::new();
        for (number, event) in events.iter().enumerate() {
            bodies.entry(event.body.clone()).or_default().push(number);
        }
        let has_key = |event: &PlannedEvent| {
            let by_message = event.way == Way::Amqp && event.message_id.is_some();
            by_message || String::from_utf8_lossy(&event.body).contains("\"event_id\"")
        };
        Self {
            jobs: BTreeMap::new(),
            rules: *rules,
            limits: *limits,
            keys: BTreeMap::new(),
            arrived: BTreeSet::new(),
            keyed: events.iter().map(has_key).collect(),
            bodies,
            grades: events.iter().map(|event| event.grade).collect(),
            names: events.iter().map(|event| (cells[event.cell].platform, name(event.cell))).collect(),
            foreign: platforms.iter().map(|(_, flavour)| flavour.foreign).collect(),
            poison: events.iter().map(|event| event.is_poison).collect(),
            interrupted: Vec::new(),
            cut_off: Vec::new(),
            taken_out: BTreeSet::new(),
            folded: [0; StateName::ALL.len()],
            under_way: UnderWay::default(),
            rests: BTreeMap::new(),
            times: Times::new(),
            stamps: BTreeMap::new(),
            holders: BTreeSet::new(),
            broken: None,
        }
    }

    /// A rule is broken; the first one counts.
    pub(super) fn broken(&mut self, rule: &'static str, words: String) {
        self.broken.get_or_insert(Broken { rule, words });
    }

    pub(super) fn verdict(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    fn must(&mut self, holds: bool, rule: &'static str, words: impl FnOnce() -> String) {
        if !holds {
            self.broken(rule, words());
        }
    }

    /// A commit was made: its answers, and every job of the cells that it touched.
    pub(super) fn committed(&mut self, said: &[Said], commit: &Commit, reader: &Reader) {
        self.take_out(said);
        let mut touched: BTreeSet<GradeCell> = BTreeSet::new();
        let mut everything = false;
        for (order, answer) in said.iter().zip(&commit.answers) {
            match (order, answer) {
                (_, Err(error)) => self.broken("a good disk takes every order", error.to_string()),
                (Said::Admit(event), Ok(answer)) => touched.extend(self.admitted(*event, answer, said, reader)),
                (Said::Prune(_), Ok(Answer::Pruned { removed, .. })) => everything |= *removed > 0,
                (Said::Start(id, at), Ok(Answer::Job(job))) => self.started(*id, job, *at, said),
                _ => {}
            }
            touched.extend(order.job().and_then(|id| self.jobs.get(&id)).map(|known| known.job.cell));
        }
        // What steps of bulk changes say comes behind what has an answer.
        let changed = said.iter().skip(commit.answers.len()).filter_map(|said| said.job());
        touched.extend(changed.filter_map(|id| self.jobs.get(&id)).map(|known| known.job.cell));
        let is_meant = |known: &Known| !known.gone && (everything || touched.contains(&known.job.cell));
        let ids: Vec<JobId> = self.jobs.iter().filter(|(_, known)| is_meant(known)).map(|(id, _)| *id).collect();
        let before = self.attempts_made();
        self.compare(&ids, said, reader, true);
        for cell in &touched {
            self.one_at_a_time(*cell);
        }
        self.fold(&commit.report.notices, reader);
        // The rules for one job tell it better if there are fewer than before.
        let told = self.attempts_made().saturating_sub(before);
        self.told(commit, told);
        self.bulk_is_true(reader);
    }

    fn admitted(&mut self, event: EventNo, answer: &Answer, said: &[Said], reader: &Reader) -> Option<GradeCell> {
        let sweeps = said.iter().any(|said| matches!(said, Said::Prune(_)));
        let known = self.keys.get(&event).copied().filter(|_| self.keyed[event]);
        let known = known.filter(|id| self.jobs.get(id).is_some_and(|known| !known.gone));
        match answer {
            Answer::Stored(id) => {
                self.must(known.is_none() || sweeps, "an event is one job", || {
                    format!("event {event} became {id}, and is {known:?} already")
                });
                let Ok(Some(job)) = reader.job(*id) else {
                    // It may be gone again by an order after it.
                    return None;
                };
                let cell = job.cell;
                if let Some(newest) = self.newest_like(event, cell, said) {
                    self.broken(
                        "the same content again is one job",
                        format!("event {event} became {id}, not {newest}"),
                    );
                }
                self.meet(job, event);
                Some(cell)
            }
            Answer::Duplicate(id) => {
                self.arrived.insert(event);
                self.must(self.jobs.contains_key(id), "a duplicate is of a job that is there", || id.to_string());
                if self.keyed[event] {
                    self.must(known == Some(*id) || sweeps, "a duplicate is of its own event", || {
                        format!("event {event} is {known:?}, and was taken for {id}")
                    });
                }
                let cell = self.jobs.get(id).map(|known| known.job.cell)?;
                if !self.keyed[event] && said.len() == 1 {
                    let newest = self.newest_like(event, cell, said);
                    self.must(
                        newest == Some(*id),
                        "only the newest event of a cell is repeated by its content",
                        || format!("event {event} was taken for {id}, and the newest is {newest:?}"),
                    );
                }
                Some(cell)
            }
            other => {
                self.broken("an event becomes a job", format!("event {event}: {other:?}"));
                None
            }
        }
    }

    /// The newest job of a cell, if it has the same content as this event, which has no key of its own. Nothing where
    /// other orders of the same commit may have changed the cell.
    fn newest_like(&self, event: EventNo, cell: GradeCell, said: &[Said]) -> Option<JobId> {
        let counts = |known: &&Known| known.job.cell == cell && !known.gone && known.job.state != JobState::Discarded;
        let newest = self.jobs.values().filter(counts).max_by_key(|known| known.job.order())?;
        let is_alike = !self.keyed[event] && said.len() == 1 && self.bodies_of(newest.event) == self.bodies_of(event);
        let unkeyed = !self.keyed[newest.event];
        (is_alike && unkeyed).then_some(newest.job.id)
    }

    fn bodies_of(&self, event: EventNo) -> Option<&[EventNo]> {
        self.bodies.values().find(|events| events.contains(&event)).map(Vec::as_slice)
    }

    fn meet(&mut self, job: Job, event: EventNo) {
        let id = job.id;
        self.keys.insert(event, id);
        self.arrived.insert(event);
        let wait = Wait::none(&self.times);
        let known =
            Known { job, event, gone: false, applied: 0, shown: 0, sent: false, held: false, asked: None, wait };
        self.jobs.insert(id, known);
    }

    fn started(&mut self, id: JobId, job: &Job, at: Timestamp, said: &[Said]) {
        let hastened = |said: &Said| matches!(said, Said::Hasten(other) if self.is_peer(*other, id));
        let changed = said.contains(&Said::Replay(id)) || said.iter().any(hastened);
        let Some(known) = self.jobs.get_mut(&id) else {
            return self.broken("an attempt is of a job that is there", id.to_string());
        };
        let due = known.job.queued().map(|queued| queued.due);
        (known.sent, known.shown, known.asked) = (false, 0, None);
        let order = job.order();
        self.must(changed || due.is_some_and(|due| due <= at), "no attempt begins before it is due", || {
            format!("{id} is due {due:?}, and began at {at}")
        });
        self.must(job.ags_timestamp.is_none_or(|stamp| stamp <= at), "no timestamp is in the future", || {
            format!("{id} at {at}: {:?}", job.ags_timestamp)
        });
        self.began_in_time(id, said.contains(&Said::Replay(id)));
        let waits = |known: &Known| {
            known.job.cell == job.cell && known.job.order() < order && known.job.queued().is_some() && !known.gone
        };
        let older = self.jobs.values().find(|known| waits(known)).map(|known| known.job.id);
        let settled = said.iter().any(|said| said.job().is_some_and(|other| Some(other) == older));
        self.must(older.is_none() || settled, "the older of a cell goes first", || format!("{id} before {older:?}"));
    }

    pub(super) fn is_peer(&self, one: JobId, other: JobId) -> bool {
        let cell = |id| self.jobs.get(&id).map(|known| known.job.cell);
        cell(one) == cell(other)
    }

    /// Compares what the store has now with what it had. `is_sure`: the orders were given a moment ago.
    fn compare(&mut self, ids: &[JobId], said: &[Said], reader: &Reader, is_sure: bool) {
        for id in ids {
            let found = match reader.job(*id) {
                Ok(found) => found,
                Err(error) => return self.broken("the store can be read", error.to_string()),
            };
            let Some(known) = self.jobs.get(id) else { continue };
            let wait = found.as_ref().map(|job| self.wait_of(known, job, said, is_sure));
            let broken = match &found {
                Some(job) => rules::check(&Step { known, job, said, oracle: self }),
                None => rules::check_gone(known, said, self),
            };
            if let Some(Broken { rule, words }) = broken {
                self.broken(rule, format!("{id}: {words}"));
            }
            if let Some(known) = self.jobs.get_mut(id) {
                known.wait = wait.unwrap_or(known.wait);
                match found {
                    Some(job) => {
                        // An attempt of whose start nobody was told has sent nothing.
                        known.sent &= job.under_way_since() == known.job.under_way_since();
                        known.job = job;
                    }
                    None => known.gone = true,
                }
            }
            self.wait_is_true(*id);
            self.is_noted(*id, reader);
        }
    }

    fn take_out(&mut self, said: &[Said]) {
        let taken_out = said.iter().filter_map(|said| match said {
            Said::TakeOut(id, number) => Some((*id, *number)),
            _ => None,
        });
        self.taken_out.extend(taken_out);
    }

    /// The end of a job is noted in the commit that ends it, and the note stays until it is taken out.
    fn is_noted(&mut self, id: JobId, reader: &Reader) {
        let known = self.jobs.get(&id).filter(|known| !known.gone);
        let Some(end) = known.and_then(|known| JobEnd::of(&known.job)) else { return };
        let note = end.note();
        let found = reader.note(Drawer::Outcomes, &note.key);
        let is_awaited = self.rules.outcomes == Outcomes::Noted && !self.taken_out.contains(&(id, end.number));
        let is_right = match &found {
            Ok(Some(record)) => self.rules.outcomes == Outcomes::Noted && *record == note.record,
            Ok(None) => !is_awaited,
            Err(_) => false,
        };
        self.must(is_right, "an end is noted until it is published", || format!("{id}: {found:?}, not {end:?}"));
    }

    fn one_at_a_time(&mut self, cell: GradeCell) {
        let under_way = self.jobs.values().filter(|known| known.job.cell == cell && !known.gone);
        let under_way: Vec<JobId> =
            under_way.filter(|known| known.job.under_way_since().is_some()).map(|known| known.job.id).collect();
        self.must(under_way.len() <= 1, "one attempt at a time for a cell", || format!("{under_way:?}"));
    }

    fn fold(&mut self, notices: &[Notice], reader: &Reader) {
        for notice in notices {
            if let Notice::Moved { from, to } = notice {
                let mut shift = |state: &Option<StateName>, by: i64| {
                    if let Some(state) = state {
                        self.folded[place(*state)] += by;
                    }
                };
                shift(from, -1);
                shift(to, 1);
            }
        }
        self.counts_agree(reader);
    }

    fn attempts_made(&self) -> usize {
        self.jobs.values().map(|known| rules::made(&known.job)).sum()
    }

    /// Each event and each end of an attempt is told of, once.
    fn told(&mut self, commit: &Commit, attempts: usize) {
        let count =
            |is_meant: fn(&Notice) -> bool| commit.report.notices.iter().filter(|notice| is_meant(notice)).count();
        let answers =
            |is_meant: fn(&Answer) -> bool| commit.answers.iter().flatten().filter(|answer| is_meant(answer)).count();
        let told = [
            count(|notice| matches!(notice, Notice::EventStored { .. })),
            count(|notice| matches!(notice, Notice::EventDuplicate { .. })),
            count(|notice| matches!(notice, Notice::AttemptEnded { .. })),
        ];
        let made = [
            answers(|answer| matches!(answer, Answer::Stored(_))),
            answers(|answer| matches!(answer, Answer::Duplicate(_))),
            attempts,
        ];
        self.must(told == made, "notices tell what was done", || format!("told {told:?}, done {made:?}"));
    }

    /// Counters folded from notices, the store's census and the oracle's own picture are the same.
    fn counts_agree(&mut self, reader: &Reader) {
        let census = reader.census().by_state.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let mut own = [0; StateName::ALL.len()];
        for known in self.jobs.values().filter(|known| !known.gone) {
            own[place(known.job.state_name())] += 1;
        }
        let folded = self.folded;
        self.must(folded == census && own == census, "counters agree with the store", || {
            format!("notices {folded:?}, store {census:?}, jobs {own:?}")
        });
    }

    /// The broker is told that a message is settled.
    pub(super) fn promised(&mut self, event: EventNo, id: JobId, reader: &Reader, pending: bool) {
        self.accepted(event, id, pending);
        let gone = self.jobs.get(&id).is_none_or(|known| known.gone);
        self.must(gone || matches!(reader.job(id), Ok(Some(_))), "a settled message is a job", || id.to_string());
    }

    /// A sender is told that its event is safe.
    pub(super) fn accepted(&mut self, event: EventNo, id: JobId, pending: bool) {
        self.must(self.jobs.contains_key(&id), "a settled message is a job", || format!("event {event}, {id}"));
        self.must(!pending, "a message is settled when its job is durable", || format!("event {event}, {id}"));
    }

    /// An event was refused for good.
    pub(super) fn refused(&mut self, event: EventNo) {
        self.arrived.insert(event);
        let poison = self.poison[event];
        self.must(poison, "only what can never be a job is refused", || format!("event {event}"));
    }

    /// The worker died in the middle of a commit.
    pub(super) fn interrupted(&mut self, said: Vec<Said>) {
        self.take_out(&said);
        self.interrupted.extend(said);
    }

    /// The worker is gone, and all that it had under way.
    pub(super) fn worker_is_gone(&mut self) {
        self.under_way = UnderWay::default();
        self.rests.clear();
        self.spells_are_gone();
    }

    /// The store was opened anew: everything that was promised is there.
    pub(super) fn reopened(&mut self, books: &Bookkeeper) {
        match books.check() {
            Ok(report) => self.must(report.is_sound(), "the store is consistent", || format!("{:?}", report.faults)),
            Err(fault) => self.broken("the store is consistent", fault.to_string()),
        }
        let interrupted = std::mem::take(&mut self.interrupted);
        let found = match all_jobs(books.reader()) {
            Ok(found) => found,
            Err(error) => return self.broken("the store can be read", error),
        };
        for (id, job) in &found {
            if !self.jobs.contains_key(id) {
                self.meet_stranger(job, &interrupted);
            }
        }
        let cells: BTreeSet<GradeCell> = self.cells_of(&interrupted);
        let sweeps = interrupted.iter().any(|said| matches!(said, Said::Prune(_)));
        for known in self.jobs.values().filter(|known| !known.gone) {
            let (id, touched) = (known.job.id, sweeps || cells.contains(&known.job.cell));
            let lost = !found.contains_key(&id) && !sweeps;
            let changed = !touched && found.get(&id).is_some_and(|job| !rules::is_same(&known.job, job));
            if lost || changed {
                let words = format!("{id} {}", if lost { "is lost" } else { "is not what it was" });
                return self.broken("what was promised is there after a crash", words);
            }
        }
        let ids: Vec<JobId> = self.jobs.iter().filter(|(_, known)| !known.gone).map(|(id, _)| *id).collect();
        self.compare(&ids, &interrupted, books.reader(), false);
        self.folded = books.reader().census().by_state.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        self.counts_agree(books.reader());
        self.bulk_is_true(books.reader());
    }

    fn cells_of(&self, said: &[Said]) -> BTreeSet<GradeCell> {
        let named = said.iter().filter_map(|said| said.job()).filter_map(|id| self.jobs.get(&id));
        let new = said.iter().filter_map(|said| match said {
            Said::Admit(event) => self.keys.get(event),
            _ => None,
        });
        let new = new.filter_map(|id| self.jobs.get(id));
        named.chain(new).map(|known| known.job.cell).collect()
    }

    /// A job that nobody was told of: it may only come from the commit that was interrupted.
    fn meet_stranger(&mut self, job: &Job, interrupted: &[Said]) {
        let events = self.bodies.get(&*job.body).cloned().unwrap_or_default();
        let event = events.into_iter().find(|event| interrupted.contains(&Said::Admit(*event)));
        match event {
            Some(event) => self.meet(job.clone(), event),
            None => self.broken("no job comes from nowhere", job.id.to_string()),
        }
    }

    /// A worker starts: what is under way is what the one before it had begun.
    pub(super) fn begins(&mut self) {
        let under_way = self.jobs.values().filter(|known| !known.gone);
        self.cut_off = under_way.filter_map(|known| Some((known.job.id, known.job.under_way_since()?))).collect();
    }

    /// The attempts of the last run are ended on paper.
    pub(super) fn recovered(&mut self) {
        let is_left = |(id, since): &&(JobId, Timestamp)| {
            self.jobs.get(id).is_some_and(|known| !known.gone && known.job.under_way_since() == Some(*since))
        };
        if let Some((id, _)) = self.cut_off.iter().find(is_left) {
            self.broken("no attempt is lost in recovery", id.to_string());
        }
    }

    /// The dispatcher begins an attempt.
    pub(super) fn launched(&mut self, launch: &Launch, held: bool, now: Timestamp) {
        let Launch { id, origin, cell, .. } = launch;
        let free = self.under_way.cells.insert(*cell);
        self.must(free, "one attempt at a time for a cell", || id.to_string());
        self.under_way.all += 1;
        let at = self.under_way.at.entry(origin.clone()).or_default();
        *at += 1;
        let (at, all, limits) = (*at as usize, self.under_way.all, self.limits);
        self.must(at <= limits.per_platform, "no platform is above its limit", || format!("{at} at {origin}"));
        self.must(all <= limits.total, "the worker is not above its limit", || format!("{all}"));
        if held {
            let alone = self.under_way.probes.insert(origin.clone());
            self.must(alone, "one probe at a time at a held platform", || id.to_string());
        }
        let rests = self.rests.get(origin).copied();
        let slack = self.times.slack();
        self.must(rests.is_none_or(|until| until <= now + slack), "a platform rests for as long as it asked", || {
            format!("{id} at {now}, and {origin} rests until {rests:?}")
        });
        if let Some(known) = self.jobs.get_mut(id) {
            known.held = held;
        }
    }

    pub(super) fn answered(&mut self, launch: &Launch, signal: Signal, now: Timestamp) {
        if let Some(at) = self.under_way.at.get_mut(&launch.origin) {
            *at = at.saturating_sub(1);
        }
        self.under_way.probes.remove(&launch.origin);
        let asked = self.jobs.get(&launch.id).and_then(|known| known.asked);
        if let (Signal::RateLimited(_), Some(asked)) = (signal, asked) {
            let rests = self.rests.entry(launch.origin.clone()).or_default();
            *rests = (*rests).max(asked.min(now + self.rules.retry.max));
        }
    }

    pub(super) fn settled(&mut self, launch: &Launch) {
        self.under_way.cells.remove(&launch.cell);
        self.under_way.all -= 1;
    }

    pub(super) fn resumed(&mut self, origin: &Origin) {
        self.rests.remove(origin);
    }

    /// The worker sees a reply: until when does it ask to wait?
    pub(super) fn replied(&mut self, id: JobId, reply: &Reply, now: Timestamp) {
        if let Some(known) = self.jobs.get_mut(&id) {
            known.asked = rules::asked(reply, now);
        }
    }

    /// A platform was asked what stands in a cell.
    pub(super) fn shown(&mut self, id: JobId, cell: String, grade: Grade, platform: usize) {
        let Some(known) = self.jobs.get_mut(&id) else {
            return self.broken("a grade is read by a job that is there", id.to_string());
        };
        let (want, name) = (self.grades[known.event], self.names[known.event].clone());
        known.shown += u32::from(rules::is_that_grade(want, grade));
        self.must((platform, cell) == name, "a job reads its own cell", || id.to_string());
    }

    /// A platform heard a grade.
    pub(super) fn heard(&mut self, id: JobId, heard: &Heard, platform: usize) {
        let Some(known) = self.jobs.get_mut(&id) else {
            return self.broken("a grade is sent by a job that is there", id.to_string());
        };
        known.sent = true;
        known.applied += u32::from(heard.applied);
        let (event, job) = (known.event, known.job.clone());
        let (want, name) = (self.grades[event], self.names[event].clone());
        self.must(job.under_way_since().is_some(), "an attempt is on disk before it is sent", || id.to_string());
        self.must(rules::is_that_grade(want, heard.grade), "the grade sent is that of the event", || {
            format!("{id}: {:?}, not {want:?}", heard.grade)
        });
        self.must((platform, heard.cell.clone()) == name, "a grade goes to its own cell", || {
            format!("{id}: {} at {platform}, not {name:?}", heard.cell)
        });
        if let Some(stamp) = heard.timestamp {
            self.stamp(&job, stamp, name);
        }
        if heard.applied && job.bears_grade && job.delivery.can_supersede() {
            self.newest_wins(&job);
        }
    }

    fn stamp(&mut self, job: &Job, stamp: Timestamp, name: (usize, String)) {
        let last = self.stamps.insert(name, (stamp, job.id));
        let own = job.ags_timestamp.map(Timestamp::to_millis);
        self.must(own == Some(stamp), "a job keeps its timestamp", || format!("{}: {stamp}, not {own:?}", job.id));
        let Some((last, by)) = last.filter(|(_, by)| self.jobs.get(by).is_some_and(|known| !known.gone)) else {
            return;
        };
        let second = std::time::Duration::from_secs(1);
        // Its own may be moved up only by another one of its cell, whether that was sent or not.
        let peer = |known: &&Known| known.job.cell == job.cell && known.job.id != job.id;
        let moved =
            self.jobs.values().filter(peer).filter_map(|known| known.job.ags_timestamp).any(|at| at + second > last);
        let good = (by == job.id && stamp == last) || (stamp >= last + second && (by != job.id || moved));
        self.must(good, "timestamps of a cell are a second apart", || format!("{}: {stamp} after {last}", job.id));
    }

    fn newest_wins(&mut self, job: &Job) {
        let newer = |known: &&Known| {
            let peer = &known.job;
            let outranks = peer.cell == job.cell && peer.order() > job.order() && peer.bears_grade;
            outranks && peer.state == JobState::Delivered && !known.gone
        };
        if let Some(newer) = self.jobs.values().find(newer).map(|known| known.job.id) {
            self.broken("the newest grade is the last one", format!("{} after {newer}", job.id));
        }
    }
}

/// Every job of a store.
pub(super) fn all_jobs(reader: &Reader) -> Result<BTreeMap<JobId, Job>, String> {
    let (mut found, mut before) = (BTreeMap::new(), None);
    loop {
        let page = reader.list(&JobFilter::default(), before, 50).map_err(|error| error.to_string())?;
        found.extend(page.jobs.into_iter().map(|job| (job.id, job)));
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(found),
        }
    }
}

fn place(state: StateName) -> usize {
    StateName::ALL.into_iter().position(|known| known == state).expect("every state is in the list")
}
