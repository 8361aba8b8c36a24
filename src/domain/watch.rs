//! The watch over the time of day: was it set back?
//!
//! Due times are times of day, so that a schedule holds over restarts, and a time of day can be set. Forward it looks
//! like a machine that was suspended, and what has become due meanwhile is due. Back, everything that waits would wait
//! so much longer: whoever asks this watch learns of it, and by how much.

use std::time::Duration;

use super::time::Timestamp;

/// Compares the time of day with a clock that only goes forward.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    seen: Timestamp,
    steady: Duration,
}

/// A smaller step changes no schedule that anybody would notice, and clocks are corrected by such steps all the time.
pub const STEP_MIN: Duration = Duration::from_secs(5);

impl Watch {
    /// A watch that begins at `now`. `steady` counts from any beginning, and is never set.
    pub fn new(now: Timestamp, steady: Duration) -> Self {
        Self { seen: now, steady }
    }

    /// By how much the time of day was set back since the last look, small steps together.
    pub fn handle_look(&mut self, now: Timestamp, steady: Duration) -> Option<Duration> {
        let expected = self.seen + steady.saturating_sub(self.steady);
        let behind = expected.since(now);
        if behind > Duration::ZERO && behind < STEP_MIN {
            // It stays on the account, until it is enough or the clock has caught up.
            return None;
        }
        *self = Self::new(now, steady);
        (behind >= STEP_MIN).then_some(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_told_once_and_small_ones_together() {
        let start = Timestamp::from_secs(1_000_000);
        let mut watch = Watch::new(start, Duration::ZERO);
        // The steady clock in seconds, how far the time of day is off by then, and what is told.
        for (steady, off, told) in [
            (1, 0, None),
            (10, 0, None),
            (11, -3_600, Some(3_600)),
            (12, -3_600, None),
            (13, -3_602, None),
            (500, -3_604, None),
            (501, -3_605, Some(5)),
            (502, -3_607, None),
            (503, -3_605, None),
            (504, 90_000, None),
            (505, 90_000, None),
            (506, 0, Some(90_000)),
        ] {
            let steady = Duration::from_secs(steady);
            let now = Timestamp::from_micros((start + steady).as_micros() + off * 1_000_000);
            assert_eq!(watch.handle_look(now, steady), told.map(Duration::from_secs), "at {steady:?}");
        }
    }
}
