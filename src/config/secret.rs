//! Secrets of the configuration: given inline, as `{ env = "NAME" }` or as `{ file = "PATH" }`, of a type that does
//! not print.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read},
    path::Path,
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::tree::{Node, Value};

/// A secret. Neither `Debug` nor anything else shows it.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<SecretString>) -> Self {
        Self(text.into())
    }

    /// The secret, for the one who uses it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

/// In constant time, though it is there to see whether one has changed: whoever presents a secret is known by digests, in
/// `access`.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The name by which the reader knows that a secret is wanted, and looks it up.
pub(super) const MARK: &str = "$passback::Secret";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Found;

        impl<'de> de::Visitor<'de> for Found {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Secret, D::Error> {
                String::deserialize(from).map(Secret::new)
            }
        }

        from.deserialize_newtype_struct(MARK, Found)
    }
}

/// An absolute URL that may carry a password: it prints without it.
#[derive(Clone, PartialEq)]
pub struct SecretUrl {
    whole: Secret,
    redacted: String,
}

impl SecretUrl {
    /// Reads an absolute URL. The error says what is expected and repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, NotAUrl> {
        let mut url = Url::parse(text).map_err(|_| NotAUrl)?;
        if !url.has_host() {
            return Err(NotAUrl);
        }
        if url.password().is_some() {
            url.set_password(Some("***")).map_err(|()| NotAUrl)?;
        }
        // Options after the `?` can carry secrets as well, and nobody needs them to recognise the place.
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self { whole: Secret::new(text), redacted: url.into() })
    }

    /// The whole URL, for the one who connects.
    pub fn expose(&self) -> &str {
        self.whole.expose()
    }

    /// The password in it, decoded.
    pub fn password(&self) -> Option<String> {
        let url = Url::parse(self.expose()).ok()?;
        Some(percent_encoding::percent_decode_str(url.password()?).decode_utf8_lossy().into_owned())
    }

    /// `amqps` of `amqps://…`.
    pub fn scheme(&self) -> &str {
        self.redacted.split(':').next().unwrap_or_default()
    }
}

/// The text is no absolute URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an absolute URL")]
pub struct NotAUrl;

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(Secret::deserialize(from)?.expose()).map_err(de::Error::custom)
    }
}

/// The largest file that a secret is read from, in bytes; a PEM with comments is a tenth of it.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Finds the secret that a value names. The error is what the setting must be, or why it cannot be had.
pub(super) fn find(node: &Node, env: &BTreeMap<String, String>) -> Result<String, String> {
    const EXPECTED: &str = "must be text, { env = \"NAME\" } or { file = \"PATH\" }";
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Untyped(text) => match text.starts_with('{').then(|| Node::parse_inline(text, &node.place)).flatten() {
            Some(table) => find(&table, env).or_else(|why| if why == EXPECTED { Ok(text.clone()) } else { Err(why) }),
            None => Ok(text.clone()),
        },
        Value::Table(members) => match members.as_slice() {
            [(key, Node { value: Value::Text(of) | Value::Untyped(of), .. })] if key.name == "env" => from_env(of, env),
            [(key, Node { value: Value::Text(of) | Value::Untyped(of), .. })] if key.name == "file" => from_file(of),
            _ => Err(EXPECTED.to_owned()),
        },
        _ => Err(EXPECTED.to_owned()),
    }
}

/// Why the secret that a value refers to is not there, in few words; none where it is, or where the value refers to nothing.
pub(super) fn missing(node: &Node, env: &BTreeMap<String, String>) -> Option<String> {
    match &node.value {
        Value::Untyped(text) if text.starts_with('{') => missing(&node.opened()?, env),
        Value::Table(members) => match members.as_slice() {
            [(key, Node { value: Value::Text(of) | Value::Untyped(of), .. })] => match key.name.as_str() {
                "env" if !env.contains_key(of) => Some("not set".to_owned()),
                "file" => fs::File::open(of).err().map(|error| match error.kind() {
                    io::ErrorKind::NotFound => "not there".to_owned(),
                    kind => format!("cannot be read here: {kind}"),
                }),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn from_env(name: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    if let Some(secret) = env.get(name) {
        return Ok(secret.clone());
    }
    // Somebody may have put the secret itself where its name belongs.
    let is_a_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && name.len() <= 100;
    let name = if is_a_name { name } else { "that it names" };
    Err(format!("is taken from the environment variable {name}, which is not set"))
}

fn from_file(path: &str) -> Result<String, String> {
    let shown = path.escape_debug();
    let mut text = String::new();
    let read = fs::File::open(Path::new(path)).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("is taken from the file {shown}, which cannot be read: {error}")),
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => {
            Err(format!("is taken from the file {shown}, which is larger than {FILE_BYTES_MAX} bytes"))
        }
        Ok(_) => {
            let without = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
            Ok(without.unwrap_or(&text).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let url = SecretUrl::parse("amqp://guest:hunter2@rabbit:5672/%2f?password=hunter2").expect("a URL");
        assert_eq!(url.to_string(), "amqp://guest:***@rabbit:5672/%2f");
        assert_eq!(url.scheme(), "amqp");
        let password = |url: &str| SecretUrl::parse(url).expect("a URL").password();
        assert_eq!(password("amqp://guest:h%40nter2@rabbit").as_deref(), Some("h@nter2"));
        assert_eq!(password("amqp://guest@rabbit"), None);
        assert!(url.expose().contains("hunter2"));
        let shown = format!("{url:?} {:?} {:?}", Secret::new("hunter2"), SecretUrl::parse("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_secret_of_a_file_loses_its_last_line_break_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |content: &str, secret: &str| {
            let path = folder.path().join("secret");
            fs::write(&path, content).expect("it is written");
            assert_eq!(from_file(&path.to_string_lossy()).as_deref(), Ok(secret));
        };
        check("s3cret\n", "s3cret");
        check("s3cret\r\n", "s3cret");
        check("s3cret\n\n", "s3cret\n");
        check(" s3cret", " s3cret");
        let missing = from_file("no/such/file").expect_err("it is not there");
        assert!(missing.contains("no/such/file"), "{missing}");
    }

    #[test]
    fn a_missing_variable_is_named_unless_it_may_be_the_secret() {
        let env = BTreeMap::from([("SET".to_owned(), "s3cret".to_owned())]);
        assert_eq!(from_env("SET", &env).as_deref(), Ok("s3cret"));
        assert!(from_env("UNSET", &env).expect_err("it is not set").contains("UNSET"));
        assert!(!from_env("hunter 2!", &env).expect_err("it is not set").contains("hunter"));
    }
}
