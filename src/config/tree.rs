//! The configuration as a tree of values, each with the place that it came from: a line of the file, or a variable of
//! the environment. It knows nothing of settings; it exists so that every later complaint can name its place.

use std::{fmt, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: a default.
    #[default]
    Defaults,
    /// A line of the file, from 1.
    File {
        /// The path, as it was given.
        file: Arc<str>,
        /// The line.
        line: usize,
    },
    /// A variable of the environment.
    Variable(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("configuration"),
            Self::File { file, line } => write!(f, "{file} line {line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A value and its place.
#[derive(Clone, Default)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value. Its texts may be secrets, so it has no `Debug`.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    /// What an environment variable holds: its type is that of the setting.
    Untyped(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

impl Default for Value {
    fn default() -> Self {
        Self::Table(Vec::new())
    }
}

/// A member's name, and where it stands: often another line than its value's.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

/// The text is no TOML.
pub(super) struct BadToml {
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
    /// What the parser expected, in its own fixed words. Never the content of the line: it may hold a secret.
    pub(super) why: String,
}

impl Node {
    /// Parses a file.
    pub(super) fn parse_file(text: &str, file: &Arc<str>) -> Result<Self, BadToml> {
        let lines = Lines::of(text);
        let place = |offset: usize| Place::File { file: file.clone(), line: lines.position(offset).0 };
        let root = DeTable::parse(text).map_err(|error| {
            let (line, column) = lines.position(error.span().map_or(text.len(), |span| span.start));
            BadToml { line, column, why: error.message().to_owned() }
        })?;
        Ok(Self { place: place(0), value: table(root.into_inner(), &place) })
    }

    /// Parses a list or a table that an environment variable holds.
    pub(super) fn parse_inline(text: &str, place: &Place) -> Option<Self> {
        let value = DeValue::parse(text.trim()).ok()?;
        Some(node(value, &|_| place.clone()))
    }

    /// What a text of the environment holds, where that is a list or a table.
    pub(super) fn opened(&self) -> Option<Self> {
        match &self.value {
            Value::Untyped(text) => Self::parse_inline(text, &self.place),
            _ => None,
        }
    }

    /// Puts `leaf` at `path`, over what is there. A segment that is a number is an entry of a list: one that is there,
    /// or the next one. Gives back whether there was room for it.
    pub(super) fn set(&mut self, path: &[&str], leaf: Self) -> bool {
        let Some((first, rest)) = path.split_first() else {
            *self = leaf;
            return true;
        };
        if let Some(opened) = self.opened() {
            *self = opened;
        }
        let place = leaf.place.clone();
        let next = match first.parse::<usize>() {
            Ok(index) => self.entry(index, place),
            Err(_) => self.member(first, place),
        };
        next.is_some_and(|next| next.set(rest, leaf))
    }

    fn entry(&mut self, index: usize, place: Place) -> Option<&mut Self> {
        if !matches!(self.value, Value::List(_)) {
            *self = Self { place: place.clone(), value: Value::List(Vec::new()) };
        }
        let Value::List(entries) = &mut self.value else { return None };
        if index == entries.len() {
            entries.push(Self { place, value: Value::default() });
        }
        entries.get_mut(index)
    }

    fn member(&mut self, name: &str, place: Place) -> Option<&mut Self> {
        if !matches!(self.value, Value::Table(_)) {
            *self = Self { place: place.clone(), value: Value::default() };
        }
        let Value::Table(members) = &mut self.value else { return None };
        let at = members.iter().position(|(key, _)| key.name == name).unwrap_or_else(|| {
            let key = Key { name: name.to_owned(), place: place.clone() };
            members.push((key, Self { place, value: Value::default() }));
            members.len() - 1
        });
        members.get_mut(at).map(|(_, member)| member)
    }

    /// Where the setting at `path` (names and numbers with dots between them) was written, or what holds it.
    pub(super) fn place_of(&self, path: &str) -> &Place {
        let mut here = self;
        for segment in path.split('.') {
            match here.step(segment) {
                Some(next) => here = next,
                None => break,
            }
        }
        &here.place
    }

    /// The setting at `path`, if it is set there.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |here, segment| here.step(segment))
    }

    fn step(&self, segment: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(members) => members.iter().find(|(key, _)| key.name == segment).map(|(_, node)| node),
            Value::List(entries) => segment.parse::<usize>().ok().and_then(|index| entries.get(index)),
            _ => None,
        }
    }
}

fn node(value: Spanned<DeValue<'_>>, place: &impl Fn(usize) -> Place) -> Node {
    let at = place(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            // Larger than any setting: whatever is expected there will say so.
            Err(_) => Value::Float(f64::INFINITY),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(is) => Value::Boolean(is),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(entries) => Value::List(entries.into_iter().map(|entry| node(entry, place)).collect()),
        DeValue::Table(members) => table(members, place),
    };
    Node { place: at, value }
}

fn table(members: DeTable<'_>, place: &impl Fn(usize) -> Place) -> Value {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by_key(|(key, _)| key.span().start);
    let member = |(key, value): (Spanned<_>, _)| {
        let at = place(key.span().start);
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        (Key { name: key.into_owned(), place: at }, node(value, place))
    };
    Value::Table(members.into_iter().map(member).collect())
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// Line and column of an offset, both from 1; the column counts characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let text = "[amqp]\nurl = \"x\"\nqueues = [\n  \"a\",\n  \"b\",\n]\n[[tokens]]\nname = \"n\"\n";
        let Ok(tree) = Node::parse_file(text, &"p.toml".into()) else { panic!("it is TOML") };
        let check = |path: &str, line: usize| {
            assert_eq!(tree.place_of(path), &Place::File { file: "p.toml".into(), line }, "{path}");
        };
        check("amqp", 1);
        check("amqp.url", 2);
        check("amqp.queues.1", 5);
        check("amqp.prefetch", 1);
        check("tokens.0.name", 8);
        check("http.listen", 1);
    }

    #[test]
    fn an_entry_of_a_list_is_there_or_the_next() {
        let mut tree = Node::default();
        let leaf = || Node { place: Place::Defaults, value: Value::Boolean(true) };
        assert!(tree.set(&["tokens", "0", "name"], leaf()));
        assert!(tree.set(&["tokens", "1", "name"], leaf()));
        assert!(!tree.set(&["tokens", "3", "name"], leaf()));
    }
}
