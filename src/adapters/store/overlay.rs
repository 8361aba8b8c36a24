//! What has changed and is not committed yet: by the order in hand, and under it by the orders of the batch before it.
//! An order that fails half-way is struck out; one that is done becomes part of the batch.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use super::spread::JobMap;
use crate::domain::{
    destination::{GradeCell, Origin},
    drawer::Drawer,
    job::{IdempotencyKey, Job, JobId},
    ledger::{CellEntry, PlatformRecord},
};

/// Changes that are not committed.
#[derive(Default)]
pub(super) struct Overlay {
    batch: Batch,
    order: Slip,
}

/// What has become of a job.
pub(super) enum Change<'a> {
    /// Nothing: it is as it was committed.
    Untouched,
    /// It is gone.
    Removed,
    /// It is new, or another.
    Put(&'a Arc<Job>),
}

impl<'a> Change<'a> {
    fn of(known: Option<&'a Option<Arc<Job>>>) -> Self {
        match known {
            None => Self::Untouched,
            Some(None) => Self::Removed,
            Some(Some(job)) => Self::Put(job),
        }
    }
}

/// Where a note lies.
type NoteKey = (Drawer, Vec<u8>);

/// What the orders of a batch have changed.
#[derive(Default)]
pub(super) struct Batch {
    /// None: removed.
    pub(super) jobs: JobMap<Option<Arc<Job>>>,
    pub(super) platforms: BTreeMap<Origin, PlatformRecord>,
    /// None: forgotten.
    pub(super) columns: HashMap<[u8; 16], Option<String>>,
    /// None: taken out.
    pub(super) notes: BTreeMap<NoteKey, Option<Vec<u8>>>,
    /// New jobs by cell and by key.
    cells: HashMap<GradeCell, Vec<JobId>>,
    keys: HashMap<IdempotencyKey, JobId>,
}

/// What the order in hand has changed. It is little, and there are hundreds in a batch, so the lists are kept and
/// searched one by one.
#[derive(Default)]
struct Slip {
    jobs: JobMap<Option<Arc<Job>>>,
    new: Vec<Arc<Job>>,
    /// The jobs that are removed, with their cells.
    gone: Vec<(GradeCell, JobId)>,
    platforms: Vec<PlatformRecord>,
    columns: Vec<([u8; 16], Option<String>)>,
    notes: Vec<(NoteKey, Option<Vec<u8>>)>,
}

/// An order that removed very many jobs leaves a large map behind, which would be walked with each order after it.
const SLIP_JOBS_KEPT: usize = 1_024;

impl Overlay {
    /// What has become of a job.
    pub(super) fn job(&self, id: JobId) -> Change<'_> {
        Change::of(self.order.jobs.get(&id).or_else(|| self.batch.jobs.get(&id)))
    }

    /// Whether a job was removed.
    pub(super) fn is_removed(&self, id: JobId) -> bool {
        matches!(self.job(id), Change::Removed)
    }

    /// The new job of a key; it may have been removed again.
    pub(super) fn job_of_key(&self, key: &IdempotencyKey) -> Option<JobId> {
        let new = self.order.new.iter().find(|job| job.key == *key).map(|job| job.id);
        new.or_else(|| self.batch.keys.get(key).copied())
    }

    /// What the orders before the one in hand have made of a job.
    pub(super) fn kept_job(&self, id: JobId) -> Change<'_> {
        Change::of(self.batch.jobs.get(&id))
    }

    /// The jobs of a cell that are new by the orders before the one in hand; some may have been removed again.
    pub(super) fn kept_new_in(&self, cell: GradeCell) -> Vec<JobId> {
        self.batch.cells.get(&cell).cloned().unwrap_or_default()
    }

    /// A cell as the order in hand sees it; `kept` is what the orders before it have left.
    pub(super) fn cell(&self, cell: GradeCell, kept: &Arc<Vec<CellEntry>>) -> Arc<Vec<CellEntry>> {
        let changed = &self.order.jobs;
        if changed.is_empty() {
            return kept.clone();
        }
        let mut entries: Vec<CellEntry> =
            kept.iter().filter(|entry| !changed.contains_key(&entry.id)).copied().collect();
        entries.extend(changed.values().flatten().filter(|job| job.cell == cell).map(|job| CellEntry::of(job)));
        entries.sort_unstable();
        entries.into()
    }

    /// What the order in hand has changed: each job with its cell, and its entry there unless it is removed.
    pub(super) fn changed_entries(&self) -> impl Iterator<Item = (GradeCell, JobId, Option<CellEntry>)> {
        let put = self.order.jobs.values().flatten().map(|job| (job.cell, job.id, Some(CellEntry::of(job))));
        put.chain(self.order.gone.iter().map(|(cell, id)| (*cell, *id, None)))
    }

    /// A platform that has changed.
    pub(super) fn platform(&self, origin: &Origin) -> Option<&PlatformRecord> {
        let order = self.order.platforms.iter().rfind(|platform| platform.origin == *origin);
        order.or_else(|| self.batch.platforms.get(origin))
    }

    /// The newest new job of the order in hand.
    pub(super) fn newest(&self) -> Option<JobId> {
        self.order.new.last().map(|job| job.id)
    }

    /// The jobs that the batch has changed.
    pub(super) fn changed(&self) -> impl Iterator<Item = JobId> {
        self.batch.jobs.keys().copied()
    }

    /// A job is new.
    pub(super) fn insert(&mut self, job: Arc<Job>) {
        self.order.new.push(job.clone());
        self.put(job);
    }

    /// A job has changed.
    pub(super) fn put(&mut self, job: Arc<Job>) {
        self.order.jobs.insert(job.id, Some(job));
    }

    /// A job is removed.
    pub(super) fn remove(&mut self, job: &Job) {
        self.order.jobs.insert(job.id, None);
        self.order.gone.push((job.cell, job.id));
    }

    /// A platform is new or has changed.
    pub(super) fn put_platform(&mut self, platform: PlatformRecord) {
        self.order.platforms.push(platform);
    }

    /// A column is new, has changed or is forgotten.
    pub(super) fn put_column(&mut self, digest: [u8; 16], url: Option<&str>) {
        self.order.columns.push((digest, url.map(str::to_owned)));
    }

    /// A note is put into a drawer, or taken out.
    pub(super) fn put_note(&mut self, drawer: Drawer, key: &[u8], record: Option<&[u8]>) {
        self.order.notes.push(((drawer, key.to_vec()), record.map(<[u8]>::to_vec)));
    }

    /// The order in hand is done: its changes belong to the batch.
    pub(super) fn keep_order(&mut self) {
        let Self { batch, order } = self;
        batch.jobs.extend(order.jobs.drain());
        order.gone.clear();
        for job in order.new.drain(..) {
            batch.cells.entry(job.cell).or_default().push(job.id);
            batch.keys.insert(job.key, job.id);
        }
        batch.platforms.extend(order.platforms.drain(..).map(|platform| (platform.origin.clone(), platform)));
        batch.columns.extend(order.columns.drain(..));
        batch.notes.extend(order.notes.drain(..));
        if order.jobs.capacity() > SLIP_JOBS_KEPT {
            order.jobs = JobMap::default();
        }
    }

    /// The order in hand failed: it has changed nothing.
    pub(super) fn drop_order(&mut self) {
        self.order = Slip::default();
    }

    /// Hands the batch out; the next one begins.
    pub(super) fn take(&mut self) -> Batch {
        mem::take(&mut self.batch)
    }
}
