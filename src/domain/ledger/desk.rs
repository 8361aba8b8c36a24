//! One order at the desk: what it makes of an event, an attempt or an admin's word, seen against all jobs of the cell.
//!
//! Decisions about one job are `transition`'s; here is what they mean for the others of its cell: who gives way, who
//! goes first, who steps up.

use std::{sync::Arc, time::Duration};

use super::{Answer, Arrival, Books, CellEntry, Mode, Outcomes, PlatformRecord, Report, Rules, due_entry};
use crate::domain::{
    bulk::{Came, Change, Standing, Step, Task},
    destination::{Delivery, Destination, GradeCell, Origin},
    drawer::{Drawer, JobEnd},
    event::GradeEvent,
    job::{IdempotencyKey, Job, JobId, JobState, Place, Queued, StateName},
    notice::Notice,
    time::{Draw, Timestamp},
    transition::{self, Input, Rival, about},
};

/// One order being carried out.
pub(super) struct Desk<'a, B: Books> {
    pub(super) books: &'a mut B,
    pub(super) rules: &'a Rules,
    pub(super) now: Timestamp,
    pub(super) draw: Draw,
    pub(super) report: &'a mut Report,
}

impl<B: Books> Desk<'_, B> {
    pub(super) fn admit(&mut self, arrival: Arrival) -> Result<Answer, B::Error> {
        let cell = arrival.event.destination.cell(arrival.event.session_id.as_deref());
        let peers = self.books.cell(cell)?;
        if let Some(known) = self.known(&arrival.key, &peers)? {
            self.report.notices.push(Notice::EventDuplicate { job: known, source: arrival.source });
            return Ok(Answer::Duplicate(known));
        }
        let source = arrival.source;
        // The clock may have been set back since the last event of this cell came: the later one is the later one.
        let came_at = peers.iter().map(|peer| peer.created_at).fold(self.now, Timestamp::max);
        let mut job = self.new_job(arrival, cell, came_at)?;
        let (older, newer) = peers.split_at(peers.partition_point(|peer| peer.order() < job.order()));
        if job.delivery.can_supersede() && self.came_too_late(&job, newer) {
            job.state = JobState::Superseded;
            job.parsed = None;
            job.ended_at = Some(self.now);
            job.ends = 1;
        } else if self.settle_older(&job, older)? {
            job.state = JobState::Queued(Queued { due: self.now, place: Place::Behind });
        }
        for peer in newer {
            self.make_wait(&job, peer)?;
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
    fn known(&mut self, key: &IdempotencyKey, peers: &[CellEntry]) -> Result<Option<JobId>, B::Error> {
        match key {
            IdempotencyKey::Content(_) => {
                let Some(newest) = peers.iter().rfind(|peer| counts(peer)) else {
                    return Ok(None);
                };
                Ok(self.books.job(newest.id)?.filter(|newest| newest.key == *key).map(|newest| newest.id))
            }
            IdempotencyKey::Event(_) | IdempotencyKey::Message(_) => self.books.job_of_key(key),
        }
    }

    /// `came_at` is the arrival as the cell sees it: the time of day, and never before an earlier arrival.
    fn new_job(&mut self, arrival: Arrival, cell: GradeCell, came_at: Timestamp) -> Result<Job, B::Error> {
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
            occurred_at: event.occurred_at.or(sent_at).unwrap_or(came_at).min(came_at),
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
            parsed: Some(Arc::new(event)),
        })
    }

    /// Remembers a platform the first time that a grade goes there.
    fn meet_platform(&mut self, event: &GradeEvent, origin: &Origin) -> Result<(), B::Error> {
        let client_id = match &event.destination {
            Destination::Ags(target) => Some(&target.client_id),
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
    fn came_too_late(&self, job: &Job, newer: &[CellEntry]) -> bool {
        newer.iter().filter(|peer| counts(peer)).any(|peer| {
            let outranks = peer.bears_grade || !job.bears_grade;
            // Without superseding each grade is delivered in its turn, as long as its turn has not passed.
            let still_waits = !self.rules.supersede && peer.queued().is_some_and(|queued| is_idle(queued.place));
            outranks && !still_waits
        })
    }

    /// Older queued jobs of the cell give way to this one, or go first. True if one of them goes first.
    fn settle_older(&mut self, job: &Job, older: &[CellEntry]) -> Result<bool, B::Error> {
        let mut goes_first = false;
        for peer in older {
            let Some(Queued { place, .. }) = peer.queued() else {
                continue;
            };
            if is_idle(place) && self.outranks(job, peer) {
                self.change_peer(peer.id, Input::GiveWay)?;
            } else {
                goes_first = true;
            }
        }
        Ok(goes_first)
    }

    /// Whether `newer` makes `older` pointless.
    fn outranks(&self, newer: &Job, older: &CellEntry) -> bool {
        self.rules.supersede && older.delivery.can_supersede() && (newer.bears_grade || !older.bears_grade)
    }

    /// A newer job of the cell lets this older one go first.
    fn make_wait(&mut self, job: &Job, peer: &CellEntry) -> Result<(), B::Error> {
        let ready = peer.queued().is_some_and(|queued| queued.place == Place::Ready);
        if ready && job.queued().is_some() {
            self.change_peer(peer.id, Input::FallBehind)?;
        }
        Ok(())
    }

    pub(super) fn start(&mut self, id: JobId) -> Result<Answer, B::Error> {
        let Some(job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let ready = job.queued().is_some_and(|queued| queued.place == Place::Ready);
        if !ready {
            return Ok(Answer::NotNow);
        }
        let mut job = Job::clone(&job);
        let peers = self.books.cell(job.cell)?;
        let older_waits = peers.iter().any(|peer| peer.order() < job.order() && peer.queued().is_some());
        let cell_busy = peers.iter().any(|peer| peer.id != id && peer.is_under_way());
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

    pub(super) fn cut_off(&mut self, id: JobId, since: Timestamp) -> Result<Answer, B::Error> {
        let is_that_one = self.books.job(id)?.is_some_and(|job| job.under_way_since() == Some(since));
        if !is_that_one {
            return Ok(Answer::NotNow);
        }
        self.end_attempt(id, |rival| Input::Interrupt { reply_lost: true, rival })
    }

    pub(super) fn end_attempt(&mut self, id: JobId, input: impl FnOnce(Rival) -> Input) -> Result<Answer, B::Error> {
        let Some(job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let peers = self.books.cell(job.cell)?;
        let rival = self.rival(&job, &peers, |rules| rules.supersede);
        self.try_change(Job::clone(&job), input(rival), &peers)
    }

    pub(super) fn hasten(
        &mut self,
        (id, due): (JobId, Timestamp),
        by: Duration,
        noticed: Option<Timestamp>,
    ) -> Result<Answer, B::Error> {
        let Some(job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        // Ordered a second time, because nobody knew whether the first time reached the disk.
        if job.queued().is_none_or(|queued| queued.due != due) {
            return Ok(Answer::NotNow);
        }
        let new_from = noticed.map_or(Timestamp::from_micros(i64::MIN), |noticed| noticed.back(NOTICED_WITHIN));
        let peers = self.books.cell(job.cell)?;
        let behind = |peer: &&CellEntry| peer.queued().is_some_and(|queued| queued.place == Place::Behind);
        let behind = peers.iter().filter(behind).map(|peer| peer.id).filter(|peer| *peer != id);
        let mut peers_were_moved = false;
        for peer in behind {
            peers_were_moved |= self.put_forward(peer, by, new_from)?;
        }
        if !self.put_forward(id, by, new_from)? && peers_were_moved {
            // It stays, but its due time must tell that those behind it were put forward.
            self.change_peer(id, Input::Hasten { due: due.back(PUT_FORWARD_MARK) })?;
        }
        Ok(Answer::Done)
    }

    /// Puts one job forward, if it waits and does so since before the jump. Tells whether it was.
    fn put_forward(&mut self, id: JobId, by: Duration, new_from: Timestamp) -> Result<bool, B::Error> {
        let Some(job) = self.books.job(id)? else {
            return Ok(false);
        };
        let is_new = (new_from..=self.now).contains(&job.updated_at);
        let waits = |queued: &Queued| queued.due > self.now && !matches!(queued.place, Place::UnderWay { .. });
        let Some(Queued { due, .. }) = job.queued().filter(waits).filter(|_| !is_new) else {
            return Ok(false);
        };
        self.change_peer(id, Input::Hasten { due: due.back(by).max(self.now) })?;
        Ok(true)
    }

    pub(super) fn replay(&mut self, id: JobId, mode: Mode) -> Result<Answer, B::Error> {
        let Some(job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let mut job = Job::clone(&job);
        let peers = self.books.cell(job.cell)?;
        let rival = self.rival(&job, &peers, |_| true);
        if mode == Mode::Rehearsal {
            let input = Input::Replay { rival };
            let tried = transition::apply(&mut job, input, self.now, self.draw, &self.rules.retry);
            return Ok(tried.map_or_else(Answer::Refused, |_| Answer::Job(Arc::new(job))));
        }
        self.try_change(job, Input::Replay { rival }, &peers)
    }

    pub(super) fn discard(&mut self, id: JobId) -> Result<Answer, B::Error> {
        let Some(job) = self.books.job(id)? else {
            return Ok(Answer::NoSuchJob);
        };
        let peers = self.books.cell(job.cell)?;
        self.try_change(Job::clone(&job), Input::Discard, &peers)
    }

    /// Changes some jobs and counts them, and notes how far the task has come. A job that has moved on since it was listed
    /// is not what was asked for any more: it stays as it is.
    pub(super) fn step(
        &mut self,
        key: &[u8],
        mut task: Task,
        ids: &[JobId],
        unreadable: Option<JobId>,
    ) -> Result<Answer, B::Error> {
        let mut step = Step(unreadable.into_iter().map(|id| (id, Came::Skipped)).collect());
        let wanted = task.wanted();
        for id in ids {
            let is_wanted = self.books.job(*id)?.is_some_and(|job| Some(job.state_name()) == wanted);
            let answer = match task.change {
                _ if !is_wanted => Answer::NotNow,
                Change::Replay => self.replay(*id, Mode::Earnest)?,
                Change::Discard => self.discard(*id)?,
            };
            step.0.push((
                *id,
                Came::to(match answer {
                    Answer::Job(job) => Some(job.state_name()),
                    _ => None,
                }),
            ));
        }
        step.0.iter().for_each(|(_, came)| task.count(*came));
        if let Some(note) = step.note(key) {
            self.books.put_note(Drawer::Steps, &note.key, Some(&note.record));
        }
        self.books.put_note(Drawer::Bulk, key, Some(&task.record()));
        if task.standing != Standing::Running {
            self.books.put_note(Drawer::Audit, key, Some(&task.entry().record()));
        }
        Ok(Answer::Done)
    }

    /// Whether the cell has a newer job that makes another try of this one pointless.
    fn rival(&self, job: &Job, peers: &[CellEntry], applies: impl Fn(&Rules) -> bool) -> Rival {
        let outranks = |peer: &CellEntry| peer.order() > job.order() && (peer.bears_grade || !job.bears_grade);
        let is_outranked = peers.iter().any(|peer| counts(peer) && outranks(peer));
        if applies(self.rules) && job.delivery.can_supersede() && is_outranked { Rival::Newer } else { Rival::None }
    }

    /// Applies an input, saves the job, and puts the cell in order again.
    fn try_change(&mut self, mut job: Job, input: Input, peers: &[CellEntry]) -> Result<Answer, B::Error> {
        match transition::apply(&mut job, input, self.now, self.draw, &self.rules.retry) {
            Ok(notices) => self.report.notices.extend(notices),
            Err(refused) => return Ok(Answer::Refused(refused)),
        }
        // A replayed job may have become the older of two that wait.
        if job.queued().is_some_and(|queued| queued.place == Place::Ready)
            && peers.iter().any(|peer| peer.order() < job.order() && peer.queued().is_some())
        {
            self.change(&mut job, Input::FallBehind);
        }
        let saved = self.save(job);
        self.let_next_step_up(&saved, peers)?;
        Ok(Answer::Job(saved))
    }

    /// When nothing older waits any more, the oldest that waits behind goes next.
    fn let_next_step_up(&mut self, job: &Job, peers: &[CellEntry]) -> Result<(), B::Error> {
        // The oldest that is queued, beside this job: if even that one may not step up, none may.
        let Some(next) = peers.iter().find(|peer| peer.id != job.id && peer.queued().is_some()) else {
            return Ok(());
        };
        let behind = next.queued().is_some_and(|queued| queued.place == Place::Behind);
        let job_goes_first = job.queued().is_some() && job.order() < next.order();
        if behind && !job_goes_first && job.under_way_since().is_none() {
            self.change_peer(next.id, Input::StepUp)?;
        }
        Ok(())
    }

    /// The job is written as it is: what became of it was noted and told by the store that it comes from.
    pub(super) fn restore(&mut self, job: Job) -> Result<Answer, B::Error> {
        let id = job.id;
        if self.books.job(id)?.is_some() {
            return Ok(Answer::Duplicate(id));
        }
        if self.books.last_id() > Some(id) {
            return Ok(Answer::NotNow);
        }
        self.report.notices.push(Notice::Moved { from: None, to: Some(job.state_name()) });
        self.report.queued.extend(due_entry(&job));
        self.books.put(Arc::new(job));
        Ok(Answer::Stored(id))
    }

    pub(super) fn reconcile(&mut self, cell: GradeCell) -> Result<Answer, B::Error> {
        let peers = self.books.cell(cell)?;
        let mut waits = false;
        for peer in peers.iter() {
            let Some(Queued { place, .. }) = peer.queued() else { continue };
            let Some(job) = self.books.job(peer.id)? else { continue };
            let outranked = self.rival(&job, &peers, |rules| rules.supersede) == Rival::Newer;
            match place {
                Place::UnderWay { .. } => waits = true,
                _ if outranked => self.change_peer(peer.id, Input::GiveWay)?,
                Place::Ready if waits => self.change_peer(peer.id, Input::FallBehind)?,
                Place::Behind if !waits => {
                    self.change_peer(peer.id, Input::StepUp)?;
                    waits = true;
                }
                Place::Ready | Place::Behind => waits = true,
            }
        }
        Ok(Answer::Done)
    }

    pub(super) fn prune(&mut self, ended_before: Timestamp, limit: usize) -> Result<Answer, B::Error> {
        let mut removed = 0;
        let ended = self.books.ended_before(ended_before, limit)?;
        for id in ended.jobs {
            let Some(job) = self.books.job(id)? else {
                continue;
            };
            let kept = self.books.cell(job.cell)?;
            // A replay of an older flagged job must still learn that the cell has a newer grade.
            if kept.iter().any(|peer| peer.state == JobState::Flagged && peer.order() < job.order()) {
                continue;
            }
            self.report.notices.push(Notice::Moved { from: Some(job.state_name()), to: None });
            self.books.remove(&job);
            removed += 1;
        }
        Ok(Answer::Pruned { removed, more: ended.more })
    }

    /// Applies an input that fits the state of another job of the cell.
    fn change_peer(&mut self, id: JobId, input: Input) -> Result<(), B::Error> {
        if let Some(job) = self.books.job(id)? {
            let mut job = Job::clone(&job);
            self.change(&mut job, input);
            self.save(job);
        }
        Ok(())
    }

    /// Applies an input that fits the state, which the caller has looked at.
    fn change(&mut self, job: &mut Job, input: Input) {
        let notices = transition::apply(job, input, self.now, self.draw, &self.rules.retry);
        self.report.notices.extend(notices.into_iter().flatten());
    }

    fn save(&mut self, job: Job) -> Arc<Job> {
        self.report.queued.extend(due_entry(&job));
        if let (Outcomes::Noted, Some(end)) = (self.rules.outcomes, JobEnd::of(&job)) {
            let note = end.note();
            self.books.put_note(Drawer::Outcomes, &note.key, Some(&note.record));
        }
        let job = Arc::new(job);
        self.books.put(Arc::clone(&job));
        job
    }
}

/// A clock that was set back is noticed so soon.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
/// So much earlier is a job that stays itself, while those behind it are put forward.
const PUT_FORWARD_MARK: Duration = Duration::from_millis(1);

/// A discarded job is no grade of its cell any more; but what it sent was sent.
fn counts(peer: &CellEntry) -> bool {
    peer.state != JobState::Discarded
}

/// Waits, and has no attempt under way.
fn is_idle(place: Place) -> bool {
    matches!(place, Place::Ready | Place::Behind)
}

/// The AGS timestamp of a job's next attempt: its own, and for one cell at least a second after the last one sent.
fn next_ags_timestamp(job: &Job, peers: &[CellEntry]) -> Option<Timestamp> {
    if job.delivery != Delivery::Ags {
        return None;
    }
    let own = job.ags_timestamp.unwrap_or(job.occurred_at).to_millis();
    let last = peers.iter().filter(|peer| peer.id != job.id).filter_map(|peer| peer.ags_timestamp).max();
    let second = Duration::from_secs(1);
    Some(last.map_or(own, |last| if own < last + second { last + second } else { own }))
}
