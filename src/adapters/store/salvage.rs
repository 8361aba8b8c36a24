//! Salvage: what is left of a damaged store, read from sled's log without sled. The folder is only read.
//!
//! sled refuses its files as a whole when a single page is lost. Here each segment of the log is read by itself, in the
//! order in which it was written, wherever it lies in the file: of each page the last state that can be read is taken,
//! and where two pages claim the same keys, the newer one has them. So a segment that is lost costs what was in it alone.
//! What had been written to a lost one last may come out as it was before. Where each page begins is kept in memory;
//! its content is read when it is asked for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fs::{self, File},
    ops::Bound,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::fs::{FlockOperation, flock};

use super::{
    OpenError,
    claims::{Claim, Claims, End, is_before},
    codec::Damage,
    disk::{Changes, Disk, Fault, SEGMENT_BYTES, Scan, Value},
    file::{LOCK_PAUSE, LOCK_TRIES},
    keys,
    sledlog::{Change, HEAD_BYTES, Head, Message, Messages, Node, SEGMENT, Said, Snapshot, Step},
};

/// What can be read of a store's log. Held open, so that no worker starts meanwhile.
pub(super) struct Wreck {
    log: File,
    pages: HashMap<u64, Page>,
    claims: Claims,
    harm: Harm,
    /// The pages that were read last.
    recent: Mutex<VecDeque<(u64, Arc<Leaf>)>>,
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Harm {
    /// Places of the log that cannot be read.
    pub(super) breaks: u64,
    /// Segments without anything in them, of which it is not known whether there ever was: sled blanks those that it does
    /// not need when it opens.
    pub(super) blank: u64,
    /// Stretches of keys of which no page is left.
    pub(super) gaps: u64,
    /// Stretches of keys that an older page claims too: what was written to it last is lost.
    pub(super) contested: u64,
}

impl Harm {
    /// Whether nothing is.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// A page that holds records: its last whole state, and the changes since.
struct Page {
    whole: Place,
    low: Vec<u8>,
    high: End,
    changes: Vec<Place>,
}

/// Where a message is.
#[derive(Clone, Copy)]
struct Place {
    /// In the order of the log.
    lsn: u64,
    /// In the file: where its body begins.
    at: u64,
    len: usize,
}

/// The records of a page.
type Leaf = BTreeMap<Vec<u8>, Value>;

/// So many pages are held in memory, some 100 KB each at the most.
const RECENT_MAX: usize = 32;

impl Wreck {
    /// Reads the log in a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, OpenError> {
        let of_folder = |cause| OpenError::Folder { folder: folder.into(), cause };
        let log = File::open(folder.join("db")).map_err(of_folder)?;
        lock_patiently(&log).map_err(|_| OpenError::Locked { folder: folder.into() })?;
        let count = log.metadata().map_err(of_folder)?.len().div_ceil(SEGMENT);
        let heads: BTreeMap<u64, (u64, Head)> = (0..count)
            .filter_map(|number| Some((number * SEGMENT, head(&log, number * SEGMENT)?)))
            .map(|(at, head)| (head.lsn, (at, head)))
            .collect();
        let (bad, blank) = headless(&log, count, &heads, newest_snapshot(folder).as_ref());
        let mut reading = Reading { pages: HashMap::new(), breaks: bad, torn: 0 };
        let stable = heads.values().map(|(_, head)| head.stable).max().unwrap_or(0) / SEGMENT * SEGMENT;
        let tail = Runs::of(&log, heads.range(stable..).map(|(lsn, (at, _))| (*lsn, *at)));
        let newest = heads.keys().next_back().copied();
        for (lsn, (at, _)) in &heads {
            let tail = (*lsn >= stable).then_some(&tail);
            reading.take_segment(&segment(&log, *at), (*lsn, *at), tail, Some(*lsn) == newest);
        }
        let Reading { pages, breaks, .. } = reading;
        let bounds = |(number, page): (&u64, &Page)| (*number, page.whole.lsn, page.low.clone(), page.high.clone());
        let claims = Claims::of(pages.iter().map(bounds).collect());
        let harm = Harm { breaks, blank, gaps: claims.gaps(), contested: claims.contested };
        Ok(Self { log, pages, claims, harm, recent: Mutex::default() })
    }

    /// What is wrong with it.
    pub(super) fn harm(&self) -> Harm {
        self.harm
    }

    fn leaf(&self, number: u64) -> Result<Arc<Leaf>, Fault> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(known, _)| *known == number) {
            let found = recent.remove(at).expect("it was found there");
            recent.push_back(found.clone());
            return Ok(found.1);
        }
        let leaf = Arc::new(self.read_leaf(number)?);
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back((number, leaf.clone()));
        Ok(leaf)
    }

    fn read_leaf(&self, number: u64) -> Result<Leaf, Fault> {
        // Only pages that are there have claims, by which they are asked for.
        let page = &self.pages[&number];
        let whole = self.body(page.whole)?;
        let node = Node::read(&whole).ok_or_else(|| Fault::Damaged { key: page.low.clone(), why: Damage::Short })?;
        let full = |key: &[u8]| [node.prefix, key].concat();
        let records = node.records.iter().flatten();
        let mut leaf: Leaf = records.map(|(key, value)| (full(key), Value::from(value.to_vec()))).collect();
        for place in &page.changes {
            let body = self.body(*place)?;
            // A change may belong to a state of the page that is lost, in which its key was cut off elsewhere.
            let is_of_it = |key: &Vec<u8>| *key >= page.low && is_before(key, &page.high) && is_a_key(key);
            match Change::read(&body) {
                Some(Change::Set(key, value)) => {
                    let key = Some(full(key)).filter(is_of_it);
                    key.map(|key| leaf.insert(key, value.to_vec().into()));
                }
                Some(Change::Removed(key)) => drop(leaf.remove(&full(key))),
                None => {}
            }
        }
        Ok(leaf)
    }

    fn body(&self, place: Place) -> Result<Vec<u8>, Fault> {
        let mut body = vec![0; place.len];
        self.log.read_exact_at(&mut body, place.at).map_err(Fault::of_io)?;
        Ok(body)
    }

    /// The records of one page that are its own and lie in a stretch.
    fn records(&self, claim: (&Vec<u8>, &Claim), from: &[u8], to: &End) -> Vec<Result<(Value, Value), Fault>> {
        let (low, Claim { end, page }) = claim;
        let leaf = match self.leaf(*page) {
            Ok(leaf) => leaf,
            Err(fault) => return vec![Err(fault)],
        };
        let from = from.max(low);
        let within = leaf.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let within = within.take_while(|(key, _)| is_before(key, end) && is_before(key, to));
        within.map(|(key, value)| Ok((Value::from(key.clone()), value.clone()))).collect()
    }

    fn walk(&self, from: Vec<u8>, to: End) -> Scan<'_> {
        let first = self.claims.at_or_before(&from);
        let claims = self.claims.by_low.range(first..);
        let until = to.clone();
        let claims = claims.take_while(move |(low, _)| is_before(low, &until));
        Box::new(claims.flat_map(move |claim| self.records(claim, &from, &to)))
    }
}

impl Disk for Wreck {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, Fault> {
        let claim = self.claims.by_low.range(self.claims.at_or_before(key)..).next();
        let claim = claim.filter(|(low, claim)| low[..] <= *key && is_before(key, &claim.end));
        let (_, claim) = claim.ok_or_else(|| Fault::Damaged { key: key.to_vec(), why: Damage::Missing("its page") })?;
        Ok(self.leaf(claim.page)?.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        self.walk(from.to_vec(), Some(to.to_vec()))
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.walk(prefix.to_vec(), Some(end).filter(|end| !end.is_empty()))
    }

    fn apply(&self, _: Changes) -> Result<(), Fault> {
        Err(Fault::File("it is only read".into()))
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

/// Whether a key has the length of its kind.
fn is_a_key(key: &[u8]) -> bool {
    let lengths = match key.first() {
        Some(&keys::EVENTS) => 18..=18,
        Some(&keys::STATES) => 17..=17,
        Some(&(keys::OWN_STATE | keys::COLUMN)) => 17..=18,
        Some(&keys::DUE) => 29..=29,
        Some(&keys::RUN) => 9..=9,
        Some(&keys::PLATFORM) => 5..=6,
        Some(&keys::PLATFORM_COUNTS) => 5..=5,
        Some(&keys::NOTE) => 2..=usize::MAX,
        _ => return key == keys::LEDGER || key == keys::VERSION,
    };
    lengths.contains(&key.len())
}

/// A store that was closed just now may still be held for a blink.
fn lock_patiently(log: &File) -> rustix::io::Result<()> {
    let lock = || flock(log, FlockOperation::NonBlockingLockExclusive);
    for _ in 0..LOCK_TRIES {
        if lock().is_ok() {
            return Ok(());
        }
        thread::sleep(LOCK_PAUSE);
    }
    lock()
}

fn head(log: &File, at: u64) -> Option<Head> {
    let mut bytes = [0; HEAD_BYTES];
    log.read_exact_at(&mut bytes, at).ok()?;
    Head::read(&bytes)
}

/// Counts the segments without a head: those that had something in them, and those of which that is not known.
///
/// sled blanks what its newest snapshot does not need, and then takes the first segment that is free. So one that the
/// snapshot needs was not blank, nor was one before a segment that was taken since; and if none of those that were taken
/// since is missing, no other was ever taken.
fn headless(log: &File, count: u64, heads: &BTreeMap<u64, (u64, Head)>, snapshot: Option<&Snapshot>) -> (u64, u64) {
    let there: BTreeSet<u64> = heads.values().map(|(at, _)| at / SEGMENT).collect();
    let needed = |number: &u64| snapshot.is_some_and(|snapshot| snapshot.segments.contains(number));
    let cut_off = snapshot.map_or(0, |snapshot| snapshot.segments.range(count..).count() as u64);
    let begin = snapshot.map_or(0, |snapshot| snapshot.lsn / SEGMENT * SEGMENT);
    let since = || heads.range(begin + 1..);
    let last_taken = since().map(|(_, (at, _))| at / SEGMENT).max().filter(|_| snapshot.is_some());
    let was_taken = |number: &u64| last_taken.is_some_and(|last| *number < last);
    let taken = heads.keys().next_back().map_or(0, |newest| newest.saturating_sub(begin) / SEGMENT);
    let all_are_there = snapshot.is_some() && taken == since().count() as u64;
    let is_blank = |number: &u64| segment(log, number * SEGMENT).iter().all(|byte| *byte == 0);
    let headless = (0..count).filter(|number| !there.contains(number));
    let (bad, blank): (Vec<u64>, Vec<u64>) =
        headless.partition(|number| needed(number) || was_taken(number) || !is_blank(number));
    (bad.len() as u64 + cut_off, if all_are_there { 0 } else { blank.len() as u64 })
}

/// sled's newest snapshot in a folder, if it can be read.
fn newest_snapshot(folder: &Path) -> Option<Snapshot> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("snap.") && !name.ends_with(".generating")
    };
    Snapshot::read(&fs::read(names.filter(is_one).max()?).ok()?)
}

/// As much of a segment as can be read.
fn segment(log: &File, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_BYTES];
    let mut read = 0;
    // A disk may be able to read what stands behind a bad block.
    for (number, block) in (0_u64..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
        match log.read_at(block, at + number * BLOCK_BYTES as u64) {
            Ok(0) => break,
            Ok(len) => read = usize::try_from(number).unwrap_or(0) * BLOCK_BYTES + len,
            Err(_) => block.fill(0),
        }
    }
    bytes.truncate(read);
    bytes
}

const BLOCK_BYTES: usize = 64 * 1024;

/// The log, as far as it is read.
struct Reading {
    pages: HashMap<u64, Page>,
    breaks: u64,
    /// What stands before this belongs to a commit that is not there as a whole.
    torn: u64,
}

impl Reading {
    /// Takes a segment in: where it stands in the log and where in the file. A commit that reaches into the tail, which is
    /// what may not have been synced, counts only as a whole. The newest segment may end anywhere.
    fn take_segment(&mut self, segment: &[u8], (lsn, at): (u64, u64), tail: Option<&Runs>, is_newest: bool) {
        let mut steps = Messages::of(segment, lsn).peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Break => self.breaks += u64::from(!is_newest || steps.peek().is_some()),
                Step::Message(message) => {
                    let lsn = lsn + message.at as u64;
                    match message.said {
                        Said::Batch(last) if tail.is_some_and(|runs| !runs.cover(lsn, last)) => {
                            self.torn = last.saturating_add(1);
                        }
                        _ if lsn < self.torn => {}
                        _ => self.take(&message, lsn, at),
                    }
                }
            }
        }
    }

    fn take(&mut self, message: &Message<'_>, lsn: u64, segment: u64) {
        let place = || Place { lsn, at: segment + (message.end - message.body.len()) as u64, len: message.body.len() };
        match message.said {
            Said::Page => {
                self.pages.remove(&message.page);
                match Node::read(message.body) {
                    Some(Node { low, high, records: Some(_), .. }) => {
                        let high = Some(high.to_vec()).filter(|high| !high.is_empty());
                        let page = Page { whole: place(), low: low.to_vec(), high, changes: Vec::new() };
                        self.pages.insert(message.page, page);
                    }
                    // It leads to others, which are found without it.
                    Some(_) => {}
                    None => self.breaks += 1,
                }
            }
            Said::Link => {
                let page = self.pages.get_mut(&message.page);
                if let Some(page) = page {
                    page.changes.push(place());
                }
            }
            Said::Freed => drop(self.pages.remove(&message.page)),
            Said::Elsewhere => self.breaks += 1,
            Said::Batch(_) | Said::Nothing => {}
        }
    }
}

/// Stretches of the log that can be read without a break: where each begins, and where it ends.
struct Runs(BTreeMap<u64, u64>);

impl Runs {
    fn of(log: &File, segments: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut runs = Self(BTreeMap::new());
        for (lsn, at) in segments {
            let bytes = segment(log, at);
            let mut is_whole = true;
            for step in Messages::of(&bytes, lsn) {
                match step {
                    Step::Break => is_whole = false,
                    Step::Message(message) if message.at == HEAD_BYTES => runs.add(lsn, lsn + message.end as u64),
                    Step::Message(message) => runs.add(lsn + message.at as u64, lsn + message.end as u64),
                }
            }
            if is_whole {
                runs.add(lsn, lsn + SEGMENT);
            }
        }
        runs
    }

    /// They are added in their order.
    fn add(&mut self, from: u64, to: u64) {
        match self.0.iter().next_back().map(|(begin, end)| (*begin, *end)) {
            Some((begin, end)) if from <= end => drop(self.0.insert(begin, end.max(to))),
            _ => drop(self.0.insert(from, to)),
        }
    }

    /// Whether all of it can be read, the last byte too.
    fn cover(&self, from: u64, last: u64) -> bool {
        self.0.range(..=from).next_back().is_some_and(|(_, end)| *end > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_one() {
        let mut runs = Runs(BTreeMap::new());
        for (from, to) in [(0, 10), (10, 20), (0, 30), (31, 40)] {
            runs.add(from, to);
        }
        assert!(runs.cover(5, 29) && !runs.cover(5, 30) && !runs.cover(30, 31) && runs.cover(31, 39));
    }
}
