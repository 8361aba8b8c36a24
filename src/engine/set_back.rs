//! After the clock was set back: every job that waits for a time of day is put forward by as much, so that none waits an
//! hour more than its schedule says.
//!
//! It reads the waiting jobs page by page, beside the running deliveries. What cannot be done before the worker stops
//! is done at the next start, as far as that can tell. A job whose AGS timestamp is in the future now has to wait all the same:
//! a platform takes no grade that is not newer than the last one, and none from the future.
//!
//! What is ordered, and when the next page is read, is decided by [`Hastening`], which waits for nothing.

use std::{mem, time::Duration};

use tokio::time::sleep;

use crate::{
    domain::{
        destination::Origin,
        dispatch::WINDOW,
        job::{Job, JobId},
        ledger::{DueEntry, Work},
        notice::Notice,
        time::Timestamp,
        watch::STEP_MIN,
    },
    ports::{JobFilter, StoreError},
};

use super::{Shared, World};

/// How long to wait while the store takes no writes.
pub const STORE_PAUSE: Duration = Duration::from_secs(1);

/// The jobs of one platform on their way forward. In turns: the next page is read while [`Self::poll_page`] asks for
/// one; what [`Self::poll_orders`] hands out is ordered; and every failure comes back, until no order is left.
#[derive(Debug)]
pub struct Hastening {
    /// The platform.
    pub origin: Origin,
    by: Duration,
    /// The new time of day when it was noticed; at a start none.
    noticed: Option<Timestamp>,
    /// Behind which place the next page begins; none behind the last page.
    after: Option<(Timestamp, JobId)>,
    /// What is still to be ordered of the page that was read last: the jobs, and when each was due.
    left: Vec<(JobId, Timestamp)>,
}

impl Hastening {
    /// Puts forward by `by` what waits at a platform. `noticed` is the new time of day; at a start none, and only
    /// what was put on the schedule in what is the future now is put forward.
    pub fn new(origin: Origin, by: Duration, noticed: Option<Timestamp>) -> Self {
        // What is due by now waits for no time of day, but others of its cell may wait behind it.
        let after = Some((Timestamp::from_micros(i64::MIN), JobId::from_bytes([0; 16])));
        Self { origin, by, noticed, after, left: Vec::new() }
    }

    /// Behind which place the next page of due jobs begins; none when all pages are read.
    pub fn poll_page(&self) -> Option<(Timestamp, JobId)> {
        self.after
    }

    /// A page of so many entries was asked for, and these are there. What is put forward lies before this page then, so
    /// nothing comes up twice.
    pub fn handle_page(&mut self, page: &[DueEntry], asked: usize) {
        self.left.extend(page.iter().map(|entry| (entry.id, entry.due)));
        self.after = page.last().filter(|_| page.len() >= asked).map(|last| (last.due, last.id));
    }

    /// What is to be ordered now: which job, when it was due, and the order. Nothing when the page is done.
    pub fn poll_orders(&mut self) -> Vec<(JobId, Timestamp, Work)> {
        let (by, noticed) = (self.by, self.noticed);
        let left = mem::take(&mut self.left).into_iter();
        left.map(|(id, due)| (id, due, Work::Hasten { id, due, by, noticed })).collect()
    }

    /// The store took no writes when this job's turn came, as far as it knows: it comes up again after [`STORE_PAUSE`].
    pub fn handle_not_taken(&mut self, id: JobId, due: Timestamp) {
        self.left.push((id, due));
    }
}

/// By how much, at the least, the clock was set back while nobody looked: the newest job was not stored in the future.
pub fn seen_at_start(newest: Option<&Job>, now: Timestamp) -> Option<Duration> {
    let ahead = newest.map_or(Duration::ZERO, |newest| newest.created_at.since(now));
    (ahead >= STEP_MIN).then_some(ahead)
}

pub(super) fn found_at_start(world: &World) -> Result<Option<Duration>, StoreError> {
    let newest = world.store.list(&JobFilter::default(), None, 1)?.jobs.pop();
    Ok(seen_at_start(newest.as_ref(), world.clock.now()))
}

/// Puts forward what waits at every platform.
pub(super) async fn hasten(shared: &Shared, by: Duration, noticed: Option<Timestamp>) {
    // What was ordered by the old time of day must be on the schedule before it is read; its platform may be a new one.
    while shared.world.order(Work::Fence).await.is_err() {
        sleep(STORE_PAUSE).await;
    }
    let platforms = loop {
        match shared.world.store.platforms() {
            Ok(platforms) => break platforms,
            Err(error) => shared.notice(&Notice::StoreFailed { error: error.to_string() }),
        }
        sleep(STORE_PAUSE).await;
    };
    for platform in platforms {
        let hastening = Hastening::new(platform.origin, by, noticed);
        if let Err(error) = hasten_lane(shared, hastening).await {
            shared.notice(&Notice::StoreFailed { error: error.to_string() });
        }
    }
}

async fn hasten_lane(shared: &Shared, mut hastening: Hastening) -> Result<(), StoreError> {
    while let Some(after) = hastening.poll_page() {
        let page = shared.world.store.due(&hastening.origin, Some(after), WINDOW)?;
        hastening.handle_page(&page, WINDOW);
        while !order_all(shared, &mut hastening).await {
            sleep(STORE_PAUSE).await;
        }
    }
    Ok(())
}

/// Orders what is to be ordered now. False if the store has to be asked again.
async fn order_all(shared: &Shared, hastening: &mut Hastening) -> bool {
    let orders = hastening.poll_orders().into_iter().map(|(id, due, work)| (id, due, shared.world.submit(work)));
    let mut all_taken = true;
    for (id, due, answer) in orders.collect::<Vec<_>>() {
        match answer.await {
            Ok(_) => {}
            // One damaged record must not keep all the others waiting.
            Err(error @ StoreError::Unreadable(_)) => {
                shared.notice(&Notice::RecordDamaged { error: error.to_string() });
            }
            Err(_) => {
                hastening.handle_not_taken(id, due);
                all_taken = false;
            }
        }
    }
    all_taken
}
