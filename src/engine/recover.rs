//! What a start finds: attempts that were cut off, and platforms whose jobs wait. And what is read again when the store
//! was opened anew in between.
//!
//! An attempt that was under way counts as one that was made. So a job that kills the worker is flagged in the end,
//! and a platform that then says "I have that already" is understood.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    domain::{dispatch::Dispatcher, job::JobId, ledger::Work, notice::Notice, time::Timestamp},
    ports::StoreError,
};

use super::{Shared, World};

/// A job whose end cannot be noted so many times, though the store takes writes, is damaged.
const TRIES: u32 = 3;

/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends, on paper, every attempt that the last run left under way. They are at most as many as its `concurrency`. None
/// of these jobs can start before that is done, however long the store needs.
pub(super) async fn interrupt_cut_off(shared: &Shared, ids: Vec<JobId>) {
    let world = &shared.world;
    let mut left: Vec<(JobId, Timestamp, u32)> =
        ids.into_iter().filter_map(|id| Some((id, begun(shared, id)?, TRIES))).collect();
    loop {
        let was_writable = world.store.is_writable();
        let cut_off = |(id, since, tries)| (id, since, tries, world.submit(Work::cut_off(id, since)));
        let answers: Vec<_> = left.into_iter().map(cut_off).collect();
        left = Vec::new();
        for (id, since, tries, answer) in answers {
            let Err(error) = answer.await else { continue };
            let is_its_own = was_writable && world.store.is_writable();
            match tries.saturating_sub(u32::from(is_its_own)) {
                // One damaged record must not keep all the others from being delivered.
                0 => shared.notice(&Notice::RecordDamaged { error: error.to_string() }),
                tries => left.push((id, since, tries)),
            }
        }
        if left.is_empty() || shared.abort.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// When the attempt of a job began that is under way; none for a job that cannot be read.
fn begun(shared: &Shared, id: JobId) -> Option<Timestamp> {
    let job = shared.world.store.job(id);
    let job = job.inspect_err(|error| shared.notice(&Notice::RecordDamaged { error: error.to_string() }));
    job.ok().flatten()?.under_way_since()
}

/// Tells the dispatcher of every platform; it reads their waiting jobs window by window.
pub(super) fn remember_platforms(world: &World, dispatcher: &mut Dispatcher, now: Timestamp) -> Result<(), StoreError> {
    for record in world.store.platforms()? {
        dispatcher.handle_platform(&record, now);
    }
    Ok(())
}
