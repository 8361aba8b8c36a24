//! JSON as platforms need it and as they write it: one compact line out, with numbers as they came; tolerant in.
//!
//! Moodle drops a reply's header when the sent JSON holds a raw line break, and then answers 200 although nothing was
//! stored. So what is built here never holds one, unless a value that is only passed on brought it along.

use std::borrow::Cow;

use serde_json::Value;

/// A JSON object that is written member by member, in the order of the calls.
pub(super) struct Object(String);

impl Object {
    /// An object without members.
    pub(super) fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a member whose value is JSON already.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// Adds a text.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, &quoted(text))
    }

    /// Adds a text, if there is one.
    pub(super) fn maybe(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// The object as JSON.
    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A text as a JSON string, with its quotes.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Reads a JSON document that begins with `open` (`{` or `[`). What stands before and after it is passed over: a byte
/// order mark, or the warnings that a PHP server writes in front.
pub(super) fn read(body: &[u8], open: char) -> Option<Value> {
    let close = if open == '{' { '}' } else { ']' };
    let text = String::from_utf8_lossy(body);
    if let Ok(value) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) {
        return is_opened_by(&value, open).then_some(value);
    }
    let inner = text.get(text.find(open)?..=text.rfind(close)?)?;
    serde_json::from_str(inner).ok().filter(|value| is_opened_by(value, open))
}

fn is_opened_by(value: &Value, open: char) -> bool {
    if open == '{' { value.is_object() } else { value.is_array() }
}

/// A member that should be a text, also where a platform writes a number.
pub(super) fn member<'a>(object: &'a Value, name: &str) -> Option<Cow<'a, str>> {
    match object.get(name)? {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_in_the_order_of_the_calls() {
        let json = Object::new().text("b", "two\nlines \"quoted\"").maybe("none", None).raw("a", "8.50").finish();
        assert_eq!(json, r#"{"b":"two\nlines \"quoted\"","a":8.50}"#);
        assert_eq!(Object::new().finish(), "{}");
    }

    #[test]
    fn what_stands_around_a_document_is_passed_over() {
        let check = |body: &str, open: char, want: Option<&str>| {
            assert_eq!(read(body.as_bytes(), open).map(|value| value.to_string()).as_deref(), want, "{body}");
        };
        check("\u{feff}{\"a\":1}", '{', Some(r#"{"a":1}"#));
        check("<br />\nWarning: x in y\n{\"a\":1}\n", '{', Some(r#"{"a":1}"#));
        check("[1]", '{', None);
        check("[]", '[', Some("[]"));
        check("}{", '{', None);
        check("", '[', None);
        check(r#"{"a":"kid "x" unknown"}"#, '{', None);
    }
}
