//! A copy of a store, also of one that is in use: all of its records as a stream of bytes.
//!
//! The records are walked over in the order of their keys, some hundred at a time; between two steps commits go on.
//! Whatever a commit changes behind the walk is noted by its key and copied once more afterwards. The last step finds
//! nothing noted any more while no commit can be made, so the copy is the store as it was at that moment, between two
//! commits: everything that was acknowledged before the copy was asked for is in it. Nothing is held in memory but the
//! keys that were noted, and there is a limit to them.
//!
//! ```text
//! {"passback_copy": 1, "store_format": 2, "version": "…", "jobs": 3, "parts": 1}⏎
//! P key length (1) value length (2) key value     a record; a later one of the same key takes its place
//! R key length (1) key                            that record is gone
//! E records (8) SHA-256 of all before it (32)     the end; without it the copy is not whole
//! X length (2) words                              in its place where the copy broke off: why
//! ```

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    OpenError, Store,
    disk::{Changes, Fault, Value},
    export::is_there,
    file::SledFile,
    memory::Memory,
    shelf::Shelf,
    upgrade,
};
use crate::ports::StoreError;

/// The form of the stream.
pub(super) const FORM: u32 = 1;

/// The most records of a step: commits wait a millisecond for it.
const STEP_RECORDS_MAX: usize = 256;
/// The most bytes of a step, about.
const STEP_BYTES_MAX: usize = 512 * 1024;
/// The most records of the last step, for which commits wait some milliseconds once.
const LAST_RECORDS_MAX: usize = 2_048;
/// So many keys are noted before they are copied ahead of the walk.
const NOTED_KEYS_HIGH: usize = 50_000;
/// More keys are not noted: some 20 MB of memory.
const NOTED_KEYS_MAX: usize = 200_000;

/// No key is greater.
const END_OF_KEYS: [u8; 1] = [u8::MAX];

/// Why a copy is not whole.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One at a time.
    #[error("a backup is under way already: wait for its end")]
    UnderWay,
    /// The reader is slower than the writer.
    #[error("more changes in the store than the backup can follow: read it faster, or take it at a quieter hour")]
    Overrun,
    /// The store failed, and was opened anew.
    #[error("the store was opened anew meanwhile: begin the backup again")]
    Reopened,
    /// The store cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The files cannot be read.
    #[error("{0}")]
    Read(#[from] Fault),
    /// A stopped store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store in the folder.
    #[error("there is no store in {0}: look at [store] path")]
    NoStore(String),
}

/// A copy being made: [`Copying::step`] until it gives nothing more.
pub struct Copying {
    source: Source,
    owner: Arc<()>,
    stage: Stage,
    records: u64,
    digest: Sha256,
}

enum Source {
    InUse(Arc<Store>),
    Stopped(Box<Shelf>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Records,
    End,
    Done,
}

impl Copying {
    /// Of a store that is in use.
    pub fn of(store: &Arc<Store>) -> Result<Self, CopyError> {
        Self::begin(Source::InUse(Arc::clone(store)))
    }

    /// Of a stopped store, which stays locked meanwhile, and of the format that it has: the copy is brought up when it is
    /// opened. So the program that wrote the store can go on with it whatever comes of the newer one.
    pub fn of_stopped(folder: &Path) -> Result<Self, CopyError> {
        if !is_there(folder) {
            return Err(CopyError::NoStore(folder.display().to_string()));
        }
        let disk = SledFile::open(folder)?;
        upgrade::version(&disk)?;
        let shelf = Shelf::new(Box::new(disk))?;
        let mut memory = Memory::default();
        shelf.read_parts(&mut memory)?;
        *shelf.memory.write().unwrap_or_else(PoisonError::into_inner) = memory;
        Self::begin(Source::Stopped(Box::new(shelf)))
    }

    fn begin(source: Source) -> Result<Self, CopyError> {
        let owner = Arc::new(());
        let begun = source.on_shelf(|shelf| Ok(shelf.watch.begin(&owner)))?;
        if !begun {
            return Err(CopyError::UnderWay);
        }
        Ok(Self { source, owner, stage: Stage::Header, records: 0, digest: Sha256::new() })
    }

    /// The next bytes; none after the last. Blocks as long as the disk does.
    pub fn step(&mut self) -> Result<Option<Vec<u8>>, CopyError> {
        let bytes = match self.stage {
            Stage::Header => {
                self.stage = Stage::Records;
                self.header()?
            }
            Stage::Records => self.some_records()?,
            Stage::End => {
                self.stage = Stage::Done;
                let digest = self.digest.clone().finalize();
                return Ok(Some([b"E", &self.records.to_be_bytes()[..], &digest].concat()));
            }
            Stage::Done => return Ok(None),
        };
        self.digest.update(&bytes);
        Ok(Some(bytes))
    }

    fn header(&self) -> Result<Vec<u8>, CopyError> {
        let (format, parts, jobs) = self.source.on_shelf(|shelf| {
            let format = upgrade::version(&*shelf.disk)?.unwrap_or(upgrade::VERSION);
            let memory = shelf.memory();
            Ok(memory.parts.after(None).fold((format, 0_u64, 0_u64), |(format, parts, jobs), (_, tenants)| {
                (format, parts + 1, jobs + u64::from(tenants.jobs))
            }))
        })?;
        let header = json!({
            "passback_copy": FORM, "store_format": format, "version": env!("CARGO_PKG_VERSION"),
            "jobs": jobs, "parts": parts,
        });
        Ok(format!("{header}\n").into_bytes())
    }

    fn some_records(&mut self) -> Result<Vec<u8>, CopyError> {
        let owner = &self.owner;
        let Step { records, is_last } = self.source.on_shelf(|shelf| shelf.watch.step(owner, shelf))?;
        if is_last {
            self.stage = Stage::End;
        }
        self.records += records.len() as u64;
        let mut bytes = Vec::with_capacity(STEP_BYTES_MAX);
        for (key, value) in records {
            let key_len = u8::try_from(key.len()).unwrap_or(u8::MAX);
            match value {
                Some(value) => {
                    let value_len = u16::try_from(value.len()).unwrap_or(u16::MAX);
                    bytes.extend([b'P', key_len]);
                    bytes.extend(value_len.to_be_bytes());
                    bytes.extend(&key);
                    bytes.extend(&value[..]);
                }
                None => {
                    bytes.extend([b'R', key_len]);
                    bytes.extend(&key);
                }
            }
        }
        Ok(bytes)
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        // A store that is shut has forgotten it already.
        let _ = self.source.on_shelf(|shelf| {
            shelf.watch.end(&self.owner);
            Ok(())
        });
    }
}

impl Source {
    fn on_shelf<T>(&self, look: impl FnOnce(&Shelf) -> Result<T, CopyError>) -> Result<T, CopyError> {
        match self {
            Self::InUse(store) => store.read(|reader| Ok(look(&reader.shelf)))?,
            Self::Stopped(shelf) => look(shelf),
        }
    }
}

/// What has changed behind a copy that is being made, if one is.
#[derive(Default)]
pub(super) struct Watch(Mutex<Option<Watching>>);

struct Watching {
    owner: Arc<()>,
    /// Where the walk goes on; none once it has come to the end.
    from: Option<Vec<u8>>,
    /// What has changed before that.
    noted: BTreeSet<Vec<u8>>,
    /// There were too many.
    is_overrun: bool,
}

/// Some records of a copy, and whether there are no more.
struct Step {
    records: Vec<(Vec<u8>, Option<Value>)>,
    is_last: bool,
}

impl Watch {
    /// Called by whoever is about to change the tree, while nobody reads it.
    pub(super) fn note(&self, changes: &Changes) {
        if let Some(watching) = &mut *self.lock() {
            let is_behind = |key: &&Vec<u8>| watching.from.as_ref().is_none_or(|from| *key < from);
            watching.noted.extend(changes.keys().filter(is_behind).cloned());
            if watching.noted.len() > NOTED_KEYS_MAX {
                watching.noted.clear();
                watching.is_overrun = true;
            }
        }
    }

    fn begin(&self, owner: &Arc<()>) -> bool {
        let mut watching = self.lock();
        let is_free = watching.is_none();
        if is_free {
            let owner = Arc::clone(owner);
            *watching = Some(Watching { owner, from: Some(Vec::new()), noted: BTreeSet::new(), is_overrun: false });
        }
        is_free
    }

    fn end(&self, owner: &Arc<()>) {
        let mut watching = self.lock();
        watching.take_if(|watching| Arc::ptr_eq(&watching.owner, owner));
    }

    /// The next records. While it looks no commit is made.
    fn step(&self, owner: &Arc<()>, shelf: &Shelf) -> Result<Step, CopyError> {
        let _no_commits = shelf.memory();
        let mut watching = self.lock();
        let ours = watching.as_mut().filter(|watching| Arc::ptr_eq(&watching.owner, owner));
        let ours = ours.ok_or(CopyError::Reopened)?;
        if ours.is_overrun {
            return Err(CopyError::Overrun);
        }
        if let Some(from) = ours.from.take_if(|_| ours.noted.len() < NOTED_KEYS_HIGH) {
            let (records, next) = walk(shelf, &from)?;
            ours.from = next;
            return Ok(Step { records, is_last: false });
        }
        let is_last = ours.from.is_none() && ours.noted.len() <= LAST_RECORDS_MAX;
        let count = if is_last { ours.noted.len() } else { STEP_RECORDS_MAX };
        let mut records = Vec::with_capacity(count);
        for key in std::iter::from_fn(|| ours.noted.pop_first()).take(count) {
            let value = shelf.disk.get(&key)?;
            records.push((key, value));
        }
        Ok(Step { records, is_last })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Watching>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records from a key on, and where the walk goes on.
#[expect(clippy::type_complexity, reason = "the records of a step and a key")]
fn walk(shelf: &Shelf, from: &[u8]) -> Result<(Vec<(Vec<u8>, Option<Value>)>, Option<Vec<u8>>), Fault> {
    let mut records = Vec::with_capacity(STEP_RECORDS_MAX);
    let mut bytes = 0;
    for record in shelf.disk.scan(from, &END_OF_KEYS) {
        let (key, value) = record?;
        if records.len() >= STEP_RECORDS_MAX || bytes >= STEP_BYTES_MAX {
            return Ok((records, Some(key.to_vec())));
        }
        bytes += key.len() + value.len();
        records.push((key.to_vec(), Some(value)));
    }
    Ok((records, None))
}
