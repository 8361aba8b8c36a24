//! The writer's view of the stored truth: what is committed, over it what this batch has changed, over that what the
//! order in hand has changed. An order that fails half-way leaves nothing behind; the batch becomes one commit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
};

use super::{
    census::{Shift, Tally},
    disk::{Changes, Fault},
    keys, platforms,
    shelf::Shelf,
};
use crate::domain::{
    destination::{GradeCell, Origin},
    job::{IdempotencyKey, Job, JobId, JobState},
    ledger::{Books, CellEntry, PlatformRecord},
    time::Timestamp,
};

/// The most bytes of jobs that are kept decoded, so that start and finish of a young job read nothing.
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The books that the writer keeps open between its commits.
pub(super) struct OpenBooks {
    shelf: Arc<Shelf>,
    recent: Recent,
    last_id: Option<JobId>,
    /// Where the last look for old ended jobs stopped, so that those that must stay do not hide the others.
    prune_after: Option<(Timestamp, JobId)>,
    /// Jobs as they are committed, as far as this batch has looked at them.
    committed: HashMap<JobId, Option<Arc<Job>>>,
    batch: Layer,
    order: Layer,
}

/// Changes over what lies below.
#[derive(Default)]
struct Layer {
    /// None: removed.
    jobs: HashMap<JobId, Option<Arc<Job>>>,
    /// New jobs by cell.
    cells: HashMap<GradeCell, BTreeSet<CellEntry>>,
    /// New jobs by key.
    keys: HashMap<IdempotencyKey, JobId>,
    platforms: BTreeMap<Origin, PlatformRecord>,
    columns: HashMap<[u8; 16], Option<String>>,
}

impl Layer {
    fn absorb(&mut self, over: Self) {
        self.jobs.extend(over.jobs);
        for (cell, entries) in over.cells {
            self.cells.entry(cell).or_default().extend(entries);
        }
        self.keys.extend(over.keys);
        self.platforms.extend(over.platforms);
        self.columns.extend(over.columns);
    }
}

/// A batch ready to be committed.
pub(super) struct Draft {
    /// What is written and removed.
    pub(super) changes: Changes,
    /// What it changes in the census.
    pub(super) shift: Shift,
    /// The jobs as they will be.
    jobs: Vec<(JobId, Option<Arc<Job>>)>,
}

impl OpenBooks {
    pub(super) fn new(shelf: Arc<Shelf>, last_id: Option<JobId>) -> Self {
        Self {
            shelf,
            recent: Recent::default(),
            last_id,
            prune_after: None,
            committed: HashMap::new(),
            batch: Layer::default(),
            order: Layer::default(),
        }
    }

    /// The order in hand is done: its changes belong to the batch.
    pub(super) fn keep_order(&mut self) {
        let order = mem::take(&mut self.order);
        let newest = order.jobs.keys().max().copied();
        self.last_id = self.last_id.max(newest);
        self.batch.absorb(order);
    }

    /// The order in hand failed: it changed nothing.
    pub(super) fn drop_order(&mut self) {
        self.order = Layer::default();
    }

    /// Turns the batch into what a commit writes; `tally` is the one before it. The next batch begins.
    pub(super) fn draft(&mut self, tally: &Tally) -> Result<Draft, Fault> {
        let batch = mem::take(&mut self.batch);
        let mut changes = Changes::new();
        for (_, platform) in batch.platforms {
            let record = platforms::encode(&platform);
            let number = self.shelf.platforms.put(platform);
            self.replace_long(&mut changes, &keys::platform(number), Some(&record))?;
        }
        for (digest, url) in batch.columns {
            self.replace_long(&mut changes, &keys::column(digest), url.as_deref().map(str::as_bytes))?;
        }
        let mut shift = Shift::default();
        for (id, after) in &batch.jobs {
            let before = self.committed(*id)?;
            let mut written = BTreeMap::new();
            if let Some(after) = after {
                let platform = self.number_of(&after.origin, &mut changes);
                shift.add(after, platform);
                written = keys::entries(after, platform);
            }
            if let Some(before) = before {
                let platform = self.number_of(&before.origin, &mut changes);
                shift.subtract(&before, platform);
                for (key, value) in keys::entries(&before, platform) {
                    if written.get(&key) == Some(&value) {
                        written.remove(&key);
                    } else if !written.contains_key(&key) {
                        changes.push((key, None));
                    }
                }
            }
            changes.extend(written.into_iter().map(|(key, value)| (key, Some(value))));
        }
        if !batch.jobs.is_empty() {
            let mut tally = tally.clone();
            tally.apply(&shift);
            tally.write(&shift, &mut changes);
        }
        Ok(Draft { changes, shift, jobs: batch.jobs.into_iter().collect() })
    }

    /// The draft is on disk.
    pub(super) fn committed_draft(&mut self, draft: Draft) {
        self.committed.clear();
        for (id, job) in draft.jobs {
            self.recent.put(id, job);
        }
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
            None => self.shelf.job(id)?.map(Arc::new),
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
        let before = self.shelf.long(key)?.map(|before| keys::laid_out(key, &before)).unwrap_or_default();
        let gone = before.into_keys().filter(|key| !written.contains_key(key));
        changes.extend(gone.map(|key| (key, None)));
        changes.extend(written.into_iter().map(|(key, value)| (key, Some(value))));
        Ok(())
    }

    /// A job as the order in hand sees it.
    fn seen(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Fault> {
        let changed = [&self.order, &self.batch].into_iter().find_map(|layer| layer.jobs.get(&id));
        match changed {
            Some(job) => Ok(job.clone()),
            None => self.committed(id),
        }
    }

    fn is_removed(&self, id: JobId) -> bool {
        let changed = [&self.order, &self.batch].into_iter().find_map(|layer| layer.jobs.get(&id));
        matches!(changed, Some(None))
    }
}

impl Books for OpenBooks {
    type Error = Fault;

    fn last_id(&self) -> Option<JobId> {
        self.last_id.max(self.order.jobs.keys().max().copied())
    }

    fn job(&mut self, id: JobId) -> Result<Option<Job>, Fault> {
        Ok(self.seen(id)?.map(|job| Job::clone(&job)))
    }

    fn job_of_key(&mut self, key: &IdempotencyKey) -> Result<Option<JobId>, Fault> {
        let new = [&self.order, &self.batch].into_iter().find_map(|layer| layer.keys.get(key).copied());
        let id = if new.is_some() { new } else { self.shelf.job_of_key(key)? };
        Ok(id.filter(|id| !self.is_removed(*id)))
    }

    fn cell(&mut self, cell: GradeCell) -> Result<Vec<CellEntry>, Fault> {
        let mut entries: BTreeSet<CellEntry> = self.shelf.cell(cell)?.into_iter().collect();
        for layer in [&self.batch, &self.order] {
            entries.extend(layer.cells.get(&cell).into_iter().flatten());
        }
        Ok(entries.into_iter().filter(|entry| !self.is_removed(entry.id)).collect())
    }

    fn put(&mut self, job: Job) {
        if self.last_id().is_none_or(|last| job.id > last) {
            let entry = CellEntry { occurred_at: job.occurred_at, id: job.id };
            self.order.cells.entry(job.cell).or_default().insert(entry);
            self.order.keys.insert(job.key, job.id);
        }
        self.order.jobs.insert(job.id, Some(Arc::new(job)));
    }

    fn remove(&mut self, job: Job) {
        self.order.jobs.insert(job.id, None);
    }

    fn platform(&mut self, origin: &Origin) -> Result<Option<PlatformRecord>, Fault> {
        let new = [&self.order, &self.batch].into_iter().find_map(|layer| layer.platforms.get(origin).cloned());
        Ok(new.or_else(|| self.shelf.platforms.record(origin)))
    }

    fn put_platform(&mut self, platform: PlatformRecord) {
        self.order.platforms.insert(platform.origin.clone(), platform);
    }

    fn put_column(&mut self, key: [u8; 16], url: Option<&str>) {
        self.order.columns.insert(key, url.map(str::to_owned));
    }

    fn ended_before(&mut self, moment: Timestamp, limit: usize) -> Result<Vec<JobId>, Fault> {
        let found = self.shelf.ended_before(moment, self.prune_after, limit)?;
        self.prune_after = if found.len() < limit { None } else { found.last().copied() };
        let mut ids = Vec::with_capacity(found.len());
        for (ended_at, id) in found {
            // This batch may have replayed or removed it.
            let job = self.seen(id)?;
            ids.extend(job.filter(|job| job.ended_at == Some(ended_at)).map(|job| job.id));
        }
        let changed = self.batch.jobs.values().flatten();
        let ended_since = changed.filter(|job| is_prunable(job) && job.ended_at.is_some_and(|at| at < moment));
        let new: Vec<JobId> = ended_since.map(|job| job.id).filter(|id| !ids.contains(id)).collect();
        ids.extend(new);
        ids.truncate(limit);
        Ok(ids)
    }
}

fn is_prunable(job: &Job) -> bool {
    matches!(job.state, JobState::Delivered | JobState::Superseded | JobState::Discarded)
}

/// Jobs that were stored or changed lately, decoded; the longest untouched goes first.
#[derive(Default)]
struct Recent {
    jobs: HashMap<JobId, (u64, Arc<Job>)>,
    /// When which was put; an entry whose number is not the job's own any more is stale.
    puts: VecDeque<(u64, JobId)>,
    count: u64,
    bytes: usize,
}

impl Recent {
    fn get(&self, id: JobId) -> Option<Arc<Job>> {
        self.jobs.get(&id).map(|(_, job)| job.clone())
    }

    fn put(&mut self, id: JobId, job: Option<Arc<Job>>) {
        let known = match job {
            Some(job) => {
                self.count += 1;
                self.puts.push_back((self.count, id));
                self.bytes += weight(&job);
                self.jobs.insert(id, (self.count, job))
            }
            None => self.jobs.remove(&id),
        };
        self.bytes -= known.map_or(0, |(_, job)| weight(&job));
        while self.bytes > RECENT_BYTES_MAX || self.puts.len() > 2 * self.jobs.len() + 64 {
            let Some((put, id)) = self.puts.pop_front() else {
                return;
            };
            if self.jobs.get(&id).is_some_and(|(newest, _)| *newest == put) {
                if self.bytes > RECENT_BYTES_MAX {
                    self.bytes -= self.jobs.remove(&id).map_or(0, |(_, job)| weight(&job));
                } else {
                    self.puts.push_back((put, id));
                }
            }
        }
    }
}

/// About what a decoded job weighs, in bytes.
fn weight(job: &Job) -> usize {
    let history: usize = job.attempts.iter().map(|attempt| size_of_val(attempt) + attempt.message.len()).sum();
    size_of::<Job>() + job.body.len() + history + 128
}
