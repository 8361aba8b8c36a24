//! The platforms by number: records and due entries name a platform with a number of a few bytes instead of its
//! origin. A number is given once and for ever. The directory is in memory; there are as many platforms as LMSs.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use super::codec::{Damage, In, Out};
use crate::domain::{destination::Origin, ledger::PlatformRecord, time::Timestamp};

const FORM: u8 = 1;

/// Every platform that the store knows.
#[derive(Default)]
pub(super) struct Platforms(RwLock<Directory>);

#[derive(Default)]
struct Directory {
    records: Vec<PlatformRecord>,
    numbers: HashMap<Origin, u32>,
}

impl Platforms {
    /// The number of an origin.
    pub(super) fn number(&self, origin: &Origin) -> Option<u32> {
        self.read(|directory| directory.numbers.get(origin).copied())
    }

    /// The origin of a number.
    pub(super) fn origin(&self, number: u32) -> Option<Origin> {
        self.read(|directory| directory.records.get(number as usize).map(|record| record.origin.clone()))
    }

    /// What is remembered of a platform.
    pub(super) fn record(&self, origin: &Origin) -> Option<PlatformRecord> {
        self.read(|directory| {
            let number = *directory.numbers.get(origin)?;
            directory.records.get(number as usize).cloned()
        })
    }

    /// All of them, by number.
    pub(super) fn all(&self) -> Vec<PlatformRecord> {
        self.read(|directory| directory.records.clone())
    }

    /// Remembers a platform, and gives it a number if it has none.
    pub(super) fn put(&self, record: PlatformRecord) -> u32 {
        let mut directory = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(directory.records.len()).expect("memory ends before the numbers do");
        let number = *directory.numbers.entry(record.origin.clone()).or_insert(next);
        match directory.records.get_mut(number as usize) {
            Some(known) => *known = record,
            None => directory.records.push(record),
        }
        number
    }

    fn read<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The stored form of a platform.
pub(super) fn encode(platform: &PlatformRecord) -> Vec<u8> {
    let mut out = Out::form(FORM, 128);
    out.byte(
        u8::from(platform.client_id.is_some())
            | u8::from(platform.paused_since.is_some()) << 1
            | u8::from(platform.held_since.is_some()) << 2,
    );
    out.bytes(platform.origin.as_str().as_bytes());
    platform.client_id.iter().for_each(|id| out.bytes(id.as_bytes()));
    platform.paused_since.iter().for_each(|moment| out.signed(moment.as_micros()));
    platform.held_since.iter().for_each(|moment| out.signed(moment.as_micros()));
    out.done()
}

/// Reads the stored form.
pub(super) fn decode(bytes: &[u8]) -> Result<PlatformRecord, Damage> {
    let mut read = In::new(bytes);
    read.form(FORM)?;
    let flags = read.byte()?;
    let moment = |read: &mut In<'_>| read.signed().map(Timestamp::from_micros);
    let record = PlatformRecord {
        origin: Origin::from_stored(read.text("origin")?),
        client_id: (flags & 1 != 0).then(|| read.text("client_id").map(str::to_owned)).transpose()?,
        paused_since: (flags & 2 != 0).then(|| moment(&mut read)).transpose()?,
        held_since: (flags & 4 != 0).then(|| moment(&mut read)).transpose()?,
    };
    read.end()?;
    Ok(record)
}
