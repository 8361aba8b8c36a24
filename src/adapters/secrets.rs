//! `Registry` on the configuration: shared secrets, registrations, signing keys and names. Swapped as a whole at
//! SIGHUP, so that no attempt sees half of an old and half of a new configuration.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::{
    config::{
        Config,
        host::HostPattern,
        lti::{LtiKey, Platform, SigningKeyConfig},
        names::PlatformNames,
        rsa::{self, NotAnRsaKey},
        secret::SecretUrl,
    },
    domain::{
        destination::{AgsTarget, ClaimedRegistration, Origin, ServiceUrl},
        outcome::{FailureReason, shown_name},
        platform::{Registration, SharedSecret, SigningKey},
    },
    lti::Confidential,
    ports::Registry,
};

/// The keys and registrations of the configuration.
pub struct ConfiguredRegistry(ArcSwap<Known>);

struct Known {
    secrets: HashMap<String, KeyUse>,
    /// By client id.
    registrations: HashMap<String, Vec<Registered>>,
    unregistered: Unregistered,
    names: PlatformNames,
    /// The first one signs.
    signing_key: Option<Arc<SigningKey>>,
    jwks: Arc<Value>,
    confidential: Arc<Confidential>,
}

/// A shared secret, and the hosts that it may be used at; none means any.
struct KeyUse {
    secret: SharedSecret,
    hosts: Vec<HostPattern>,
}

/// A registration, and what an event must not contradict to find it.
struct Registered {
    issuer: Option<String>,
    /// The only hosts that its tokens go to; none means any.
    hosts: Vec<HostPattern>,
    registration: Registration,
}

/// What becomes of an event whose client id nobody has registered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unregistered {
    Refused,
    Trusted,
}

impl ConfiguredRegistry {
    /// Takes what the configuration holds.
    pub fn new(config: &Config) -> Result<Self, NotAnRsaKey> {
        Ok(Self(ArcSwap::from_pointee(Known::of(config)?)))
    }

    /// From now on, goes by another configuration. An error changes nothing.
    pub fn reload(&self, config: &Config) -> Result<(), NotAnRsaKey> {
        self.0.store(Arc::new(Known::of(config)?));
        Ok(())
    }

    /// The JWKS document (RFC 7517) of all public halves.
    pub fn jwks(&self) -> Arc<Value> {
        self.0.load().jwks.clone()
    }
}

impl Registry for ConfiguredRegistry {
    fn shared_secret(&self, consumer_key: &str, host: &str) -> Result<SharedSecret, FailureReason> {
        let known = self.0.load();
        let KeyUse { secret, hosts } = known.secrets.get(consumer_key).ok_or(FailureReason::UnknownKey)?;
        if hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host)) {
            Ok(secret.clone())
        } else {
            Err(FailureReason::BlockedDestination)
        }
    }

    fn registration(&self, target: &AgsTarget) -> Result<Registration, FailureReason> {
        let known = self.0.load();
        let Some(candidates) = known.registrations.get(&target.client_id) else {
            return match known.unregistered {
                Unregistered::Trusted => as_claimed(target),
                Unregistered::Refused => Err(FailureReason::UnknownPlatform),
            };
        };
        let mut fitting = candidates.iter().filter(|candidate| candidate.fits(&target.claimed));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) if one.reaches(target.column.url()) => Ok(one.for_event(&target.claimed)),
            (Some(_), None) => Err(FailureReason::BlockedDestination),
            _ => Err(FailureReason::UnknownPlatform),
        }
    }

    fn why_unregistered(&self, target: &AgsTarget) -> Option<String> {
        let known = self.0.load();
        let client_id = shown_name(&target.client_id);
        let Some(candidates) = known.registrations.get(&target.client_id) else {
            let trusted = known.unregistered == Unregistered::Trusted;
            return Some(if trusted {
                format!("no [[platforms]] entry has the client_id {client_id}, and the event gives no token_url")
            } else {
                format!("no [[platforms]] entry has the client_id {client_id}")
            });
        };
        Some(why_none_fits(candidates, &client_id, target))
    }

    fn platform_name(&self, origin: &Origin, client_id: Option<&str>) -> Option<Arc<str>> {
        self.0.load().names.configured_label(origin, client_id).cloned()
    }

    fn signing_key(&self) -> Result<Arc<SigningKey>, FailureReason> {
        self.0.load().signing_key.clone().ok_or(FailureReason::UnknownKey)
    }

    fn confidential(&self) -> Arc<Confidential> {
        self.0.load().confidential.clone()
    }
}

impl Known {
    fn of(config: &Config) -> Result<Self, NotAnRsaKey> {
        let secret = |key: &LtiKey| {
            let hosts = key.hosts.clone();
            (key.key.clone(), KeyUse { secret: SharedSecret::new(key.secret.expose()), hosts })
        };
        let mut registrations: HashMap<String, Vec<Registered>> = HashMap::new();
        for registered in config.platforms.iter().filter_map(Registered::of) {
            registrations.entry(registered.registration.client_id.clone()).or_default().push(registered);
        }
        let signing_keys: Vec<SigningKey> = config.signing_keys.iter().map(SigningKeyConfig::signing_key).collect();
        let jwks = Arc::new(rsa::jwks(&signing_keys)?);
        Ok(Self {
            secrets: config.lti_keys.iter().map(secret).collect(),
            registrations,
            names: PlatformNames::new(&config.platforms),
            unregistered: if config.lti.allow_unregistered { Unregistered::Trusted } else { Unregistered::Refused },
            signing_key: signing_keys.into_iter().next().map(Arc::new),
            jwks,
            confidential: Arc::new(confidential(config)),
        })
    }
}

/// The secrets that are texts; a PEM has too many lines to be repeated by accident.
fn confidential(config: &Config) -> Confidential {
    let keys = config.lti_keys.iter().map(|key| key.secret.expose());
    let tokens = config.tokens.iter().map(|token| token.token.expose());
    let urls = [&config.amqp.url, &config.egress.proxy];
    let passwords: Vec<String> = urls.into_iter().flatten().filter_map(SecretUrl::password).collect();
    Confidential::new(keys.chain(tokens).chain(passwords.iter().map(String::as_str)))
}

impl Registered {
    /// None for an entry that only names an origin.
    fn of(platform: &Platform) -> Option<Self> {
        let registration = platform.registration()?;
        Some(Self { issuer: platform.issuer.clone(), hosts: platform.hosts.clone(), registration })
    }

    /// Whether a token may be sent to this URL.
    fn reaches(&self, url: &ServiceUrl) -> bool {
        let host = url.as_url().host_str().unwrap_or_default();
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether the event contradicts neither issuer nor deployment. What one side leaves open fits anything.
    fn fits(&self, claimed: &ClaimedRegistration) -> bool {
        agree(self.issuer.as_ref(), claimed.issuer.as_ref())
            && agree(self.registration.deployment_id.as_ref(), claimed.deployment_id.as_ref())
    }

    /// In what the event contradicts this entry.
    fn differs(&self, claimed: &ClaimedRegistration) -> Option<String> {
        let ours = &self.registration;
        let (field, wanted, given) = if agree(self.issuer.as_ref(), claimed.issuer.as_ref()) {
            ("deployment_id", ours.deployment_id.as_ref()?, claimed.deployment_id.as_ref()?)
        } else {
            ("issuer", self.issuer.as_ref()?, claimed.issuer.as_ref()?)
        };
        let name = ours.name.as_deref().unwrap_or("an entry");
        Some(format!("{name} has the {field} {}, and the event says {}", shown_name(wanted), shown_name(given)))
    }

    /// The registration, with the names of what the event says differently.
    fn for_event(&self, claimed: &ClaimedRegistration) -> Registration {
        let mut registration = self.registration.clone();
        if !agree(Some(&registration.token_url), claimed.token_url.as_ref()) {
            registration.ignored_claims.push("token_url");
        }
        if !agree(Some(&registration.token_audience), claimed.token_aud.as_ref()) {
            registration.ignored_claims.push("token_aud");
        }
        registration
    }
}

/// What the entries with the client id of an event have against it.
fn why_none_fits(candidates: &[Registered], client_id: &str, target: &AgsTarget) -> String {
    let names = |entries: &mut dyn Iterator<Item = &Registered>| {
        let names: Vec<&str> = entries.filter_map(|entry| entry.registration.name.as_deref()).collect();
        names.join(", ")
    };
    let claimed = &target.claimed;
    let fitting = || candidates.iter().filter(|entry| entry.fits(claimed));
    match fitting().count() {
        0 => {}
        1 => {
            let host = target.column.url().as_url().host_str().unwrap_or_default();
            return format!(
                "a token of {} may not be sent to {host}: its `hosts` do not name it",
                names(&mut fitting())
            );
        }
        _ => {
            return format!(
                "more than one [[platforms]] entry has the client_id {client_id} and fits: {}; let the event name issuer or \
                 deployment_id",
                names(&mut fitting())
            );
        }
    }
    let differs: Vec<String> = candidates.iter().filter_map(|entry| entry.differs(claimed)).collect();
    format!("the event fits no [[platforms]] entry with the client_id {client_id}: {}", differs.join("; "))
}

fn agree<T: PartialEq>(ours: Option<&T>, claimed: Option<&T>) -> bool {
    match (ours, claimed) {
        (Some(ours), Some(claimed)) => ours == claimed,
        _ => true,
    }
}

/// The registration as the event claims it to be, where the configuration trusts events.
fn as_claimed(target: &AgsTarget) -> Result<Registration, FailureReason> {
    let claimed = &target.claimed;
    let token_url = claimed.token_url.clone().ok_or(FailureReason::UnknownPlatform)?;
    Ok(Registration {
        name: None,
        client_id: target.client_id.clone(),
        token_audience: claimed.token_aud.clone().unwrap_or_else(|| token_url.as_url().to_string()),
        token_url,
        deployment_id: claimed.deployment_id.clone(),
        ignored_claims: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LoadOptions,
        domain::destination::{Column, ServiceUrl},
    };

    const PLATFORMS: &str = r#"
        [[lti_keys]]
        key = "anywhere"
        secret = "s1"
        [[lti_keys]]
        key = "here"
        secret = "s2"
        hosts = ["lms.example.edu", "*.schools.example"]
        [[platforms]]
        name = "moodle"
        issuer = "https://moodle.example"
        client_id = "m"
        deployment_id = "1"
        token_url = "https://moodle.example/token"
        [[platforms]]
        name = "moodle-two"
        issuer = "https://moodle.example"
        client_id = "m"
        deployment_id = "2"
        token_url = "https://moodle.example/token"
        token_aud = "https://moodle.example/aud"
        [[platforms]]
        name = "any"
        client_id = "a"
        token_url = "https://any.example/token"
        [[platforms]]
        name = "named"
        origin = "https://named.example"
    "#;

    fn registry(text: &str) -> ConfiguredRegistry {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passback.toml");
        std::fs::write(&path, text).expect("it is written");
        let config = Config::load(LoadOptions { path: Some(path), env: std::iter::empty() }).expect("it is right");
        ConfiguredRegistry::new(&config).expect("its keys are right")
    }

    fn target(client_id: &str, claimed: ClaimedRegistration) -> AgsTarget {
        let url = ServiceUrl::parse("https://lms.example.edu/lineitem").expect("a URL");
        let column = Column::Known(url);
        AgsTarget {
            client_id: client_id.to_owned(),
            user_id: "u".to_owned(),
            column,
            claimed,
            scopes: None,
            tool_family: None,
        }
    }

    fn claimed(issuer: &str, deployment_id: &str, token_url: &str, token_aud: &str) -> ClaimedRegistration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ClaimedRegistration {
            issuer: some(issuer),
            deployment_id: some(deployment_id),
            token_url: some(token_url).map(|url| ServiceUrl::parse(&url).expect("a URL")),
            token_aud: some(token_aud),
        }
    }

    #[test]
    fn a_shared_secret_is_used_at_its_hosts_alone() {
        let registry = registry(PLATFORMS);
        let check = |key: &str, host: &str, expected: Result<&str, FailureReason>| {
            let found = registry.shared_secret(key, host).map(|secret| secret.expose().to_owned());
            assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{key} {host}");
        };
        check("anywhere", "evil.example", Ok("s1"));
        check("here", "lms.example.edu", Ok("s2"));
        check("here", "a.schools.example", Ok("s2"));
        check("here", "evil.example", Err(FailureReason::BlockedDestination));
        check("nobody", "lms.example.edu", Err(FailureReason::UnknownKey));
    }

    #[test]
    fn a_registration_is_found_if_just_one_fits() {
        let strict = registry(PLATFORMS);
        let trusting = registry(&format!("[lti]\nallow_unregistered = true\n{PLATFORMS}"));
        let check = |client_id: &str, claims: ClaimedRegistration, expected: Option<(&str, &[&str])>| {
            for registry in [&strict, &trusting] {
                let found = registry.registration(&target(client_id, claims.clone()));
                let found = found.as_ref().ok().map(|one| (one.name.as_deref().unwrap_or("-"), &*one.ignored_claims));
                assert_eq!(found, expected, "{client_id} {claims:?}");
            }
        };
        check("m", claimed("", "", "", ""), None);
        check("m", claimed("", "1", "", ""), Some(("moodle", &[])));
        check("m", claimed("https://moodle.example", "2", "", ""), Some(("moodle-two", &[])));
        check("m", claimed("https://evil.example", "2", "", ""), None);
        check("m", claimed("", "3", "https://evil.example/token", ""), None);
        check("m", claimed("", "1", "https://evil.example/token", "x"), Some(("moodle", &["token_url", "token_aud"])));
        check(
            "m",
            claimed("", "1", "https://moodle.example/token", "https://moodle.example/token"),
            Some(("moodle", &[])),
        );
        check("a", claimed("https://whoever.example", "7", "", ""), Some(("any", &[])));
    }

    #[test]
    fn an_event_that_finds_no_registration_is_told_what_differs() {
        let hosts = "[[platforms]]\nname = \"elsewhere\"\nclient_id = \"e\"\n\
                     token_url = \"https://sso.example/token\"\nhosts = [\"sso.example\"]\n";
        let strict = registry(&format!("{PLATFORMS}{hosts}"));
        let check = |client_id: &str, claims: ClaimedRegistration, words: &[&str]| {
            let why = strict.why_unregistered(&target(client_id, claims)).expect("a reason");
            assert!(words.iter().all(|words| why.contains(words)), "{why}");
        };
        check("new", claimed("i", "7", "", ""), &["no [[platforms]] entry has the client_id new"]);
        check("m", claimed("", "", "", ""), &["more than one", "moodle, moodle-two", "deployment_id"]);
        check(
            "m",
            claimed("", "3", "", ""),
            &["moodle has the deployment_id 1, and the event says 3", "moodle-two has"],
        );
        let other = claimed("https://evil.example", "1", "", "");
        check("m", other, &["the issuer https://moodle.example, and the event says https://evil.example"]);
        check("e", claimed("", "", "", ""), &["a token of elsewhere may not be sent to lms.example.edu", "`hosts`"]);
        let trusting = registry("[lti]\nallow_unregistered = true\n");
        let why = trusting.why_unregistered(&target("new", claimed("i", "7", "", "")));
        assert!(why.is_some_and(|why| why.contains("gives no token_url")));
    }

    #[test]
    fn a_token_goes_to_the_hosts_of_its_platform_alone() {
        let text =
            "[[platforms]]\nname = \"m\"\nclient_id = \"m\"\ntoken_url = \"https://sso.example/token\"\nhosts = ";
        let check = |hosts: &str, expected: Option<FailureReason>| {
            let found =
                registry(&format!("{text}{hosts}\n")).registration(&target("m", ClaimedRegistration::default()));
            assert_eq!(found.err(), expected, "{hosts}");
        };
        check("[]", None);
        check("[\"lms.example.edu\"]", None);
        check("[\"*.example.edu\"]", None);
        check("[\"sso.example\"]", Some(FailureReason::BlockedDestination));
    }

    #[test]
    fn an_unregistered_platform_is_believed_only_where_that_is_allowed() {
        let claims = claimed("i", "7", "https://t.example/token", "");
        let strict = registry(PLATFORMS).registration(&target("new", claims.clone()));
        assert_eq!(strict, Err(FailureReason::UnknownPlatform));
        let trusting = registry("[lti]\nallow_unregistered = true\n");
        let found = trusting.registration(&target("new", claims)).expect("it is believed");
        assert_eq!((found.name, found.deployment_id.as_deref()), (None, Some("7")));
        assert_eq!(found.token_audience, "https://t.example/token");
        let without_url = trusting.registration(&target("new", claimed("i", "7", "", "")));
        assert_eq!(without_url, Err(FailureReason::UnknownPlatform));
    }

    #[test]
    fn the_first_key_signs_and_all_are_published() {
        let pems = [0, 1].map(|_| rsa::generate_signing_key().expect("a key"));
        let entry = |kid: &str, pem: &secrecy::SecretString| {
            format!(
                "[[signing_keys]]\nkid = \"{kid}\"\nprivate_key = '''{}'''\n",
                secrecy::ExposeSecret::expose_secret(pem)
            )
        };
        let text = format!("{}{}", entry("new", &pems[0]), entry("old", &pems[1]));
        let registry = registry(&text);
        assert_eq!(registry.signing_key().expect("there is one").kid, "new");
        let published = registry.jwks();
        assert_eq!((&published["keys"][0]["kid"], &published["keys"][1]["kid"]), (&"new".into(), &"old".into()));
        assert!(!published.to_string().contains("\"d\""), "a private half is published");

        registry.reload(&Config::default()).expect("it has no keys");
        assert_eq!(registry.signing_key().err(), Some(FailureReason::UnknownKey));
        assert_eq!(*registry.jwks(), serde_json::json!({ "keys": [] }));
    }
}
