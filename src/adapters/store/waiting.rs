//! The orders that are not answered yet: how many they are, and for how long none of them has been answered.
//!
//! A disk that hangs shows in nothing else: the writer is inside a sync that does not return, and has neither failed nor
//! come any further.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// An event is taken only where fewer orders than this wait. What the worker does by itself is let in always: there is no
/// more of it than there are attempts under way, and an end must never be turned away for the sake of what comes in.
const WAITING_MAX: usize = 16 * 1024;
/// And where the events that wait have fewer bytes than this.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Counts who waits.
pub(super) struct Waiting {
    orders: AtomicUsize,
    /// The bytes of the events among them.
    bytes: AtomicUsize,
    /// The steady clock: a clock that is set must not look like a disk that hangs.
    born: Instant,
    /// When the first of those who wait came, or somebody was answered last, in milliseconds after `born`. Set before the
    /// number of orders is, so that nobody sees the two apart.
    still_since_ms: AtomicU64,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self {
            orders: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            born: Instant::now(),
            still_since_ms: AtomicU64::new(0),
        }
    }

    /// One more waits, with so many bytes if it is an event; false for an event where too much waits. To be called by one
    /// at a time.
    pub(super) fn enter(&self, event: Option<usize>) -> bool {
        let before = self.orders.load(Ordering::Acquire);
        if let Some(bytes) = event {
            if before >= WAITING_MAX || self.bytes.load(Ordering::Acquire) >= BYTES_MAX {
                return false;
            }
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
        }
        if before == 0 {
            self.note_now();
        }
        self.orders.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// So many are about to be answered, with so many bytes of events.
    pub(super) fn leave(&self, orders: usize, bytes: usize) {
        self.note_now();
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.orders.fetch_sub(orders, Ordering::AcqRel);
    }

    /// For how long nobody has been answered, though somebody waits; zero where nobody waits.
    pub(super) fn stuck_for(&self) -> Duration {
        if self.orders.load(Ordering::Acquire) == 0 {
            return Duration::ZERO;
        }
        self.born.elapsed().saturating_sub(Duration::from_millis(self.still_since_ms.load(Ordering::Acquire)))
    }

    fn note_now(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.still_since_ms.store(now, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_stuck_from_the_first_who_waits_or_the_last_who_was_answered() {
        let waiting = Waiting::new();
        let check = |seconds| assert_eq!(waiting.stuck_for().as_secs(), seconds);
        advance(Duration::from_secs(3_600)).await;
        check(0);
        assert!(waiting.enter(None));
        check(0);
        advance(Duration::from_secs(40)).await;
        assert!(waiting.enter(Some(9)) && waiting.enter(None));
        check(40);
        waiting.leave(2, 9);
        check(0);
        advance(Duration::from_secs(7)).await;
        check(7);
        waiting.leave(1, 0);
        advance(Duration::from_secs(7)).await;
        check(0);
    }

    #[test]
    fn no_more_events_wait_than_may_and_nothing_else_is_turned_away() {
        let waiting = Waiting::new();
        assert_eq!((0..2 * WAITING_MAX).filter(|_| waiting.enter(Some(1))).count(), WAITING_MAX);
        assert!(waiting.enter(None));
        waiting.leave(2, 1);
        assert!(waiting.enter(Some(BYTES_MAX)) && !waiting.enter(Some(1)));
        waiting.leave(2, BYTES_MAX);
        assert!(waiting.enter(Some(1)));
        assert!(waiting.enter(Some(BYTES_MAX)) && !waiting.enter(Some(1)) && waiting.enter(None));
    }
}
