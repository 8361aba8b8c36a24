//! How many jobs there are: counted along with each commit and stored in the same batch, so that the numbers are there
//! right after a start without a look at the jobs.

use std::collections::BTreeMap;

use super::{
    codec::{Damage, In, Out},
    disk::Changes,
    keys,
    platforms::Platforms,
};
use crate::{
    domain::job::{Job, JobId, StateName},
    ports::{Census, PlatformCount},
};

const FORM: u8 = 1;

/// So many platforms are counted in one record.
const SHELF: u32 = 64;

/// What is counted, and the newest id ever given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The newest job id ever given; it outlives its job.
    pub(super) last_id: Option<JobId>,
    by_state: [u64; StateName::ALL.len()],
    by_platform: BTreeMap<u32, PlatformCount>,
}

/// What a commit changes in a tally.
#[derive(Clone, Debug, Default)]
pub(super) struct Shift {
    last_id: Option<JobId>,
    by_state: [i64; StateName::ALL.len()],
    by_platform: BTreeMap<u32, (i64, i64)>,
}

impl Shift {
    /// A job is there now.
    pub(super) fn add(&mut self, job: &Job, platform: u32) {
        self.last_id = self.last_id.max(Some(job.id));
        self.count(job.state_name(), platform, 1);
    }

    /// A job, as it was, is not there any more.
    pub(super) fn subtract(&mut self, job: &Job, platform: u32) {
        self.count(job.state_name(), platform, -1);
    }

    fn count(&mut self, state: StateName, platform: u32, by: i64) {
        self.by_state[place(state)] += by;
        match state {
            StateName::Queued => self.by_platform.entry(platform).or_default().0 += by,
            StateName::Flagged => self.by_platform.entry(platform).or_default().1 += by,
            StateName::Delivered | StateName::Superseded | StateName::Discarded => {}
        }
    }
}

impl Tally {
    /// A tally that holds what a shift adds to nothing.
    pub(super) fn of(last_id: Option<JobId>, shift: &Shift) -> Self {
        let mut tally = Self { last_id, ..Self::default() };
        tally.apply(shift);
        tally
    }

    /// Takes a commit's change in.
    pub(super) fn apply(&mut self, shift: &Shift) {
        self.last_id = self.last_id.max(shift.last_id);
        for (count, by) in self.by_state.iter_mut().zip(shift.by_state) {
            *count = count.saturating_add_signed(by);
        }
        for (platform, (queued, flagged)) in &shift.by_platform {
            let count = self.by_platform.entry(*platform).or_default();
            count.queued = count.queued.saturating_add_signed(*queued);
            count.flagged = count.flagged.saturating_add_signed(*flagged);
            if *count == PlatformCount::default() {
                self.by_platform.remove(platform);
            }
        }
    }

    /// Writes those records that a change touches. The tally is the one after the change.
    pub(super) fn write(&self, shift: &Shift, changes: &mut Changes) {
        changes.push((keys::LEDGER.to_vec(), Some(self.ledger_record())));
        let mut shelves: Vec<u32> = shift.by_platform.keys().map(|platform| platform / SHELF).collect();
        shelves.dedup();
        for shelf in shelves {
            changes.push((keys::platform_counts(shelf), self.shelf_record(shelf)));
        }
    }

    fn ledger_record(&self) -> Vec<u8> {
        let mut out = Out::form(FORM);
        out.bytes(self.last_id.map(JobId::to_bytes).as_ref().map_or(&[], |id| id));
        self.by_state.iter().for_each(|count| out.number(*count));
        out.done()
    }

    fn shelf_record(&self, shelf: u32) -> Option<Vec<u8>> {
        let mut out = Out::form(FORM);
        let mut counts = self.by_platform.range(shelf * SHELF..=shelf * SHELF + (SHELF - 1)).peekable();
        counts.peek()?;
        for (platform, count) in counts {
            out.number((platform % SHELF).into());
            out.number(count.queued);
            out.number(count.flagged);
        }
        Some(out.done())
    }

    /// Reads the record of last id and states.
    pub(super) fn read_ledger(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut read = In::new(bytes);
        read.form(FORM)?;
        self.last_id = match read.bytes()? {
            [] => None,
            id => Some(JobId::from_bytes(id.try_into().map_err(|_| Damage::Code("last_id"))?)),
        };
        for count in &mut self.by_state {
            *count = read.number()?;
        }
        read.end()
    }

    /// Reads a record of platform counts.
    pub(super) fn read_shelf(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), Damage> {
        let shelf = key.last_chunk().map(|number| u32::from_be_bytes(*number)).ok_or(Damage::Code("key"))?;
        let first = shelf.checked_mul(SHELF).ok_or(Damage::Code("key"))?;
        let mut read = In::new(bytes);
        read.form(FORM)?;
        while !read.is_empty() {
            let place = read.small("platform")?;
            let count = PlatformCount { queued: read.number()?, flagged: read.number()? };
            if place >= SHELF {
                return Err(Damage::Code("platform"));
            }
            self.by_platform.insert(first + place, count);
        }
        Ok(())
    }

    /// The numbers for those outside.
    pub(super) fn census(&self, platforms: &Platforms) -> Census {
        let named = self.by_platform.iter().filter_map(|(number, count)| Some((platforms.origin(*number)?, *count)));
        Census { by_state: self.by_state, by_platform: named.collect() }
    }
}

fn place(state: StateName) -> usize {
    StateName::ALL.iter().position(|known| *known == state).expect("ALL has all of them")
}
