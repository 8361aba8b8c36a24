//! After the clock was set back: every job that waits for a time of day is put forward by as much, so that none waits an
//! hour more than its schedule says.
//!
//! It reads the waiting jobs page by page, beside the running deliveries. What cannot be done before the worker stops
//! waits until the clock has caught up, or for a replay. A job whose AGS timestamp is in the future now has to wait all the same:
//! a platform takes no grade that is not newer than the last one, and none from the future.

use std::time::Duration;

use crate::{
    domain::{destination::Origin, dispatch::WINDOW, job::JobId, ledger::Work, notice::Notice, time::Timestamp},
    ports::StoreError,
};

use super::Shared;

/// Puts forward what waits at these platforms. `noticed` is the new time of day.
pub(super) async fn hasten(shared: &Shared, origins: Vec<Origin>, by: Duration, noticed: Timestamp) {
    for origin in origins {
        if let Err(error) = hasten_lane(shared, &origin, by, noticed).await {
            shared.notice(&Notice::StoreFailed { error: error.to_string() });
        }
    }
}

async fn hasten_lane(shared: &Shared, origin: &Origin, by: Duration, noticed: Timestamp) -> Result<(), StoreError> {
    let mut after = (noticed, JobId::from_bytes([0xff; 16]));
    loop {
        // What is put forward lies before this page then, so nothing comes up twice.
        let page = shared.world.store.due(origin, Some(after), WINDOW)?;
        let orders = page.iter().map(|entry| shared.world.submit(Work::Hasten { id: entry.id, by, noticed }));
        for answer in orders.collect::<Vec<_>>() {
            answer.await?;
        }
        match page.last() {
            Some(last) if page.len() >= WINDOW => after = (last.due, last.id),
            _ => return Ok(()),
        }
    }
}
