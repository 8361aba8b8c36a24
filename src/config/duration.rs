//! Spans of time as people write them: a number and `ms`, `s`, `m`, `h` or `d`, also together (`1h30m`).

use std::time::Duration;

use serde::Deserializer;

/// The text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number and its unit (ms, s, m, h, d), such as \"30s\" or \"1h30m\"")]
pub struct BadDuration;

/// The units, in milliseconds; `ms` first, because `m` begins like it.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a span. Each part is a whole number and its unit; they add up.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(BadDuration);
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or(BadDuration)?;
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| BadDuration)?;
        let (name, millis) = UNITS.into_iter().find(|(name, _)| unit.starts_with(name)).ok_or(BadDuration)?;
        total = number.checked_mul(millis).and_then(|part| total.checked_add(part)).ok_or(BadDuration)?;
        rest = unit[name.len()..].trim_start();
    }
    // More than the time that a timestamp can name would only overflow later.
    if total > SPAN_MILLIS_MAX { Err(BadDuration) } else { Ok(Duration::from_millis(total)) }
}

/// A hundred years.
const SPAN_MILLIS_MAX: u64 = 36_500 * 86_400_000;

/// Writes a span in the largest units that fit, as [`parse`] reads it. Less than a millisecond is dropped.
pub fn format(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, millis) in UNITS.into_iter().rev() {
        if rest >= millis {
            text.push_str(&(rest / millis).to_string());
            text.push_str(name);
            rest %= millis;
        }
    }
    text
}

/// For serde: `#[serde(deserialize_with = "duration::read")]`.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct Span;

    impl serde::de::Visitor<'_> for Span {
        type Value = Duration;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number and its unit (ms, s, m, h, d) in quotes, such as \"30s\" or \"1h30m\"")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }

    from.deserialize_str(Span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_numbers_with_units() {
        let check = |text: &str, millis: u64, written: &str| {
            let span = parse(text).expect(text);
            assert_eq!(span, Duration::from_millis(millis), "{text}");
            assert_eq!(format(span), written);
        };
        check("30s", 30_000, "30s");
        check("250ms", 250, "250ms");
        check("1h30m", 5_400_000, "1h30m");
        check("90m", 5_400_000, "1h30m");
        check(" 1d 2h ", 93_600_000, "1d2h");
        check("1m1ms", 60_001, "1m1ms");
        check("0s", 0, "0s");
    }

    #[test]
    fn anything_else_is_none() {
        for wrong in ["", "30", "s", "1.5h", "-1s", "1w", "30 sec", "1h30", "99999999999999999999s", "40000d", "1ſ"] {
            assert_eq!(parse(wrong), Err(BadDuration), "{wrong}");
        }
    }
}
