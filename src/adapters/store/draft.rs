//! A draft: what a commit writes and removes, worked out from the jobs before and after it.
//!
//! The records of a part are a function of the jobs in it and of where they were packed; the due entries are a function
//! of each job. So what is written is the difference of two such values, and a check can compute all of it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use super::{
    census::{Shift, Tally},
    codec::Damage,
    disk::{Changes, Fault},
    keys,
    memory::{Due, Memory, Tenants, is_ready},
    outline::Outline,
    parts::{self, Chunk, Packer, Slot, SlotState},
    record,
    runs::{self, Mark, Marks, NewRun},
    shelf::Shelf,
};
use crate::domain::{
    job::{Job, JobId},
    ledger::due_entry,
    outcome::FailureReason,
};

/// What a draft brings about in memory once it is applied.
#[derive(Default)]
pub(super) struct Effects {
    /// What it changes in the census.
    pub(super) shift: Shift,
    parts: Vec<(JobId, Tenants)>,
    due_gone: Vec<Due>,
    due_new: Vec<Due>,
    due_settled: Vec<Due>,
}

impl Effects {
    /// Brings memory up to what is in the tree now.
    pub(super) fn apply(&self, memory: &mut Memory) {
        self.parts.iter().for_each(|(part, tenants)| memory.put_part(*part, *tenants));
        self.due_gone.iter().for_each(|due| memory.due.remove(due));
        memory.due.insert_all(self.due_new.iter().copied());
        self.due_settled.iter().for_each(|due| memory.due.remove(due));
        self.shift.settled.into_iter().for_each(|part| memory.settle(part));
    }
}

/// Works a draft out.
pub(super) struct Drafter<'a> {
    shelf: &'a Shelf,
    memory: &'a Memory,
    packer: &'a mut Packer,
    pub(super) changes: Changes,
    pub(super) effects: Effects,
    pub(super) marks: Vec<Mark>,
    /// Chunks of new events.
    chunks: Vec<Chunk>,
    edits: BTreeMap<JobId, Edit>,
    /// The parts that were edited, as they will be; empty ones are gone.
    edited: BTreeMap<JobId, Vec<Slot<'static>>>,
}

/// What changes in a part.
#[derive(Default)]
struct Edit {
    new: Vec<Slot<'static>>,
    /// Their states, and why their last attempts failed.
    changed: BTreeMap<JobId, (SlotState<'static>, Option<FailureReason>)>,
    /// Jobs that go, with the number of chunks that their event takes up.
    removed: BTreeMap<JobId, usize>,
}

impl<'a> Drafter<'a> {
    /// A draft that goes on with `changes`; `last_id` is the newest id ever given.
    pub(super) fn new(
        shelf: &'a Shelf,
        memory: &'a Memory,
        packer: &'a mut Packer,
        changes: Changes,
        last_id: Option<JobId>,
    ) -> Self {
        Self {
            shelf,
            memory,
            packer,
            changes,
            effects: Effects { shift: Shift::new(last_id), ..Effects::default() },
            marks: Vec::new(),
            chunks: Vec::new(),
            edits: BTreeMap::new(),
            edited: BTreeMap::new(),
        }
    }

    /// Takes in how a job was and will be. Jobs come in the order of their ids. `platform` is the number of its origin.
    pub(super) fn job(&mut self, before: Option<&Job>, after: Option<&Job>, platform: u32) -> Result<(), Fault> {
        let Some(id) = after.or(before).map(|job| job.id) else {
            return Ok(());
        };
        let state_before = before.map(record::state_half);
        let state_after = after.map(record::state_half);
        self.own_state(id, state_before.as_deref(), state_after.as_deref());
        let place = |state: Vec<u8>| SlotState::place(state).map_err(|why| damaged(keys::own_state(id), why));
        let part = match (before, after.zip(state_after)) {
            (None, Some((job, state))) => self.pack(job, platform, place(state)?),
            (_, after) => {
                let part = self.memory.parts.part_of(id);
                let part = part.ok_or_else(|| damaged(keys::states(id), Damage::Missing("its part")))?;
                let edit = self.edits.entry(part).or_default();
                match after {
                    Some((job, state)) => drop(edit.changed.insert(id, (place(state)?, job.reason))),
                    None => {
                        let event = before.map_or(0, |job| record::event_half(job, platform).len());
                        edit.removed.insert(id, parts::chunks_of(event));
                    }
                }
                part
            }
        };
        self.due(part, before.and_then(|job| due_of(job, platform)), after.and_then(|job| due_of(job, platform)));
        let shift = &mut self.effects.shift;
        before.inspect(|job| shift.subtract(job, platform));
        after.inspect(|job| shift.add(job, platform));
        Ok(())
    }

    /// Finds room for a new job.
    fn pack(&mut self, job: &Job, platform: u32, state: SlotState<'static>) -> JobId {
        let packed = self.packer.pack(job.id, &record::event_half(job, platform), &mut self.chunks);
        let slot = Slot { id: job.id, chunk: packed.chunk, outline: Some(Outline::of(job, platform)), state };
        self.edits.entry(packed.part).or_default().new.push(slot);
        self.marks.extend(runs::of_job(job));
        packed.part
    }

    /// A state that is too long for its slot has a record of its own.
    fn own_state(&mut self, id: JobId, before: Option<&[u8]>, after: Option<&[u8]>) {
        let key = keys::own_state(id);
        let laid_out = |state: Option<&[u8]>| {
            let long = state.filter(|state| state.len() > parts::SLOT_BYTES_MAX);
            long.map(|state| keys::laid_out(&key, state)).unwrap_or_default()
        };
        let (before, after) = (laid_out(before), laid_out(after));
        self.changes.extend(before.into_keys().map(|key| (key, None)));
        self.changes.extend(after.into_iter().map(|(key, value)| (key, Some(value))));
    }

    /// A due entry is on disk where the part is settled, else in memory.
    fn due(&mut self, part: JobId, before: Option<Due>, after: Option<Due>) {
        if before == after {
            return;
        }
        if self.memory.is_settled(part) {
            self.changes.extend(before.map(|due| (keys::due(&due), None)));
            self.changes.extend(after.map(|due| (keys::due(&due), Some(due.cell.0.to_vec()))));
        } else {
            self.effects.due_gone.extend(before);
            self.effects.due_new.extend(after);
        }
    }

    /// Writes the parts that have changed. `outline_of` is of a job as it will be, for a slot that has none of its own yet.
    pub(super) fn write_parts(&mut self, outline_of: impl Fn(JobId) -> Option<Outline>) -> Result<(), Fault> {
        for (part, chunk, content) in mem::take(&mut self.chunks).into_iter().chain(self.packer.unfinished()) {
            self.changes.insert(keys::events(part, chunk), Some(content));
        }
        for (part, edit) in mem::take(&mut self.edits) {
            let key = keys::states(part);
            let stored = self.shelf.disk.get(&key)?;
            let slots = stored.as_deref().map_or(Ok(Vec::new()), parts::decode_slots);
            let slots = slots.map_err(|why| damaged(key.clone(), why))?;
            if !edit.removed.is_empty() {
                self.remove_events(part, &slots, &edit)?;
            }
            let Edit { new, mut changed, removed } = edit;
            let kept = slots.into_iter().filter(|slot| !removed.contains_key(&slot.id));
            let mut slots: Vec<Slot<'static>> = kept
                .map(|slot| match changed.remove(&slot.id) {
                    None => Slot { state: slot.state.into_owned(), ..slot },
                    Some((state, reason)) => {
                        let outline = slot.outline.map(|outline| outline.failed_for(reason));
                        let outline = outline.or_else(|| outline_of(slot.id));
                        Slot { id: slot.id, chunk: slot.chunk, outline, state }
                    }
                })
                .collect();
            if let Some(id) = changed.into_keys().next() {
                return Err(damaged(keys::states(id), Damage::Missing("the job's slot")));
            }
            slots.extend(new);
            let encoded = parts::fit_slots(&mut slots);
            let tenants = Tenants::of(&slots).map_err(|why| damaged(key.clone(), why))?;
            self.effects.parts.push((part, tenants));
            self.changes.insert(key, (!slots.is_empty()).then_some(encoded));
            self.edited.insert(part, slots);
        }
        Ok(())
    }

    /// Removes the events of jobs that go: whole chunks, or out of a chunk that others need.
    fn remove_events(&mut self, part: JobId, slots: &[Slot<'_>], edit: &Edit) -> Result<(), Fault> {
        if self.packer.open_part() == Some(part) {
            // What the packer has in hand holds events that go now.
            self.packer.close();
        }
        let new = edit.new.iter().map(|slot| slot.chunk);
        let stay = slots.iter().filter(|slot| !edit.removed.contains_key(&slot.id)).map(|slot| slot.chunk);
        let needed: BTreeSet<u8> = stay.chain(new).collect();
        for (id, pieces) in &edit.removed {
            let Some(slot) = slots.iter().find(|slot| slot.id == *id) else {
                continue;
            };
            let key = keys::events(part, slot.chunk);
            if !needed.contains(&slot.chunk) {
                let chunks = (slot.chunk..).take(*pieces);
                self.changes.extend(chunks.map(|chunk| (keys::events(part, chunk), None)));
            } else if !matches!(self.changes.get(&key), Some(None)) {
                let stored = match self.changes.get(&key) {
                    Some(Some(content)) => Some(content.clone()),
                    _ => self.shelf.disk.get(&key)?.map(|content| content.to_vec()),
                };
                let Some(stored) = stored else {
                    self.shelf.damages.note(&damaged(key, Damage::Missing("its events")));
                    continue;
                };
                let kept = parts::retain_events(&stored, |kept| !edit.removed.contains_key(&kept));
                // A damaged chunk stays as it is, for the sake of what can still be read of it.
                let kept = self.shelf.damages.pass(kept.map_err(|why| damaged(key.clone(), why)))?;
                self.changes.extend(kept.map(|kept| (key, Some(kept))));
            }
        }
        Ok(())
    }

    /// Settles the parts that have grown old, so that at most `young_jobs_max` jobs are in others: the due entries of
    /// those that still wait go to disk. `load` gives a job as it will be.
    pub(super) fn settle(
        &mut self,
        young_jobs_max: usize,
        platform_of: impl Fn(&Job) -> Option<u32>,
        mut load: impl FnMut(JobId) -> Result<Option<Arc<Job>>, Fault>,
    ) -> Result<(), Fault> {
        let (memory, changed) = (self.memory, self.changed_young_parts());
        let before: usize = changed.keys().map(|part| usize::from(memory.parts.jobs_of(*part))).sum();
        let mut jobs = memory.young_jobs - before + changed.values().sum::<usize>();
        let known = memory.parts.after(memory.settled);
        let known = known.map(|(part, tenants)| (part, changed.get(&part).copied().unwrap_or(tenants.jobs.into())));
        let new = changed.iter().filter(|(part, _)| memory.parts.jobs_of(**part) == 0);
        for (part, count) in known.chain(new.map(|(part, count)| (*part, *count))) {
            if jobs <= young_jobs_max || Some(part) == self.packer.open_part() {
                return Ok(());
            }
            jobs -= count;
            self.effects.shift.settled = Some(part);
            for id in self.ready_jobs(part)? {
                let job = load(id)?;
                let due = job.and_then(|job| due_of(&job, platform_of(&job)?));
                self.changes.extend(due.map(|due| (keys::due(&due), Some(due.cell.0.to_vec()))));
                self.effects.due_settled.extend(due);
            }
        }
        Ok(())
    }

    /// How many jobs the parts that are not settled will have, as far as they change.
    fn changed_young_parts(&self) -> BTreeMap<JobId, usize> {
        let young = self.effects.parts.iter().filter(|(part, _)| !self.memory.is_settled(*part));
        young.map(|(part, tenants)| (*part, tenants.jobs.into())).collect()
    }

    /// The jobs of a part that may be started, as they will be.
    fn ready_jobs(&self, part: JobId) -> Result<Vec<JobId>, Fault> {
        let ready = |slots: &[Slot<'_>]| slots.iter().filter(|slot| is_ready(slot)).map(|slot| slot.id).collect();
        if let Some(slots) = self.edited.get(&part) {
            return Ok(ready(slots));
        }
        let key = keys::states(part);
        let Some(stored) = self.shelf.disk.get(&key)? else {
            return Ok(Vec::new());
        };
        Ok(self.shelf.slots_of(part, &stored).map(|slots| ready(&slots)).unwrap_or_default())
    }

    /// Writes a run of marks when enough has come together.
    pub(super) fn flush_marks(&mut self, marks: &Marks) -> Result<Option<NewRun>, Fault> {
        let lives = |id| {
            let part = self.memory.parts.may_have(id);
            part.is_some_and(|part| {
                self.edited.get(&part).is_none_or(|slots| slots.last().is_some_and(|last| last.id >= id))
            })
        };
        let run = marks.flush(self.shelf, &self.marks, &mut self.changes, lives)?;
        if run.is_some() {
            self.effects.shift.indexed = self.effects.shift.last_id;
        }
        Ok(run)
    }

    /// Writes the census as it will be.
    pub(super) fn write_census(&mut self, tally: &Tally) {
        let mut tally = tally.clone();
        tally.apply(&self.effects.shift);
        tally.write(&self.effects.shift, &mut self.changes);
    }
}

/// The due entry of a job, if it may be started.
pub(super) fn due_of(job: &Job, platform: u32) -> Option<Due> {
    due_entry(job).map(|entry| Due { platform, at: entry.due, id: entry.id, cell: entry.cell })
}

fn damaged(key: Vec<u8>, why: Damage) -> Fault {
    Fault::Damaged { key, why }
}
