//! `[[tokens]]`: who may use the HTTP API and the page.

use serde::Deserialize;

use super::{Flaw, must, must_be_unique, secret::Secret};

/// A bearer token and what it may do. With none at all, `run` makes an operator token in the folder of the store.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is; the audit log shows this name. Needed.
    pub name: String,
    /// The token: inline, `{ env = "NAME" }` or `{ file = "PATH" }`. Needed.
    pub token: Secret,
    /// `"producer"`, `"viewer"` or `"operator"`. Needed.
    pub role: Role,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Post events, and nothing else.
    Producer,
    /// Read.
    Viewer,
    /// Everything.
    Operator,
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To post events.
    Produce,
    /// To read jobs, numbers and the audit log.
    Read,
    /// To replay, discard, pause and resume.
    Operate,
}

impl Role {
    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }

    /// Whether this role has a right.
    pub const fn may(self, right: Right) -> bool {
        match self {
            Self::Producer => matches!(right, Right::Produce),
            Self::Viewer => matches!(right, Right::Read),
            Self::Operator => true,
        }
    }
}

pub(super) fn check(tokens: &[Token]) -> Result<(), Flaw> {
    must_be_unique(tokens, "tokens", "name", |token| Some(token.name.as_str()))?;
    for (index, token) in tokens.iter().enumerate() {
        let setting = |key: &str| format!("tokens.{index}.{key}");
        must(!token.name.trim().is_empty(), &setting("name"), "is empty: the audit log shows it")?;
        must(!token.token.is_empty(), &setting("token"), "is empty: make one with `openssl rand -hex 32`")?;
        let is_text = token.token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        must(is_text, &setting("token"), "must be printable ASCII without spaces: it goes into a header")?;
        let is_new = !tokens[..index].iter().any(|other| other.token.expose() == token.token.expose());
        must(is_new, &setting("token"), "is the same as another one: nobody could tell who did what")?;
    }
    Ok(())
}
