//! A platform's words, made fit to be shown to an admin: decoded, on one line, without control characters, without
//! anything secret or personal that we sent, and cut.
//!
//! Platforms echo what they got: Moodle's refusals hold the whole request. So whatever we send that is secret or a
//! student's is [`Hidden`], and on top of that everything that looks like a credential is hidden, whoever wrote it.

use std::{fmt, sync::Arc};

use super::{basic_outcomes::escape_xml, json, oauth1::escape};

/// The longest message, in characters. It bounds what one attempt adds to a job's record.
pub(super) const MESSAGE_CHARS_MAX: usize = 300;

/// As much of a body as is looked at for words, in bytes. A maintenance page may be large.
const LOOKED_AT_BYTES_MAX: usize = 16 * 1024;

const MASK: &str = "[hidden]";

/// The secrets of the whole configuration, in all the ways in which a platform might write them. A platform has no
/// business with another one's secret, and if it shows one all the same, nobody reads it here. It never prints.
#[derive(Default)]
pub struct Confidential {
    forms: Vec<String>,
}

impl Confidential {
    /// Takes the secrets. What is too short to be told from a word is left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let secrets: Vec<String> =
            secrets.into_iter().filter(|secret| secret.len() >= CONFIDENTIAL_BYTES_MIN).map(str::to_owned).collect();
        Self { forms: forms(&secrets) }
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confidential").field("forms", &self.forms.len()).finish()
    }
}

/// A shorter secret of somebody else is not looked for: it could be a part of any word.
const CONFIDENTIAL_BYTES_MIN: usize = 8;

/// What nobody may read in a message: what we send (credentials, the sourcedid, comments, whole bodies), and the
/// secrets of the configuration.
#[derive(Default)]
pub(super) struct Hidden {
    ours: Vec<String>,
    confidential: Arc<Confidential>,
}

impl Hidden {
    /// Adds a text.
    pub(super) fn add(&mut self, text: impl Into<String>) {
        self.ours.push(text.into());
    }

    /// Hides these as well.
    pub(super) fn keep(&mut self, confidential: Arc<Confidential>) {
        self.confidential = confidential;
    }
}

/// Texts in all the ways in which a platform might write them, each on one line. The longest come first: a form that
/// holds another must not be torn apart by it.
fn forms(texts: &[String]) -> Vec<String> {
    let mut forms: Vec<String> = Vec::new();
    for text in texts {
        let in_json = unquoted(text);
        let in_json_twice = unquoted(&in_json);
        for form in [text, &in_json, &in_json_twice, &escape_xml(text), &escape(text)] {
            forms.push(one_line(form));
        }
    }
    forms.retain(|form| form.len() >= HIDDEN_BYTES_MIN);
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    forms
}

/// A text as it stands between the quotes of a JSON string.
fn unquoted(text: &str) -> String {
    let quoted = json::quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// Shorter texts are part of too many words to be told apart from them.
const HIDDEN_BYTES_MIN: usize = 3;

/// The words of a body on one line, not yet redacted, not yet cut: a page without its tags, JSON without its escapes.
pub(super) fn readable(body: &[u8]) -> String {
    let looked_at = &body[..body.len().min(LOOKED_AT_BYTES_MAX)];
    let text = String::from_utf8_lossy(looked_at);
    if is_markup(looked_at) {
        return one_line(&decode_entities(&strip_tags(&text)));
    }
    match serde_json::from_str::<serde_json::Value>(text.trim_start_matches('\u{feff}')) {
        Ok(serde_json::Value::String(text)) => one_line(&text),
        Ok(value) => one_line(&value.to_string()),
        Err(_) => one_line(&text),
    }
}

/// Whether a body is HTML or XML by its first character.
pub(super) fn is_markup(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    body.trim_ascii_start().starts_with(b"<")
}

/// One line: white space and control characters become single blanks. The marks that turn the direction of writing
/// go as well: they could make a message read as something else.
pub(super) fn one_line(text: &str) -> String {
    let is_blank = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Hides what is [`Hidden`], and everything that looks like a credential.
pub(super) fn redact(line: &str, hidden: &Hidden) -> String {
    if line.is_empty() {
        return String::new();
    }
    let ours = forms(&hidden.ours);
    let secrets = ours.iter().chain(&hidden.confidential.forms);
    let line = secrets.fold(line.to_owned(), |line, secret| match line.find(head(secret)) {
        Some(_) => hide(&line, secret),
        None => line,
    });
    hide_credentials(&line)
}

/// The words, with what we have to say about them behind, in at most [`MESSAGE_CHARS_MAX`] characters.
pub(super) fn message(words: &str, hint: &str) -> String {
    match (words, hint) {
        (words, "") => cut(words, MESSAGE_CHARS_MAX),
        ("", hint) => cut(hint, MESSAGE_CHARS_MAX),
        (words, hint) => {
            let room = MESSAGE_CHARS_MAX.saturating_sub(hint.chars().count() + 3);
            format!("{} ({hint})", cut(words, room))
        }
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Hides a text wherever it stands, and its beginning where only that stands: an echo may have been cut.
fn hide(line: &str, secret: &str) -> String {
    let head = head(secret);
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(head) {
        let same = rest[at..].chars().zip(secret.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8());
        let end = at + same.sum::<usize>();
        let is_word = secret.len() >= SURE_BYTES_MIN
            || !(rest[..at].ends_with(char::is_alphanumeric) || rest[end..].starts_with(char::is_alphanumeric));
        shown.push_str(&rest[..at]);
        shown.push_str(if is_word { MASK } else { &rest[at..end] });
        rest = &rest[end..];
    }
    shown.push_str(rest);
    shown
}

/// The beginning of a secret, by which it is found.
fn head(secret: &str) -> &str {
    let end = secret.char_indices().map(|(at, _)| at).nth(ECHO_CHARS_MIN).unwrap_or(secret.len());
    &secret[..end]
}

/// This much of a secret is taken for an echo of it.
const ECHO_CHARS_MIN: usize = 16;

/// A shorter secret is hidden only where it stands as a word of its own.
const SURE_BYTES_MIN: usize = 6;

/// Hides JWTs, what follows `Bearer` and `Basic`, and the values of members that hold credentials.
fn hide_credentials(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut before = "";
    let mut rest = line;
    while !rest.is_empty() {
        let gap = rest.find(is_token_char).unwrap_or(rest.len());
        let (between, from_atom) = rest.split_at(gap);
        let end = from_atom.find(|c| !is_token_char(c)).unwrap_or(from_atom.len());
        let (atom, after) = from_atom.split_at(end);
        shown.push_str(between);
        match atom.find("eyJ").filter(|at| atom.len() - at >= JWT_BYTES_MIN) {
            _ if is_credential(before, between, atom) => shown.push_str(MASK),
            Some(at) => shown.extend([&atom[..at], MASK]),
            None => shown.push_str(atom),
        }
        before = atom;
        rest = after;
    }
    shown
}

/// `eyJ` is how every base64 of a JSON object begins; anything as long as this is no accident.
const JWT_BYTES_MIN: usize = 16;

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '+' | '/' | '-' | '%')
}

fn is_credential(before: &str, between: &str, atom: &str) -> bool {
    const NAMES: [&str; 8] = [
        "oauth_signature",
        "oauth_token",
        "access_token",
        "refresh_token",
        "id_token",
        "client_assertion",
        "client_secret",
        "password",
    ];
    let named = NAMES.iter().any(|name| before.eq_ignore_ascii_case(name));
    if named && between.contains(['=', ':', '>']) {
        return !atom.is_empty();
    }
    let scheme = before.eq_ignore_ascii_case("bearer") || before.eq_ignore_ascii_case("basic");
    scheme && between.trim().is_empty() && looks_random(atom)
}

/// Long, or with digits or capitals inside: no word such as the `Outcomes` of "Basic Outcomes".
fn looks_random(atom: &str) -> bool {
    atom.len() >= 20
        || (atom.len() >= 6 && atom.chars().skip(1).any(|c| !c.is_ascii_lowercase() && c != '-' && c != '.'))
}

/// The text of a page: tags become blanks, scripts and styles go.
fn strip_tags(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        text.push(' ');
        rest = &rest[at..];
        let end = match rest.get(1..) {
            Some(tag) if tag.starts_with("![CDATA[") => 8,
            Some(tag) if tag.starts_with("!--") => rest.find("-->").map_or(rest.len(), |end| end + 2),
            Some(tag) if begins_with(tag, "script") => end_of(rest, "</script"),
            Some(tag) if begins_with(tag, "style") => end_of(rest, "</style"),
            _ => rest.find('>').unwrap_or(rest.len()),
        };
        rest = rest.get(end + 1..).unwrap_or("");
    }
    text.push_str(rest);
    text.replace("]]>", " ")
}

fn begins_with(tag: &str, name: &str) -> bool {
    tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

fn end_of(rest: &str, closing: &str) -> usize {
    let lower = rest.to_ascii_lowercase();
    let Some(at) = lower.find(closing) else {
        return rest.len();
    };
    lower[at..].find('>').map_or(rest.len(), |end| at + end)
}

/// Decodes the five entities of XML, blanks, and numbers. What is no entity stays as it is.
pub(super) fn decode_entities(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().skip(1).take(ENTITY_BYTES_MAX).position(|byte| byte == b';');
        let name = end.and_then(|end| rest.get(1..=end));
        match name.and_then(|name| entity(name).map(|c| (name.len(), c))) {
            Some((len, c)) => {
                decoded.push(c);
                rest = &rest[len + 2..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The longest entity that is looked for, so that a page of ampersands takes no longer than any other.
const ENTITY_BYTES_MAX: usize = 9;

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lti::basic_outcomes::PoxStatus;

    #[test]
    fn a_body_becomes_one_readable_line() {
        let check = |body: &str, want: &str| assert_eq!(readable(body.as_bytes()), want, "{body}");
        check("", "");
        check(" plain\r\n\ttext\u{0}\u{202e} ", "plain text");
        check(r#"{"a":"caf\u00e9 \/ b"}"#, r#"{"a":"café / b"}"#);
        check(r#""just \"text\"""#, r#"just "text""#);
        check(r#"{"a":"kid "x" unknown"}"#, r#"{"a":"kid "x" unknown"}"#);
        check(
            "<!DOCTYPE html><html><head><title>Log in</title><STYLE>p{}</STYLE></head><body><script>var a='<b>';</script>\
             <!-- no > --><p>Tom &amp; Jerry&#39;s &bogus; &#x41;</p>",
            "Log in Tom & Jerry's &bogus; A",
        );
        check("<script>never ends", "");
        check("<unclosed", "");
        check("<", "");
    }

    #[test]
    fn credentials_are_hidden_and_words_stay() {
        let check = |line: &str, want: &str| assert_eq!(redact(line, &Hidden::default()), want, "{line}");
        check("Bearer abcDEF123456 refused", "Bearer [hidden] refused");
        check("bearer: token missing, Basic Outcomes off", "bearer: token missing, Basic Outcomes off");
        check("Authorization: Basic a2V5OnNlY3JldA==", "Authorization: Basic [hidden]==");
        check("bad eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln!", "bad [hidden]!");
        check("at /x/eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "at /x/[hidden]");
        check(r#"oauth_signature="74KN%2FX%3D", oauth_nonce="n""#, r#"oauth_signature="[hidden]", oauth_nonce="n""#);
        check("oauth_signature=74KN/X=&oauth_version=1.0", "oauth_signature=[hidden]=&oauth_version=1.0");
        check(r#"{"access_token":"abc","x":1}"#, r#"{"access_token":"[hidden]","x":1}"#);
        check("oauth_signature_method=HMAC-SHA1", "oauth_signature_method=HMAC-SHA1");
        check("", "");
    }

    #[test]
    fn what_we_sent_is_hidden_in_every_spelling() {
        let mut hidden = Hidden::default();
        hidden.add(r#"{"data":"s & t"}"#);
        hidden.add("u-1");
        hidden.add("7");
        hidden.add("a comment of more than sixteen characters, which goes on for a while");
        let check = |line: &str, want: &str| assert_eq!(redact(line, &hidden), want, "{line}");
        check(r#"no {"data":"s & t"} here"#, "no [hidden] here");
        check(r#"no {\"data\":\"s & t\"} here"#, "no [hidden] here");
        check("no {&quot;data&quot;:&quot;s &amp; t&quot;} here", "no [hidden] here");
        check("no %7B%22data%22%3A%22s%20%26%20t%22%7D here", "no [hidden] here");
        check("u-1, not u-12 nor (u-1)", "[hidden], not u-12 nor ([hidden])");
        check("7 of 17", "7 of 17");
        check("got: a comment of more t", "got: [hidden]");
    }

    #[test]
    fn a_secret_that_we_did_not_send_is_hidden_too() {
        let mut hidden = Hidden::default();
        let confidential = Arc::new(Confidential::new(["another&key's secret", "short", "amqp-passw0rd"]));
        assert!(!format!("{confidential:?}").contains("passw0rd"));
        hidden.keep(confidential);
        hidden.add("our own");
        let check = |line: &str, want: &str| assert_eq!(redact(line, &hidden), want, "{line}");
        check("it is another&key's secret, you know", "it is [hidden], you know");
        check("it is another&amp;key&apos;s secret!", "it is [hidden]!");
        check("another%26key%27s%20secret", "[hidden]");
        check("amqp-passw0rd and our own, in short", "[hidden] and [hidden], in short");
    }

    #[test]
    fn a_hostile_page_takes_no_longer_than_any_other() {
        for piece in ["&", "</", "<", "<!--", "<script>", "eyJ", "Bearer ", "\u{202e}"] {
            let page = piece.repeat(1_000_000 / piece.len());
            assert!(
                message(&redact(&readable(page.as_bytes()), &Hidden::default()), "").len() <= 4 * MESSAGE_CHARS_MAX
            );
            assert!(PoxStatus::read(page.as_bytes()).is_none());
        }
    }

    #[test]
    fn a_message_is_never_longer_than_its_limit() {
        let long = "ä".repeat(400);
        for (words, hint) in [(long.as_str(), ""), (&long, "a hint"), ("", &long), ("short", "a hint")] {
            assert!(message(words, hint).chars().count() <= MESSAGE_CHARS_MAX);
        }
        assert_eq!(message("short", "a hint"), "short (a hint)");
        assert_eq!(message("", "a hint"), "a hint");
        assert!(message(&long, "a hint").ends_with("… (a hint)"));
    }
}
