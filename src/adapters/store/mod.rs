//! The store: jobs on disk, in sled 0.34.7, behind the port [`JobStore`].
//!
//! One thread makes all changes, many orders to a commit, one sync to a commit (`writer`); what it does, without the
//! thread and on any disk, is [`bookkeeper`]; what those outside were told when it fails is in [`doubt`]. The settings without which sled loses data in a power cut are in `file`.
//! No type of sled leaves this folder, and another store is another folder beside it.
//!
//! The layout was chosen by measuring. sled asks for 10 to 15 µs of CPU for each record that is written, nearly whatever
//! its length, and keeps some 250 bytes in memory for each dozen of records. So:
//!
//! - some dozens of jobs share their records, events apart from states (`parts`);
//! - what finds a job by its cell or its key is gathered in memory and written in sorted runs (`runs`);
//! - the due entries of young jobs stay in memory; most are never written (`memory`);
//! - attempts under way, and what a list must look at, are read off the states at the start;
//! - what a list asks of a job stands in a few bytes beside its state, and a filter in memory tells which parts have it (`outline`);
//! - what ended long ago is found by walking from the oldest part (`sweep`).
//!
//! Measured on two shared cores, ext4, events of 1.2 KB with an `event_id`, 20 platforms, a cell for each job (`benches/store.rs`;
//! µs of CPU a job of all of the store's threads, the kernel's part included):
//!
//! | | a record a job, five index entries | parts and runs |
//! | --- | --- | --- |
//! | stored, started, delivered in a stream, 32 at a time | 156 | 46 |
//! | the same, 128 / 512 at a time | 183 / – | 37 / 31 |
//! | stored first, delivered later | 105 + 137 | 36 + 38 |
//! | pruned | 59 to 79 | 10 to 12 |
//! | with a million waiting jobs: resident memory | 257 to 304 MB | 107 to 161 MB |
//! | opening it, after a run that wrote them all / again | – / 0.3 s | 1.9 s / 0.2 s |
//! | its first due page, its whole due index | 0.2 ms, 0.9 s | 0.2 ms, 0.8 s |
//! | its file | 3.9 GB | 2.2 GB |
//!
//! Churn of a million jobs in turns of 100,000 leaves the file at the size of the first turn. Of the time, a third is
//! sled and the kernel's writing (some 5.6 KB a job), a third the allocator, the rest the ledger and the layout.

pub mod bookkeeper;
mod books;
mod census;
mod check;
mod claims;
mod codec;
pub mod copying;
mod damages;
pub mod disk;
pub mod doubt;
mod draft;
pub mod export;
mod file;
mod highwater;
pub mod import;
mod keys;
mod limits;
mod lines;
pub mod look;
mod memory;
mod mending;
mod nudge;
mod opening;
mod outline;
mod overlay;
mod parts;
mod platforms;
pub mod proof;
mod recent;
mod record;
mod reserve;
pub mod restore;
mod runs;
mod salvage;
mod shelf;
mod sledlog;
mod spread;
mod staging;
mod survey;
mod sweep;
mod upgrade;
mod waiting;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tokio::sync::oneshot;

use self::{
    bookkeeper::Reader,
    doubt::Doubt,
    file::SledFile,
    opening::{Opener, Room},
    reserve::Reserve,
    waiting::Waiting,
    writer::{Shared, Task, View, Writer},
};
pub use self::{
    check::CheckReport,
    opening::{OpenDisk, OpenError},
};
use crate::{
    domain::{
        destination::Origin,
        drawer::{Drawer, Note},
        job::{Job, JobId, StateName},
        ledger::{Answer, DueEntry, Order, PlatformRecord, Rules},
        time::Timestamp,
    },
    ports::{Census, Clock, JobFilter, JobPage, JobStore, Observer, Pending, ReportSink, StoreError},
};

/// How long [`Store::close`] waits for the orders that are still to be carried out.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// How the store is opened.
pub struct Options {
    /// The folder; made, for this user alone, where it is missing.
    pub path: PathBuf,
    /// What decides, beside the jobs themselves.
    pub rules: Rules,
    /// Who is told what each commit brought about, before the orders are answered.
    pub sink: ReportSink,
    /// Who is told of commits and failures.
    pub observer: Arc<dyn Observer>,
    /// Measures how long a commit takes; it decides nothing.
    pub clock: Arc<dyn Clock>,
    /// How much room is kept aside on the disk, in bytes, so that a store on a full disk can be opened. After a full disk
    /// it goes on when there is twice as much. [`RESERVE_BYTES`] is good, 0 is none.
    pub reserve_bytes: u64,
}

/// The room that is kept aside on the disk.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// How much is gathered before it is written another way. The default is what was measured to be good; a test makes
/// these numbers small, so that a few jobs go all the ways that millions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// The most jobs of a part; at most the default.
    pub part_jobs: usize,
    /// So many of the newest jobs keep their due entries in memory.
    pub young_jobs: usize,
    /// So many marks make a run: half as many jobs.
    pub run_marks: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { part_jobs: parts::JOBS_MAX, young_jobs: 64 * 1024, run_marks: 64 * 1024 }
    }
}

/// Jobs on disk. Dropping it closes it.
pub struct Store {
    shared: Arc<Shared>,
    orders: Mutex<Option<Sender<Task>>>,
    writer: Mutex<Option<Thread>>,
    cut_off: Vec<JobId>,
}

/// The writer's thread, and what tells that it has ended.
struct Thread {
    handle: JoinHandle<()>,
    ended: Receiver<()>,
}

impl Store {
    /// Opens the store, and makes it where there is none.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, Thresholds::default())
    }

    /// The same, with thresholds of one's own.
    pub fn open_with(options: Options, thresholds: Thresholds) -> Result<Self, OpenError> {
        let folder = options.path.clone();
        Self::open_on(options, thresholds, Box::new(move || Ok(Box::new(SledFile::open(&folder)?))))
    }

    /// The same, on a disk of one's own, which is opened now and after each failure. What lies beside it is in the
    /// folder all the same.
    pub fn open_on(options: Options, thresholds: Thresholds, open_disk: OpenDisk) -> Result<Self, OpenError> {
        let Options { path, rules, sink, observer, clock, reserve_bytes } = options;
        let reserve = Reserve::in_folder(&path, reserve_bytes);
        let opener = Opener { folder: path, rules, thresholds, reserve, open_disk };
        let (opened, room) = opener.start()?;
        let reader = opened.bookkeeper.reader().clone();
        let cut_off = opened.bookkeeper.cut_off().to_vec();
        let shared = Arc::new(Shared {
            failure: ArcSwapOption::empty(),
            waiting: Waiting::new(),
            view: RwLock::new(View::Open(reader)),
        });
        let mut writer = Writer {
            doubt: Doubt::at_start(&opened.bookkeeper),
            open: Some(opened),
            opener,
            trouble: None,
            pause: Duration::ZERO,
            shared: shared.clone(),
            sink,
            observer,
            clock,
            last: writer::Last::default(),
        };
        if room == Room::Short {
            writer.fall_short();
        }
        let (orders, tasks) = unbounded();
        let thread = Thread::start(writer, tasks).map_err(OpenError::Thread)?;
        Ok(Self { shared, orders: Mutex::new(Some(orders)), writer: Mutex::new(Some(thread)), cut_off })
    }

    /// Takes no more orders, carries out those that wait, and ends the writer. Done twice, it does nothing.
    pub fn close(&self) -> Result<(), StoreError> {
        drop(lock(&self.orders).take());
        let Some(Thread { handle, ended }) = lock(&self.writer).take() else {
            return Ok(());
        };
        // The channel says nothing and closes when the thread ends.
        if ended.recv_timeout(CLOSE_LIMIT) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            return Err(StoreError::Unavailable(
                "the store's writer does not come to an end: the disk may hang".into(),
            ));
        }
        handle.join().map_err(|_| StoreError::Unavailable("the store's writer ended with a bug".into()))
    }

    /// Computes everything that the store must hold from its records, and compares. Commits wait meanwhile.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        let (answer, answered) = bounded(1);
        lock(&self.orders).as_ref().ok_or_else(closed)?.send(Task::Check(answer)).map_err(|_| closed())?;
        answered.recv().map_err(|_| closed())?
    }

    /// The size on disk, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.read(|reader| Ok(reader.size_bytes())).unwrap_or_default()
    }

    /// Looks at what can be read. The files stay open meanwhile.
    fn read<T>(&self, look: impl FnOnce(&Reader) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.shared.view.read().unwrap_or_else(PoisonError::into_inner) {
            View::Open(reader) => look(reader),
            View::Shut(_) => Err(self.shared.failure.load().as_deref().cloned().unwrap_or_else(writer::shut)),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `close` first.
        let _ = self.close();
    }
}

impl JobStore for Store {
    fn submit(&self, order: Order) -> Pending<'static, Result<Answer, StoreError>> {
        let (answer, answered) = oneshot::channel();
        match self.enqueue(Task::Order(order, answer)) {
            Ok(()) => Box::pin(async move { answered.await.unwrap_or_else(|_| Err(closed())) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, StoreError> {
        self.read(|reader| reader.due(origin, after, limit))
    }

    fn cut_off(&self) -> Vec<JobId> {
        self.cut_off.clone()
    }

    fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError> {
        self.read(|reader| Ok(reader.platforms()))
    }

    fn column(&self, key: [u8; 16]) -> Result<Option<String>, StoreError> {
        self.read(|reader| reader.column(key))
    }

    fn notes(&self, drawer: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.read(|reader| reader.notes(drawer, after, limit))
    }

    fn note(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|reader| reader.note(drawer, key))
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(|reader| reader.job(id))
    }

    fn states(&self, ids: &[JobId]) -> Result<Vec<Option<StateName>>, StoreError> {
        self.read(|reader| reader.states(ids))
    }

    fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError> {
        self.read(|reader| reader.list(filter, before, limit))
    }

    fn census(&self) -> Census {
        match &*self.shared.view.read().unwrap_or_else(PoisonError::into_inner) {
            View::Open(reader) => reader.census(),
            View::Shut(census) => census.clone(),
        }
    }

    fn is_writable(&self) -> bool {
        self.shared.failure.load().is_none() && lock(&self.orders).is_some()
    }

    fn stuck_for(&self) -> Duration {
        self.shared.waiting.stuck_for()
    }
}

impl Store {
    /// Puts an order at the end of the queue. The lock is held over the sending, so that order is that of the calls.
    fn enqueue(&self, task: Task) -> Result<(), StoreError> {
        if let Some(failure) = &*self.shared.failure.load() {
            return Err(StoreError::clone(failure));
        }
        let orders = lock(&self.orders);
        let orders = orders.as_ref().ok_or_else(closed)?;
        if !self.shared.waiting.enter(task.event_bytes()) {
            return Err(StoreError::Unavailable("the store is overrun: too many events wait already".into()));
        }
        // Where the writer has come to a bad end, it shows that nobody is answered any more.
        orders.send(task).map_err(|_| closed())
    }
}

impl Thread {
    fn start(writer: Writer, orders: Receiver<Task>) -> io::Result<Self> {
        let (alive, ended) = bounded(0);
        let run = move || {
            let _alive: Sender<()> = alive;
            writer.run(&orders);
        };
        let handle = thread::Builder::new().name("store".into()).spawn(run)?;
        Ok(Self { handle, ended })
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// A panic while the lock was held left nothing half done: each holder replaces whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::{Door, GradeEvent},
        job::IdempotencyKey,
        ledger::{Arrival, Outcomes, Work},
        notice::{Notice, Source},
        retry::RetryPolicy,
        time::Draw,
    };

    struct Nobody;

    impl Observer for Nobody {
        fn observe(&self, _: &Notice) {}
    }

    impl Clock for Nobody {
        fn now(&self) -> Timestamp {
            NOW
        }

        fn draw(&self) -> Draw {
            Draw::MIDDLE
        }

        fn luck(&self) -> u128 {
            0
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn options(folder: &tempfile::TempDir) -> Options {
        Options {
            path: folder.path().into(),
            rules: Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped },
            sink: Box::new(drop),
            observer: Arc::new(Nobody),
            clock: Arc::new(Nobody),
            reserve_bytes: 0,
        }
    }

    fn open(folder: &tempfile::TempDir) -> Result<Store, OpenError> {
        Store::open_with(options(folder), Thresholds { part_jobs: 2, ..Thresholds::default() })
    }

    /// A store with four jobs in two parts.
    fn four_jobs() -> (tempfile::TempDir, Store, Vec<JobId>) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder).expect("a new store");
        let ids = (1..=4).map(|student| match submit(&store, admit(student)) {
            Ok(Answer::Stored(id)) => id,
            other => panic!("not stored: {other:?}"),
        });
        let ids = ids.collect();
        (folder, store, ids)
    }

    fn admit(student: u64) -> Work {
        let body = serde_json::json!({
            "session_id": "s", "score": 1, "max_score": 1,
            "lis_data": {
                "lis_outcome_service_url": "https://lms.example.edu/",
                "lis_result_sourcedid": student.to_string(),
                "oauth_consumer_key": "key",
            },
        });
        let body = body.to_string();
        let event = GradeEvent::parse(body.as_bytes(), Door::Event).expect("a good event");
        let key = IdempotencyKey::of(Some(&student.to_string()), None, body.as_bytes(), None);
        let body = body.as_bytes().into();
        let luck = student.into();
        let arrival = Arrival { event, body, door: Door::Event, source: Source::Http, key, sent_at: None, luck };
        Work::Admit(Box::new(arrival))
    }

    fn submit(store: &Store, work: Work) -> Result<Answer, StoreError> {
        let answer = store.submit(Order { work, now: NOW, draw: Draw::MIDDLE });
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(answer)
    }

    fn reader(store: &Store) -> Reader {
        store.read(|reader| Ok(reader.clone())).expect("it is open")
    }

    fn write(store: &Store, key: Vec<u8>, value: Option<&[u8]>) {
        reader(store).shelf.disk.apply([(key, value.map(<[u8]>::to_vec))].into()).expect("a write");
    }

    #[test]
    fn the_check_finds_what_is_missing_and_what_does_not_belong() {
        let check = |spoil: &dyn Fn(&Store, &[JobId]), words: &str| {
            let (_folder, store, ids) = four_jobs();
            assert!(store.check().expect("reading works").is_sound());
            spoil(&store, &ids);
            let report = store.check().expect("reading works");
            assert!(report.faults.iter().any(|fault| fault.contains(words)), "{words}: {report:?}");
        };
        check(&|store, ids| write(store, keys::own_state(ids[0]), Some(b"x")), "the jobs imply");
        check(&|store, ids| write(store, keys::events(ids[0], 0), None), "is not there");
        check(&|store, ids| write(store, keys::states(ids[2]), None), "the directory");
        check(&|store, _| write(store, keys::LEDGER.to_vec(), None), "counts");
        check(&|store, _| write(store, keys::platform(0), Some(b"x")), "platform https://lms.example.edu");
        check(&|store, _| lock(&reader(store).tally).settled = Some(JobId::from_bytes([9; 16])), "counts in memory");
        check(
            &|store, ids| {
                let other = reader(store)
                    .shelf
                    .disk
                    .get(&keys::events(ids[2], 0))
                    .expect("reading works")
                    .expect("it is there");
                let own = reader(store)
                    .shelf
                    .disk
                    .get(&keys::events(ids[0], 0))
                    .expect("reading works")
                    .expect("it is there");
                write(store, keys::events(ids[0], 0), Some(&[&own[..], &other[1..]].concat()));
            },
            "jobs that are gone",
        );
    }

    #[test]
    fn a_damaged_record_is_named_and_spoils_nothing_else() {
        let (_folder, store, ids) = four_jobs();
        write(&store, keys::states(ids[0]), Some(b"\x01nonsense"));
        let error = store.job(ids[1]).expect_err("it is damaged").to_string();
        assert!(error.contains("is damaged") && error.contains(&keys::shown(&keys::states(ids[0]))), "{error}");
        assert!(store.job(ids[2]).expect("this one is sound").is_some());
        assert!(store.is_writable(), "reading a damaged record is not the end of the store");
        assert!(matches!(submit(&store, Work::Start { id: ids[2] }), Ok(Answer::Job(_))));
    }

    #[test]
    fn nothing_stops_at_a_damaged_record() {
        let many = Thresholds { part_jobs: 2, young_jobs: 3, run_marks: 12 };
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_with(options(&folder), many).expect("a new store");
        let stored = |store: &Store, student| match submit(store, admit(student)) {
            Ok(Answer::Stored(id)) => id,
            other => panic!("not stored {student}: {other:?}"),
        };
        let ids: Vec<JobId> = (0..20).map(|student| stored(&store, student)).collect();
        for id in &ids[..10] {
            submit(&store, Work::Discard { id: *id }).expect("it is discarded");
        }
        // A part of ended jobs, one of waiting jobs, an event, what finds jobs, and when one is due.
        write(&store, keys::states(ids[2]), Some(b"\x01nonsense"));
        write(&store, keys::states(ids[18]), Some(b"\x01nonsense"));
        write(&store, keys::events(ids[14], 0), Some(b"\x07nonsense"));
        write(&store, keys::run(0, 0), Some(b"\x01nonsense"));
        let due = reader(&store).shelf.disk.scan_prefix(&keys::due_of(0)).next().expect("old jobs wait on disk");
        let (due, _) = due.expect("reading works");
        write(&store, due.to_vec(), Some(b"\x01nonsense"));
        let (_, lost) = keys::read_due(&due).expect("a good key");
        let origin = store.platforms().expect("reading works")[0].origin.clone();
        let ended_before = NOW + Duration::from_secs(1);
        let later = (20..60).map(|student| stored(&store, student)).collect::<Vec<_>>();
        let pruned = submit(&store, Work::Prune { ended_before, limit: 100 });
        assert!(matches!(pruned, Ok(Answer::Pruned { removed: 8, .. })), "{pruned:?}");
        let check = |store: &Store, untouched: usize| {
            let listed = store.list(&JobFilter::default(), None, 100).expect("the list passes it by");
            assert_eq!(listed.jobs.len(), untouched);
            let page = store.due(&origin, None, 100).expect("those that wait are read on");
            assert!(page.iter().all(|entry| entry.id != lost), "it is damaged");
            assert!(later.iter().all(|later| page.iter().any(|entry| entry.id == *later)), "nobody waits for it");
            assert!(store.is_writable());
            assert!(!store.check().expect("the check goes on").is_sound());
            assert!(matches!(submit(store, Work::Start { id: ids[16] }), Ok(Answer::Job(_) | Answer::NotNow)));
        };
        check(&store, 6 + later.len());
        let told = |store: &Store| reader(store).shelf.damages.take().len();
        assert!(told(&store) <= 1, "they were told with the commits, once");
        drop(store);
        let store = Store::open_with(options(&folder), many).expect("it opens");
        assert!(
            matches!(submit(&store, admit(59)), Ok(Answer::Duplicate(id)) if id == later[39]),
            "marks are found anew"
        );
        assert!(store.job(ids[3]).is_err(), "it is damaged, not gone");
        for student in 60..80 {
            stored(&store, student);
        }
        check(&store, 6 + later.len() + 20);
    }

    #[test]
    fn marks_of_pruned_jobs_go_though_one_old_job_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let thresholds = Thresholds { part_jobs: 4, young_jobs: 6, run_marks: 8 };
        let store = Store::open_with(options(&folder), thresholds).expect("a new store");
        let stays = submit(&store, admit(0));
        assert!(matches!(stays, Ok(Answer::Stored(_))));
        for student in 1..=400_u64 {
            let Ok(Answer::Stored(id)) = submit(&store, admit(student)) else { panic!("it is stored") };
            submit(&store, Work::Discard { id }).expect("it is discarded");
            if student % 4 == 0 {
                let ended_before = NOW + Duration::from_secs(1);
                submit(&store, Work::Prune { ended_before, limit: 100 }).expect("old ones are pruned");
            }
        }
        let runs = reader(&store).shelf.disk.scan_prefix(&[keys::RUN]).count();
        assert!(runs <= 5, "{runs} records of marks for a handful of jobs");
        assert!(store.check().expect("reading works").is_sound());
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let (folder, store, _) = four_jobs();
        write(&store, keys::VERSION.to_vec(), Some(&(upgrade::VERSION + 1).to_be_bytes()));
        drop(store);
        let error = open(&folder).err().expect("it is newer");
        assert!(matches!(error, OpenError::Newer { found, known } if found == known + 1), "{error}");
    }

    #[test]
    fn a_store_without_a_version_must_be_a_new_one() {
        let (folder, store, _) = four_jobs();
        write(&store, keys::VERSION.to_vec(), None);
        drop(store);
        assert!(matches!(open(&folder).err(), Some(OpenError::Unusable { .. })));
    }
}
