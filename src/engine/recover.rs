//! What a start finds: attempts that were cut off, and platforms whose jobs wait.
//!
//! An attempt that was under way counts as one that was made. So a job that kills the worker is flagged in the end,
//! and a platform that then says "I have that already" is understood.

use crate::{
    domain::{dispatch::Dispatcher, ledger::Work, notice::Notice, time::Timestamp},
    ports::StoreError,
};

use super::World;

/// Ends, on paper, every attempt that the last run left under way. They are at most as many as its `concurrency`.
pub(super) async fn interrupt_cut_off(world: &World) -> Result<(), StoreError> {
    let ids = world.store.cut_off()?;
    let cut_off = |id| world.submit(Work::cut_off(id));
    for answer in ids.into_iter().map(cut_off).collect::<Vec<_>>() {
        match answer.await {
            // One damaged record must not keep all the others from being delivered.
            Err(error) if world.store.is_writable() => {
                world.observer.observe(&Notice::StoreFailed { error: error.to_string() });
            }
            answer => drop(answer?),
        }
    }
    Ok(())
}

/// Tells the dispatcher of every platform; it reads their waiting jobs window by window.
pub(super) fn remember_platforms(world: &World, dispatcher: &mut Dispatcher, now: Timestamp) -> Result<(), StoreError> {
    for record in world.store.platforms()? {
        dispatcher.handle_platform(&record, now);
    }
    Ok(())
}
