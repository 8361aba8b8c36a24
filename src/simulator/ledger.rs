//! The count of every request answered, and the last refusals with their exact reasons, so that a failing test can
//! say why. The reason here may say more than the caller was told.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::locked;

/// A group of addresses: what faults are set on, and what is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// The LTI 1.1 outcome service.
    Lti11,
    /// The LTI 1.3 token endpoint.
    Token,
    /// Line item containers, line items and results.
    Lineitems,
    /// AGS scores.
    Scores,
    /// The delegated POST.
    Delegated,
}

impl Route {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Lti11, Self::Token, Self::Lineitems, Self::Scores, Self::Delegated];
}

/// How many requests of a route ended how. Each request is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteCounts {
    /// Found good.
    pub accepted: u64,
    /// Found wanting; the reason is among the refusals.
    pub refused: u64,
    /// Answered or cut by a fault that was switched on (a delay alone is not counted here).
    pub faulted: u64,
}

impl RouteCounts {
    /// All requests of the route.
    pub fn total(&self) -> u64 {
        self.accepted + self.refused + self.faulted
    }
}

/// One request that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// The route; `None` for an address that does not exist, and for the control calls.
    pub route: Option<Route>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The HTTP status that it got.
    pub status: u16,
    /// What exactly was wrong.
    pub reason: String,
}

/// How a request ended, for the count.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    Accepted,
    Refused,
    Faulted,
}

pub(super) struct Ledger {
    counts: [[AtomicU64; 3]; 5],
    refusals: Mutex<VecDeque<Refusal>>,
    refusals_max: usize,
}

impl Ledger {
    pub(super) fn new(refusals_max: usize) -> Self {
        Self { counts: Default::default(), refusals: Mutex::default(), refusals_max }
    }

    pub(super) fn count(&self, route: Route, ending: Ending) {
        self.counts[route as usize][ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note(&self, refusal: Refusal) {
        let mut refusals = locked(&self.refusals);
        while refusals.len() >= self.refusals_max.max(1) {
            refusals.pop_front();
        }
        refusals.push_back(refusal);
    }

    pub(super) fn counts(&self, route: Route) -> RouteCounts {
        let [accepted, refused, faulted] = &self.counts[route as usize];
        RouteCounts {
            accepted: accepted.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            faulted: faulted.load(Ordering::Relaxed),
        }
    }

    /// The last refusals, oldest first.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        locked(&self.refusals).iter().cloned().collect()
    }
}
