//! What the store keeps in memory beside sled's cache: the directory of the parts, and the due entries of young jobs.
//!
//! Most jobs are delivered within seconds. Their due entries would be written only to be removed, so a job's due entry
//! goes to disk when its part has grown old and the job still waits; then the part is *settled*. After a start, the
//! entries of the parts that are not are read from the jobs themselves.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use super::{
    codec::Damage,
    outline::{Bloom, Sieve},
    parts::Slot,
    record::Standing,
};
use crate::domain::{
    destination::GradeCell,
    job::{JobId, StateName},
    time::Timestamp,
};

/// What those who read and the writer share.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) parts: Directory,
    pub(super) due: DueMap,
    /// All parts up to this one are settled.
    pub(super) settled: Option<JobId>,
    /// The jobs of all parts that are not.
    pub(super) young_jobs: usize,
}

impl Memory {
    /// Enters a part as it is now.
    pub(super) fn put_part(&mut self, part: JobId, tenants: Tenants) {
        if !self.is_settled(part) {
            self.young_jobs += usize::from(tenants.jobs);
            self.young_jobs -= usize::from(self.parts.jobs_of(part));
        }
        self.parts.put(part, tenants);
    }

    /// All parts up to this one are settled from now on.
    pub(super) fn settle(&mut self, part: JobId) {
        let settling = self.parts.after(self.settled).take_while(|(young, _)| *young <= part);
        self.young_jobs -= settling.map(|(_, tenants)| usize::from(tenants.jobs)).sum::<usize>();
        self.settled = self.settled.max(Some(part));
    }

    /// Whether the due entries of a part are on disk.
    pub(super) fn is_settled(&self, part: JobId) -> bool {
        self.settled.is_some_and(|settled| part <= settled)
    }
}

/// Every part, by the id of its first job, with what a list needs to know to pass it by.
#[derive(Default)]
pub(super) struct Directory(BTreeMap<JobId, Tenants>);

/// How many jobs a part has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tenants {
    pub(super) jobs: u8,
    pub(super) queued: u8,
    pub(super) flagged: u8,
    /// The newest of them.
    pub(super) last: Option<JobId>,
    /// What they are like.
    pub(super) bloom: Bloom,
}

impl Tenants {
    /// Those of a part that cannot be read: there may be any.
    pub(super) const UNKNOWN: Self =
        Self { jobs: 3, queued: 1, flagged: 1, last: Some(JobId::LAST), bloom: Bloom::ANYTHING };

    /// Counts the jobs of a part.
    pub(super) fn of(slots: &[Slot<'_>]) -> Result<Self, Damage> {
        let mut tenants = Self::default();
        for slot in slots {
            tenants.jobs += 1;
            tenants.last = Some(slot.id);
            let state = slot.state.standing()?.name();
            tenants.bloom.add(slot.outline.as_ref(), state);
            match state {
                StateName::Queued => tenants.queued += 1,
                StateName::Flagged => tenants.flagged += 1,
                StateName::Delivered | StateName::Superseded | StateName::Discarded => {}
            }
        }
        Ok(tenants)
    }

    /// Whether a list of jobs in this state may find one here.
    fn may_hold(&self, state: Option<StateName>) -> bool {
        match state {
            None => self.jobs > 0,
            Some(StateName::Queued) => self.queued > 0,
            Some(StateName::Flagged) => self.flagged > 0,
            Some(StateName::Delivered | StateName::Superseded | StateName::Discarded) => {
                self.jobs > self.queued + self.flagged
            }
        }
    }
}

impl Directory {
    /// The part in which a job is, if it is there at all.
    pub(super) fn part_of(&self, id: JobId) -> Option<JobId> {
        self.0.range(..=id).next_back().map(|(first, _)| *first)
    }

    /// Whether a job may be there: its part is, and has jobs as new as it.
    pub(super) fn may_have(&self, id: JobId) -> Option<JobId> {
        let (first, tenants) = self.0.range(..=id).next_back()?;
        (tenants.last >= Some(id)).then_some(*first)
    }

    /// The newest part with jobs older than `before` that may hold what is sought.
    pub(super) fn newest(&self, before: Option<JobId>, sieve: &Sieve) -> Option<JobId> {
        let older = match before {
            None => self.0.range(..),
            Some(before) => self.0.range(..before),
        };
        let state = sieve.state();
        let may_hold =
            |first: JobId, tenants: &Tenants| tenants.may_hold(state) && sieve.passes_part(first, &tenants.bloom);
        older.rev().find(|(first, tenants)| may_hold(**first, tenants)).map(|(first, _)| *first)
    }

    /// The parts that may hold jobs in this state, oldest first.
    pub(super) fn holding(&self, state: StateName) -> impl Iterator<Item = JobId> {
        self.0.iter().filter(move |(_, tenants)| tenants.may_hold(Some(state))).map(|(first, _)| *first)
    }

    /// The parts after `after`, oldest first.
    pub(super) fn after(&self, after: Option<JobId>) -> impl Iterator<Item = (JobId, Tenants)> {
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range((bound, Bound::Unbounded)).map(|(first, tenants)| (*first, *tenants))
    }

    /// The parts from `first` on, oldest first.
    pub(super) fn from(&self, first: Option<JobId>) -> impl Iterator<Item = JobId> {
        let bound = first.map_or(Bound::Unbounded, Bound::Included);
        self.0.range((bound, Bound::Unbounded)).map(|(first, _)| *first)
    }

    /// How many jobs a part has.
    pub(super) fn jobs_of(&self, part: JobId) -> u8 {
        self.0.get(&part).map_or(0, |tenants| tenants.jobs)
    }

    /// Enters a part, or strikes it out when it has no jobs any more.
    fn put(&mut self, part: JobId, tenants: Tenants) {
        if tenants.jobs == 0 {
            self.0.remove(&part);
        } else {
            self.0.insert(part, tenants);
        }
    }
}

/// The due entries of young jobs, by the number of their platform.
#[derive(Default)]
pub(super) struct DueMap(HashMap<u32, BTreeMap<(Timestamp, JobId), GradeCell>>);

/// A due entry: platform, time, job and cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) platform: u32,
    pub(super) at: Timestamp,
    pub(super) id: JobId,
    pub(super) cell: GradeCell,
}

impl DueMap {
    pub(super) fn insert_all(&mut self, entries: impl IntoIterator<Item = Due>) {
        for Due { platform, at, id, cell } in entries {
            self.0.entry(platform).or_default().insert((at, id), cell);
        }
    }

    pub(super) fn remove(&mut self, due: &Due) {
        if let Some(entries) = self.0.get_mut(&due.platform) {
            entries.remove(&(due.at, due.id));
            if entries.is_empty() {
                self.0.remove(&due.platform);
            }
        }
    }

    /// The entries of a platform after `after`, in their order.
    pub(super) fn of(
        &self,
        platform: u32,
        after: Option<(Timestamp, JobId)>,
    ) -> impl Iterator<Item = (Timestamp, JobId, GradeCell)> {
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.0.get(&platform).map(|entries| entries.range((bound, Bound::Unbounded)));
        entries.into_iter().flatten().map(|((due, id), cell)| (*due, *id, *cell))
    }

    /// All of them, for the check.
    pub(super) fn all(&self) -> impl Iterator<Item = Due> {
        self.0.iter().flat_map(|(platform, entries)| {
            entries.iter().map(|((at, id), cell)| Due { platform: *platform, at: *at, id: *id, cell: *cell })
        })
    }
}

/// Whether a slot's job is one that may be started.
pub(super) fn is_ready(slot: &Slot<'_>) -> bool {
    slot.state.standing() == Ok(Standing::Ready)
}
