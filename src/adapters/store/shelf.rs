//! Reading: what is in the tree, found with the help of memory. Used by the writer and by everybody who asks; it
//! changes nothing. Whoever is not the writer holds the read lock of [`Shelf::memory`] while reading what belongs
//! together: a commit takes the write lock while it changes the tree and memory.

use std::{
    ops::ControlFlow,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    codec::Damage,
    copying::Watch,
    damages::Damages,
    disk::{Changes, Disk, Fault, Value},
    draft::due_of,
    keys,
    memory::{Due, Memory, Tenants, is_ready},
    outline::{Outline, Sieve},
    parts::{self, Slot, SlotState},
    platforms::{self, Platforms},
    record::{self, Standing},
    runs::Marks,
};
use crate::{
    domain::{
        destination::{GradeCell, Origin},
        drawer::{Drawer, Note},
        job::{Job, JobId, StateName},
        ledger::{DueEntry, PlatformRecord},
        outcome::FailureReason,
        time::Timestamp,
    },
    ports::{JobFilter, JobPage},
};

/// One call of [`Shelf::list`] looks into no more parts and at no more jobs than about this.
const LIST_LOOKS_MAX: usize = 1_000;

/// Nobody has so many; a larger number is a damaged one.
const PLATFORMS_MAX: u32 = 1_000_000;

/// The records, and what memory knows of them.
pub(super) struct Shelf {
    pub(super) disk: Box<dyn Disk>,
    pub(super) platforms: Platforms,
    pub(super) memory: RwLock<Memory>,
    /// Damaged records that were met.
    pub(super) damages: Damages,
    /// What changes behind a copy that is being made.
    pub(super) watch: Watch,
    /// Whether a platform that is not known gets a name that nobody has.
    names_all: bool,
}

impl Shelf {
    /// A shelf on an open file, with its platforms. The rest of memory is yet to be filled.
    pub(super) fn new(disk: Box<dyn Disk>) -> Result<Self, Fault> {
        let shelf = Self::bare(disk, Platforms::default());
        for record in shelf.disk.scan_prefix(&[keys::PLATFORM]) {
            let (key, _) = record?;
            let Some(number) = key.get(1..).and_then(|number| <[u8; 4]>::try_from(number).ok()) else {
                continue;
            };
            let value = shelf.long(&key)?.unwrap_or_default();
            let platform = platforms::decode(&value).map_err(|why| damaged(&key, why))?;
            if shelf.platforms.put(platform) != u32::from_be_bytes(number) {
                return Err(damaged(&key, Damage::Missing("the platform before it")));
            }
        }
        Ok(shelf)
    }

    fn bare(disk: Box<dyn Disk>, platforms: Platforms) -> Self {
        let (memory, damages, watch) = Default::default();
        Self { disk, platforms, memory, damages, watch, names_all: false }
    }

    /// A shelf on a file of which not everything can be read: a platform that cannot gets a name that nobody has.
    pub(super) fn salvaged(disk: Box<dyn Disk>) -> Self {
        let nameless =
            |number| PlatformRecord { origin: nameless(number), client_id: None, paused_since: None, held_since: None };
        let shelf = Self { names_all: true, ..Self::bare(disk, Platforms::default()) };
        for record in shelf.disk.scan_prefix(&[keys::PLATFORM]).map_while(Result::ok) {
            let number = record.0.get(1..).and_then(|number| <[u8; 4]>::try_from(number).ok()).map(u32::from_be_bytes);
            let Some(number) = number.filter(|number| *number < PLATFORMS_MAX) else {
                continue;
            };
            let known = shelf.long(&record.0).ok().flatten();
            let platform = known.and_then(|known| platforms::decode(&known).ok());
            for missing in u32::try_from(shelf.platforms.all().len()).unwrap_or(number)..number {
                shelf.platforms.put(nameless(missing));
            }
            shelf.platforms.put(platform.unwrap_or_else(|| nameless(number)));
        }
        shelf
    }

    /// Memory, for reading.
    pub(super) fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job.
    pub(super) fn job(&self, memory: &Memory, id: JobId) -> Result<Option<Job>, Fault> {
        let Some(part) = memory.parts.part_of(id) else {
            return Ok(None);
        };
        let key = keys::states(part);
        let Some(states) = self.disk.get(&key)? else {
            return Ok(None);
        };
        let slot = parts::find_slot(&states, id).map_err(|why| damaged(&key, why))?;
        slot.map(|slot| self.job_in(part, &slot)).transpose()
    }

    /// The state of each of these jobs that can be read. A part is read once for those of them that are neighbours.
    pub(super) fn states_of(&self, ids: &[JobId]) -> Result<Vec<Option<StateName>>, Fault> {
        let mut found = Vec::with_capacity(ids.len());
        let mut rest = ids;
        while let Some(first) = rest.first() {
            // The lock is held for one part at a time, so that a long question holds up no commit.
            let memory = self.memory();
            let part = memory.parts.part_of(*first);
            let of_part = rest.iter().take_while(|id| memory.parts.part_of(**id) == part).count();
            let (asked, others) = rest.split_at(of_part);
            rest = others;
            let states = part.map(|part| self.damages.pass(self.states(part))).transpose()?.flatten();
            let slots = part.zip(states.as_ref()).and_then(|(part, states)| self.slots_of(part, states));
            let slots = slots.unwrap_or_default();
            let slot = |id: &JobId| slots.iter().find(|slot| slot.id == *id);
            found.extend(asked.iter().map(|id| slot(id)?.state.standing().ok().map(Standing::name)));
        }
        Ok(found)
    }

    /// A job that is to be changed: its whole part must be sound, because it will be written anew.
    pub(super) fn job_to_change(&self, memory: &Memory, id: JobId) -> Result<Option<Job>, Fault> {
        if let Some(part) = memory.parts.part_of(id) {
            let key = keys::states(part);
            if let Some(states) = self.disk.get(&key)? {
                parts::decode_slots(&states).and_then(are_sound).map_err(|why| damaged(&key, why))?;
            }
        }
        self.job(memory, id)
    }

    /// The job of a slot.
    pub(super) fn job_in(&self, part: JobId, slot: &Slot<'_>) -> Result<Job, Fault> {
        let event = self.event(part, slot)?;
        let state = self.state(slot)?;
        let unknown = |number| Some(nameless(number)).filter(|_| self.names_all);
        let job =
            record::job(slot.id, &event, &state, |number| self.platforms.origin(number).or_else(|| unknown(number)));
        job.map_err(|why| damaged(&keys::states(part), why))
    }

    /// The state half of a slot's job.
    pub(super) fn state(&self, slot: &Slot<'_>) -> Result<Vec<u8>, Fault> {
        match &slot.state {
            SlotState::Here(state) => Ok(state.to_vec()),
            SlotState::Own(_) => {
                let key = keys::own_state(slot.id);
                self.long(&key)?.ok_or_else(|| damaged(&key, Damage::Missing("the job's state")))
            }
        }
    }

    /// The event half of a slot's job.
    fn event(&self, part: JobId, slot: &Slot<'_>) -> Result<Vec<u8>, Fault> {
        let key = keys::events(part, slot.chunk);
        let missing = || damaged(&key, Damage::Missing("the job's event"));
        let chunk = self.disk.get(&key)?.ok_or_else(missing)?;
        let piece = parts::find_event(&chunk, slot.id).map_err(|why| damaged(&key, why))?.ok_or_else(missing)?;
        let mut event = piece.bytes.to_vec();
        for next in slot.chunk.saturating_add(1)..=u8::MAX {
            if event.len() >= piece.len {
                break;
            }
            event.extend_from_slice(&self.disk.get(&keys::events(part, next))?.ok_or_else(missing)?);
        }
        Ok(event)
    }

    /// Up to `limit` jobs of a platform that may be started, after `after`.
    pub(super) fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, Fault> {
        let Some(platform) = self.platforms.number(origin) else {
            return Ok(Vec::new());
        };
        let memory = self.memory();
        let mut entries: Vec<_> = memory.due.of(platform, after).take(limit).collect();
        // A damaged entry is passed by before the page is cut off: a short page means that there is no more.
        let settled =
            self.settled_due(platform, after).map(|entry| self.damages.pass(entry)).filter_map(Result::transpose);
        for entry in settled.take(limit) {
            let Due { at, id, cell, .. } = entry?;
            entries.push((at, id, cell));
        }
        entries.sort_unstable();
        entries.truncate(limit);
        let entry = |(due, id, cell)| DueEntry { due, id, cell, origin: origin.clone() };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// The due entries of a platform on disk, after `after`.
    pub(super) fn settled_due(
        &self,
        platform: u32,
        after: Option<(Timestamp, JobId)>,
    ) -> impl Iterator<Item = Result<Due, Fault>> {
        let from = after.map_or_else(|| keys::due_of(platform), |after| keys::due_after(platform, after));
        self.disk.scan(&from, &end_of(keys::due_of(platform))).map(move |record| {
            let (key, value) = record?;
            let cell = GradeCell(value[..].try_into().map_err(|_| damaged(&key, Damage::Code("cell")))?);
            let (at, id) = keys::read_due(&key).ok_or_else(|| damaged(&key, Damage::Code("key")))?;
            Ok(Due { platform, at, id, cell })
        })
    }

    /// The URL of a column.
    pub(super) fn column(&self, digest: [u8; 16]) -> Result<Option<String>, Fault> {
        let key = keys::column(digest);
        let _memory = self.memory();
        let Some(url) = self.long(&key)? else {
            return Ok(None);
        };
        String::from_utf8(url).map(Some).map_err(|_| Fault::Damaged { key, why: Damage::Text("url") })
    }

    /// Up to `limit` notes of a drawer behind `after`, in the order of their keys.
    pub(super) fn notes(&self, drawer: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, Fault> {
        let prefix = keys::notes_of(drawer);
        let from = after.map_or_else(|| prefix.to_vec(), |after| [&keys::note(drawer, after)[..], &[0]].concat());
        let _memory = self.memory();
        let records = self.disk.scan(&from, &end_of(prefix.to_vec())).take(limit);
        records
            .map(|record| record.map(|(key, value)| Note { key: key[2..].to_vec(), record: value.to_vec() }))
            .collect()
    }

    /// A note.
    pub(super) fn note(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.disk.get(&keys::note(drawer, key))?.map(|record| record.to_vec()))
    }

    /// A page of jobs, newest first.
    pub(super) fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, Fault> {
        // An id is never older than its job.
        let oldest = filter.since.map(JobId::first_at);
        let numbers =
            |origins: &Vec<Origin>| origins.iter().filter_map(|origin| self.platforms.number(origin)).collect();
        let sieve = Sieve::of(filter, filter.origins.as_ref().map(numbers));
        let mut search = Search { filter, sieve, oldest, limit, before, looks: 0, jobs: Vec::new() };
        while search.jobs.len() < limit && search.looks < LIST_LOOKS_MAX {
            // The lock is held for one part at a time, so that a long list holds up no commit.
            let memory = self.memory();
            let Some(part) = memory.parts.newest(search.before, &search.sieve) else {
                return Ok(JobPage { jobs: search.jobs, next: None });
            };
            if self.search_part(&mut search, part)?.is_break() {
                return Ok(JobPage { jobs: search.jobs, next: None });
            }
        }
        Ok(JobPage { jobs: search.jobs, next: search.before })
    }

    /// Looks through one part; breaks off at jobs that are too old.
    fn search_part(&self, search: &mut Search<'_>, part: JobId) -> Result<ControlFlow<()>, Fault> {
        let before = search.before;
        search.looks += 1;
        let states = self.damages.pass(self.states(part))?;
        let slots = states.as_ref().and_then(|states| self.slots_of(part, states)).unwrap_or_default();
        for slot in slots.iter().rev().filter(|slot| before.is_none_or(|before| slot.id < before)) {
            if search.oldest.is_some_and(|oldest| slot.id < oldest) {
                return Ok(ControlFlow::Break(()));
            }
            search.before = Some(slot.id);
            if search.sieve.passes(slot) {
                search.looks += 1;
                let job = self.damages.pass(self.job_in(part, slot))?;
                search.jobs.extend(job.filter(|job| search.filter.admits(job)));
            }
            if search.jobs.len() >= search.limit {
                return Ok(ControlFlow::Continue(()));
            }
        }
        search.before = Some(part);
        Ok(ControlFlow::Continue(()))
    }

    /// The slots of a part; none, and the damage noted, where it cannot be read.
    pub(super) fn slots_of<'a>(&self, part: JobId, states: &'a [u8]) -> Option<Vec<Slot<'a>>> {
        let slots = parts::decode_slots(states).and_then(are_sound);
        slots.inspect_err(|why| self.damages.note(&damaged(&keys::states(part), *why))).ok()
    }

    /// Walks over all parts once: enters them in the directory, and finds the attempts that are under way.
    pub(super) fn read_parts(&self, memory: &mut Memory) -> Result<Vec<JobId>, Fault> {
        let mut under_way = Vec::new();
        for record in self.disk.scan_prefix(&[keys::STATES]) {
            let (key, states) = record?;
            let part = keys::read_id(&key).ok_or_else(|| damaged(&key, Damage::Code("key")))?;
            let Some(slots) = self.slots_of(part, &states) else {
                // It is there, so that its jobs are not taken for jobs that never were.
                memory.put_part(part, Tenants::UNKNOWN);
                continue;
            };
            memory.put_part(part, Tenants::of(&slots).map_err(|why| damaged(&key, why))?);
            let cut_off = slots.iter().filter(|slot| slot.state.standing() == Ok(Standing::UnderWay));
            under_way.extend(cut_off.map(|slot| slot.id));
        }
        Ok(under_way)
    }

    /// Reads the young jobs, for what is kept of them in memory alone: due entries of parts that are not settled, marks
    /// of jobs after `indexed`.
    pub(super) fn read_young(
        &self,
        memory: &mut Memory,
        marks: &mut Marks,
        indexed: Option<JobId>,
    ) -> Result<(), Fault> {
        let unmarked = indexed.and_then(|indexed| memory.parts.part_of(indexed));
        let parts: Vec<JobId> = memory.parts.from(unmarked.min(memory.settled)).collect();
        for part in parts {
            let states = self.states(part)?;
            for slot in self.slots_of(part, &states).unwrap_or_default() {
                let is_unmarked = indexed.is_none_or(|indexed| slot.id > indexed);
                let may_start = !memory.is_settled(part) && is_ready(&slot);
                if !is_unmarked && !may_start {
                    continue;
                }
                let Some(job) = self.damages.pass(self.job_in(part, &slot))? else {
                    continue;
                };
                if is_unmarked {
                    marks.add(&job);
                }
                if may_start {
                    let due = self.platforms.number(&job.origin).and_then(|platform| due_of(&job, platform));
                    memory.due.insert_all(due);
                }
            }
        }
        Ok(())
    }

    /// Why each flagged job that can be read is flagged, with the number of its platform. Parts that have such jobs get
    /// outlines, if an older version wrote them: these are what lists are mostly asked for.
    pub(super) fn flagged_for(&self, memory: &mut Memory) -> Result<Vec<(u32, FailureReason)>, Fault> {
        let mut found = Vec::new();
        let parts: Vec<JobId> = memory.parts.holding(StateName::Flagged).collect();
        for part in parts {
            let states = self.states(part)?;
            let mut slots = self.slots_of(part, &states).unwrap_or_default();
            let mut has_learnt = false;
            for slot in &mut slots {
                let is_flagged = slot.state.standing() == Ok(Standing::Flagged);
                if !is_flagged && slot.outline.is_some() {
                    continue;
                }
                let Some(job) = self.damages.pass(self.job_in(part, slot))? else { continue };
                let Some(platform) = self.platforms.number(&job.origin) else { continue };
                found.extend(job.reason.filter(|_| is_flagged).map(|reason| (platform, reason)));
                has_learnt |= slot.outline.is_none();
                slot.outline = Some(Outline::of(&job, platform));
            }
            if has_learnt {
                let key = keys::states(part);
                let encoded = parts::fit_slots(&mut slots);
                memory.put_part(part, Tenants::of(&slots).map_err(|why| damaged(&key, why))?);
                self.disk.apply(Changes::from([(key, Some(encoded))]))?;
            }
        }
        Ok(found)
    }

    /// The record of a part's states.
    pub(super) fn states(&self, part: JobId) -> Result<Value, Fault> {
        let key = keys::states(part);
        self.disk.get(&key)?.ok_or_else(|| damaged(&key, Damage::Missing("this part")))
    }

    /// A value that may be laid out in pieces.
    pub(super) fn long(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let Some(first) = self.disk.get(key)? else {
            return Ok(None);
        };
        let value = keys::gather(key, &first, |piece| {
            let found = self.disk.get(piece)?;
            found.map(|piece| piece.to_vec()).ok_or_else(|| damaged(piece, Damage::Missing("this piece")))
        })?;
        value.map(Some).ok_or_else(|| damaged(key, Damage::Short))
    }
}

/// A name that no platform has.
fn nameless(number: u32) -> Origin {
    Origin::from_stored(&format!("https://platform-{number}.invalid"))
}

/// The slots, if each of them tells where its job stands.
fn are_sound(slots: Vec<Slot<'_>>) -> Result<Vec<Slot<'_>>, Damage> {
    slots.iter().try_for_each(|slot| slot.state.standing().map(drop))?;
    Ok(slots)
}

/// A list under way.
struct Search<'a> {
    filter: &'a JobFilter,
    sieve: Sieve,
    /// Older ids are older than the filter's `since`.
    oldest: Option<JobId>,
    limit: usize,
    /// Where to go on.
    before: Option<JobId>,
    looks: usize,
    jobs: Vec<Job>,
}

fn damaged(key: &[u8], why: Damage) -> Fault {
    Fault::Damaged { key: key.to_vec(), why }
}

/// The end of the keys that begin with `prefix`.
fn end_of(mut prefix: Vec<u8>) -> Vec<u8> {
    while prefix.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}
