//! How many jobs there are: counted along with each commit and stored in the same batch, so that the numbers are there
//! right after a start without a look at the jobs. Only where a store of an older format had flagged jobs, which did not
//! say for which reasons, are those looked at once.

use std::collections::BTreeMap;

use super::{
    codec::{Damage, In, Out},
    disk::{Changes, Disk, Fault},
    keys,
    platforms::Platforms,
    record,
};
use crate::{
    domain::{
        job::{Job, JobId, StateName},
        outcome::FailureReason,
    },
    ports::{Census, PlatformCount},
};

const FORM: u8 = 1;

/// The form of the counts of platforms. In form 1 they were without reasons.
const SHELF_FORM: u8 = 2;

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
    /// For which reasons jobs are flagged is not known: it was read from a store of an older format.
    lacks_reasons: bool,
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
    by_platform: BTreeMap<u32, PlatformShift>,
}

/// What it changes in the counts of a platform.
#[derive(Clone, Copy, Debug, Default)]
struct PlatformShift {
    queued: i64,
    flagged: i64,
    flagged_by: [i64; FailureReason::ALL.len()],
}

impl Shift {
    /// A change of nothing yet but the newest id.
    pub(super) fn new(last_id: Option<JobId>) -> Self {
        Self { last_id, ..Self::default() }
    }

    /// A job is there now.
    pub(super) fn add(&mut self, job: &Job, platform: u32) {
        self.count(job, platform, 1);
    }

    /// A job, as it was, is not there any more.
    pub(super) fn subtract(&mut self, job: &Job, platform: u32) {
        self.count(job, platform, -1);
    }

    fn count(&mut self, job: &Job, platform: u32, by: i64) {
        let state = job.state_name();
        self.by_state[place(state)] += by;
        match state {
            StateName::Queued => self.by_platform.entry(platform).or_default().queued += by,
            StateName::Flagged => {
                let shift = self.by_platform.entry(platform).or_default();
                shift.flagged += by;
                job.reason.iter().for_each(|reason| shift.flagged_by[*reason as usize] += by);
            }
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
        for (platform, shift) in &shift.by_platform {
            let count = self.by_platform.entry(*platform).or_default();
            count.queued = count.queued.saturating_add_signed(shift.queued);
            count.flagged = count.flagged.saturating_add_signed(shift.flagged);
            for (count, by) in count.flagged_by.iter_mut().zip(shift.flagged_by) {
                *count = count.saturating_add_signed(by);
            }
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
        let mut out = Out::form(SHELF_FORM, 64);
        let mut counts = self.by_platform.range(shelf * SHELF..=shelf * SHELF + (SHELF - 1)).peekable();
        counts.peek()?;
        for (platform, count) in counts {
            out.number((platform % SHELF).into());
            out.number(count.queued);
            out.number(count.flagged);
            let reasons = || FailureReason::ALL.into_iter().filter(|reason| count.flagged_for(*reason) > 0);
            out.number(reasons().count() as u64);
            for reason in reasons() {
                out.byte(record::reason_code(reason));
                out.number(count.flagged_for(reason));
            }
        }
        Some(out.done())
    }

    /// Whether it is not known for which reasons jobs are flagged.
    pub(super) fn lacks_reasons(&self) -> bool {
        self.lacks_reasons
    }

    /// Counts why jobs are flagged, each with the number of its platform, and what is to be written for it.
    pub(super) fn learn_reasons(&mut self, flagged: Vec<(u32, FailureReason)>) -> Changes {
        self.by_platform.values_mut().for_each(|count| count.flagged_by = Default::default());
        for (platform, reason) in flagged {
            self.by_platform.entry(platform).or_default().flagged_by[reason as usize] += 1;
        }
        self.lacks_reasons = false;
        let shelves = self.by_platform.keys().map(|platform| platform / SHELF);
        shelves.map(|shelf| (keys::platform_counts(shelf), self.shelf_record(shelf))).collect()
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
        let is_old = read.form_of(&[FORM, SHELF_FORM])? == FORM;
        while !read.is_empty() {
            let place = read.small("platform")?;
            let (queued, flagged) = (read.number()?, read.number()?);
            let mut count = PlatformCount { queued, flagged, ..PlatformCount::default() };
            if is_old {
                self.lacks_reasons |= flagged > 0;
            } else {
                for _ in 0..read.number()? {
                    let reason = record::reason_of(read.byte()?)?;
                    count.flagged_by[reason as usize] = read.number()?;
                }
            }
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
