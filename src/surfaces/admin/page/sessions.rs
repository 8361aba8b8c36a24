//! Who has signed in to the page: random names of sessions, each for a token, in memory.
//!
//! A session is worth no more than its token: it ends when the token is taken away, after twelve hours, and with the
//! worker. Neither the token nor the session's own name is kept; both are known by their digests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{config::access::Badge, ports::Clock};

/// How long a session lasts.
pub const LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// Sessions at one time; one more ends the oldest.
const SESSIONS_MAX: usize = 1_000;
/// Sessions of one token at one time; one more ends its oldest, so that nobody signs others out by signing in.
const SESSIONS_OF_ONE_MAX: usize = 100;

/// The sessions.
pub struct Sessions {
    clock: Arc<dyn Clock>,
    open: Mutex<HashMap<[u8; 32], Session>>,
}

struct Session {
    badge: Badge,
    since: Instant,
}

impl Session {
    fn has_ended(&self) -> bool {
        self.since.elapsed() >= LASTS
    }
}

impl Sessions {
    /// None yet. Their names are drawn by the clock's chance.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: Mutex::default() }
    }

    /// Opens a session for a token. Its name is 256 random bits, as hexadecimal digits.
    pub(super) fn open(&self, badge: Badge) -> String {
        let name = format!("{:032x}{:032x}", self.clock.luck(), self.clock.luck());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| !session.has_ended());
        end_oldest(&mut open, SESSIONS_OF_ONE_MAX, |session| session.badge == badge);
        end_oldest(&mut open, SESSIONS_MAX, |_| true);
        open.insert(digest(&name), Session { badge, since: Instant::now() });
        name
    }

    /// Whose token a session is for, as long as it lasts.
    pub(in super::super) fn find(&self, name: &str) -> Option<Badge> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&digest(name)).filter(|session| !session.has_ended()).map(|session| session.badge)
    }

    /// Ends a session.
    pub(super) fn close(&self, name: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest(name));
    }
}

/// Makes room for one more where as many as may be are among those that count.
fn end_oldest(open: &mut HashMap<[u8; 32], Session>, max: usize, counts: impl Fn(&Session) -> bool) {
    let counted = || open.iter().filter(|(_, session)| counts(session));
    if counted().count() >= max {
        let oldest = counted().min_by_key(|(_, session)| session.since).map(|(digest, _)| *digest);
        oldest.and_then(|oldest| open.remove(&oldest));
    }
}

fn digest(name: &str) -> [u8; 32] {
    Sha256::digest(name.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::{Draw, Timestamp};

    /// Chance that counts.
    #[derive(Default)]
    struct Counting(Mutex<u128>);

    impl Clock for Counting {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }

        fn draw(&self) -> Draw {
            Draw::MIDDLE
        }

        fn luck(&self) -> u128 {
            let mut last = self.0.lock().expect("a number");
            *last += 1;
            *last
        }
    }

    fn sessions() -> Sessions {
        Sessions::new(Arc::new(Counting::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_after_its_time_or_at_a_word() {
        let sessions = sessions();
        let badge = Badge::of("t0p");
        let (kept, left) = (sessions.open(badge), sessions.open(badge));
        assert_ne!(kept, left);
        assert_eq!(kept.len(), 64, "256 bits");
        sessions.close(&left);
        assert!(sessions.find(&left).is_none() && sessions.find("").is_none() && sessions.find("t0p").is_none());
        tokio::time::advance(LASTS.saturating_sub(Duration::from_secs(1))).await;
        assert!(sessions.find(&kept).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sessions.find(&kept).is_none());
        sessions.open(badge);
        assert_eq!(sessions.open.lock().expect("sessions").len(), 1, "what has ended takes no room");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_only_so_many_and_the_oldest_makes_room() {
        let sessions = sessions();
        let open = |token: u64| sessions.open(Badge::of(&token.to_string()));
        let other = open(0);
        let first = open(1);
        for _ in 1..SESSIONS_OF_ONE_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            open(1);
        }
        assert!(sessions.find(&first).is_some());
        let last = open(1);
        assert!(sessions.find(&first).is_none() && sessions.find(&last).is_some());
        assert!(sessions.find(&other).is_some(), "whoever signs in often signs out nobody else");
        for token in 2..=SESSIONS_MAX as u64 {
            open(token);
        }
        assert!(sessions.find(&other).is_none());
        assert_eq!(sessions.open.lock().expect("sessions").len(), SESSIONS_MAX);
    }
}
