//! A platform's health as the dispatcher sees it: how many attempts may be under way there now.
//!
//! Three things narrow it. A *pause* is an admin's word. A *hold* follows five failures in a row, of at least three
//! jobs, that speak against the platform; while it lasts one probe at a time goes out. A *rest* follows a rate limit.
//! After a hold or a rest the platform starts again slowly: one attempt at a time, doubling with each success.

use std::time::Duration;

use super::{
    job::JobId,
    notice::PlatformState,
    outcome::{FailureReason, Finding, RetryAfter, Verdict},
    retry::RetryPolicy,
    time::{Draw, Timestamp},
    transition::Trial,
};

/// Failures in a row that put a platform on hold.
const HOLD_AFTER: u32 = 5;
/// From how many different jobs they must come: one job's failures alone never hold a platform.
const HOLD_JOBS: usize = 3;

/// What an attempt says about the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It took the grade, or has a newer one.
    Well,
    /// It answers, and refused the grade for a reason of the job's own.
    Refusal,
    /// It does not answer, or fails on its own side.
    Sick,
    /// It wants fewer requests.
    RateLimited(Option<RetryAfter>),
    /// It answers, but not as a platform does: a page, a broken reply, a certificate that is wrong.
    Odd,
    /// Nothing was sent.
    Nothing,
}

impl Signal {
    /// What a verdict says about the platform.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict.finding {
            Finding::Failed(FailureReason::RateLimited) => Self::RateLimited(verdict.retry_after),
            Finding::Failed(reason) if reason.speaks_against_platform() => Self::Sick,
            Finding::Failed(FailureReason::Tls | FailureReason::BadResponse) => Self::Odd,
            Finding::Unsendable(_) => Self::Nothing,
            Finding::Failed(_) => Self::Refusal,
            Finding::Accepted | Finding::NotNewer(_) => Self::Well,
        }
    }
}

/// A hold, from the first moment to the first success.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Timestamp,
    /// Probes that have failed.
    probes: u32,
    next_probe: Timestamp,
    probing: bool,
}

/// What may be started at a platform now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// So many attempts may be under way, of this sort.
    Open(usize, Trial),
    /// Nothing before this time; `None`: nothing until something happens.
    Shut(Option<Timestamp>),
}

/// The health of one platform.
#[derive(Clone, Debug)]
pub struct Health {
    paused_since: Option<Timestamp>,
    hold: Option<Hold>,
    /// Failures in a row that speak against the platform.
    row: u32,
    /// Up to [`HOLD_JOBS`] different jobs of that row.
    row_jobs: Vec<JobId>,
    rests_until: Option<Timestamp>,
    /// Rests in a row; each is a step longer.
    rests: u32,
    /// Attempts that may be under way: the limit, or less in a slow start.
    room: usize,
}

impl Health {
    /// A platform as it was remembered; `room` is the limit per platform.
    pub fn new(paused_since: Option<Timestamp>, held_since: Option<Timestamp>, now: Timestamp, room: usize) -> Self {
        // The clock may have been set back while nobody looked; a hold does not begin in the future.
        let hold = held_since.map(|since| Hold { since: since.min(now), probes: 0, next_probe: now, probing: false });
        Self { paused_since, hold, ..Self::open(room) }
    }

    /// A platform that nothing is known against.
    pub fn open(room: usize) -> Self {
        Self { paused_since: None, hold: None, row: 0, row_jobs: Vec::new(), rests_until: None, rests: 0, room }
    }

    /// Open, held or paused; a pause hides a hold.
    pub fn state(&self) -> PlatformState {
        match (self.paused_since, self.hold) {
            (Some(_), _) => PlatformState::Paused,
            (None, Some(_)) => PlatformState::Held,
            (None, None) => PlatformState::Open,
        }
    }

    /// Since when an admin has it paused.
    pub fn paused_since(&self) -> Option<Timestamp> {
        self.paused_since
    }

    /// Since when it is held.
    pub fn held_since(&self) -> Option<Timestamp> {
        self.hold.map(|hold| hold.since)
    }

    /// When the next probe goes out.
    pub fn next_probe_at(&self) -> Option<Timestamp> {
        self.hold.filter(|hold| !hold.probing).map(|hold| hold.next_probe)
    }

    /// Until when it rests after a rate limit.
    pub fn rests_until(&self) -> Option<Timestamp> {
        self.rests_until
    }

    /// How many attempts may be under way now: none while it is paused, rests, or is held and its next probe is not due.
    pub fn concurrency(&self, now: Timestamp, policy: &RetryPolicy) -> usize {
        match self.room(now, policy) {
            Room::Open(room, Trial::Regular) => room,
            Room::Open(_, Trial::Probe) => 1,
            Room::Shut(_) => 0,
        }
    }

    /// What may be started now.
    pub fn room(&self, now: Timestamp, policy: &RetryPolicy) -> Room {
        if self.paused_since.is_some() {
            return Room::Shut(None);
        }
        if let Some(until) = self.rests_until.filter(|until| *until > now) {
            return Room::Shut(Some(until));
        }
        match self.hold {
            // Held for too long: its jobs are tried, and flagged, like any other.
            Some(hold) if now.since(hold.since) > policy.hold => Room::Open(self.room, Trial::Regular),
            Some(hold) if hold.probing => Room::Shut(None),
            Some(hold) if hold.next_probe > now => Room::Shut(Some(hold.next_probe)),
            Some(_) => Room::Open(usize::MAX, Trial::Probe),
            None => Room::Open(self.room, Trial::Regular),
        }
    }

    /// An attempt begins.
    pub fn handle_started(&mut self, trial: Trial) {
        if let (Trial::Probe, Some(hold)) = (trial, &mut self.hold) {
            hold.probing = true;
        }
    }

    /// An attempt ended, or never began (`Signal::Nothing`).
    pub fn handle_ended(
        &mut self,
        job: JobId,
        trial: Trial,
        signal: Signal,
        limit: usize,
        (now, draw, policy): (Timestamp, Draw, &RetryPolicy),
    ) {
        if let (Trial::Probe, Some(hold)) = (trial, &mut self.hold) {
            hold.probing = false;
        }
        match signal {
            // An attempt from before a rate limit says nothing about what the platform bears now.
            Signal::Well if self.rests_until.is_some_and(|until| until > now) => self.forget_row(),
            Signal::Well => self.recover(limit),
            Signal::Sick if self.hold.is_none() => self.sicken(job, now, policy),
            Signal::Sick | Signal::Odd => self.space_probes(trial, now, policy),
            // It answers, so this is no row of failures; but one success opens a hold, and nothing less.
            Signal::Refusal => {
                self.forget_row();
                self.space_probes(trial, now, policy);
            }
            Signal::RateLimited(asked) => {
                self.space_probes(trial, now, policy);
                self.rest(asked, now, draw, policy);
            }
            Signal::Nothing => {}
        }
    }

    fn forget_row(&mut self) {
        self.row = 0;
        self.row_jobs.clear();
    }

    fn recover(&mut self, limit: usize) {
        self.forget_row();
        self.rests = 0;
        let was_held = self.hold.take().is_some();
        self.room = if was_held { 1 } else { self.room.saturating_mul(2).clamp(1, limit) };
    }

    /// A probe that did not get through puts the next one further away.
    fn space_probes(&mut self, trial: Trial, now: Timestamp, policy: &RetryPolicy) {
        if let (Trial::Probe, Some(hold)) = (trial, &mut self.hold) {
            hold.probes = hold.probes.saturating_add(1);
            hold.next_probe = now + policy.probe_interval(hold.probes.saturating_add(1));
        }
    }

    fn sicken(&mut self, job: JobId, now: Timestamp, policy: &RetryPolicy) {
        self.row = self.row.saturating_add(1);
        if self.row_jobs.len() < HOLD_JOBS && !self.row_jobs.contains(&job) {
            self.row_jobs.push(job);
        }
        if self.row >= HOLD_AFTER && self.row_jobs.len() >= HOLD_JOBS {
            let next_probe = now + policy.probe_interval(1);
            self.hold = Some(Hold { since: now, probes: 0, next_probe, probing: false });
        }
    }

    fn rest(&mut self, asked: Option<RetryAfter>, now: Timestamp, draw: Draw, policy: &RetryPolicy) {
        self.room = 1;
        let asked = asked.and_then(|asked| asked.moment(now)).map(|moment| moment.min(now + policy.max));
        let resting = self.rests_until.is_some_and(|until| until > now);
        // Attempts that were under way when the rest began do not make it a step longer.
        if !resting {
            self.rests = self.rests.saturating_add(1);
        }
        let until = asked.unwrap_or_else(|| now + policy.jittered(self.rests, draw));
        self.rests_until = Some(match self.rests_until {
            Some(known) if resting && (asked.is_none() || known > until) => known,
            _ => until,
        });
    }

    /// The clock was set back: probes and the end of a rest keep their distance.
    pub fn handle_set_back(&mut self, by: Duration) {
        if let Some(hold) = &mut self.hold {
            hold.since = hold.since.back(by);
            hold.next_probe = hold.next_probe.back(by);
        }
        self.rests_until = self.rests_until.map(|until| until.back(by));
    }

    /// An admin stops the deliveries. False if they are stopped already.
    pub fn handle_pause(&mut self, now: Timestamp) -> bool {
        let changed = self.paused_since.is_none();
        self.paused_since.get_or_insert(now);
        changed
    }

    /// An admin lets the deliveries go on, and a hold with them. False if nothing stopped them.
    pub fn handle_resume(&mut self) -> bool {
        let changed = self.paused_since.is_some() || self.hold.is_some() || self.rests_until.is_some();
        self.paused_since = None;
        self.hold = None;
        self.rests_until = None;
        self.forget_row();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const LIMIT: usize = 16;

    fn job(n: u128) -> JobId {
        JobId::next(None, NOW, n)
    }

    fn end(health: &mut Health, n: u128, trial: Trial, signal: Signal, now: Timestamp) {
        health.handle_ended(job(n), trial, signal, LIMIT, (now, Draw::MIDDLE, &RetryPolicy::default()));
    }

    fn held() -> Health {
        let mut health = Health::new(None, None, NOW, LIMIT);
        for n in [1, 1, 1, 2, 3] {
            assert_eq!(health.state(), PlatformState::Open);
            end(&mut health, n, Trial::Regular, Signal::Sick, NOW);
        }
        health
    }

    #[test]
    fn five_failures_of_three_jobs_hold_a_platform_and_one_job_never_does() {
        assert_eq!(held().state(), PlatformState::Held);
        let mut health = Health::new(None, None, NOW, LIMIT);
        for _ in 0..100 {
            end(&mut health, 1, Trial::Regular, Signal::Sick, NOW);
        }
        assert_eq!(health.state(), PlatformState::Open);
    }

    #[test]
    fn a_success_in_between_begins_the_row_anew() {
        let mut health = Health::new(None, None, NOW, LIMIT);
        for n in 0..20 {
            let signal = if n % 5 == 4 { Signal::Well } else { Signal::Sick };
            end(&mut health, n, Trial::Regular, signal, NOW);
        }
        assert_eq!(health.state(), PlatformState::Open);
    }

    #[test]
    fn a_held_platform_gets_one_probe_at_a_time_further_and_further_apart() {
        let mut health = held();
        let policy = RetryPolicy::default();
        let mut now = NOW;
        for seconds in [30, 120, 300, 300] {
            let next = now + Duration::from_secs(seconds);
            assert_eq!(health.room(now, &policy), Room::Shut(Some(next)));
            now = next;
            assert!(matches!(health.room(now, &policy), Room::Open(_, Trial::Probe)));
            health.handle_started(Trial::Probe);
            assert_eq!(health.room(now, &policy), Room::Shut(None));
            end(&mut health, 9, Trial::Probe, Signal::Sick, now);
        }
        end(&mut health, 9, Trial::Probe, Signal::Well, now);
        assert_eq!(health.room(now, &policy), Room::Open(1, Trial::Regular));
    }

    #[test]
    fn a_probe_that_meets_a_page_or_a_rate_limit_puts_the_next_one_further_away() {
        let policy = RetryPolicy::default();
        for signal in [Signal::Odd, Signal::Refusal, Signal::RateLimited(Some(RetryAfter::Seconds(1)))] {
            let mut health = held();
            let now = NOW + Duration::from_secs(30);
            health.handle_started(Trial::Probe);
            end(&mut health, 9, Trial::Probe, signal, now);
            assert_eq!(health.next_probe_at(), Some(now + Duration::from_secs(120)));
            assert!(matches!(health.room(now, &policy), Room::Shut(Some(_))));
        }
    }

    #[test]
    fn a_late_success_does_not_shorten_a_rest() {
        let mut health = Health::new(None, None, NOW, LIMIT);
        let policy = RetryPolicy::default();
        end(&mut health, 1, Trial::Regular, Signal::RateLimited(None), NOW);
        end(&mut health, 2, Trial::Regular, Signal::Well, NOW);
        let now = NOW + Duration::from_secs(30);
        assert_eq!(health.room(now, &policy), Room::Open(1, Trial::Regular));
        end(&mut health, 3, Trial::Regular, Signal::RateLimited(None), now);
        assert_eq!(health.room(now, &policy), Room::Shut(Some(now + Duration::from_secs(120))));
    }

    #[test]
    fn after_three_days_of_hold_the_jobs_are_tried() {
        let health = held();
        let later = NOW + Duration::from_secs(72 * 3600 + 1);
        assert_eq!(health.room(later, &RetryPolicy::default()), Room::Open(LIMIT, Trial::Regular));
    }

    #[test]
    fn a_rate_limit_rests_the_platform_and_it_starts_again_slowly() {
        let mut health = Health::new(None, None, NOW, LIMIT);
        let policy = RetryPolicy::default();
        end(&mut health, 1, Trial::Regular, Signal::RateLimited(Some(RetryAfter::Seconds(7))), NOW);
        end(&mut health, 2, Trial::Regular, Signal::RateLimited(None), NOW);
        let mut now = NOW + Duration::from_secs(7);
        assert_eq!(health.room(NOW, &policy), Room::Shut(Some(now)));
        assert_eq!(health.room(now, &policy), Room::Open(1, Trial::Regular));
        for seconds in [120, 480] {
            end(&mut health, 3, Trial::Regular, Signal::RateLimited(None), now);
            let until = now + Duration::from_secs(seconds);
            assert_eq!(health.room(now, &policy), Room::Shut(Some(until)));
            now = until;
        }
        for room in [2, 4, 8, 16, 16] {
            end(&mut health, 4, Trial::Regular, Signal::Well, now);
            assert_eq!(health.room(now, &policy), Room::Open(room, Trial::Regular));
        }
    }

    #[test]
    fn a_pause_shuts_and_a_resume_opens() {
        let mut health = held();
        assert!(health.handle_pause(NOW) && !health.handle_pause(NOW));
        assert_eq!(health.state(), PlatformState::Paused);
        assert_eq!(health.room(NOW, &RetryPolicy::default()), Room::Shut(None));
        assert!(health.handle_resume() && !health.handle_resume());
        assert_eq!(health.state(), PlatformState::Open);
    }
}
