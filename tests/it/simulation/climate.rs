//! The climate: what the seed makes of a universe. Which platforms and cells there are, what is sent and when, which
//! faults are on and how strong, and how the worker is configured. Many faults are off in any one climate, so that
//! those that are on are seen plainly.

use std::time::Duration;

use passback::{
    adapters::store::Thresholds,
    domain::{
        dispatch::Limits,
        ledger::{Outcomes, Rules},
        retry::{Permanent, RetryPolicy},
    },
};

use super::{
    boundary::Boundary,
    mood::Mood,
    plan::{self, Cell, PlannedEvent},
    platform::{Flavour, Kind, NotNewerWords},
    world::Chance,
};

/// Everything that the seed decides before the first event.
pub(super) struct Climate {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    /// The most that one request may take.
    pub(super) timeout: Duration,
    pub(super) drain: Duration,
    pub(super) retain: Duration,
    pub(super) sweep_every: Duration,
    pub(super) thresholds: Thresholds,
    /// Entries that the dispatcher asks for at once.
    pub(super) window: usize,
    pub(super) prefetch: usize,
    /// How long the faults last.
    pub(super) storm: Duration,
    /// When most of the events are sent; admins and moods come with them.
    pub(super) waves: Vec<Duration>,
    pub(super) platforms: Vec<(Kind, Flavour)>,
    pub(super) cells: Vec<Cell>,
    pub(super) events: Vec<PlannedEvent>,
    pub(super) faults: Faults,
    pub(super) commit_takes: Duration,
}

/// How strong the faults are.
pub(super) struct Faults {
    /// At which boundaries the worker may die, and how often of each passing.
    pub(super) boundaries: Vec<Boundary>,
    pub(super) crash: f64,
    pub(super) crashes_max: u32,
    /// Of the crashes, so many are power cuts.
    pub(super) power: f64,
    /// Of the power cuts, so many keep a part of what was pending.
    pub(super) torn: f64,
    pub(super) stop_every: Option<Duration>,
    pub(super) connection_lost_every: Option<Duration>,
    pub(super) ack_lost: f64,
    pub(super) reorders: f64,
    pub(super) disk_trouble_every: Option<Duration>,
    /// Somebody restarts a worker whose store has failed; else it mends itself.
    pub(super) restarts: bool,
    pub(super) clock_jump_every: Option<Duration>,
    pub(super) clocks: Clocks,
    pub(super) admin_every: Option<Duration>,
    /// A platform's mood changes so often, to one of these.
    pub(super) mood_every: Duration,
    pub(super) moods: Vec<Mood>,
    /// A mood strikes so many of the requests.
    pub(super) strength: f64,
    /// The secrets and registrations are not all configured until this part of the storm.
    pub(super) keys_missing_until: f64,
}

/// Clocks that go wrong, and are set right again: both ways, so one of the two sets them back.
#[derive(Default)]
pub(super) struct Clocks {
    pub(super) wrong_every: Option<Duration>,
    /// By how many seconds.
    pub(super) steps: &'static [i64],
    /// The platforms' clocks go with the worker's; else they soon refuse whatever it signs.
    pub(super) agree: bool,
}

impl Clocks {
    fn of(chance: &mut Chance, storm: Duration) -> Self {
        if !chance.hits(0.3) {
            return Self::default();
        }
        let times = u32::try_from(chance.between(1, 6)).expect("small");
        Self {
            wrong_every: Some(storm / times),
            steps: chance.one_of(&[&[2, 3, 4][..], &[7, 60], &[600, 3600], &[2, 7, 60, 600, 3600, 6 * 3600]]),
            agree: chance.hits(0.7),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Climate {
    pub(super) fn of(chance: &mut Chance, clocks: &mut Chance) -> Self {
        let storm = chance.span(3 * MINUTE, 48 * HOUR);
        let rules = rules(chance, storm);
        let platforms: Vec<_> = (0..chance.between(2, 4)).map(|_| platform(chance)).collect();
        let cells = plan::cells(chance, &platforms);
        let waves = plan::waves(chance, storm);
        let events = plan::events(chance, &platforms, &cells, &waves, storm);
        let mut climate = Self {
            limits: Limits {
                total: chance.one_of(&[1, 4, 16, 16]),
                per_platform: chance.one_of(&[1, 2, 4, 8]),
                retry: rules.retry,
            },
            rules,
            timeout: chance.one_of(&[5, 30, 60]) * SECOND,
            drain: chance.one_of(&[1, 25, 90]) * SECOND,
            retain: if chance.hits(0.5) { 30 * 24 * HOUR } else { chance.span(MINUTE, storm) },
            sweep_every: storm / u32::try_from(chance.between(3, 20)).expect("small"),
            thresholds: thresholds(chance),
            window: chance.one_of(&[1, 2, 3, 512]),
            prefetch: chance.one_of(&[1, 4, 32]),
            storm,
            waves,
            platforms,
            cells,
            events,
            faults: Faults { clocks: Clocks::of(clocks, storm), ..Faults::of(chance, storm) },
            commit_takes: chance.span(SECOND / 1000, SECOND / 10),
        };
        // Drawn last and apart, so that all else in a seed is what it was before ends were published.
        climate.rules.outcomes = if clocks.hits(0.5) { Outcomes::Noted } else { Outcomes::Dropped };
        climate
    }

    /// In this time after the storm everything must have come to an end: each job may have all of its retries before it,
    /// and its platform a rest or the rest of a hold.
    pub(super) fn patience(&self) -> Duration {
        let retry = &self.rules.retry;
        let waits = retry.max.mul_f64(1.0 + retry.jitter) * (retry.max_retries + 2);
        let behind_each_other = u32::try_from(self.events.len()).expect("some dozens");
        // A timestamp from when the clock was ahead must come to pass.
        let ahead = if self.faults.clocks.wrong_every.is_some() { 100 * HOUR } else { Duration::ZERO };
        24 * HOUR + ahead + retry.hold + waits * behind_each_other
    }
}

fn rules(chance: &mut Chance, storm: Duration) -> Rules {
    // The probes of a hold that lasts for the whole storm are to be some hundreds.
    let shortest = SECOND.max(storm / 400);
    let initial = chance.span(shortest, MINUTE.max(shortest));
    let retry = RetryPolicy {
        max_retries: u32::try_from(chance.between(0, 5)).expect("small"),
        initial,
        multiplier: chance.one_of(&[1.0, 2.0, 4.0]),
        max: chance.span(initial, (6 * HOUR).max(initial)),
        jitter: chance.one_of(&[0.0, 0.2, 0.5]),
        permanent: if chance.hits(0.25) { Permanent::Flag } else { Permanent::Retry },
        hold: chance.span(10 * MINUTE, 72 * HOUR),
    };
    Rules { retry, supersede: chance.hits(0.5), outcomes: Outcomes::Dropped }
}

fn thresholds(chance: &mut Chance) -> Thresholds {
    match chance.below(3) {
        0 => Thresholds::default(),
        1 => Thresholds { part_jobs: 2, young_jobs: 3, run_marks: 4 },
        _ => Thresholds { part_jobs: 4, young_jobs: 6, run_marks: 8 },
    }
}

fn platform(chance: &mut Chance) -> (Kind, Flavour) {
    let kind = chance.one_of(&[Kind::Lti11, Kind::Delegated, Kind::AgsKnown, Kind::AgsSought, Kind::AgsKnown]);
    let flavour = Flavour {
        canvas: chance.hits(0.5),
        not_newer: chance.one_of(&[
            Some(NotNewerWords::Status409),
            Some(NotNewerWords::Canvas),
            Some(NotNewerWords::OpenEdx),
            None,
        ]),
        page_items: chance.one_of(&[1, 2, 10]),
        token_life_secs: chance.one_of(&[20, 3600, 3600, 3600]),
        foreign: chance.hits(0.3),
    };
    (kind, flavour)
}

/// One, some or all of the moods.
fn moods(chance: &mut Chance) -> Vec<Mood> {
    let part = chance.one_of(&[0.0, 0.15, 0.4, 1.0]);
    let one = chance.one_of(&Mood::ALL);
    Mood::ALL.into_iter().filter(|mood| *mood == one || chance.hits(part)).collect()
}

impl Faults {
    fn of(chance: &mut Chance, storm: Duration) -> Self {
        let often = |chance: &mut Chance, part: f64, low: u64, high: u64| {
            let times = u32::try_from(chance.between(low, high)).expect("small");
            chance.hits(part).then(|| storm / times)
        };
        let boundaries = Boundary::ALL.into_iter().filter(|_| chance.hits(0.5)).collect();
        Self {
            boundaries,
            crash: chance.one_of(&[0.0, 0.01, 0.05, 0.2]),
            crashes_max: u32::try_from(chance.between(1, 8)).expect("small"),
            power: chance.one_of(&[0.0, 0.5, 1.0]),
            torn: chance.one_of(&[0.0, 0.3]),
            stop_every: often(chance, 0.3, 1, 4),
            connection_lost_every: often(chance, 0.4, 1, 6),
            ack_lost: chance.one_of(&[0.0, 0.0, 0.05]),
            reorders: chance.one_of(&[0.0, 0.1, 0.5]),
            disk_trouble_every: often(chance, 0.25, 1, 3),
            restarts: chance.hits(0.5),
            clock_jump_every: often(chance, 0.15, 1, 4),
            clocks: Clocks::default(),
            admin_every: often(chance, 0.7, 3, 30),
            mood_every: storm / u32::try_from(chance.between(2, 15)).expect("small"),
            moods: moods(chance),
            strength: chance.one_of(&[0.3, 0.7, 1.0, 1.0]),
            keys_missing_until: if chance.hits(0.2) { chance.unit() } else { 0.0 },
        }
    }
}
