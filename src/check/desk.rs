//! One platform checked while the worker runs, at an operator's word: the steps that `passback check` takes for it, in the
//! same words.
//!
//! It goes the worker's way (the same rules of egress, keys and registrations, also after these were read anew), with
//! connections of its own, so that what it says of names and certificates is true now. A platform is checked once at a
//! time, few at once, and within a time: whoever presses the button again and again floods nobody.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::timeout;

use super::{
    Findings, Patience, Remark, Road, Section, platform, reach,
    signature::{self, Past, Proof},
};
use crate::{
    adapters::{secrets::ConfiguredRegistry, transport::HttpTransport},
    config::lti::Platform,
    domain::destination::{Origin, ServiceUrl},
    ports::Clock,
};

/// Platforms that are checked at one time.
pub const AT_ONCE_MAX: usize = 4;

/// How long a check may take as a whole; each of its steps takes 15 s at most.
const WITHIN: Duration = Duration::from_secs(60);

/// What is called a URL that stands in events alone.
const OF_EVENTS: &str = "the service URL in its events";

/// Where platforms are checked.
pub struct Desk {
    registry: Arc<ConfiguredRegistry>,
    transport: HttpTransport,
    clock: Arc<dyn Clock>,
    /// `[delivery] timeout`.
    timeout: Duration,
    /// `[[platforms]]`, swapped where they are read anew.
    platforms: ArcSwap<Vec<Platform>>,
    /// The names of those that are being checked.
    under_way: Mutex<BTreeSet<String>>,
}

/// Why nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChecked {
    /// It is being checked.
    #[error("{0} is being checked already: its result goes to whoever asked first")]
    UnderWay(String),
    /// Enough others are.
    #[error(
        "{AT_ONCE_MAX} platforms are being checked, which is as many as may be at once: ask again in a few seconds"
    )]
    Busy,
}

impl Desk {
    /// A desk for these platforms. `transport` is for checks alone.
    pub fn new(
        registry: Arc<ConfiguredRegistry>,
        transport: HttpTransport,
        clock: Arc<dyn Clock>,
        timeout: Duration,
        platforms: Vec<Platform>,
    ) -> Self {
        let platforms = ArcSwap::from_pointee(platforms);
        Self { registry, transport, clock, timeout, platforms, under_way: Mutex::default() }
    }

    /// From now on, goes by other registrations.
    pub fn reload(&self, platforms: Vec<Platform>) {
        self.platforms.store(Arc::new(platforms));
    }

    /// Checks the platform of this name: its entry in `[[platforms]]`, or the way to the `origins` that are known by that
    /// name where there is none. `past` is what became of the grades that went there.
    ///
    /// # Errors
    ///
    /// It is being checked already, or enough others are.
    pub async fn check(&self, name: &str, origins: &[Origin], past: Past) -> Result<Findings, NotChecked> {
        let _place = self.take_place(name)?;
        let platforms = self.platforms.load_full();
        let road = Road {
            registry: &self.registry,
            platforms: &platforms,
            transport: &self.transport,
            clock: &*self.clock,
            patience: Patience::of(self.timeout),
            listen: None,
        };
        let steps = async {
            match platforms.iter().find(|platform| platform.name == name) {
                Some(platform) => platform::section(road, platform, Some(past)).await,
                None => ways(road, name, origins, &past).await,
            }
        };
        let remarks = timeout(WITHIN, steps).await.unwrap_or_else(|_| too_long(name));
        Ok(Findings::from(remarks))
    }

    fn take_place(&self, name: &str) -> Result<Place<'_>, NotChecked> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.contains(name) {
            return Err(NotChecked::UnderWay(name.to_owned()));
        }
        if under_way.len() >= AT_ONCE_MAX {
            return Err(NotChecked::Busy);
        }
        under_way.insert(name.to_owned());
        Ok(Place { desk: self, name: name.to_owned() })
    }
}

/// A place at the desk, left when the check has ended or nobody waits for it any more.
struct Place<'a> {
    desk: &'a Desk,
    name: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.desk.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// The ways to a platform that the configuration does not name: it is known by the URLs of its events.
async fn ways(road: Road<'_>, name: &str, origins: &[Origin], past: &Past) -> Vec<Remark> {
    let mut section = Section::named("platform", name);
    for origin in origins {
        if let Ok(url) = ServiceUrl::parse(&format!("{}/", origin.as_str())) {
            reach::visit(road, &mut section, &url, OF_EVENTS).await;
        }
    }
    if !origins.is_empty() {
        signature::tell(&mut section, Proof::Unsigned, past);
    }
    section.done()
}

fn too_long(name: &str) -> Vec<Remark> {
    let mut section = Section::named("platform", name);
    let advice = "something on the way answers very slowly: try again, and run `passback check` beside the worker, which \
                  tells each step as it goes";
    section.fail("time", format!("the check as a whole took longer than {} s", WITHIN.as_secs()), advice);
    section.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::{clock::SystemClock, transport::Options},
        config::Config,
    };

    fn desk() -> Desk {
        let registry = ConfiguredRegistry::new(&Config::default()).expect("no keys");
        let transport = HttpTransport::new(Options::default()).expect("a transport");
        Desk::new(Arc::new(registry), transport, Arc::new(SystemClock), Duration::from_secs(1), Vec::new())
    }

    #[test]
    fn a_platform_is_checked_once_at_a_time_and_few_at_once() {
        let desk = desk();
        let places: Vec<_> = (0..AT_ONCE_MAX).map(|n| desk.take_place(&n.to_string()).expect("a place")).collect();
        assert_eq!(desk.take_place("0").err(), Some(NotChecked::UnderWay("0".to_owned())));
        assert_eq!(desk.take_place("another").err(), Some(NotChecked::Busy));
        drop(places);
        assert!(desk.take_place("0").is_ok(), "a place is given back");
    }

    #[tokio::test]
    async fn what_is_not_allowed_is_not_called_and_the_events_are_named() {
        let origin = ServiceUrl::parse("http://127.0.0.1:9/").expect("a URL").origin();
        let found = desk().check("127.0.0.1:9", &[origin], Past::default()).await.expect("a check");
        let [remark] = &found.checks[..] else { panic!("{found:?}") };
        assert_eq!((found.ok, remark.step, remark.name.as_deref()), (false, "egress", Some("127.0.0.1:9")));
        assert!(remark.advice.as_deref().is_some_and(|advice| advice.contains(OF_EVENTS)), "{remark:?}");
        assert!(desk().check("nobody", &[], Past::default()).await.expect("a check").checks.is_empty());
    }
}
