//! The audit log: entries written together with what they tell of, read newest first, and cut down to the newest.

use std::sync::PoisonError;

use crate::{
    domain::{
        audit::{self, Action, Entry},
        bulk::Came,
        drawer::{Drawer, Note, newest_first, read_newest_first},
        job::{Job, JobId},
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
/// Of one job no more is told.
const DEEDS_MAX: usize = 100;

/// An entry, with the bulk change that it tells of, while that is known.
#[derive(Debug, PartialEq)]
pub struct Deed {
    /// What the log says.
    pub entry: Entry,
    /// The bulk change in the background.
    pub bulk: Option<JobId>,
}

/// A page of the log.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The entries, newest first.
    pub entries: Vec<Deed>,
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
        let entries =
            notes.iter().take(limit).filter_map(|note| self.deed(note).transpose()).collect::<Result<_, _>>()?;
        Ok(AuditPage { entries, next })
    }

    /// What the log says that was done to this job, by itself or in a change of many in the background, oldest first; of
    /// the last [`DEEDS_MAX`] of them. Takes some milliseconds for a job that is older than thousands of entries.
    pub fn deeds_on(&self, job: &Job) -> Result<Vec<Deed>, StoreError> {
        let end = newest_first(JobId::first_at(job.created_at));
        let (mut deeds, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let notes = self.shared.world.store.notes(Drawer::Audit, after.as_deref(), STEP)?;
            for note in notes.iter().take_while(|note| note.key[..] < end[..]) {
                let Some(deed) = self.deed(note)? else { continue };
                if deed.entry.job == Some(job.id) || self.has_changed(deed.bulk, job.id)? {
                    deeds.push(deed);
                }
            }
            after = notes.last().map(|note| note.key.clone()).filter(|last| notes.len() == STEP && last[..] < end[..]);
            if after.is_none() || deeds.len() >= DEEDS_MAX {
                deeds.truncate(DEEDS_MAX);
                deeds.reverse();
                return Ok(deeds);
            }
        }
    }

    /// A bulk change has the key of its entry.
    fn deed(&self, note: &Note) -> Result<Option<Deed>, StoreError> {
        let Some(entry) = Entry::read(&note.record) else { return Ok(None) };
        let is_of_many = entry.job.is_none() && matches!(entry.action, Action::Replay | Action::Discard);
        let task = if is_of_many { self.shared.world.store.note(Drawer::Bulk, &note.key)? } else { None };
        let bulk = task.and_then(|_| read_newest_first(&note.key));
        Ok(Some(Deed { entry, bulk }))
    }

    /// Whether a bulk change has changed a job.
    fn has_changed(&self, bulk: Option<JobId>, job: JobId) -> Result<bool, StoreError> {
        let Some(bulk) = bulk else { return Ok(false) };
        let came = self.came(bulk, Some(job.following()), 1)?;
        Ok(came.jobs.first().is_some_and(|(id, came)| *id == job && *came != Came::Skipped))
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
