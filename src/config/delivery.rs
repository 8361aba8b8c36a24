//! `[delivery]`: how much goes on at once, and how long an attempt may take.

use std::time::Duration;

use serde::Deserialize;

use super::{Flaw, duration, must};

/// Attempts and their limits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Attempts under way in all, from 1 to 10000. Default `256`.
    pub concurrency: usize,
    /// Attempts under way to one platform, from 1. One sick platform takes no more than this. Default `16`.
    pub per_platform: usize,
    /// The time that one request to a platform has, its whole reply included; an attempt of several requests has at most
    /// five times as much. A span of time. Default `"30s"`.
    #[serde(deserialize_with = "duration::read")]
    pub timeout: Duration,
    /// The time that attempts under way have to end after SIGTERM. A span of time. Default `"25s"`.
    #[serde(deserialize_with = "duration::read")]
    pub drain: Duration,
    /// Whether a newer grade takes the place of older queued ones of its cell (LTI 1.1 and AGS). With `false` each is
    /// delivered, oldest first. Default `true`.
    pub supersede: bool,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            concurrency: 256,
            per_platform: 16,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(25),
            supersede: true,
        }
    }
}

/// More would need more memory and open files than the worker promises to do with.
const CONCURRENCY_MAX: usize = 10_000;

impl DeliveryConfig {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        let fits = (1..=CONCURRENCY_MAX).contains(&self.concurrency);
        must(fits, "delivery.concurrency", "must be from 1 to 10000")?;
        must(self.per_platform > 0, "delivery.per_platform", "must be at least 1; to hold a platform, pause it")?;
        must(!self.timeout.is_zero(), "delivery.timeout", "must be more than 0s")
    }
}
