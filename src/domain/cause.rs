//! Words in, cause out: what a refused token request, a failed handshake or an unknown operation is taken for, by the words
//! in which it was told.
//!
//! The one home of such words: the advice of a job, `passback check` and the second signing of an assertion all ask here,
//! and each makes a sentence of its own of the cause. Whole words count, in any case of the letters: "associated" holds no
//! "iat", and "`KeyId`" is no "kid".

/// A text as its words: small letters, one blank between two words, nothing else. Letters, digits and `_` make a word.
#[derive(Debug)]
pub struct Words(String);

impl Words {
    /// The words of a text.
    pub fn of(text: &str) -> Self {
        let mut words = String::with_capacity(text.len() + 2);
        words.push(' ');
        for word in text.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
            if !word.is_empty() {
                words.push_str(&word.to_lowercase());
                words.push(' ');
            }
        }
        Self(words)
    }

    /// Whether one of these stands among them. A phrase is written as the words are: small letters, single blanks.
    pub fn say(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.say_phrase(phrase))
    }

    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.0 == " "
    }

    fn say_phrase(&self, phrase: &str) -> bool {
        self.0.match_indices(phrase).any(|(at, found)| {
            let (before, after) = (&self.0[..at], &self.0[at + found.len()..]);
            before.ends_with(' ') && after.starts_with(' ')
        })
    }
}

/// Why a token endpoint gave no token, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCause {
    /// The platform cannot fetch our key set.
    KeysUnreachable,
    /// The times in the assertion.
    Clock,
    /// The audience of the assertion.
    Audience,
    /// The deployment.
    Deployment,
    /// The scopes.
    Scope,
    /// The signature, or the key that made it.
    Key,
    /// The client id.
    Client,
}

/// What is known of the two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// They were measured, and agree: where the words name times among other things, it is the other things.
    Agree,
    /// They are apart, or were not measured.
    MayBeApart,
}

impl TokenCause {
    /// The cause that the words speak of. Platforms use the codes of RFC 6749 as they please (`invalid_client` may be
    /// anything), so those come last.
    pub fn of(words: &Words, clocks: Clocks) -> Option<Self> {
        let times_count = clocks == Clocks::MayBeApart || !words.say(AUDIENCE);
        let rows = [
            (words.say(KEY_SET) && words.say(NOT_FETCHED), Self::KeysUnreachable),
            (words.say(TIME) && times_count, Self::Clock),
            (words.say(AUDIENCE), Self::Audience),
            (words.say(DEPLOYMENT), Self::Deployment),
            (words.say(SCOPE), Self::Scope),
            (words.say(KEY), Self::Key),
            (words.say(CLIENT), Self::Client),
        ];
        rows.into_iter().find_map(|(fits, cause)| fits.then_some(cause))
    }
}

/// Whether the words of a refused assertion speak of its times, among whatever else. For those who have measured that the
/// clocks are apart, so a vague word is enough.
pub fn speaks_of_time(words: &Words) -> bool {
    words.say(TIME) || words.say(&["time"])
}

/// Whether the words of an LTI 1.1 service say that it does not know the operation.
pub fn speaks_of_unsupported(words: &Words) -> bool {
    words.say(UNSUPPORTED)
}

/// Why there is no secure connection, by the transport's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsCause {
    /// The certificate is too old.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for another name.
    OtherName,
    /// Nobody we trust has signed it.
    UnknownIssuer,
    /// What answers is no TLS.
    NotSpoken,
}

impl TlsCause {
    /// The cause that the words speak of.
    pub fn of(words: &Words) -> Option<Self> {
        let row = TLS.iter().find(|(phrase, _)| words.say(&[*phrase]));
        row.map(|(_, cause)| *cause)
    }
}

/// What of ours a platform speaks of when it cannot have it. Moodle answers with a 404 page while it cannot; that is said
/// beside its words.
const KEY_SET: &[&str] = &["jwks", "jwk set", "keyset", "key set", "keys", "public key"];

/// How it says that it could not have it.
const NOT_FETCHED: &[&str] = &[
    "fetch",
    "fetched",
    "fetching",
    "retrieve",
    "retrieved",
    "download",
    "downloaded",
    "reach",
    "reached",
    "unreachable",
];

/// Moodle "Cannot handle token with iat prior to …" and "Expired token", Canvas "the 'iat' must be …"; others name the
/// claims; Open edX says no more than `unidentified_error`.
const TIME: &[&str] = &[
    "iat",
    "exp",
    "nbf",
    "expired",
    "expiration",
    "future",
    "prior to",
    "clock",
    "timestamp",
    "issued at",
    "not yet valid",
    "too old",
    "unidentified_error",
];

/// Canvas "the 'aud' is invalid".
const AUDIENCE: &[&str] = &["aud", "audience"];

const DEPLOYMENT: &[&str] = &["deployment", "deployment_id"];

const SCOPE: &[&str] = &["invalid_scope", "insufficient_scope", "scope", "scopes"];

/// Moodle "\"kid\" invalid, unable to lookup correct key", "Signature verification failed"; Brightspace "`KeyId` not found
/// in token".
const KEY: &[&str] = &[
    "kid",
    "keyid",
    "key id",
    "jwk",
    "jwks",
    "keyset",
    "key set",
    "signature",
    "verification failed",
    "no key",
    "public key",
    "unable to lookup correct key",
];

/// Moodle "The consumer key is incorrect.".
const CLIENT: &[&str] = &[
    "invalid_client",
    "unauthorized_client",
    "client_id",
    "client id",
    "client",
    "consumer key",
    "not registered",
    "issuer",
    "iss",
    "subject",
    "sub",
];

/// Open edX "Target does not support the requested operation", and the code of Basic Outcomes itself.
const UNSUPPORTED: &[&str] = &["unsupported", "not supported", "does not support", "not implemented"];

const TLS: &[(&str, TlsCause)] = &[
    ("has expired", TlsCause::Expired),
    ("not valid yet", TlsCause::NotYetValid),
    ("another name", TlsCause::OtherName),
    ("unknown issuer", TlsCause::UnknownIssuer),
    ("does not speak tls", TlsCause::NotSpoken),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_count_in_any_case_of_the_letters() {
        let words = Words::of("The 'AUD' claim: KeyId_2 is_not-there");
        for phrase in ["aud", "the aud claim", "keyid_2", "is_not there", "there"] {
            assert!(words.say(&[phrase]), "{phrase}");
        }
        for phrase in ["au", "claim k", "keyid", "not", "he aud"] {
            assert!(!words.say(&[phrase]), "{phrase}");
        }
        assert!(Words::of("[] {\"\"} …").are_none() && !Words::of("[1]").are_none());
        assert!(Words::of("a aud b aud").say(&["b aud"]), "each place is tried");
    }

    #[test]
    fn every_phrase_is_written_as_words_are() {
        let tls: Vec<&str> = TLS.iter().map(|(phrase, _)| *phrase).collect();
        let lists = [KEY_SET, NOT_FETCHED, TIME, AUDIENCE, DEPLOYMENT, SCOPE, KEY, CLIENT, UNSUPPORTED, &tls];
        for phrase in lists.concat() {
            assert_eq!(Words::of(phrase).0.trim(), phrase);
        }
    }

    /// The texts of real platforms, each by the name of its platform where that is known.
    #[test]
    fn the_words_of_each_platform_lead_to_their_cause() {
        use TokenCause::{Audience, Client, Clock, Deployment, Key, KeysUnreachable, Scope};
        let check = |text: &str, expected: Option<TokenCause>| {
            assert_eq!(TokenCause::of(&Words::of(text), Clocks::Agree), expected, "{text}");
        };
        check(r#"{"error":"Cannot handle token with iat prior to 2026-11-21T10:30:00+0000"}"#, Some(Clock)); // Moodle
        check(r#"{"error":"Expired token"}"#, Some(Clock)); // Moodle
        check(r#"{"error":"unidentified_error"}"#, Some(Clock)); // Open edX
        check(r#"{"error":"Signature verification failed"}"#, Some(Key)); // Moodle
        check(r#"{"error":""kid" invalid, unable to lookup correct key"}"#, Some(Key)); // Moodle
        check("invalid_request: KeyId not found in token", Some(Key)); // Brightspace
        check("the 'aud' is invalid", Some(Audience)); // Canvas
        check("invalid_scope", Some(Scope)); // Canvas, Moodle, Sakai
        check("The consumer key is incorrect.", Some(Client)); // Moodle
        check("invalid_client", Some(Client));
        check("Not found (the platform may not be able to fetch our JWKS)", Some(KeysUnreachable)); // Moodle
        check("the tool's key set cannot be fetched: error sending request", Some(KeysUnreachable));
        check("Unable to retrieve the JWKS of the tool", Some(KeysUnreachable));
        check("client not associated with this deployment", Some(Deployment));
        check("cannot initiate the grant", None);
        check("invalid_grant", None);
        check("", None);
    }

    #[test]
    fn clocks_that_agree_are_not_at_fault_for_an_audience() {
        let words = Words::of("invalid_client: check aud, iat and exp");
        assert_eq!(TokenCause::of(&words, Clocks::Agree), Some(TokenCause::Audience));
        assert_eq!(TokenCause::of(&words, Clocks::MayBeApart), Some(TokenCause::Clock));
        assert!(speaks_of_time(&words) && !speaks_of_time(&Words::of("associated")));
        let vague = Words::of("try another time");
        assert!(speaks_of_time(&vague) && TokenCause::of(&vague, Clocks::MayBeApart).is_none());
    }

    #[test]
    fn what_is_not_supported_is_told_in_many_ways() {
        for text in ["unsupported", "readResult is not supported.", "Target does not support the operation"] {
            assert!(speaks_of_unsupported(&Words::of(text)), "{text}");
        }
        assert!(!speaks_of_unsupported(&Words::of("the student supports nobody")));
    }
}
