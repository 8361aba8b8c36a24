//! What the store asks of the file under it: an ordered map of small records that changes in batches. The real one is
//! sled (`file`); a test brings one of its own, with a durable and a pending half.
//!
//! The layout above it is written for what holds of both: a batch is applied whole or not at all, and it is durable when
//! the sync after it has returned, never sooner.

use std::{collections::BTreeMap, io, ops::Deref};

pub use super::codec::Damage;
use super::keys;

/// sled's segments: what it writes at once, and reuses as a whole.
pub(super) const SEGMENT_BYTES: usize = 512 * 1024;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;

/// The longest value, in bytes. sled moves a node that is larger than a quarter of a segment out into a file under
/// `blobs/`, which is never synced; a node holds up to 17 records, and 20 for the moment in which two are merged.
pub const VALUE_BYTES_MAX: usize = (SEGMENT_BYTES / 4 - 1024) / 21 - KEY_BYTES_MAX;

/// What a commit writes (`Some`) and removes (`None`).
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A record: its key and its value.
pub type Record = (Value, Value);

/// A walk over records in the order of their keys.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<Record, Fault>> + 'a>;

/// An ordered map of records on a disk.
pub trait Disk: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Value>, Fault>;

    /// The records whose keys are at least `from` and below `to`.
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_>;

    /// The records whose keys begin with `prefix`.
    fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_>;

    /// Makes all changes at once, or none. They are on disk when [`Disk::sync`] has returned after it. A key may have
    /// [`KEY_BYTES_MAX`] bytes and a value [`VALUE_BYTES_MAX`]; larger ones are refused with [`Fault::TooLarge`].
    fn apply(&self, changes: Changes) -> Result<(), Fault>;

    /// Brings everything that was applied to the disk.
    fn sync(&self) -> Result<(), Fault>;

    /// The size on disk, in bytes; 0 where it cannot be told.
    fn size_bytes(&self) -> u64;
}

/// The bytes of a record, held without a copy where the file's cache has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(sled::IVec);

impl Value {
    pub(super) fn of(held: sled::IVec) -> Self {
        Self(held)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Why the store's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The disk is full.
    #[error(
        "the disk that holds the store is full: make room, and it goes on by itself; nothing that was accepted is lost"
    )]
    Full,
    /// The system could not read, write or sync it.
    #[error("the store's file could not be read, written or synced: {0}")]
    Io(#[source] io::Error),
    /// The library that keeps it failed.
    #[error("the store's file cannot be used: {0}")]
    File(String),
    /// A record is damaged. The others are not.
    #[error("the record {} of the store is damaged: {why}", keys::shown(key))]
    Damaged {
        /// Its key.
        key: Vec<u8>,
        /// What is wrong.
        why: Damage,
    },
    /// A record does not fit.
    #[error("the record {} has {bytes} bytes, more than the store can keep safe", keys::shown(key))]
    TooLarge {
        /// Its key.
        key: Vec<u8>,
        /// Its size.
        bytes: usize,
    },
    /// The library, or we, came upon what cannot be.
    #[error("the store met a bug or damaged files: {0}")]
    Panicked(String),
}

impl Fault {
    /// The fault of a call to the system that failed.
    pub fn of_io(cause: io::Error) -> Self {
        if is_full(&cause) { Self::Full } else { Self::Io(cause) }
    }
}

/// Whether there was no room: on the disk, in the user's share of it, or under the limit on a file's size.
pub(super) fn is_full(cause: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
