//! After the clock was set back: every job that waits for a time of day is put forward by as much, so that none waits an
//! hour more than its schedule says.
//!
//! It reads the waiting jobs page by page, beside the running deliveries. What cannot be done before the worker stops
//! is done at the next start, as far as that can tell. A job whose AGS timestamp is in the future now has to wait all the same:
//! a platform takes no grade that is not newer than the last one, and none from the future.

use std::{mem, time::Duration};

use tokio::time::sleep;

use crate::{
    domain::{
        destination::Origin, dispatch::WINDOW, job::JobId, ledger::Work, notice::Notice, time::Timestamp,
        watch::STEP_MIN,
    },
    ports::{JobFilter, StoreError},
};

use super::{Shared, World};

/// How long to wait while the store takes no writes.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A start cannot tell by how much the clock was set back while nobody looked, if it was; but the newest job was not
/// stored in the future. By so much at the least.
pub(super) fn found_at_start(world: &World) -> Result<Option<Duration>, StoreError> {
    let newest = world.store.list(&JobFilter::default(), None, 1)?.jobs.pop();
    let ahead = newest.map_or(Duration::ZERO, |newest| newest.created_at.since(world.clock.now()));
    Ok((ahead >= STEP_MIN).then_some(ahead))
}

/// Puts forward what waits at these platforms. `noticed` is the new time of day; at a start none, and only what was
/// put on the schedule in what is the future now is put forward.
pub(super) async fn hasten(shared: &Shared, origins: Vec<Origin>, by: Duration, noticed: Option<Timestamp>) {
    for origin in origins {
        if let Err(error) = hasten_lane(shared, &origin, by, noticed).await {
            shared.notice(&Notice::StoreFailed { error: error.to_string() });
        }
    }
}

async fn hasten_lane(
    shared: &Shared,
    origin: &Origin,
    by: Duration,
    noticed: Option<Timestamp>,
) -> Result<(), StoreError> {
    let mut after = (shared.world.clock.now(), JobId::from_bytes([0xff; 16]));
    loop {
        // What is put forward lies before this page then, so nothing comes up twice.
        let page = shared.world.store.due(origin, Some(after), WINDOW)?;
        let mut left: Vec<JobId> = page.iter().map(|entry| entry.id).collect();
        while !left.is_empty() {
            let hasten = |id| (id, shared.world.submit(Work::Hasten { id, by, noticed }));
            let orders: Vec<_> = mem::take(&mut left).into_iter().map(hasten).collect();
            for (id, answer) in orders {
                match answer.await {
                    Ok(_) => {}
                    // One damaged record must not keep all the others waiting.
                    Err(error) if shared.world.store.is_writable() => {
                        shared.notice(&Notice::RecordDamaged { error: error.to_string() });
                    }
                    Err(_) => left.push(id),
                }
            }
            if !left.is_empty() {
                sleep(STORE_PAUSE).await;
            }
        }
        match page.last() {
            Some(last) if page.len() >= WINDOW => after = (last.due, last.id),
            _ => return Ok(()),
        }
    }
}
