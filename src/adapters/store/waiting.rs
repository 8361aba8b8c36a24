//! The orders that are not answered yet: how many they are, and for how long none of them has been answered.
//!
//! A disk that hangs shows in nothing else: the writer is inside a sync that does not return, and has neither failed nor
//! come any further.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// The most orders that may wait. Callers keep far below it (the broker's prefetch, the limit of attempts under way);
/// it only keeps a fault of theirs from filling the memory.
pub(super) const WAITING_MAX: usize = 16 * 1024;

/// Counts who waits.
pub(super) struct Waiting {
    orders: AtomicUsize,
    /// The steady clock: a clock that is set must not look like a disk that hangs.
    born: Instant,
    /// When the first of those who wait came, or somebody was answered last, in milliseconds after `born`. Set before the
    /// number of orders is, so that nobody sees the two apart.
    still_since_ms: AtomicU64,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { orders: AtomicUsize::new(0), born: Instant::now(), still_since_ms: AtomicU64::new(0) }
    }

    /// One more waits; false where too many do. To be called by one at a time.
    pub(super) fn enter(&self) -> bool {
        let before = self.orders.load(Ordering::Acquire);
        if before >= WAITING_MAX {
            return false;
        }
        if before == 0 {
            self.note_now();
        }
        self.orders.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// So many are about to be answered.
    pub(super) fn leave(&self, orders: usize) {
        self.note_now();
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
        assert!(waiting.enter());
        check(0);
        advance(Duration::from_secs(40)).await;
        assert!(waiting.enter() && waiting.enter());
        check(40);
        waiting.leave(2);
        check(0);
        advance(Duration::from_secs(7)).await;
        check(7);
        waiting.leave(1);
        advance(Duration::from_secs(7)).await;
        check(0);
    }

    #[test]
    fn no_more_wait_than_may() {
        let waiting = Waiting::new();
        assert_eq!((0..2 * WAITING_MAX).filter(|_| waiting.enter()).count(), WAITING_MAX);
        waiting.leave(1);
        assert!(waiting.enter() && !waiting.enter());
    }
}
