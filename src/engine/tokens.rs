//! Access tokens for the attempts: one request at a time for each token, and everybody who waited gets its result, a
//! failure too. Platforms limit how often they give tokens out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex as PlainMutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use crate::{
    domain::{
        destination::Origin,
        notice::{NoToken, Notice},
        outcome::{FailureReason, Finding, Verdict},
    },
    lti::access_token::{AccessToken, Freshness, TokenCache, TokenKey, TokenRequest, clock_of, read_discreetly},
};

use super::World;

/// The tokens of all platforms, and the requests for them that are under way.
#[derive(Default)]
pub(super) struct Tokens {
    cache: PlainMutex<TokenCache>,
    flights: PlainMutex<HashMap<TokenKey, Arc<Flight>>>,
}

/// The requests for one token, one after another.
#[derive(Default)]
struct Flight {
    /// Requests that have ended.
    landed: AtomicU64,
    /// How the last one failed. Its lock is held while one is under way.
    failure: Mutex<Option<Verdict>>,
}

impl Tokens {
    /// A token that serves at `platform`: out of the cache, or asked for. `within` is the limit of one request.
    pub(super) async fn obtain(
        &self,
        world: &World,
        platform: &Origin,
        request: TokenRequest,
        freshness: Freshness,
        within: Duration,
    ) -> Result<AccessToken, Verdict> {
        let cached = || locked(&self.cache).get(&request.key, &freshness, world.clock.now());
        if let Some(token) = cached() {
            return Ok(token);
        }
        let flight = self.flight(&request.key);
        let landed = flight.landed.load(Ordering::Acquire);
        let mut failure = flight.failure.lock().await;
        if flight.landed.load(Ordering::Acquire) != landed
            && let Some(failure) = &*failure
        {
            return Err(failure.clone());
        }
        if let Some(token) = cached() {
            return Ok(token);
        }
        let result = ask(world, platform, &request, within).await;
        *failure = result.as_ref().err().cloned();
        if let Ok(token) = &result {
            locked(&self.cache).put(request.key, token.clone());
        }
        flight.landed.fetch_add(1, Ordering::Release);
        result
    }

    fn flight(&self, key: &TokenKey) -> Arc<Flight> {
        let mut flights = locked(&self.flights);
        flights.retain(|known, flight| known == key || Arc::strong_count(flight) > 1);
        Arc::clone(flights.entry(key.clone()).or_default())
    }
}

/// Asks for a token; once more by the platform's own clock where it refused the assertion for its times.
async fn ask(
    world: &World,
    platform: &Origin,
    request: &TokenRequest,
    within: Duration,
) -> Result<AccessToken, Verdict> {
    let grant = request.assertion_request(world.clock.now(), world.clock.luck())?;
    let mut answer = world.transport.send(grant, within).await;
    let theirs = clock_of(&answer, world.clock.now()).filter(|_| request.goes_by_their_clock());
    if let Some(theirs) = theirs {
        let grant = request.assertion_request(theirs, world.clock.luck())?;
        answer = world.transport.send(grant, within).await;
    }
    let result = read_discreetly(&answer, world.clock.now(), world.registry.confidential());
    let no_token =
        |verdict: &Verdict| NoToken { reason: reason(verdict.finding), words: verdict.message.as_str().into() };
    let failure = result.as_ref().err().map(no_token);
    world.observer.observe(&Notice::TokenRequested { origin: platform.clone(), failure });
    result
}

fn reason(finding: Finding) -> FailureReason {
    match finding {
        Finding::Failed(reason) | Finding::Unsendable(reason) => reason,
        // A token endpoint never takes a grade, so this is an answer that makes no sense.
        Finding::Accepted | Finding::NotNewer(_) => FailureReason::BadResponse,
    }
}

/// Nothing panics while these locks are held, and what they guard is whole after each statement.
fn locked<T>(mutex: &PlainMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
