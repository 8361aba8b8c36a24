//! Those who were not let in: told in the log without what they tried, and slowed down.
//!
//! A guesser may knock as often as the network carries, so lines are few: the first at once, then one in a while with
//! how many there were since. Nobody is locked out by it, because that would let anybody lock out everybody.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    domain::{
        notice::{Notice, SignIn},
        time::Timestamp,
    },
    ports::{Clock, Observer, Pending, Porter},
};

/// The shortest time from one line to the next, for each way to sign in.
const LINES_APART: Duration = Duration::from_secs(10);
/// How long a refused sign-in waits for its answer: a connection that guesses gets four answers a second.
const REFUSED_AFTER: Duration = Duration::from_millis(250);

/// Tells of refused sign-ins, and slows them down.
pub struct SignIns {
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    /// By way, in the order of [`SignIn::ALL`].
    told: Mutex<[Told; SignIn::ALL.len()]>,
}

/// What was told of one way.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    at: Option<Timestamp>,
    untold: u64,
}

impl SignIns {
    /// Tells the observer.
    pub fn new(observer: Arc<dyn Observer>, clock: Arc<dyn Clock>) -> Self {
        Self { observer, clock, told: Mutex::default() }
    }

    /// The notice that is due now, if one is.
    fn notice(&self, way: SignIn, peer: Option<IpAddr>) -> Option<Notice> {
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = &mut told[way as usize];
        // A clock that was set back must not silence the log.
        let waits = told.at.is_some_and(|at| at <= now && now.since(at) < LINES_APART);
        if waits {
            told.untold += 1;
            return None;
        }
        told.at = Some(now);
        Some(Notice::SignInRefused { way, peer, untold: std::mem::take(&mut told.untold) })
    }
}

impl Porter for SignIns {
    fn turn_away(&self, way: SignIn, peer: Option<IpAddr>) -> Pending<'static, ()> {
        if let Some(notice) = self.notice(way, peer) {
            self.observer.observe(&notice);
        }
        Box::pin(sleep(REFUSED_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Draw;

    /// A clock that is set by hand.
    #[derive(Default)]
    struct Hands(Mutex<Timestamp>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn draw(&self) -> Draw {
            Draw::MIDDLE
        }

        fn luck(&self) -> u128 {
            0
        }
    }

    /// An observer that remembers.
    #[derive(Default)]
    struct Heard(Mutex<Vec<Notice>>);

    impl Observer for Heard {
        fn observe(&self, notice: &Notice) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone());
        }
    }

    #[tokio::test]
    async fn a_storm_of_guesses_is_a_few_lines_with_counts_and_each_waits() {
        let (clock, heard) = (Arc::new(Hands::default()), Arc::new(Heard::default()));
        let sign_ins = SignIns::new(Arc::clone(&heard) as _, Arc::clone(&clock) as _);
        let peer = Some(IpAddr::from([192, 0, 2, 7]));
        for second in 0..21 {
            *clock.0.lock().expect("a clock") = Timestamp::from_secs(1_700_000_000 + second);
            for _ in 0..100 {
                drop(sign_ins.turn_away(SignIn::Token, peer));
            }
        }
        let begin = tokio::time::Instant::now();
        sign_ins.turn_away(SignIn::LtiKey, None).await;
        assert!(begin.elapsed() >= REFUSED_AFTER);
        let told = |way, peer, untold| Notice::SignInRefused { way, peer, untold };
        let expected = [
            told(SignIn::Token, peer, 0),
            told(SignIn::Token, peer, 999),
            told(SignIn::Token, peer, 999),
            told(SignIn::LtiKey, None, 0),
        ];
        assert_eq!(*heard.0.lock().expect("notices"), expected);
        *clock.0.lock().expect("a clock") = Timestamp::from_secs(1);
        sign_ins.turn_away(SignIn::LtiKey, None).await;
        assert_eq!(heard.0.lock().expect("notices").len(), 5, "a clock that was set back silences nothing");
    }
}
