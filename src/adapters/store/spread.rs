//! A hasher for job ids. They are spread evenly already and nobody outside can choose them, so the standard hasher's
//! defence would be paid for nothing, some dozen times a job.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::domain::job::JobId;

/// A map by job id.
pub(super) type JobMap<T> = HashMap<JobId, T, BuildHasherDefault<Spread>>;

/// Folds bits together as they are.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, number: u128) {
        let [upper, lower] = [number >> 64, number & u128::from(u64::MAX)];
        [upper, lower].into_iter().filter_map(|half| u64::try_from(half).ok()).for_each(|half| self.write_u64(half));
    }

    fn finish(&self) -> u64 {
        // The table picks the place by the lower bits, and multiplying leaves the best ones at the top.
        self.0.rotate_left(32)
    }
}
