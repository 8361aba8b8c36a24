//! A limit on how many requests are taken within ten seconds, counted over all that come. What is said to those beyond
//! it is a matter of the platform's manners.
//!
//! A request that is turned away is not counted, so whoever waits gets through. (Canvas has a bucket that leaks, for
//! each client; to a sender the two look alike.)

use std::collections::VecDeque;
use std::sync::Mutex;

use super::locked;

/// How far back requests are counted.
const WINDOW_MS: i64 = 10_000;

pub(super) struct Rate {
    max: Option<usize>,
    /// When those within the window were taken, oldest first; never more than `max`.
    taken_ms: Mutex<VecDeque<i64>>,
}

/// What a request is told of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing is counted.
    Unlimited,
    /// So many more are taken at once.
    Left(usize),
    /// It is one too many.
    Full,
}

impl Rate {
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max, taken_ms: Mutex::default() }
    }

    /// A request came at this moment.
    pub(super) fn take(&self, now_ms: i64) -> Room {
        let Some(max) = self.max else { return Room::Unlimited };
        let mut taken = locked(&self.taken_ms);
        while taken.front().is_some_and(|at_ms| now_ms - at_ms >= WINDOW_MS) {
            taken.pop_front();
        }
        if taken.len() >= max {
            return Room::Full;
        }
        taken.push_back(now_ms);
        Room::Left(max - taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_taken_in_ten_seconds_and_no_more() {
        let rate = Rate::new(Some(2));
        let rooms = [0, 1, 2, 9_999, 10_000, 10_000, 10_001].map(|now_ms| rate.take(now_ms));
        let (left, full) = (Room::Left, Room::Full);
        assert_eq!(rooms, [left(1), left(0), full, full, left(0), full, left(0)]);
        assert_eq!(Rate::new(None).take(0), Room::Unlimited);
        assert_eq!(Rate::new(Some(0)).take(0), Room::Full);
    }
}
