//! A universe: one climate, one worker after the other, and everything around them, until the storm is over and all has
//! come to rest.

use std::{panic::AssertUnwindSafe, time::Duration};

use passback::{
    adapters::store::bookkeeper::Bookkeeper,
    domain::{
        bulk::Change,
        destination::Origin,
        job::JobId,
        ledger::{Mode, Work},
    },
};

use super::{
    broker::Broker,
    climate::{Climate, Clocks},
    disk::{Condition, FakeDisk},
    ends, judge,
    oracle::{Broken, Oracle},
    outside::{Happening, Keys, Outside, Parcel, Return, Stats},
    plan::{GENESIS, Grade, Way, origin},
    platform::Platform,
    process::{Gone, Inward, Local, Process, lose_connection, send_again},
    world::{Chance, Trace, World},
};

/// Makes another chance of a seed, for the clocks.
const CLOCKS: u64 = 0xC10C_C10C_C10C_C10C;

/// No universe needs so many events; one that does has lost its way.
const STEPS_MAX: u64 = 200_000;

/// Runs a seed to its end. The trace is shown to somebody who looks.
pub(super) fn run(seed: u64, shown: bool, clocks_are_right: bool) -> Result<Stats, Broken> {
    let universe = AssertUnwindSafe(|| Universe::new(seed, shown, clocks_are_right).run());
    std::panic::catch_unwind(universe).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Broken { rule: "nothing panics", words: words.unwrap_or_default() })
    })
}

struct Universe {
    worker: Option<Process>,
    out: Outside,
}

/// Makes a happening that comes again and again.
type Maker = fn() -> Happening;

impl Universe {
    fn new(seed: u64, shown: bool, clocks_are_right: bool) -> Self {
        let mut world = World::new(seed, GENESIS, Trace::new(shown));
        // Of its own, so that a seed whose clocks go right is what it was before there were others.
        let mut climate = Climate::of(&mut world.chance, &mut Chance::new(seed ^ CLOCKS));
        if clocks_are_right {
            climate.faults.clocks = Clocks::default();
        }
        for (number, event) in climate.events.iter().enumerate() {
            for after in &event.sent_after {
                world.after(*after, Happening::Sent(number));
            }
        }
        world.after(Duration::ZERO, Happening::Starts);
        world.after(climate.storm, Happening::Calm);
        world.after(climate.storm.mul_f64(climate.faults.keys_missing_until), Happening::KeysCome);
        let platforms = climate.platforms.iter().cloned().enumerate();
        let platforms: Vec<_> = platforms.map(|(number, (kind, ways))| Platform::new(number, kind, ways)).collect();
        let out = Outside {
            oracle: Oracle::new(&climate),
            broker: Broker::default(),
            platforms,
            disk: FakeDisk::default(),
            registry: Keys::new(climate.faults.keys_missing_until <= 0.0),
            life: 0,
            calm: false,
            clock_off: 0,
            posted: std::collections::BTreeSet::new(),
            stats: Stats { events: climate.events.len() as u64, ..Stats::default() },
            climate,
            world,
        };
        let mut universe = Self { worker: None, out };
        universe.plan_faults();
        universe
    }

    /// The faults that come by the clock.
    fn plan_faults(&mut self) {
        for number in 0..self.out.platforms.len() {
            self.again(Some(self.out.climate.faults.mood_every), || Happening::Turns(number));
        }
        self.plan_waves();
        let faults = &self.out.climate.faults;
        let planned: [(Option<Duration>, Maker); 6] = [
            (faults.stop_every, || Happening::Stops),
            (faults.connection_lost_every, || Happening::ConnectionLost),
            (faults.disk_trouble_every, || Happening::DiskTurns),
            (faults.clock_jump_every, || Happening::ClockIsSet),
            (faults.clocks.wrong_every, || Happening::ClockGoesWrong),
            (faults.admin_every, || Happening::AdminActs),
        ];
        for (every, happening) in planned {
            self.again(every, happening);
        }
    }

    /// Where the events are, moods and admins are too.
    fn plan_waves(&mut self) {
        let Outside { climate, world, .. } = &mut self.out;
        for wave in &climate.waves {
            for number in 0..climate.platforms.len() {
                let after = world.chance.span(Duration::from_millis(1), climate.rules.retry.max);
                world.after(*wave + after, Happening::TurnsOnce(number));
                world.after(wave.saturating_sub(after), Happening::TurnsOnce(number));
            }
            while climate.faults.admin_every.is_some() && world.chance.hits(0.8) {
                let after = world.chance.span(Duration::from_millis(10), climate.rules.retry.max);
                world.after(*wave + after, Happening::AdminActsOnce);
            }
            if climate.faults.clocks.wrong_every.is_some() && world.chance.hits(0.7) {
                let after = world.chance.span(Duration::from_millis(10), climate.rules.retry.max);
                world.after(*wave + after, Happening::ClockGoesWrongOnce);
            }
        }
    }

    /// Something comes again, after about the same time.
    fn again(&mut self, every: Option<Duration>, happening: impl Fn() -> Happening) {
        let Some(every) = every.filter(|_| !self.out.calm) else { return };
        let after = every.mul_f64(0.2 + 1.6 * self.out.world.chance.unit());
        self.out.world.after(after, happening());
    }

    fn run(mut self) -> Result<Stats, Broken> {
        let end = GENESIS + self.out.climate.storm + self.out.climate.patience();
        while let Some(happening) = self.out.world.next() {
            self.out.stats.steps += 1;
            let clock = self.out.clock();
            self.out.oracle.moment(self.out.world.now(), clock);
            self.happen(happening);
            let lost = self.out.stats.steps > STEPS_MAX;
            if lost {
                self.out.oracle.broken("a universe comes to rest", format!("it took {STEPS_MAX} steps"));
            }
            if self.out.oracle.verdict().is_some() || self.out.world.now() > end {
                break;
            }
        }
        if self.out.oracle.verdict().is_none() {
            ends::check(&mut self.out);
            if let Some(worker) = &self.worker {
                self.out.oracle.bulk_has_ended(worker.books.reader());
            }
        }
        if self.out.oracle.verdict().is_none() {
            self.open_once_more();
        }
        let Self { out, .. } = self;
        match out.oracle.verdict() {
            Some(broken) => Err(broken.clone()),
            None => Ok(figures(out)),
        }
    }

    /// A last power cut: nothing was in the air.
    fn open_once_more(&mut self) {
        self.worker = None;
        self.out.disk.cut_power(0);
        self.out.oracle.worker_is_gone();
        self.open();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Local(life, local) if life == self.out.life => {
                self.with_worker(|worker, out| worker.handle(local, out));
            }
            Happening::Local(..) => {}
            Happening::Sent(event) => self.sent(event),
            Happening::Arrives(parcel) => self.arrives(*parcel),
            Happening::Starts => self.starts(),
            Happening::Stops => {
                self.again(self.out.climate.faults.stop_every, || Happening::Stops);
                if !self.out.calm {
                    self.out.world.note(format_args!("the worker is asked to stop"));
                    self.with_worker(|worker, out| {
                        worker.stop(out);
                        Ok(())
                    });
                }
            }
            Happening::Dies => {
                // Somebody restarts a worker whose store has failed, once the disk is mended.
                if self.worker.as_ref().is_some_and(|worker| !worker.is_writable()) {
                    self.out.disk.set(Condition::Well);
                    self.out.stats.killed += 1;
                    self.end_worker("it is restarted", false);
                }
            }
            Happening::ConnectionLost => {
                self.again(self.out.climate.faults.connection_lost_every, || Happening::ConnectionLost);
                lose_connection(&mut self.out);
            }
            Happening::Turns(number) => {
                self.again(Some(self.out.climate.faults.mood_every), || Happening::Turns(number));
                self.turns(number);
            }
            Happening::TurnsOnce(number) => self.turns(number),
            Happening::DiskTurns => {
                self.again(self.out.climate.faults.disk_trouble_every, || Happening::DiskTurns);
                if !self.out.calm {
                    let condition = self.out.world.chance.one_of(&[Condition::Full, Condition::NoSync]);
                    self.out.world.note(format_args!("the disk is {condition:?}"));
                    self.out.disk.set(condition);
                    let takes = self.out.world.chance.span(Duration::from_secs(1), Duration::from_secs(900));
                    self.out.world.after(takes, Happening::DiskIsMended);
                }
            }
            Happening::DiskIsMended => self.out.disk.set(Condition::Well),
            Happening::ClockIsSet => {
                self.again(self.out.climate.faults.clock_jump_every, || Happening::ClockIsSet);
                if !self.out.calm {
                    self.clock_is_set();
                }
            }
            Happening::ClockGoesWrong => {
                self.again(self.out.climate.faults.clocks.wrong_every, || Happening::ClockGoesWrong);
                self.clock_goes_wrong();
            }
            Happening::ClockGoesWrongOnce => self.clock_goes_wrong(),
            Happening::ClockIsSetBy(secs) => self.clock_is_set_by(secs),
            Happening::AdminActs => {
                self.again(self.out.climate.faults.admin_every, || Happening::AdminActs);
                self.admin_acts();
            }
            Happening::AdminActsOnce => self.admin_acts(),
            Happening::KeysCome => self.out.registry.complete(),
            Happening::Calm => self.calm(),
        }
    }

    fn with_worker(&mut self, act: impl FnOnce(&mut Process, &mut Outside) -> Result<(), Gone>) {
        if let Some(worker) = &mut self.worker
            && let Err(gone) = act(worker, &mut self.out)
        {
            self.gone(gone);
        }
    }

    fn gone(&mut self, gone: Gone) {
        match gone {
            Gone::Died(boundary) => {
                self.out.stats.crashes[boundary as usize] += 1;
                self.end_worker(&format!("it dies: {boundary:?}"), true);
            }
            Gone::Stopped => {
                self.out.stats.stops += 1;
                self.end_worker("it has stopped", false);
            }
        }
    }

    fn end_worker(&mut self, why: &str, died: bool) {
        let Self { worker, out } = self;
        *worker = None;
        out.life += 1;
        out.world.note(format_args!("the worker is gone: {why}"));
        if died && out.world.chance.hits(out.climate.faults.power) {
            let kept = if out.world.chance.hits(out.climate.faults.torn) { out.world.chance.below(3) } else { 0 };
            out.world.note(format_args!("and the power with it, {kept} kept"));
            out.disk.cut_power(kept);
        }
        out.broker.lose_connection();
        out.oracle.worker_is_gone();
        for event in std::mem::take(&mut out.posted) {
            send_again(event, out);
        }
        let after = out.world.chance.span(Duration::from_millis(200), Duration::from_secs(600));
        out.world.after(after, Happening::Starts);
        // Machines come up with wrong clocks.
        if out.climate.faults.clocks.wrong_every.is_some() && out.world.chance.hits(0.4) {
            out.world.after(after / 2, Happening::ClockGoesWrongOnce);
        }
    }

    fn open(&mut self) -> Option<Bookkeeper> {
        let Outside { climate, disk, oracle, .. } = &mut self.out;
        match Bookkeeper::open(Box::new(disk.open()), climate.rules, &climate.thresholds) {
            Ok(books) => {
                oracle.reopened(&books);
                Some(books)
            }
            Err(error) => {
                oracle.broken("the store opens", error.to_string());
                None
            }
        }
    }

    fn starts(&mut self) {
        if self.worker.is_some() {
            return;
        }
        self.out.disk.set(Condition::Well);
        self.out.world.note(format_args!("the worker starts"));
        let Some(books) = self.open() else { return };
        self.out.oracle.begins();
        match Process::start(books, &mut self.out) {
            Ok(worker) => self.worker = Some(worker),
            Err(gone) => self.gone(gone),
        }
    }

    fn sent(&mut self, event: usize) {
        if self.out.climate.events[event].way == Way::Amqp {
            let Outside { broker, world, climate, .. } = &mut self.out;
            broker.publish(event, &mut world.chance, climate.faults.reorders);
            return self.out.local(Duration::from_millis(1), Local::Pull);
        }
        let takes = self.worker.as_ref().is_some_and(|worker| worker.is_writable() && !worker.stopping);
        if !takes || !self.out.posted.insert(event) {
            return send_again(event, &mut self.out);
        }
        self.with_worker(|worker, out| worker.post(event, out));
    }

    fn arrives(&mut self, parcel: Parcel) {
        let Parcel { life, attempt, job, request, sent_at, errand } = parcel;
        let Self { out, .. } = self;
        // What a worker sent before it died may still come, or not.
        if life != out.life && out.world.chance.hits(0.5) {
            return;
        }
        let url = request.url.as_url();
        let number = (0..out.platforms.len()).find(|number| origin(*number) == url.origin().ascii_serialization());
        let Some(number) = number else {
            return out.oracle.broken("requests go to platforms", url.to_string());
        };
        let (now, timeout) = (out.world.now(), out.climate.timeout);
        let handled = out.platforms[number].handle(&request, job, now, timeout, &mut out.world.chance);
        if let Some(cell) = judge::cell_read(&request) {
            let grade = out.platforms[number].book.get(&cell).map_or(Grade::Cleared, |entry| entry.grade);
            out.oracle.shown(job, cell, grade, number);
        }
        let status = handled
            .answer
            .as_ref()
            .map_or_else(|failure| format!("{:?}", failure.fault), |reply| reply.status.to_string());
        out.world.note(format_args!("{job} {} {}: {status}, heard {:?}", number, url.path(), handled.heard));
        if let Some(heard) = &handled.heard {
            out.oracle.heard(job, heard, number);
        }
        let entries = out.platforms.iter().flat_map(|platform| platform.book.values());
        out.oracle.holders = entries.filter(|entry| !entry.state_since).filter_map(|entry| entry.by).collect();
        if life == out.life {
            // The limit of the request began when it was sent.
            let spent = now.since(sent_at);
            let after = if handled.after >= timeout { timeout.saturating_sub(spent) } else { handled.after };
            let back = Return { attempt, answer: handled.answer, errand };
            out.local(after, Local::Back(Box::new(back)));
        }
    }

    fn clock_is_set(&mut self) {
        let by = self.out.world.chance.one_of(&[1, 1, 60, 60, 3600]);
        self.out.clock_off += by * 1_000_000;
        self.out.oracle.clock_forward(Duration::from_secs(by.unsigned_abs()));
        self.out.world.note(format_args!("the clock goes {by} s forward"));
        // The real loop looks at the clock once a second.
        self.out.local(Duration::from_secs(1), Local::Wake);
    }

    /// A clock goes wrong now, and is set right some time later.
    fn clock_goes_wrong(&mut self) {
        let Outside { world, climate, calm, .. } = &mut self.out;
        if *calm {
            return;
        }
        let by = world.chance.one_of(climate.faults.clocks.steps);
        let by = if world.chance.hits(0.6) { -by } else { by };
        let right_after = world.chance.span(Duration::from_millis(100), climate.storm);
        world.after(right_after, Happening::ClockIsSetBy(-by));
        self.clock_is_set_by(by);
    }

    fn clock_is_set_by(&mut self, secs: i64) {
        let Outside { oracle, platforms, world, climate, calm, clock_off, .. } = &mut self.out;
        if *calm {
            return;
        }
        *clock_off += secs * 1_000_000;
        let by = Duration::from_secs(secs.unsigned_abs());
        if secs < 0 {
            oracle.clock_back(by);
        } else {
            oracle.clock_forward(by);
        }
        if climate.faults.clocks.agree {
            for platform in platforms {
                platform.common_secs += secs;
            }
        }
        world.note(format_args!("the clock goes {secs} s"));
        // The real loop looks at the clock once a second.
        self.out.local(Duration::from_secs(1), Local::Wake);
    }

    fn turns(&mut self, number: usize) {
        let Outside { platforms, world, climate, calm, .. } = &mut self.out;
        if *calm {
            return;
        }
        let well = world.chance.hits(0.25);
        let mood = if well { None } else { Some(world.chance.one_of(&climate.faults.moods)) };
        platforms[number].turn(mood, climate.faults.strength, &mut world.chance);
        world.note(format_args!("platform {number} is in the mood {mood:?}"));
    }

    fn admin_acts(&mut self) {
        let chance = &mut self.out.world.chance;
        let (what, number) = (chance.below(8), chance.below(self.out.platforms.len()));
        let jobs: Vec<JobId> = self.out.oracle.jobs.keys().copied().collect();
        let id = if jobs.is_empty() { None } else { Some(jobs[chance.below(jobs.len())]) };
        if self.out.calm {
            return;
        }
        self.out.world.note(format_args!("an admin acts: {what}, {id:?}, platform {number}"));
        self.with_worker(|worker, out| {
            let platform = Origin::from_stored(&origin(number));
            match (what, id) {
                (0 | 1, Some(id)) => worker.administer(Work::Replay { id, mode: Mode::Earnest }, out),
                (2, Some(id)) => worker.administer(Work::Replay { id, mode: Mode::Rehearsal }, out),
                (3, Some(id)) => worker.administer(Work::Discard { id }, out),
                (4, _) => worker.tell(Inward::Pause(platform), out),
                (5 | 6, _) => worker.tell(Inward::Resume(platform), out),
                // By what is known anyway, so that nothing more is drawn.
                _ => match out.stats.commits % 4 {
                    0 | 1 => worker.replay_all(out),
                    2 => worker.begin_bulk(Change::Replay, out),
                    _ => worker.begin_bulk(if number == 0 { Change::Discard } else { Change::Replay }, out),
                },
            }
            Ok(())
        });
    }

    /// The storm is over.
    fn calm(&mut self) {
        let Self { worker, out } = self;
        out.calm = true;
        out.world.note(format_args!("calm"));
        out.disk.set(Condition::Well);
        for platform in &mut out.platforms {
            platform.turn(None, 0.0, &mut out.world.chance);
            // A wrong clock is a fault too: nobody is far from the others any more.
            (platform.skew_secs, platform.common_secs) = (out.clock_off / 1_000_000, 0);
        }
        out.local(Duration::from_secs(1), Local::Wake);
        out.local(Duration::from_secs(1), Local::Pull);
        if let Some(worker) = worker {
            worker.tell(Inward::ResumeAll, out);
        }
    }
}

fn figures(out: Outside) -> Stats {
    let Outside { mut stats, world, oracle, broker, .. } = out;
    stats.trace = world.trace.hash();
    stats.jobs = oracle.jobs.len() as u64;
    let flagged = |known: &&super::oracle::Known| known.job.state_name() == passback::domain::job::StateName::Flagged;
    stats.flagged = oracle.jobs.values().filter(flagged).count() as u64;
    stats.redelivered = broker.redelivered;
    stats.virtual_secs = world.now().since(GENESIS).as_secs();
    stats
}
