//! The writer's view of the stored truth: what is committed, over it what this batch has changed, over that what the
//! order in hand has changed. An order that fails half-way leaves nothing behind; the batch becomes one commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Thresholds,
    census::Tally,
    disk::{Changes, Fault},
    draft::{Drafter, Effects},
    keys,
    outline::Outline,
    overlay::{Batch, Change, Overlay},
    parts::Packer,
    platforms,
    recent::{RecentCells, RecentJobs},
    runs::{self, Mark, Marks, NewRun},
    shelf::Shelf,
    spread::JobMap,
    sweep::{Sweep, is_prunable},
};
use crate::domain::{
    destination::{GradeCell, Origin},
    drawer::Drawer,
    job::{IdempotencyKey, Job, JobId},
    ledger::{Books, CellEntry, Ended, PlatformRecord},
    time::Timestamp,
};

/// The books that the writer keeps open between its commits.
pub(super) struct OpenBooks {
    shelf: Arc<Shelf>,
    marks: Marks,
    packer: Packer,
    young_jobs_max: usize,
    recent: RecentJobs,
    cells: RecentCells,
    last_id: Option<JobId>,
    sweep: Sweep,
    /// Jobs as they are committed, as far as this batch has looked at them.
    committed: JobMap<Option<Arc<Job>>>,
    overlay: Overlay,
}

/// A batch ready to be committed.
#[derive(Default)]
pub(super) struct Draft {
    /// What is written and removed.
    pub(super) changes: Changes,
    /// What it brings about in memory.
    pub(super) effects: Effects,
    marks: Vec<Mark>,
    run: Option<NewRun>,
    /// The jobs as they will be.
    jobs: BTreeMap<JobId, Option<Arc<Job>>>,
}

impl Draft {
    /// Whether it changes other things alone, so that the census stays as it is.
    pub(super) fn is_without_jobs(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl OpenBooks {
    pub(super) fn new(shelf: Arc<Shelf>, marks: Marks, last_id: Option<JobId>, thresholds: &Thresholds) -> Self {
        Self {
            shelf,
            marks,
            packer: Packer::new(thresholds.part_jobs),
            young_jobs_max: thresholds.young_jobs,
            recent: RecentJobs::default(),
            cells: RecentCells::default(),
            last_id,
            sweep: Sweep::default(),
            committed: JobMap::default(),
            overlay: Overlay::default(),
        }
    }

    /// The order in hand is done: its changes belong to the batch.
    pub(super) fn keep_order(&mut self) {
        self.last_id = self.last_id.max(self.overlay.newest());
        for (cell, id, entry) in self.overlay.changed_entries() {
            self.cells.change(cell, id, entry);
        }
        self.overlay.keep_order();
    }

    /// The order in hand failed: it changed nothing.
    pub(super) fn drop_order(&mut self) {
        self.overlay.drop_order();
        // A cell may name a job that could be read once and cannot be now: it is put together anew, without it.
        self.cells = RecentCells::default();
    }

    /// Turns the batch into what a commit writes; `tally` is the one before it.
    pub(super) fn draft(&mut self, tally: &Tally) -> Result<Draft, Fault> {
        let Batch { jobs, platforms, columns, notes, .. } = self.overlay.take();
        let mut changes = Changes::new();
        for platform in platforms.into_values() {
            let record = platforms::encode(&platform);
            let number = self.shelf.platforms.put(platform);
            self.replace_long(&mut changes, &keys::platform(number), Some(&record))?;
        }
        for (digest, url) in columns {
            self.replace_long(&mut changes, &keys::column(digest), url.as_deref().map(str::as_bytes))?;
        }
        changes.extend(notes.into_iter().map(|((drawer, key), record)| (keys::note(drawer, &key), record)));
        let jobs: BTreeMap<_, _> = jobs.into_iter().collect();
        if jobs.is_empty() {
            return Ok(Draft { changes, ..Draft::default() });
        }
        self.draft_jobs(jobs, changes, tally)
    }

    fn draft_jobs(
        &mut self,
        jobs: BTreeMap<JobId, Option<Arc<Job>>>,
        mut changes: Changes,
        tally: &Tally,
    ) -> Result<Draft, Fault> {
        let mut befores = Vec::with_capacity(jobs.len());
        for (id, after) in &jobs {
            // What is newer than the newest committed job needs no look at the disk.
            let before = if Some(*id) > tally.last_id { None } else { self.committed(*id)? };
            let origin = after.as_ref().or(before.as_ref()).map(|job| job.origin.clone());
            let platform = origin.map_or(0, |origin| self.number_of(&origin, &mut changes));
            befores.push((before, platform));
        }
        let shelf = self.shelf.clone();
        let memory = shelf.memory();
        let mut drafter = Drafter::new(&shelf, &memory, &mut self.packer, changes, self.last_id);
        for ((before, platform), after) in befores.into_iter().zip(jobs.values()) {
            drafter.job(before.as_deref(), after.as_deref(), platform)?;
        }
        drafter.write_parts(|id| {
            let job = jobs.get(&id)?.as_deref()?;
            Some(Outline::of(job, shelf.platforms.number(&job.origin)?))
        })?;
        let (recent, committed) = (&self.recent, &self.committed);
        drafter.settle(
            self.young_jobs_max,
            |job| shelf.platforms.number(&job.origin),
            |id| match jobs.get(&id).or_else(|| committed.get(&id)) {
                Some(job) => Ok(job.clone()),
                None => recent.get(id).map_or_else(
                    || Ok(shelf.damages.pass(shelf.job(&memory, id))?.flatten().map(Arc::new)),
                    |job| Ok(Some(job)),
                ),
            },
        )?;
        let run = drafter.flush_marks(&self.marks)?;
        drafter.write_census(tally);
        let Drafter { changes, effects, marks, .. } = drafter;
        Ok(Draft { changes, effects, marks, run, jobs })
    }

    /// The draft is on disk; the next batch begins.
    pub(super) fn end_batch(&mut self, draft: Draft) {
        self.marks.committed(draft.marks, draft.run);
        for (id, job) in draft.jobs {
            self.recent.put(id, job);
        }
        self.committed.clear();
    }

    /// The marks, for the check.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// A job as it is committed.
    fn committed(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Fault> {
        if let Some(known) = self.committed.get(&id) {
            return Ok(known.clone());
        }
        let job = match self.recent.get(id) {
            Some(job) => Some(job),
            // An id that is yet to be given needs no look at the disk.
            None if self.last_id.is_none_or(|last| id > last) => None,
            None => self.shelf.job_to_change(&self.shelf.memory(), id)?.map(Arc::new),
        };
        self.committed.insert(id, job.clone());
        Ok(job)
    }

    /// The number of a platform. The ledger remembers a platform before its first job; should it not, it is done here.
    fn number_of(&self, origin: &Origin, changes: &mut Changes) -> u32 {
        self.shelf.platforms.number(origin).unwrap_or_else(|| {
            let blank =
                PlatformRecord { origin: origin.clone(), client_id: None, paused_since: None, held_since: None };
            let record = platforms::encode(&blank);
            let number = self.shelf.platforms.put(blank);
            let written = keys::laid_out(&keys::platform(number), &record);
            changes.extend(written.into_iter().map(|(key, value)| (key, Some(value))));
            number
        })
    }

    /// Replaces a value that may be laid out in parts.
    fn replace_long(&self, changes: &mut Changes, key: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
        let written = value.map(|value| keys::laid_out(key, value)).unwrap_or_default();
        let before = self
            .shelf
            .damages
            .pass(self.shelf.long(key))?
            .flatten()
            .map(|before| keys::laid_out(key, &before))
            .unwrap_or_default();
        let gone = before.into_keys().filter(|key| !written.contains_key(key));
        changes.extend(gone.map(|key| (key, None)));
        changes.extend(written.into_iter().map(|(key, value)| (key, Some(value))));
        Ok(())
    }

    /// A job as the order in hand sees it.
    fn seen(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Fault> {
        match self.overlay.job(id) {
            Change::Put(job) => Ok(Some(job.clone())),
            Change::Removed => Ok(None),
            Change::Untouched => self.committed(id),
        }
    }

    /// The committed jobs with a mark that `is_meant` takes for what is sought.
    fn marked(&mut self, mark: u64, is_meant: impl Fn(&Job) -> bool) -> Result<Vec<Arc<Job>>, Fault> {
        let mut found = Vec::new();
        let marked = self.shelf.damages.pass(self.marks.find(&*self.shelf.disk, mark))?;
        for id in marked.unwrap_or_default() {
            // A job that cannot be read stands in nobody's way.
            let job = self.committed(id);
            let job = self.shelf.damages.pass(job)?.flatten();
            found.extend(job.filter(|job| is_meant(job)));
        }
        Ok(found)
    }

    /// The jobs of a cell as the orders before the one in hand have left them, oldest first.
    fn kept_in(&mut self, cell: GradeCell) -> Result<Arc<Vec<CellEntry>>, Fault> {
        if let Some(known) = self.cells.get(cell) {
            return Ok(known);
        }
        let mut ids = self.overlay.kept_new_in(cell);
        ids.extend(self.marked(runs::of_cell(cell), |job| job.cell == cell)?.iter().map(|job| job.id));
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            let job = match self.overlay.kept_job(id) {
                Change::Put(job) => Some(job.clone()),
                Change::Removed => None,
                Change::Untouched => self.committed(id)?,
            };
            entries.extend(job.map(|job| CellEntry::of(&job)));
        }
        entries.sort_unstable();
        Ok(self.cells.put(cell, entries.into()))
    }
}

impl Books for OpenBooks {
    type Error = Fault;

    fn last_id(&self) -> Option<JobId> {
        self.last_id.max(self.overlay.newest())
    }

    fn job(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Fault> {
        self.seen(id)
    }

    fn job_of_key(&mut self, key: &IdempotencyKey) -> Result<Option<JobId>, Fault> {
        let mut found = self.overlay.job_of_key(key);
        if let (None, Some(mark)) = (found, runs::of_key(key)) {
            found = self.marked(mark, |job| job.key == *key)?.first().map(|job| job.id);
        }
        Ok(found.filter(|id| !self.overlay.is_removed(*id)))
    }

    fn cell(&mut self, cell: GradeCell) -> Result<Arc<Vec<CellEntry>>, Fault> {
        let kept = self.kept_in(cell)?;
        Ok(self.overlay.cell(cell, &kept))
    }

    fn put(&mut self, job: Arc<Job>) {
        if self.last_id().is_none_or(|last| job.id > last) {
            self.overlay.insert(job);
        } else {
            self.overlay.put(job);
        }
    }

    fn remove(&mut self, job: &Job) {
        self.overlay.remove(job);
    }

    fn platform(&mut self, origin: &Origin) -> Result<Option<PlatformRecord>, Fault> {
        let changed = self.overlay.platform(origin).cloned();
        Ok(changed.or_else(|| self.shelf.platforms.record(origin)))
    }

    fn put_platform(&mut self, platform: PlatformRecord) {
        self.overlay.put_platform(platform);
    }

    fn put_column(&mut self, key: [u8; 16], url: Option<&str>) {
        self.overlay.put_column(key, url);
    }

    fn put_note(&mut self, drawer: Drawer, key: &[u8], record: Option<&[u8]>) {
        self.overlay.put_note(drawer, key, record);
    }

    fn ended_before(&mut self, moment: Timestamp, limit: usize) -> Result<Ended, Fault> {
        let mut found: BTreeSet<JobId> = self.sweep.look(&self.shelf, moment, limit)?.into_iter().collect();
        // This batch may have ended, replayed or removed some.
        found.extend(self.overlay.changed());
        let mut jobs = Vec::new();
        for id in found {
            let seen = self.seen(id);
            let job = self.shelf.damages.pass(seen)?.flatten();
            jobs.extend(job.filter(|job| is_prunable(job, moment)).map(|job| job.id));
        }
        jobs.truncate(limit);
        Ok(Ended { jobs, more: self.sweep.is_under_way() })
    }
}
