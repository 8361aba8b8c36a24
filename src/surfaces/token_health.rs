//! How each platform's tokens are: when one was given last, when one was refused last, and why. In memory, of a bounded
//! size, and gone with the process; `token_requests_total` counts them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use crate::{
    config::names::Labels,
    domain::{
        notice::{NoToken, Notice},
        outcome::FailureReason,
        time::Timestamp,
    },
    ports::{Clock, Observer},
};

/// Platforms that are remembered; of others that are met later nothing is known.
const PLATFORMS_MAX: usize = 200;

/// Remembers how the last requests for tokens ended.
pub struct TokenHealth {
    labels: Arc<Labels>,
    clock: Arc<dyn Clock>,
    platforms: Mutex<BTreeMap<Arc<str>, Tokens>>,
}

/// The tokens of a platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// When one was given last.
    granted_at: Option<Timestamp>,
    /// When one was refused last.
    failed_at: Option<Timestamp>,
    /// Why.
    reason: Option<FailureReason>,
    /// What the platform said, cut and redacted.
    error: Option<String>,
}

impl TokenHealth {
    /// Knows of no request yet.
    pub fn new(labels: Arc<Labels>, clock: Arc<dyn Clock>) -> Self {
        Self { labels, clock, platforms: Mutex::default() }
    }

    /// What is known of a platform; none where no token was asked for since the start.
    pub fn of(&self, name: &str) -> Option<Tokens> {
        self.platforms.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn note(&self, name: Arc<str>, failure: Option<&NoToken>) {
        let now = self.clock.now();
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        if platforms.len() >= PLATFORMS_MAX && !platforms.contains_key(&name) {
            return;
        }
        let tokens = platforms.entry(name).or_default();
        match failure {
            None => tokens.granted_at = Some(now),
            Some(NoToken { reason, words }) => {
                let (failed_at, reason, error) = (Some(now), Some(*reason), Some(words.to_string()));
                *tokens = Tokens { granted_at: tokens.granted_at, failed_at, reason, error };
            }
        }
    }
}

impl Observer for TokenHealth {
    fn observe(&self, notice: &Notice) {
        if let Notice::TokenRequested { origin, failure } = notice {
            self.note(self.labels.label(origin), failure.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::names::PlatformNames, domain::time::Draw};

    /// A clock that stands still.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(7)
        }

        fn draw(&self) -> Draw {
            Draw::MIDDLE
        }

        fn luck(&self) -> u128 {
            0
        }
    }

    fn health() -> TokenHealth {
        TokenHealth::new(Arc::new(Labels::new(PlatformNames::new(&[]))), Arc::new(Still))
    }

    fn refused(words: &str) -> NoToken {
        NoToken { reason: FailureReason::TokenRefused, words: words.into() }
    }

    #[test]
    fn the_last_token_and_the_last_refusal_are_both_known() {
        let health = health();
        assert_eq!(health.of("campus"), None);
        health.note("campus".into(), None);
        let now = Some(Timestamp::from_secs(7));
        assert_eq!(health.of("campus"), Some(Tokens { granted_at: now, ..Tokens::default() }));
        health.note("campus".into(), Some(&refused("first")));
        health.note("campus".into(), Some(&refused("last")));
        health.note("campus".into(), None);
        let (reason, error) = (Some(FailureReason::TokenRefused), Some("last".to_owned()));
        assert_eq!(health.of("campus"), Some(Tokens { granted_at: now, failed_at: now, reason, error }));
    }

    #[test]
    fn platforms_without_number_take_no_memory_without_end() {
        let health = health();
        for host in 0..2 * PLATFORMS_MAX {
            health.note(format!("host-{host}").into(), None);
        }
        assert_eq!(health.platforms.lock().expect("platforms").len(), PLATFORMS_MAX);
        health.note("host-0".into(), Some(&refused("no")));
        assert!(health.of("host-0").is_some_and(|tokens| tokens.failed_at.is_some()), "those that are known go on");
    }
}
