//! The one writer: it takes all orders that wait, carries them out one after the other, commits what they change as one
//! batch, syncs once, and then tells everybody. The cost of a sync is shared, and order comes for free.
//!
//! Nothing is promised before the sync has returned. After an error of the file every order is answered with it, and
//! what can be read can still be read; `mending` looks when the store can be opened anew, and goes on from there.

use std::{
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use super::{
    CheckReport,
    bookkeeper::{Commit, Reader, store_error},
    disk::Fault,
    doubt::{Doubt, Steps},
    file::caught,
    mending::Trouble,
    opening::{Opened, Opener},
    waiting::Waiting,
};
use crate::{
    domain::{
        ledger::{Answer, Order, Work},
        notice::{Loop, Notice},
        time::Timestamp,
    },
    ports::{Census, Clock, Observer, ReportSink, StoreError},
};

/// The most orders of one commit: enough to share a sync well, and few enough that the first need not wait long.
const BATCH_ORDERS_MAX: usize = 512;

/// The most bytes of events of one commit, so that a flood of large ones does not fill the memory.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The least time from one commit to the next, by the orders of the last one: more of them show that many come. Each
/// commit wakes eight threads of sled's and waits for the disk, some 0.3 to 0.5 ms of CPU. A longer pace than the short
/// one would slow a platform that takes sixteen grades at a time; the long one is for many platforms at a time.
const PACES: [(usize, Duration); 2] = [(96, Duration::from_millis(5)), (4, Duration::from_micros(1_500))];

/// How often the writer shows that it is there while there is nothing to write.
const IDLE_BEAT: Duration = Duration::from_secs(5);

/// What the writer is asked to do.
pub(super) enum Task {
    /// An order, and who waits for its answer.
    Order(Order, OrderAnswer),
    /// The consistency check, and who waits for what it finds.
    Check(Sender<Result<CheckReport, StoreError>>),
}

impl Task {
    /// The bytes of an event that is to be taken.
    pub(super) fn event_bytes(&self) -> Option<usize> {
        match self {
            Self::Order(Order { work: Work::Admit(arrival), .. }, _) => Some(arrival.body.len()),
            Self::Order(..) | Self::Check(_) => None,
        }
    }
}

type OrderAnswer = oneshot::Sender<Result<Answer, StoreError>>;

/// What the writer and those who ask share.
pub(super) struct Shared {
    /// Why the store takes no writes now.
    pub(super) failure: ArcSwapOption<StoreError>,
    /// Orders that are not answered yet.
    pub(super) waiting: Waiting,
    /// For those who read. Whoever holds the lock keeps the files open.
    pub(super) view: RwLock<View>,
}

/// What can be read.
pub(super) enum View {
    /// Everything.
    Open(Reader),
    /// The files are shut for the moment: how many jobs there were.
    Shut(Census),
}

/// The writer's own things.
pub(super) struct Writer {
    /// None while the files are shut.
    pub(super) open: Option<Opened>,
    pub(super) opener: Opener,
    /// Why nothing is written now.
    pub(super) trouble: Option<Trouble>,
    /// The pause before the last try to mend it; zero once something was committed.
    pub(super) pause: Duration,
    /// What those outside were told.
    pub(super) doubt: Doubt,
    pub(super) shared: Arc<Shared>,
    pub(super) sink: ReportSink,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) last: Last,
}

/// The last commit, by which the next one is paced.
#[derive(Default)]
pub(super) struct Last {
    /// When it began.
    began: Timestamp,
    /// How many orders it had.
    orders: usize,
}

impl Writer {
    /// Works until nobody can send orders any more and all of them are answered.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        loop {
            let pause = self.trouble.as_ref().map_or(IDLE_BEAT, Trouble::pause);
            match tasks.recv_timeout(pause) {
                Ok(first) => {
                    self.gather();
                    self.take(first, tasks);
                }
                Err(RecvTimeoutError::Timeout) if self.trouble.is_some() => self.mend(),
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => return self.rest(),
            }
        }
    }

    /// Lets more orders come together while many come: a sync costs the same for one as for a hundred. Where one caller
    /// after the other waits for its answer, nobody else would come meanwhile, and nobody is kept waiting.
    fn gather(&mut self) {
        if let Some((_, pace)) = PACES.iter().find(|(orders, _)| self.last.orders >= *orders) {
            thread::sleep(pace.saturating_sub(self.clock.now().since(self.last.began)));
        }
        self.last.began = self.clock.now();
    }

    /// There is nothing to do: notes how far it has come.
    fn rest(&mut self) {
        if let (Some(open), None) = (&mut self.open, &self.trouble) {
            match open.high_water.settle(open.bookkeeper.commits()) {
                Ok(()) => self.beat(),
                Err(fault) => drop(self.fail(&fault)),
            }
        }
    }

    /// Takes all that waits, does it, and answers.
    fn take(&mut self, first: Task, tasks: &Receiver<Task>) {
        let (mut orders, mut answers, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(task) = next {
            bytes += task.event_bytes().unwrap_or_default();
            match task {
                Task::Order(order, answer) => {
                    orders.push(order);
                    answers.push(answer);
                }
                Task::Check(answer) => checks.push(answer),
            }
            let is_full = orders.len() >= BATCH_ORDERS_MAX || bytes >= BATCH_BYTES_MAX || !checks.is_empty();
            next = if is_full { None } else { tasks.try_recv().ok() };
        }
        self.last.orders = orders.len();
        let outcomes = self.carry_out_all(orders, answers.len());
        self.shared.waiting.leave(answers.len(), bytes);
        // The last one first: whoever waits for them in their order then wakes once.
        for (answer, outcome) in answers.into_iter().zip(outcomes).rev() {
            // Whoever gave up waiting needs no answer.
            let _ = answer.send(outcome);
        }
        for answer in checks {
            let _ = answer.send(self.check());
        }
    }

    fn check(&self) -> Result<CheckReport, StoreError> {
        let (Some(open), None) = (&self.open, &self.trouble) else {
            return Err(self.failure());
        };
        let checked = caught(|| open.bookkeeper.check()).map_err(Fault::Panicked);
        checked.and_then(|found| found).map_err(|fault| store_error(&fault))
    }

    /// The answer to each order. When it returns, what the answers promise is on disk.
    fn carry_out_all(&mut self, orders: Vec<Order>, count: usize) -> Vec<Result<Answer, StoreError>> {
        let (Some(open), None) = (&mut self.open, &self.trouble) else {
            return vec![Err(self.failure()); count];
        };
        let steps = Steps::of(&orders);
        let began = self.clock.now();
        let outcome = caught(|| open.bookkeeper.commit(orders)).map_err(Fault::Panicked).and_then(|outcome| outcome);
        match outcome {
            Ok(Commit { answers, report, changes }) => {
                self.doubt.committed(&steps, &answers);
                let noted = if changes > 0 { self.committed(began, changes) } else { Ok(()) };
                self.beat();
                (self.sink)(report);
                // What is on disk is on disk: those who wait for it are told, whatever comes after it.
                noted.unwrap_or_else(|fault| drop(self.fail(&fault)));
                answers
            }
            Err(fault) => vec![Err(self.fail(&fault)); count],
        }
    }

    /// A commit is on disk.
    fn committed(&mut self, began: Timestamp, changes: usize) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        self.pause = Duration::ZERO;
        let now = self.clock.now();
        let noted = open.high_water.reach(open.bookkeeper.commits(), now);
        let (duration, size_bytes) = (now.since(began), open.bookkeeper.reader().size_bytes());
        self.observer.observe(&Notice::StoreCommitted { duration, changes, size_bytes });
        noted
    }

    /// The answer to every order while nothing is written.
    pub(super) fn failure(&self) -> StoreError {
        let failure = self.shared.failure.load_full();
        failure.map_or_else(shut, |failure| StoreError::clone(&failure))
    }

    /// Shows that it is there, and tells what was found damaged meanwhile.
    pub(super) fn beat(&self) {
        for error in self.open.iter().flat_map(|open| open.bookkeeper.take_damages()) {
            self.observer.observe(&Notice::RecordDamaged { error });
        }
        self.observer.observe(&Notice::Beat { of: Loop::Store });
    }
}

/// The answer while the files are shut.
pub(super) fn shut() -> StoreError {
    StoreError::Unavailable("the store is being opened anew: ask again in a moment".into())
}
