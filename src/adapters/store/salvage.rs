//! Salvage: opening what is left of a damaged store. Everything happens on a copy; the folder itself is only read.
//!
//! sled refuses its files as a whole when something at a place that it needs is damaged. The copy is tried as it is,
//! then without what sled can do without (the snapshot, its own configuration), then with more and more of the end of
//! its log cut off. A walk over records that meets a damaged page goes on from the other end.

use std::{
    cell::Cell,
    env, fs,
    io::{self, Read as _},
    path::Path,
    rc::Rc,
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::{
    OpenError,
    disk::{Disk, Record, SEGMENT_BYTES},
    export::ExportError,
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

/// What is done to a copy before it is opened.
#[derive(Clone, Copy)]
enum Remedy {
    Nothing,
    NoSnapshot,
    /// So many segments of the log's end are cut off, and so many stay.
    Cut {
        off: u64,
        kept: u64,
    },
}

/// Opens a copy of the folder, by the mildest remedy that helps.
pub(super) fn find(folder: &Path) -> Result<Find, ExportError> {
    let of_folder = |cause| OpenError::Folder { folder: folder.into(), cause };
    let log = fs::File::open(folder.join("db")).map_err(of_folder)?;
    // Held to the end, so that no worker starts meanwhile.
    flock(&log, FlockOperation::NonBlockingLockExclusive).map_err(|_| OpenError::Locked { folder: folder.into() })?;
    let segments = log.metadata().map_err(of_folder)?.len().div_ceil(SEGMENT_BYTES as u64);
    let mut refusal = None;
    for remedy in [Remedy::Nothing, Remedy::NoSnapshot].into_iter().chain(cuts(segments)) {
        let copy = copy(folder, remedy).map_err(|cause| ExportError::NoCopy { temporary: env::temp_dir(), cause })?;
        match SledFile::open(copy.path()) {
            Ok(disk) if disk.scan_prefix(&[keys::STATES]).next().is_some_and(|first| first.is_ok()) => {
                return Ok(Find { disk, remedy: remedy.words(), _copy: copy });
            }
            Ok(_) => {}
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(ExportError::Nothing { folder: folder.into(), detail: refusal.map_or_else(|| NO_JOB.to_owned(), words_of) })
}

const NO_JOB: &str = "there is no job that can be read in it";

/// The copy has a path that is gone by now and that nobody knows, so of its errors the cause alone is told.
fn words_of(refusal: OpenError) -> String {
    match refusal {
        OpenError::Damaged { detail, .. } => detail,
        OpenError::Folder { cause, .. } => cause.to_string(),
        other => other.to_string(),
    }
}

/// Less and less is left of so many segments: twice as much is cut off each time, then half as much kept.
fn cuts(segments: u64) -> impl Iterator<Item = Remedy> {
    let powers = || (0..u64::BITS).map(|power| 1_u64 << power);
    let off = powers().take_while(move |off| off.saturating_mul(2) <= segments).filter(move |off| *off < segments);
    let kept = powers().take_while(move |kept| kept.saturating_mul(2) < segments).collect::<Vec<_>>();
    let kept = kept.into_iter().rev().map(move |kept| segments - kept);
    off.chain(kept).map(move |off| Remedy::Cut { off, kept: segments - off })
}

impl Remedy {
    fn words(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::NoSnapshot => Some("sled's snapshot and configuration were left out".to_owned()),
            Self::Cut { off: 1, .. } => Some("the last segment of sled's log was left out".to_owned()),
            Self::Cut { off, .. } => Some(format!("the last {off} segments of sled's log were left out")),
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
            let kept = if let Remedy::Cut { kept, .. } = remedy { kept * SEGMENT_BYTES as u64 } else { u64::MAX };
            let mut from = fs::File::open(entry.path())?.take(kept);
            io::copy(&mut from, &mut fs::File::create_new(copy.path().join(&name))?)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_bad_place_is_reached_by_few_cuts() {
        let kept = |segments| {
            let of = |remedy| if let Remedy::Cut { off, kept } = remedy { (off, kept) } else { panic!("a cut") };
            let cuts: Vec<(u64, u64)> = cuts(segments).map(of).collect();
            assert!(cuts.iter().all(|(off, kept)| off + kept == segments), "{cuts:?}");
            cuts.into_iter().map(|(_, kept)| kept).collect::<Vec<_>>()
        };
        assert_eq!(kept(0), [0; 0]);
        assert_eq!(kept(1), [0; 0]);
        assert_eq!(kept(2), [1]);
        assert_eq!(kept(7), [6, 5, 2, 1]);
        assert_eq!(kept(100), [99, 98, 96, 92, 84, 68, 32, 16, 8, 4, 2, 1]);
    }
}
