//! The search for old ended jobs. It goes over the parts from the oldest on and remembers where it stopped, so that
//! jobs which must stay do not hide those behind them. An index by the time of the end would cost a record a job.

use std::time::Duration;

use super::{
    codec::Damage,
    disk::Fault,
    keys,
    parts::Slot,
    record::{self, Standing},
    shelf::Shelf,
};
use crate::domain::{
    job::{Job, JobId},
    time::Timestamp,
};

/// One look goes over no more parts than this.
const PARTS_MAX: usize = 2_000;

/// Where the search is.
#[derive(Default)]
pub(super) struct Sweep {
    /// The last job that was looked at; none to begin from the oldest.
    after: Option<JobId>,
}

impl Sweep {
    /// Up to `limit` committed jobs, in the order of their ids, that ended before `moment` and may be pruned.
    pub(super) fn look(&mut self, shelf: &Shelf, moment: Timestamp, limit: usize) -> Result<Vec<JobId>, Fault> {
        let after = self.after.take();
        let parts = parts_from(shelf, after, moment);
        let mut found = Vec::new();
        for part in &parts {
            let states = shelf.states(*part)?;
            let slots = shelf.slots_of(*part, &states).unwrap_or_default();
            for slot in slots.iter().filter(|slot| after.is_none_or(|after| slot.id > after)) {
                if shelf.damages.pass(has_ended(shelf, *part, slot, moment))? == Some(true) {
                    found.push(slot.id);
                }
                if found.len() >= limit {
                    self.after = found.last().copied();
                    return Ok(found);
                }
            }
            let last = slots.last().map_or(*part, |slot| slot.id);
            self.after = Some(last).filter(|_| parts.len() == PARTS_MAX);
        }
        Ok(found)
    }
}

impl Sweep {
    /// Whether it has not come to the end yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.after.is_some()
    }
}

/// The parts to look at. A job ends after it was stored, so those that are younger than `moment` need no look.
fn parts_from(shelf: &Shelf, after: Option<JobId>, moment: Timestamp) -> Vec<JobId> {
    let end = JobId::first_at(moment + Duration::from_millis(1));
    let memory = shelf.memory();
    let first = after.and_then(|after| memory.parts.part_of(after));
    memory.parts.from(first).take_while(|part| *part < end).take(PARTS_MAX).collect()
}

fn has_ended(shelf: &Shelf, part: JobId, slot: &Slot<'_>, moment: Timestamp) -> Result<bool, Fault> {
    if !is_over(slot.state.standing().map_err(|why| damaged(part, why))?) {
        return Ok(false);
    }
    let ended_at = record::ended_at(slot.id, &shelf.state(slot)?).map_err(|why| damaged(part, why))?;
    Ok(ended_at.is_some_and(|at| at < moment))
}

/// Whether a job, as it is now, ended before `moment` and may be pruned.
pub(super) fn is_prunable(job: &Job, moment: Timestamp) -> bool {
    is_over(Standing::of(job.state)) && job.ended_at.is_some_and(|at| at < moment)
}

fn is_over(standing: Standing) -> bool {
    matches!(standing, Standing::Delivered | Standing::Superseded | Standing::Discarded)
}

fn damaged(part: JobId, why: Damage) -> Fault {
    Fault::Damaged { key: keys::states(part), why }
}
