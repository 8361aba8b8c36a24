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
        ending::Ending,
        event::GradeEvent,
        family::Family,
        health::Signal,
        job::Job,
        ledger::{Answer, DueEntry, Work},
        notice::Notice,
        outcome::{FailureReason, Finding, Verdict, missing_key},
    },
    lti::exchange::{Credentials, Earlier, Exchange, Standing, Step},
    ports::{Registry, StoreError},
};

use super::{Answered, Happening, Shared};

/// An attempt may take so many times the limit of one request: a token, some pages of columns, the score, and the
/// score once more with a new token.
const REQUESTS_IN_TIME: u32 = 5;

/// How long to wait before the store is asked again after it refused a change.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// An end that cannot be noted so many times, because the job cannot be read, is that of a damaged job.
const SETTLE_TRIES: u32 = 3;

/// How long a job rests whose start the store refuses while it takes others: its record cannot be read.
const DAMAGED_PAUSE: Duration = Duration::from_secs(60);

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
            let end = end.unwrap_or(Ending::CutOff { reply_lost: true });
            tell(&launch, end.signal(), end.error().map(str::to_owned), None);
            settle(shared, &launch, &end).await;
        }
        Ok(_) => tell(&launch, Signal::Nothing, None, None),
        Err(error) => {
            let now = shared.world.clock.now();
            shared.abort.run_until_cancelled(sleep(STORE_PAUSE)).await;
            let is_its_own = matches!(error, StoreError::Unreadable(_));
            let due = if is_its_own { now + DAMAGED_PAUSE } else { launch.due };
            tell(&launch, Signal::Nothing, None, Some(DueEntry { due, ..launch.entry() }));
        }
    }
    drop(shared.inbox.send(Happening::Settled(launch)));
}

/// Has the end on disk, however long the store needs. If the worker stops before, or the job's own record is damaged,
/// the next start finds the attempt under way and counts it as cut off.
async fn settle(shared: &Shared, launch: &Launch, end: &Ending) {
    let mut tries = SETTLE_TRIES;
    while let Err(error) = shared.world.order(end.work(launch)).await {
        tries -= u32::from(matches!(error, StoreError::Unreadable(_)));
        if tries == 0 {
            return shared.notice(&Notice::RecordDamaged { error: error.to_string() });
        }
        if shared.abort.run_until_cancelled(sleep(STORE_PAUSE)).await.is_none() {
            return;
        }
    }
}

async fn converse(shared: &Shared, job: &Job) -> Ending {
    match prepare(&*shared.world.registry, job, shared.families.shown(&job.origin)) {
        Ok(exchange) => carry(shared, &job.origin, exchange).await,
        Err(verdict) => Ending::Verdict(verdict),
    }
}

/// Puts the event and its keys together. What is missing is known before anything is sent. `shown` is what the platform's
/// replies have shown it to be.
pub fn prepare(registry: &dyn Registry, job: &Job, shown: Option<Family>) -> Result<Exchange, Verdict> {
    let standing = Standing {
        ags_timestamp: job.ags_timestamp,
        occurred_at: job.occurred_at,
        earlier: if job.may_have_arrived() { Earlier::Perhaps } else { Earlier::Nothing },
        column_was_remade: job.remade_its_column(),
        shown,
    };
    open(registry, job, |event, credentials| Exchange::new(event, credentials, standing))
}

/// The same for a look at what the platform has.
pub(super) fn prepare_inquiry(registry: &dyn Registry, job: &Job) -> Result<Exchange, Verdict> {
    open(registry, job, Exchange::inquiry)
}

fn open(
    registry: &dyn Registry,
    job: &Job,
    begin: impl FnOnce(&GradeEvent, Credentials) -> Result<Exchange, FailureReason>,
) -> Result<Exchange, Verdict> {
    let unsendable = |(reason, why)| Verdict::without_reply(Finding::Unsendable(reason), why);
    let event = job.event().map_err(|refused| unsendable((FailureReason::InvalidScore, refused.detail)))?;
    let credentials = credentials(registry, &event).map_err(unsendable)?;
    let mut exchange = begin(&event, credentials).map_err(|reason| unsendable((reason, reason.advice().to_owned())))?;
    exchange.keep(registry.confidential());
    Ok(exchange)
}

fn credentials(registry: &dyn Registry, event: &GradeEvent) -> Result<Credentials, (FailureReason, String)> {
    let host = event.destination.service_url().as_url().host_str().unwrap_or_default();
    let missing = |reason| (reason, missing_key(reason, &event.destination));
    let shared_secret = |key: &str| registry.shared_secret(key, host).map(Credentials::Shared).map_err(missing);
    match &event.destination {
        Destination::Lti11(service) => shared_secret(&service.consumer_key),
        Destination::Delegated(endpoint) => shared_secret(&endpoint.consumer_key),
        Destination::Ags(target) => {
            let registration = registry.registration(target).map_err(|reason| {
                registry.why_unregistered(target).map_or_else(|| missing(reason), |why| (reason, why))
            })?;
            let key = registry.signing_key().map_err(missing)?;
            Ok(Credentials::Platform { registration, key })
        }
    }
}

/// Carries the conversation out, until it is done, out of time, or cut off.
async fn carry(shared: &Shared, platform: &Origin, mut exchange: Exchange) -> Ending {
    let limit = shared.options.timeout.saturating_mul(REQUESTS_IN_TIME);
    let conversation = timeout(limit, carry_on(shared, platform, &mut exchange));
    let ended = shared.abort.run_until_cancelled(conversation).await;
    if let Some(family) = exchange.shown() {
        shared.families.note(platform, family);
    }
    match ended {
        Some(Ok(verdict)) => Ending::Verdict(verdict),
        Some(Err(_)) => Ending::Verdict(exchange.interrupt()),
        None => Ending::CutOff { reply_lost: exchange.interrupt().reply_lost },
    }
}

/// Carries the conversation out to its end.
pub(super) async fn carry_on(shared: &Shared, platform: &Origin, exchange: &mut Exchange) -> Verdict {
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

/// What platforms have shown themselves to be, where their addresses do not tell. In memory alone: the next reply of a
/// platform tells it again.
#[derive(Default)]
pub(super) struct Families(std::sync::Mutex<HashMap<Origin, Family>>);

/// The most platforms that are remembered so.
const FAMILIES_MAX: usize = 1024;

impl Families {
    fn shown(&self, platform: &Origin) -> Option<Family> {
        self.known().get(platform).copied()
    }

    fn note(&self, platform: &Origin, family: Family) {
        let mut known = self.known();
        if known.len() < FAMILIES_MAX || known.contains_key(platform) {
            known.insert(platform.clone(), family);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Family>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
