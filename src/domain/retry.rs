//! The retry policy: how long to wait after a failure, and when to give up.
//!
//! The interval arithmetic is that of the `backoff` crate, with its own jitter switched off: chance comes in as a
//! [`Draw`], so that a schedule can be computed and checked.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

use super::{
    outcome::{FailureReason, RetryAfter},
    time::{Draw, Timestamp},
};

/// What to do with an answer that no retry is likely to mend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permanent {
    /// Retry all the same: platforms are wrong in their answers.
    #[default]
    Retry,
    /// Flag at once.
    Flag,
}

/// `[retry]`: first attempt at once, then `max_retries` more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// The wait before the first retry.
    pub initial: Duration,
    /// How much longer each wait is than the one before.
    pub multiplier: f64,
    /// The longest wait, before the jitter, and the most that `Retry-After` is obeyed.
    pub max: Duration,
    /// The part of a wait, from 0 to 1, by which chance makes it shorter or longer.
    pub jitter: f64,
    /// What to do with an answer that looks permanent.
    pub permanent: Permanent,
    /// How long a platform may be held before its jobs are tried, and flagged, all the same.
    pub hold: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 5,
            initial: Duration::from_secs(30),
            multiplier: 4.0,
            max: Duration::from_secs(6 * 3600),
            jitter: 0.2,
            permanent: Permanent::Retry,
            hold: Duration::from_secs(72 * 3600),
        }
    }
}

/// The longest distance between two probes of a held platform.
const PROBE_MAX: Duration = Duration::from_secs(5 * 60);

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Give up and flag.
    Flag,
}

impl RetryPolicy {
    /// The wait before the `k`-th retry (from 1): `min(initial × multiplier^(k−1), max)`, without jitter.
    pub fn interval(&self, k: u32) -> Duration {
        self.steps(k, self.max)
    }

    /// The wait before the `k`-th probe (from 1) of a held platform.
    pub fn probe_interval(&self, k: u32) -> Duration {
        self.steps(k, self.max.min(PROBE_MAX))
    }

    fn steps(&self, k: u32, max: Duration) -> Duration {
        let mut schedule: ExponentialBackoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.initial.min(max))
            .with_multiplier(self.multiplier)
            .with_max_interval(max)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        let mut interval = schedule.next_backoff().unwrap_or(max);
        for _ in 1..k {
            let next = schedule.next_backoff().unwrap_or(max);
            // It grows no more: at the longest wait, or with a multiplier of 1. `k` counts the probes of a long hold too.
            if next == interval {
                break;
            }
            interval = next;
        }
        interval
    }

    /// The wait before the `k`-th retry, with jitter.
    pub fn jittered(&self, k: u32, draw: Draw) -> Duration {
        self.interval(k).mul_f64(draw.factor(self.jitter).max(0.0))
    }

    /// What follows the `tries`-th attempt (from 1) of a set, which failed for `reason` at `now`.
    pub fn decide(
        &self,
        tries: u32,
        reason: FailureReason,
        retry_after: Option<RetryAfter>,
        now: Timestamp,
        draw: Draw,
    ) -> Decision {
        let at_once = self.permanent == Permanent::Flag && reason.looks_permanent();
        if at_once || reason.is_known_before_sending() || tries > self.max_retries {
            return Decision::Flag;
        }
        let scheduled = now + self.jittered(tries, draw);
        let asked = retry_after.and_then(|asked| asked.moment(now)).map(|moment| moment.min(now + self.max));
        Decision::RetryAt(asked.map_or(scheduled, |asked| asked.max(scheduled)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    #[test]
    fn the_readme_says_how_long_it_takes_until_a_job_is_flagged() {
        let policy = RetryPolicy::default();
        let waits: Duration = (1..=policy.max_retries).map(|k| policy.interval(k)).sum();
        let minutes = waits.as_secs() / 60;
        let said = format!("({} h {} min, ± {:.0} %)", minutes / 60, minutes % 60, policy.jitter * 100.0);
        assert!(include_str!("../../README.md").contains(&said), "{said}");
    }

    #[test]
    fn the_default_schedule_is_that_of_the_contract() {
        let policy = RetryPolicy::default();
        let seconds: Vec<u64> = (1..=8).map(|k| policy.interval(k).as_secs()).collect();
        assert_eq!(seconds, [30, 120, 480, 1_920, 7_680, 21_600, 21_600, 21_600]);
        let probes: Vec<u64> = (1..=4).map(|k| policy.probe_interval(k).as_secs()).collect();
        assert_eq!(probes, [30, 120, 300, 300]);
        assert_eq!(RetryPolicy { multiplier: 1.0, ..policy }.interval(5).as_secs(), 30);
        assert_eq!(RetryPolicy { multiplier: 1.0, ..policy }.probe_interval(u32::MAX).as_secs(), 30);
        assert_eq!(RetryPolicy { initial: Duration::from_secs(99_999), ..policy }.interval(1).as_secs(), 21_600);
    }

    #[test]
    fn jitter_is_a_factor_around_one() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.jittered(1, Draw::new(0.0)), Duration::from_secs(24));
        assert_eq!(policy.jittered(1, Draw::MIDDLE), Duration::from_secs(30));
        assert!(policy.jittered(1, Draw::new(1.0)) <= Duration::from_secs(36));
    }

    #[test]
    fn retry_after_never_shortens_a_wait_and_never_exceeds_the_maximum() {
        let check = |asked: RetryAfter, seconds: u64| {
            let decision = RetryPolicy::default().decide(1, FailureReason::ServerError, Some(asked), NOW, Draw::MIDDLE);
            assert_eq!(decision, Decision::RetryAt(NOW + Duration::from_secs(seconds)), "{asked:?}");
        };
        check(RetryAfter::Seconds(0), 30);
        check(RetryAfter::Seconds(300), 300);
        check(RetryAfter::Seconds(u64::MAX), 21_600);
        check(RetryAfter::At(Timestamp::from_secs(1)), 30);
        check(RetryAfter::At(NOW + Duration::from_secs(90)), 90);
    }

    #[test]
    fn five_retries_and_then_the_flag() {
        let policy = RetryPolicy::default();
        let decide = |tries, reason| policy.decide(tries, reason, None, NOW, Draw::MIDDLE);
        assert!((1..=5).all(|tries| decide(tries, FailureReason::Rejected) != Decision::Flag));
        assert_eq!(decide(6, FailureReason::Rejected), Decision::Flag);
        assert_eq!(decide(1, FailureReason::UnknownKey), Decision::Flag);
        let strict = RetryPolicy { permanent: Permanent::Flag, ..policy };
        for reason in FailureReason::ALL {
            let flagged = strict.decide(1, reason, None, NOW, Draw::MIDDLE) == Decision::Flag;
            assert_eq!(flagged, reason.looks_permanent() || reason.is_known_before_sending(), "{reason:?}");
        }
    }
}
