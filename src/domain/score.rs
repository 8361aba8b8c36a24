//! A score: the points given and the maximum, as the event wrote them.
//!
//! The digits are kept as they came, so that no delivery changes a number that it only passes on. The
//! normalised form, which LTI 1.1 needs, is made here and nowhere else.

use std::fmt;

use serde_json::value::RawValue;

/// A finite number with the text in which it came (a JSON number).
#[derive(Clone, PartialEq)]
pub struct Points {
    value: f64,
    text: Box<str>,
}

/// Why a JSON value is no usable number of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPoints {
    /// A string, an object, a boolean.
    #[error("must be a JSON number")]
    NotANumber,
    /// Too large for any gradebook.
    #[error("must be a finite number")]
    NotFinite,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
}

impl Points {
    /// Reads points from a JSON value.
    pub fn from_json(raw: &RawValue) -> Result<Self, NotPoints> {
        let text = raw.get();
        if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return Err(NotPoints::NotANumber);
        }
        let value: f64 = text.parse().map_err(|_| NotPoints::NotANumber)?;
        if !value.is_finite() {
            return Err(NotPoints::NotFinite);
        }
        if value < 0.0 {
            return Err(NotPoints::Negative);
        }
        let text = if value == 0.0 && text.starts_with('-') { "0" } else { text };
        Ok(Self { value, text: text.into() })
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The number as the event wrote it: a JSON number.
    pub fn as_json(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Points given out of a maximum. Given is at least 0 (and may be over the maximum), the maximum above 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    given: Points,
    maximum: Points,
}

/// The maximum is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be greater than 0")]
pub struct NoMaximum;

impl Score {
    /// A score of `given` out of `maximum`.
    pub fn new(given: Points, maximum: Points) -> Result<Self, NoMaximum> {
        if maximum.value > 0.0 { Ok(Self { given, maximum }) } else { Err(NoMaximum) }
    }

    /// The points given.
    pub fn given(&self) -> &Points {
        &self.given
    }

    /// The points that could be had.
    pub fn maximum(&self) -> &Points {
        &self.maximum
    }

    /// The score as a part of one, from 0 to 1; over the maximum is 1.
    pub fn normalised(&self) -> f64 {
        (self.given.value / self.maximum.value).clamp(0.0, 1.0)
    }

    /// The normalised score as LTI 1.1 wants it (Basic Outcomes 1.1, `textString`): a plain decimal with a
    /// point, no exponent, one to fifteen digits after it.
    pub fn normalised_text(&self) -> String {
        let fixed = format!("{:.15}", self.normalised());
        let short = fixed.trim_end_matches('0');
        if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(json: &str) -> Result<Points, NotPoints> {
        Points::from_json(serde_json::from_str(json).expect("a JSON value"))
    }

    #[test]
    fn only_a_finite_number_that_is_not_negative_is_points() {
        let check = |json: &str, want: Result<f64, NotPoints>| {
            assert_eq!(points(json).map(|p| p.value()), want, "{json}");
        };
        check("0", Ok(0.0));
        check("-0", Ok(0.0));
        check("8.50", Ok(8.5));
        check("1e2", Ok(100.0));
        check("-0.5", Err(NotPoints::Negative));
        check("1e999", Err(NotPoints::NotFinite));
        check("\"8\"", Err(NotPoints::NotANumber));
        check("true", Err(NotPoints::NotANumber));
        assert_eq!(points("8.50").expect("points").as_json(), "8.50");
        assert_eq!(points("-0.0").expect("points").as_json(), "0");
    }

    #[test]
    fn the_normalised_text_is_a_plain_decimal() {
        let check = |given: &str, maximum: &str, want: &str| {
            let score = Score::new(points(given).expect("given"), points(maximum).expect("maximum"));
            assert_eq!(score.expect("a maximum").normalised_text(), want, "{given}/{maximum}");
        };
        check("0", "10", "0.0");
        check("8", "10", "0.8");
        check("1", "3", "0.333333333333333");
        check("2", "3", "0.666666666666667");
        check("10", "10", "1.0");
        check("11", "10", "1.0");
        check("1e-300", "1", "0.0");
        check("1e300", "1e-300", "1.0");
        check("0.000001", "1", "0.000001");
        assert_eq!(Score::new(points("1").expect("given"), points("0").expect("maximum")), Err(NoMaximum));
    }
}
