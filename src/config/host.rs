//! Host names and patterns of them: `lms.example.edu`, or `*.example.edu` for everything below a name.

use std::{fmt, net::Ipv6Addr};

use serde::{Deserialize, Deserializer, de};

/// A host, or all hosts below a name.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; IPv6 without brackets.
    name: String,
    reach: Reach,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Itself,
    Below,
}

/// The text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be host names, such as lms.example.edu or *.example.edu, without scheme, port or path")]
pub struct BadHost;

impl HostPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        let (reach, name) = match text.trim().strip_prefix("*.") {
            Some(parent) => (Reach::Below, parent),
            None => (Reach::Itself, text.trim()),
        };
        let name = plain(name);
        let is_a_name = |name: &str| {
            let known = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
            !name.split('.').any(str::is_empty) && name.chars().all(known)
        };
        if is_a_name(&name) || (reach == Reach::Itself && name.parse::<Ipv6Addr>().is_ok()) {
            // Names of other scripts are compared in the form in which a URL carries them.
            let name = match url::Host::parse(&name) {
                Ok(url::Host::Domain(ascii)) => ascii,
                _ => name,
            };
            Ok(Self { name, reach })
        } else {
            Err(BadHost)
        }
    }

    /// Whether `host` (with or without a port) is meant. Case does not matter, nor does a last dot.
    pub fn matches(&self, host: &str) -> bool {
        let host = plain(without_port(host));
        match self.reach {
            Reach::Itself => host == self.name,
            Reach::Below => host.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }
}

/// Lower case, without brackets and the last dot.
fn plain(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') || name.ends_with(']') => name,
        _ => host,
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reach {
            Reach::Itself => f.write_str(&self.name),
            Reach::Below => write!(f, "*.{}", self.name),
        }
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_host_or_what_is_below_it() {
        let check = |pattern: &str, host: &str, matches: bool| {
            assert_eq!(HostPattern::parse(pattern).expect(pattern).matches(host), matches, "{pattern} {host}");
        };
        check("lms.example.edu", "lms.example.edu", true);
        check("LMS.example.edu", "lms.Example.edu.", true);
        check("lms.example.edu", "lms.example.edu:8443", true);
        check("lms.example.edu", "evil-lms.example.edu", false);
        check("*.example.edu", "lms.example.edu", true);
        check("*.example.edu", "a.b.example.edu:443", true);
        check("*.example.edu", "example.edu", false);
        check("*.example.edu", ".example.edu", false);
        check("*.example.edu", "evilexample.edu", false);
        check("*.example.edu", "example.edu.evil.com", false);
        check("127.0.0.1", "127.0.0.1:80", true);
        check("::1", "[::1]:80", true);
        check("[::1]", "[::1]", true);
        check("schüle.example", "xn--schle-mva.example", true);
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "*",
            "*.",
            "https://lms.example.edu",
            "lms.example.edu:443",
            "lms.example.edu/x",
            "a..b",
            "*.*.x",
            "a b",
        ] {
            assert_eq!(HostPattern::parse(wrong), Err(BadHost), "{wrong}");
        }
    }
}
