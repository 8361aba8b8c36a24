//! The disk: an ordered map with a durable and a pending half. What was applied is pending until a sync; a power cut
//! keeps none or only the first of the pending batches, each of them whole. It can be full, fail, or stop the worker
//! between two of its steps.
//!
//! A worker that is merely killed leaves the pending half with the system, and the next one's file, as the real one
//! does, syncs it when it is opened.

use std::{
    collections::BTreeMap,
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use passback::adapters::store::disk::{Changes, Disk, Fault, KEY_BYTES_MAX, Scan, VALUE_BYTES_MAX, Value};

/// What the disk does to the next steps of the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// Everything works.
    #[default]
    Well,
    /// Nothing can be applied.
    Full,
    /// What is applied cannot be synced.
    NoSync,
    /// The worker dies when it applies a batch; nothing of it is there.
    DiesAtApply,
    /// The worker dies when it syncs; what it applied is pending.
    DiesAtSync,
}

/// The plates, which outlive every worker.
#[derive(Default)]
struct Plates {
    /// What a reader sees: the durable half with the pending one over it.
    view: BTreeMap<Vec<u8>, Vec<u8>>,
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    pending: Vec<Changes>,
    condition: Condition,
    died: bool,
}

/// The disk of the worker; its clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct FakeDisk(Arc<Mutex<Plates>>);

impl FakeDisk {
    fn plates(&self) -> MutexGuard<'_, Plates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, condition: Condition) {
        self.plates().condition = condition;
    }

    pub(super) fn condition(&self) -> Condition {
        self.plates().condition
    }

    /// Whether the worker died in the middle of a step; asked once.
    pub(super) fn took_the_worker(&self) -> bool {
        mem::take(&mut self.plates().died)
    }

    /// Whether something that was applied is not durable.
    pub(super) fn has_pending(&self) -> bool {
        !self.plates().pending.is_empty()
    }

    /// A power cut: the first `kept` of the pending batches happen to be on the plates, the others are gone.
    pub(super) fn cut_power(&self, kept: usize) {
        let mut plates = self.plates();
        let pending = mem::take(&mut plates.pending);
        for changes in pending.into_iter().take(kept) {
            make(&mut plates.durable, changes);
        }
        plates.view = plates.durable.clone();
    }

    /// The file is opened by a worker, which syncs what the one before it left with the system.
    pub(super) fn open(&self) -> Self {
        self.plates().sync();
        self.clone()
    }
}

impl Plates {
    fn sync(&mut self) {
        for changes in mem::take(&mut self.pending) {
            make(&mut self.durable, changes);
        }
    }
}

fn make(records: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(records.insert(key, value)),
            None => drop(records.remove(&key)),
        }
    }
}

fn broken() -> Fault {
    Fault::of_io(io::Error::other("the disk does not answer"))
}

impl Disk for FakeDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, Fault> {
        Ok(self.plates().view.get(key).cloned().map(Value::from))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let plates = self.plates();
        let found = if from < to { Some(plates.view.range(from.to_vec()..to.to_vec())) } else { None };
        let found = found.into_iter().flatten().map(|(key, value)| Ok((key.clone().into(), value.clone().into())));
        Box::new(found.collect::<Vec<_>>().into_iter())
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let plates = self.plates();
        let found = plates.view.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let found = found.map(|(key, value)| Ok((key.clone().into(), value.clone().into())));
        Box::new(found.collect::<Vec<_>>().into_iter())
    }

    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        let mut plates = self.plates();
        match plates.condition {
            Condition::Full => return Err(Fault::Full),
            Condition::DiesAtApply => {
                plates.died = true;
                return Err(broken());
            }
            Condition::Well | Condition::NoSync | Condition::DiesAtSync => {}
        }
        for (key, value) in &changes {
            let bytes = value.as_ref().map_or(0, Vec::len);
            if key.len() > KEY_BYTES_MAX || bytes > VALUE_BYTES_MAX {
                return Err(Fault::TooLarge { key: key.clone(), bytes });
            }
        }
        make(&mut plates.view, changes.clone());
        plates.pending.push(changes);
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        let mut plates = self.plates();
        match plates.condition {
            Condition::NoSync | Condition::Full => Err(broken()),
            Condition::DiesAtSync => {
                plates.died = true;
                Err(broken())
            }
            Condition::Well | Condition::DiesAtApply => {
                plates.sync();
                Ok(())
            }
        }
    }

    fn size_bytes(&self) -> u64 {
        self.plates().view.values().map(|value| value.len() as u64).sum()
    }
}
