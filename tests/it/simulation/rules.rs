//! The rules for one job: what may have become of it between two commits.

use std::time::{Duration, UNIX_EPOCH};

use passback::{
    domain::{
        job::{Job, JobState},
        outcome::AttemptOutcome,
        retry::{Permanent, RetryPolicy},
        time::Timestamp,
    },
    lti::wire::Answer as Reply,
};

use super::{
    oracle::{Broken, Known, Oracle, Said},
    plan::Grade,
};

/// A job before a commit and after it.
pub(super) struct Step<'a> {
    pub(super) known: &'a Known,
    pub(super) job: &'a Job,
    pub(super) said: &'a [Said],
    pub(super) oracle: &'a Oracle,
}

type Rule = fn(&Step<'_>) -> Result<(), String>;

const RULES: &[(&str, Rule)] = &[
    ("a job stays the job that it is", identity),
    ("history never shrinks", history),
    ("an attempt that began stands in the history", every_attempt),
    ("attempts never exceed the budget", budget),
    ("a failed probe uses up no attempt", probes),
    ("a retry waits for its time", waits),
    ("an ended job is left only by a replay", ended),
    ("delivered means that the platform has it", delivered),
    ("superseded means that something newer is there", superseded),
    ("flagged means that nothing helped", flagged),
    ("discarded is an admin's word", discarded),
];

/// The first rule that a step breaks.
pub(super) fn check(step: &Step<'_>) -> Option<Broken> {
    RULES.iter().find_map(|(rule, holds)| holds(step).err().map(|words| Broken { rule, words }))
}

/// A job that is not there any more was old, had ended, and was swept.
pub(super) fn check_gone(known: &Known, said: &[Said], oracle: &Oracle) -> Option<Broken> {
    let broken = |words: &str| Some(Broken { rule: "no job disappears", words: words.to_owned() });
    let job = &known.job;
    let sweep = said.iter().find_map(|said| match said {
        Said::Prune(before) => Some(*before),
        _ => None,
    });
    let Some(before) = sweep else { return broken("nobody swept") };
    if matches!(job.state, JobState::Queued(_) | JobState::Flagged) && !said.iter().any(|s| s.job() == Some(job.id)) {
        return broken("it had not ended");
    }
    let touched = said.iter().any(|said| said.job().is_some());
    let waits = |peer: &&Known| {
        let job = &peer.job;
        job.cell == known.job.cell && job.state == JobState::Flagged && job.order() < known.job.order() && !peer.gone
    };
    if !touched && oracle.jobs.values().any(|peer| waits(&peer)) {
        return broken("an older flagged job of its cell may be replayed");
    }
    if job.ended_at.is_some_and(|ended| ended >= before) {
        return broken("it is not old enough");
    }
    None
}

/// Whether two pictures of a job are the same.
pub(super) fn is_same(one: &Job, other: &Job) -> bool {
    one.state == other.state
        && one.attempts == other.attempts
        && (one.tries, one.ends, one.ags_timestamp) == (other.tries, other.ends, other.ags_timestamp)
}

/// How many attempts a job has made.
pub(super) fn made(job: &Job) -> usize {
    job.attempts.len() + job.attempts_omitted as usize
}

impl Step<'_> {
    fn was(&self) -> &Job {
        &self.known.job
    }

    fn count(&self, is_meant: impl Fn(&Said) -> bool) -> usize {
        self.said.iter().filter(|said| said.job() == Some(self.job.id) && is_meant(said)).count()
    }

    fn ends(&self) -> usize {
        self.count(|said| matches!(said, Said::Finish(..) | Said::Interrupt(..)))
    }

    fn is_replayed(&self) -> bool {
        self.count(|said| matches!(said, Said::Replay(_))) > 0
    }

    fn is_given_up(&self) -> bool {
        self.count(|said| matches!(said, Said::Discard(_) | Said::GiveUp(_))) > 0
    }

    fn grown(&self) -> usize {
        made(self.job).saturating_sub(made(self.was()))
    }

    fn has_changed_to(&self, state: JobState) -> bool {
        self.job.state == state && (self.was().state != state || self.was().ends != self.job.ends)
    }

    fn last_failed(&self) -> bool {
        self.job.attempts.last().is_some_and(|last| matches!(last.outcome, AttemptOutcome::Failed(_)))
    }

    fn policy(&self) -> &RetryPolicy {
        &self.oracle.rules.retry
    }
}

fn need(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}

fn identity(step: &Step<'_>) -> Result<(), String> {
    let (was, job) = (step.was(), step.job);
    let same = was.body == job.body
        && was.key == job.key
        && was.cell == job.cell
        && was.origin == job.origin
        && was.occurred_at == job.occurred_at
        && was.created_at == job.created_at;
    need(same, || "its event, key, cell or time is another".to_owned())
}

fn history(step: &Step<'_>) -> Result<(), String> {
    let (was, job) = (step.was(), step.job);
    let kept = job.attempts_omitted > was.attempts_omitted || job.attempts.starts_with(&was.attempts);
    need(kept && made(job) >= made(was) && job.ends >= was.ends, || {
        format!("{} attempts and {} ends, and were {} and {}", made(job), job.ends, made(was), was.ends)
    })?;
    need(step.grown() <= step.ends(), || format!("{} more attempts after {} ends", step.grown(), step.ends()))
}

fn every_attempt(step: &Step<'_>) -> Result<(), String> {
    let left = step.was().under_way_since().is_some() && step.job.under_way_since().is_none();
    let cut_off = step.count(|said| matches!(said, Said::Interrupt(..))) > 0;
    let nothing_was_sent = !step.known.sent && !cut_off;
    need(!left || step.grown() > 0 || nothing_was_sent, || "an attempt left no trace".to_owned())
}

fn budget(step: &Step<'_>) -> Result<(), String> {
    let job = step.job;
    let counted = job.attempts.iter().filter(|attempt| attempt.counted).count();
    need(job.tries <= step.policy().max_retries + 1, || format!("{} tries", job.tries))?;
    let new = job.attempts.len().min(step.grown());
    let new = job.attempts.iter().rev().take(new).filter(|attempt| attempt.counted).count();
    let expected = step.was().tries as usize + new;
    let reset = step.is_replayed() && job.tries as usize <= expected;
    need(reset || job.tries as usize == expected, || {
        format!("{} tries of {counted} attempts, and were {}", job.tries, step.was().tries)
    })
}

fn probes(step: &Step<'_>) -> Result<(), String> {
    let (finished, interrupted) =
        (step.count(|said| matches!(said, Said::Finish(..))), step.count(|said| matches!(said, Said::Interrupt(..))));
    if finished == 0 || interrupted > 0 || step.grown() != 1 || !step.last_failed() {
        return Ok(());
    }
    let counted = step.job.attempts.last().is_some_and(|last| last.counted);
    need(counted != step.known.held, || {
        format!(
            "the attempt {} while its platform was {}held",
            word(counted),
            if step.known.held { "" } else { "not " }
        )
    })
}

fn word(counted: bool) -> &'static str {
    if counted { "counts" } else { "does not count" }
}

fn waits(step: &Step<'_>) -> Result<(), String> {
    let Some(queued) = step.job.queued() else { return Ok(()) };
    let last = step.job.attempts.last().filter(|last| step.grown() == 1 && last.counted);
    let hastened = |said: &Said| matches!(said, Said::Hasten(id) if step.oracle.is_peer(*id, step.job.id));
    let is_moved = step.is_replayed() || step.said.iter().any(hastened);
    let Some(last) = last.filter(|_| !is_moved && step.job.under_way_since().is_none()) else {
        return Ok(());
    };
    let policy = step.policy();
    let ended = step.said.iter().find_map(|said| match said {
        Said::Finish(id, at) | Said::Interrupt(id, at) if *id == step.job.id => Some(*at),
        _ => None,
    });
    let ended = ended.unwrap_or(last.started_at + last.duration);
    let wait = policy.initial.as_secs_f64() * policy.multiplier.powi(step.job.tries.cast_signed() - 1);
    let wait = wait.min(policy.max.as_secs_f64());
    // A millisecond for the rounding of the arithmetic.
    let least = ended + Duration::from_secs_f64((wait * (1.0 - policy.jitter) - 0.001).max(0.0));
    let most = ended + Duration::from_secs_f64((wait * (1.0 + policy.jitter)).max(policy.max.as_secs_f64()) + 0.001);
    need(queued.due >= least && queued.due <= most, || {
        format!("due {}, not from {least} to {most} after try {}", queued.due, step.job.tries)
    })?;
    let asked = step.known.asked.map(|asked| asked.min(ended + policy.max));
    let finished = step.count(|said| matches!(said, Said::Finish(..))) > 0;
    need(!finished || asked.is_none_or(|asked| queued.due >= asked), || {
        format!("due {}, and the platform asked to wait until {asked:?}", queued.due)
    })
}

fn ended(step: &Step<'_>) -> Result<(), String> {
    let (was, job) = (step.was(), step.job);
    if was.queued().is_some() || is_same(was, job) {
        return Ok(());
    }
    let told = step.is_replayed() || step.is_given_up();
    need(told && was.state == JobState::Flagged, || format!("{:?} became {:?}", was.state, job.state))
}

fn delivered(step: &Step<'_>) -> Result<(), String> {
    if !step.has_changed_to(JobState::Delivered) {
        return Ok(());
    }
    // A platform that holds a newer grade, a teacher's or one that was swept, says the same after a lost reply as one
    // that holds ours.
    let (platform, _) = step.oracle.names[step.known.event];
    let swept = step.oracle.jobs.values().any(|known| known.gone && known.job.cell == step.job.cell);
    let guessed = (step.oracle.foreign[platform] || swept) && step.job.lost_a_reply();
    // What a platform shows when it is asked back is there, whichever job of the cell has brought it.
    need(step.known.applied > 0 || step.known.shown > 0 || guessed, || "the platform never got it".to_owned())
}

fn superseded(step: &Step<'_>) -> Result<(), String> {
    if !step.has_changed_to(JobState::Superseded) {
        return Ok(());
    }
    let last = step.job.attempts.last().filter(|_| step.grown() > 0);
    if last.is_some_and(|last| last.outcome == AttemptOutcome::Superseded) {
        let id = step.job.id;
        return need(!step.oracle.holders.contains(&id), || "the platform has this very grade".to_owned());
    }
    let gone_now = [Said::Discard, Said::GiveUp];
    let outranks = |peer: &Job| {
        peer.cell == step.job.cell
            && peer.order() > step.job.order()
            && (peer.bears_grade || !step.job.bears_grade)
            && (peer.state != JobState::Discarded || gone_now.iter().any(|said| step.said.contains(&said(peer.id))))
    };
    let mut peers = step.oracle.jobs.values();
    need(peers.any(|known| outranks(&known.job)), || "nothing newer is there".to_owned())
}

fn flagged(step: &Step<'_>) -> Result<(), String> {
    if !step.has_changed_to(JobState::Flagged) {
        return Ok(());
    }
    let (job, policy) = (step.job, step.policy());
    let Some(reason) = job.reason else { return Err("without a reason".to_owned()) };
    let spent = job.tries > policy.max_retries;
    let hopeless =
        reason.is_known_before_sending() || (policy.permanent == Permanent::Flag && reason.looks_permanent());
    need(spent || hopeless || job.hint.is_some(), || format!("{} after {} tries", reason.name(), job.tries))
}

fn discarded(step: &Step<'_>) -> Result<(), String> {
    if !step.has_changed_to(JobState::Discarded) {
        return Ok(());
    }
    need(step.is_given_up(), || "nobody said so".to_owned())?;
    let by_name = step.count(|said| matches!(said, Said::Discard(_))) > 0;
    let was_flagged = step.was().state == JobState::Flagged || step.ends() > 0;
    need(by_name || was_flagged, || "a bulk change took one that was not flagged".to_owned())
}

/// Whether the grade that was heard is that of the event; LTI 1.1 knows parts of one alone.
pub(super) fn is_that_grade(want: Grade, heard: Grade) -> bool {
    match (want, heard) {
        (Grade::Points(given, maximum), Grade::Points(part, 1.0)) if (maximum - 1.0).abs() > f64::EPSILON => {
            (0.0..=1.0).contains(&part) && ((given / maximum).clamp(0.0, 1.0) - part).abs() < 1e-12
        }
        (want, heard) => want == heard,
    }
}

/// Until when a reply asks to be left alone, counted from now; nothing where it asks for nonsense.
pub(super) fn asked(reply: &Reply, now: Timestamp) -> Option<Timestamp> {
    let reply = reply.as_ref().ok()?;
    let text = reply.header("retry-after")?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(now + Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::default() + date).filter(|asked| *asked > now)
}
