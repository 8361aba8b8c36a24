//! The engine: the running loop around the pure core. It takes events in, starts attempts when the dispatcher says so,
//! carries out each conversation, and puts every change into the store before anybody acts on it.
//!
//! It decides nothing that `domain` and `lti` can decide, and it knows of the world only what `ports` offers. Parts:
//! [`admit`] (events in), [`recover`] (what a start finds), [`dispatch_loop`] (one loop, one event enum),
//! [`deliver`] (one attempt), [`manage`] (what admins do), [`retain`] (forgetting old jobs),
//! [`set_back`] (a clock that goes back), [`verify`] (a grade read back), [`audit`] (who did what), [`bulk`] (bulk changes
//! in the background), [`pauses`] (of platforms that nobody has met).

pub mod admit;
pub mod audit;
pub mod bulk;
pub mod deliver;
pub mod dispatch_loop;
pub mod manage;
pub mod pauses;
pub mod recover;
pub mod retain;
pub mod set_back;
mod tokens;
pub mod verify;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        destination::Origin,
        dispatch::{Launch, Limits},
        drawer::Note,
        health::Signal,
        job::JobId,
        ledger::{Answer, DueEntry, Order, Report, Work},
        notice::{Notice, PlatformState},
        time::Timestamp,
    },
    ports::{Clock, JobStore, Observer, Pending, Registry, ReportSink, StoreError, Transport},
};

use self::{
    deliver::{Columns, Families},
    tokens::Tokens,
};

/// How the engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What may be under way.
    pub limits: Limits,
    /// The most that one request may take, its whole reply included.
    pub timeout: Duration,
    /// How long attempts under way are let end when the worker stops.
    pub drain: Duration,
    /// How long ended jobs are kept; flagged ones are kept for ever.
    pub retain: Duration,
}

/// The ports that the engine works with.
#[derive(Clone)]
pub struct World {
    /// Jobs on disk.
    pub store: Arc<dyn JobStore>,
    /// HTTP to platforms.
    pub transport: Arc<dyn Transport>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Keys and registrations.
    pub registry: Arc<dyn Registry>,
    /// Who wants to know.
    pub observer: Arc<dyn Observer>,
}

impl World {
    /// Hands work to the store, with the time and a draw.
    async fn order(&self, work: Work) -> Result<Answer, StoreError> {
        self.submit(work).await
    }

    fn submit(&self, work: Work) -> Pending<'static, Result<Answer, StoreError>> {
        self.store.submit(Order { work, now: self.clock.now(), draw: self.clock.draw() })
    }
}

/// A change to a platform on its way to the disk.
type Remembered = Pending<'static, Result<Answer, StoreError>>;

/// Everything that can make the loop act.
enum Happening {
    /// A commit is on disk.
    Committed(Report),
    /// The platform has answered, or the attempt did not begin.
    Answered(Answered),
    /// The end of an attempt is on disk.
    Settled(Launch),
    /// An admin stops a platform's deliveries.
    Pause(Origin, Option<Note>, oneshot::Sender<Option<Remembered>>),
    /// An admin lets them go on.
    Resume(Origin, Option<Note>, oneshot::Sender<Option<Remembered>>),
    /// Somebody looks.
    Look(oneshot::Sender<Picture>),
}

/// What a launch came to.
struct Answered {
    launch: Launch,
    signal: Signal,
    error: Option<String>,
    /// The entry to try again, where the store could not take the start.
    again: Option<DueEntry>,
}

/// What the loop knows at a moment.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The moment.
    pub taken_at: Timestamp,
    /// Attempts under way.
    pub under_way: usize,
    /// The due time of the job that waits longest at a platform that takes deliveries.
    pub oldest_due: Option<Timestamp>,
    /// How many may be under way at one platform that nothing is known against.
    pub per_platform: usize,
    /// Every platform.
    pub platforms: Vec<PlatformPicture>,
}

/// A platform at a moment.
#[derive(Clone, Debug)]
pub struct PlatformPicture {
    /// The platform.
    pub origin: Origin,
    /// Open, held or paused.
    pub state: PlatformState,
    /// Since when it is held or paused.
    pub since: Option<Timestamp>,
    /// When the next probe goes out.
    pub next_probe_at: Option<Timestamp>,
    /// Until when nothing is sent there, because it asked for fewer requests.
    pub rests_until: Option<Timestamp>,
    /// What went wrong there last.
    pub last_error: Option<String>,
    /// Attempts under way there.
    pub under_way: usize,
    /// How many may be under way there now.
    pub concurrency: usize,
}

/// The way into the loop, made before the store, which reports into it.
pub struct Inbox {
    sender: mpsc::UnboundedSender<Happening>,
    receiver: mpsc::UnboundedReceiver<Happening>,
}

impl Inbox {
    /// An empty one. It has no limit of its own: what comes in is bounded by the prefetch, the requests and the
    /// attempts that are under way.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }

    /// Where the store tells what each commit brought about.
    pub fn report_sink(&self) -> ReportSink {
        let sender = self.sender.clone();
        // After the loop has ended nobody needs reports: the store has the truth.
        Box::new(move |report| drop(sender.send(Happening::Committed(report))))
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// The engine, before it runs.
pub struct Engine {
    shared: Arc<Shared>,
    receiver: mpsc::UnboundedReceiver<Happening>,
}

/// What the loop, its attempts and the handles share.
struct Shared {
    options: Options,
    world: World,
    tokens: Tokens,
    columns: Columns,
    families: Families,
    /// Places for looks at grades.
    verifying: Semaphore,
    /// The newest entry of the audit log, once it is known.
    newest_entry: Mutex<Option<JobId>>,
    /// Told when there is a new bulk change.
    bulk_begun: Notify,
    inbox: mpsc::UnboundedSender<Happening>,
    /// Cancelled when attempts under way must end at once.
    abort: CancellationToken,
}

/// A cheap way to talk to the engine.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

impl Engine {
    /// Puts the engine together.
    pub fn new(options: Options, world: World, inbox: Inbox) -> Self {
        let shared = Shared {
            options,
            world,
            tokens: Tokens::default(),
            columns: Columns::default(),
            families: Families::default(),
            verifying: Semaphore::new(verify::AT_ONCE_MAX),
            newest_entry: Mutex::default(),
            bulk_begun: Notify::new(),
            inbox: inbox.sender,
            abort: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), receiver: inbox.receiver }
    }

    /// A way to talk to it.
    pub fn handle(&self) -> EngineHandle {
        EngineHandle { shared: Arc::clone(&self.shared) }
    }

    /// Runs until `drain` is cancelled and the attempts under way have ended or been cut off. A store that fails ends it as
    /// little as a platform does.
    pub async fn run(self, drain: CancellationToken) {
        dispatch_loop::run(&self.shared, self.receiver, drain).await;
    }
}

impl Shared {
    fn notice(&self, notice: &Notice) {
        self.world.observer.observe(notice);
    }

    /// Tells of what could not be read. Why the store as a whole is shut, it tells by itself.
    fn notice_unread(&self, error: &StoreError) {
        if self.world.store.is_writable() {
            self.notice(&Notice::RecordDamaged { error: error.to_string() });
        }
    }
}
