//! The consistency check: computes from the jobs everything else that the store must hold, and compares.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    census::{Shift, Tally},
    codec::Damage,
    disk::{Fault, VALUE_BYTES_MAX},
    draft::due_of,
    keys,
    memory::{Due, Memory, Tenants},
    outline::Outline,
    parts::{self, Slot, SlotState},
    platforms, record,
    runs::{self, Mark, Marks},
    shelf::Shelf,
};
use crate::domain::job::{Job, JobId};

/// So many faults are told in words; the rest is counted.
const FAULTS_SHOWN_MAX: usize = 100;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Jobs that were read.
    pub jobs: u64,
    /// Records of any kind.
    pub records: u64,
    /// Jobs that an older version wrote, and that have not changed since: lists look at each of them.
    pub without_outline: u64,
    /// The first faults, in words.
    pub faults: Vec<String>,
    /// All faults.
    pub fault_count: u64,
}

impl CheckReport {
    /// Whether all is as it must be.
    pub fn is_sound(&self) -> bool {
        self.fault_count == 0
    }

    fn fault(&mut self, words: impl Into<String>) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(words.into());
        }
    }

    /// A damaged record is a fault like any other; what cannot be read at all ends the check.
    fn sound<T>(&mut self, outcome: Result<T, Fault>) -> Result<Option<T>, Fault> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(fault @ Fault::Damaged { .. }) => {
                self.fault(fault.to_string());
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn expect(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.fault(words());
        }
    }
}

/// Checks everything. Called by the writer, so that nothing is written meanwhile.
pub(super) fn check(shelf: &Shelf, marks: &Marks, tally: &Tally) -> Result<CheckReport, Fault> {
    let memory = shelf.memory();
    let mut report = CheckReport::default();
    let (marks, run_records) = report.sound(marks.all(&*shelf.disk))?.unwrap_or_default();
    let mut check = Check {
        shelf,
        memory: &memory,
        marks,
        tally,
        report,
        shift: Shift::default(),
        due_in_memory: BTreeSet::new(),
        implied: run_records,
    };
    check.parts()?;
    check.due();
    check.counts()?;
    check.platforms()?;
    check.all_records()?;
    Ok(check.report)
}

struct Check<'a> {
    shelf: &'a Shelf,
    memory: &'a Memory,
    /// Sorted.
    marks: Vec<Mark>,
    tally: &'a Tally,
    report: CheckReport,
    /// Counts the jobs.
    shift: Shift,
    due_in_memory: BTreeSet<Due>,
    /// So many records follow from the jobs. If all of these are there, and no others, no index has drifted.
    implied: u64,
}

impl Check<'_> {
    fn parts(&mut self) -> Result<(), Fault> {
        let mut found = BTreeMap::new();
        for record in self.shelf.disk.scan_prefix(&[keys::STATES]) {
            let (key, states) = record?;
            let damaged = |why| Fault::Damaged { key: key.to_vec(), why };
            self.implied += 1;
            let part = keys::read_id(&key).ok_or_else(|| damaged(Damage::Code("key")));
            let Some(part) = self.report.sound(part)? else {
                continue;
            };
            let slots = parts::decode_slots(&states).and_then(|slots| Ok((Tenants::of(&slots)?, slots)));
            let Some((tenants, slots)) = self.report.sound(slots.map_err(damaged))? else {
                found.insert(part, Tenants::UNKNOWN);
                continue;
            };
            self.report.expect(slots.is_sorted_by(|a, b| a.id < b.id) && !slots.is_empty(), || {
                format!("part {part}: its jobs are not in order")
            });
            found.insert(part, tenants);
            self.part(part, &slots)?;
        }
        let known: BTreeMap<JobId, Tenants> = self.memory.parts.after(None).collect();
        self.report.expect(known == found, || "the directory in memory is not that of the disk".into());
        Ok(())
    }

    fn part(&mut self, part: JobId, slots: &[Slot<'_>]) -> Result<(), Fault> {
        let mut chunks = BTreeSet::new();
        for slot in slots {
            self.report.jobs += 1;
            self.report.expect(self.memory.parts.part_of(slot.id) == Some(part), || {
                format!("job {}: it is not found in its part", slot.id)
            });
            match self.shelf.job_in(part, slot) {
                Ok(job) => {
                    let platform = self.shelf.platforms.number(&job.origin).unwrap_or(u32::MAX);
                    let event = record::event_half(&job, platform).len();
                    chunks.extend((slot.chunk..).take(parts::chunks_of(event)));
                    self.job(part, slot, &job, platform)?;
                }
                Err(fault) => self.report.fault(fault.to_string()),
            }
        }
        self.implied += chunks.len() as u64;
        for chunk in chunks {
            self.chunk(part, chunk, slots)?;
        }
        Ok(())
    }

    fn job(&mut self, part: JobId, slot: &Slot<'_>, job: &Job, platform: u32) -> Result<(), Fault> {
        self.shift.add(job, platform);
        let state = record::state_half(job);
        let own = state.len() > parts::SLOT_BYTES_MAX;
        self.report.expect(own == matches!(slot.state, SlotState::Own(_)), || {
            format!("job {}: its state is not where it belongs", job.id)
        });
        self.report.expect(slot.state.standing() == Ok(record::Standing::of(job.state)), || {
            format!("job {}: its slot says another state", job.id)
        });
        self.report.without_outline += u64::from(slot.outline.is_none());
        self.report.expect(slot.outline.is_none_or(|outline| outline == Outline::of(job, platform)), || {
            format!("job {}: its outline says something else", job.id)
        });
        if own {
            self.implied += keys::laid_out(&keys::own_state(job.id), &state).len() as u64;
        }
        for mark in runs::of_job(job) {
            self.report.expect(self.marks.binary_search(&mark).is_ok(), || {
                format!("job {}: it cannot be found by its cell or its key", job.id)
            });
        }
        if let Some(due) = due_of(job, platform) {
            if self.memory.is_settled(part) {
                self.implied += 1;
                let stored = self.shelf.disk.get(&keys::due(&due))?;
                self.report.expect(stored.as_deref() == Some(&due.cell.0), || {
                    format!("job {}: its due entry is missing or different", job.id)
                });
            } else {
                self.due_in_memory.insert(due);
            }
        }
        Ok(())
    }

    /// A chunk must hold no events but those of its part's jobs.
    fn chunk(&mut self, part: JobId, chunk: u8, slots: &[Slot<'_>]) -> Result<(), Fault> {
        let key = keys::events(part, chunk);
        let Some(stored) = self.shelf.disk.get(&key)? else {
            self.report.fault(format!("record {}: it is missing", keys::shown(&key)));
            return Ok(());
        };
        if slots.iter().any(|slot| slot.chunk == chunk) {
            let known = |id| slots.iter().any(|slot| slot.id == id);
            let kept = parts::retain_events(&stored, known).map_err(|why| Fault::Damaged { key: key.clone(), why });
            let Some(kept) = self.report.sound(kept)? else {
                return Ok(());
            };
            self.report.expect(kept.len() >= stored.len(), || {
                format!("record {}: it holds events of jobs that are gone", keys::shown(&key))
            });
        }
        Ok(())
    }

    fn due(&mut self) {
        let known: BTreeSet<Due> = self.memory.due.all().collect();
        self.report
            .expect(known == self.due_in_memory, || "the due entries in memory are not those of the jobs".into());
    }

    /// The stored counts against those of the jobs.
    fn counts(&mut self) -> Result<(), Fault> {
        let Some(stored) = self.report.sound(Tally::read(&*self.shelf.disk))? else {
            return Ok(());
        };
        let counted = Tally::recounted(self.tally, &self.shift);
        self.report
            .expect(counted == stored, || format!("the stored counts are {stored:?}, the jobs give {counted:?}"));
        self.report.expect(*self.tally == stored, || "the counts in memory are not those on disk".into());
        Ok(())
    }

    /// The platforms on disk against those in memory.
    fn platforms(&mut self) -> Result<(), Fault> {
        for (number, platform) in (0..).zip(self.shelf.platforms.all()) {
            for (key, value) in keys::laid_out(&keys::platform(number), &platforms::encode(&platform)) {
                self.implied += 1;
                let stored = self.shelf.disk.get(&key)?;
                self.report.expect(stored.as_deref() == Some(&value[..]), || {
                    format!("platform {}: its record is missing or different", platform.origin)
                });
            }
        }
        Ok(())
    }

    /// There must be no records but those that follow from the jobs, and a few kinds that stand for themselves.
    fn all_records(&mut self) -> Result<(), Fault> {
        for record in self.shelf.disk.scan_prefix(&[]) {
            let (key, value) = record?;
            self.report.records += 1;
            let of_its_own = [keys::COLUMN, keys::NOTE, keys::PLATFORM_COUNTS, keys::LEDGER[0], keys::VERSION[0]];
            self.implied += u64::from(key.first().is_some_and(|kind| of_its_own.contains(kind)));
            self.report.expect(value.len() <= VALUE_BYTES_MAX, || {
                format!("record {}: it is too long to be safe", keys::shown(&key))
            });
        }
        let (records, implied) = (self.report.records, self.implied);
        self.report.expect(records == implied, || format!("there are {records} records, and the jobs imply {implied}"));
        Ok(())
    }
}
