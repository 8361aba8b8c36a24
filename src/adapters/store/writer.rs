//! The one writer: it takes all orders that wait, carries them out one after the other, commits what they change as one
//! batch, syncs once, and then tells everybody. The cost of a sync is shared, and order comes for free.
//!
//! Nothing is promised before the sync has returned. An error of the file is final: from then on every order is
//! answered with it, until somebody mends the cause and opens the store anew. Reads go on.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use super::{
    CheckReport,
    bookkeeper::{Bookkeeper, Commit, store_error},
    disk::Fault,
    file::caught,
    highwater::HighWater,
};
use crate::{
    domain::{
        ledger::{Answer, Order, Work},
        notice::{Loop, Notice},
        time::Timestamp,
    },
    ports::{Clock, Observer, ReportSink, StoreError},
};

/// The most orders of one commit: enough to share a sync well, and few enough that the first need not wait long.
const BATCH_ORDERS_MAX: usize = 512;

/// The most bytes of events of one commit, so that a flood of large ones does not fill the memory.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A commit of so many orders shows that many come.
const CROWD: usize = 4;

/// The least time from one commit to the next while many come. Each commit wakes eight threads of sled's and waits for
/// the disk, some 0.3 ms of CPU; more than this would slow a platform that takes sixteen grades at a time.
const PACE: Duration = Duration::from_micros(1_500);

/// How often the writer shows that it is there while there is nothing to write.
const IDLE_BEAT: Duration = Duration::from_secs(5);

/// What the writer is asked to do.
pub(super) enum Task {
    /// An order, and who waits for its answer.
    Order(Order, OrderAnswer),
    /// The consistency check, and who waits for what it finds.
    Check(Sender<Result<CheckReport, StoreError>>),
}

type OrderAnswer = oneshot::Sender<Result<Answer, StoreError>>;

/// What the writer and those who ask share.
pub(super) struct Shared {
    /// Why the store takes no writes any more.
    pub(super) failure: OnceLock<StoreError>,
    /// Orders that wait.
    pub(super) waiting: AtomicUsize,
}

/// The writer's own things.
pub(super) struct Writer {
    pub(super) bookkeeper: Bookkeeper,
    pub(super) high_water: HighWater,
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
            match tasks.recv_timeout(IDLE_BEAT) {
                Ok(first) => {
                    self.gather();
                    self.take(first, tasks);
                }
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => return self.rest(),
            }
        }
    }

    /// Lets more orders come together while many come: a sync costs the same for one as for a hundred. Where one caller
    /// after the other waits for its answer, nobody else would come meanwhile, and nobody is kept waiting.
    fn gather(&mut self) {
        if self.last.orders >= CROWD {
            thread::sleep(PACE.saturating_sub(self.clock.now().since(self.last.began)));
        }
        self.last.began = self.clock.now();
    }

    /// There is nothing to do: notes how far it has come.
    fn rest(&mut self) {
        if self.shared.failure.get().is_some() {
            return;
        }
        match self.high_water.settle(self.bookkeeper.commits()) {
            Ok(()) => self.beat(),
            Err(fault) => drop(self.fail(&fault)),
        }
    }

    /// Takes the orders that wait and makes one commit of them.
    fn take(&mut self, first: Task, tasks: &Receiver<Task>) {
        let (mut orders, mut answers, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(task) = next {
            match task {
                Task::Order(order, answer) => {
                    bytes += event_bytes(&order);
                    orders.push(order);
                    answers.push(answer);
                }
                Task::Check(answer) => checks.push(answer),
            }
            let is_full = orders.len() >= BATCH_ORDERS_MAX || bytes >= BATCH_BYTES_MAX || !checks.is_empty();
            next = if is_full { None } else { tasks.try_recv().ok() };
        }
        self.shared.waiting.fetch_sub(orders.len(), Ordering::Relaxed);
        self.last.orders = orders.len();
        let outcomes = self.carry_out_all(orders, answers.len());
        // The last one first: whoever waits for them in their order then wakes once.
        for (answer, outcome) in answers.into_iter().zip(outcomes).rev() {
            // Whoever gave up waiting needs no answer.
            let _ = answer.send(outcome);
        }
        for answer in checks {
            let checked = caught(|| self.bookkeeper.check()).map_err(Fault::Panicked);
            let found = checked.and_then(|found| found).map_err(|fault| store_error(&fault));
            let _ = answer.send(found);
        }
    }

    /// The answer to each order. When it returns, what the answers promise is on disk.
    fn carry_out_all(&mut self, orders: Vec<Order>, count: usize) -> Vec<Result<Answer, StoreError>> {
        if let Some(failure) = self.shared.failure.get() {
            return vec![Err(failure.clone()); count];
        }
        match caught(|| self.commit(orders)).map_err(Fault::Panicked).and_then(|outcome| outcome) {
            Ok(answers) => answers,
            Err(fault) => vec![Err(self.fail(&fault)); count],
        }
    }

    fn commit(&mut self, orders: Vec<Order>) -> Result<Vec<Result<Answer, StoreError>>, Fault> {
        let began = self.clock.now();
        let Commit { answers, report, changes } = self.bookkeeper.commit(orders)?;
        if changes > 0 {
            let now = self.clock.now();
            self.high_water.reach(self.bookkeeper.commits(), now)?;
            let duration = now.since(began);
            let size_bytes = self.bookkeeper.reader().size_bytes();
            self.observer.observe(&Notice::StoreCommitted { duration, changes, size_bytes });
        }
        self.beat();
        (self.sink)(report);
        Ok(answers)
    }

    /// From now on nothing is written any more.
    fn fail(&mut self, fault: &Fault) -> StoreError {
        let error = self.shared.failure.get_or_init(|| store_error(fault)).clone();
        self.observer.observe(&Notice::StoreFailed { error: error.to_string() });
        error
    }

    fn beat(&self) {
        self.observer.observe(&Notice::Beat { of: Loop::Store });
    }
}

fn event_bytes(order: &Order) -> usize {
    match &order.work {
        Work::Admit(arrival) => arrival.body.len(),
        _ => 0,
    }
}
