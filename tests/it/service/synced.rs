//! What a power cut leaves in the strictest reading of POSIX: the store's files rebuilt from a trace of the worker's
//! system calls, with what was synced and nothing else, or with chance deciding about each page of the rest.
//!
//! A write counts as synced when it had returned before a sync of its file began, and that sync has returned; a name,
//! when its folder was synced so. The same trace shows what the worker had acknowledged by then, and which grades it
//! had begun to send. It must run without TLS, so that this can be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::{RngExt as _, rngs::StdRng};

use super::{
    calls::{Call, End, What, parse},
    oracle::Writes,
    worker::wait_for,
};

/// What is left of what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing.
    Synced,
    /// Some pages, by chance; and the names of some files.
    Some,
}

/// The system calls of a worker, from a store in a known state on.
pub(crate) struct Trace {
    store: PathBuf,
    /// What stood on disk before the first call.
    before: Model,
    /// What stood there after the kill.
    after: Model,
    calls: Vec<Call>,
    /// The calls that acknowledge something.
    acks: Vec<usize>,
}

/// The files after a power cut, and what was known then.
pub(crate) struct Rebuilt {
    pub(crate) folder: tempfile::TempDir,
    /// The numbers of the events that were acknowledged.
    pub(crate) acknowledged: BTreeSet<u32>,
    /// How often the grade of each event was sent, at the most.
    pub(crate) sent: Writes,
}

impl Trace {
    /// Of a store that no worker has open.
    pub(crate) fn begin(store: &Path) -> Self {
        Self {
            store: store.to_owned(),
            before: Model::default(),
            after: Model::default(),
            calls: Vec::new(),
            acks: Vec::new(),
        }
    }

    /// Reads what strace has written, once the worker has been killed. What an earlier trace led to is on disk by then.
    pub(crate) async fn read(&mut self, path: &Path) {
        let is_over = |text: &str| {
            let first = text.split_whitespace().next().unwrap_or_default();
            text.lines().next_back().is_some_and(|line| line.starts_with(first) && line.contains("+++ killed"))
        };
        let text = wait_for("the trace to end", async || {
            let text = fs::read_to_string(path).unwrap_or_default();
            is_over(&text).then_some(text)
        })
        .await;
        self.calls = parse(&text);
        self.before = std::mem::take(&mut self.after);
        self.after = self.before.clone();
        for call in &self.calls {
            self.after.apply(call, &self.store);
        }
        self.after.settle(&self.store);
        let acks = |call: &Call| matches!(call, Call { end: End::Begun, what: What::Sent { acknowledged, .. }, .. } if !acknowledged.is_empty());
        self.acks = (0..self.calls.len()).filter(|at| acks(&self.calls[*at])).collect();
        assert!(!self.acks.is_empty(), "the trace shows no acknowledgement");
    }

    /// Some place in the trace.
    pub(crate) fn any_moment(&self, chance: &mut StdRng) -> usize {
        chance.random_range(0..=self.calls.len())
    }

    /// A place right after an acknowledgement.
    pub(crate) fn after_an_ack(&self, chance: &mut StdRng) -> usize {
        self.acks[chance.random_range(0..self.acks.len())] + 1
    }

    /// The files after a power cut before the call `at`.
    pub(crate) fn rebuilt(&self, at: usize, keep: Keep, chance: &mut StdRng) -> Rebuilt {
        let mut model = self.before.clone();
        for call in &self.calls[..at] {
            model.apply(call, &self.store);
        }
        let folder = tempfile::tempdir().expect("a folder");
        model.write(&self.store, folder.path(), keep, chance);
        Rebuilt { folder, acknowledged: model.acknowledged, sent: model.sent }
    }
}

/// What is written and what is synced.
#[derive(Clone, Default)]
struct Model {
    files: Vec<File>,
    /// The names inside the store's folder, as a reader sees them.
    names: BTreeMap<PathBuf, usize>,
    /// The names as they are on disk.
    durable: BTreeMap<PathBuf, usize>,
    /// Syncs that have begun, by thread.
    syncing: BTreeMap<u32, Syncing>,
    acknowledged: BTreeSet<u32>,
    sent: Writes,
}

#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    /// What came after it, in order.
    pending: Vec<Change>,
    /// How many pending changes were synced away so far.
    settled: usize,
}

#[derive(Clone)]
enum Change {
    Write(u64, Arc<[u8]>),
    Resize(u64),
}

#[derive(Clone)]
enum Syncing {
    /// A file, up to this of its changes.
    File(usize, usize),
    /// A folder, with the names that it had.
    Names(BTreeMap<PathBuf, usize>),
}

impl Model {
    fn apply(&mut self, call: &Call, store: &Path) {
        let inside = |path: &PathBuf| path.starts_with(store);
        match (&call.what, call.end) {
            (What::Open { path, truncates }, End::Done) if inside(path) => {
                let file = self.file(path);
                if *truncates {
                    self.files[file].pending.push(Change::Resize(0));
                }
            }
            (What::Write { path, at, bytes }, End::Done) if inside(path) => {
                let file = self.file(path);
                self.files[file].pending.push(Change::Write(*at, bytes.clone()));
            }
            (What::Append { path, bytes }, End::Done) if inside(path) => {
                let file = self.file(path);
                let at = self.files[file].length();
                self.files[file].pending.push(Change::Write(at, bytes.clone()));
            }
            (What::Resize { path, to }, End::Done) if inside(path) => {
                let file = self.file(path);
                self.files[file].pending.push(Change::Resize(*to));
            }
            (What::Sync { path }, End::Begun) if inside(path) => {
                let syncing = match self.names.get(path) {
                    Some(file) => Syncing::File(*file, self.files[*file].settled + self.files[*file].pending.len()),
                    None => Syncing::Names(self.names.clone()),
                };
                self.syncing.insert(call.thread, syncing);
            }
            (What::Sync { path }, End::Done) if inside(path) => match self.syncing.remove(&call.thread) {
                Some(Syncing::File(file, changes)) => self.files[file].settle(changes),
                Some(Syncing::Names(names)) => self.durable = names,
                None => panic!("a sync of {} ended that had not begun", path.display()),
            },
            (What::Rename { from, to }, End::Done) if inside(from) || inside(to) => {
                let file = self.file(from);
                self.names.remove(from);
                self.names.insert(to.clone(), file);
            }
            (What::Unlink { path }, End::Done) => drop(self.names.remove(path)),
            (What::Sent { acknowledged, scores }, End::Begun) => {
                self.acknowledged.extend(acknowledged);
                for number in scores {
                    *self.sent.entry(*number).or_default() += 1;
                }
            }
            (What::Unknown { line }, _) if line.contains(&*store.to_string_lossy()) => {
                panic!("a call on the store that the model does not know: {line}");
            }
            _ => {}
        }
    }

    fn file(&mut self, path: &Path) -> usize {
        *self.names.entry(path.to_owned()).or_insert_with(|| {
            self.files.push(File::default());
            self.files.len() - 1
        })
    }

    /// The worker was killed, and the system went on: everything gets to the disk. What a call had written that the kill cut
    /// off, no trace tells; the next worker finds it, so the files themselves are looked at.
    fn settle(&mut self, store: &Path) {
        self.syncing.clear();
        self.files.clear();
        self.names.clear();
        let mut folders = vec![store.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                self.names.insert(entry.path(), self.files.len());
                self.files.push(File { synced: fs::read(entry.path()).expect("a file"), ..File::default() });
            }
        }
        self.durable = self.names.clone();
    }

    fn write(&self, store: &Path, folder: &Path, keep: Keep, chance: &mut StdRng) {
        let names = if keep == Keep::Some && chance.random_bool(0.5) { &self.names } else { &self.durable };
        for (path, file) in names {
            let to = folder.join(path.strip_prefix(store).expect("names are inside the store"));
            fs::create_dir_all(to.parent().expect("it is in a folder")).expect("a folder");
            fs::write(to, self.files[*file].left(keep, chance)).expect("a file");
        }
    }
}

impl File {
    fn length(&self) -> u64 {
        self.pending.iter().fold(self.synced.len() as u64, |length, change| match change {
            Change::Write(at, bytes) => length.max(at + bytes.len() as u64),
            Change::Resize(to) => *to,
        })
    }

    /// Everything up to this change is on disk.
    fn settle(&mut self, changes: usize) {
        let count = changes.saturating_sub(self.settled).min(self.pending.len());
        for change in self.pending.drain(..count) {
            change.apply(&mut self.synced);
        }
        self.settled += count;
    }

    fn left(&self, keep: Keep, chance: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        if keep == Keep::Synced {
            return bytes;
        }
        for change in &self.pending {
            match change {
                Change::Resize(_) if chance.random_bool(0.5) => change.apply(&mut bytes),
                Change::Resize(_) => {}
                Change::Write(at, new) => write_some_pages(&mut bytes, *at, new, chance),
            }
        }
        bytes
    }
}

/// Writes a part of each page, or nothing of it, or all.
fn write_some_pages(bytes: &mut Vec<u8>, at: u64, new: &[u8], chance: &mut StdRng) {
    let mut from = 0;
    while from < new.len() {
        let place = at + from as u64;
        let length = usize::try_from(PAGE - place % PAGE).expect("a page is small").min(new.len() - from);
        if chance.random_bool(0.5) {
            let torn = if chance.random_bool(0.2) { length.min(SECTOR) } else { length };
            Change::Write(place, new[from..from + torn].into()).apply(bytes);
        }
        from += length;
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let index = |number: u64| usize::try_from(number).expect("it fits into memory");
        match self {
            Self::Resize(to) => bytes.resize(index(*to), 0),
            Self::Write(at, new) => {
                let end = index(*at) + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[index(*at)..end].copy_from_slice(new);
            }
        }
    }
}

const PAGE: u64 = 4096;
const SECTOR: usize = 512;
