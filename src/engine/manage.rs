//! What admins and programs ask of the engine: look, replay, discard, pause, resume. Each change goes through the same
//! ledger as everything else.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    domain::{
        destination::Origin,
        drawer::Note,
        job::{Job, JobId, StateName},
        ledger::{Answer, Mode, PlatformRecord, Work},
        time::Timestamp,
        transition::Refused,
    },
    ports::{Census, JobFilter, JobPage, StoreError},
};

use super::{EngineHandle, Happening, Picture, Remembered, audit::noted};

/// The longest wait for the loop, which never does more than one screenful of work at a time.
const LOOP_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait for the store: far beyond any commit, and below the patience of most who ask.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// A disk that takes longer than this for one commit hangs: far beyond a slow sync.
const STORE_STUCK_AFTER: Duration = Duration::from_secs(30);
/// Jobs that a bulk change has in the store's hands at once.
const BULK_STEP: usize = 500;

/// Why a change was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotDone {
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The job's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It is not on disk, as far as anybody knows.
    #[error(transparent)]
    Store(#[from] NotStored),
}

/// Why nobody can say that a change is on disk.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotStored {
    /// The store failed: nothing of it is promised.
    #[error(transparent)]
    Failed(#[from] StoreError),
    /// The store did not answer. The change may be made yet.
    #[error(
        "the store did not answer within {} seconds: whether this was done is not known, so look again before you \
         ask for it again",
        STORE_ANSWERS_WITHIN.as_secs()
    )]
    NoAnswer,
}

/// How the store is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// It takes writes.
    Healthy,
    /// It takes no writes, and says so to whoever asks.
    Failed,
    /// It says nothing any more.
    Stuck,
}

/// What a change of many came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkCount {
    /// Jobs that passed the filter and could be changed.
    pub matched: u64,
    /// Jobs that are queued again.
    pub replayed: u64,
    /// Jobs whose cell has a newer grade.
    pub superseded: u64,
    /// Jobs that were given up.
    pub discarded: u64,
}

impl EngineHandle {
    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.shared.world.clock.now()
    }

    /// What the loop knows now.
    pub async fn look(&self) -> Option<Picture> {
        self.ask(Happening::Look).await
    }

    /// How many jobs there are.
    pub fn census(&self) -> Census {
        self.shared.world.store.census()
    }

    /// How the store is doing.
    pub fn store_health(&self) -> StoreHealth {
        let store = &self.shared.world.store;
        if !store.is_writable() {
            StoreHealth::Failed
        } else if store.stuck_for() > STORE_STUCK_AFTER {
            StoreHealth::Stuck
        } else {
            StoreHealth::Healthy
        }
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.shared.world.store.job(id)
    }

    /// A page of jobs, newest first.
    pub fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError> {
        self.shared.world.store.list(filter, before, limit)
    }

    /// Every platform that a grade ever went to.
    pub fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError> {
        self.shared.world.store.platforms()
    }

    /// Tries a job again, now, and notes who wants it.
    pub async fn replay(&self, id: JobId, note: Option<Note>) -> Result<Arc<Job>, NotDone> {
        self.change(id, noted(Work::Replay { id, mode: Mode::Earnest }, note)).await
    }

    /// Gives a job up, and notes who wants it.
    pub async fn discard(&self, id: JobId, note: Option<Note>) -> Result<Arc<Job>, NotDone> {
        self.change(id, noted(Work::Discard { id }, note)).await
    }

    /// Replays every flagged job that passes the filter; in a rehearsal, says what would happen. After an error, some of
    /// them may have been replayed: those are not flagged any more.
    pub async fn replay_many(&self, filter: JobFilter, mode: Mode) -> Result<BulkCount, NotStored> {
        self.change_many(filter, |job| Some(Work::Replay { id: job.id, mode })).await
    }

    /// Gives up every flagged job that passes the filter; in a rehearsal, says what would happen. After an error, some of
    /// them may have been given up.
    pub async fn discard_many(&self, filter: JobFilter, mode: Mode) -> Result<BulkCount, NotStored> {
        match mode {
            Mode::Earnest => self.change_many(filter, |job| Some(Work::Discard { id: job.id })).await,
            Mode::Rehearsal => {
                let mut count = BulkCount::default();
                let add = |job: &Job| {
                    if job.under_way_since().is_none() && (job.queued().is_some() || is_flagged(job)) {
                        count.add(StateName::Discarded);
                    }
                    None
                };
                self.change_many(filter, add).await?;
                Ok(count)
            }
        }
    }

    async fn change_many(
        &self,
        filter: JobFilter,
        mut work: impl FnMut(&Job) -> Option<Work>,
    ) -> Result<BulkCount, NotStored> {
        let state = filter.state.unwrap_or(StateName::Flagged);
        let filter = JobFilter { state: Some(state), ..filter };
        // What has moved on since it was listed is not what was asked for.
        let mut work = |job: &Job| work(job).map(|work| Work::Still { id: job.id, state, work: Box::new(work) });
        let mut count = BulkCount::default();
        let mut before = None;
        loop {
            let page = self.list_aside(filter.clone(), before, BULK_STEP).await?;
            let works = page.jobs.iter().filter_map(&mut work);
            let answers: Vec<_> = works.map(|work| self.shared.world.submit(work)).collect();
            let counting = async {
                for answer in answers {
                    if let Answer::Job(job) = answer.await? {
                        count.add(job.state_name());
                    }
                }
                Ok(())
            };
            in_time(counting).await?;
            let Some(next) = page.next else { return Ok(count) };
            before = Some(next);
        }
    }

    /// A page of jobs, read where it keeps nobody else waiting: reading and decoding it keeps a core busy for a while.
    pub(super) async fn list_aside(
        &self,
        filter: JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage, StoreError> {
        let handle = self.clone();
        let read = tokio::task::spawn_blocking(move || handle.list(&filter, before, limit));
        read.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the reading of the store broke off".into())))
    }

    /// Stops a platform's deliveries, and has that on disk. False if there is no such platform.
    pub async fn pause(&self, origin: &Origin, note: Option<Note>) -> Result<bool, NotStored> {
        self.change_platform(|done| Happening::Pause(origin.clone(), note, done)).await
    }

    /// Lets a platform's deliveries go on, and has that on disk. False if there is no such platform.
    pub async fn resume(&self, origin: &Origin, note: Option<Note>) -> Result<bool, NotStored> {
        self.change_platform(|done| Happening::Resume(origin.clone(), note, done)).await
    }

    async fn change_platform(
        &self,
        happening: impl FnOnce(oneshot::Sender<Option<Remembered>>) -> Happening,
    ) -> Result<bool, NotStored> {
        match self.ask(happening).await.flatten() {
            Some(remembered) => in_time(remembered).await.map(|_| true),
            None => Ok(false),
        }
    }

    async fn change(&self, id: JobId, work: Work) -> Result<Arc<Job>, NotDone> {
        match in_time(self.shared.world.order(work)).await? {
            Answer::Job(job) => Ok(job),
            Answer::Refused(refused) => Err(refused.into()),
            _ => Err(NotDone::NoSuchJob(id)),
        }
    }

    async fn ask<T>(&self, happening: impl FnOnce(oneshot::Sender<T>) -> Happening) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.shared.inbox.send(happening(sender)).ok()?;
        timeout(LOOP_ANSWERS_WITHIN, receiver).await.ok()?.ok()
    }
}

/// Waits for the store, and not for ever: a disk that hangs must not keep everybody who asks.
pub(super) async fn in_time<T>(stored: impl Future<Output = Result<T, StoreError>>) -> Result<T, NotStored> {
    Ok(timeout(STORE_ANSWERS_WITHIN, stored).await.map_err(|_| NotStored::NoAnswer)??)
}

fn is_flagged(job: &Job) -> bool {
    job.state_name() == StateName::Flagged
}

impl BulkCount {
    fn add(&mut self, came_to: StateName) {
        self.matched += 1;
        match came_to {
            StateName::Superseded => self.superseded += 1,
            StateName::Discarded => self.discarded += 1,
            _ => self.replayed += 1,
        }
    }
}
