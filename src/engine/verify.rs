//! A grade read back from its platform and held against what was sent. It changes nothing, here and there: no job, no
//! column, no platform's health; and it waits for no delivery, so a paused platform can be read too.
//!
//! It goes the way of a delivery all the same (egress rules, tokens, secrets kept out of the words), under a time limit,
//! a few at once.

use tokio::time::timeout;

use crate::{
    domain::{
        destination::Origin,
        job::{Job, JobId},
        outcome::{FailureReason, Finding, Verdict},
        time::Timestamp,
        verification::{Comparison, Grade, Reading, Sent, detail},
    },
    ports::StoreError,
};

use super::{EngineHandle, Shared, deliver};

/// How long a look may take as a whole: below the patience of those who ask.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Looks under way at one time. They come on top of what `[delivery]` allows.
pub const AT_ONCE_MAX: usize = 4;

/// What a look at a grade has brought.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The job.
    pub job: JobId,
    /// What it wants to stand in its cell.
    pub sent: Sent,
    /// What stands there, where that could be read.
    pub there: Option<Grade>,
    /// What both say of each other.
    pub comparison: Comparison,
    /// Why the grade could not be read, where a platform or the configuration was asked.
    pub reason: Option<FailureReason>,
    /// What an admin reads.
    pub detail: String,
    /// When.
    pub checked_at: Timestamp,
}

/// Why nobody has looked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotVerified {
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// It cannot be read from the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its event cannot be read any more.
    #[error("the event of this job cannot be read: {0}")]
    NoEvent(String),
    /// The platform asked for fewer requests.
    #[error("the platform asked for fewer requests, so nothing is sent there until {0}: ask again then")]
    Rests(Timestamp),
    /// Enough others are looking.
    #[error("{AT_ONCE_MAX} grades are being verified, which is as many as may be at once: ask again in a few seconds")]
    Busy,
}

impl EngineHandle {
    /// Reads the grade of a job back.
    pub async fn verify(&self, id: JobId) -> Result<Verification, NotVerified> {
        let shared = &*self.shared;
        let job = shared.world.store.job(id)?.ok_or(NotVerified::NoSuchJob(id))?;
        let event = job.event().map_err(|refused| NotVerified::NoEvent(refused.detail))?;
        let sent = Sent::of(&event);
        let (read, comparison) = match Comparison::without_a_look(&event) {
            Some(comparison) => (None, comparison),
            None => {
                let _place = shared.verifying.try_acquire().map_err(|_| NotVerified::Busy)?;
                self.let_rest(&job.origin).await?;
                let read = look(shared, &job).await;
                let comparison = match &read {
                    Ok(reading) => Comparison::of(sent, *reading),
                    Err(verdict) => Comparison::unread(verdict, &event.destination),
                };
                (Some(read), comparison)
            }
        };
        let there = match &read {
            Some(Ok(Reading::Grade(grade))) => Some(*grade),
            _ => None,
        };
        let reason = match read.and_then(Result::err).map(|verdict| verdict.finding) {
            Some(Finding::Failed(reason) | Finding::Unsendable(reason)) => Some(reason),
            _ => None,
        };
        let detail = detail(&comparison, sent, &event, job.state_name());
        Ok(Verification { job: id, sent, there, comparison, reason, detail, checked_at: shared.world.clock.now() })
    }
}

impl EngineHandle {
    /// A rate limit is for looks as well. A loop that does not answer now holds nobody up.
    async fn let_rest(&self, platform: &Origin) -> Result<(), NotVerified> {
        let picture = self.look().await.unwrap_or_default();
        let rests =
            picture.platforms.iter().find(|known| known.origin == *platform).and_then(|known| known.rests_until);
        rests.filter(|until| *until > picture.taken_at).map_or(Ok(()), |until| Err(NotVerified::Rests(until)))
    }
}

/// Asks the platform.
async fn look(shared: &Shared, job: &Job) -> Result<Reading, Verdict> {
    let mut exchange = deliver::prepare_inquiry(&*shared.world.registry, job)?;
    let conversation = timeout(WITHIN, deliver::carry_on(shared, &job.origin, &mut exchange));
    let failed = |reason, why: &str| Verdict::without_reply(Finding::Failed(reason), why);
    let verdict = match shared.abort.run_until_cancelled(conversation).await {
        Some(Ok(verdict)) => verdict,
        Some(Err(_)) => failed(FailureReason::Timeout, "the look as a whole took longer than a minute"),
        None => failed(FailureReason::Connection, "this worker is stopping"),
    };
    exchange.reading().ok_or(verdict)
}
