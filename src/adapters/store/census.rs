//! How many jobs there are: counted along with each commit and stored in the same batch, so that the numbers are there
//! right after a start without a look at the jobs.

use std::collections::BTreeMap;

use super::{
    codec::{Damage, In, Out},
    disk::{Changes, Disk, Fault},
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
    /// How many commits there were.
    pub(super) commits: u64,
    /// The due entries of all parts up to this one are on disk.
    pub(super) settled: Option<JobId>,
    /// The marks of all jobs up to this one are in runs.
    pub(super) indexed: Option<JobId>,
    by_state: [u64; StateName::ALL.len()],
    by_platform: BTreeMap<u32, PlatformCount>,
}

/// What a commit changes in a tally.
#[derive(Clone, Debug, Default)]
pub(super) struct Shift {
    /// The newest job id ever given.
    pub(super) last_id: Option<JobId>,
    /// How far parts are settled now, if that has changed.
    pub(super) settled: Option<JobId>,
    /// How far marks are in runs now, if that has changed.
    pub(super) indexed: Option<JobId>,
    by_state: [i64; StateName::ALL.len()],
    by_platform: BTreeMap<u32, (i64, i64)>,
}

impl Shift {
    /// A change of nothing yet but the newest id.
    pub(super) fn new(last_id: Option<JobId>) -> Self {
        Self { last_id, ..Self::default() }
    }

    /// A job is there now.
    pub(super) fn add(&mut self, job: &Job, platform: u32) {
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
    /// A tally that counts what a shift adds to nothing, and is as far as `like`.
    pub(super) fn recounted(like: &Self, shift: &Shift) -> Self {
        let nothing = Self { by_state: [0; StateName::ALL.len()], by_platform: BTreeMap::new(), ..like.clone() };
        let mut tally = nothing;
        tally.apply(shift);
        Self { commits: like.commits, ..tally }
    }

    /// Takes a commit's change in.
    pub(super) fn apply(&mut self, shift: &Shift) {
        self.commits += 1;
        self.last_id = self.last_id.max(shift.last_id);
        self.settled = self.settled.max(shift.settled);
        self.indexed = self.indexed.max(shift.indexed);
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
        changes.insert(keys::LEDGER.to_vec(), Some(self.ledger_record()));
        let mut shelves: Vec<u32> = shift.by_platform.keys().map(|platform| platform / SHELF).collect();
        shelves.dedup();
        for shelf in shelves {
            changes.insert(keys::platform_counts(shelf), self.shelf_record(shelf));
        }
    }

    fn ledger_record(&self) -> Vec<u8> {
        let mut out = Out::form(FORM, 64);
        for id in [self.last_id, self.settled, self.indexed] {
            out.bytes(id.map(JobId::to_bytes).as_ref().map_or(&[], |id| id));
        }
        out.number(self.commits);
        self.by_state.iter().for_each(|count| out.number(*count));
        out.done()
    }

    fn shelf_record(&self, shelf: u32) -> Option<Vec<u8>> {
        let mut out = Out::form(FORM, 64);
        let mut counts = self.by_platform.range(shelf * SHELF..=shelf * SHELF + (SHELF - 1)).peekable();
        counts.peek()?;
        for (platform, count) in counts {
            out.number((platform % SHELF).into());
            out.number(count.queued);
            out.number(count.flagged);
        }
        Some(out.done())
    }

    /// Reads the counts.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self, Fault> {
        let mut tally = Self::default();
        if let Some(ledger) = disk.get(keys::LEDGER)? {
            tally.read_ledger(&ledger).map_err(|why| Fault::Damaged { key: keys::LEDGER.to_vec(), why })?;
        }
        for record in disk.scan_prefix(&[keys::PLATFORM_COUNTS]) {
            let (key, value) = record?;
            tally.read_shelf(&key, &value).map_err(|why| Fault::Damaged { key: key.to_vec(), why })?;
        }
        Ok(tally)
    }

    /// Reads the record of last id and states.
    fn read_ledger(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut read = In::new(bytes);
        read.form(FORM)?;
        for id in [&mut self.last_id, &mut self.settled, &mut self.indexed] {
            *id = match read.bytes()? {
                [] => None,
                bytes => Some(JobId::from_bytes(bytes.try_into().map_err(|_| Damage::Code("id"))?)),
            };
        }
        self.commits = read.number()?;
        for count in &mut self.by_state {
            *count = read.number()?;
        }
        read.end()
    }

    /// Reads a record of platform counts.
    fn read_shelf(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), Damage> {
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
