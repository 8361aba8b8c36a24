//! From the stream of a copy to a store of its own: the other half of `copying`.
//!
//! The records go into a store that is made aside. It takes its place only when the stream was whole, its digest is
//! right, and the store was opened and everything in it that follows from its jobs was computed again and compared.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    CheckReport, OpenError, Thresholds,
    bookkeeper::Bookkeeper,
    copying,
    disk::{Changes, Disk as _, Fault, KEY_BYTES_MAX, VALUE_BYTES_MAX},
    file::SledFile,
    keys,
    staging::{Place, Staging},
};
use crate::domain::ledger::Rules;

/// So many records are written at once.
const BATCH_RECORDS: usize = 512;
/// The longest header, in bytes.
const HEADER_BYTES_MAX: usize = 1_024;
/// So many faults are told.
const FAULTS_TOLD: usize = 3;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder is not empty.
    #[error("{} is there already and is not empty: name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// The new store cannot be made or opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store cannot be written.
    #[error("{0}")]
    Write(#[from] Fault),
    /// What came is no copy of a store.
    #[error("what came is no copy of a store: {0}")]
    Strange(&'static str),
    /// The copy is of a newer program.
    #[error("the worker makes copies of the form {0}, which this passback does not know: use the worker's version")]
    Newer(u32),
    /// Whoever sends it could not go on.
    #[error("the copy broke off, and is not kept: {0}")]
    BrokenOff(String),
    /// The end is missing.
    #[error("the copy broke off: it is not kept")]
    CutShort,
    /// Not what was sent.
    #[error("the copy does not have the digest that it was sent with: it is not kept")]
    Altered,
    /// The copy is not what it must be.
    #[error(
        "some of the store's records are damaged, so the copy is not kept: {0}; --keep-damaged keeps it as it is, and an \
         older backup may have what is missing"
    )]
    Unsound(String),
}

/// A copy being taken.
pub struct Taking {
    /// Goes before the folder that it is in.
    disk: SledFile,
    staging: Staging,
    header: Option<Header>,
    /// What came and is not read yet.
    unread: Vec<u8>,
    changes: Changes,
    digest: Sha256,
    records: u64,
    bytes: u64,
    parts: BTreeSet<Vec<u8>>,
    /// The record that counts the commits. It is written when all others are on disk: a file that lost its end has lost
    /// this first.
    ledger: Option<Vec<u8>>,
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Header {
    passback_copy: u32,
    jobs: u64,
    parts: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of the jobs, about so many are here.
    pub jobs: u64,
    /// Jobs there were when it began.
    pub jobs_in_all: u64,
    /// Bytes that came.
    pub bytes: u64,
}

/// What becomes of a whole copy of a store that is damaged itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// It is an error.
    IsRefused,
    /// It takes its place all the same: it has whatever the store had.
    IsKept,
}

/// A copy that is whole and in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Jobs in it, those that cannot be read among them.
    pub jobs: u64,
    /// Bytes of its records as they came.
    pub bytes: u64,
    /// What is damaged in it, in words; nothing of it in a sound one.
    pub damages: Option<String>,
}

impl Taking {
    /// Begins in a folder that is new or empty.
    pub fn begin(folder: &Path) -> Result<Self, RestoreError> {
        let is_used = fs::read_dir(folder).is_ok_and(|entries| {
            let names = entries.flatten().map(|entry| entry.file_name());
            // What a backup that was killed has left behind is no use of it.
            names.into_iter().any(|name| !Staging::is_its_own(&name))
        });
        if is_used || folder.is_file() {
            return Err(RestoreError::NotEmpty(folder.to_owned()));
        }
        let staging = Staging::begin(folder)?;
        let disk = staging.open()?;
        Ok(Self {
            staging,
            disk,
            header: None,
            unread: Vec::new(),
            changes: Changes::new(),
            digest: Sha256::new(),
            records: 0,
            bytes: 0,
            parts: BTreeSet::new(),
            ledger: None,
            is_whole: false,
        })
    }

    /// Takes what has come, in pieces of any size.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Progress, RestoreError> {
        self.bytes += bytes.len() as u64;
        self.unread.extend_from_slice(bytes);
        let mut read = 0;
        while let Some(len) = self.one(read)? {
            read += len;
        }
        self.unread.drain(..read);
        Ok(self.progress())
    }

    /// Checks the whole, and puts it in its place.
    pub fn finish(mut self, rules: Rules, damaged: Damaged) -> Result<Taken, RestoreError> {
        if !self.is_whole || !self.unread.is_empty() {
            return Err(RestoreError::CutShort);
        }
        self.write()?;
        self.disk.sync()?;
        self.changes.insert(keys::LEDGER.to_vec(), self.ledger.take());
        self.write()?;
        self.disk.sync()?;
        let Self { staging, disk, bytes, .. } = self;
        let keeper = Bookkeeper::open(Box::new(disk), rules, &Thresholds::default())?;
        let (report, commits) = (keeper.check()?, keeper.commits());
        drop(keeper);
        let (jobs, damages) = (report.jobs, in_words(report));
        match damages {
            Some(damages) if damaged == Damaged::IsRefused => Err(RestoreError::Unsound(damages)),
            damages => {
                staging.install(Place::Free, commits)?;
                Ok(Taken { jobs, bytes, damages })
            }
        }
    }

    /// Reads one thing from `at` on, if all of it is there, and tells how long it is.
    fn one(&mut self, at: usize) -> Result<Option<usize>, RestoreError> {
        let bytes = &self.unread[at..];
        if self.header.is_none() {
            let Some(end) = bytes.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n') else {
                let is_too_long = bytes.len() >= HEADER_BYTES_MAX;
                return if is_too_long { Err(RestoreError::Strange("it has no header")) } else { Ok(None) };
            };
            self.header = Some(header(&bytes[..end])?);
            self.digest.update(&bytes[..=end]);
            return Ok(Some(end + 1));
        }
        if self.is_whole && !bytes.is_empty() {
            return Err(RestoreError::Strange("there is more after its end"));
        }
        let Some(frame) = Frame::read(bytes)? else { return Ok(None) };
        match frame {
            Frame::Record { key, value, len } => {
                self.digest.update(&bytes[..len]);
                let (key, value) = (key.to_vec(), value.map(<[u8]>::to_vec));
                self.record(key, value)?;
                Ok(Some(len))
            }
            Frame::BrokenOff { why } => Err(RestoreError::BrokenOff(why)),
            Frame::End { records, digest, len } => {
                if records != self.records || digest != &self.digest.clone().finalize()[..] {
                    return Err(RestoreError::Altered);
                }
                self.is_whole = true;
                Ok(Some(len))
            }
        }
    }

    fn record(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), RestoreError> {
        self.records += 1;
        if key.first() == Some(&keys::EVENTS)
            && let Some(part) = key.get(1..17)
        {
            self.parts.insert(part.to_vec());
        }
        if key == keys::LEDGER {
            self.ledger = value;
            return Ok(());
        }
        self.changes.insert(key, value);
        if self.changes.len() >= BATCH_RECORDS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), RestoreError> {
        Ok(self.disk.apply(std::mem::take(&mut self.changes))?)
    }

    fn progress(&self) -> Progress {
        let Some(Header { jobs, parts, .. }) = self.header else { return Progress::default() };
        let here = (self.parts.len() as u64).min(parts);
        // Parts are about equally full.
        let jobs_here = if parts == 0 { 0 } else { u128::from(jobs) * u128::from(here) / u128::from(parts) };
        Progress { jobs: u64::try_from(jobs_here).unwrap_or(jobs), jobs_in_all: jobs, bytes: self.bytes }
    }
}

/// The first faults of a check, and how many there are in all.
fn in_words(mut report: CheckReport) -> Option<String> {
    if report.is_sound() {
        return None;
    }
    // A damaged record is met once for each of its jobs.
    report.faults.dedup();
    let told: Vec<_> = report.faults.into_iter().take(FAULTS_TOLD).collect();
    Some(format!("{} (faults in all: {})", told.join("; "), report.fault_count))
}

fn header(line: &[u8]) -> Result<Header, RestoreError> {
    let header: Header = serde_json::from_slice(line).map_err(|_| RestoreError::Strange("it has no header"))?;
    if header.passback_copy == copying::FORM { Ok(header) } else { Err(RestoreError::Newer(header.passback_copy)) }
}

/// One thing of the stream after its header.
enum Frame<'a> {
    Record { key: &'a [u8], value: Option<&'a [u8]>, len: usize },
    End { records: u64, digest: &'a [u8], len: usize },
    BrokenOff { why: String },
}

impl<'a> Frame<'a> {
    /// None while not all of it is there.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, RestoreError> {
        match bytes {
            [b'P' | b'R', key_len, ..] if usize::from(*key_len) > KEY_BYTES_MAX || *key_len == 0 => {
                Err(RestoreError::Strange("a key in it is longer than any"))
            }
            [b'P', key_len, high, low, rest @ ..] => {
                let (key_len, value_len) = (usize::from(*key_len), usize::from(u16::from_be_bytes([*high, *low])));
                if value_len > VALUE_BYTES_MAX {
                    return Err(RestoreError::Strange("a record in it is longer than any"));
                }
                let len = 4 + key_len + value_len;
                Ok(rest.get(..key_len + value_len).map(|record| {
                    let (key, value) = record.split_at(key_len);
                    Self::Record { key, value: Some(value), len }
                }))
            }
            [b'R', key_len, rest @ ..] => {
                let key_len = usize::from(*key_len);
                Ok(rest.get(..key_len).map(|key| Self::Record { key, value: None, len: 2 + key_len }))
            }
            [b'E', rest @ ..] => Ok(rest.split_first_chunk::<8>().and_then(|(records, rest)| {
                let digest = rest.get(..32)?;
                Some(Self::End { records: u64::from_be_bytes(*records), digest, len: 41 })
            })),
            [b'X', high, low, rest @ ..] => {
                let words = rest.get(..u16::from_be_bytes([*high, *low]).into());
                Ok(words.map(|words| Self::BrokenOff { why: String::from_utf8_lossy(words).into_owned() }))
            }
            [] | [b'P' | b'R' | b'X', ..] => Ok(None),
            _ => Err(RestoreError::Strange("a record in it begins as none does")),
        }
    }
}
