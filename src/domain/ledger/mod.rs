//! The ledger: every change of the stored truth, decided in one place and one at a time.
//!
//! The store's single writer calls [`carry_out`] for each [`Order`] that waits, on a view ([`Books`]) that shows what
//! is committed together with what this commit has changed so far. So a decision about a cell is made on the whole
//! truth, and what it changes is on disk before anybody acts on it. It knows jobs, cells and keys; it knows no disk.

mod desk;

use std::{sync::Arc, time::Duration};

use self::desk::Desk;
use super::{
    bulk::Task,
    destination::{Delivery, GradeCell, Origin},
    drawer::{Drawer, Note},
    event::{Door, GradeEvent},
    job::{IdempotencyKey, Job, JobId, JobState, Place, Queued, StateName},
    notice::{Notice, Source},
    outcome::Verdict,
    retry::RetryPolicy,
    time::{Draw, Timestamp},
    transition::{Input, Refused, Trial},
};

/// What decides, beside the jobs themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// `[retry]`.
    pub retry: RetryPolicy,
    /// `[delivery] supersede`: a newer grade takes the place of older queued ones.
    pub supersede: bool,
    /// What becomes of the ends of jobs.
    pub outcomes: Outcomes,
}

/// Whether the ends of jobs are published (`[amqp] outcomes_exchange`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcomes {
    /// Nobody wants to know of them.
    #[default]
    Dropped,
    /// Each is noted with the job, and waits until it is published.
    Noted,
}

/// A job of a cell: all that is asked of it when another one of its cell changes. So a cell may keep thousands of jobs,
/// and only those that change with the new one are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellEntry {
    /// When the session changed state.
    pub occurred_at: Timestamp,
    /// The job.
    pub id: JobId,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Its state.
    pub state: JobState,
    /// Its delivery.
    pub delivery: Delivery,
    /// Whether it writes or clears a grade.
    pub bears_grade: bool,
    /// The AGS timestamp that it was sent with.
    pub ags_timestamp: Option<Timestamp>,
}

impl CellEntry {
    /// The entry of a job.
    pub fn of(job: &Job) -> Self {
        let Job { occurred_at, id, created_at, state, delivery, bears_grade, ags_timestamp, .. } = *job;
        Self { occurred_at, id, created_at, state, delivery, bears_grade, ags_timestamp }
    }

    /// What orders the jobs of a cell: see [`Job::order`].
    pub fn order(&self) -> (Timestamp, JobId) {
        (self.occurred_at, self.id)
    }

    /// The place in the queue, if it is in it.
    pub fn queued(&self) -> Option<Queued> {
        match self.state {
            JobState::Queued(queued) => Some(queued),
            _ => None,
        }
    }

    /// Whether an attempt is under way.
    pub fn is_under_way(&self) -> bool {
        self.queued().is_some_and(|queued| matches!(queued.place, Place::UnderWay { .. }))
    }
}

/// What is remembered of a platform over restarts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PlatformRecord {
    /// The platform.
    pub origin: Origin,
    /// The client id of an AGS job that went there, which finds the configured name.
    pub client_id: Option<String>,
    /// Since when an admin has it paused.
    pub paused_since: Option<Timestamp>,
    /// Since when it is held.
    pub held_since: Option<Timestamp>,
}

/// The stored truth as the writer sees it: what is committed, and over it what this commit has changed.
pub trait Books {
    /// The store's error.
    type Error;

    /// The newest job id ever given.
    fn last_id(&self) -> Option<JobId>;
    /// A job.
    fn job(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Self::Error>;
    /// The job of an event or message key. Never asked for a content key.
    fn job_of_key(&mut self, key: &IdempotencyKey) -> Result<Option<JobId>, Self::Error>;
    /// The stored jobs of a cell, oldest first by event time, then by id.
    fn cell(&mut self, cell: GradeCell) -> Result<Arc<Vec<CellEntry>>, Self::Error>;
    /// Inserts or replaces a job and all of its index entries.
    fn put(&mut self, job: Arc<Job>);
    /// Removes a job and all of its index entries.
    fn remove(&mut self, job: &Job);
    /// A platform.
    fn platform(&mut self, origin: &Origin) -> Result<Option<PlatformRecord>, Self::Error>;
    /// Inserts or replaces a platform.
    fn put_platform(&mut self, platform: PlatformRecord);
    /// Remembers the URL of a column that was found or made, under the digest of what finds it; `None` forgets it.
    fn put_column(&mut self, key: [u8; 16], url: Option<&str>);
    /// Puts a note into a drawer, in the place of the one that lies there; `None` takes it out.
    fn put_note(&mut self, drawer: Drawer, key: &[u8], record: Option<&[u8]>);
    /// Up to `limit` delivered, superseded or discarded jobs that ended before `moment`.
    fn ended_before(&mut self, moment: Timestamp, limit: usize) -> Result<Ended, Self::Error>;
}

/// A step of the search for old ended jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Those that were found.
    pub jobs: Vec<JobId>,
    /// Whether there is more to look at; the next call goes on from here.
    pub more: bool,
}

/// An event at the door, parsed.
pub struct Arrival {
    /// The event.
    pub event: GradeEvent,
    /// Its bytes as received.
    pub body: Arc<[u8]>,
    /// How the bytes are read.
    pub door: Door,
    /// Which way it came in.
    pub source: Source,
    /// What makes a repeat harmless.
    pub key: IdempotencyKey,
    /// When the broker was given it (AMQP `timestamp`).
    pub sent_at: Option<Timestamp>,
    /// 80 bits of chance for the job's id.
    pub luck: u128,
}

/// Whether something is done, or only thought through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is done.
    Earnest,
    /// Nothing is changed; the answer says what would be.
    Rehearsal,
}

/// Work for the ledger.
pub enum Work {
    /// Store an event as a job.
    Admit(Box<Arrival>),
    /// Begin an attempt.
    Start {
        /// The job.
        id: JobId,
    },
    /// End an attempt.
    Finish {
        /// The job.
        id: JobId,
        /// What came back.
        verdict: Verdict,
        /// What sort of attempt it was.
        trial: Trial,
    },
    /// Note that an attempt was cut off.
    Interrupt {
        /// The job.
        id: JobId,
        /// Whether the score may have been written.
        reply_lost: bool,
    },
    /// Change nothing: the answer says that whatever was ordered before is done.
    Fence,
    /// The clock was set back by `by`: what waits since before that is due so much earlier.
    Hasten {
        /// The job; those of its cell that wait behind it come along.
        id: JobId,
        /// When it was due: one that is due at another time now was put forward already, or is on a new schedule.
        due: Timestamp,
        /// By how much.
        by: Duration,
        /// The new time of day when that was noticed: what was put on the schedule after it stays as it is. Where nobody
        /// noticed, whatever was not put on the schedule in the future stays.
        noticed: Option<Timestamp>,
    },
    /// End, on paper, an attempt that the last run left under way.
    CutOff {
        /// The job.
        id: JobId,
        /// When that attempt began: one that began since is left alone, however often this is asked for.
        since: Timestamp,
    },
    /// Take back the start of an attempt of which nobody was told.
    Withdraw {
        /// The job.
        id: JobId,
    },
    /// Try a job again at an admin's word.
    Replay {
        /// The job.
        id: JobId,
        /// In earnest, or only to learn what would happen.
        mode: Mode,
    },
    /// Give a job up at an admin's word.
    Discard {
        /// The job.
        id: JobId,
    },
    /// Remember whether a platform is paused or held.
    NotePlatform {
        /// The platform.
        origin: Origin,
        /// Since when an admin has it paused.
        paused_since: Option<Timestamp>,
        /// Since when it is held.
        held_since: Option<Timestamp>,
    },
    /// Remember a column.
    PutColumn {
        /// The digest of what finds it.
        key: [u8; 16],
        /// Its URL; `None` forgets it.
        url: Option<String>,
    },
    /// Put a note into a drawer.
    PutNote {
        /// Which drawer.
        drawer: Drawer,
        /// Where the note lies.
        key: Vec<u8>,
        /// What it says; `None` takes it out.
        record: Option<Vec<u8>>,
    },
    /// Do something with a job that is still in the state in which it was found.
    Still {
        /// The job.
        id: JobId,
        /// The state.
        state: StateName,
        /// What to do.
        work: Box<Work>,
    },
    /// Do something and note it, in one commit. What is refused is not noted.
    Noted {
        /// What to do.
        work: Box<Work>,
        /// Which drawer.
        drawer: Drawer,
        /// What is noted.
        note: Note,
    },
    /// A step of a bulk change: these jobs are changed, and what came of it stands in the task, in one commit.
    Step {
        /// Where the task lies, and its entry in the audit log.
        key: Vec<u8>,
        /// The task as it is after the step, but for what is counted here.
        task: Box<Task>,
        /// The jobs, newest first; at most [`Step::JOBS_MAX`](super::bulk::Step::JOBS_MAX).
        ids: Vec<JobId>,
        /// One that cannot be read, and so is skipped.
        unreadable: Option<JobId>,
    },
    /// Take over a job of another store as it is. One that is there already stays as it is: a duplicate. Jobs come in the
    /// order of their ids; an older one than the newest that is there is not taken.
    Restore(Box<Job>),
    /// Take over a platform of another store. One that is known stays paused or held, and becomes so.
    RestorePlatform(PlatformRecord),
    /// Put a cell in order whose jobs came from two stores: older grades give way to newer ones, and the oldest that is
    /// left goes first.
    Reconcile {
        /// The cell.
        cell: GradeCell,
    },
    /// Remove old ended jobs.
    Prune {
        /// Those that ended before.
        ended_before: Timestamp,
        /// At most so many.
        limit: usize,
    },
}

impl Work {
    /// What a start does about an attempt that the last run left under way. Nobody knows how far it came, so its score
    /// may have been written.
    pub fn cut_off(id: JobId, since: Timestamp) -> Self {
        Self::CutOff { id, since }
    }

    /// What is done, without what is noted of it and in which state alone.
    pub fn bare(&self) -> &Self {
        match self {
            Self::Noted { work, .. } | Self::Still { work, .. } => work.bare(),
            work => work,
        }
    }
}

/// Work, with the time and the chance to do it with.
pub struct Order {
    /// What to do.
    pub work: Work,
    /// The time.
    pub now: Timestamp,
    /// The chance.
    pub draw: Draw,
}

/// What the ledger did.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The event is a job now.
    Stored(JobId),
    /// The event is known; this is its job.
    Duplicate(JobId),
    /// The job as it is after the change.
    Job(Arc<Job>),
    /// There is no such job.
    NoSuchJob,
    /// The input makes no sense in the job's state; nothing was changed.
    Refused(Refused),
    /// An attempt cannot begin now: the job is not due, or another goes first. It comes up again by itself.
    NotNow,
    /// Old jobs were removed.
    Pruned {
        /// So many.
        removed: usize,
        /// Whether the search has not come to the end of the store yet.
        more: bool,
    },
    /// Done.
    Done,
}

/// A queued job that may be started once it is due: what the dispatcher needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEntry {
    /// When it may be tried.
    pub due: Timestamp,
    /// The job.
    pub id: JobId,
    /// Its cell.
    pub cell: GradeCell,
    /// Its platform.
    pub origin: Origin,
}

/// What a commit has brought about.
#[derive(Debug, Default)]
pub struct Report {
    /// Jobs that may be started.
    pub queued: Vec<DueEntry>,
    /// What has happened.
    pub notices: Vec<Notice>,
    /// The store was opened anew after a failure: what was known of it may be out of date.
    pub reopened: bool,
}

/// Carries out one order on the books, and adds what it brings about to the report.
pub fn carry_out<B: Books>(
    books: &mut B,
    order: Order,
    rules: &Rules,
    report: &mut Report,
) -> Result<Answer, B::Error> {
    let mut desk = Desk { books, rules, now: order.now, draw: order.draw, report };
    match order.work {
        Work::Admit(arrival) => desk.admit(*arrival),
        Work::Start { id } => desk.start(id),
        Work::Finish { id, verdict, trial } => desk.end_attempt(id, |rival| Input::Finish { verdict, trial, rival }),
        Work::Interrupt { id, reply_lost } => desk.end_attempt(id, |rival| Input::Interrupt { reply_lost, rival }),
        Work::Fence => Ok(Answer::Done),
        Work::Hasten { id, due, by, noticed } => desk.hasten((id, due), by, noticed),
        Work::CutOff { id, since } => desk.cut_off(id, since),
        Work::Withdraw { id } => desk.end_attempt(id, |rival| Input::Withdraw { rival }),
        Work::Replay { id, mode } => desk.replay(id, mode),
        Work::Discard { id } => desk.discard(id),
        Work::NotePlatform { origin, paused_since, held_since } => {
            let client_id = desk.books.platform(&origin)?.and_then(|known| known.client_id);
            desk.books.put_platform(PlatformRecord { origin, client_id, paused_since, held_since });
            Ok(Answer::Done)
        }
        Work::PutColumn { key, url } => {
            desk.books.put_column(key, url.as_deref());
            Ok(Answer::Done)
        }
        Work::PutNote { drawer, key, record } => {
            desk.books.put_note(drawer, &key, record.as_deref());
            Ok(Answer::Done)
        }
        Work::Noted { work, drawer, note } => {
            let answer =
                carry_out(desk.books, Order { work: *work, now: desk.now, draw: desk.draw }, rules, desk.report)?;
            if matches!(answer, Answer::Job(_) | Answer::Done) {
                desk.books.put_note(drawer, &note.key, Some(&note.record));
            }
            Ok(answer)
        }
        Work::Still { id, state, work } => {
            if desk.books.job(id)?.is_none_or(|job| job.state_name() != state) {
                return Ok(Answer::NotNow);
            }
            carry_out(desk.books, Order { work: *work, now: desk.now, draw: desk.draw }, rules, desk.report)
        }
        Work::Step { key, task, ids, unreadable } => desk.step(&key, *task, &ids, unreadable),
        Work::Restore(job) => desk.restore(*job),
        Work::RestorePlatform(platform) => {
            let known = desk.books.platform(&platform.origin)?;
            desk.books.put_platform(match known {
                Some(known) => PlatformRecord {
                    client_id: known.client_id.or(platform.client_id),
                    paused_since: known.paused_since.or(platform.paused_since),
                    held_since: known.held_since.or(platform.held_since),
                    ..known
                },
                None => platform,
            });
            Ok(Answer::Done)
        }
        Work::Reconcile { cell } => desk.reconcile(cell),
        Work::Prune { ended_before, limit } => desk.prune(ended_before, limit),
    }
}

/// The dispatcher's entry of a job that may be started once it is due; none for any other.
pub fn due_entry(job: &Job) -> Option<DueEntry> {
    let Queued { due, place } = job.queued()?;
    (place == Place::Ready).then(|| DueEntry { due, id: job.id, cell: job.cell, origin: job.origin.clone() })
}
