//! The state machine of a job. Total: an input that makes no sense in a state is answered with [`Refused`] and
//! changes nothing.
//!
//! It decides from the job, the input, the time, a draw and the policy alone. What it needs to know of other jobs
//! (is there a newer one in the cell?) comes in with the input.

use super::{
    advice,
    job::{Attempt, Hint, Job, JobState, Place, Queued, StateName},
    notice::{About, Notice},
    outcome::{AttemptOutcome, FailureReason, Finding, NotNewer, Verdict},
    retry::{Decision, RetryPolicy},
    time::{Draw, Timestamp},
};

/// Whether a newer job of the cell makes another try of this one pointless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// There is none.
    None,
    /// A newer grade is there.
    Newer,
}

/// What sort of attempt it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// An attempt like any other.
    Regular,
    /// A look whether a held platform is well again: a failure uses up no try.
    Probe,
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An attempt begins, with the AGS timestamp to send.
    Start {
        /// The AGS timestamp; none for the other deliveries.
        ags_timestamp: Option<Timestamp>,
    },
    /// The attempt that is under way ended.
    Finish {
        /// What came back.
        verdict: Verdict,
        /// What sort of attempt it was.
        trial: Trial,
        /// Whether another try would be pointless.
        rival: Rival,
    },
    /// The attempt that is under way was cut off: the worker was killed, or the drain ran out.
    Interrupt {
        /// Whether the score may have been written.
        reply_lost: bool,
        /// Whether another try would be pointless.
        rival: Rival,
    },
    /// The attempt that is under way on paper never began: its start reached the disk, but nobody was told so.
    Withdraw {
        /// Whether another try would be pointless.
        rival: Rival,
    },
    /// It may not be tried before this time, though nothing failed.
    Postpone {
        /// The new due time.
        due: Timestamp,
    },
    /// The clock was set back: it may be tried earlier by the new time of day, so that it waits no longer than before.
    Hasten {
        /// The new due time.
        due: Timestamp,
    },
    /// An older job of the cell goes first.
    FallBehind,
    /// No older job of the cell is in the way any more.
    StepUp,
    /// A newer grade of the cell takes its place.
    GiveWay,
    /// An admin wants it tried again, now.
    Replay {
        /// Whether the cell has a newer grade.
        rival: Rival,
    },
    /// An admin gives it up.
    Discard,
}

/// The input makes no sense in the job's state; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} cannot do this", state.name())]
pub struct Refused {
    /// The state that it is in.
    pub state: StateName,
    /// Whether an attempt is under way.
    pub under_way: bool,
}

/// Applies `input` to `job` at `now`, and tells what has happened.
pub fn apply(
    job: &mut Job,
    input: Input,
    now: Timestamp,
    draw: Draw,
    policy: &RetryPolicy,
) -> Result<Vec<Notice>, Refused> {
    let before = job.state_name();
    let refused = Refused { state: before, under_way: job.under_way_since().is_some() };
    let falls_behind = matches!(input, Input::FallBehind);
    let mut notices = Vec::new();
    match (job.queued(), input) {
        (Some(Queued { due, place: Place::Ready }), Input::Start { ags_timestamp }) if due <= now => {
            job.ags_timestamp = ags_timestamp.or(job.ags_timestamp);
            job.state = JobState::Queued(Queued { due, place: Place::UnderWay { since: now } });
        }
        (Some(Queued { place: Place::UnderWay { since }, .. }), Input::Finish { verdict, trial, rival }) => {
            finish(job, since, verdict, trial, rival, (now, draw, policy), &mut notices);
        }
        (Some(Queued { place: Place::UnderWay { since }, .. }), Input::Interrupt { reply_lost, rival }) => {
            let verdict = Verdict { reply_lost, ..Verdict::without_reply(CUT_OFF, CUT_OFF_WORDS) };
            finish(job, since, verdict, Trial::Regular, rival, (now, draw, policy), &mut notices);
        }
        (Some(Queued { due, place: Place::UnderWay { .. } }), Input::Withdraw { rival: Rival::None }) => {
            job.state = JobState::Queued(Queued { due, place: Place::Ready });
        }
        (Some(Queued { due: before, place: Place::Ready }), Input::Postpone { due }) => {
            job.state = JobState::Queued(Queued { due: due.max(before), place: Place::Ready });
        }
        (Some(Queued { due: later, place }), Input::Hasten { due }) if due < later => {
            job.state = JobState::Queued(Queued { due, place });
        }
        (Some(Queued { due, place: Place::Behind }), Input::StepUp) => {
            // A plan from the future is one from before the clock was set back; it has waited long enough. One that was
            // not tried since it came or was replayed waits for nothing but its turn.
            let is_free = job.planned_at() > now || job.tries == 0;
            // And one that was last changed in the future was passed by when the others were put forward, behind an attempt
            // that was under way: the clock was set back by so much at the least.
            let missed = job.updated_at.since(now);
            let due = if is_free { due.min(now) } else { due.back(missed) };
            job.state = JobState::Queued(Queued { due, place: Place::Ready });
        }
        (Some(Queued { due, place: Place::Ready }), Input::FallBehind) => {
            job.state = JobState::Queued(Queued { due, place: Place::Behind });
        }
        (Some(Queued { place: Place::UnderWay { .. }, .. }), Input::Withdraw { rival: Rival::Newer })
        | (Some(Queued { place: Place::Ready | Place::Behind, .. }), Input::GiveWay) => {
            end(job, JobState::Superseded, now, "", &mut notices);
        }
        (Some(Queued { place: Place::Ready | Place::Behind, .. }), Input::Discard) => {
            end(job, JobState::Discarded, now, "", &mut notices);
        }
        (Some(Queued { place, .. }), Input::Replay { .. }) if !matches!(place, Place::UnderWay { .. }) => {
            job.state = JobState::Queued(Queued { due: now, place });
            notices.push(Notice::Replayed { about: about(job) });
        }
        (None, Input::Replay { rival }) if job.state == JobState::Flagged => {
            replay_flagged(job, rival, now, &mut notices);
        }
        (None, Input::Discard) if job.state == JobState::Flagged => {
            end(job, JobState::Discarded, now, "", &mut notices);
        }
        _ => return Err(refused),
    }
    // What only falls behind keeps its plan, and so what shows that this is from the future.
    job.updated_at = if falls_behind { now.max(job.updated_at) } else { now };
    let after = job.state_name();
    if after != before {
        notices.push(Notice::Moved { from: Some(before), to: Some(after) });
    }
    Ok(notices)
}

const CUT_OFF: Finding = Finding::Failed(FailureReason::Connection);
const CUT_OFF_WORDS: &str = "the attempt was cut off when the worker stopped";

fn finish(
    job: &mut Job,
    since: Timestamp,
    verdict: Verdict,
    trial: Trial,
    rival: Rival,
    (now, draw, policy): (Timestamp, Draw, &RetryPolicy),
    notices: &mut Vec<Notice>,
) {
    let conclusion = conclude(job, verdict.finding);
    if let Conclusion::Unsendable(reason) = conclusion {
        match rival {
            Rival::Newer => end(job, JobState::Superseded, now, "", notices),
            Rival::None => flag(job, reason, None, now, &verdict.message, notices),
        }
        return;
    }
    let outcome = conclusion.outcome();
    let counted = !(trial == Trial::Probe && matches!(outcome, AttemptOutcome::Failed(_)));
    job.tries = job.tries.saturating_add(u32::from(counted));
    let duration = now.since(since);
    notices.push(Notice::AttemptEnded {
        about: about(job),
        outcome,
        duration,
        http_status: verdict.http_status,
        message: verdict.message.as_str().into(),
        tries: job.tries,
        counted,
    });
    job.remember(Attempt {
        // Where the clock was set back meanwhile, what follows is counted by the new time of day.
        started_at: since.min(now),
        duration,
        http_status: verdict.http_status,
        outcome,
        message: verdict.message.into(),
        reply_lost: verdict.reply_lost,
        counted,
        column_remade: verdict.column_remade,
        grade_answered: verdict.grade_answered,
    });
    let words = job.attempts.last().map(|attempt| attempt.message.clone()).unwrap_or_default();
    match conclusion {
        Conclusion::Delivered => end(job, JobState::Delivered, now, "", notices),
        Conclusion::Superseded => end(job, JobState::Superseded, now, "", notices),
        Conclusion::Doubtful | Conclusion::Failed(_) if rival == Rival::Newer => {
            end(job, JobState::Superseded, now, "", notices);
        }
        Conclusion::Doubtful => flag(job, FailureReason::Rejected, Some(Hint::LookAtTheGrade), now, &words, notices),
        // The probe of a held platform failed: the job waits behind the others, with all of its tries.
        Conclusion::Failed(reason) if !counted => queue_again(job, reason, now),
        Conclusion::Failed(reason) | Conclusion::Unsendable(reason) => {
            match policy.decide(job.tries, reason, verdict.retry_after, now, draw) {
                Decision::RetryAt(due) => {
                    queue_again(job, reason, due);
                    notices.push(Notice::RetryScheduled { about: about(job), due });
                }
                Decision::Flag => flag(job, reason, None, now, &words, notices),
            }
        }
    }
}

/// What a finding means in the light of the job's history.
#[derive(Clone, Copy)]
enum Conclusion {
    Delivered,
    Superseded,
    /// "Already exists" after a 500: the platform may have rolled back or not.
    Doubtful,
    Failed(FailureReason),
    Unsendable(FailureReason),
}

impl Conclusion {
    fn outcome(self) -> AttemptOutcome {
        match self {
            Self::Delivered => AttemptOutcome::Delivered,
            Self::Superseded => AttemptOutcome::Superseded,
            Self::Doubtful => AttemptOutcome::Failed(FailureReason::Rejected),
            Self::Failed(reason) | Self::Unsendable(reason) => AttemptOutcome::Failed(reason),
        }
    }
}

fn conclude(job: &Job, finding: Finding) -> Conclusion {
    match finding {
        Finding::Accepted => Conclusion::Delivered,
        Finding::NotNewer(NotNewer::AlreadyExists) if job.met_a_500() => Conclusion::Doubtful,
        Finding::NotNewer(_) if job.lost_a_reply() => Conclusion::Delivered,
        Finding::NotNewer(_) => Conclusion::Superseded,
        Finding::Failed(reason) => Conclusion::Failed(reason),
        Finding::Unsendable(reason) => Conclusion::Unsendable(reason),
    }
}

fn queue_again(job: &mut Job, reason: FailureReason, due: Timestamp) {
    job.reason = Some(reason);
    job.state = JobState::Queued(Queued { due, place: Place::Ready });
}

fn flag(
    job: &mut Job,
    reason: FailureReason,
    hint: Option<Hint>,
    now: Timestamp,
    words: &str,
    notices: &mut Vec<Notice>,
) {
    job.reason = Some(reason);
    job.hint = hint;
    end(job, JobState::Flagged, now, words, notices);
}

fn replay_flagged(job: &mut Job, rival: Rival, now: Timestamp, notices: &mut Vec<Notice>) {
    if rival == Rival::Newer {
        end(job, JobState::Superseded, now, "", notices);
        return;
    }
    notices.push(Notice::Replayed { about: about(job) });
    job.tries = 0;
    job.hint = None;
    job.ended_at = None;
    job.state = JobState::Queued(Queued { due: now, place: Place::Ready });
}

/// `words` say what went wrong, where something did.
fn end(job: &mut Job, state: JobState, now: Timestamp, words: &str, notices: &mut Vec<Notice>) {
    job.state = state;
    job.parsed = None;
    job.ended_at = Some(now);
    job.ends = job.ends.saturating_add(1);
    if matches!(state, JobState::Delivered | JobState::Superseded) {
        job.reason = None;
        job.hint = None;
    }
    let about = about(job);
    notices.push(match (state, job.reason) {
        (JobState::Delivered, _) => Notice::Delivered { about, latency: now.since(job.created_at) },
        (JobState::Flagged, Some(reason)) => {
            let advice = advice::advice(job, job.event().ok().as_deref()).unwrap_or(reason.advice().into());
            Notice::Flagged { about, reason, words: words.into(), advice }
        }
        (JobState::Discarded, _) => Notice::Discarded { about },
        _ => Notice::Superseded { about },
    });
}

/// What every notice of this job carries.
pub(super) fn about(job: &Job) -> About {
    About { job: job.id, session: job.session_id.clone(), delivery: job.delivery, origin: job.origin.clone() }
}
