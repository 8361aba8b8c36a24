//! Time and chance as plain values.
//!
//! Nothing in `domain` reads a clock or draws a number: whoever calls hands in a [`Timestamp`] and a
//! [`Draw`]. That is what lets a test run a night of retries in a millisecond, twice with the same result.

use std::{fmt, ops::Add, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
///
/// Written and read as RFC 3339 in UTC with milliseconds, which is what every LMS accepts for an AGS score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is no RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 time such as 2026-11-21T10:30:00Z")]
pub struct NotRfc3339;

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the epoch; saturates at the ends of time.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Milliseconds since the epoch, rounded down; 0 before it.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// Cut down to whole milliseconds, the precision that is sent to an LMS.
    #[must_use]
    pub const fn to_millis(self) -> Self {
        Self(self.0 - self.0.rem_euclid(1_000))
    }

    /// Reads an RFC 3339 time with any offset.
    pub fn parse(text: &str) -> Result<Self, NotRfc3339> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotRfc3339)?;
        let micros = moment.unix_timestamp_nanos().div_euclid(1_000);
        i64::try_from(micros).map(Self).map_err(|_| NotRfc3339)
    }

    /// So much earlier; saturates at the beginning of time.
    #[must_use]
    pub fn back(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000;
        let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .to_offset(UtcOffset::UTC);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second(),
            moment.millisecond(),
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Chance as a value: a number from 0 (included) to 1 (excluded).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw(f64);

impl Draw {
    /// The middle, which leaves an interval as it is.
    pub const MIDDLE: Self = Self(0.5);

    /// Clamps `value` into the range of a draw.
    pub fn new(value: f64) -> Self {
        Self(if value.is_finite() { value.clamp(0.0, 1.0 - f64::EPSILON) } else { 0.5 })
    }

    /// The factor in `[1 - jitter, 1 + jitter]` that this draw stands for.
    pub fn factor(self, jitter: f64) -> f64 {
        1.0 - jitter + 2.0 * jitter * self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_any_offset_and_written_in_utc_with_milliseconds() {
        let check = |text: &str, written: &str| {
            assert_eq!(Timestamp::parse(text).expect(text).to_string(), written);
        };
        check("2026-11-21T10:30:00Z", "2026-11-21T10:30:00.000Z");
        check("2026-11-21T10:30:00.1239+02:00", "2026-11-21T08:30:00.123Z");
        check("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z");
        for wrong in ["", "2026-11-21", "2026-11-21T10:30:00", "1763721000", "Sat, 21 Nov 2026 10:30:00 GMT"] {
            assert_eq!(Timestamp::parse(wrong), Err(NotRfc3339), "{wrong}");
        }
    }

    #[test]
    fn a_draw_spans_the_jitter() {
        assert!((Draw::new(0.0).factor(0.2) - 0.8).abs() < 1e-9);
        assert!((Draw::MIDDLE.factor(0.2) - 1.0).abs() < 1e-9);
        assert!(Draw::new(f64::NAN).factor(0.2) <= 1.2);
    }
}
