//! The loop: wait, turn what happened into one [`Happening`], let the dispatcher decide, carry it out.
//!
//! Every attempt is a task of this loop's own set; it ends by itself, by its time limits, or by the abort token, and
//! its end comes back as [`Happening::Answered`] and [`Happening::Settled`], also when the conversation panicked.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::domain::{
    destination::Origin,
    dispatch::{Dispatcher, Limits},
    drawer::Note,
    health::Health,
    notice::{Loop, Notice},
    time::Timestamp,
    watch::Watch,
};

use super::{
    Answered, Happening, Picture, PlatformPicture, Remembered, Shared, audit, deliver, pauses, recover, set_back,
};

/// The longest sleep: a clock that is set, or a machine that was suspended, is noticed within it.
const NAP_MAX: Duration = Duration::from_secs(1);
/// How long the end of an attempt that was cut off may take to reach the disk.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(10);
/// Happenings taken at once.
const BATCH: usize = 512;

pub(super) async fn run(
    shared: &Arc<Shared>,
    mut receiver: mpsc::UnboundedReceiver<Happening>,
    drain: CancellationToken,
) {
    let mut desk = Desk {
        shared,
        dispatcher: Dispatcher::new(shared.options.limits),
        attempts: JoinSet::new(),
        set_backs: Arc::default(),
    };
    // Asked before anything is started, done beside it: the store may have to wait for room first.
    let (recovering, cut_off) = (Arc::clone(shared), shared.world.store.cut_off());
    let Some(platforms) = recover::platforms(shared, &drain).await else { return };
    for record in &platforms {
        desk.dispatcher.handle_platform(record, desk.now());
        if record.paused_since.is_none() {
            desk.handle_met(&record.origin, record.client_id.as_deref());
        }
    }
    let mut batch = Vec::with_capacity(BATCH);
    match set_back::found_at_start(&shared.world) {
        Ok(Some(by)) => desk.put_forward(by, None),
        Ok(None) => {}
        // A store that fails at this moment is no reason to stop: it is mended, and everything waits for it.
        Err(error) => shared.notice_unread(&error),
    }
    let born = Instant::now();
    let mut watch = Watch::new(desk.now(), Duration::ZERO);
    desk.attempts.spawn(async move { recover::interrupt_cut_off(&recovering, cut_off).await });
    while !drain.is_cancelled() {
        desk.start_what_may_start();
        let nap = desk.nap();
        tokio::select! {
            biased;
            () = drain.cancelled() => {}
            _ = receiver.recv_many(&mut batch, BATCH) => {}
            Some(_) = desk.attempts.join_next() => {}
            () = sleep(nap) => {}
        }
        // First of all: what is set by the new time of day must not be put forward with the rest.
        if let Some(by) = watch.handle_look(desk.now(), born.elapsed()) {
            desk.handle_set_back(by);
        }
        desk.handle_all(&mut batch);
    }
    desk.drain(&mut receiver, &mut batch).await;
}

struct Desk<'a> {
    shared: &'a Arc<Shared>,
    dispatcher: Dispatcher,
    attempts: JoinSet<()>,
    /// What was set back is made up for one jump after the other: two at a time would overlook what the other one moves.
    set_backs: Arc<Mutex<()>>,
}

impl Desk<'_> {
    fn now(&self) -> Timestamp {
        self.shared.world.clock.now()
    }

    /// While the store takes no writes nothing can be started, so nothing is waited for either.
    fn nap(&self) -> Duration {
        if !self.shared.world.store.is_writable() {
            return NAP_MAX;
        }
        self.dispatcher.poll_wakeup().map_or(NAP_MAX, |wakeup| wakeup.since(self.now()).min(NAP_MAX))
    }

    /// Reads more where a window runs low, and launches every job whose turn it is.
    fn start_what_may_start(&mut self) {
        let store = &self.shared.world.store;
        while self.attempts.try_join_next().is_some() {}
        if !store.is_writable() {
            return;
        }
        loop {
            while let Some(refill) = self.dispatcher.poll_refill() {
                match store.due(&refill.origin, refill.after, self.dispatcher.window()) {
                    Ok(entries) => self.dispatcher.handle_refill(&refill.origin, &entries),
                    Err(error) => {
                        self.dispatcher.handle_refill_failed(&refill.origin, self.now() + NAP_MAX);
                        self.shared.notice_unread(&error);
                    }
                }
            }
            let Some(launch) = self.dispatcher.poll_start(self.now()) else { break };
            let shared = Arc::clone(self.shared);
            self.attempts.spawn(async move { deliver::attempt(&shared, launch).await });
        }
        self.shared.notice(&Notice::Beat { of: Loop::Dispatch });
    }

    fn handle_all(&mut self, batch: &mut Vec<Happening>) {
        for happening in batch.drain(..) {
            match happening {
                Happening::Committed(report) => {
                    if report.reopened {
                        self.handle_reopened();
                    }
                    for notice in &report.notices {
                        self.shared.notice(notice);
                        if let Notice::PlatformMet { origin, client_id } = notice {
                            self.handle_met(origin, client_id.as_deref());
                        }
                    }
                    report.queued.iter().for_each(|entry| self.dispatcher.handle_queued(entry));
                }
                Happening::Answered(answered) => self.handle_answered(&answered),
                Happening::Settled(launch) => self.dispatcher.handle_settled(&launch),
                Happening::Pause(origin, note, done) => {
                    let notices = self.dispatcher.handle_pause(&origin, self.now());
                    done.send(self.remember(&origin, note)).ok();
                    self.tell(&notices);
                }
                Happening::Resume(origin, note, done) => {
                    let notices = self.dispatcher.handle_resume(&origin);
                    done.send(self.remember(&origin, note)).ok();
                    self.tell(&notices);
                }
                Happening::Look(reply) => drop(reply.send(self.picture())),
            }
        }
    }

    /// The store was opened anew: what waits there is read again, and what it does not know of the platforms' holds and
    /// pauses is noted again.
    fn handle_reopened(&mut self) {
        // Should it have failed again, it will be opened again.
        let platforms = self.shared.world.store.platforms().unwrap_or_default();
        self.dispatcher.handle_reopened(&platforms, self.now());
        for known in &platforms {
            let is_as_known = |health: &Health| {
                (health.paused_since(), health.held_since()) == (known.paused_since, known.held_since)
            };
            if !self.dispatcher.health(&known.origin).is_some_and(is_as_known) {
                drop(self.remember(&known.origin, None));
            }
        }
    }

    /// A platform has an address now. Where its name is paused nothing goes there; its first grade is not queued here yet.
    fn handle_met(&mut self, origin: &Origin, client_id: Option<&str>) {
        match pauses::is_paused(&self.shared.world, origin, client_id) {
            Ok(false) => {}
            Ok(true) => {
                let notices = self.dispatcher.handle_pause(origin, self.now());
                // Nobody waits for it: the pause of the name is on disk, and is looked at again at the next start.
                drop(self.remember(origin, None));
                self.tell(&notices);
            }
            Err(error) => self.shared.notice_unread(&error),
        }
    }

    fn handle_answered(&mut self, answered: &Answered) {
        let Answered { launch, signal, error, again } = answered;
        let draw = self.shared.world.clock.draw();
        let notices = self.dispatcher.handle_answered(launch, *signal, error.as_deref(), self.now(), draw);
        if let Some(again) = again {
            self.dispatcher.handle_queued(again);
        }
        for notice in &notices {
            if let Notice::Platform { origin, .. } = notice {
                // Nobody waits for it: if the commit fails the store is loud, and it is noted again when that is mended.
                drop(self.remember(origin, None));
            }
        }
        self.tell(&notices);
    }

    fn handle_set_back(&mut self, by: Duration) {
        self.dispatcher.handle_set_back(by);
        self.put_forward(by, Some(self.now()));
    }

    fn put_forward(&mut self, by: Duration, noticed: Option<Timestamp>) {
        let (shared, turns) = (Arc::clone(self.shared), Arc::clone(&self.set_backs));
        self.attempts.spawn(async move {
            let hasten = async {
                let _turn = turns.lock().await;
                set_back::hasten(&shared, by, noticed).await;
            };
            shared.abort.run_until_cancelled(hasten).await;
        });
        self.tell(&[Notice::ClockSetBack { by }]);
    }

    fn tell(&self, notices: &[Notice]) {
        for notice in notices {
            self.shared.notice(notice);
        }
    }

    /// A hold and a pause are remembered over restarts; none for a platform that nobody knows.
    /// Notes a pause or a hold, together with what the audit log is to say of it.
    fn remember(&self, origin: &Origin, note: Option<Note>) -> Option<Remembered> {
        let work = self.dispatcher.note(origin)?;
        Some(self.shared.world.submit(audit::noted(work, note)))
    }

    fn picture(&self) -> Picture {
        let (now, Limits { per_platform, retry, .. }) = (self.now(), self.shared.options.limits);
        let platforms = self.dispatcher.lanes().map(|lane| PlatformPicture {
            origin: lane.origin.clone(),
            state: lane.health.state(),
            since: lane.health.paused_since().or(lane.health.held_since()),
            next_probe_at: lane.health.next_probe_at(),
            rests_until: lane.health.rests_until(),
            last_error: lane.last_error.map(str::to_owned),
            under_way: lane.under_way,
            concurrency: lane.health.concurrency(now, &retry),
        });
        Picture {
            taken_at: now,
            under_way: self.dispatcher.under_way(),
            oldest_due: self.dispatcher.oldest_due(now),
            per_platform,
            platforms: platforms.collect(),
        }
    }

    /// Starts nothing more; lets what is under way end within the drain time, then cuts it off and waits until that
    /// is on disk.
    async fn drain(mut self, receiver: &mut mpsc::UnboundedReceiver<Happening>, batch: &mut Vec<Happening>) {
        let deadline = Instant::now() + self.shared.options.drain;
        while self.dispatcher.under_way() > 0 {
            if timeout_at(deadline, receiver.recv_many(batch, BATCH)).await.is_err() {
                break;
            }
            self.handle_all(batch);
        }
        self.shared.abort.cancel();
        let cut_off = timeout(CUT_OFF_WITHIN, async { while self.attempts.join_next().await.is_some() {} });
        if cut_off.await.is_err() {
            // The disk hangs: the next start finds these attempts under way.
            self.attempts.shutdown().await;
        }
        while let Ok(happening) = receiver.try_recv() {
            batch.push(happening);
        }
        self.handle_all(batch);
    }
}
