//! The dispatcher: which job may start now.
//!
//! A job may start when it is due, no other job of its cell is under way, its platform has room, and the worker has
//! room in all. Platforms take turns, so that one with a million jobs does not keep one with a single job waiting.
//!
//! It does no I/O and holds no job bodies. Of each platform it knows a bounded window of the next due jobs; the store
//! keeps the rest and is asked for more through [`Dispatcher::poll_refill`]. What it knows may be out of date: an
//! entry that is not startable any more is refused by the ledger, and nothing is lost, because every change that makes
//! a job startable comes in as a new entry.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{
    destination::{GradeCell, Origin},
    health::{Health, Room, Signal},
    job::JobId,
    ledger::{DueEntry, PlatformRecord, Work},
    notice::{Notice, PlatformState},
    retry::RetryPolicy,
    time::{Draw, Timestamp},
    transition::Trial,
};

/// Entries asked for at once, unless it is said otherwise; a platform's window holds at most twice as many.
pub const WINDOW: usize = 512;

/// How much may be under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Attempts under way in all.
    pub total: usize,
    /// Attempts under way at one platform.
    pub per_platform: usize,
    /// `[retry]`, for probes, rests and the longest hold.
    pub retry: RetryPolicy,
}

/// A job whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// When it was due.
    pub due: Timestamp,
    /// The job.
    pub id: JobId,
    /// Its platform.
    pub origin: Origin,
    /// Its cell, which is busy until [`Dispatcher::handle_settled`].
    pub cell: GradeCell,
    /// What sort of attempt it will be.
    pub trial: Trial,
}

impl Launch {
    /// The entry of a launch whose start the store could not take: at its old place, where the window has it.
    pub fn entry(&self) -> DueEntry {
        DueEntry { due: self.due, id: self.id, cell: self.cell, origin: self.origin.clone() }
    }
}

/// More entries are wanted from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refill {
    /// Of this platform.
    pub origin: Origin,
    /// After this place.
    pub after: Option<(Timestamp, JobId)>,
}

/// A platform for somebody who looks.
#[derive(Clone, Debug)]
pub struct LaneView<'a> {
    /// The platform.
    pub origin: &'a Origin,
    /// Its health.
    pub health: &'a Health,
    /// Attempts under way there.
    pub under_way: usize,
    /// What went wrong there last.
    pub last_error: Option<&'a str>,
}

/// Decides which job may start. `handle_*` takes in what has happened, `poll_*` hands out what is to be done: after
/// any `handle_*` call, [`poll_refill`](Self::poll_refill) and then [`poll_start`](Self::poll_start) until both are
/// empty, and again at [`poll_wakeup`](Self::poll_wakeup).
#[derive(Debug)]
pub struct Dispatcher {
    limits: Limits,
    /// Entries asked for at once.
    window: usize,
    lanes: HashMap<Origin, Lane>,
    /// Platforms that may have something to start, in the order of their turns.
    ring: VecDeque<Origin>,
    /// When a platform that is not in the ring has to be looked at again.
    alarms: BTreeSet<(Timestamp, Origin)>,
    /// Platforms whose window runs low while the store has more.
    thirsty: VecDeque<Origin>,
    busy_cells: HashSet<GradeCell>,
    /// Due entries whose cell is busy; they come back when it is free.
    parked: HashMap<GradeCell, Vec<DueEntry>>,
    under_way: usize,
}

/// How much of a platform's queue its window shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum WindowEnd {
    /// All of it.
    Open,
    /// Nothing has been read yet.
    Unread,
    /// The store may have more behind this place.
    At(Timestamp, JobId),
}

impl WindowEnd {
    /// Whether a place lies behind the end, where only the store has it.
    fn is_before(self, place: (Timestamp, JobId)) -> bool {
        match self {
            Self::Open => false,
            Self::Unread => true,
            Self::At(due, id) => place > (due, id),
        }
    }
}

/// What is known of one platform.
#[derive(Debug)]
struct Lane {
    window: BTreeMap<(Timestamp, JobId), GradeCell>,
    end: WindowEnd,
    under_way: usize,
    health: Health,
    in_ring: bool,
    is_thirsty: bool,
    alarm: Option<Timestamp>,
    last_error: Option<Box<str>>,
}

impl Dispatcher {
    /// A dispatcher that knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self::with_window(limits, WINDOW)
    }

    /// The same, that asks for so many entries at once: a test makes it small, so that a few jobs fill it.
    pub fn with_window(limits: Limits, window: usize) -> Self {
        Self {
            limits,
            window: window.max(1),
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            alarms: BTreeSet::new(),
            thirsty: VecDeque::new(),
            busy_cells: HashSet::new(),
            parked: HashMap::new(),
            under_way: 0,
        }
    }

    /// A platform is remembered from before; its waiting jobs are still to be read.
    pub fn handle_platform(&mut self, record: &PlatformRecord, now: Timestamp) {
        let health = Health::new(record.paused_since, record.held_since, now, self.limits.per_platform);
        self.lanes.insert(record.origin.clone(), Lane::new(health, WindowEnd::Unread));
        self.quench(&record.origin);
    }

    /// The store was opened anew: what waits there is read again. What is under way and how each platform is doing
    /// stay as they are; a platform of which nothing was known yet is remembered.
    pub fn handle_reopened(&mut self, platforms: &[PlatformRecord], now: Timestamp) {
        for record in platforms.iter().filter(|record| !self.lanes.contains_key(&record.origin)).collect::<Vec<_>>() {
            self.handle_platform(record, now);
        }
        // They wait in the store too, and come back with what is read from there.
        self.parked.clear();
        self.thirsty.clear();
        for lane in self.lanes.values_mut() {
            lane.window.clear();
            lane.end = WindowEnd::Unread;
            lane.is_thirsty = false;
        }
        let mut origins: Vec<Origin> = self.lanes.keys().cloned().collect();
        origins.sort_unstable();
        for origin in origins {
            self.quench(&origin);
        }
    }

    /// How many entries the answer to a [`Refill`] should have, where there are so many.
    pub fn window(&self) -> usize {
        self.window
    }

    /// A job may be started once it is due.
    pub fn handle_queued(&mut self, entry: &DueEntry) {
        let (limit, window) = (self.limits.per_platform, self.window);
        let lane =
            self.lanes.entry(entry.origin.clone()).or_insert_with(|| Lane::new(Health::open(limit), WindowEnd::Open));
        lane.take(entry, window);
        self.wake(&entry.origin);
    }

    /// The answer to [`Refill`]: the next entries of a platform; fewer than [`Self::window`] means that these are all.
    pub fn handle_refill(&mut self, origin: &Origin, entries: &[DueEntry]) {
        let Some(lane) = self.lanes.get_mut(origin) else { return };
        lane.is_thirsty = false;
        lane.end = match entries.last() {
            Some(last) if entries.len() >= self.window => WindowEnd::At(last.due, last.id),
            _ => WindowEnd::Open,
        };
        for entry in entries {
            lane.window.insert((entry.due, entry.id), entry.cell);
        }
        self.wake(origin);
    }

    /// The store could not be read for a [`Refill`]: it is asked again at `again`.
    pub fn handle_refill_failed(&mut self, origin: &Origin, again: Timestamp) {
        let Some(lane) = self.lanes.get_mut(origin) else { return };
        lane.is_thirsty = false;
        if lane.alarm.is_none_or(|alarm| alarm > again) {
            self.set_alarm(origin, Some(again));
        }
    }

    /// The platform has answered, or the attempt did not begin after all (`Signal::Nothing`): it has room for another
    /// one, while the end of this one is on its way to the disk. `error` is what went wrong, in words.
    pub fn handle_answered(
        &mut self,
        launch: &Launch,
        signal: Signal,
        error: Option<&str>,
        now: Timestamp,
        draw: Draw,
    ) -> Vec<Notice> {
        let Some(lane) = self.lanes.get_mut(&launch.origin) else { return Vec::new() };
        lane.under_way = lane.under_way.saturating_sub(1);
        let (state, rest) = (lane.health.state(), lane.health.rests_until());
        let limit = self.limits.per_platform;
        lane.health.handle_ended(launch.id, launch.trial, signal, limit, (now, draw, &self.limits.retry));
        match (error, signal) {
            (Some(error), _) => lane.last_error = Some(error.into()),
            (None, Signal::Well) => lane.last_error = None,
            (None, _) => {}
        }
        let notices = lane.notices(&launch.origin, state, rest);
        self.wake(&launch.origin);
        notices
    }

    /// The end of an attempt is on disk: its cell is free. Comes once after each [`Self::handle_answered`].
    pub fn handle_settled(&mut self, launch: &Launch) {
        self.under_way = self.under_way.saturating_sub(1);
        self.busy_cells.remove(&launch.cell);
        for entry in self.parked.remove(&launch.cell).unwrap_or_default() {
            self.handle_queued(&entry);
        }
    }

    /// The clock was set back: what was to happen at some time of day happens so much earlier. The due times of jobs
    /// are the ledger's, and come in as new entries.
    pub fn handle_set_back(&mut self, by: Duration) {
        self.alarms.clear();
        let origins: Vec<Origin> = self.lanes.keys().cloned().collect();
        for origin in origins {
            if let Some(lane) = self.lanes.get_mut(&origin) {
                lane.alarm = None;
                lane.health.handle_set_back(by);
            }
            self.wake(&origin);
        }
    }

    /// An admin stops a platform's deliveries; what is under way is let end.
    pub fn handle_pause(&mut self, origin: &Origin, now: Timestamp) -> Vec<Notice> {
        self.change(origin, |health| health.handle_pause(now))
    }

    /// An admin lets a platform's deliveries go on.
    pub fn handle_resume(&mut self, origin: &Origin) -> Vec<Notice> {
        self.change(origin, Health::handle_resume)
    }

    fn change(&mut self, origin: &Origin, change: impl FnOnce(&mut Health) -> bool) -> Vec<Notice> {
        let limit = self.limits.per_platform;
        let lane = self.lanes.entry(origin.clone()).or_insert_with(|| Lane::new(Health::open(limit), WindowEnd::Open));
        let (state, rest) = (lane.health.state(), lane.health.rests_until());
        change(&mut lane.health);
        let notices = lane.notices(origin, state, rest);
        self.wake(origin);
        notices
    }

    /// The next platform whose entries are wanted from the store.
    pub fn poll_refill(&mut self) -> Option<Refill> {
        while let Some(origin) = self.thirsty.pop_front() {
            match self.lanes.get(&origin).filter(|lane| lane.is_thirsty).map(|lane| lane.end) {
                Some(WindowEnd::Unread) => return Some(Refill { origin, after: None }),
                Some(WindowEnd::At(due, id)) => return Some(Refill { origin, after: Some((due, id)) }),
                Some(WindowEnd::Open) | None => {}
            }
        }
        None
    }

    /// The next job whose turn it is.
    pub fn poll_start(&mut self, now: Timestamp) -> Option<Launch> {
        self.ring_the_alarms(now);
        while self.under_way < self.limits.total {
            let origin = self.ring.pop_front()?;
            match self.next_of(&origin, now) {
                Some(launch) => {
                    self.ring.push_back(origin);
                    return Some(launch);
                }
                None => self.leave_ring(&origin, now),
            }
        }
        None
    }

    /// When to poll again, if nothing happens before.
    pub fn poll_wakeup(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(moment, _)| *moment)
    }

    /// Attempts under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// The due time of the job that waits longest at a platform that takes deliveries.
    pub fn oldest_due(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.lanes.values().filter(|lane| {
            let resting = lane.health.rests_until().is_some_and(|until| until > now);
            lane.health.state() == PlatformState::Open && !resting
        });
        open.filter_map(|lane| lane.window.keys().next().map(|(due, _)| *due)).filter(|due| *due <= now).min()
    }

    /// Every platform.
    pub fn lanes(&self) -> impl Iterator<Item = LaneView<'_>> {
        self.lanes.iter().map(|(origin, lane)| LaneView {
            origin,
            health: &lane.health,
            under_way: lane.under_way,
            last_error: lane.last_error.as_deref(),
        })
    }

    /// What is to be remembered of a platform over restarts: a hold and a pause. None for one that nobody knows.
    pub fn note(&self, origin: &Origin) -> Option<Work> {
        let health = self.health(origin)?;
        let (paused_since, held_since) = (health.paused_since(), health.held_since());
        Some(Work::NotePlatform { origin: origin.clone(), paused_since, held_since })
    }

    /// The health of a platform.
    pub fn health(&self, origin: &Origin) -> Option<&Health> {
        self.lanes.get(origin).map(|lane| &lane.health)
    }

    fn next_of(&mut self, origin: &Origin, now: Timestamp) -> Option<Launch> {
        let lane = self.lanes.get_mut(origin)?;
        let Room::Open(room, trial) = lane.health.room(now, &self.limits.retry) else { return None };
        if lane.under_way >= room {
            return None;
        }
        let found = loop {
            let first = lane.window.first_entry().filter(|first| first.key().0 <= now)?;
            let ((due, id), cell) = first.remove_entry();
            if self.busy_cells.insert(cell) {
                break Launch { due, id, origin: origin.clone(), cell, trial };
            }
            let entry = DueEntry { due, id, cell, origin: origin.clone() };
            self.parked.entry(cell).or_default().push(entry);
        };
        lane.under_way += 1;
        lane.health.handle_started(trial);
        self.under_way += 1;
        self.quench(origin);
        Some(found)
    }

    /// Asks for more when a window runs low while the store has more.
    fn quench(&mut self, origin: &Origin) {
        let Some(lane) = self.lanes.get_mut(origin) else { return };
        if lane.end != WindowEnd::Open && lane.window.len() < self.window.div_ceil(2) && !lane.is_thirsty {
            lane.is_thirsty = true;
            self.thirsty.push_back(origin.clone());
        }
    }

    fn wake(&mut self, origin: &Origin) {
        self.quench(origin);
        let Some(lane) = self.lanes.get_mut(origin) else { return };
        if !lane.in_ring && !lane.window.is_empty() {
            lane.in_ring = true;
            self.ring.push_back(origin.clone());
        }
    }

    fn ring_the_alarms(&mut self, now: Timestamp) {
        while let Some((moment, origin)) = self.alarms.pop_first() {
            if moment > now {
                self.alarms.insert((moment, origin));
                return;
            }
            if let Some(lane) = self.lanes.get_mut(&origin) {
                lane.alarm = None;
            }
            self.wake(&origin);
        }
    }

    fn leave_ring(&mut self, origin: &Origin, now: Timestamp) {
        self.quench(origin);
        let Some(lane) = self.lanes.get_mut(origin) else { return };
        lane.in_ring = false;
        let alarm = lane.next_look(now, &self.limits.retry);
        self.set_alarm(origin, alarm);
    }

    fn set_alarm(&mut self, origin: &Origin, alarm: Option<Timestamp>) {
        let Some(lane) = self.lanes.get_mut(origin) else { return };
        if let Some(old) = std::mem::replace(&mut lane.alarm, alarm) {
            self.alarms.remove(&(old, origin.clone()));
        }
        if let Some(moment) = alarm {
            self.alarms.insert((moment, origin.clone()));
        }
    }
}

impl Lane {
    fn new(health: Health, end: WindowEnd) -> Self {
        Self {
            window: BTreeMap::new(),
            end,
            under_way: 0,
            health,
            in_ring: false,
            is_thirsty: false,
            alarm: None,
            last_error: None,
        }
    }

    /// Takes an entry into the window, unless it belongs behind the window's end, where the store has it.
    fn take(&mut self, entry: &DueEntry, window: usize) {
        let place = (entry.due, entry.id);
        if self.end.is_before(place) {
            return;
        }
        self.window.insert(place, entry.cell);
        while self.window.len() > 2 * window {
            self.window.pop_last();
            if let Some(((due, id), _)) = self.window.last_key_value() {
                self.end = WindowEnd::At(*due, *id);
            }
        }
    }

    /// When this lane, from which nothing can be started at `now`, has to be looked at again.
    fn next_look(&self, now: Timestamp, policy: &RetryPolicy) -> Option<Timestamp> {
        let (first, _) = self.window.keys().next()?;
        match self.health.room(now, policy) {
            Room::Shut(until) => until.map(|until| until.max(*first)),
            // Without room an attempt that ends will wake it; without anything due, the first due time does.
            Room::Open(..) => (*first > now).then_some(*first),
        }
    }

    fn notices(&self, origin: &Origin, state: PlatformState, rest: Option<Timestamp>) -> Vec<Notice> {
        let mut notices = Vec::new();
        let now_in = self.health.state();
        if now_in != state {
            let why = match (state, now_in) {
                (_, PlatformState::Held) => "five attempts in a row, of several jobs, got no answer or a 5xx",
                (_, PlatformState::Paused) => "an admin paused it",
                (PlatformState::Paused, PlatformState::Open) => "an admin resumed it",
                (_, PlatformState::Open) => "it answers again",
            };
            notices.push(Notice::Platform { origin: origin.clone(), state: now_in, why });
        }
        if let Some(until) = self.health.rests_until().filter(|until| Some(*until) != rest) {
            notices.push(Notice::PlatformRests { origin: origin.clone(), until });
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn dispatcher(total: usize, per_platform: usize) -> Dispatcher {
        Dispatcher::new(Limits { total, per_platform, retry: RetryPolicy::default() })
    }

    fn entry(origin: &str, n: u8, cell: u8, due: Timestamp) -> DueEntry {
        let id = JobId::next(None, NOW, u128::from(n));
        DueEntry { due, id, cell: GradeCell([cell; 16]), origin: Origin::from_stored(origin) }
    }

    fn started(dispatcher: &mut Dispatcher, now: Timestamp) -> Vec<Launch> {
        std::iter::from_fn(|| dispatcher.poll_start(now)).collect()
    }

    fn end(dispatcher: &mut Dispatcher, launch: &Launch, signal: Signal, now: Timestamp) {
        dispatcher.handle_answered(launch, signal, None, now, Draw::MIDDLE);
        dispatcher.handle_settled(launch);
    }

    #[test]
    fn platforms_take_turns_within_their_limits() {
        let mut dispatcher = dispatcher(5, 3);
        for n in 0..10 {
            dispatcher.handle_queued(&entry("a", n, n, NOW));
        }
        dispatcher.handle_queued(&entry("b", 20, 20, NOW));
        let launches = started(&mut dispatcher, NOW);
        let origins: Vec<_> = launches.iter().map(|launch| launch.origin.as_str().to_owned()).collect();
        assert_eq!(origins, ["a", "b", "a", "a"]);
        end(&mut dispatcher, &launches[0], Signal::Well, NOW);
        assert_eq!(started(&mut dispatcher, NOW).len(), 1);
    }

    #[test]
    fn a_platform_that_has_answered_has_room_but_the_cell_waits_for_the_disk() {
        let mut dispatcher = dispatcher(9, 1);
        for (n, cell) in [(1, 1), (2, 1), (3, 3)] {
            dispatcher.handle_queued(&entry("a", n, cell, NOW));
        }
        let first = started(&mut dispatcher, NOW).remove(0);
        dispatcher.handle_answered(&first, Signal::Well, None, NOW, Draw::MIDDLE);
        let second = started(&mut dispatcher, NOW).remove(0);
        assert_eq!(second.cell, GradeCell([3; 16]));
        end(&mut dispatcher, &second, Signal::Well, NOW);
        assert_eq!(started(&mut dispatcher, NOW), []);
        dispatcher.handle_settled(&first);
        assert_eq!(started(&mut dispatcher, NOW).len(), 1);
    }

    #[test]
    fn a_cell_has_one_attempt_at_a_time_and_none_is_forgotten() {
        let mut dispatcher = dispatcher(9, 9);
        for n in 0..3 {
            dispatcher.handle_queued(&entry("a", n, 7, NOW));
        }
        for _ in 0..3 {
            let launches = started(&mut dispatcher, NOW);
            assert_eq!(launches.len(), 1);
            end(&mut dispatcher, &launches[0], Signal::Well, NOW);
        }
        assert_eq!(started(&mut dispatcher, NOW), []);
    }

    #[test]
    fn nothing_starts_before_it_is_due_and_the_wakeup_says_when() {
        let mut dispatcher = dispatcher(9, 9);
        let later = NOW + Duration::from_secs(60);
        dispatcher.handle_queued(&entry("a", 1, 1, later));
        assert_eq!(started(&mut dispatcher, NOW), []);
        assert_eq!(dispatcher.poll_wakeup(), Some(later));
        assert_eq!(dispatcher.oldest_due(NOW), None);
        assert_eq!(dispatcher.oldest_due(later), Some(later));
        assert_eq!(started(&mut dispatcher, later).len(), 1);
    }

    #[test]
    fn a_window_is_bounded_and_filled_again_from_the_store() {
        let mut dispatcher = dispatcher(usize::MAX, usize::MAX);
        let entries: Vec<_> = (0..3 * WINDOW)
            .map(|n| {
                let id = JobId::next(None, NOW, n as u128);
                let mut cell = [0; 16];
                cell[..8].copy_from_slice(&(n as u64).to_le_bytes());
                DueEntry { due: NOW, id, cell: GradeCell(cell), origin: Origin::from_stored("a") }
            })
            .collect();
        for entry in &entries {
            dispatcher.handle_queued(entry);
        }
        let mut seen = HashSet::new();
        loop {
            let launches = started(&mut dispatcher, NOW);
            seen.extend(launches.iter().map(|launch| launch.id));
            let Some(refill) = dispatcher.poll_refill() else { break };
            let after = refill.after.expect("a place to go on from");
            let rest: Vec<_> =
                entries.iter().filter(|entry| (entry.due, entry.id) > after).take(WINDOW).cloned().collect();
            dispatcher.handle_refill(&refill.origin, &rest);
        }
        assert_eq!(seen.len(), entries.len());
    }

    #[test]
    fn a_store_that_could_not_be_read_is_asked_again() {
        let mut dispatcher = dispatcher(9, 9);
        let origin = Origin::from_stored("a");
        let record = PlatformRecord { origin: origin.clone(), client_id: None, paused_since: None, held_since: None };
        dispatcher.handle_platform(&record, NOW);
        assert!(dispatcher.poll_refill().is_some());
        let again = NOW + Duration::from_secs(1);
        dispatcher.handle_refill_failed(&origin, again);
        assert_eq!((dispatcher.poll_refill(), dispatcher.poll_wakeup()), (None, Some(again)));
        assert_eq!(started(&mut dispatcher, again), []);
        assert!(dispatcher.poll_refill().is_some());
    }

    #[test]
    fn a_store_that_was_opened_anew_is_read_again_and_what_is_under_way_stays() {
        let mut dispatcher = dispatcher(9, 9);
        for (n, cell) in [(1, 1), (2, 1), (3, 3)] {
            dispatcher.handle_queued(&entry("a", n, cell, NOW));
        }
        let launches = started(&mut dispatcher, NOW);
        assert_eq!(launches.len(), 2);
        let (a, b) = (Origin::from_stored("a"), Origin::from_stored("b"));
        let record = |origin: &Origin| PlatformRecord {
            origin: origin.clone(),
            client_id: None,
            paused_since: None,
            held_since: None,
        };
        dispatcher.handle_pause(&a, NOW);
        dispatcher.handle_reopened(&[record(&a), record(&b)], NOW);
        assert_eq!(started(&mut dispatcher, NOW), [], "nothing is known of the store yet");
        assert_eq!(dispatcher.poll_refill(), Some(Refill { origin: a.clone(), after: None }));
        assert_eq!(dispatcher.poll_refill(), Some(Refill { origin: b.clone(), after: None }));
        dispatcher.handle_refill(&a, &[entry("a", 2, 1, NOW), entry("a", 4, 4, NOW)]);
        dispatcher.handle_refill(&b, &[entry("b", 5, 5, NOW)]);
        assert_eq!(started(&mut dispatcher, NOW).len(), 1, "the other platform is still paused");
        dispatcher.handle_resume(&a);
        assert_eq!(started(&mut dispatcher, NOW).len(), 1, "the cell of 2 is still busy");
        end(&mut dispatcher, &launches[0], Signal::Well, NOW);
        assert_eq!(started(&mut dispatcher, NOW).len(), 1);
    }

    #[test]
    fn a_remembered_platform_is_read_from_the_store_first() {
        let mut dispatcher = dispatcher(9, 9);
        let origin = Origin::from_stored("a");
        let record = PlatformRecord { origin: origin.clone(), client_id: None, paused_since: None, held_since: None };
        dispatcher.handle_platform(&record, NOW);
        dispatcher.handle_queued(&entry("a", 2, 2, NOW));
        assert_eq!(dispatcher.poll_refill(), Some(Refill { origin: origin.clone(), after: None }));
        dispatcher.handle_refill(&origin, &[entry("a", 1, 1, NOW), entry("a", 2, 2, NOW)]);
        assert_eq!(started(&mut dispatcher, NOW).len(), 2);
    }

    #[test]
    fn a_paused_platform_starts_nothing_and_a_held_one_probes() {
        let mut dispatcher = dispatcher(99, 99);
        for n in 0..10 {
            dispatcher.handle_queued(&entry("a", n, n, NOW));
        }
        let origin = Origin::from_stored("a");
        dispatcher.handle_pause(&origin, NOW);
        assert_eq!(started(&mut dispatcher, NOW), []);
        dispatcher.handle_resume(&origin);
        let launches = started(&mut dispatcher, NOW);
        assert_eq!(launches.len(), 10);
        for (n, launch) in (0_u8..).zip(&launches) {
            end(&mut dispatcher, launch, Signal::Sick, NOW);
            dispatcher.handle_queued(&entry("a", n, n, NOW));
        }
        assert_eq!(started(&mut dispatcher, NOW), []);
        let probe_at = dispatcher.poll_wakeup().expect("a probe");
        let probes = started(&mut dispatcher, probe_at);
        assert!(matches!(probes.as_slice(), [Launch { trial: Trial::Probe, .. }]));
        end(&mut dispatcher, &probes[0], Signal::Well, probe_at);
        assert_eq!(started(&mut dispatcher, probe_at).len(), 1);
    }
}
