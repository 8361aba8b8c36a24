//! The ledger: every change of the stored truth, decided in one place and one at a time.
//!
//! The store's single writer calls [`carry_out`] for each [`Order`] that waits, on a view ([`Books`]) that shows what
//! is committed together with what this commit has changed so far. So a decision about a cell is made on the whole
//! truth, and what it changes is on disk before anybody acts on it. It knows jobs, cells and keys; it knows no disk.

use std::sync::Arc;

use super::{
    destination::{GradeCell, Origin},
    event::{Door, GradeEvent},
    job::{IdempotencyKey, Job, JobId, JobState, Place, Queued, StateName},
    notice::{Notice, Source},
    outcome::Verdict,
    retry::RetryPolicy,
    time::{Draw, Timestamp},
    transition::{self, Input, Refused, Rival, Trial, about},
};

/// What decides, beside the jobs themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// `[retry]`.
    pub retry: RetryPolicy,
    /// `[delivery] supersede`: a newer grade takes the place of older queued ones.
    pub supersede: bool,
}

/// A job of a cell, as the cell's index shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellEntry {
    /// When the session changed state.
    pub occurred_at: Timestamp,
    /// The job.
    pub id: JobId,
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
    fn job(&mut self, id: JobId) -> Result<Option<Job>, Self::Error>;
    /// The job of an event or message key. Never asked for a content key.
    fn job_of_key(&mut self, key: &IdempotencyKey) -> Result<Option<JobId>, Self::Error>;
    /// The stored jobs of a cell, oldest first by event time, then by id.
    fn cell(&mut self, cell: GradeCell) -> Result<Vec<CellEntry>, Self::Error>;
    /// Inserts or replaces a job and all of its index entries.
    fn put(&mut self, job: Job);
    /// Removes a job and all of its index entries.
    fn remove(&mut self, job: Job);
    /// A platform.
    fn platform(&mut self, origin: &Origin) -> Result<Option<PlatformRecord>, Self::Error>;
    /// Inserts or replaces a platform.
    fn put_platform(&mut self, platform: PlatformRecord);
    /// Remembers the URL of a column that was found or made, under the digest of what finds it; `None` forgets it.
    fn put_column(&mut self, key: [u8; 16], url: Option<&str>);
    /// Up to `limit` delivered, superseded or discarded jobs that ended before `moment`.
    fn ended_before(&mut self, moment: Timestamp, limit: usize) -> Result<Vec<JobId>, Self::Error>;
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
    /// Remove old ended jobs.
    Prune {
        /// Those that ended before.
        ended_before: Timestamp,
        /// At most so many.
        limit: usize,
    },
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
    /// So many were removed.
    Pruned(usize),
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
        Work::Prune { ended_before, limit } => desk.prune(ended_before, limit),
    }
}

/// One order being carried out.
struct Desk<'a, B: Books> {
    books: &'a mut B,
    rules: &'a Rules,
    now: Timestamp,
    draw: Draw,
    report: &'a mut Report,
}

impl<B: Books> Desk<'_, B> {
    fn admit(&mut self, arrival: Arrival) -> Result<Answer, B::Error> {
        let cell = arrival.event.destination.cell(arrival.event.session_id.as_deref());
        let peers = self.peers(cell, None)?;
        if let Some(known) = self.known(&arrival.key, &peers)? {
            self.report.notices.push(Notice::EventDuplicate { job: known, source: arrival.source });
            return Ok(Answer::Duplicate(known));
        }
        let source = arrival.source;
        let mut job = self.new_job(arrival, cell)?;
        let order = job.order();
        let (older, newer): (Vec<Job>, Vec<Job>) = peers.into_iter().partition(|peer| peer.order() < order);
        if job.delivery.can_supersede() && self.came_too_late(&job, &newer) {
            job.state = JobState::Superseded;
            job.ended_at = Some(self.now);
            job.ends = 1;
        } else if self.settle_older(&job, older) {
            job.state = JobState::Queued(Queued { due: self.now, place: Place::Behind });
        }
        for peer in newer {
            self.make_wait(&job, peer);
        }
        let state = job.state_name();
        self.report.notices.push(Notice::EventStored { about: about(&job), source, state });
        self.report.notices.push(Notice::Moved { from: None, to: Some(state) });
        if state == StateName::Superseded {
            self.report.notices.push(Notice::Superseded { about: about(&job) });
        }
        let id = job.id;
        self.save(job);
        Ok(Answer::Stored(id))
    }

    /// The job that this event already is, if any.
    fn known(&mut self, key: &IdempotencyKey, peers: &[Job]) -> Result<Option<JobId>, B::Error> {
        match key {
            IdempotencyKey::Content(_) => {
                let newest = peers.iter().rfind(|peer| counts(peer));
                Ok(newest.filter(|newest| newest.key == *key).map(|newest| newest.id))
            }
            IdempotencyKey::Event(_) | IdempotencyKey::Message(_) => self.books.job_of_key(key),
        }
    }

    fn new_job(&mut self, arrival: Arrival, cell: GradeCell) -> Result<Job, B::Error> {
        let Arrival { event, body, door, key, sent_at, luck, .. } = arrival;
        let origin = event.destination.service_url().origin();
        self.meet_platform(&event, &origin)?;
        Ok(Job {
            id: JobId::next(self.books.last_id(), self.now, luck),
            door,
            body,
            delivery: event.destination.delivery(),
            origin,
            cell,
            key,
            bears_grade: event.bears_grade(),
            session_id: event.session_id.as_deref().map(Arc::from),
            occurred_at: event.occurred_at.or(sent_at).unwrap_or(self.now).min(self.now),
            created_at: self.now,
            updated_at: self.now,
            state: JobState::Queued(Queued { due: self.now, place: Place::Ready }),
            attempts: Vec::new(),
            attempts_omitted: 0,
            tries: 0,
            ags_timestamp: None,
            reason: None,
            hint: None,
            ended_at: None,
            ends: 0,
        })
    }

    /// Remembers a platform the first time that a grade goes there.
    fn meet_platform(&mut self, event: &GradeEvent, origin: &Origin) -> Result<(), B::Error> {
        let client_id = match &event.destination {
            super::destination::Destination::Ags(target) => Some(&target.client_id),
            _ => None,
        };
        let known = self.books.platform(origin)?;
        if known.as_ref().is_some_and(|known| known.client_id.is_some() || client_id.is_none()) {
            return Ok(());
        }
        let blank = || PlatformRecord { origin: origin.clone(), client_id: None, paused_since: None, held_since: None };
        let platform = PlatformRecord { client_id: client_id.cloned(), ..known.unwrap_or_else(blank) };
        let client_id = platform.client_id.clone();
        self.report.notices.push(Notice::PlatformMet { origin: origin.clone(), client_id });
        self.books.put_platform(platform);
        Ok(())
    }

    /// Whether the cell already has what makes this event pointless. A change of state without a score is pointless
    /// after anything newer; a grade only after a newer grade.
    fn came_too_late(&self, job: &Job, newer: &[Job]) -> bool {
        newer.iter().filter(|peer| counts(peer)).any(|peer| {
            let outranks = peer.bears_grade || !job.bears_grade;
            // Without superseding each grade is delivered in its turn, as long as its turn has not passed.
            let still_waits = !self.rules.supersede && peer.queued().is_some_and(|queued| is_idle(queued.place));
            outranks && !still_waits
        })
    }

    /// Older queued jobs of the cell give way to this one, or go first. True if one of them goes first.
    fn settle_older(&mut self, job: &Job, older: Vec<Job>) -> bool {
        let mut goes_first = false;
        for mut peer in older {
            let Some(Queued { place, .. }) = peer.queued() else {
                continue;
            };
            if is_idle(place) && self.outranks(job, &peer) {
                self.change(&mut peer, Input::GiveWay);
                self.save(peer);
            } else {
                goes_first = true;
            }
        }
        goes_first
    }

    /// Whether `newer` makes `older` pointless.
    fn outranks(&self, newer: &Job, older: &Job) -> bool {
        self.rules.supersede && older.delivery.can_supersede() && (newer.bears_grade || !older.bears_grade)
    }

    /// A newer job of the cell lets this older one go first.
    fn make_wait(&mut self, job: &Job, mut peer: Job) {
        let ready = peer.queued().is_some_and(|queued| queued.place == Place::Ready);
        if ready && job.queued().is_some() {
            self.change(&mut peer, Input::FallBehind);
            self.save(peer);
        }
    }

    fn start(&mut self, id: JobId) -> Result<Answer, B::Error> {
        let Some(mut job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let ready = job.queued().is_some_and(|queued| queued.place == Place::Ready);
        if !ready {
            return Ok(Answer::NotNow);
        }
        let peers = self.peers(job.cell, Some(id))?;
        let older_waits = peers.iter().any(|peer| peer.order() < job.order() && peer.queued().is_some());
        let cell_busy = peers.iter().any(|peer| peer.under_way_since().is_some());
        if older_waits || cell_busy {
            self.change(&mut job, Input::FallBehind);
            self.save(job);
            return Ok(Answer::NotNow);
        }
        let ags_timestamp = next_ags_timestamp(&job, &peers);
        if let Some(due) = ags_timestamp.filter(|timestamp| *timestamp > self.now) {
            self.change(&mut job, Input::Postpone { due });
            self.save(job);
            return Ok(Answer::NotNow);
        }
        let input = Input::Start { ags_timestamp };
        if transition::apply(&mut job, input, self.now, self.draw, &self.rules.retry).is_err() {
            // The dispatcher's entry was out of date: this is the true one.
            self.report.queued.extend(due_entry(&job));
            return Ok(Answer::NotNow);
        }
        Ok(Answer::Job(self.save(job)))
    }

    fn end_attempt(&mut self, id: JobId, input: impl FnOnce(Rival) -> Input) -> Result<Answer, B::Error> {
        let Some(mut job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let peers = self.peers(job.cell, Some(id))?;
        let rival = self.rival(&job, &peers, |rules| rules.supersede);
        Ok(self.try_change(&mut job, input(rival), peers))
    }

    fn replay(&mut self, id: JobId, mode: Mode) -> Result<Answer, B::Error> {
        let Some(mut job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let peers = self.peers(job.cell, Some(id))?;
        let rival = self.rival(&job, &peers, |_| true);
        if mode == Mode::Rehearsal {
            let input = Input::Replay { rival };
            let tried = transition::apply(&mut job, input, self.now, self.draw, &self.rules.retry);
            return Ok(tried.map_or_else(Answer::Refused, |_| Answer::Job(Arc::new(job))));
        }
        Ok(self.try_change(&mut job, Input::Replay { rival }, peers))
    }

    fn discard(&mut self, id: JobId) -> Result<Answer, B::Error> {
        let Some(mut job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let peers = self.peers(job.cell, Some(id))?;
        Ok(self.try_change(&mut job, Input::Discard, peers))
    }

    /// Whether the cell has a newer job that makes another try of this one pointless.
    fn rival(&self, job: &Job, peers: &[Job], applies: impl Fn(&Rules) -> bool) -> Rival {
        let outranks = |peer: &Job| peer.order() > job.order() && (peer.bears_grade || !job.bears_grade);
        let is_outranked = peers.iter().any(|peer| counts(peer) && outranks(peer));
        if applies(self.rules) && job.delivery.can_supersede() && is_outranked { Rival::Newer } else { Rival::None }
    }

    /// Applies an input, saves the job, and puts the cell in order again.
    fn try_change(&mut self, job: &mut Job, input: Input, peers: Vec<Job>) -> Answer {
        match transition::apply(job, input, self.now, self.draw, &self.rules.retry) {
            Ok(notices) => self.report.notices.extend(notices),
            Err(refused) => return Answer::Refused(refused),
        }
        // A replayed job may have become the older of two that wait.
        if job.queued().is_some_and(|queued| queued.place == Place::Ready)
            && peers.iter().any(|peer| peer.order() < job.order() && peer.queued().is_some())
        {
            self.change(job, Input::FallBehind);
        }
        let saved = self.save(job.clone());
        self.let_next_step_up(&saved, peers);
        Answer::Job(saved)
    }

    /// When nothing older waits any more, the oldest that waits behind goes next.
    fn let_next_step_up(&mut self, job: &Job, peers: Vec<Job>) {
        let blocks = |known: &Job, order| known.order() < order && known.queued().is_some();
        let next = peers.iter().position(|peer| {
            let behind = peer.queued().is_some_and(|queued| queued.place == Place::Behind);
            behind && !blocks(job, peer.order()) && !peers.iter().any(|known| blocks(known, peer.order()))
        });
        let Some(mut next) = next.and_then(|index| peers.into_iter().nth(index)) else {
            return;
        };
        if job.under_way_since().is_none() {
            self.change(&mut next, Input::StepUp);
            self.save(next);
        }
    }

    fn prune(&mut self, ended_before: Timestamp, limit: usize) -> Result<Answer, B::Error> {
        let mut pruned = 0;
        for id in self.books.ended_before(ended_before, limit)? {
            let Some(job) = self.books.job(id)? else {
                continue;
            };
            let kept = self.peers(job.cell, Some(id))?;
            // A replay of an older flagged job must still learn that the cell has a newer grade.
            if kept.iter().any(|peer| peer.state == JobState::Flagged && peer.order() < job.order()) {
                continue;
            }
            self.report.notices.push(Notice::Moved { from: Some(job.state_name()), to: None });
            self.books.remove(job);
            pruned += 1;
        }
        Ok(Answer::Pruned(pruned))
    }

    /// The jobs of a cell but one, oldest first.
    fn peers(&mut self, cell: GradeCell, but: Option<JobId>) -> Result<Vec<Job>, B::Error> {
        let mut peers = Vec::new();
        for entry in self.books.cell(cell)? {
            if Some(entry.id) != but {
                peers.extend(self.books.job(entry.id)?);
            }
        }
        Ok(peers)
    }

    /// Applies an input that fits the state, which the caller has looked at.
    fn change(&mut self, job: &mut Job, input: Input) {
        let notices = transition::apply(job, input, self.now, self.draw, &self.rules.retry);
        self.report.notices.extend(notices.into_iter().flatten());
    }

    fn save(&mut self, job: Job) -> Arc<Job> {
        self.report.queued.extend(due_entry(&job));
        let shown = Arc::new(job.clone());
        self.books.put(job);
        shown
    }
}

/// A discarded job is no grade of its cell any more; but what it sent was sent.
fn counts(job: &Job) -> bool {
    job.state != JobState::Discarded
}

/// Waits, and has no attempt under way.
fn is_idle(place: Place) -> bool {
    matches!(place, Place::Ready | Place::Behind)
}

/// The dispatcher's entry of a job that may be started once it is due; none for any other.
pub fn due_entry(job: &Job) -> Option<DueEntry> {
    let Queued { due, place } = job.queued()?;
    (place == Place::Ready).then(|| DueEntry { due, id: job.id, cell: job.cell, origin: job.origin.clone() })
}

/// The AGS timestamp of a job's next attempt: its own, and for one cell at least a second after the last one sent.
fn next_ags_timestamp(job: &Job, peers: &[Job]) -> Option<Timestamp> {
    if job.delivery != super::destination::Delivery::Ags {
        return None;
    }
    let own = job.ags_timestamp.unwrap_or(job.occurred_at).to_millis();
    let last = peers.iter().filter_map(|peer| peer.ags_timestamp).max();
    let second = std::time::Duration::from_secs(1);
    Some(last.map_or(own, |last| if own < last + second { last + second } else { own }))
}
