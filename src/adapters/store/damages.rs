//! Damaged records that somebody has come upon. Each spoils its own jobs alone; it is told once, and passed by.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::disk::Fault;

/// So many are remembered; a store with more of them is told of often enough.
const KNOWN_MAX: usize = 1_000;

/// What was met.
#[derive(Default)]
pub(super) struct Damages(Mutex<Met>);

#[derive(Default)]
struct Met {
    known: BTreeSet<Vec<u8>>,
    /// In words, until somebody asks.
    untold: Vec<String>,
}

impl Damages {
    /// Passes a damaged record by, and remembers it. Any other fault is handed on.
    pub(super) fn pass<T>(&self, outcome: Result<T, Fault>) -> Result<Option<T>, Fault> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(fault) if matches!(fault, Fault::Damaged { .. }) => {
                self.note(&fault);
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Remembers a damaged record.
    pub(super) fn note(&self, fault: &Fault) {
        let Fault::Damaged { key, .. } = fault else {
            return;
        };
        let mut met = self.met();
        if met.known.len() < KNOWN_MAX && met.known.insert(key.clone()) {
            met.untold.push(fault.to_string());
        }
    }

    /// What was met since somebody asked the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.met().untold)
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
