//! Bulk changes in the background: begun at an admin's word, worked off in small steps, over restarts.
//!
//! A step only puts jobs back into the queue, or gives them up; deliveries keep their own pace. Between two steps the
//! store has as much time for others as the step took, so a slow disk slows this down first. What a step changed and
//! how far the task has come are one commit (see [`crate::domain::bulk`]).

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        bulk::{Came, Standing, Step, Task},
        destination::Delivery,
        drawer::{Drawer, Note, RECORD_BYTES_MAX, newest_first, read_newest_first},
        job::{Job, JobId, StateName},
        ledger::Work,
        outcome::FailureReason,
        time::Timestamp,
    },
    ports::{JobFilter, StoreError},
};

use super::{
    EngineHandle,
    audit::put,
    manage::{NotStored, in_time},
};

/// Tasks that are kept, those that run among them.
pub const TASKS_MAX: usize = 200;
/// Tasks that run, or wait for their turn.
pub const RUNNING_MAX: usize = 20;
/// Steps of which it is kept what came of each job; those of the newest tasks.
pub(super) const STEPS_MAX: usize = 10_000;
/// Jobs that are changed in one commit.
const STEP: usize = Step::JOBS_MAX;
/// Steps that are read at once.
const STEPS_AT_ONCE: usize = 10;
/// Jobs of which it is asked at once what came of them.
const CAME_AT_ONCE: usize = 1_000;
/// Jobs that are counted at once.
const COUNT_STEP: usize = 500;
/// The shortest pause between two steps.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long to wait for a store that takes no writes.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// At least this often the drawer is looked into.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The numbers of a task grow by so many bytes at the most.
const GROWTH_BYTES_MAX: usize = 512;

/// Why a bulk change was not begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// Enough are under way.
    #[error("{RUNNING_MAX} bulk changes are under way, which is as many as may be: wait until one has ended")]
    Busy,
    /// The platform has more addresses than a task can name.
    #[error("this platform has too many addresses for a change in the background: narrow the filter, or leave it out")]
    TooLarge,
    /// It is not on disk, as far as anybody knows.
    #[error(transparent)]
    Store(#[from] NotStored),
}

impl From<StoreError> for NotBegun {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// A page of tasks.
#[derive(Debug, Default)]
pub struct TaskPage {
    /// The tasks, newest first.
    pub tasks: Vec<(JobId, Task)>,
    /// Where to go on; none at the end.
    pub next: Option<JobId>,
}

/// A page of what came of jobs.
#[derive(Debug, Default)]
pub struct CamePage {
    /// The jobs, newest first.
    pub jobs: Vec<(JobId, Came)>,
    /// Where to go on; none at the end, or at the end so far.
    pub next: Option<JobId>,
}

/// Where the jobs that a bulk change has changed stand by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// By state, in the order of [`StateName::ALL`].
    pub by_state: [u64; StateName::ALL.len()],
    /// Jobs that are kept no longer, or cannot be read.
    pub gone: u64,
}

impl EngineHandle {
    /// Begins a bulk change, and has it on disk with its entry in the audit log.
    pub async fn begin(&self, task: &Task) -> Result<JobId, NotBegun> {
        let record = task.record();
        if record.len() + GROWTH_BYTES_MAX > RECORD_BYTES_MAX {
            return Err(NotBegun::TooLarge);
        }
        let running = self.tasks(None, TASKS_MAX)?.tasks;
        if running.iter().filter(|(_, task)| task.standing == Standing::Running).count() >= RUNNING_MAX {
            return Err(NotBegun::Busy);
        }
        let id = self.next_entry()?;
        let key = newest_first(id).to_vec();
        let note = Note { key: key.clone(), record: task.entry().record() };
        let work = Box::new(put(Drawer::Bulk, Note { key, record }));
        let begun = self.shared.world.order(Work::Noted { work, drawer: Drawer::Audit, note });
        in_time(begun).await?;
        self.shared.bulk_begun.notify_one();
        Ok(id)
    }

    /// A bulk change.
    pub fn task(&self, id: JobId) -> Result<Option<Task>, StoreError> {
        let record = self.shared.world.store.note(Drawer::Bulk, &newest_first(id))?;
        Ok(record.as_deref().and_then(Task::read))
    }

    /// A page of bulk changes, of those begun before `before`.
    pub fn tasks(&self, before: Option<JobId>, limit: usize) -> Result<TaskPage, StoreError> {
        let after = before.map(newest_first);
        let store = &self.shared.world.store;
        let notes = store.notes(Drawer::Bulk, after.as_ref().map(|key| &key[..]), limit.saturating_add(1))?;
        let read = |note: &Note| Some((read_newest_first(&note.key)?, Task::read(&note.record)?));
        let last = notes.get(limit.saturating_sub(1)).filter(|_| notes.len() > limit);
        let next = last.and_then(|note| read_newest_first(&note.key));
        Ok(TaskPage { tasks: notes.iter().take(limit).filter_map(read).collect(), next })
    }

    /// What came of the jobs of a bulk change, newest first, of those older than `before`.
    pub fn came(&self, task: JobId, before: Option<JobId>, limit: usize) -> Result<CamePage, StoreError> {
        let task = newest_first(task);
        let mut page = CamePage::default();
        let mut after = [&task[..], before.map(newest_first).as_ref().map_or(&[], |key| &key[..])].concat();
        loop {
            let notes = self.shared.world.store.notes(Drawer::Steps, Some(&after), STEPS_AT_ONCE)?;
            let of_task = notes.iter().filter(|note| note.key.starts_with(&task));
            let steps = of_task.filter_map(|note| Step::read(&note.record));
            let older = |(id, _): &(JobId, Came)| before.is_none_or(|before| *id < before);
            page.jobs.extend(steps.flat_map(|step| step.0).filter(older));
            if page.jobs.len() > limit {
                page.jobs.truncate(limit);
                page.next = page.jobs.last().map(|(id, _)| *id);
                return Ok(page);
            }
            match notes.last().filter(|_| notes.len() == STEPS_AT_ONCE) {
                Some(last) if last.key.starts_with(&task) => after.clone_from(&last.key),
                _ => return Ok(page),
            }
        }
    }

    /// Where the jobs that a bulk change has changed stand by now; none where it is not kept any more which they were.
    /// Takes some milliseconds for ten thousand jobs, so it is best asked aside.
    pub fn whereabouts(&self, id: JobId, task: &Task) -> Result<Option<Whereabouts>, StoreError> {
        let (mut now, mut changed, mut before) = (Whereabouts::default(), 0, None);
        loop {
            let page = self.came(id, before, CAME_AT_ONCE)?;
            let ids: Vec<JobId> =
                page.jobs.iter().filter(|(_, came)| *came != Came::Skipped).map(|(id, _)| *id).collect();
            changed += ids.len() as u64;
            for state in self.shared.world.store.states(&ids)? {
                match state {
                    Some(state) => now.by_state[state as usize] += 1,
                    None => now.gone += 1,
                }
            }
            let Some(next) = page.next else { return Ok((changed >= task.matched).then_some(now)) };
            before = Some(next);
        }
    }

    /// Works off bulk changes until `drain` is cancelled, the oldest first.
    pub async fn run_bulk(&self, drain: CancellationToken) {
        loop {
            let begun = self.shared.bulk_begun.notified();
            // What cannot be read or written now can be later; a store that fails is loud elsewhere.
            let pause = match drain.run_until_cancelled(self.work_off()).await {
                None => return,
                Some(Ok(())) => LOOK_EVERY,
                Some(Err(_)) => STORE_PAUSE,
            };
            if drain.run_until_cancelled(timeout(pause, begun)).await.is_none() {
                return;
            }
        }
    }

    async fn work_off(&self) -> Result<(), StoreError> {
        loop {
            let tasks = self.tasks(None, TASKS_MAX)?.tasks;
            let oldest = tasks.into_iter().rev().find(|(_, task)| task.standing == Standing::Running);
            let Some((id, task)) = oldest else { return Ok(()) };
            self.work_off_one(id, task).await?;
        }
    }

    /// Works a task off, from where it stands.
    async fn work_off_one(&self, id: JobId, mut task: Task) -> Result<(), StoreError> {
        let Some(filter) = filter_of(&task) else {
            task.end(self.now(), Some("its filter was written by another version of passback".to_owned()));
            return self.step(id, task, Vec::new(), None).await;
        };
        if task.total.is_none() {
            task.total = Some(self.count(&filter).await?);
        }
        while task.standing == Standing::Running {
            let began = Instant::now();
            let page = self.list_aside(filter.clone(), task.cursor, STEP).await?;
            if page.next.is_none() {
                task.end(self.now(), None);
            }
            task.cursor = page.next.or(task.cursor);
            self.step_or_single(id, &task, &page.jobs).await?;
            sleep(began.elapsed().clamp(PAUSE_MIN, PAUSE_MAX)).await;
            // What was counted stands in the store alone.
            let Some(now) = self.task(id)? else { return Ok(()) };
            task = now;
        }
        Ok(())
    }

    /// A step; where a job cannot be read, one by one, so that it hinders none of the others.
    async fn step_or_single(&self, id: JobId, task: &Task, jobs: &[Job]) -> Result<(), StoreError> {
        match self.step(id, task.clone(), jobs.iter().map(|job| job.id).collect(), None).await {
            Err(StoreError::Unreadable(_)) => {}
            done => return done,
        }
        for job in jobs {
            let Some(stored) = self.task(id)? else { return Ok(()) };
            let task = Task { cursor: Some(job.id), total: task.total, ..stored };
            match self.step(id, task.clone(), vec![job.id], None).await {
                Err(StoreError::Unreadable(_)) => self.step(id, task, Vec::new(), Some(job.id)).await?,
                // The next job's step would write that this one is behind it.
                done => done?,
            }
        }
        let Some(stored) = self.task(id)? else { return Ok(()) };
        let Task { standing, ended_at, cursor, .. } = *task;
        self.step(id, Task { standing, ended_at, cursor, ..stored }, Vec::new(), None).await
    }

    async fn step(&self, id: JobId, task: Task, ids: Vec<JobId>, unreadable: Option<JobId>) -> Result<(), StoreError> {
        let key = newest_first(id).to_vec();
        self.shared.world.order(Work::Step { key, task: Box::new(task), ids, unreadable }).await.map(drop)
    }

    /// How many jobs pass a filter now.
    async fn count(&self, filter: &JobFilter) -> Result<u64, StoreError> {
        let (mut total, mut before) = (0, None);
        loop {
            let page = self.list_aside(filter.clone(), before, COUNT_STEP).await?;
            total += page.jobs.len() as u64;
            let Some(next) = page.next else { return Ok(total) };
            before = Some(next);
        }
    }
}

/// The filter of a task; none where it cannot be read. Flagged jobs, unless it names a state.
fn filter_of(task: &Task) -> Option<JobFilter> {
    let member = |name: &str| task.filter.get(name).and_then(serde_json::Value::as_str);
    let text = |name: &str| member(name).map(str::to_owned);
    let time = |name: &str| member(name).map(Timestamp::parse).transpose().ok();
    let reason = match member("reason") {
        Some(reason) => Some(FailureReason::from_name(reason)?),
        None => None,
    };
    let delivery = match member("delivery") {
        Some(delivery) => Some(Delivery::from_name(delivery)?),
        None => None,
    };
    Some(JobFilter {
        state: Some(task.wanted()?),
        origins: task.origins.clone(),
        reason,
        delivery,
        user_id: text("user_id"),
        session_id: text("session_id"),
        activity_id: text("activity_id"),
        since: time("since")?,
        until: time("until")?,
    })
}
