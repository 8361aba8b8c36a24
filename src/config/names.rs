//! The one public name of each platform: the configured one, else its host. The same in metrics, log, API and command
//! line, so it is found here and nowhere else.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use arc_swap::ArcSwap;

use super::lti::Platform;
use crate::domain::{
    destination::{Origin, ServiceUrl},
    ledger::PlatformRecord,
};

/// The names that `[[platforms]]` gives.
#[derive(Debug, Default)]
pub struct PlatformNames {
    platforms: Vec<Named>,
    /// Indices into `platforms`, by explicit origin.
    by_origin: HashMap<Origin, Vec<usize>>,
    by_client: HashMap<String, Vec<usize>>,
    /// By the origins of token URL and issuer.
    by_service: HashMap<Origin, Vec<usize>>,
}

#[derive(Debug)]
struct Named {
    name: Arc<str>,
    origin: Option<Origin>,
}

impl PlatformNames {
    /// Takes the names of the configuration.
    pub fn new(platforms: &[Platform]) -> Self {
        let mut names = Self::default();
        for (index, platform) in platforms.iter().enumerate() {
            let Platform { name, client_id, origin, token_url, issuer, .. } = platform;
            if let Some(origin) = origin {
                names.by_origin.entry(origin.clone()).or_default().push(index);
            }
            if let Some(client_id) = client_id {
                names.by_client.entry(client_id.clone()).or_default().push(index);
            }
            for origin in services(token_url.as_ref(), issuer.as_deref()) {
                names.by_service.entry(origin).or_default().push(index);
            }
            let named = Named { name: name.as_str().into(), origin: origin.clone() };
            names.platforms.push(named);
        }
        names
    }

    /// The name of the platform at `origin`, to which an AGS job with `client_id` went, if one did. An entry that gives
    /// the origin in so many words comes first, then the registration with that client id, then one whose token URL or
    /// issuer is there, then the host.
    pub fn label(&self, origin: &Origin, client_id: Option<&str>) -> Arc<str> {
        self.configured_label(origin, client_id).cloned().unwrap_or_else(|| origin.host().into())
    }

    /// The name that the configuration gives, if it gives one.
    pub fn configured_label(&self, origin: &Origin, client_id: Option<&str>) -> Option<&Arc<str>> {
        let here = indices(&self.by_origin, origin);
        let same_client = client_id.map_or(&[][..], |client_id| indices(&self.by_client, client_id));
        let served_here = indices(&self.by_service, origin);
        let both = |some: &[usize], others: &[usize]| some.iter().copied().find(|index| others.contains(index));
        let index = both(here, same_client)
            .or_else(|| here.first().copied())
            .or_else(|| both(same_client, served_here))
            .or_else(|| only(same_client))
            .or_else(|| served_here.first().copied())?;
        self.platforms.get(index).map(|named| &named.name)
    }

    /// The origins that `label` means: those of `known` that have this name, and those that the configuration gives it.
    pub fn origins_of(&self, label: &str, known: &[PlatformRecord]) -> Vec<Origin> {
        let met = known.iter().filter(|record| &*self.label(&record.origin, record.client_id.as_deref()) == label);
        let mut origins: Vec<Origin> = met.map(|record| record.origin.clone()).collect();
        let given = self.platforms.iter().filter(|named| &*named.name == label);
        for origin in given.filter_map(|named| named.origin.as_ref()) {
            let is_its_name = self.configured_label(origin, None).is_some_and(|name| &**name == label);
            if is_its_name && !origins.contains(origin) {
                origins.push(origin.clone());
            }
        }
        origins
    }

    /// All names that the configuration gives.
    pub fn configured(&self) -> impl Iterator<Item = &Arc<str>> {
        self.platforms.iter().map(|named| &named.name)
    }
}

fn services(token_url: Option<&ServiceUrl>, issuer: Option<&str>) -> Vec<Origin> {
    let issuer = issuer.and_then(|issuer| ServiceUrl::parse(issuer).ok());
    let mut origins: Vec<Origin> = token_url.into_iter().chain(&issuer).map(ServiceUrl::origin).collect();
    origins.dedup();
    origins
}

fn indices<'a, K, Q>(map: &'a HashMap<K, Vec<usize>>, key: &Q) -> &'a [usize]
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
{
    map.get(key).map_or(&[], Vec::as_slice)
}

/// One client id may stand for several registrations; then it names none of them.
fn only(indices: &[usize]) -> Option<usize> {
    match indices {
        [index] => Some(*index),
        _ => None,
    }
}

/// The names of the platforms that were met so far. Shared by all who show them, and swapped at SIGHUP.
#[derive(Debug, Default)]
pub struct Labels {
    names: ArcSwap<PlatformNames>,
    met: RwLock<HashMap<Origin, Met>>,
}

#[derive(Debug)]
struct Met {
    client_id: Option<String>,
    label: Arc<str>,
}

/// Origins whose name is kept at hand; the names of any others are found each time. It bounds the memory.
const MET_MAX: usize = 10_000;

impl Labels {
    /// Begins with the names of the configuration.
    pub fn new(names: PlatformNames) -> Self {
        Self { names: ArcSwap::from_pointee(names), met: RwLock::default() }
    }

    /// From now on, goes by other names.
    pub fn reload(&self, names: PlatformNames) {
        let mut met = self.met.write().unwrap_or_else(PoisonError::into_inner);
        for (origin, known) in met.iter_mut() {
            known.label = names.label(origin, known.client_id.as_deref());
        }
        self.names.store(Arc::new(names));
    }

    /// The names of the configuration.
    pub fn names(&self) -> Arc<PlatformNames> {
        self.names.load_full()
    }

    /// Takes note of a platform: at the start for each that the store knows, later with its notice.
    pub fn meet(&self, origin: &Origin, client_id: Option<&str>) {
        let label = self.names.load().label(origin, client_id);
        let mut met = self.met.write().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MET_MAX || met.contains_key(origin) {
            met.insert(origin.clone(), Met { client_id: client_id.map(str::to_owned), label });
        }
    }

    /// The name of a platform.
    pub fn label(&self, origin: &Origin) -> Arc<str> {
        if let Some(known) = self.met.read().unwrap_or_else(PoisonError::into_inner).get(origin) {
            return known.label.clone();
        }
        self.names.load().label(origin, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(name: &str, client_id: &str, token_url: &str, issuer: &str, origin: &str) -> Platform {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Platform {
            name: name.to_owned(),
            issuer: some(issuer),
            client_id: some(client_id),
            deployment_id: None,
            token_url: some(token_url).map(|url| ServiceUrl::parse(&url).expect("a URL")),
            token_aud: None,
            hosts: Vec::new(),
            origin: some(origin).map(|origin| Origin::from_stored(&origin)),
        }
    }

    fn names() -> PlatformNames {
        PlatformNames::new(&[
            platform("moodle", "m1", "https://moodle.example/token", "https://moodle.example", ""),
            platform("brightspace", "d2l", "https://auth.d2l.example/token", "https://school.d2l.example", ""),
            platform("canvas-a", "1", "https://a.canvas.example/token", "https://canvas.example", ""),
            platform("canvas-b", "1", "https://b.canvas.example/token", "https://canvas.example", ""),
            platform("old", "", "", "", "https://old.example:8443"),
            platform("lab", "m2", "https://moodle.example/token", "", "https://lab.example"),
        ])
    }

    #[test]
    fn a_platform_is_named_by_origin_then_client_then_service_then_host() {
        let names = names();
        let check = |origin: &str, client_id: Option<&str>, label: &str| {
            assert_eq!(&*names.label(&Origin::from_stored(origin), client_id), label, "{origin} {client_id:?}");
        };
        check("https://old.example:8443", None, "old");
        check("https://old.example", None, "old.example");
        check("https://lab.example", Some("m1"), "lab");
        check("https://moodle.example", Some("m2"), "lab");
        check("https://moodle.example", Some("m1"), "moodle");
        check("https://moodle.example", None, "moodle");
        check("https://elsewhere.example", Some("m1"), "moodle");
        check("https://school.d2l.example", None, "brightspace");
        check("https://b.canvas.example", Some("1"), "canvas-b");
        check("https://c.canvas.example", Some("1"), "c.canvas.example");
        check("http://127.0.0.1:9000", Some("unknown"), "127.0.0.1:9000");
    }

    #[test]
    fn a_name_leads_back_to_its_origins() {
        let names = names();
        let record = |origin: &str, client_id: Option<&str>| PlatformRecord {
            origin: Origin::from_stored(origin),
            client_id: client_id.map(str::to_owned),
            paused_since: None,
            held_since: None,
        };
        let known = [
            record("https://moodle.example", None),
            record("https://elsewhere.example", Some("m1")),
            record("https://other.example", None),
        ];
        let check = |label: &str, origins: &[&str]| {
            let found = names.origins_of(label, &known);
            assert_eq!(found.iter().map(Origin::as_str).collect::<Vec<_>>(), origins, "{label}");
        };
        check("moodle", &["https://moodle.example", "https://elsewhere.example"]);
        check("other.example", &["https://other.example"]);
        check("old", &["https://old.example:8443"]);
        check("nobody", &[]);
    }

    #[test]
    fn a_platform_that_was_met_keeps_its_client_over_a_reload() {
        let labels = Labels::new(PlatformNames::default());
        let origin = Origin::from_stored("https://elsewhere.example");
        labels.meet(&origin, Some("m1"));
        assert_eq!(&*labels.label(&origin), "elsewhere.example");
        labels.reload(names());
        assert_eq!(&*labels.label(&origin), "moodle");
        assert_eq!(&*labels.label(&Origin::from_stored("https://new.example")), "new.example");
    }
}
