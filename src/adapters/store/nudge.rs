//! A nudge for a flush that waits for ever.
//!
//! sled 0.34.7 wakes who waits for the end of a write; but where that write fails, and began because a buffer was full
//! rather than because somebody waited, it notes the error and wakes nobody (`Log::exit_reservation`). Whoever begins a
//! flush sees the error and wakes everybody. So while a flush takes long another one is begun beside it, after a second,
//! two, four, and so on: on a disk that is only slow they end together and do no harm. Nobody can help where a write of
//! sled's ends in a panic; that the store stands still shows in `waiting`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::file::caught;

/// How often the watcher looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So many looks at the same flush, and it is nudged the first time.
const LOOKS_FIRST: u32 = 4;

/// Watches the flushes of one open file; its thread ends when it is dropped.
pub(super) struct Nudge {
    /// Odd while a flush is under way.
    turns: Arc<AtomicU64>,
    /// Says nothing; the watcher ends when it is gone.
    alive: Option<Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl Nudge {
    /// Begins to watch; `flush` is what is done to nudge. It may take as long as it needs.
    pub(super) fn start(flush: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let turns = Arc::new(AtomicU64::new(0));
        let (alive, ended) = bounded(0);
        let seen = turns.clone();
        let watch = move || watch(&seen, &ended, &Arc::new(flush));
        let watcher = thread::Builder::new().name("store-nudge".into()).spawn(watch)?;
        Ok(Self { turns, alive: Some(alive), watcher: Some(watcher) })
    }

    /// Does a flush while it is watched. By one at a time.
    pub(super) fn watched<T>(&self, flush: impl FnOnce() -> T) -> T {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let done = flush();
        self.turns.fetch_add(1, Ordering::Relaxed);
        done
    }
}

impl Drop for Nudge {
    fn drop(&mut self) {
        drop(self.alive.take());
        // It ends at once: it only looks, and nudges with other threads.
        drop(self.watcher.take().map(JoinHandle::join));
    }
}

fn watch<F: Fn() + Send + Sync + 'static>(turns: &AtomicU64, ended: &Receiver<()>, flush: &Arc<F>) {
    let (mut last, mut looks) = (0, 0_u32);
    while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let turn = turns.load(Ordering::Relaxed);
        looks = if turn == last && turn % 2 == 1 { looks.saturating_add(1) } else { 0 };
        last = turn;
        if looks >= LOOKS_FIRST && looks.is_power_of_two() {
            let flush = Arc::clone(flush);
            // It may be the last to have the file: what it does at the end must not panic aloud either.
            let nudge = move || drop(caught(move || flush()));
            // Where no thread can be had now, the next time tries again.
            drop(thread::Builder::new().name("store-flush".into()).spawn(nudge));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_hangs_is_nudged_until_it_ends() {
        let (nudged, nudges) = crossbeam_channel::unbounded();
        let nudge = Nudge::start(move || _ = nudged.send(())).expect("a thread");
        let next = || nudges.recv_timeout(Duration::from_secs(60)).expect("a nudge");
        nudge.watched(|| {
            next();
            next();
        });
        drop(nudge);
        // It comes to an end: nobody nudges any more.
        nudges.iter().for_each(drop);
    }
}
