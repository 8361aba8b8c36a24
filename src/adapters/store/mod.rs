//! The store: jobs on disk, in sled 0.34.7, behind the port [`JobStore`].
//!
//! One writer thread owns all changes; see `writer`. What is stored for a job, and under which keys, is a pure function
//! of the job; see `keys`. The settings without which sled loses data in a power cut are in `disk`. No type of sled
//! leaves this folder, and another store is another folder beside it.

mod books;
mod census;
mod check;
mod codec;
mod disk;
mod keys;
mod platforms;
mod record;
mod shelf;
mod upgrade;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tokio::sync::oneshot;

pub use self::check::CheckReport;
use self::{
    books::OpenBooks,
    disk::{Disk, Fault},
    platforms::Platforms,
    shelf::Shelf,
    writer::{Shared, Waiting, Writer, store_error},
};
use crate::{
    domain::{
        destination::Origin,
        job::{Job, JobId},
        ledger::{Answer, DueEntry, Order, PlatformRecord, Rules},
        time::Timestamp,
    },
    ports::{Census, Clock, JobFilter, JobPage, JobStore, Observer, Pending, ReportSink, StoreError},
};

/// The most orders that may wait. Callers keep far below it (the broker's prefetch, the limit of attempts under way);
/// it only keeps a fault of theirs from filling the memory.
const WAITING_MAX: usize = 16 * 1024;

/// How long [`Store::close`] waits for the orders that are still to be carried out.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// How the store is opened.
pub struct Options {
    /// The folder; made, for this user alone, where it is missing.
    pub path: PathBuf,
    /// What decides, beside the jobs themselves.
    pub rules: Rules,
    /// Who is told what each commit brought about, before the orders are answered.
    pub sink: ReportSink,
    /// Who is told of commits and failures.
    pub observer: Arc<dyn Observer>,
    /// Measures how long a commit takes; it decides nothing.
    pub clock: Arc<dyn Clock>,
}

/// Why the store could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {} is in use by another passback: stop that one first, or talk to it with --url",
        folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no room, and sled needs some to open.
    #[error("the disk that holds the store in {} is full: make room and start again, nothing is lost", folder.display())]
    Full {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder or a file in it cannot be used.
    #[error("the store in {} cannot be opened: check that the folder can be written by this user", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// sled cannot read its own files.
    #[error(
        "the files of the store in {} are damaged ({detail}): keep a copy of the folder, then restore a backup or start \
         with an empty one",
        folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What sled says.
        detail: String,
    },
    /// The records that everything hangs on cannot be read.
    #[error("the store cannot be used ({detail}): keep a copy of the folder, then restore a backup")]
    Unusable {
        /// What is wrong.
        detail: String,
    },
    /// It was written by a newer program.
    #[error("the store has the format {found}, and this passback knows up to {known}: start the newer version again")]
    Newer {
        /// The format that was found.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// No thread could be started.
    #[error("the store's writer could not be started: the machine gives no more threads")]
    Thread(#[source] io::Error),
}

/// Jobs on disk. Dropping it closes it.
pub struct Store {
    shelf: Arc<Shelf>,
    shared: Arc<Shared>,
    orders: Mutex<Option<Sender<Waiting>>>,
    writer: Mutex<Option<Thread>>,
    cut_off: Vec<JobId>,
}

/// The writer's thread, and what tells that it has ended.
struct Thread {
    handle: JoinHandle<()>,
    ended: Receiver<()>,
}

impl Store {
    /// Opens the store, and makes it where there is none.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let disk = Disk::open(&options.path)?;
        upgrade::upgrade(&disk)?;
        let unusable = |fault: Fault| OpenError::Unusable { detail: fault.to_string() };
        let shelf = Arc::new(Shelf { disk, platforms: Platforms::default() });
        shelf.read_platforms().map_err(unusable)?;
        let (tally, _) = check::read_tally(&shelf).map_err(unusable)?;
        let cut_off = shelf.under_way().map_err(unusable)?;
        let books = OpenBooks::new(shelf.clone(), tally.last_id);
        let shared = Arc::new(Shared {
            tally: Mutex::new(tally),
            failure: OnceLock::new(),
            commit: Mutex::new(()),
            waiting: AtomicUsize::new(0),
        });
        let Options { rules, sink, observer, clock, .. } = options;
        let writer = Writer { shelf: shelf.clone(), books, shared: shared.clone(), rules, sink, observer, clock };
        let (orders, waiting) = unbounded();
        let thread = Thread::start(writer, waiting).map_err(OpenError::Thread)?;
        Ok(Self { shelf, shared, orders: Mutex::new(Some(orders)), writer: Mutex::new(Some(thread)), cut_off })
    }

    /// Takes no more orders, carries out those that wait, and ends the writer. Done twice, it does nothing.
    pub fn close(&self) -> Result<(), StoreError> {
        drop(lock(&self.orders).take());
        let Some(Thread { handle, ended }) = lock(&self.writer).take() else {
            return Ok(());
        };
        // The channel says nothing and closes when the thread ends.
        if ended.recv_timeout(CLOSE_LIMIT) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            return Err(StoreError("the store's writer does not come to an end: the disk may hang".into()));
        }
        handle.join().map_err(|_| StoreError("the store's writer ended with a bug".into()))
    }

    /// Computes everything that the store must hold from its records, and compares. Commits wait meanwhile.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        let _commit = lock(&self.shared.commit);
        let tally = lock(&self.shared.tally).clone();
        check::check(&self.shelf, &tally).map_err(|fault| store_error(&fault))
    }

    /// The size on disk, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.shelf.disk.size_bytes()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `close` first.
        let _ = self.close();
    }
}

impl JobStore for Store {
    fn submit(&self, order: Order) -> Pending<'static, Result<Answer, StoreError>> {
        let (answer, answered) = oneshot::channel();
        match self.enqueue(Waiting { order, answer }) {
            Ok(()) => Box::pin(async move { answered.await.unwrap_or_else(|_| Err(closed())) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, StoreError> {
        told(self.shelf.due(origin, after, limit))
    }

    fn cut_off(&self) -> Result<Vec<JobId>, StoreError> {
        Ok(self.cut_off.clone())
    }

    fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError> {
        Ok(self.shelf.platforms.all())
    }

    fn column(&self, key: [u8; 16]) -> Result<Option<String>, StoreError> {
        told(self.shelf.column(key))
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        told(self.shelf.job(id))
    }

    fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError> {
        told(self.shelf.list(filter, before, limit))
    }

    fn census(&self) -> Census {
        lock(&self.shared.tally).census(&self.shelf.platforms)
    }

    fn is_writable(&self) -> bool {
        self.shared.failure.get().is_none() && lock(&self.orders).is_some()
    }
}

impl Store {
    /// Puts an order at the end of the queue. The lock is held over the sending, so that order is that of the calls.
    fn enqueue(&self, waiting: Waiting) -> Result<(), StoreError> {
        if let Some(failure) = self.shared.failure.get() {
            return Err(failure.clone());
        }
        let orders = lock(&self.orders);
        let orders = orders.as_ref().ok_or_else(closed)?;
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError(format!("the store is overrun: {WAITING_MAX} orders wait already").into()));
        }
        orders.send(waiting).map_err(|_| closed())
    }
}

impl Thread {
    fn start(writer: Writer, orders: Receiver<Waiting>) -> io::Result<Self> {
        let (alive, ended) = bounded(0);
        let run = move || {
            let _alive: Sender<()> = alive;
            writer.run(&orders);
        };
        let handle = thread::Builder::new().name("store".into()).spawn(run)?;
        Ok(Self { handle, ended })
    }
}

fn closed() -> StoreError {
    StoreError("the store is closed".into())
}

fn told<T>(outcome: Result<T, Fault>) -> Result<T, StoreError> {
    outcome.map_err(|fault| store_error(&fault))
}

/// A panic while the lock was held left nothing half done: each holder replaces whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
