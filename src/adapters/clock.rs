//! The clock of the machine, and real chance: the only file where either enters.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    domain::time::{Draw, Timestamp},
    ports::Clock,
};

/// The time of day and the generator of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]
    fn now(&self) -> Timestamp {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one file that draws")]
    fn draw(&self) -> Draw {
        Draw::new(rand::random())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one file that draws")]
    fn luck(&self) -> u128 {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_of_this_century_and_luck_does_not_repeat() {
        let now = SystemClock.now();
        assert!(now > Timestamp::parse("2025-01-01T00:00:00Z").expect("a time"));
        assert!(now < Timestamp::parse("2100-01-01T00:00:00Z").expect("a time"));
        assert_ne!(SystemClock.luck(), SystemClock.luck());
        let factor = SystemClock.draw().factor(0.2);
        assert!((0.8..=1.2).contains(&factor), "{factor}");
    }
}
