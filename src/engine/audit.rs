//! The audit log: entries written together with what they tell of, read newest first, and cut down to the newest.

use std::sync::PoisonError;

use crate::{
    domain::{
        audit::{self, Entry},
        drawer::{Drawer, Note, newest_first, read_newest_first},
        job::JobId,
        ledger::Work,
    },
    ports::StoreError,
};

use super::{
    EngineHandle,
    bulk::{STEPS_MAX, TASKS_MAX},
    manage::{NotStored, in_time},
};

/// Notes that are read or taken out at once.
const STEP: usize = 500;

/// A page of the log.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The entries, newest first.
    pub entries: Vec<Entry>,
    /// Where to go on; none at the end.
    pub next: Option<JobId>,
}

impl EngineHandle {
    /// A page of the log, of entries older than `before`.
    pub fn audit(&self, before: Option<JobId>, limit: usize) -> Result<AuditPage, StoreError> {
        let after = before.map(newest_first);
        let notes = self.shared.world.store.notes(
            Drawer::Audit,
            after.as_ref().map(|key| &key[..]),
            limit.saturating_add(1),
        )?;
        let last = notes.get(limit.saturating_sub(1)).filter(|_| notes.len() > limit);
        let next = last.and_then(|note| read_newest_first(&note.key));
        let entries = notes.iter().take(limit).filter_map(|note| Entry::read(&note.record)).collect();
        Ok(AuditPage { entries, next })
    }

    /// An entry as a note, for whoever does what it tells of.
    pub fn as_note(&self, entry: &Entry) -> Result<Note, StoreError> {
        let id = self.next_entry()?;
        Ok(Note { key: newest_first(id).to_vec(), record: entry.record() })
    }

    /// Puts a note of the log on disk, or puts it in the place of the one with its key.
    pub async fn write_down(&self, note: Note) -> Result<(), NotStored> {
        in_time(self.shared.world.order(put(Drawer::Audit, note))).await.map(drop)
    }

    /// The id of a new entry: later than all of those before.
    pub(super) fn next_entry(&self) -> Result<JobId, StoreError> {
        let world = &self.shared.world;
        let mut newest = self.shared.newest_entry.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none() {
            let first = world.store.notes(Drawer::Audit, None, 1)?.pop();
            *newest = first.and_then(|note| read_newest_first(&note.key));
        }
        let id = JobId::next(*newest, world.clock.now(), world.clock.luck());
        *newest = Some(id);
        Ok(id)
    }

    /// Takes out what is beyond the bounds of the log and of the bulk changes with their steps. A store that takes no writes is loud
    /// elsewhere; the next sweep tries again.
    pub(super) async fn trim_drawers(&self) {
        for (drawer, keep) in
            [(Drawer::Audit, audit::ENTRIES_MAX), (Drawer::Bulk, TASKS_MAX), (Drawer::Steps, STEPS_MAX)]
        {
            drop(self.trim(drawer, keep).await);
        }
    }

    /// Keeps the newest notes of a drawer. A bulk change is begun only while there is room, so none that runs is old.
    async fn trim(&self, drawer: Drawer, keep: usize) -> Result<(), StoreError> {
        let world = &self.shared.world;
        let (mut seen, mut after) = (0, None);
        loop {
            let limit = STEP.min(keep - seen);
            let notes = if limit == 0 { Vec::new() } else { world.store.notes(drawer, after.as_deref(), limit)? };
            seen += notes.len();
            after = notes.last().map(|note| note.key.clone()).or(after);
            if seen == keep {
                break;
            }
            if notes.len() < limit {
                return Ok(());
            }
        }
        loop {
            let old = world.store.notes(drawer, after.as_deref(), STEP)?;
            if old.is_empty() {
                return Ok(());
            }
            let gone = old.into_iter().map(|note| world.submit(Work::PutNote { drawer, key: note.key, record: None }));
            for done in gone.collect::<Vec<_>>() {
                done.await?;
            }
        }
    }
}

/// Work, together with its entry in the log.
pub(super) fn noted(work: Work, note: Option<Note>) -> Work {
    match note {
        Some(note) => Work::Noted { work: Box::new(work), drawer: Drawer::Audit, note },
        None => work,
    }
}

/// The work of putting a note into a drawer.
pub(super) fn put(drawer: Drawer, note: Note) -> Work {
    Work::PutNote { drawer, key: note.key, record: Some(note.record) }
}
