//! The bookkeeper: the store without its thread, its folder and its waiting. It carries orders out on the books, writes
//! what they change as one batch, syncs, and says what came of it; it reads no clock, logs nothing and waits for nobody.
//!
//! It works on any [`Disk`], so a test can drive the production layout with a disk that loses what was not synced.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    CheckReport, OpenError, Thresholds,
    books::{Draft, OpenBooks},
    census::{Shift, Tally},
    check,
    disk::{Changes, Disk, Fault},
    lock,
    memory::Memory,
    runs::Marks,
    shelf::Shelf,
    upgrade::upgrade,
};
use crate::{
    domain::{
        destination::Origin,
        drawer::{Drawer, Note},
        job::{Job, JobId, StateName},
        ledger::{Answer, DueEntry, Order, PlatformRecord, Report, Rules, carry_out},
        time::Timestamp,
    },
    ports::{Census, JobFilter, JobPage, StoreError},
};

/// Makes all changes of a store. After a [`Fault`] it is done with: what is on disk then is known only by opening anew.
pub struct Bookkeeper {
    reader: Reader,
    books: OpenBooks,
    rules: Rules,
    cut_off: Vec<JobId>,
    in_doubt: Option<Report>,
}

/// What a commit came to.
pub struct Commit {
    /// The answer to each order, in their order. An error spoils its own order alone.
    pub answers: Vec<Result<Answer, StoreError>>,
    /// What the commit has brought about.
    pub report: Report,
    /// Records written and removed; 0 where nothing had to be written, and so nothing was synced.
    pub changes: usize,
}

impl Bookkeeper {
    /// Opens the store on a disk, and makes it where the disk is empty.
    pub fn open(disk: Box<dyn Disk>, rules: Rules, thresholds: &Thresholds) -> Result<Self, OpenError> {
        upgrade(&*disk)?;
        read(disk, rules, thresholds).map_err(|fault| OpenError::Unusable { detail: fault.to_string() })
    }

    /// Carries out orders, one after the other, and commits what they change. When it returns, what the answers
    /// promise is on disk, synced.
    pub fn commit(&mut self, orders: Vec<Order>) -> Result<Commit, Fault> {
        let mut report = Report::default();
        let answers = orders.into_iter().map(|order| self.carry_out_one(order, &mut report)).collect();
        let mut draft = self.books.draft(&lock(&self.reader.tally))?;
        let changes = draft.changes.len();
        if changes > 0 {
            let written = self.apply(&mut draft).and_then(|()| self.reader.shelf.disk.sync());
            if let Err(fault) = written {
                self.in_doubt = Some(report);
                return Err(fault);
            }
            if !draft.is_without_jobs() {
                lock(&self.reader.tally).apply(&draft.effects.shift);
            }
        }
        self.books.end_batch(draft);
        Ok(Commit { answers, report, changes })
    }

    /// Writes what is there already, and syncs: whether the disk takes writes is known only by writing.
    pub fn prove(&mut self) -> Result<(), Fault> {
        let mut changes = Changes::new();
        lock(&self.reader.tally).write(&Shift::default(), &mut changes);
        self.reader.shelf.disk.apply(changes)?;
        self.reader.shelf.disk.sync()
    }

    /// Computes everything that the store must hold from its records, and compares.
    pub fn check(&self) -> Result<CheckReport, Fault> {
        let tally = lock(&self.reader.tally).clone();
        check::check(&self.reader.shelf, self.books.marks(), &tally)
    }

    /// What the commit that failed would have brought about. Whether it has done so shows when the store is opened anew:
    /// then there is one commit more.
    pub fn take_in_doubt(&mut self) -> Option<Report> {
        self.in_doubt.take()
    }

    /// Damaged records that were met since this was asked the last time, in words.
    pub fn take_damages(&self) -> Vec<String> {
        self.reader.shelf.damages.take()
    }

    /// The jobs whose attempt was under way when the store was opened.
    pub fn cut_off(&self) -> &[JobId] {
        &self.cut_off
    }

    /// How many commits there ever were.
    pub fn commits(&self) -> u64 {
        lock(&self.reader.tally).commits
    }

    /// For those who only read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Changes the tree and memory together, so that nobody who reads sees half of it.
    fn apply(&self, draft: &mut Draft) -> Result<(), Fault> {
        let shelf = &self.reader.shelf;
        let mut memory = shelf.memory.write().unwrap_or_else(PoisonError::into_inner);
        shelf.watch.note(&draft.changes);
        shelf.disk.apply(mem::take(&mut draft.changes))?;
        draft.effects.apply(&mut memory);
        Ok(())
    }

    /// Carries out one order on the books. What cannot be read spoils this order alone, and the order changes nothing.
    fn carry_out_one(&mut self, order: Order, report: &mut Report) -> Result<Answer, StoreError> {
        let (queued, notices) = (report.queued.len(), report.notices.len());
        match carry_out(&mut self.books, order, &self.rules, report) {
            Ok(answer) => {
                self.books.keep_order();
                Ok(answer)
            }
            Err(fault) => {
                self.reader.shelf.damages.note(&fault);
                self.books.drop_order();
                report.queued.truncate(queued);
                report.notices.truncate(notices);
                Err(unreadable(&fault))
            }
        }
    }
}

fn read(disk: Box<dyn Disk>, rules: Rules, thresholds: &Thresholds) -> Result<Bookkeeper, Fault> {
    let shelf = Shelf::new(disk)?;
    let mut tally = Tally::read(&*shelf.disk)?;
    let mut memory = Memory { settled: tally.settled, ..Memory::default() };
    let cut_off = shelf.read_parts(&mut memory)?;
    let mut marks = Marks::open(&shelf, thresholds.run_marks)?;
    let indexed = if marks.are_broken() { None } else { tally.indexed };
    shelf.read_young(&mut memory, &mut marks, indexed)?;
    if tally.lacks_reasons() {
        shelf.disk.apply(tally.learn_reasons(shelf.flagged_for(&mut memory)?))?;
        shelf.disk.sync()?;
    }
    *shelf.memory.write().unwrap_or_else(PoisonError::into_inner) = memory;
    let shelf = Arc::new(shelf);
    let books = OpenBooks::new(shelf.clone(), marks, tally.last_id, thresholds);
    let reader = Reader { shelf, tally: Arc::new(Mutex::new(tally)) };
    Ok(Bookkeeper { reader, books, rules, cut_off, in_doubt: None })
}

/// Reads what is in a store, beside the bookkeeper who changes it. A cheap handle.
#[derive(Clone)]
pub struct Reader {
    pub(super) shelf: Arc<Shelf>,
    /// The numbers of the census, as committed.
    pub(super) tally: Arc<Mutex<Tally>>,
}

impl Reader {
    /// Up to `limit` jobs of a platform that may be started, by due time and then by id, after `after`.
    pub fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, StoreError> {
        self.told(self.shelf.due(origin, after, limit))
    }

    /// Every platform that a grade ever went to.
    pub fn platforms(&self) -> Vec<PlatformRecord> {
        self.shelf.platforms.all()
    }

    /// The URL of a column that was found or made.
    pub fn column(&self, key: [u8; 16]) -> Result<Option<String>, StoreError> {
        self.told(self.shelf.column(key))
    }

    /// Notes of a drawer; see [`JobStore::notes`](crate::ports::JobStore::notes).
    pub fn notes(&self, drawer: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.told(self.shelf.notes(drawer, after, limit))
    }

    /// What a note says.
    pub fn note(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.told(self.shelf.note(drawer, key))
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.told(self.shelf.job(&self.shelf.memory(), id))
    }

    /// The state of each of these jobs, which costs least where they are neighbours.
    pub fn states(&self, ids: &[JobId]) -> Result<Vec<Option<StateName>>, StoreError> {
        self.told(self.shelf.states_of(ids))
    }

    /// A page of jobs, newest first; see [`JobStore::list`](crate::ports::JobStore::list).
    pub fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError> {
        self.told(self.shelf.list(filter, before, limit))
    }

    /// How many jobs there are, from memory.
    pub fn census(&self) -> Census {
        lock(&self.tally).census(&self.shelf.platforms)
    }

    /// The size on disk, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.shelf.disk.size_bytes()
    }

    fn told<T>(&self, outcome: Result<T, Fault>) -> Result<T, StoreError> {
        outcome.map_err(|fault| {
            self.shelf.damages.note(&fault);
            unreadable(&fault)
        })
    }
}

/// A fault of the whole store, as those outside see it.
pub(super) fn store_error(fault: &Fault) -> StoreError {
    StoreError::Unavailable(fault.to_string().into())
}

/// A fault of what one order or one look needs.
fn unreadable(fault: &Fault) -> StoreError {
    StoreError::Unreadable(fault.to_string().into())
}
