//! One attempt: the conversation of `lti::exchange` carried over the transport, under time limits.
//!
//! The start of the attempt is on disk before the first byte leaves, and its end before the job's next turn. Nothing
//! is decided here: the exchange says what to send, `lti::classify` what came of it, the ledger what follows.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
};

use futures_util::FutureExt;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    domain::{
        destination::{Destination, Origin},
        dispatch::Launch,
        event::GradeEvent,
        health::Signal,
        job::Job,
        ledger::{Answer, DueEntry, Work},
        outcome::{FailureReason, Finding, Verdict},
    },
    lti::exchange::{Credentials, Exchange, Step},
};

use super::{Answered, Happening, Shared};

/// An attempt may take so many times the limit of one request: a token, some pages of columns, the score, and the
/// score once more with a new token.
const REQUESTS_IN_TIME: u32 = 5;

/// Makes one attempt, and tells the loop when the platform has answered and when that is on disk. Never panics: a panic
/// inside is an attempt that was cut off.
pub(super) async fn attempt(shared: &Arc<Shared>, launch: Launch) {
    let tell = |launch: &Launch, signal, error, again| {
        let answered = Answered { launch: launch.clone(), signal, error, again };
        // The loop outlives its attempts, so somebody listens.
        drop(shared.inbox.send(Happening::Answered(answered)));
    };
    match shared.world.order(Work::Start { id: launch.id }).await {
        Ok(Answer::Job(job)) => {
            let conversation = AssertUnwindSafe(converse(shared, &job)).catch_unwind();
            let verdict = shared.abort.run_until_cancelled(conversation).await.and_then(Result::ok);
            let end = match verdict {
                Some(verdict) => {
                    let failed = matches!(verdict.finding, Finding::Failed(_) | Finding::Unsendable(_));
                    tell(&launch, Signal::of(&verdict), failed.then(|| verdict.message.clone()), None);
                    Work::Finish { id: launch.id, verdict, trial: launch.trial }
                }
                None => {
                    tell(&launch, Signal::Nothing, None, None);
                    Work::Interrupt { id: launch.id }
                }
            };
            // If this cannot be stored, the next start finds the attempt under way and counts it as cut off.
            drop(shared.world.order(end).await);
        }
        Ok(_) => tell(&launch, Signal::Nothing, None, None),
        Err(_) => tell(&launch, Signal::Nothing, None, Some(entry(shared, &launch))),
    }
    drop(shared.inbox.send(Happening::Settled(launch)));
}

/// The dispatcher's entry of a launch whose start the store could not take.
fn entry(shared: &Shared, launch: &Launch) -> DueEntry {
    DueEntry { due: shared.world.clock.now(), id: launch.id, cell: launch.cell, origin: launch.origin.clone() }
}

async fn converse(shared: &Shared, job: &Job) -> Verdict {
    match prepare(shared, job) {
        Ok(exchange) => carry(shared, &job.origin, exchange).await,
        Err((reason, why)) => Verdict::without_reply(Finding::Unsendable(reason), why),
    }
}

/// Puts the event and its keys together. What is missing is known before anything is sent.
fn prepare(shared: &Shared, job: &Job) -> Result<Exchange, (FailureReason, String)> {
    let event = job.event().map_err(|refused| (FailureReason::InvalidScore, refused.detail))?;
    let credentials = credentials(shared, &event).map_err(|reason| (reason, reason.advice().to_owned()))?;
    Exchange::new(&event, credentials, job.ags_timestamp, job.occurred_at)
        .map_err(|reason| (reason, reason.advice().to_owned()))
}

fn credentials(shared: &Shared, event: &GradeEvent) -> Result<Credentials, FailureReason> {
    let registry = &shared.world.registry;
    let host = event.destination.service_url().as_url().host_str().unwrap_or_default();
    let shared_secret = |key: &str| registry.shared_secret(key, host).map(Credentials::Shared);
    match &event.destination {
        Destination::Lti11(service) => shared_secret(&service.consumer_key),
        Destination::Delegated(endpoint) => shared_secret(&endpoint.consumer_key),
        Destination::Ags(target) => {
            let registration = registry.registration(target)?;
            let key = registry.signing_key()?;
            Ok(Credentials::Platform { registration, key })
        }
    }
}

/// Carries the conversation out, until it is done or out of time.
async fn carry(shared: &Shared, platform: &Origin, mut exchange: Exchange) -> Verdict {
    let limit = shared.options.timeout.saturating_mul(REQUESTS_IN_TIME);
    match tokio::time::timeout(limit, carry_on(shared, platform, &mut exchange)).await {
        Ok(verdict) => verdict,
        Err(_) => exchange.interrupt(),
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
