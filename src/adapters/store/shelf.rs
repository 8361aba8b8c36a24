//! Reading: what is committed, found by key. Used by the writer and by everybody who asks; it changes nothing.

use super::{
    codec::Damage,
    disk::{Disk, Fault, Record},
    keys,
    platforms::{self, Platforms},
    record,
};
use crate::{
    domain::{
        destination::{GradeCell, Origin},
        job::{IdempotencyKey, Job, JobId},
        ledger::{CellEntry, DueEntry},
        time::Timestamp,
    },
    ports::{JobFilter, JobPage},
};

/// One call of [`Shelf::list`] looks at no more jobs than this.
const LIST_LOOKS_MAX: usize = 5_000;

/// The committed records.
pub(super) struct Shelf {
    pub(super) disk: Disk,
    pub(super) platforms: Platforms,
}

impl Shelf {
    /// A job.
    pub(super) fn job(&self, id: JobId) -> Result<Option<Job>, Fault> {
        let (state_key, event_key) = (keys::of_job(keys::STATE, id), keys::of_job(keys::EVENT, id));
        let Some(state) = self.long(&state_key)? else {
            return Ok(None);
        };
        // A reader may come between: the job was pruned after its first half was read.
        let Some(event) = self.long(&event_key)? else {
            return Ok(None);
        };
        let job = record::job(id, &event, &state, |number| self.platforms.origin(number));
        job.map(Some).map_err(|why| Fault::Damaged { key: state_key, why })
    }

    /// The job of an event or message key.
    pub(super) fn job_of_key(&self, key: &IdempotencyKey) -> Result<Option<JobId>, Fault> {
        let Some(key) = keys::idempotency(key) else {
            return Ok(None);
        };
        let Some(value) = self.disk.get(&key)? else {
            return Ok(None);
        };
        keys::read_id(&value).map(Some).ok_or(Fault::Damaged { key, why: Damage::Short })
    }

    /// The jobs of a cell, in their order.
    pub(super) fn cell(&self, cell: GradeCell) -> Result<Vec<CellEntry>, Fault> {
        self.disk.scan_prefix(&keys::cell(cell)).map(|record| read_key(record?, keys::read_cell_entry)).collect()
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
        let from = after.map_or_else(|| keys::due_of(platform), |(due, id)| next(keys::due(platform, due, id)));
        let to = end_of(keys::due_of(platform));
        let entries = self.disk.scan(&from, &to).take(limit).map(|record| {
            let (key, value) = record?;
            let cell = GradeCell(value[..].try_into().map_err(|_| damaged(&key, Damage::Code("cell")))?);
            let (due, id) = keys::read_due(&key).ok_or_else(|| damaged(&key, Damage::Code("key")))?;
            Ok(DueEntry { due, id, cell, origin: origin.clone() })
        });
        entries.collect()
    }

    /// The jobs with an attempt under way.
    pub(super) fn under_way(&self) -> Result<Vec<JobId>, Fault> {
        self.disk.scan_prefix(&[keys::UNDER_WAY]).map(|record| read_key(record?, keys::read_id)).collect()
    }

    /// Up to `limit` jobs that ended before `moment`, after the entry `after`.
    pub(super) fn ended_before(
        &self,
        moment: Timestamp,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, Fault> {
        let from = after.map_or_else(|| vec![keys::ENDED], |(at, id)| next(keys::ended(at, id)));
        let to = keys::ended(moment, JobId::from_bytes([0; 16]));
        self.disk.scan(&from, &to).take(limit).map(|record| read_key(record?, keys::read_ended)).collect()
    }

    /// The URL of a column.
    pub(super) fn column(&self, digest: [u8; 16]) -> Result<Option<String>, Fault> {
        let key = keys::column(digest);
        let Some(url) = self.long(&key)? else {
            return Ok(None);
        };
        String::from_utf8(url).map(Some).map_err(|_| Fault::Damaged { key, why: Damage::Text("url") })
    }

    /// A page of jobs, newest first.
    pub(super) fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, Fault> {
        let prefix = filter.state.and_then(keys::list_of).unwrap_or_else(|| vec![keys::STATE]);
        let key = |id: JobId| [&prefix[..], &id.to_bytes()].concat();
        // An id is never older than its job.
        let from = filter.since.map_or_else(|| prefix.clone(), |since| key(JobId::first_at(since)));
        let to = before.map_or_else(|| end_of(prefix.clone()), key);
        let mut page = JobPage::default();
        let mut looks = 0;
        for record in self.disk.scan(&from, &to).rev() {
            let (key, _) = record?;
            // The further parts of a long record have longer keys.
            let Some(id) = key.strip_prefix(&prefix[..]).filter(|id| id.len() == 16).and_then(keys::read_id) else {
                continue;
            };
            looks += 1;
            page.jobs.extend(self.job(id)?.filter(|job| filter.admits(job)));
            if page.jobs.len() >= limit || looks >= LIST_LOOKS_MAX {
                page.next = Some(id);
                break;
            }
        }
        Ok(page)
    }

    /// Fills the directory of platforms.
    pub(super) fn read_platforms(&self) -> Result<(), Fault> {
        for record in self.disk.scan_prefix(&[keys::PLATFORM]) {
            let (key, _) = record?;
            let Some(number) = key.get(1..).and_then(|number| <[u8; 4]>::try_from(number).ok()) else {
                continue;
            };
            let value = self.long(&key)?.unwrap_or_default();
            let platform = platforms::decode(&value).map_err(|why| damaged(&key, why))?;
            if self.platforms.put(platform) != u32::from_be_bytes(number) {
                return Err(damaged(&key, Damage::Missing("the platform before it")));
            }
        }
        Ok(())
    }

    /// A value that may be laid out in parts.
    pub(super) fn long(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let Some(first) = self.disk.get(key)? else {
            return Ok(None);
        };
        let value = keys::gather(key, &first, |part| {
            self.disk.get(part)?.map(|part| part.to_vec()).ok_or_else(|| damaged(part, Damage::Missing("this part")))
        })?;
        value.map(Some).ok_or_else(|| damaged(key, Damage::Short))
    }
}

/// Reads what a record's key says.
fn read_key<T>((key, _): Record, read: impl Fn(&[u8]) -> Option<T>) -> Result<T, Fault> {
    read(&key).ok_or_else(|| damaged(&key, Damage::Code("key")))
}

fn damaged(key: &[u8], why: Damage) -> Fault {
    Fault::Damaged { key: key.to_vec(), why }
}

/// The key right after `key`.
fn next(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The end of the keys that begin with `prefix`.
fn end_of(mut prefix: Vec<u8>) -> Vec<u8> {
    while prefix.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}
