//! Marks: which jobs have a cell or an idempotency key, found by eight bytes of its digest.
//!
//! An entry a job in a sorted tree would cost a record each, at a random place. So the marks of new jobs are gathered in
//! memory and written some ten thousands at a time as a sorted *run*, cut into records. A filter in memory tells which
//! runs may hold a mark; most new events are in none. After a start, the marks that are in no run yet are read from the
//! jobs themselves.
//!
//! A mark is a hint: whoever follows it looks at the job. So a mark may outlive its job, until a later run takes over
//! what is still alive of an old one.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
};

use super::{
    codec::{Damage, In, Out},
    disk::{Changes, Disk, Fault, VALUE_BYTES_MAX},
    keys,
    shelf::Shelf,
};
use crate::domain::{
    destination::GradeCell,
    job::{IdempotencyKey, Job, JobId},
};

/// A new run looks at so many old ones, whether they are worth keeping.
const RENEWED_AT_ONCE: usize = 2;

/// The marks of one record of a run.
const CHUNK_MARKS: usize = (VALUE_BYTES_MAX - 1) / MARK_BYTES;

const MARK_BYTES: usize = 8 + 16;

const FORM: u8 = 1;

/// Eight bytes of a digest, and a job that has it.
pub(super) type Mark = (u64, JobId);

/// The mark's number of a cell.
pub(super) fn of_cell(cell: GradeCell) -> u64 {
    number(&cell.0)
}

/// The mark's number of an idempotency key; none for one that counts within its cell alone.
pub(super) fn of_key(key: &IdempotencyKey) -> Option<u64> {
    match key {
        IdempotencyKey::Event(digest) => Some(number(digest).rotate_left(1)),
        IdempotencyKey::Message(digest) => Some(number(digest).rotate_left(2)),
        IdempotencyKey::Content(_) => None,
    }
}

fn number(digest: &[u8; 16]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The marks of a job.
pub(super) fn of_job(job: &Job) -> impl Iterator<Item = Mark> {
    let key = of_key(&job.key);
    let id = job.id;
    std::iter::once(of_cell(job.cell)).chain(key).map(move |number| (number, id))
}

/// All marks.
#[derive(Default)]
pub(super) struct Marks {
    /// In no run yet.
    young: Young,
    /// By number, rising.
    runs: Vec<Run>,
    /// So many marks make a run: half as many jobs.
    run_size: usize,
    /// The run that is looked at next, whether it is worth keeping.
    renew_next: u32,
    /// The records of runs that cannot be read; they go when the next run is written, which holds all.
    broken: Vec<Vec<u8>>,
}

/// Marks that are in no run yet.
#[derive(Default)]
struct Young {
    /// Nearly every number has one job.
    first: HashMap<u64, JobId>,
    more: HashMap<u64, Vec<JobId>>,
    count: usize,
}

impl Young {
    fn insert(&mut self, (number, id): Mark) {
        match self.first.entry(number) {
            Entry::Vacant(vacant) => drop(vacant.insert(id)),
            Entry::Occupied(taken) if *taken.get() == id => return,
            Entry::Occupied(_) => self.more.entry(number).or_default().push(id),
        }
        self.count += 1;
    }

    fn find(&self, number: u64) -> impl Iterator<Item = JobId> {
        let more = if self.more.is_empty() { None } else { self.more.get(&number) };
        self.first.get(&number).into_iter().chain(more.into_iter().flatten()).copied()
    }

    fn all(&self) -> impl Iterator<Item = Mark> {
        let more = self.more.iter().flat_map(|(number, ids)| ids.iter().map(|id| (*number, *id)));
        self.first.iter().map(|(number, id)| (*number, *id)).chain(more)
    }
}

struct Run {
    number: u32,
    /// The first mark's number of each record.
    fences: Vec<u64>,
    filter: Filter,
}

/// A run to be written.
pub(super) struct NewRun {
    run: Run,
    /// Old runs of which it has taken over what was alive.
    replaced: Vec<u32>,
    renew_next: u32,
}

impl Marks {
    /// Reads all runs. If one is damaged none is used, and [`Marks::are_broken`]: then the marks have to be read from
    /// the jobs, all of them.
    pub(super) fn open(shelf: &Shelf, run_size: usize) -> Result<Self, Fault> {
        if let Some(marks) = shelf.damages.pass(Self::read(&*shelf.disk, run_size))? {
            return Ok(marks);
        }
        let records = shelf.disk.scan_prefix(&[keys::RUN]);
        let broken = records.map(|record| record.map(|(key, _)| key.to_vec())).collect::<Result<_, _>>()?;
        Ok(Self { run_size, broken, ..Self::default() })
    }

    /// Whether the marks of all jobs are missing.
    pub(super) fn are_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    fn read(disk: &dyn Disk, run_size: usize) -> Result<Self, Fault> {
        let mut marks = Self { run_size, ..Self::default() };
        let mut gathered: Vec<Mark> = Vec::new();
        let mut last = None;
        for record in disk.scan_prefix(&[keys::RUN]) {
            let (key, value) = record?;
            let damaged = |why| Fault::Damaged { key: key.to_vec(), why };
            let (run, _) = keys::read_run(&key).ok_or_else(|| damaged(Damage::Code("key")))?;
            if let Some(last) = last.filter(|last| *last != run) {
                marks.runs.push(Run::new(last, &mem::take(&mut gathered)));
            }
            last = Some(run);
            gathered.extend(decode(&value).map_err(damaged)?);
        }
        if let Some(last) = last {
            marks.runs.push(Run::new(last, &gathered));
        }
        Ok(marks)
    }

    /// Adds the marks of a job that is in no run.
    pub(super) fn add(&mut self, job: &Job) {
        of_job(job).for_each(|mark| self.young.insert(mark));
    }

    /// The jobs that may have a mark, and are committed.
    pub(super) fn find(&self, disk: &dyn Disk, number: u64) -> Result<Vec<JobId>, Fault> {
        let mut found = self.young.find(number).collect::<Vec<_>>();
        for run in self.runs.iter().filter(|run| run.filter.may_hold(number)) {
            run.find(disk, number, &mut found)?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Writes a run when enough has come together. `new` is what this commit adds; `lives` tells whether a job may
    /// still be there.
    pub(super) fn flush(
        &self,
        shelf: &Shelf,
        new: &[Mark],
        changes: &mut Changes,
        lives: impl Fn(JobId) -> bool,
    ) -> Result<Option<NewRun>, Fault> {
        if self.young.count + new.len() < self.run_size {
            return Ok(None);
        }
        let mut marks: Vec<Mark> = self.young.all().chain(new.iter().copied()).collect();
        let from = self.runs.partition_point(|run| run.number < self.renew_next);
        let mut replaced = Vec::new();
        let around = self.runs[from..].iter().chain(&self.runs[..from]).take(RENEWED_AT_ONCE);
        let mut renew_next = 0;
        for run in around {
            renew_next = run.number + 1;
            // One that cannot be read stays for the check to find.
            let Some(old) = shelf.damages.pass(run.read(&*shelf.disk))? else {
                continue;
            };
            let alive: Vec<Mark> = old.iter().filter(|(_, id)| lives(*id)).copied().collect();
            if alive.len() <= old.len() / 2 {
                marks.extend(alive);
                replaced.push(run.number);
                changes.extend((0..run.fences.len()).map(|chunk| (keys::run(run.number, chunk), None)));
            }
        }
        marks.sort_unstable();
        changes.extend(self.broken.iter().map(|key| (key.clone(), None)));
        let number = self.runs.last().map_or(0, |run| run.number + 1);
        let chunks = marks.chunks(CHUNK_MARKS).enumerate();
        changes.extend(chunks.map(|(chunk, marks)| (keys::run(number, chunk), Some(encode(marks)))));
        Ok(Some(NewRun { run: Run::new(number, &marks), replaced, renew_next }))
    }

    /// The commit is on disk: `new` marks are there, and `run`, if any, holds all.
    pub(super) fn committed(&mut self, new: Vec<Mark>, run: Option<NewRun>) {
        match run {
            None => new.into_iter().for_each(|mark| self.young.insert(mark)),
            Some(NewRun { run, replaced, renew_next }) => {
                self.young = Young::default();
                self.broken.clear();
                self.runs.retain(|run| !replaced.contains(&run.number));
                self.runs.push(run);
                self.renew_next = renew_next;
            }
        }
    }

    /// Every mark, sorted, and the number of records of the runs: for the check.
    pub(super) fn all(&self, disk: &dyn Disk) -> Result<(Vec<Mark>, u64), Fault> {
        let mut all: Vec<Mark> = self.young.all().collect();
        let mut records = self.broken.len() as u64;
        for run in &self.runs {
            records += run.fences.len() as u64;
            all.extend(run.read(disk)?);
        }
        all.sort_unstable();
        Ok((all, records))
    }
}

impl Run {
    fn new(number: u32, marks: &[Mark]) -> Self {
        let mut filter = Filter::of_size(marks.len());
        for (number, _) in marks {
            filter.add(*number);
        }
        Self { number, fences: marks.chunks(CHUNK_MARKS).map(|chunk| chunk[0].0).collect(), filter }
    }

    fn find(&self, disk: &dyn Disk, number: u64, found: &mut Vec<JobId>) -> Result<(), Fault> {
        // Its first mark may be the last of the record before the first that begins with it.
        let from = self.fences.partition_point(|fence| *fence < number).saturating_sub(1);
        for (chunk, fence) in self.fences.iter().enumerate().skip(from) {
            if *fence > number {
                break;
            }
            let key = keys::run(self.number, chunk);
            let value = disk.get(&key)?;
            let chunk = value.as_deref().map_or(Err(Damage::Missing("this part of a run")), Chunk::read);
            let chunk = chunk.map_err(|why| Fault::Damaged { key, why })?;
            let first = chunk.0.partition_point(|mark| Chunk::mark(mark).0 < number);
            let marks = chunk.0[first..].iter().map(Chunk::mark);
            found.extend(marks.take_while(|(known, _)| *known == number).map(|(_, id)| id));
        }
        Ok(())
    }

    fn read(&self, disk: &dyn Disk) -> Result<Vec<Mark>, Fault> {
        let chunks = (0..self.fences.len()).map(|chunk| self.chunk(disk, chunk));
        Ok(chunks.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn chunk(&self, disk: &dyn Disk, chunk: usize) -> Result<Vec<Mark>, Fault> {
        let key = keys::run(self.number, chunk);
        let value = disk.get(&key)?;
        let marks = value.as_deref().map_or(Err(Damage::Missing("this part of a run")), decode);
        marks.map_err(|why| Fault::Damaged { key, why })
    }
}

/// The marks of a record of a run, as they lie in it.
struct Chunk<'a>(&'a [[u8; MARK_BYTES]]);

impl<'a> Chunk<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut read = In::new(bytes);
        read.form(FORM)?;
        let (marks, rest) = read.slice(read.len())?.as_chunks();
        if rest.is_empty() { Ok(Self(marks)) } else { Err(Damage::Short) }
    }

    fn mark(bytes: &[u8; MARK_BYTES]) -> Mark {
        let mut number = [0; 8];
        let mut id = [0; 16];
        number.copy_from_slice(&bytes[..8]);
        id.copy_from_slice(&bytes[8..]);
        (u64::from_be_bytes(number), JobId::from_bytes(id))
    }
}

fn encode(marks: &[Mark]) -> Vec<u8> {
    let mut out = Out::form(FORM, VALUE_BYTES_MAX);
    for (number, id) in marks {
        out.fixed(&number.to_be_bytes());
        out.fixed(&id.to_bytes());
    }
    out.done()
}

fn decode(bytes: &[u8]) -> Result<Vec<Mark>, Damage> {
    Ok(Chunk::read(bytes)?.0.iter().map(Chunk::mark).collect())
}

/// Tells what is certainly not in a run: a Bloom filter in blocks of 32 bytes, so that a look costs one read of memory.
struct Filter(Vec<[u32; 8]>);

/// With 12 bits a mark, about one look in 200 at what is not there says "perhaps".
const FILTER_BITS: usize = 12;

impl Filter {
    fn of_size(marks: usize) -> Self {
        Self(vec![[0; 8]; (marks * FILTER_BITS / 256).max(1)])
    }

    fn add(&mut self, number: u64) {
        let (block, bits) = self.place(number);
        for (word, bit) in self.0[block].iter_mut().zip(bits) {
            *word |= bit;
        }
    }

    fn may_hold(&self, number: u64) -> bool {
        let (block, bits) = self.place(number);
        self.0[block].iter().zip(bits).all(|(word, bit)| word & bit != 0)
    }

    /// The upper half of a number picks the block, the lower half a bit in each of its words.
    fn place(&self, number: u64) -> (usize, [u32; 8]) {
        const ODD: [u32; 8] =
            [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
        let (upper, lower) = (number >> 32, (number & 0xffff_ffff) as u32);
        let block = usize::try_from((upper * self.0.len() as u64) >> 32).unwrap_or(0);
        (block, ODD.map(|odd| 1 << (lower.wrapping_mul(odd) >> 27)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_filter_never_denies_what_is_there_and_seldom_grants_what_is_not() {
        let mut filter = Filter::of_size(10_000);
        (0..10_000).for_each(|number| filter.add(spread(number)));
        assert!((0..10_000).all(|number| filter.may_hold(spread(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_hold(spread(*number))).count();
        assert!(wrong < 1_500, "{wrong} of 100,000");
    }
}
