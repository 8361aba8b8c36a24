//! The members of a JSON object, read one by one: each refusal names the member and says how to mend it, and none repeats
//! what stood in it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Refused;
use crate::domain::{destination::ServiceUrl, score::Points, time::Timestamp};

/// The members of a JSON object in their order, values unread.
pub(super) struct Members<'a> {
    pub(super) entries: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// What stands before a member's name in a message: `lis_data.`, or nothing.
    prefix: &'static str,
}

impl<'a> Members<'a> {
    pub(super) fn read(json: &'a str, name: &str, prefix: &'static str) -> Result<Self, Refused> {
        if !json.trim_start().starts_with('{') {
            return Err(Refused::new(name, "must be a JSON object"));
        }
        let Entries(entries) = serde_json::from_str(json).map_err(|error| {
            // serde_json's own words may quote the value, so only the place is told.
            Refused::new(name, format_args!("is not valid JSON (line {}, column {})", error.line(), error.column()))
        })?;
        let members = Self { entries, prefix };
        match members.first_repeated() {
            Some(nameless) if nameless.trim().is_empty() => {
                Err(Refused::new(name, "has two members without a name: which one counts is a guess"))
            }
            Some(repeated) => Err(members.refuse(repeated, "stands twice: which one counts is a guess")),
            None => Ok(members),
        }
    }

    fn first_repeated(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.entries.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    pub(super) fn refuse(&self, name: &str, why: impl fmt::Display) -> Refused {
        Refused::new(format!("{}{name}", self.prefix), why)
    }

    /// The value of a member; null is the same as absent.
    pub(super) fn find(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.entries.iter().find(|(known, _)| known == name)?;
        (value.get() != "null").then_some(*value)
    }

    pub(super) fn is_null(&self, name: &str) -> bool {
        self.entries.iter().any(|(known, value)| known == name && value.get() == "null")
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a RawValue, Refused> {
        self.find(name).ok_or_else(|| self.refuse(name, "is missing"))
    }

    /// Any string without control characters that XML cannot carry.
    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Refused> {
        let Some(raw) = self.find(name) else {
            return Ok(None);
        };
        let Text(text) = serde_json::from_str(raw.get()).map_err(|_| self.refuse(name, "must be a string"))?;
        if text.chars().any(is_forbidden_in_xml) {
            return Err(self.refuse(name, "must not contain control characters"));
        }
        Ok(Some(text.into_owned()))
    }

    /// A string that is not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.string(name)? {
            Some(text) if text.trim().is_empty() => Err(self.refuse(name, "must not be empty")),
            text => Ok(text),
        }
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, Refused> {
        self.text(name)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    pub(super) fn url(&self, name: &str) -> Result<Option<ServiceUrl>, Refused> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        ServiceUrl::parse(&text).map(Some).map_err(|why| self.refuse(name, why))
    }

    pub(super) fn required_url(&self, name: &str) -> Result<ServiceUrl, Refused> {
        self.url(name)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refused> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        Timestamp::parse(&text).map(Some).map_err(|why| self.refuse(name, why))
    }

    pub(super) fn points(&self, name: &str) -> Result<Option<Points>, Refused> {
        let Some(raw) = self.find(name) else {
            return Ok(None);
        };
        Points::from_json(raw).map(Some).map_err(|why| self.refuse(name, why))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        let Some(raw) = self.find(name) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| self.refuse(name, "must be true or false"))
    }

    /// One word out of a closed set.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refused> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(self.refuse(name, format_args!("must be one of {}", known.join(", "))))
            }
        }
    }

    /// The launch's scope claim: an array of strings, or one string with blanks between.
    pub(super) fn scopes(&self) -> Result<Option<Vec<String>>, Refused> {
        let Some(raw) = self.find("scope") else {
            return Ok(None);
        };
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            return Ok(Some(text.split_whitespace().map(str::to_owned).collect()));
        }
        serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|_| self.refuse("scope", "must be an array of strings, or one string"))
    }
}

/// XML 1.0, production 2 (`Char`).
fn is_forbidden_in_xml(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    entries.push((name, value));
                }
                Ok(entries)
            }
        }
        from.deserialize_map(Collect).map(Self)
    }
}

/// A JSON string: as it stands there, where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        from.deserialize_str(Borrow).map(Self)
    }
}
