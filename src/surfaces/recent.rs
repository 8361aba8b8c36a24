//! The last hour, minute by minute: how many attempts of each platform ended well and how many failed. In memory, of a
//! bounded size, and gone with the process: the counters of `/metrics` are what lasts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use crate::{
    config::names::Labels,
    domain::{notice::Notice, outcome::AttemptOutcome, time::Timestamp},
    ports::{Clock, Observer},
};

/// Minutes that are remembered.
pub const MINUTES: usize = 60;

/// Platforms that have their own numbers; those that are met later share [`OTHER`].
const PLATFORMS_MAX: usize = 200;
const OTHER: &str = "other";

/// Remembers the attempts of the last hour.
pub struct Recent {
    labels: Arc<Labels>,
    clock: Arc<dyn Clock>,
    /// Since when it counts: the start.
    since: Timestamp,
    platforms: Mutex<BTreeMap<Arc<str>, [Minute; MINUTES]>>,
}

/// One minute, counted from 1970.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    at: i64,
    delivered: u32,
    failed: u32,
}

/// A platform's last hour, the oldest minute first and the present one last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// The platform.
    name: Arc<str>,
    /// Attempts that ended with the grade there, or a newer one.
    delivered: Vec<u32>,
    /// Attempts that failed.
    failed: Vec<u32>,
}

impl Recent {
    /// Knows of no attempt yet.
    pub fn new(labels: Arc<Labels>, clock: Arc<dyn Clock>) -> Self {
        let since = clock.now();
        Self { labels, clock, since, platforms: Mutex::default() }
    }

    /// Since when attempts are counted: a start less than an hour ago leaves less than an hour to tell of.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The last hour of each platform that had an attempt since the start.
    pub fn hours(&self) -> Vec<Hour> {
        let now = minute(self.clock.now());
        let platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        platforms.iter().map(|(name, minutes)| hour(name, minutes, now)).collect()
    }

    fn count(&self, name: Arc<str>, is_failed: bool) {
        let now = minute(self.clock.now());
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if platforms.len() < PLATFORMS_MAX || platforms.contains_key(&name) { name } else { OTHER.into() };
        let minutes = platforms.entry(name).or_insert([Minute::default(); MINUTES]);
        let here = &mut minutes[slot(now)];
        if here.at != now {
            *here = Minute { at: now, ..Minute::default() };
        }
        let counter = if is_failed { &mut here.failed } else { &mut here.delivered };
        *counter = counter.saturating_add(1);
    }
}

impl Observer for Recent {
    fn observe(&self, notice: &Notice) {
        if let Notice::AttemptEnded { about, outcome, .. } = notice {
            self.count(self.labels.label(&about.origin), matches!(outcome, AttemptOutcome::Failed(_)));
        }
    }
}

fn hour(name: &Arc<str>, minutes: &[Minute; MINUTES], now: i64) -> Hour {
    let first = now + 1 - i64::try_from(MINUTES).unwrap_or(i64::MAX);
    let seen = (first..=now).map(|at| Some(minutes[slot(at)]).filter(|minute| minute.at == at).unwrap_or_default());
    let (delivered, failed) = seen.map(|minute| (minute.delivered, minute.failed)).unzip();
    Hour { name: Arc::clone(name), delivered, failed }
}

fn minute(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(60_000_000)
}

fn slot(minute: i64) -> usize {
    let minutes = i64::try_from(MINUTES).unwrap_or(i64::MAX);
    usize::try_from(minute.rem_euclid(minutes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::names::PlatformNames, domain::time::Draw};

    /// A clock that is set by hand.
    #[derive(Default)]
    struct Hands(Mutex<Timestamp>);

    impl Hands {
        fn set(&self, minutes: i64) {
            *self.0.lock().expect("a clock") = Timestamp::from_secs(minutes * 60 + 7);
        }
    }

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            *self.0.lock().expect("a clock")
        }

        fn draw(&self) -> Draw {
            Draw::MIDDLE
        }

        fn luck(&self) -> u128 {
            0
        }
    }

    fn recent() -> (Arc<Hands>, Recent) {
        let clock = Arc::new(Hands::default());
        let labels = Arc::new(Labels::new(PlatformNames::new(&[])));
        (Arc::clone(&clock), Recent::new(labels, clock))
    }

    #[test]
    fn an_hour_is_seen_minute_by_minute_and_then_forgotten() {
        let (clock, recent) = recent();
        let add = |is_failed| recent.count("campus".into(), is_failed);
        clock.set(1_000);
        add(false);
        add(true);
        clock.set(1_059);
        add(false);
        let sums = || {
            let [hour] = &recent.hours()[..] else { panic!("one platform") };
            assert_eq!((hour.delivered.len(), hour.failed.len()), (MINUTES, MINUTES));
            let ends = (hour.delivered[0], hour.delivered[MINUTES - 1]);
            (ends, hour.delivered.iter().sum::<u32>(), hour.failed.iter().sum::<u32>())
        };
        assert_eq!(sums(), ((1, 1), 2, 1));
        clock.set(1_060);
        assert_eq!(sums(), ((0, 0), 1, 0), "the first minute is an hour ago");
        add(true);
        assert_eq!(sums(), ((0, 0), 1, 1), "its place is taken anew");
        clock.set(5_000);
        assert_eq!(sums(), ((0, 0), 0, 0));
        assert_eq!(recent.since(), Timestamp::default(), "the start stays, whatever the hour");
    }

    #[test]
    fn platforms_without_number_take_no_memory_without_end() {
        let (clock, recent) = recent();
        clock.set(1_000);
        for host in 0..3 * PLATFORMS_MAX {
            recent.count(format!("host-{host}").into(), false);
        }
        let hours = recent.hours();
        assert_eq!(hours.len(), PLATFORMS_MAX + 1);
        let other = hours.iter().find(|hour| &*hour.name == OTHER).expect("the others");
        assert_eq!(usize::try_from(other.delivered[MINUTES - 1]).expect("a few"), 2 * PLATFORMS_MAX);
    }
}
