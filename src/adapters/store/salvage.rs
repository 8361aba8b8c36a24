//! Salvage: opening what is left of a damaged store. Everything happens on a copy; the folder itself is only read.
//!
//! sled refuses its files as a whole when something at a place that it needs is damaged. The copy is tried as it is,
//! then without what sled can do without (the snapshot, its own configuration), then with more and more of the end of
//! its log cut off. A walk over records that meets a damaged page goes on from the other end.

use std::{cell::Cell, fs, io, path::Path, rc::Rc};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::{
    OpenError,
    disk::{Disk, Record, SEGMENT_BYTES},
    file::SledFile,
    keys,
};

/// What could be opened.
pub(super) struct Find {
    pub(super) disk: SledFile,
    /// What had to be done to the copy, in words.
    pub(super) remedy: Option<String>,
    /// The copy, which is gone when this is dropped.
    pub(super) _copy: TempDir,
}

/// How much of the log's end is cut off in turn, in segments.
const CUTS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// What is done to a copy before it is opened.
#[derive(Clone, Copy)]
enum Remedy {
    Nothing,
    NoSnapshot,
    Cut(u64),
}

/// Opens a copy of the folder, by the mildest remedy that helps.
pub(super) fn find(folder: &Path) -> Result<Find, OpenError> {
    let of_folder = |cause| OpenError::Folder { folder: folder.into(), cause };
    let log = fs::File::open(folder.join("db")).map_err(of_folder)?;
    // Held to the end, so that no worker starts meanwhile.
    flock(&log, FlockOperation::NonBlockingLockExclusive).map_err(|_| OpenError::Locked { folder: folder.into() })?;
    let segments = log.metadata().map_err(of_folder)?.len().div_ceil(SEGMENT_BYTES as u64);
    let cuts = CUTS.into_iter().filter(|cut| *cut < segments).map(Remedy::Cut);
    let mut refusal = None;
    for remedy in [Remedy::Nothing, Remedy::NoSnapshot].into_iter().chain(cuts) {
        let copy = copy(folder, remedy).map_err(of_folder)?;
        match SledFile::open(copy.path()) {
            Ok(disk) if disk.scan_prefix(&[keys::STATES]).next().is_some_and(|first| first.is_ok()) => {
                return Ok(Find { disk, remedy: remedy.words(), _copy: copy });
            }
            Ok(_) => {}
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    let detail = "not even with the end of its log cut off can anything be read".to_owned();
    Err(refusal.unwrap_or(OpenError::Damaged { folder: folder.into(), detail }))
}

impl Remedy {
    fn words(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::NoSnapshot => Some("sled's snapshot and configuration were left out".to_owned()),
            Self::Cut(1) => Some("the last segment of sled's log was left out".to_owned()),
            Self::Cut(segments) => Some(format!("the last {segments} segments of sled's log were left out")),
        }
    }
}

fn copy(folder: &Path, remedy: Remedy) -> io::Result<TempDir> {
    let copy = tempfile::tempdir()?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_spare = text == "conf" || text.starts_with("snap.");
        let is_wanted =
            text == "db" || (is_spare && matches!(remedy, Remedy::Nothing) && !text.ends_with(".generating"));
        if is_wanted && entry.path().is_file() {
            fs::copy(entry.path(), copy.path().join(&name))?;
        }
    }
    if let Remedy::Cut(segments) = remedy {
        let log = fs::OpenOptions::new().write(true).open(copy.path().join("db"))?;
        let len = log.metadata()?.len().div_ceil(SEGMENT_BYTES as u64).saturating_sub(segments);
        log.set_len(len * SEGMENT_BYTES as u64)?;
    }
    Ok(copy)
}

/// The records of a kind: forwards as far as they can be read, and what is left backwards. The number counts the places
/// that could not be passed; it is right when the walk has ended.
pub(super) fn around_damage(disk: &SledFile, kind: u8) -> (impl Iterator<Item = Record>, Rc<Cell<u64>>) {
    let gaps = Rc::new(Cell::new(0));
    let (forward_gaps, mut last) = (gaps.clone(), Vec::new());
    let mut forward = disk.scan_prefix(&[kind]);
    let mut backward = disk.scan_back(&[kind]);
    let mut is_forward = true;
    let walk = std::iter::from_fn(move || {
        if is_forward {
            match forward.next() {
                Some(Ok(record)) => {
                    last = record.0.to_vec();
                    return Some(record);
                }
                None => return None,
                Some(Err(_)) => {
                    forward_gaps.set(forward_gaps.get() + 1);
                    is_forward = false;
                }
            }
        }
        backward.next()?.ok().filter(|record| record.0[..] > last[..])
    });
    (walk, gaps)
}
