//! Reads settings out of the tree, by serde: so that a section is a plain struct and a field is written once. What an
//! environment variable holds gets the type of its setting here.

use std::collections::BTreeMap;

use serde::{
    de::{
        self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    fault::Fault,
    secret,
    tree::{Key, Node, Value},
};

/// A value of the tree, about to be read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    /// What `{ env = "NAME" }` is looked up in.
    pub(super) env: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    /// Reads a list or table that stands in an environment variable; `None` if the text is neither.
    fn inline<'de, V: Visitor<'de>>(self, text: &str, opening: char, visitor: V) -> Result<V::Value, Fault> {
        let parsed = text.trim_start().starts_with(opening).then(|| Node::parse_inline(text, &self.node.place));
        match parsed.flatten() {
            Some(Node { value: Value::List(entries), .. }) => self.list(&entries, visitor),
            Some(Node { value: Value::Table(members), .. }) => self.table(&members, visitor),
            _ => Err(de::Error::invalid_type(Unexpected::Other("text"), &visitor)),
        }
    }

    fn list<'de, V: Visitor<'de>>(self, entries: &[Node], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Entries { entries: entries.iter().enumerate(), env: self.env })
    }

    fn table<'de, V: Visitor<'de>>(self, members: &[(Key, Node)], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Members { rest: members.iter(), current: None, env: self.env })
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Untyped(text) = &self.node.value else { return self.deserialize_any(visitor) };
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return visitor.visit_i64(number);
        }
        match text.parse::<f64>() {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(de::Error::invalid_type(Unexpected::Other("text"), &visitor)),
        }
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) | Value::Untyped(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(is) => visitor.visit_bool(*is),
            Value::Datetime => Err(de::Error::invalid_type(Unexpected::Other("a date"), &visitor)),
            Value::List(entries) => self.list(entries, visitor),
            Value::Table(members) => self.table(members, visitor),
        }
    }
}

/// Methods that read a number, whose text in the environment has to be parsed first.
macro_rules! numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.number(visitor).map_err(|fault| fault.at(&self.node.place))
        })+
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.any(visitor).map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Untyped(text) if text.trim() == "true" => visitor.visit_bool(true),
            Value::Untyped(text) if text.trim() == "false" => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    /// An empty variable is a setting that is not given.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Untyped(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name != secret::MARK {
            return visitor.visit_newtype_struct(self);
        }
        let found =
            secret::find(self.node, self.env).map_err(de::Error::custom).and_then(|text| visitor.visit_str(&text));
        found.map_err(|fault: Fault| fault.at(&self.node.place))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Untyped(text) = &self.node.value else { return self.deserialize_any(visitor) };
        let read = if text.trim_start().starts_with('[') {
            self.inline(text, '[', visitor)
        } else {
            let entry = |text: &str| Node { place: self.node.place.clone(), value: Value::Untyped(text.to_owned()) };
            let entries = text.split(',').map(str::trim).filter(|text| !text.is_empty());
            self.list(&entries.map(entry).collect::<Vec<_>>(), visitor)
        };
        read.map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Untyped(text) = &self.node.value else { return self.deserialize_any(visitor) };
        self.inline(text, '{', visitor).map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let read = match &self.node.value {
            Value::Text(text) | Value::Untyped(text) => visitor.visit_enum(Word(text)),
            _ => Err(de::Error::unknown_variant("", known)),
        };
        read.map_err(|fault| fault.at(&self.node.place))
    }
}

/// The entries of a list.
struct Entries<'a> {
    entries: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    env: &'a BTreeMap<String, String>,
}

impl<'de> SeqAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.entries.next() else { return Ok(None) };
        let read = seed.deserialize(Reader { node, env: self.env });
        read.map(Some).map_err(|fault| fault.at(&node.place).within(index.to_string()))
    }
}

/// The members of a table.
struct Members<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    current: Option<&'a (Key, Node)>,
    env: &'a BTreeMap<String, String>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(&key.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.current else { return Err(de::Error::custom("has a value without a key")) };
        let read = seed.deserialize(Reader { node, env: self.env });
        read.map_err(|fault| fault.at(&node.place).within(&key.name))
    }
}

/// A word that names the variant of an enum.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Fault> {
        Err(de::Error::custom("must be a word"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom("must be a word"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom("must be a word"))
    }
}
