//! What a start finds: attempts that were cut off, and platforms whose jobs wait. And what is read again when the store
//! was opened anew in between.
//!
//! An attempt that was under way counts as one that was made. So a job that kills the worker is flagged in the end,
//! and a platform that then says "I have that already" is understood.

use std::{future::ready, mem, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        job::JobId,
        ledger::{Answer, PlatformRecord, Work},
        notice::Notice,
        time::Timestamp,
    },
    ports::{Pending, StoreError},
};

use super::{Shared, World};

/// A job whose end cannot be noted so many times, because it cannot be read, is damaged.
const TRIES: u32 = 3;

/// How long to wait before the store is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends, on paper, every attempt that the last run left under way. They are at most as many as its `concurrency`. None
/// of these jobs can start before that is done, however long the store needs.
pub(super) async fn interrupt_cut_off(shared: &Shared, ids: Vec<JobId>) {
    let world = &shared.world;
    let mut left: Vec<CutOff> = ids.into_iter().map(|id| CutOff { id, since: None, tries: TRIES }).collect();
    loop {
        let answers: Vec<_> = left.into_iter().map(|cut_off| cut_off.end(world)).collect();
        left = Vec::new();
        for (cut_off, answer) in answers {
            let Err(error) = answer.await else { continue };
            let is_its_own = matches!(error, StoreError::Unreadable(_));
            match cut_off.tries.saturating_sub(u32::from(is_its_own)) {
                // One damaged record must not keep all the others from being delivered.
                0 => shared.notice(&Notice::RecordDamaged { error: error.to_string() }),
                tries => left.push(CutOff { tries, ..cut_off }),
            }
        }
        if left.is_empty() || shared.abort.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// An attempt of the last run that is still to be ended on paper.
struct CutOff {
    id: JobId,
    /// When it began, once that could be read. Read only until its end was ordered: after that, another attempt of the job
    /// may have begun.
    since: Option<Timestamp>,
    /// So many more times its end may be refused.
    tries: u32,
}

impl CutOff {
    fn end(mut self, world: &World) -> (Self, Pending<'static, Result<Answer, StoreError>>) {
        if self.since.is_none() {
            match world.store.job(self.id) {
                Ok(job) => self.since = job.and_then(|job| job.under_way_since()),
                Err(error) => return (self, Box::pin(ready(Err(error)))),
            }
        }
        let answer = match self.since {
            Some(since) => world.submit(Work::cut_off(self.id, since)),
            None => Box::pin(ready(Ok(Answer::NotNow))),
        };
        (self, answer)
    }
}

/// Every platform that a grade ever went to, however long the store needs; none if the worker is to stop before that.
/// Before they are known nothing can be started: a platform that is paused would not be known to be.
pub(super) async fn platforms(shared: &Shared, drain: &CancellationToken) -> Option<Vec<PlatformRecord>> {
    let mut is_told = false;
    loop {
        match shared.world.store.platforms() {
            Ok(platforms) => return Some(platforms),
            Err(error) if !mem::replace(&mut is_told, true) => shared.notice_unread(&error),
            Err(_) => {}
        }
        drain.run_until_cancelled(sleep(PAUSE)).await?;
    }
}
