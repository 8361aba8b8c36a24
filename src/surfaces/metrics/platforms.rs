//! The series of each platform, under its public name: a configured one always its own, the hosts of others up to a
//! hundred of them, then `other`. A platform is looked up once per notice; its counters are at hand from then on.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::{Families, outcome_names};
use crate::{
    config::names::Labels,
    domain::{
        destination::{Delivery, Origin},
        notice::PlatformState,
        outcome::{AttemptOutcome, FailureReason},
    },
};

/// Hosts without a configured name that have series of their own.
const HOSTS_MAX: usize = 100;
/// The name of all others.
const OTHER: &str = "other";
/// Origins whose series are at hand; for any others the name is looked up each time.
const ORIGINS_MAX: usize = 10_000;

/// The platforms that were met so far.
pub(super) struct Platforms {
    labels: Arc<Labels>,
    by_origin: RwLock<HashMap<Origin, Arc<Series>>>,
    by_name: Mutex<ByName>,
    /// The origins that are not open.
    unwell: Mutex<HashMap<Origin, PlatformState>>,
}

#[derive(Default)]
struct ByName {
    series: HashMap<Arc<str>, Arc<Series>>,
    configured: HashSet<Arc<str>>,
    /// Names in `series` that were never configured.
    hosts: usize,
}

impl Platforms {
    /// The configured platforms, at 0.
    pub(super) fn new(labels: Arc<Labels>, families: &Families) -> Self {
        let platforms =
            Self { labels, by_origin: RwLock::default(), by_name: Mutex::default(), unwell: Mutex::default() };
        platforms.reload(families);
        platforms
    }

    /// Goes by the names that the labels have now.
    pub(super) fn reload(&self, families: &Families) {
        let configured: HashSet<Arc<str>> = self.labels.names().configured().cloned().collect();
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &configured {
            let series = by_name.series.entry(name.clone()).or_insert_with(|| Arc::new(Series::new(name, families)));
            series.begin(families);
        }
        by_name.configured = configured;
        drop(by_name);
        self.by_origin.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.show_states(families);
    }

    /// A platform may go by another name from now on.
    pub(super) fn meet(&self, origin: &Origin, families: &Families) {
        self.by_origin.write().unwrap_or_else(PoisonError::into_inner).remove(origin);
        self.at(origin, families);
    }

    /// A platform is in this state now.
    pub(super) fn stands(&self, origin: &Origin, state: PlatformState, families: &Families) {
        let mut unwell = self.unwell.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            PlatformState::Open => unwell.remove(origin),
            PlatformState::Held | PlatformState::Paused => unwell.insert(origin.clone(), state),
        };
        drop(unwell);
        self.at(origin, families);
        self.show_states(families);
    }

    /// Shows the state of every name. Where several origins share one, the worst of them shows.
    fn show_states(&self, families: &Families) {
        let mut worst: HashMap<Arc<str>, PlatformState> = HashMap::new();
        let unwell = self.unwell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (origin, state) in unwell {
            let shown = worst.entry(self.at(&origin, families).series.name.clone()).or_insert(state);
            if state == PlatformState::Paused {
                *shown = state;
            }
        }
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in &by_name.series {
            series.show(worst.get(name).copied().unwrap_or(PlatformState::Open));
        }
    }

    /// The series of a platform, with what it takes to make those that are missing.
    pub(super) fn at<'a>(&self, origin: &Origin, families: &'a Families) -> Here<'a> {
        if let Some(series) = self.by_origin.read().unwrap_or_else(PoisonError::into_inner).get(origin) {
            return Here { series: series.clone(), families };
        }
        let series = self.named(self.labels.label(origin), families);
        let mut by_origin = self.by_origin.write().unwrap_or_else(PoisonError::into_inner);
        if by_origin.len() < ORIGINS_MAX {
            by_origin.insert(origin.clone(), series.clone());
        }
        Here { series, families }
    }

    fn named(&self, name: Arc<str>, families: &Families) -> Arc<Series> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = by_name.series.get(&name) {
            return series.clone();
        }
        let has_room = by_name.configured.contains(&name) || by_name.hosts < HOSTS_MAX;
        let name = if has_room { name } else { OTHER.into() };
        if !by_name.series.contains_key(&name) {
            by_name.hosts += 1;
        }
        by_name.series.entry(name.clone()).or_insert_with(|| Arc::new(Series::new(&name, families))).clone()
    }
}

/// The series of one platform, about to be counted up.
pub(super) struct Here<'a> {
    series: Arc<Series>,
    families: &'a Families,
}

impl Here<'_> {
    /// An attempt ended.
    pub(super) fn attempt(&self, delivery: Delivery, outcome: AttemptOutcome, duration: Duration) {
        let series = self.series.delivery(delivery, self.families);
        let index = match outcome {
            AttemptOutcome::Delivered => 0,
            AttemptOutcome::Superseded => 1,
            AttemptOutcome::Failed(reason) => 2 + reason as usize,
        };
        series.attempts[index].inc();
        series.duration.observe(duration.as_secs_f64());
    }

    /// A job was given up.
    pub(super) fn flagged(&self, delivery: Delivery, reason: FailureReason) {
        self.series.delivery(delivery, self.families).flagged[reason as usize].inc();
    }

    /// A token was asked for.
    pub(super) fn token(&self, failure: Option<FailureReason>) {
        self.series.tokens(self.families)[failure.map_or(0, |reason| 1 + reason as usize)].inc();
    }
}

/// The series under one name. Those of a delivery that the platform never saw, and of tokens that it never gave, are
/// not made for a host: they would be half of all series.
struct Series {
    name: Arc<str>,
    deliveries: [OnceLock<DeliverySeries>; Delivery::ALL.len()],
    tokens: OnceLock<Vec<IntCounter>>,
    state: [IntGauge; PlatformState::ALL.len()],
}

struct DeliverySeries {
    /// Delivered, superseded, then by reason.
    attempts: Vec<IntCounter>,
    duration: Histogram,
    /// By reason.
    flagged: Vec<IntCounter>,
}

impl Series {
    fn new(name: &Arc<str>, families: &Families) -> Self {
        let state = PlatformState::ALL.map(|state| families.platform_state.with_label_values(&[name, state.name()]));
        let series = Self { name: name.clone(), deliveries: Default::default(), tokens: OnceLock::new(), state };
        series.show(PlatformState::Open);
        series
    }

    /// Makes all series, at 0.
    fn begin(&self, families: &Families) {
        for delivery in Delivery::ALL {
            self.delivery(delivery, families);
        }
        self.tokens(families);
    }

    fn delivery(&self, delivery: Delivery, families: &Families) -> &DeliverySeries {
        self.deliveries[delivery as usize].get_or_init(|| DeliverySeries::new(&self.name, delivery, families))
    }

    fn tokens(&self, families: &Families) -> &[IntCounter] {
        self.tokens.get_or_init(|| {
            let counter = |outcome| families.token_requests_total.with_label_values(&[&*self.name, outcome]);
            outcome_names(["granted"]).into_iter().map(counter).collect()
        })
    }

    fn show(&self, shown: PlatformState) {
        for (gauge, state) in self.state.iter().zip(PlatformState::ALL) {
            gauge.set(i64::from(state == shown));
        }
    }
}

impl DeliverySeries {
    fn new(platform: &str, delivery: Delivery, families: &Families) -> Self {
        let attempt = |outcome| families.attempts_total.with_label_values(&[delivery.name(), platform, outcome]);
        let flagged = |reason| families.flagged_total.with_label_values(&[delivery.name(), platform, reason]);
        Self {
            attempts: outcome_names(["delivered", "superseded"]).into_iter().map(attempt).collect(),
            duration: families.attempt_duration_seconds.with_label_values(&[delivery.name(), platform]),
            flagged: outcome_names([]).into_iter().map(flagged).collect(),
        }
    }
}
