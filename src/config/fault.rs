//! A complaint about a setting: its place, its name, and what is expected there. Never what was found, which may be a
//! secret: serde's own words, which quote it, are dropped here.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::tree::Place;

/// A complaint, gathering its place and setting on the way up.
#[derive(Debug)]
pub(super) struct Fault {
    place: Option<Place>,
    /// Names and numbers from the inside out.
    path: Vec<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The setting, and what it must be.
    Setting(String),
    /// A key that is not known, and the one that may be meant.
    UnknownKey { key: String, meant: Option<&'static str> },
}

impl Fault {
    fn new(what: What) -> Self {
        Self { place: None, path: Vec::new(), what }
    }

    /// The place, unless one further in is known already.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// The name or number of what holds it.
    pub(super) fn within(mut self, segment: impl Into<String>) -> Self {
        self.path.push(segment.into());
        self
    }

    /// Where it is.
    pub(super) fn place(&self) -> Place {
        self.place.clone().unwrap_or_default()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        match &self.what {
            What::Setting(what) if path.is_empty() => write!(f, "the configuration {what}"),
            What::Setting(what) => write!(f, "{} {what}", setting_name(&path)),
            What::UnknownKey { key, meant } => {
                write!(f, "unknown key `{}`", key.escape_debug())?;
                if !path.is_empty() {
                    write!(f, " in {}", setting_name(&path))?;
                }
                meant.map_or(Ok(()), |meant| write!(f, "; did you mean `{meant}`?"))
            }
        }
    }
}

/// `[amqp] url`, or `[[tokens]] role` for an entry of a list.
pub(super) fn setting_name(path: &[&str]) -> String {
    let is_number = |segment: &&str| segment.parse::<usize>().is_ok();
    let section = path.first().copied().unwrap_or_default();
    let of_list = path.get(1).is_some_and(is_number) || super::LISTS.contains(&section);
    let mut name = if of_list { format!("[[{section}]]") } else { format!("[{section}]") };
    for (depth, segment) in path.iter().skip(1).filter(|segment| !is_number(segment)).enumerate() {
        name.push(if depth == 0 { ' ' } else { '.' });
        name.push_str(segment);
    }
    name
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(What::Setting(what.to_string()))
    }

    fn invalid_type(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {}", in_plain_words(expected)))
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {}", in_plain_words(expected)))
    }

    fn unknown_variant(_found: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!("must be one of \"{}\"", known.join("\", \"")))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { key: key.to_owned(), meant: nearest(key, known) })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::custom(format_args!("needs `{key}`"))
    }
}

fn in_plain_words(expected: &dyn Expected) -> String {
    let words = expected.to_string();
    match words.as_str() {
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text in quotes".to_owned(),
        "a sequence" => "a list in [ ]".to_owned(),
        "u16" | "u32" => {
            format!("a whole number from 0 to {}", if words == "u16" { u32::from(u16::MAX) } else { u32::MAX })
        }
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "f64" => "a number".to_owned(),
        _ if words.starts_with("struct ") => "a table".to_owned(),
        _ => words,
    }
}

/// The known key that `key` is most likely a slip of.
fn nearest(key: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|name| (edits(key, name), *name)).min()?;
    (near.0 <= 1 + near.1.len() / 4).then_some(near.1)
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
pub(crate) fn edits(from: &str, to: &str) -> usize {
    // A key that is far too long is nobody's slip, and the work is bounded.
    let from: Vec<char> = from.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (i, letter) in to.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in from.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_is_meant_is_the_nearest() {
        let check = |key: &str, meant: Option<&str>| {
            assert_eq!(nearest(key, &["url", "queues", "prefetch", "routing_key"]), meant, "{key}");
        };
        check("prefech", Some("prefetch"));
        check("queue", Some("queues"));
        check("routingkey", Some("routing_key"));
        check("uri", Some("url"));
        check("password", None);
        check("", None);
    }

    #[test]
    fn a_setting_is_named_as_it_is_written() {
        let check = |path: &str, name: &str| {
            assert_eq!(setting_name(&path.split('.').collect::<Vec<_>>()), name);
        };
        check("amqp.url", "[amqp] url");
        check("tokens.3.role", "[[tokens]] role");
        check("amqp.queues.1", "[amqp] queues");
        check("tokens", "[[tokens]]");
    }
}
