//! The one writer: it takes all orders that wait, carries them out one after the other, commits what they change as one
//! batch, syncs once, and then tells everybody. The cost of a sync is shared, and order comes for free.
//!
//! Nothing is promised before the sync has returned. An error of the file is final: from then on every order is
//! answered with it, until somebody mends the cause and opens the store anew. Reads go on.

use std::{
    mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;

use super::{
    books::OpenBooks,
    census::Tally,
    disk::{Fault, caught},
    shelf::Shelf,
};
use crate::{
    domain::{
        ledger::{Answer, Order, Report, Rules, Work, carry_out},
        notice::{Loop, Notice},
    },
    ports::{Clock, Observer, ReportSink, StoreError},
};

/// The most orders of one commit: enough to share a sync well, and few enough that the first need not wait long.
const BATCH_ORDERS_MAX: usize = 512;

/// The most bytes of events of one commit, so that a flood of large ones does not fill the memory.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often the writer shows that it is there while there is nothing to write.
const IDLE_BEAT: Duration = Duration::from_secs(5);

/// An order, and who waits for its answer.
pub(super) struct Waiting {
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What the writer and those who ask share.
pub(super) struct Shared {
    /// The numbers of the census, as committed.
    pub(super) tally: Mutex<Tally>,
    /// Why the store takes no writes any more.
    pub(super) failure: OnceLock<StoreError>,
    /// Held while a commit is made; a check that must not see half of one takes it.
    pub(super) commit: Mutex<()>,
    /// Orders that wait, those of the commit under way included.
    pub(super) waiting: AtomicUsize,
}

/// The writer's own things.
pub(super) struct Writer {
    pub(super) shelf: Arc<Shelf>,
    pub(super) books: OpenBooks,
    pub(super) shared: Arc<Shared>,
    pub(super) rules: Rules,
    pub(super) sink: ReportSink,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Writer {
    /// Works until nobody can send orders any more and all of them are answered.
    pub(super) fn run(mut self, orders: &Receiver<Waiting>) {
        loop {
            match orders.recv_timeout(IDLE_BEAT) {
                Ok(first) => self.take(first, orders),
                Err(RecvTimeoutError::Timeout) if self.shared.failure.get().is_none() => self.beat(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Makes one commit of the orders that wait.
    fn take(&mut self, first: Waiting, orders: &Receiver<Waiting>) {
        let mut bytes = event_bytes(&first.order);
        let mut batch = vec![first];
        while batch.len() < BATCH_ORDERS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = orders.try_recv() else {
                break;
            };
            bytes += event_bytes(&next.order);
            batch.push(next);
        }
        self.shared.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        let (orders, answers): (Vec<Order>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.order, waiting.answer)).unzip();
        let outcomes = self.carry_out_all(orders, answers.len());
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever gave up waiting needs no answer.
            let _ = answer.send(outcome);
        }
    }

    /// The answer to each order. When it returns, what the answers promise is on disk.
    fn carry_out_all(&mut self, orders: Vec<Order>, count: usize) -> Vec<Result<Answer, StoreError>> {
        if let Some(failure) = self.shared.failure.get() {
            return vec![Err(failure.clone()); count];
        }
        let shared = self.shared.clone();
        let _commit = shared.commit.lock().unwrap_or_else(PoisonError::into_inner);
        match caught(|| self.commit(orders)).map_err(Fault::Panicked).and_then(|outcome| outcome) {
            Ok(answers) => answers,
            Err(fault) => vec![Err(self.fail(&fault)); count],
        }
    }

    fn commit(&mut self, orders: Vec<Order>) -> Result<Vec<Result<Answer, StoreError>>, Fault> {
        let began = self.clock.now();
        let mut report = Report::default();
        let answers =
            orders.into_iter().map(|order| self.carry_out_one(order, &mut report)).collect::<Result<_, _>>()?;
        let draft = {
            let tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            self.books.draft(&tally)?
        };
        let changes = draft.changes.len();
        if changes > 0 {
            let mut draft = draft;
            self.shelf.disk.commit(mem::take(&mut draft.changes))?;
            self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).apply(&draft.shift);
            self.books.committed_draft(draft);
            let duration = self.clock.now().since(began);
            let size_bytes = self.shelf.disk.size_bytes();
            self.observer.observe(&Notice::StoreCommitted { duration, changes, size_bytes });
        }
        self.beat();
        (self.sink)(report);
        Ok(answers)
    }

    /// Carries out one order on the books. A damaged record spoils this order alone, and the order changes nothing.
    fn carry_out_one(&mut self, order: Order, report: &mut Report) -> Result<Result<Answer, StoreError>, Fault> {
        let (queued, notices) = (report.queued.len(), report.notices.len());
        match carry_out(&mut self.books, order, &self.rules, report) {
            Ok(answer) => {
                self.books.keep_order();
                Ok(Ok(answer))
            }
            Err(fault) if fault.is_fatal() => Err(fault),
            Err(fault) => {
                self.books.drop_order();
                report.queued.truncate(queued);
                report.notices.truncate(notices);
                Ok(Err(store_error(&fault)))
            }
        }
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

/// A fault as those outside see it.
pub(super) fn store_error(fault: &Fault) -> StoreError {
    StoreError(fault.to_string().into())
}

fn event_bytes(order: &Order) -> usize {
    match &order.work {
        Work::Admit(arrival) => arrival.body.len(),
        _ => 0,
    }
}
