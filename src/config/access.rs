//! Who may come in: bearer tokens for the API, LTI keys for HTTP Basic at `/lti/grade_passback`.
//!
//! Only digests are kept, and each presented text is compared with all of them in constant time, so that neither a
//! name nor a secret can be guessed letter by letter.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{
    host::HostPattern,
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

/// A bearer token as it was presented once: its digest, which opens for as long as the token does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Badge(Digest32);

impl Badge {
    /// The badge of a presented token, whether it is known or not.
    pub fn of(presented: &str) -> Self {
        Self(digest(presented))
    }
}

/// Who may come in. Swapped as a whole at SIGHUP.
pub struct Access(ArcSwap<Guests>);

#[derive(Default)]
struct Guests {
    tokens: Vec<(Digest32, Principal)>,
    lti_keys: Vec<KnownKey>,
}

/// An LTI key, by the digests of its name and of its secret.
struct KnownKey {
    name: Digest32,
    secret: Digest32,
    /// The only hosts that it is used for; none means any.
    hosts: Vec<HostPattern>,
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
        self.recognise(Badge::of(presented))
    }

    /// Whose badge this is.
    pub fn recognise(&self, Badge(presented): Badge) -> Option<Principal> {
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
        let known = guests
            .lti_keys
            .iter()
            .fold(Choice::from(0), |found, known| found | (known.name.ct_eq(&key) & known.secret.ct_eq(&secret)));
        known.into()
    }

    /// Whether an LTI key may send grades to this host.
    pub fn key_reaches(&self, key: &str, host: &str) -> bool {
        let key = digest(key);
        let guests = self.0.load();
        let known = guests.lti_keys.iter().find(|known| bool::from(known.name.ct_eq(&key)));
        known.is_some_and(|known| known.hosts.is_empty() || known.hosts.iter().any(|pattern| pattern.matches(host)))
    }
}

impl Guests {
    fn of(tokens: &[Token], lti_keys: &[LtiKey]) -> Self {
        let principal = |token: &Token| Principal { name: token.name.as_str().into(), role: token.role };
        Self {
            tokens: tokens.iter().map(|token| (digest(token.token.expose()), principal(token))).collect(),
            lti_keys: lti_keys.iter().map(KnownKey::of).collect(),
        }
    }
}

impl KnownKey {
    fn of(key: &LtiKey) -> Self {
        Self { name: digest(&key.key), secret: digest(key.secret.expose()), hosts: key.hosts.clone() }
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
        let badge = Badge::of("t0p");
        assert!(access.recognise(badge).is_some());
        access.reload(&[], &[]);
        assert_eq!(name("t0p"), None);
        assert!(access.recognise(badge).is_none(), "a badge is worth no more than its token");
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
    fn an_lti_key_reaches_its_own_hosts_alone() {
        let hosts = ["lms.example.edu", "*.schools.example"].map(|host| HostPattern::parse(host).expect("a host"));
        let key = |key: &str, hosts: &[HostPattern]| LtiKey {
            key: key.to_owned(),
            secret: Secret::new("1"),
            hosts: hosts.to_vec(),
        };
        let access = Access::new(&[], &[key("here", &hosts), key("anywhere", &[])]);
        for (name, host, reaches) in [
            ("here", "lms.example.edu", true),
            ("here", "a.schools.example", true),
            ("here", "evil.example", false),
            ("anywhere", "evil.example", true),
            ("nobody", "lms.example.edu", false),
        ] {
            assert_eq!(access.key_reaches(name, host), reaches, "{name} {host}");
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
