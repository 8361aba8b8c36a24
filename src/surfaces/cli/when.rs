//! Times for people: `2h` and `3d` back from now on the way in, "3 min ago" on the way out. The clock is an argument.

use std::{str::FromStr, time::Duration};

use crate::{config::duration, domain::time::Timestamp};

/// A point in time as it is given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// RFC 3339.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

/// The text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time such as 2026-11-21T10:30:00Z, or how long ago, such as 90s, 30m, 2h, 3d or 1h30m")]
pub struct NotATime;

impl FromStr for When {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        match Timestamp::parse(text) {
            Ok(moment) => Ok(Self::At(moment)),
            Err(_) => duration::parse(text).map(Self::Ago).map_err(|_| NotATime),
        }
    }
}

impl When {
    /// The point in time that is meant, when it is `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::Ago(span) => {
                let back = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(now.as_micros().saturating_sub(back))
            }
        }
    }
}

/// How far a moment is from now, in one rounded unit: `3 min ago`, `in 2 h`, `just now`.
pub(super) fn distance(moment: Timestamp, now: Timestamp) -> String {
    let (span, is_past) = if moment <= now { (now.since(moment), true) } else { (moment.since(now), false) };
    let secs = span.as_secs();
    let amount = match secs {
        0 => return "just now".to_owned(),
        1..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs / 60),
        3600..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    };
    if is_past { format!("{amount} ago") } else { format!("in {amount}") }
}

/// To the second, in UTC: `2026-11-21T10:30:00Z`.
pub(super) fn to_the_second(moment: Timestamp) -> String {
    let mut text = moment.to_string();
    text.truncate("2026-11-21T10:30:00".len());
    text.push('Z');
    text
}

/// How long something took: `85 ms`, `2.4 s`, `3 min`.
pub(super) fn span(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min", millis / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T10:30:00Z";

    fn now() -> Timestamp {
        Timestamp::parse(NOW).expect(NOW)
    }

    #[test]
    fn a_time_is_rfc_3339_or_a_span_back_from_now() {
        let check = |text: &str, moment: &str| {
            let when: When = text.parse().expect(text);
            assert_eq!(to_the_second(when.moment(now())), moment, "{text}");
        };
        check("2026-11-20T08:00:00+02:00", "2026-11-20T06:00:00Z");
        check("2h", "2026-11-21T08:30:00Z");
        check("3d", "2026-11-18T10:30:00Z");
        check("1h30m", "2026-11-21T09:00:00Z");
        check("90s", "2026-11-21T10:28:30Z");
        check("0s", NOW);
        for wrong in ["", "2", "h", "-2h", "1.5h", "2 h", "yesterday", "2026-11-21", "99999d", "99999999999999999999s"]
        {
            assert_eq!(wrong.parse::<When>(), Err(NotATime), "{wrong}");
        }
    }

    #[test]
    fn a_distance_is_one_rounded_unit() {
        let check = |secs: i64, text: &str| {
            let moment = Timestamp::from_micros(now().as_micros() - secs * 1_000_000);
            assert_eq!(distance(moment, now()), text);
        };
        check(0, "just now");
        check(59, "59 s ago");
        check(200, "3 min ago");
        check(7_300, "2 h ago");
        check(47 * 3600, "47 h ago");
        check(3 * 86_400, "3 days ago");
        check(-90, "in 1 min");
        assert_eq!((span(85), span(2_450), span(200_000)), ("85 ms".into(), "2.4 s".into(), "3 min".into()));
    }
}
