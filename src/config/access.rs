//! Who may come in: bearer tokens for the API, LTI keys for HTTP Basic at `/lti/grade_passback`.
//!
//! Only digests are kept, and each presented text is compared with all of them in constant time, so that neither a
//! name nor a secret can be guessed letter by letter.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{
    lti::LtiKey,
    tokens::{Role, Token},
};

/// Who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token's name.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
}

/// Who may come in. Swapped as a whole at SIGHUP.
pub struct Access(ArcSwap<Guests>);

#[derive(Default)]
struct Guests {
    tokens: Vec<(Digest32, Principal)>,
    /// Of key and of secret.
    lti_keys: Vec<(Digest32, Digest32)>,
}

type Digest32 = [u8; 32];

impl Access {
    /// Lets in those who are named.
    pub fn new(tokens: &[Token], lti_keys: &[LtiKey]) -> Self {
        Self(ArcSwap::from_pointee(Guests::of(tokens, lti_keys)))
    }

    /// From now on, lets in those who are named, and nobody else.
    pub fn reload(&self, tokens: &[Token], lti_keys: &[LtiKey]) {
        self.0.store(Arc::new(Guests::of(tokens, lti_keys)));
    }

    /// Whose bearer token this is.
    pub fn authenticate(&self, presented: &str) -> Option<Principal> {
        let presented = digest(presented);
        let guests = self.0.load();
        let mut found = None;
        for (known, principal) in &guests.tokens {
            if bool::from(known.ct_eq(&presented)) {
                found = Some(principal);
            }
        }
        found.cloned()
    }

    /// Whether this is an LTI key with its secret.
    pub fn check_basic(&self, key: &str, secret: &str) -> bool {
        let (key, secret) = (digest(key), digest(secret));
        let guests = self.0.load();
        let known = guests.lti_keys.iter().fold(Choice::from(0), |found, (known_key, known_secret)| {
            found | (known_key.ct_eq(&key) & known_secret.ct_eq(&secret))
        });
        known.into()
    }
}

impl Guests {
    fn of(tokens: &[Token], lti_keys: &[LtiKey]) -> Self {
        let principal = |token: &Token| Principal { name: token.name.as_str().into(), role: token.role };
        Self {
            tokens: tokens.iter().map(|token| (digest(token.token.expose()), principal(token))).collect(),
            lti_keys: lti_keys.iter().map(|key| (digest(&key.key), digest(key.secret.expose()))).collect(),
        }
    }
}

fn digest(text: &str) -> Digest32 {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{secret::Secret, tokens::Right};

    fn token(name: &str, token: &str, role: Role) -> Token {
        Token { name: name.to_owned(), token: Secret::new(token), role }
    }

    #[test]
    fn a_token_opens_until_it_is_taken_away() {
        let access = Access::new(&[token("ops", "t0p", Role::Operator), token("app", "pr0d", Role::Producer)], &[]);
        let name = |presented: &str| access.authenticate(presented).map(|who| (who.name.to_string(), who.role));
        assert_eq!(name("t0p"), Some(("ops".to_owned(), Role::Operator)));
        assert_eq!(name("pr0d"), Some(("app".to_owned(), Role::Producer)));
        for wrong in ["", "t0", "t0p ", "T0P", "ops"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        access.reload(&[], &[]);
        assert_eq!(name("t0p"), None);
    }

    #[test]
    fn an_lti_key_opens_with_its_own_secret_alone() {
        let key =
            |key: &str, secret: &str| LtiKey { key: key.to_owned(), secret: Secret::new(secret), hosts: Vec::new() };
        let access = Access::new(&[], &[key("a", "1"), key("b", "2")]);
        assert!(access.check_basic("a", "1") && access.check_basic("b", "2"));
        for (user, password) in [("a", "2"), ("b", "1"), ("a", ""), ("", ""), ("c", "1")] {
            assert!(!access.check_basic(user, password), "{user} {password}");
        }
    }

    #[test]
    fn a_role_has_its_rights_and_no_others() {
        let rights = |role: Role| [Right::Produce, Right::Read, Right::Operate].map(|right| role.may(right));
        assert_eq!(rights(Role::Producer), [true, false, false]);
        assert_eq!(rights(Role::Viewer), [false, true, false]);
        assert_eq!(rights(Role::Operator), [true, true, true]);
    }
}
