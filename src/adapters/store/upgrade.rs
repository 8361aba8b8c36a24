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
    let damaged = |fault: &Fault| OpenError::Unusable { detail: fault.to_string() };
    let found = disk.get(keys::VERSION).map_err(|fault| damaged(&fault))?;
    match found.as_deref().map(<[u8; 4]>::try_from) {
        None => begin(disk).map_err(|fault| damaged(&fault)),
        Some(Ok(version)) if u32::from_be_bytes(version) == VERSION => Ok(()),
        // What a version can say beyond the one before is never said in an old record, so they are read as they are.
        Some(Ok(version)) if (1..VERSION).contains(&u32::from_be_bytes(version)) => {
            write_version(disk).map_err(|fault| damaged(&fault))
        }
        Some(Ok(version)) => Err(OpenError::Newer { found: u32::from_be_bytes(version), known: VERSION }),
        Some(Err(_)) => Err(OpenError::Unusable { detail: "its version cannot be read".into() }),
    }
}

/// A store without a version must be a new one.
fn begin(disk: &dyn Disk) -> Result<(), Fault> {
    if let Some(record) = disk.scan_prefix(&[]).next() {
        let (key, _) = record?;
        return Err(Fault::Damaged { key: key.to_vec(), why: super::codec::Damage::Missing("the store's version") });
    }
    write_version(disk)
}

fn write_version(disk: &dyn Disk) -> Result<(), Fault> {
    disk.apply([(keys::VERSION.to_vec(), Some(VERSION.to_be_bytes().to_vec()))].into())?;
    disk.sync()
}
