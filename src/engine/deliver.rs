//! One attempt: the conversation of `lti::exchange` carried over the transport, under time limits.
//!
//! The start of the attempt is on disk before the first byte leaves, and its end before the job's next turn. Nothing
//! is decided here: the exchange says what to send, `lti::classify` what came of it, the ledger what follows.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{sleep, timeout},
};

use crate::{
    domain::{
        destination::{Destination, Origin},
        dispatch::Launch,
        event::GradeEvent,
        health::Signal,
        job::Job,
        ledger::{Answer, DueEntry, Work},
        outcome::{FailureReason, Finding, Verdict, missing_key},
    },
    lti::exchange::{Credentials, Exchange, Step},
};

use super::{Answered, Happening, Shared};

/// An attempt may take so many times the limit of one request: a token, some pages of columns, the score, and the
/// score once more with a new token.
const REQUESTS_IN_TIME: u32 = 5;

/// How long to wait before the store is asked again after it refused a change.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Makes one attempt, and tells the loop when the platform has answered and when that is on disk. A panic inside the
/// conversation is an attempt that was cut off.
pub(super) async fn attempt(shared: &Arc<Shared>, launch: Launch) {
    let tell = |launch: &Launch, signal, error, again| {
        let answered = Answered { launch: launch.clone(), signal, error, again };
        // The loop outlives its attempts, so somebody listens.
        drop(shared.inbox.send(Happening::Answered(answered)));
    };
    match shared.world.order(Work::Start { id: launch.id }).await {
        Ok(Answer::Job(job)) => {
            let end = AssertUnwindSafe(converse(shared, &job)).catch_unwind().await;
            let end = end.unwrap_or(End::CutOff { reply_lost: true });
            tell(&launch, end.signal(), end.error(), None);
            end.settle(shared, &launch).await;
        }
        Ok(_) => tell(&launch, Signal::Nothing, None, None),
        Err(_) => {
            shared.abort.run_until_cancelled(sleep(STORE_PAUSE)).await;
            tell(&launch, Signal::Nothing, None, Some(entry(&launch)));
        }
    }
    drop(shared.inbox.send(Happening::Settled(launch)));
}

/// The dispatcher's entry of a launch whose start the store could not take: at its old place, where the window has it.
fn entry(launch: &Launch) -> DueEntry {
    DueEntry { due: launch.due, id: launch.id, cell: launch.cell, origin: launch.origin.clone() }
}

/// How a conversation ended.
enum End {
    /// With a verdict.
    Verdict(Verdict),
    /// The worker had to stop.
    CutOff {
        /// Whether the score may have been written.
        reply_lost: bool,
    },
}

impl End {
    fn signal(&self) -> Signal {
        match self {
            Self::Verdict(verdict) => Signal::of(verdict),
            Self::CutOff { .. } => Signal::Nothing,
        }
    }

    /// What went wrong at the platform, in words.
    fn error(&self) -> Option<String> {
        match self {
            Self::Verdict(Verdict { finding: Finding::Failed(_), message, .. }) => Some(message.clone()),
            Self::Verdict(_) | Self::CutOff { .. } => None,
        }
    }

    fn work(&self, launch: &Launch) -> Work {
        match self {
            Self::Verdict(verdict) => Work::Finish { id: launch.id, verdict: verdict.clone(), trial: launch.trial },
            Self::CutOff { reply_lost } => Work::Interrupt { id: launch.id, reply_lost: *reply_lost },
        }
    }

    /// Has the end on disk, however long the store needs. If the worker stops before, the next start finds the attempt
    /// under way and counts it as cut off.
    async fn settle(&self, shared: &Shared, launch: &Launch) {
        while shared.world.order(self.work(launch)).await.is_err() {
            if shared.abort.run_until_cancelled(sleep(STORE_PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

async fn converse(shared: &Shared, job: &Job) -> End {
    match prepare(shared, job) {
        Ok(exchange) => carry(shared, &job.origin, exchange).await,
        Err((reason, why)) => End::Verdict(Verdict::without_reply(Finding::Unsendable(reason), why)),
    }
}

/// Puts the event and its keys together. What is missing is known before anything is sent.
fn prepare(shared: &Shared, job: &Job) -> Result<Exchange, (FailureReason, String)> {
    let event = job.event().map_err(|refused| (FailureReason::InvalidScore, refused.detail))?;
    let credentials = credentials(shared, &event)?;
    Exchange::new(&event, credentials, job.ags_timestamp, job.occurred_at)
        .map_err(|reason| (reason, reason.advice().to_owned()))
}

fn credentials(shared: &Shared, event: &GradeEvent) -> Result<Credentials, (FailureReason, String)> {
    let registry = &shared.world.registry;
    let host = event.destination.service_url().as_url().host_str().unwrap_or_default();
    let missing = |reason| (reason, missing_key(reason, &event.destination));
    let shared_secret = |key: &str| registry.shared_secret(key, host).map(Credentials::Shared).map_err(missing);
    match &event.destination {
        Destination::Lti11(service) => shared_secret(&service.consumer_key),
        Destination::Delegated(endpoint) => shared_secret(&endpoint.consumer_key),
        Destination::Ags(target) => {
            let registration = registry.registration(target).map_err(missing)?;
            let key = registry.signing_key().map_err(missing)?;
            Ok(Credentials::Platform { registration, key })
        }
    }
}

/// Carries the conversation out, until it is done, out of time, or cut off.
async fn carry(shared: &Shared, platform: &Origin, mut exchange: Exchange) -> End {
    let limit = shared.options.timeout.saturating_mul(REQUESTS_IN_TIME);
    let conversation = timeout(limit, carry_on(shared, platform, &mut exchange));
    match shared.abort.run_until_cancelled(conversation).await {
        Some(Ok(verdict)) => End::Verdict(verdict),
        Some(Err(_)) => End::Verdict(exchange.interrupt()),
        None => End::CutOff { reply_lost: exchange.interrupt().reply_lost },
    }
}

async fn carry_on(shared: &Shared, platform: &Origin, exchange: &mut Exchange) -> Verdict {
    let world = &shared.world;
    let within = shared.options.timeout;
    let mut column: Option<OwnedMutexGuard<()>> = None;
    loop {
        match exchange.poll(world.clock.now(), world.clock.luck()) {
            Step::Send(request) => {
                let answer = world.transport.send(request, within).await;
                exchange.handle_reply(&answer, world.clock.now());
            }
            Step::Token(request, freshness) => {
                let token = shared.tokens.obtain(world, platform, request, freshness, within).await;
                exchange.handle_token(token);
            }
            Step::RecallColumn { key } => {
                column = Some(shared.columns.lock(key).await);
                // A store that cannot be read is a store that will not take the end of this attempt either.
                exchange.handle_column(world.store.column(key).unwrap_or_default().as_deref());
            }
            Step::RememberColumn { key, url } => {
                drop(world.order(Work::PutColumn { key, url }).await);
                exchange.handle_remembered();
            }
            Step::Done(verdict) => return verdict,
        }
        if !exchange.holds_column() {
            drop(column.take());
        }
    }
}

/// One search-and-create at a time for each column.
#[derive(Default)]
pub(super) struct Columns {
    locks: std::sync::Mutex<HashMap<[u8; 16], Weak<Mutex<()>>>>,
}

impl Columns {
    async fn lock(&self, key: [u8; 16]) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let fresh = Arc::new(Mutex::new(()));
                locks.insert(key, Arc::downgrade(&fresh));
                fresh
            })
        };
        lock.lock_owned().await
    }
}
