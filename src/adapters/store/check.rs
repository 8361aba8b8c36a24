//! The consistency check: computes from the records everything else that the store must hold, and compares.

use super::{
    census::{Shift, Tally},
    codec::Damage,
    disk::Fault,
    keys, platforms,
    shelf::Shelf,
};

/// So many faults are told in words; the rest is counted.
const FAULTS_SHOWN_MAX: usize = 100;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Jobs that were read.
    pub jobs: u64,
    /// Records of any kind, index entries included.
    pub records: u64,
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

    fn fault(&mut self, words: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(words);
        }
    }
}

/// Checks everything. Nothing may be written meanwhile.
pub(super) fn check(shelf: &Shelf, tally: &Tally) -> Result<CheckReport, Fault> {
    let mut report = CheckReport::default();
    let mut shift = Shift::default();
    // Each job implies some records; if all of these are there and there are no others, no index has drifted.
    let mut implied = 0;
    for record in shelf.disk.scan_prefix(&[keys::STATE]) {
        let (key, _) = record?;
        if key.len() != keys::JOB_KEY_BYTES {
            continue;
        }
        let id = keys::read_id(&key).ok_or_else(|| Fault::Damaged { key: key.to_vec(), why: Damage::Code("key") })?;
        report.jobs += 1;
        match shelf.job(id) {
            Ok(Some(job)) => {
                let number = shelf.platforms.number(&job.origin).unwrap_or(u32::MAX);
                shift.add(&job, number);
                for (key, value) in keys::entries(&job, number) {
                    implied += 1;
                    if shelf.disk.get(&key)?.as_deref() != Some(&value[..]) {
                        report.fault(format!("job {id}: its record {} is missing or different", keys::shown(&key)));
                    }
                }
            }
            Ok(None) => report.fault(format!("job {id}: half of it is missing")),
            Err(fault) => report.fault(fault.to_string()),
        }
    }
    implied += check_tally(shelf, tally, &shift, &mut report)? + check_platforms(shelf, &mut report)?;
    for record in shelf.disk.scan_prefix(&[]) {
        let (key, value) = record?;
        report.records += 1;
        if key.first() == Some(&keys::COLUMN) || &key[..] == keys::VERSION {
            implied += 1;
        }
        if value.len() > super::disk::VALUE_BYTES_MAX {
            report.fault(format!("record {}: it is too long to be safe", keys::shown(&key)));
        }
    }
    if report.records != implied {
        report.fault(format!("there are {} records, and the jobs imply {implied}", report.records));
    }
    Ok(report)
}

/// The stored counts against those of the jobs. Says how many records hold them.
fn check_tally(shelf: &Shelf, tally: &Tally, shift: &Shift, report: &mut CheckReport) -> Result<u64, Fault> {
    let counted = Tally::of(tally.last_id, shift);
    let (stored, records) = read_tally(shelf)?;
    if counted != stored {
        report.fault(format!("the stored counts are {stored:?}, the jobs give {counted:?}"));
    }
    if *tally != stored {
        report.fault("the counts in memory are not those on disk".into());
    }
    Ok(records)
}

/// Reads the counts, and says how many records hold them.
pub(super) fn read_tally(shelf: &Shelf) -> Result<(Tally, u64), Fault> {
    let mut tally = Tally::default();
    let mut records = 0;
    if let Some(ledger) = shelf.disk.get(keys::LEDGER)? {
        records += 1;
        tally.read_ledger(&ledger).map_err(|why| Fault::Damaged { key: keys::LEDGER.to_vec(), why })?;
    }
    for record in shelf.disk.scan_prefix(&[keys::PLATFORM_COUNTS]) {
        let (key, value) = record?;
        records += 1;
        tally.read_shelf(&key, &value).map_err(|why| Fault::Damaged { key: key.to_vec(), why })?;
    }
    Ok((tally, records))
}

/// The platforms on disk against those in memory. Says how many records hold them.
fn check_platforms(shelf: &Shelf, report: &mut CheckReport) -> Result<u64, Fault> {
    let mut records = 0;
    for (number, platform) in (0..).zip(shelf.platforms.all()) {
        for (key, value) in keys::laid_out(&keys::platform(number), &platforms::encode(&platform)) {
            records += 1;
            if shelf.disk.get(&key)?.as_deref() != Some(&value[..]) {
                report.fault(format!("platform {}: its record is missing or different", platform.origin));
            }
        }
    }
    Ok(records)
}
