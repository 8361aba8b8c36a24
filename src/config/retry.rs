//! `[retry]`: when a failed attempt is made again, and when a job is given up.

use std::time::Duration;

use serde::Deserialize;

use super::{Flaw, duration, must};
use crate::domain::retry::{Permanent, RetryPolicy};

/// The schedule: the k-th retry waits `initial` × `multiplier`^(k−1), at most `max`, more or less by `jitter`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Retries after the first attempt, from 0 to 90. Default `5`.
    pub max_retries: u32,
    /// The wait before the first retry. A span of time. Default `"30s"`.
    #[serde(deserialize_with = "duration::read")]
    pub initial: Duration,
    /// How much longer each wait is than the one before, at least 1. Default `4.0`.
    pub multiplier: f64,
    /// The longest wait, and the most that `Retry-After` is obeyed. A span of time. Default `"6h"`.
    #[serde(deserialize_with = "duration::read")]
    pub max: Duration,
    /// The part of each wait by which chance makes it shorter or longer, from 0 to 1. Default `0.2`.
    pub jitter: f64,
    /// What to do with an answer that looks permanent: `"retry"` it all the same, or `"flag"` at once. Default `"retry"`.
    pub permanent: PermanentConfig,
    /// How long a failing platform may be held before its jobs are tried, and flagged, all the same. A span of time.
    /// Default `"72h"`.
    #[serde(deserialize_with = "duration::read")]
    pub hold: Duration,
}

/// What to do with an answer that looks permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PermanentConfig {
    /// Platforms are wrong in their answers: try it as often as any other.
    Retry,
    /// Flag at once what no retry can mend.
    Flag,
}

impl Default for RetryConfig {
    fn default() -> Self {
        let RetryPolicy { max_retries, initial, multiplier, max, jitter, permanent, hold } = RetryPolicy::default();
        let permanent = match permanent {
            Permanent::Retry => PermanentConfig::Retry,
            Permanent::Flag => PermanentConfig::Flag,
        };
        Self { max_retries, initial, multiplier, max, jitter, permanent, hold }
    }
}

/// A job's history shows a hundred attempts, and a set of retries should fit into it.
const RETRIES_MAX: u32 = 90;
/// Beyond this every wait is `max` from the second retry on.
const MULTIPLIER_MAX: f64 = 1_000_000.0;

impl RetryConfig {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        must(self.max_retries <= RETRIES_MAX, "retry.max_retries", "must be from 0 to 90")?;
        must(!self.initial.is_zero(), "retry.initial", "must be more than 0s")?;
        must(!self.max.is_zero(), "retry.max", "must be more than 0s")?;
        let rises = (1.0..=MULTIPLIER_MAX).contains(&self.multiplier);
        must(rises, "retry.multiplier", "must be at least 1: a wait is never shorter than the one before")?;
        must((0.0..=1.0).contains(&self.jitter), "retry.jitter", "must be from 0 to 1")
    }

    /// As the domain knows it.
    pub fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            max_retries: self.max_retries,
            initial: self.initial,
            multiplier: self.multiplier,
            max: self.max,
            jitter: self.jitter,
            permanent: match self.permanent {
                PermanentConfig::Retry => Permanent::Retry,
                PermanentConfig::Flag => Permanent::Flag,
            },
            hold: self.hold,
        }
    }
}
