//! A worker that kills itself at a named step of the straight line from event to grade, as a power cut or the kernel
//! would: with SIGKILL, in the middle of whatever else it does.
//!
//! It is the real service with its ports wrapped, run by this test binary started as another process. So the program
//! itself holds nothing that is there for tests. A step is passed many times; the environment says at which passage it
//! dies.

use std::{
    env,
    path::PathBuf,
    process::{Command, exit},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use passback::{
    app::{Seams, Service},
    config::{Config, load::LoadOptions},
    domain::{
        destination::Origin,
        drawer::{Drawer, Note},
        event::Refused,
        job::{Job, JobId},
        ledger::{Answer, Arrival, DueEntry, Mode, Order, PlatformRecord, Work},
        time::Timestamp,
    },
    lti::wire,
    ports::{Census, Incoming, Intake, JobFilter, JobPage, JobStore, Pending, Receipt, StoreError, Transport},
    surfaces::log::{self, LogOptions},
};
use rustix::process::{Signal, getpid, kill_process};

use super::worker::Worker;

/// Where a worker can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// An event was received and not stored.
    Received,
    /// It was stored and not settled with the broker.
    Stored,
    /// The start of an attempt was recorded, and nothing sent.
    Recorded,
    /// The grade was sent and applied, and the reply not looked at.
    Applied,
    /// An attempt of the last run was about to be recorded as cut off, at a start.
    Recovery,
    /// The reply was looked at, and the outcome not stored.
    Seen,
    /// The outcome was stored, and nobody told.
    Ended,
    /// The broker has confirmed the message of an end, and its note was about to be taken out.
    Published,
    /// A replay of many was under way.
    Replay,
}

impl Step {
    /// In this order each finds what it needs: `Applied` leaves an attempt under way, which `Recovery` has to end.
    pub(crate) const ALL: [Self; 9] = [
        Self::Received,
        Self::Stored,
        Self::Recorded,
        Self::Applied,
        Self::Recovery,
        Self::Seen,
        Self::Ended,
        Self::Published,
        Self::Replay,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Received => "received, not stored",
            Self::Stored => "stored, not settled",
            Self::Recorded => "attempt recorded, not sent",
            Self::Applied => "applied, reply unseen",
            Self::Recovery => "during recovery",
            Self::Seen => "reply seen, outcome not stored",
            Self::Ended => "outcome stored",
            Self::Published => "outcome published, note not taken out",
            Self::Replay => "during a replay",
        }
    }
}

/// In the environment of the other process: the number of the step.
const STEP: &str = "PASSBACK_TEST_DOOM_STEP";
/// And the passage.
const PASSAGE: &str = "PASSBACK_TEST_DOOM_PASSAGE";
/// And its configuration.
const CONFIG: &str = "PASSBACK_TEST_DOOM_CONFIG";

/// Starts a worker that will die when it passes `step` for the n-th time, and does not wait.
pub(crate) fn spawn(worker: &mut Worker, step: Step, passage: u32) {
    let mut program = Command::new(env::current_exe().expect("a test binary has a path"));
    program
        .args(["--exact", "service::doomed::other_process", "--nocapture", "--test-threads", "1"])
        .env(STEP, Step::ALL.iter().position(|known| *known == step).expect("ALL holds all").to_string())
        .env(PASSAGE, passage.to_string())
        .env(CONFIG, worker.config_path());
    worker.spawn_bare(program);
}

/// The other process. Without the environment of one it is no test of anything.
#[test]
fn other_process() {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let (Some(step), Some(passage), Ok(path)) = (number(STEP), number(PASSAGE), env::var(CONFIG)) else {
        return;
    };
    let doom = Doom { step: Step::ALL[step as usize], left: AtomicU32::new(passage) };
    let failure = tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        log::init(&LogOptions::from_env(|name| env::var(name).ok())).expect("a log");
        let options = LoadOptions { path: Some(PathBuf::from(path)), env: std::iter::empty() };
        let config = Config::load(options).expect("a configuration");
        match Service::launch_with(config, &Doomed(Arc::new(doom))).await {
            Ok(mut service) => service.failed().await,
            Err(error) => error,
        }
    });
    eprintln!("the doomed worker failed before its time: {failure:#}");
    exit(1);
}

/// Counts the passages.
struct Doom {
    step: Step,
    left: AtomicU32,
}

impl Doom {
    fn pass(&self, step: Step) {
        if step == self.step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
            // Another thread may get here before the kernel has ended this one; the step is not passed all the same.
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

struct Doomed(Arc<Doom>);

impl Seams for Doomed {
    fn store(&self, inner: Arc<dyn JobStore>) -> Arc<dyn JobStore> {
        Arc::new(DoomedStore { inner, doom: self.0.clone() })
    }

    fn transport(&self, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(DoomedTransport { inner, doom: self.0.clone() })
    }

    fn intake(&self, inner: Arc<dyn Intake>) -> Arc<dyn Intake> {
        Arc::new(DoomedIntake { inner, doom: self.0.clone() })
    }
}

struct DoomedIntake {
    inner: Arc<dyn Intake>,
    doom: Arc<Doom>,
}

impl Intake for DoomedIntake {
    fn read(&self, incoming: Incoming) -> Result<Box<Arrival>, Refused> {
        self.inner.read(incoming)
    }

    fn store(&self, arrival: Box<Arrival>) -> Pending<'static, Result<Receipt, StoreError>> {
        self.doom.pass(Step::Received);
        let (stored, doom) = (self.inner.store(arrival), self.doom.clone());
        Box::pin(async move { stored.await.inspect(|_| doom.pass(Step::Stored)) })
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }
}

struct DoomedTransport {
    inner: Arc<dyn Transport>,
    doom: Arc<Doom>,
}

impl Transport for DoomedTransport {
    fn send(&self, request: wire::Request, within: Duration) -> Pending<'_, wire::Answer> {
        // A token is asked for with a form; no grade is.
        let is_form = |(name, value): &(&str, String)| *name == "content-type" && value.contains("urlencoded");
        let bears_grade = !request.headers.iter().any(is_form);
        Box::pin(async move {
            let answer = self.inner.send(request, within).await;
            if bears_grade && answer.as_ref().is_ok_and(|reply| reply.status < 300) {
                self.doom.pass(Step::Applied);
            }
            answer
        })
    }
}

struct DoomedStore {
    inner: Arc<dyn JobStore>,
    doom: Arc<Doom>,
}

impl JobStore for DoomedStore {
    fn submit(&self, order: Order) -> Pending<'static, Result<Answer, StoreError>> {
        let (before, after) = match order.work.bare() {
            Work::Start { .. } => (None, Some(Step::Recorded)),
            Work::Finish { .. } => (Some(Step::Seen), Some(Step::Ended)),
            Work::CutOff { .. } => (Some(Step::Recovery), None),
            Work::PutNote { drawer: Drawer::Outcomes, record: None, .. } => (Some(Step::Published), None),
            Work::Replay { mode: Mode::Earnest, .. } => (None, Some(Step::Replay)),
            _ => (None, None),
        };
        if let Some(step) = before {
            self.doom.pass(step);
        }
        let (answer, doom) = (self.inner.submit(order), self.doom.clone());
        Box::pin(async move {
            let answer = answer.await;
            if let (Some(step), Ok(Answer::Job(_))) = (after, &answer) {
                doom.pass(step);
            }
            answer
        })
    }

    fn due(
        &self,
        origin: &Origin,
        after: Option<(Timestamp, JobId)>,
        limit: usize,
    ) -> Result<Vec<DueEntry>, StoreError> {
        self.inner.due(origin, after, limit)
    }

    fn cut_off(&self) -> Vec<JobId> {
        self.inner.cut_off()
    }

    fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError> {
        self.inner.platforms()
    }

    fn notes(&self, drawer: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.inner.notes(drawer, after, limit)
    }

    fn note(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.note(drawer, key)
    }

    fn column(&self, key: [u8; 16]) -> Result<Option<String>, StoreError> {
        self.inner.column(key)
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.inner.job(id)
    }

    fn list(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Result<JobPage, StoreError> {
        self.inner.list(filter, before, limit)
    }

    fn census(&self) -> Census {
        self.inner.census()
    }

    fn is_writable(&self) -> bool {
        self.inner.is_writable()
    }

    fn stuck_for(&self) -> Duration {
        self.inner.stuck_for()
    }
}
