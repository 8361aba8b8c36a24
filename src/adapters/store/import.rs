//! The import: the lines of an export, into the store of a stopped worker. All of it, or nothing.
//!
//! A store takes jobs in the order of their ids, and what is imported may be older than what is there. So a new store is
//! made aside from both, in that order, checked, and put in the place of the old one at one stroke. A job that is there
//! already stays as it is there; so does one whose event is there under another id. Where a gradebook cell has jobs of
//! both, the newest grade wins, as ever; and where the job that goes first in its cell is missing from the file, the next
//! one goes first. A bulk change that was under way in one of the two is over: it was given for the jobs of that one.
//!
//! The file is read twice: first each line is looked at, and nothing is made unless all are good; then the jobs are
//! taken by their ids. Memory holds some dozens of bytes a job.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
};

use super::{
    OpenError, Thresholds,
    bookkeeper::Bookkeeper,
    disk::Fault,
    export::is_there,
    file::SledFile,
    keys,
    lines::Line,
    parts,
    shelf::Shelf,
    staging::{Place, Seen, Staging},
    survey::{Lines, Spot, Survey},
    upgrade,
};
use crate::{
    domain::{
        bulk::{Standing, Task},
        destination::GradeCell,
        drawer::{Drawer, Note},
        job::{self, IdempotencyKey, Job, JobId},
        ledger::{Answer, Order, Rules, Work},
        time::{Draw, Timestamp},
    },
    ports::StoreError,
};

/// So many orders make a commit.
const BATCH_ORDERS: usize = 512;
/// So many faults of the new store are told.
const FAULTS_TOLD: usize = 3;
/// Why a bulk change that was under way is over.
const BULK_ENDED: &str = "jobs of another store were imported while it was under way: see what it has done, and begin it \
                          again for the rest";

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Jobs that are new in the store.
    pub jobs: u64,
    /// Jobs that were there already, and stayed as they were.
    pub known: u64,
    /// Jobs whose event was there already under another id.
    pub repeated: u64,
    /// Jobs in the store now.
    pub in_all: u64,
    /// Jobs and records that could not be read when the file was written.
    pub unread: u64,
}

/// Whether a file that does not say that it is whole is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wholeness {
    /// It must end as an export does.
    Needed,
    /// Its lines are taken as they are.
    Waived,
}

/// How far it is: of so many bytes or jobs, so many are done.
pub type Progress<'a> = &'a mut dyn FnMut(Phase, u64, u64);

/// Whether to break off: asked at each line that is read, and before each commit.
pub type Stop<'a> = &'a dyn Fn() -> bool;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The lines are looked at; counted in bytes.
    Reading,
    /// The new store is made; counted in jobs.
    Writing,
}

/// Why nothing was imported. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("the lines cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Lines are wrong.
    #[error("nothing was imported:\n{}", .0.join("\n"))]
    BadLines(Vec<String>),
    /// The store cannot be opened, or the new one cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store cannot be read or written.
    #[error("nothing was imported: {0}")]
    Fault(#[from] Fault),
    /// An order was not carried out.
    #[error("nothing was imported: {0}")]
    Store(#[from] StoreError),
    /// Whoever makes it was told to stop.
    #[error("nothing was imported: it was broken off before the end, and has changed nothing")]
    Stopped,
    /// The new store is not what it must be.
    #[error("nothing was imported: the new store would not be sound: {0}")]
    Unsound(String),
}

/// Imports the lines of a file into the store of a folder, which nobody may have open; it is made where there is none.
pub fn import(
    folder: &Path,
    from: &mut File,
    wholeness: Wholeness,
    scene: (Rules, Timestamp),
    progress: Progress<'_>,
) -> Result<Imported, ImportError> {
    import_unless(&|| false, folder, from, wholeness, scene, progress)
}

/// The same, unless it is told to break off meanwhile: then nothing is imported, and nothing stays behind.
pub fn import_unless(
    stop: Stop<'_>,
    folder: &Path,
    from: &mut File,
    wholeness: Wholeness,
    (rules, now): (Rules, Timestamp),
    progress: Progress<'_>,
) -> Result<Imported, ImportError> {
    // It stays locked but for a blink at the end, after which it must be what it was.
    let old = if is_there(folder) { Some(Old::open(folder)?) } else { None };
    let survey = Survey::of(from, wholeness, progress, stop)?;
    let staging = Staging::begin(folder)?;
    let keeper = Bookkeeper::open(Box::new(staging.open()?), rules, &Thresholds::default())?;
    let total = survey.jobs.len() as u64;
    let mut maker = Maker { keeper, orders: Vec::new(), now, progress, stop, done: 0, total };
    let mut imported = Imported { unread: survey.unread, ..Imported::default() };
    let known = maker.merge(old.as_ref(), &survey, from, &mut imported)?;
    imported.in_all = maker.checked(known + imported.jobs)?;
    let place = match &old {
        Some(_) => Place::Taken(Seen::in_folder(folder)?),
        None => Place::Free,
    };
    let commits = maker.keeper.commits();
    drop((maker, old));
    staging.install(place, commits)?;
    Ok(imported)
}

/// Looks at each line of a file, and makes nothing of it: how many jobs there are, or what is wrong with it.
pub fn examine(from: &mut File, wholeness: Wholeness, progress: Progress<'_>) -> Result<u64, ImportError> {
    Ok(Survey::of(from, wholeness, progress, &|| false)?.jobs.len() as u64)
}

/// Spools what cannot be read twice into a file without a name.
pub fn spool(mut from: impl Read) -> Result<File, ImportError> {
    let mut file = tempfile::tempfile().map_err(ImportError::Read)?;
    io::copy(&mut from, &mut file).map_err(ImportError::Read)?;
    file.flush().map_err(ImportError::Read)?;
    Ok(file)
}

/// The store that is there, for reading.
struct Old {
    shelf: Shelf,
}

impl Old {
    fn open(folder: &Path) -> Result<Self, ImportError> {
        let disk = SledFile::open(folder)?;
        upgrade::version(&disk)?;
        Ok(Self { shelf: Shelf::new(Box::new(disk))? })
    }

    /// Each job, by its id.
    fn each_job(&self, mut take: impl FnMut(Job) -> Result<(), ImportError>) -> Result<(), ImportError> {
        for record in self.shelf.disk.scan_prefix(&[keys::STATES]) {
            let (key, states) = record?;
            let damaged = |why| Fault::Damaged { key: key.to_vec(), why };
            let slots = parts::decode_slots(&states).map_err(damaged)?;
            let part = keys::read_id(&key).or(slots.first().map(|slot| slot.id)).unwrap_or(JobId::LAST);
            for slot in &slots {
                take(self.shelf.job_in(part, slot)?)?;
            }
        }
        Ok(())
    }
}

/// Makes the new store.
struct Maker<'a> {
    keeper: Bookkeeper,
    orders: Vec<Work>,
    now: Timestamp,
    progress: Progress<'a>,
    stop: Stop<'a>,
    done: u64,
    total: u64,
}

impl Maker<'_> {
    fn merge(
        &mut self,
        old: Option<&Old>,
        survey: &Survey,
        from: &mut File,
        imported: &mut Imported,
    ) -> Result<u64, ImportError> {
        // What is there goes first, so that it stays as it is.
        let mut known = Known::default();
        if let Some(old) = old {
            self.take_the_rest_over(old)?;
            old.each_job(|job| {
                known.add(&job);
                Ok(())
            })?;
            self.total += known.jobs;
        }
        for at in &survey.others {
            let line = Lines::from(from, *at)?.next()?.map(|(_, text)| Line::read(&text));
            self.other(line, old)?;
        }
        let mut doubtful = HashSet::new();
        let mut next = survey.jobs.iter().peekable();
        if let Some(old) = old {
            old.each_job(|job| {
                while let Some(place) = next.next_if(|place| place.id < job.id) {
                    self.import_one(place, from, &known, &mut doubtful, imported)?;
                }
                if next.next_if(|place| place.id == job.id).is_some() {
                    imported.known += 1;
                }
                self.order(Work::Restore(Box::new(job)))
            })?;
        }
        for place in next {
            self.import_one(place, from, &known, &mut doubtful, imported)?;
        }
        for cell in doubtful {
            self.order(Work::Reconcile { cell })?;
        }
        self.commit()?;
        if let Some(old) = old.filter(|_| known.jobs > 0) {
            self.end_bulk_changes(old, imported.jobs > 0)?;
        }
        Ok(known.jobs)
    }

    /// A bulk change was given for the jobs of one store. It does not go on among those of two.
    fn end_bulk_changes(&mut self, old: &Old, has_new_jobs: bool) -> Result<(), ImportError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let notes = self.keeper.reader().notes(Drawer::Bulk, after.as_deref(), BATCH_ORDERS)?;
            let Some(last) = notes.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for Note { key, record } in notes {
                let running = Task::read(&record).filter(|task| task.standing == Standing::Running);
                let Some(mut task) = running else { continue };
                if has_new_jobs || old.shelf.note(Drawer::Bulk, &key)?.is_none() {
                    task.end(self.now, Some(BULK_ENDED.to_owned()));
                    let entry = Some(task.entry().record());
                    self.order(Work::PutNote { drawer: Drawer::Bulk, key: key.clone(), record: Some(task.record()) })?;
                    self.order(Work::PutNote { drawer: Drawer::Audit, key, record: entry })?;
                }
            }
            self.commit()?;
        }
    }

    /// How many jobs there are, if the new store is what it must be.
    fn checked(&self, wanted: u64) -> Result<u64, ImportError> {
        let report = self.keeper.check()?;
        if !report.is_sound() {
            let faults = report.faults.into_iter().take(FAULTS_TOLD).collect::<Vec<_>>();
            return Err(ImportError::Unsound(faults.join("; ")));
        }
        if report.jobs != wanted {
            return Err(ImportError::Unsound(format!("it has {} jobs and must have {wanted}", report.jobs)));
        }
        Ok(report.jobs)
    }

    fn import_one(
        &mut self,
        place: &Spot,
        from: &mut File,
        known: &Known,
        doubtful: &mut HashSet<GradeCell>,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let text = Lines::from(from, place.at)?.next()?.map(|(_, text)| text).unwrap_or_default();
        let Ok(Line::Job(job)) = Line::read(&text) else {
            return Err(ImportError::BadLines(vec![format!("line {}: has changed meanwhile", place.line)]));
        };
        if known.has_event_of(&job) {
            imported.repeated += 1;
            return Ok(());
        }
        // What it waits behind may be missing from the file, and then nobody would ever call it up.
        let waits_behind = job.queued().is_some_and(|queued| queued.place == job::Place::Behind);
        if known.cells.contains(&job.cell) || waits_behind {
            doubtful.insert(job.cell);
        }
        imported.jobs += 1;
        self.order(Work::Restore(job))
    }

    fn other(&mut self, line: Option<Result<Line, String>>, old: Option<&Old>) -> Result<(), ImportError> {
        let (work, is_known) = match line {
            Some(Ok(Line::Platform(platform))) => (Work::RestorePlatform(platform), false),
            Some(Ok(Line::Column { key, url })) => {
                let known = old.map(|old| old.shelf.column(key)).transpose()?.flatten();
                (Work::PutColumn { key, url: Some(url) }, known.is_some())
            }
            Some(Ok(Line::Note { drawer, key, record })) => {
                let known = old.map(|old| old.shelf.note(drawer, &key)).transpose()?.flatten();
                (Work::PutNote { drawer, key, record: Some(record) }, known.is_some())
            }
            _ => return Err(ImportError::BadLines(vec!["the file has changed meanwhile".to_owned()])),
        };
        if is_known { Ok(()) } else { self.order(work) }
    }

    /// Platforms, columns and notes of the store that is there.
    fn take_the_rest_over(&mut self, old: &Old) -> Result<(), ImportError> {
        for platform in old.shelf.platforms.all() {
            self.order(Work::RestorePlatform(platform))?;
        }
        for record in old.shelf.disk.scan_prefix(&[keys::COLUMN]) {
            let (key, _) = record?;
            let digest = key.get(1..).and_then(|digest| <[u8; 16]>::try_from(digest).ok());
            if let Some(digest) = digest {
                let url = old.shelf.column(digest)?;
                self.order(Work::PutColumn { key: digest, url })?;
            }
        }
        for record in old.shelf.disk.scan_prefix(&[keys::NOTE]) {
            let (key, record) = record?;
            if let Some((drawer, key)) = keys::read_note(&key) {
                let (key, record) = (key.to_vec(), Some(record.to_vec()));
                self.order(Work::PutNote { drawer, key, record })?;
            }
        }
        Ok(())
    }

    fn order(&mut self, work: Work) -> Result<(), ImportError> {
        if matches!(work, Work::Restore(_)) {
            self.done += 1;
            (self.progress)(Phase::Writing, self.done, self.total);
        }
        // Each in a commit of its own, so that they keep their numbers, and an export its order.
        let is_platform = matches!(work, Work::RestorePlatform(_));
        self.orders.push(work);
        if is_platform || self.orders.len() >= BATCH_ORDERS { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), ImportError> {
        if (self.stop)() {
            return Err(ImportError::Stopped);
        }
        let now = self.now;
        let job_of = |work: &Work| if let Work::Restore(job) = work { Some(job.id) } else { None };
        let jobs: Vec<Option<JobId>> = self.orders.iter().map(job_of).collect();
        let orders = self.orders.drain(..).map(|work| Order { work, now, draw: Draw::MIDDLE }).collect();
        for (job, answer) in jobs.into_iter().zip(self.keeper.commit(orders)?.answers) {
            match (job, answer?) {
                (None, _) | (Some(_), Answer::Stored(_)) => {}
                (Some(job), other) => {
                    return Err(ImportError::Unsound(format!("job {job} was not taken ({other:?})")));
                }
            }
        }
        Ok(())
    }
}

/// What is in the store that is there.
#[derive(Default)]
struct Known {
    events: HashSet<IdempotencyKey>,
    cells: HashSet<GradeCell>,
    jobs: u64,
}

impl Known {
    fn add(&mut self, job: &Job) {
        if !matches!(job.key, IdempotencyKey::Content(_)) {
            self.events.insert(job.key);
        }
        self.cells.insert(job.cell);
        self.jobs += 1;
    }

    /// Whether its event is there, by a key that names events.
    fn has_event_of(&self, job: &Job) -> bool {
        self.events.contains(&job.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapters::store::record::tests::full_job, config::Config, domain::ledger::Work::Restore};

    #[test]
    fn one_that_is_broken_off_leaves_nothing_behind_and_the_next_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = tempfile::tempfile().expect("a file");
        for name in ["a", "b", "c"] {
            let line = format!("{{\"kind\":\"platform\",\"origin\":\"https://{name}.example.edu\"}}");
            writeln!(file, "{line}").expect("a write");
        }
        let scene = (Config::default().rules(), Timestamp::from_secs(1_790_000_000));
        let mut broken_off = 0;
        loop {
            let asked = std::cell::Cell::new(0);
            let stop = || asked.replace(asked.get() + 1) == broken_off;
            let made = import_unless(&stop, folder.path(), &mut file, Wholeness::Waived, scene, &mut |_, _, _| {});
            match made {
                Ok(_) => break,
                Err(ImportError::Stopped) => broken_off += 1,
                Err(error) => panic!("{error}"),
            }
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "after {broken_off} steps");
        }
        assert!(broken_off > 6, "{broken_off}: at each line and each commit");
        assert!(is_there(folder.path()));
    }

    #[test]
    fn a_job_that_was_not_taken_ends_the_import() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Box::new(SledFile::open(folder.path()).expect("a file"));
        let rules = Config::default().rules();
        let keeper = Bookkeeper::open(disk, rules, &Thresholds::default()).expect("a store");
        let now = Timestamp::from_secs(1_790_000_000);
        let progress = &mut |_: Phase, _: u64, _: u64| {};
        let mut maker = Maker { keeper, orders: Vec::new(), now, progress, stop: &|| false, done: 0, total: 0 };
        let job = full_job();
        let older = Job { id: JobId::from_bytes([0; 16]), ..job.clone() };
        maker.order(Restore(Box::new(job.clone()))).expect("it waits for the others");
        maker.commit().expect("it is new");
        assert_eq!(maker.checked(1).expect("it is sound"), 1);
        assert!(maker.checked(2).is_err_and(|error| error.to_string().contains("has 1 jobs and must have 2")));
        for (job, words) in [(job, "Duplicate"), (older, "NotNow")] {
            maker.order(Restore(Box::new(job))).expect("it waits for the others");
            let refused = maker.commit().expect_err(words).to_string();
            assert!(refused.contains("was not taken") && refused.contains(words), "{refused}");
        }
    }
}
