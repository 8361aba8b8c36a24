//! Events that come in over HTTP side by side, and a ledger of what was acknowledged.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use passback::simulator::SimulatedLms;
use rand::{RngExt as _, rngs::StdRng};
use tokio::task::JoinSet;

use super::{
    oracle::Ledger,
    worker::{Sender, Worker, wait_for},
};

/// The longest time in which events come in at a time.
const LOAD_MAX_MS: u64 = 200;
/// Events are posted side by side, so that commits have company.
const POSTERS: usize = 8;

/// Programs that post events while they may, and note what was acknowledged.
pub(super) struct Load {
    ledger: Arc<Mutex<Ledger>>,
    may_run: Arc<AtomicBool>,
    posters: JoinSet<()>,
}

impl Load {
    pub(super) fn start(worker: &Worker, lms: &Arc<SimulatedLms>) -> Self {
        let (ledger, may_run) = (Arc::<Mutex<Ledger>>::default(), Arc::<AtomicBool>::default());
        let mut posters = JoinSet::new();
        for _ in 0..POSTERS {
            posters.spawn(post_for_ever(worker.sender(), lms.clone(), ledger.clone(), may_run.clone()));
        }
        Self { ledger, may_run, posters }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// Lets events come in for a random time, and leaves it at that.
    pub(super) async fn run_for(&self, chance: &mut StdRng) {
        let before = self.ledger().confirmed();
        self.may_run.store(true, Ordering::Relaxed);
        wait_for("an event to be acknowledged", async || (self.ledger().confirmed() > before).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..LOAD_MAX_MS))).await;
    }

    pub(super) fn pause(&self) {
        self.may_run.store(false, Ordering::Relaxed);
    }

    /// Ends the posters, and gives back what they know.
    pub(super) async fn end(self) -> Ledger {
        let mut posters = self.posters;
        posters.shutdown().await;
        std::mem::take(&mut *locked(&self.ledger))
    }
}

async fn post_for_ever(sender: Sender, lms: Arc<SimulatedLms>, ledger: Arc<Mutex<Ledger>>, may_run: Arc<AtomicBool>) {
    loop {
        if !may_run.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let event = locked(&ledger).next(&lms);
        if let Some((202, _)) = sender.post("/v1/events", &event).await {
            locked(&ledger).confirm(&event);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
