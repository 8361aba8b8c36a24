//! The version of the whole format: which keys there are and what they mean. A store of an older version is brought up
//! step by step before anything else reads it; one of a newer version is left alone.
//!
//! To change the format: raise [`VERSION`], add the step to [`upgrade`], and keep the golden records of `record`.

use super::{
    OpenError,
    disk::{Disk, Fault},
    keys,
};

/// The version that this program reads and writes. Since 2 an attempt tells whether it made its column anew
/// and which of its requests was answered last, and there are notes. Since 3 the counts of a platform's flagged jobs say
/// for which reasons, which is learnt from the jobs at the start that finds them without; and the slots of new jobs have outlines.
pub(super) const VERSION: u32 = 3;

/// Makes sure that the store is of this version.
pub(super) fn upgrade(disk: &dyn Disk) -> Result<(), OpenError> {
    match version(disk)? {
        Some(VERSION) => Ok(()),
        // What a version can say beyond the one before is never said in an old record, so they are read as they are.
        Some(_) | None => write_version(disk).map_err(|fault| unusable(&fault)),
    }
}

/// The version of a store that is only read, and so stays of that version: one that this program can read. None of a new
/// store without any records.
pub(super) fn version(disk: &dyn Disk) -> Result<Option<u32>, OpenError> {
    let found = disk.get(keys::VERSION).map_err(|fault| unusable(&fault))?;
    let version = found.as_deref().map(|version| <[u8; 4]>::try_from(version).map(u32::from_be_bytes));
    match version {
        None => must_be_new(disk).map(|()| None).map_err(|fault| unusable(&fault)),
        Some(Ok(version)) if (1..=VERSION).contains(&version) => Ok(Some(version)),
        Some(Ok(version)) => Err(OpenError::Newer { found: version, known: VERSION }),
        Some(Err(_)) => Err(OpenError::Unusable { detail: "its version cannot be read".into() }),
    }
}

/// A store without a version must be a new one.
fn must_be_new(disk: &dyn Disk) -> Result<(), Fault> {
    let Some(record) = disk.scan_prefix(&[]).next() else { return Ok(()) };
    let (key, _) = record?;
    Err(Fault::Damaged { key: key.to_vec(), why: super::codec::Damage::Missing("the store's version") })
}

fn unusable(fault: &Fault) -> OpenError {
    OpenError::Unusable { detail: fault.to_string() }
}

fn write_version(disk: &dyn Disk) -> Result<(), Fault> {
    disk.apply([(keys::VERSION.to_vec(), Some(VERSION.to_be_bytes().to_vec()))].into())?;
    disk.sync()
}
