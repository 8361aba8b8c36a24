//! A store of plain maps with the indices that thousands of jobs need. Each order is carried out by the production
//! ledger the moment it is submitted, and is durable at once; what is dropped with the engine is only its way to hear.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    future,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use passback::{
    domain::{
        destination::{GradeCell, Origin},
        drawer::{Drawer, Note},
        job::{IdempotencyKey, Job, JobId, StateName},
        ledger::{self, Answer, Books, CellEntry, DueEntry, Ended, Order, PlatformRecord, Report, Rules, Work},
        time::Timestamp,
    },
    ports::{Census, JobFilter, JobPage, JobStore, Pending, PlatformCount, ReportSink, StoreError},
};
use tokio::time::Instant;

#[derive(Default)]
struct Maps {
    last_id: Option<JobId>,
    jobs: BTreeMap<JobId, Arc<Job>>,
    keys: HashMap<IdempotencyKey, JobId>,
    cells: HashMap<GradeCell, BTreeSet<CellEntry>>,
    due: BTreeMap<Origin, BTreeMap<(Timestamp, JobId), GradeCell>>,
    platforms: BTreeMap<Origin, PlatformRecord>,
    columns: BTreeMap<[u8; 16], String>,
    notes: BTreeMap<(Drawer, Vec<u8>), Vec<u8>>,
}

impl Maps {
    fn forget(&mut self, id: JobId) {
        let Some(old) = self.jobs.remove(&id) else { return };
        self.keys.remove(&old.key);
        if let Some(cell) = self.cells.get_mut(&old.cell) {
            cell.remove(&CellEntry::of(&old));
        }
        if let Some(entry) = ledger::due_entry(&old) {
            self.due.entry(entry.origin).or_default().remove(&(entry.due, entry.id));
        }
    }
}

impl Books for Maps {
    type Error = Infallible;

    fn last_id(&self) -> Option<JobId> {
        self.last_id
    }

    fn job(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Infallible> {
        Ok(self.jobs.get(&id).cloned())
    }

    fn job_of_key(&mut self, key: &IdempotencyKey) -> Result<Option<JobId>, Infallible> {
        Ok(self.keys.get(key).copied())
    }

    fn cell(&mut self, cell: GradeCell) -> Result<Arc<Vec<CellEntry>>, Infallible> {
        Ok(Arc::new(self.cells.get(&cell).into_iter().flatten().copied().collect()))
    }

    fn put(&mut self, job: Arc<Job>) {
        self.forget(job.id);
        self.last_id = self.last_id.max(Some(job.id));
        self.keys.insert(job.key, job.id);
        self.cells.entry(job.cell).or_default().insert(CellEntry::of(&job));
        if let Some(entry) = ledger::due_entry(&job) {
            self.due.entry(entry.origin).or_default().insert((entry.due, entry.id), entry.cell);
        }
        self.jobs.insert(job.id, job);
    }

    fn remove(&mut self, job: &Job) {
        self.forget(job.id);
    }

    fn platform(&mut self, origin: &Origin) -> Result<Option<PlatformRecord>, Infallible> {
        Ok(self.platforms.get(origin).cloned())
    }

    fn put_platform(&mut self, platform: PlatformRecord) {
        self.platforms.insert(platform.origin.clone(), platform);
    }

    fn put_column(&mut self, key: [u8; 16], url: Option<&str>) {
        match url {
            Some(url) => drop(self.columns.insert(key, url.into())),
            None => drop(self.columns.remove(&key)),
        }
    }

    fn put_note(&mut self, drawer: Drawer, key: &[u8], record: Option<&[u8]>) {
        match record {
            Some(record) => drop(self.notes.insert((drawer, key.to_vec()), record.to_vec())),
            None => drop(self.notes.remove(&(drawer, key.to_vec()))),
        }
    }

    fn ended_before(&mut self, _: Timestamp, _: usize) -> Result<Ended, Infallible> {
        Ok(Ended::default())
    }
}

/// How the store is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// What is ordered is carried out, and nobody is told, as where a sync does not return. Since this moment.
    Silent(Instant),
    /// It has failed, and is shut until it is well again.
    Shut,
}

/// The store. It outlives the engines that work with it.
pub(crate) struct MapStore {
    rules: Rules,
    mood: Mutex<Mood>,
    maps: Mutex<Maps>,
    sink: Mutex<Option<ReportSink>>,
    /// What the next steps of bulk changes come to; none where one is carried out.
    steps: Mutex<VecDeque<Option<StoreError>>>,
}

impl MapStore {
    pub(crate) fn new(rules: Rules) -> Self {
        let (maps, sink, steps) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { rules, mood: Mutex::new(Mood::Well), maps, sink, steps }
    }

    /// What the next steps of bulk changes come to: an error, or none where they are carried out.
    pub(crate) fn plan_steps(&self, steps: impl IntoIterator<Item = Option<StoreError>>) {
        self.steps.lock().expect("no panic").extend(steps);
    }

    /// Who hears of each commit from now on.
    pub(crate) fn tell(&self, sink: ReportSink) {
        *self.sink.lock().expect("no panic") = Some(sink);
    }

    /// From now on nobody is told anything.
    pub(crate) fn fall_silent(&self) {
        *self.mood.lock().expect("no panic") = Mood::Silent(Instant::now());
    }

    /// From now on it cannot be read or written.
    pub(crate) fn shut(&self) {
        *self.mood.lock().expect("no panic") = Mood::Shut;
    }

    /// All is well again. Those who were not answered never are.
    pub(crate) fn recover(&self) {
        *self.mood.lock().expect("no panic") = Mood::Well;
        if let Some(sink) = &mut *self.sink.lock().expect("no panic") {
            sink(Report { reopened: true, ..Report::default() });
        }
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().expect("no panic")
    }

    fn reads(&self) -> Result<(), StoreError> {
        if self.mood() == Mood::Shut { Err(StoreError::Unavailable("the store is shut".into())) } else { Ok(()) }
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().expect("no panic")
    }

    /// How many jobs are in a state.
    pub(crate) fn count(&self, state: StateName) -> usize {
        self.maps().jobs.values().filter(|job| job.state_name() == state).count()
    }

    /// Every job, oldest first.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.maps().jobs.values().map(|job| Job::clone(job)).collect()
    }
}

impl JobStore for MapStore {
    fn submit(&self, order: Order) -> Pending<'static, Result<Answer, StoreError>> {
        if let Err(error) = self.reads() {
            return Box::pin(future::ready(Err(error)));
        }
        if matches!(order.work, Work::Step { .. })
            && let Some(error) = self.steps.lock().expect("no panic").pop_front().flatten()
        {
            return Box::pin(future::ready(Err(error)));
        }
        let mut report = Report::default();
        let Ok(answer) = ledger::carry_out(&mut *self.maps(), order, &self.rules, &mut report);
        if matches!(self.mood(), Mood::Silent(_)) {
            return Box::pin(future::pending());
        }
        if let Some(sink) = &mut *self.sink.lock().expect("no panic") {
            sink(report);
        }
        Box::pin(future::ready(Ok(answer)))
    }

    fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, StoreError> {
        self.reads()?;
        let maps = self.maps();
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let waiting = maps.due.get(origin).into_iter().flat_map(|waiting| waiting.range(from));
        let entry = |(&(due, id), &cell)| DueEntry { due, id, cell, origin: origin.clone() };
        Ok(waiting.take(limit).map(entry).collect())
    }

    fn cut_off(&self) -> Vec<JobId> {
        self.maps().jobs.values().filter(|job| job.under_way_since().is_some()).map(|job| job.id).collect()
    }

    fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError> {
        self.reads()?;
        Ok(self.maps().platforms.values().cloned().collect())
    }

    fn notes(&self, drawer: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.reads()?;
        let is_behind = |key: &[u8]| after.is_none_or(|after| key > after);
        let maps = self.maps();
        let notes = maps.notes.iter().filter(|((known, key), _)| *known == drawer && is_behind(key));
        Ok(notes.take(limit).map(|((_, key), record)| Note { key: key.clone(), record: record.clone() }).collect())
    }

    fn note(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reads()?;
        Ok(self.maps().notes.get(&(drawer, key.to_vec())).cloned())
    }

    fn column(&self, key: [u8; 16]) -> Result<Option<String>, StoreError> {
        self.reads()?;
        Ok(self.maps().columns.get(&key).cloned())
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.reads()?;
        Ok(self.maps().jobs.get(&id).map(|job| Job::clone(job)))
    }

    fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError> {
        self.reads()?;
        let maps = self.maps();
        let older = maps.jobs.values().rev().filter(|job| before.is_none_or(|before| job.id < before));
        let jobs: Vec<Job> = older.filter(|job| filter.admits(job)).take(limit).map(|job| Job::clone(job)).collect();
        let next = jobs.last().filter(|_| jobs.len() == limit).map(|job| job.id);
        Ok(JobPage { jobs, next })
    }

    fn census(&self) -> Census {
        let maps = self.maps();
        let count = |state| maps.jobs.values().filter(|job| job.state_name() == state).count() as u64;
        let mut by_platform: BTreeMap<Origin, PlatformCount> = BTreeMap::new();
        for job in maps.jobs.values() {
            let counts = by_platform.entry(job.origin.clone()).or_default();
            counts.queued += u64::from(job.state_name() == StateName::Queued);
            if job.state_name() == StateName::Flagged {
                counts.flagged += 1;
                job.reason.iter().for_each(|reason| counts.flagged_by[*reason as usize] += 1);
            }
        }
        Census { by_state: StateName::ALL.map(count), by_platform: by_platform.into_iter().collect() }
    }

    fn is_writable(&self) -> bool {
        self.mood() != Mood::Shut
    }

    fn stuck_for(&self) -> Duration {
        match self.mood() {
            Mood::Silent(since) => since.elapsed(),
            Mood::Well | Mood::Shut => Duration::ZERO,
        }
    }
}
