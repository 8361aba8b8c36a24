//! What was seen before: nonces and assertion ids, remembered for as long as a replay could pass every other check.
//!
//! Two generations of keyed 64-bit hashes, swapped once a window, so memory is bounded without a sweep: an entry
//! lives for one window at least and two at most. At more than [`ENTRIES_MAX`] entries a window the swap comes
//! early, and the memory is that much shorter.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Mutex;

use super::locked;

/// A timestamp may be 300 s ahead and stays good until it is 300 s old; a minute on top for the swap.
const WINDOW_MS: i64 = 660_000;
/// Per generation; about 36 MB when full.
const ENTRIES_MAX: usize = 2_000_000;

/// A memory of single-use values.
#[derive(Default)]
pub(super) struct Seen {
    hasher: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    swapped_at_ms: i64,
}

impl Seen {
    /// Remembers `value`; `true` if it is new within the window.
    pub(super) fn first_time(&self, value: impl Hash, now_ms: i64) -> bool {
        let hash = self.hasher.hash_one(value);
        let mut generations = locked(&self.generations);
        let is_old = now_ms.saturating_sub(generations.swapped_at_ms) >= WINDOW_MS;
        if is_old || generations.current.len() >= ENTRIES_MAX {
            generations.previous = std::mem::take(&mut generations.current);
            generations.swapped_at_ms = now_ms;
        }
        !generations.previous.contains(&hash) && generations.current.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_new_once_within_the_window() {
        let seen = Seen::default();
        assert!(seen.first_time("a", 1_000_000));
        assert!(!seen.first_time("a", 1_000_001));
        assert!(seen.first_time("b", 1_000_001));
        assert!(!seen.first_time("a", 1_000_000 + 600_000));
        assert!(!seen.first_time("b", 1_000_000 + WINDOW_MS), "kept over one swap");
    }

    #[test]
    fn what_is_older_than_two_windows_is_forgotten() {
        let seen = Seen::default();
        assert!(seen.first_time("a", WINDOW_MS));
        assert!(seen.first_time("b", 2 * WINDOW_MS));
        assert!(seen.first_time("c", 3 * WINDOW_MS));
        assert!(seen.first_time("a", 3 * WINDOW_MS));
    }
}
