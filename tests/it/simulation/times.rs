//! The rules of time: what the worker's clock does is nobody's fault, so each wait is judged by the true time.
//!
//! A job knows from which true moment on it may be tried, and by when it must be allowed to. A clock that goes forward
//! makes things due earlier; one that is set back must not make them due later, as soon as the worker has put forward what
//! waits. What nobody could see stays lost: a clock that was set back while the worker was down shows by jobs from the
//! future alone, and steps of some seconds are no steps.

use std::time::Duration;

use passback::domain::{
    destination::Delivery,
    dispatch::Dispatcher,
    job::{Job, JobId, Place},
    time::Timestamp,
};

use super::{
    oracle::{Known, Oracle, Said},
    plan::GENESIS,
    rules,
};

/// Steps that are smaller than five seconds together are no steps; and a little more, for the way to the disk.
const SLACK: Duration = Duration::from_secs(7);
/// What was put on the schedule so shortly before a jump was noticed may have been so after the jump.
const UNCLEAR: Duration = Duration::from_secs(3);

/// The clocks, and what the worker owes to those who wait.
pub(super) struct Times {
    /// The true time.
    now: Timestamp,
    /// The worker's.
    clock: Timestamp,
    /// By how much the clock was set back since the last time that all was made up for.
    owed: Duration,
    /// When it was set back last, by the true time.
    owed_since: Timestamp,
    /// The clock was set back, and the worker has not looked at it since.
    is_unseen: bool,
    /// When the worker looked at it last, by the true time.
    looked_at: Timestamp,
    /// Spells that are being made up for.
    running: u32,
    /// From which time on, by the clock of now, a plan from before the jump looks like one from after it.
    unclear_from: Timestamp,
    /// Whether the clock was ever set back.
    was_set_back: bool,
}

/// When a job that waits may be tried, by the true time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When its place on the schedule was decided.
    made: Timestamp,
    /// Not before this.
    from: Timestamp,
    /// From here on it must be due.
    until: Timestamp,
}

impl Wait {
    /// A job that came now, and need not wait.
    pub(super) fn none(times: &Times) -> Self {
        Self { made: times.now, from: GENESIS, until: times.now }
    }
}

impl Times {
    pub(super) fn new() -> Self {
        Self {
            now: GENESIS,
            clock: GENESIS,
            owed: Duration::ZERO,
            owed_since: GENESIS,
            is_unseen: false,
            looked_at: GENESIS,
            running: 0,
            unclear_from: GENESIS,
            was_set_back: false,
        }
    }

    /// How far from the clock things may be, after it was set back.
    pub(super) fn slack(&self) -> Duration {
        if self.was_set_back { SLACK } else { Duration::ZERO }
    }

    fn is_made_up(&self) -> bool {
        !self.is_unseen && self.running == 0
    }
}

fn steps_up(was: &Job, job: &Job) -> bool {
    let place = |job: &Job| job.queued().map(|queued| queued.place);
    place(was) == Some(Place::Behind) && place(job) == Some(Place::Ready)
}

fn waits(known: &Known) -> bool {
    !known.gone && known.job.queued().is_some()
}

impl Oracle {
    /// Something is about to happen.
    pub(super) fn moment(&mut self, now: Timestamp, clock: Timestamp) {
        (self.times.now, self.times.clock) = (now, clock);
    }

    /// The clock goes forward.
    pub(super) fn clock_forward(&mut self, by: Duration) {
        self.jobs.values_mut().for_each(|known| known.wait.from = known.wait.from.back(by));
    }

    /// The clock goes back: what a platform asked for is asked for by the new time of day.
    pub(super) fn clock_back(&mut self, by: Duration) {
        let times = &mut self.times;
        times.owed_since = times.now;
        times.owed += by;
        (times.is_unseen, times.was_set_back) = (true, true);
        self.rests.values_mut().for_each(|until| *until = until.back(by));
        for known in self.jobs.values_mut() {
            known.asked = known.asked.map(|asked| asked.back(by));
        }
    }

    /// A worker starts, and sees that the clock was set back by so much at the least.
    pub(super) fn clock_at_start(&mut self, seen: Duration) {
        let times = &mut self.times;
        let (now, clock, owed) = (times.now, times.clock, times.owed);
        for known in self.jobs.values_mut().filter(|known| waits(known)) {
            let seen_of_it = if known.job.planned_at() > clock { seen } else { Duration::ZERO };
            known.wait.until = known.wait.until + owed.saturating_sub(seen_of_it);
            if seen > Duration::ZERO {
                known.wait.from = now;
            }
        }
        (times.owed, times.owed_since, times.is_unseen, times.looked_at) = (seen, now, false, now);
    }

    /// What waits is being put forward.
    pub(super) fn spell_begins(&mut self, noticed: Option<Timestamp>) {
        let times = &mut self.times;
        let unclear_from = noticed.unwrap_or(times.clock).back(UNCLEAR);
        times.unclear_from = if times.running == 0 { unclear_from } else { times.unclear_from.min(unclear_from) };
        times.running += 1;
    }

    /// The loop has looked at the clock.
    pub(super) fn looked(&mut self) {
        let times = &mut self.times;
        let (owed, last) = (times.owed, std::mem::replace(&mut times.looked_at, times.now));
        if std::mem::take(&mut times.is_unseen) && times.running == 0 {
            // It went forward and back between two looks, and nobody could see what was planned meanwhile.
            let made_between = |known: &&mut Known| waits(known) && known.wait.made >= last;
            let unseen = self.jobs.values_mut().filter(made_between);
            unseen.for_each(|known| known.wait.until = known.wait.until + owed);
            self.all_waits_are_true();
        }
    }

    /// All that waits was put forward.
    pub(super) fn spell_ends(&mut self) {
        self.times.running -= 1;
        if !self.times.is_made_up() {
            return;
        }
        let Times { now, clock, owed_since, unclear_from, .. } = self.times;
        for known in self.jobs.values_mut().filter(|known| waits(known)) {
            let looks_new = (unclear_from..=clock).contains(&known.job.planned_at());
            if known.wait.made <= owed_since && looks_new {
                let due = known.job.queued().map_or(clock, |queued| queued.due);
                known.wait.until = known.wait.until.max(now + due.since(clock));
            }
        }
        self.times.owed = Duration::ZERO;
        self.all_waits_are_true();
    }

    /// The worker is gone, and what it had not put forward yet.
    pub(super) fn spells_are_gone(&mut self) {
        // The next one sees what it can see, at its start.
        self.times.is_unseen |= self.times.owed > Duration::ZERO;
        self.times.running = 0;
    }

    fn all_waits_are_true(&mut self) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.wait_is_true(id);
        }
    }

    /// No job waits longer than its schedule says, by the true time; but for a timestamp that is still in the future.
    pub(super) fn wait_is_true(&mut self, id: JobId) {
        let Some(known) = self.jobs.get(&id).filter(|known| self.times.is_made_up() && waits(known)) else { return };
        let Some(queued) = known.job.queued().filter(|queued| queued.place == Place::Ready) else { return };
        let Times { now, clock, .. } = self.times;
        let by_schedule = clock + known.wait.until.since(now) + SLACK;
        let by_timestamp = self.first_timestamp(&known.job);
        if queued.due > by_schedule && by_timestamp.is_none_or(|first| queued.due > first) {
            let words =
                format!("{id} is due {}, {:?}, and it is {clock} now; {by_timestamp:?}", queued.due, known.wait);
            self.broken("no job waits longer than its schedule says", words);
        }
    }

    /// Before this time a job of AGS cannot be sent: after every other one of its cell, swept or not.
    fn first_timestamp(&self, job: &Job) -> Option<Timestamp> {
        let peers = self.jobs.values().filter(|known| known.job.cell == job.cell && known.job.id != job.id);
        let last = peers.filter_map(|known| known.job.ags_timestamp).max();
        let after_last = last.map(|last| last + Duration::from_secs(1));
        let own = Some(job.ags_timestamp.unwrap_or(job.occurred_at));
        after_last.max(own).filter(|_| job.delivery == Delivery::Ags)
    }

    /// By the true time, too, no attempt begins before its time.
    pub(super) fn began_in_time(&mut self, id: JobId, replayed: bool) {
        let Some(wait) = self.jobs.get(&id).map(|known| known.wait).filter(|_| !replayed) else { return };
        let now = self.times.now;
        if wait.from > now + SLACK {
            self.broken("no attempt begins before its true time", format!("{id}: {wait:?}, and it is {now} now"));
        }
    }

    /// What a commit made of a job's wait.
    pub(super) fn wait_of(&self, known: &Known, job: &Job, said: &[Said], is_sure: bool) -> Wait {
        let times = &self.times;
        let Some(queued) = job.queued() else { return known.wait };
        let ended = said.iter().rev().find_map(|said| match said {
            Said::Finish(id, at) | Said::Interrupt(id, at) if *id == job.id => Some(*at),
            _ => None,
        });
        let ended = ended.filter(|_| rules::made(job) > rules::made(&known.job));
        if said.contains(&Said::Replay(job.id)) {
            // Where nobody knows whether that reached the disk, the old schedule may hold; and an attempt may end after it.
            let old = if is_sure { times.now } else { times.now.max(known.wait.until) };
            let until = ended.map_or(old, |at| old.max(times.now + queued.due.since(at)));
            return Wait { made: times.now, from: GENESIS, until };
        }
        match ended {
            Some(at) => {
                let until = times.now + queued.due.since(at);
                // The clock may have gone forward between the order and the commit.
                let from = until.min(times.now + queued.due.since(times.clock));
                Wait { made: times.now, from: if is_sure { from } else { GENESIS }, until }
            }
            // Nobody can tell whether what waited behind another was put forward, so it need not wait any more.
            None if steps_up(&known.job, job) && job.planned_at() > times.clock => Wait { from: GENESIS, ..known.wait },
            None => known.wait,
        }
    }

    /// Rests and holds are by the clock of today.
    pub(super) fn rests(&mut self, dispatcher: &Dispatcher, now: Timestamp) {
        if !self.times.was_set_back {
            return;
        }
        let longest = self.rules.retry.max.mul_f64(1.0 + self.rules.retry.jitter) + SLACK;
        let wrong = dispatcher.lanes().find(|lane| {
            let health = lane.health;
            let ends = [health.rests_until(), health.next_probe_at()];
            ends.into_iter().flatten().any(|end| end > now + longest)
                || health.held_since().is_some_and(|since| since > now + SLACK)
        });
        if let Some(lane) = wrong {
            let words = format!("{} at {now}: {:?}", lane.origin, lane.health);
            self.broken("no platform is left alone longer than it may be", words);
        }
    }

    /// At the end nothing is owed.
    pub(super) fn clock_is_made_up(&mut self) {
        if !self.times.is_made_up() {
            self.broken("what waits is put forward in the end", format!("{} spells", self.times.running));
        }
    }
}
