//! What was looked at or changed lately, kept so that start and finish of a young job read nothing and decode nothing.
//! Both caches are bounded.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

use super::spread::JobMap;
use crate::domain::{
    destination::GradeCell,
    job::{Job, JobId},
    ledger::CellEntry,
};

/// The most bytes of decoded jobs: some thousand jobs, more than ever are under way at once.
const JOBS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most cells of each of the two generations.
const CELLS_MAX: usize = 8 * 1024;

/// Jobs that were stored or changed lately; the longest untouched goes first.
#[derive(Default)]
pub(super) struct RecentJobs {
    jobs: JobMap<(u64, Arc<Job>)>,
    /// When which was put; an entry whose number is not the job's own any more is stale.
    puts: VecDeque<(u64, JobId)>,
    count: u64,
    bytes: usize,
}

impl RecentJobs {
    pub(super) fn get(&self, id: JobId) -> Option<Arc<Job>> {
        self.jobs.get(&id).map(|(_, job)| job.clone())
    }

    /// A job was committed; none if it was removed.
    pub(super) fn put(&mut self, id: JobId, job: Option<Arc<Job>>) {
        let before = match job {
            Some(job) => {
                self.count += 1;
                self.puts.push_back((self.count, id));
                self.bytes += weight(&job);
                self.jobs.insert(id, (self.count, job))
            }
            None => self.jobs.remove(&id),
        };
        self.bytes -= before.map_or(0, |(_, job)| weight(&job));
        while self.bytes > JOBS_BYTES_MAX {
            let Some((put, id)) = self.puts.pop_front() else {
                return;
            };
            if self.is_newest(put, id) {
                self.bytes -= self.jobs.remove(&id).map_or(0, |(_, job)| weight(&job));
            }
        }
        // Stale entries go before they are the most.
        if self.puts.len() > 4 * self.jobs.len() + 64 {
            let puts = mem::take(&mut self.puts);
            self.puts = puts.into_iter().filter(|(put, id)| self.is_newest(*put, *id)).collect();
        }
    }

    fn is_newest(&self, put: u64, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|(newest, _)| *newest == put)
    }
}

/// About what a decoded job weighs, in bytes.
fn weight(job: &Job) -> usize {
    let history: usize = job.attempts.iter().map(|attempt| size_of_val(attempt) + attempt.message.len()).sum();
    // What was read from the body holds the same words once more.
    let bodies = if job.parsed.is_some() { 2 } else { 1 };
    size_of::<Job>() + bodies * job.body.len() + history + 128
}

/// Cells that were looked at lately, each with all of its jobs, oldest first: as they are committed, and over that as the
/// orders of this batch that are done have changed them.
#[derive(Default)]
pub(super) struct RecentCells {
    newer: HashMap<GradeCell, Arc<Vec<CellEntry>>>,
    older: HashMap<GradeCell, Arc<Vec<CellEntry>>>,
}

impl RecentCells {
    pub(super) fn get(&mut self, cell: GradeCell) -> Option<Arc<Vec<CellEntry>>> {
        if let Some(entries) = self.newer.get(&cell) {
            return Some(entries.clone());
        }
        let entries = self.older.remove(&cell)?;
        Some(self.put(cell, entries))
    }

    /// All jobs of a cell.
    pub(super) fn put(&mut self, cell: GradeCell, entries: Arc<Vec<CellEntry>>) -> Arc<Vec<CellEntry>> {
        if self.newer.len() >= CELLS_MAX {
            self.older = mem::take(&mut self.newer);
        }
        self.newer.insert(cell, entries.clone());
        entries
    }

    /// A job of a cell is new, has changed, or (without an entry) is removed. A cell that is not here stays away.
    pub(super) fn change(&mut self, cell: GradeCell, id: JobId, entry: Option<CellEntry>) {
        let Some(entries) = self.newer.get_mut(&cell).or_else(|| self.older.get_mut(&cell)) else {
            return;
        };
        let entries = Arc::make_mut(entries);
        match entry {
            None => entries.retain(|known| known.id != id),
            Some(entry) => match entries.binary_search_by_key(&entry.order(), CellEntry::order) {
                Ok(place) => entries[place] = entry,
                Err(place) => entries.insert(place, entry),
            },
        }
    }
}
