//! The stored form of a job, in two halves: the event, which never changes, and the state, which changes with each
//! attempt. So an attempt rewrites some dozens of bytes and not the whole event.
//!
//! Each half begins with the number of its form. A form once released is read for ever: a change is a new number here
//! and a step in `upgrade`, and the golden record of the tests stays. No record carries a secret.

use std::{sync::Arc, time::Duration};

use super::codec::{Damage, In, Out};
use crate::domain::{
    destination::{Delivery, GradeCell, Origin},
    event::Door,
    job::{Attempt, Hint, IdempotencyKey, Job, JobId, JobState, Place, Queued, StateName},
    outcome::{AttemptOutcome, FailureReason},
    time::Timestamp,
};

/// The form of the records that this program writes.
pub(super) const FORM: u8 = 1;

/// The half that never changes. `platform` is the number under which the store knows the job's origin.
pub(super) fn event_half(job: &Job, platform: u32) -> Vec<u8> {
    let mut out = Out::form(FORM, 128 + job.body.len());
    out.byte(code(&DOORS, &job.door));
    out.byte(code(&DELIVERIES, &job.delivery));
    out.byte(u8::from(job.bears_grade) | u8::from(job.session_id.is_some()) << 1);
    out.number(platform.into());
    out.fixed(&job.cell.0);
    let (tag, digest) = key_parts(&job.key);
    out.byte(tag);
    out.fixed(&digest);
    out.signed(since_id(job.id, job.created_at));
    out.signed(since_id(job.id, job.occurred_at));
    if let Some(session) = &job.session_id {
        out.bytes(session.as_bytes());
    }
    out.bytes(&job.body);
    out.done()
}

/// The half that changes.
pub(super) fn state_half(job: &Job) -> Vec<u8> {
    let mut out = Out::form(FORM, 64 + 64 * job.attempts.len());
    let moment = |out: &mut Out, moment: Timestamp| out.signed(since_id(job.id, moment));
    out.byte(Standing::of(job.state).code());
    out.byte(
        u8::from(job.ended_at.is_some())
            | u8::from(job.ags_timestamp.is_some()) << 1
            | u8::from(job.reason.is_some()) << 2
            | u8::from(job.hint.is_some()) << 3,
    );
    job.ended_at.iter().for_each(|at| moment(&mut out, *at));
    if let JobState::Queued(queued) = job.state {
        moment(&mut out, queued.due);
        if let Place::UnderWay { since } = queued.place {
            moment(&mut out, since);
        }
    }
    moment(&mut out, job.updated_at);
    out.number(job.tries.into());
    out.number(job.ends.into());
    job.ags_timestamp.iter().for_each(|at| moment(&mut out, *at));
    job.reason.iter().for_each(|reason| out.byte(code(&REASONS, reason)));
    job.hint.iter().for_each(|hint| out.byte(code(&HINTS, hint)));
    out.number(job.attempts_omitted.into());
    out.number(job.attempts.len() as u64);
    for attempt in &job.attempts {
        out.byte(
            u8::from(attempt.http_status.is_some())
                | u8::from(attempt.reply_lost) << 1
                | u8::from(attempt.counted) << 2
                | u8::from(attempt.column_remade) << 3
                | u8::from(attempt.grade_answered) << 4,
        );
        moment(&mut out, attempt.started_at);
        // The domain counts in microseconds; a longer span than these can hold is no attempt.
        out.number(u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX));
        attempt.http_status.iter().for_each(|status| out.number((*status).into()));
        out.byte(outcome_code(attempt.outcome));
        out.bytes(attempt.message.as_bytes());
    }
    out.done()
}

/// Where a job stands, from the half that changes.
pub(super) fn standing(state: &[u8]) -> Result<Standing, Damage> {
    let mut read = In::new(state);
    read.form(FORM)?;
    Standing::from_code(read.byte()?)
}

/// When a job left the queue, from the half that changes.
pub(super) fn ended_at(id: JobId, state: &[u8]) -> Result<Option<Timestamp>, Damage> {
    let mut read = In::new(state);
    read.form(FORM)?;
    read.byte()?;
    let ended = read.byte()? & 1 != 0;
    ended.then(|| moment(id, &mut read)).transpose()
}

/// The time that an id carries, which is about that of its job's storing: other times are short beside it.
fn base(id: JobId) -> i64 {
    let micros = (id.to_bytes().iter().take(6)).fold(0_i64, |time, byte| time << 8 | i64::from(*byte));
    micros.wrapping_mul(1_000)
}

fn since_id(id: JobId, moment: Timestamp) -> i64 {
    moment.as_micros().wrapping_sub(base(id))
}

fn moment(id: JobId, read: &mut In<'_>) -> Result<Timestamp, Damage> {
    Ok(Timestamp::from_micros(base(id).wrapping_add(read.signed()?)))
}

/// A job from its two halves. `origin` finds the origin of a platform's number.
pub(super) fn job(
    id: JobId,
    event: &[u8],
    state: &[u8],
    origin: impl Fn(u32) -> Option<Origin>,
) -> Result<Job, Damage> {
    let mut job = read_event(id, event, origin)?;
    read_state(&mut job, state)?;
    Ok(job)
}

fn read_event(id: JobId, bytes: &[u8], origin: impl Fn(u32) -> Option<Origin>) -> Result<Job, Damage> {
    let mut read = In::new(bytes);
    read.form(FORM)?;
    let door = decode(&DOORS, read.byte()?, "door")?;
    let delivery = decode(&DELIVERIES, read.byte()?, "delivery")?;
    let flags = flags(&mut read, 2)?;
    let origin = origin(read.small("platform")?).ok_or(Damage::Missing("its platform"))?;
    let cell = GradeCell(read.fixed()?);
    let key = match (read.byte()?, read.fixed()?) {
        (1, digest) => IdempotencyKey::Event(digest),
        (2, digest) => IdempotencyKey::Message(digest),
        (3, digest) => IdempotencyKey::Content(digest),
        _ => return Err(Damage::Code("key")),
    };
    let created_at = moment(id, &mut read)?;
    let occurred_at = moment(id, &mut read)?;
    let session_id = if flags & 2 == 0 { None } else { Some(read.text("session")?.into()) };
    let body = Arc::from(read.bytes()?);
    read.end()?;
    Ok(Job {
        id,
        door,
        body,
        parsed: None,
        delivery,
        origin,
        cell,
        key,
        bears_grade: flags & 1 != 0,
        session_id,
        occurred_at,
        created_at,
        updated_at: created_at,
        state: JobState::Discarded,
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

fn read_state(job: &mut Job, bytes: &[u8]) -> Result<(), Damage> {
    let mut read = In::new(bytes);
    let id = job.id;
    read.form(FORM)?;
    let standing = Standing::from_code(read.byte()?)?;
    let flags = flags(&mut read, 4)?;
    job.ended_at = (flags & 1 != 0).then(|| moment(id, &mut read)).transpose()?;
    job.state = match standing {
        Standing::Ready => JobState::Queued(Queued { due: moment(id, &mut read)?, place: Place::Ready }),
        Standing::Behind => JobState::Queued(Queued { due: moment(id, &mut read)?, place: Place::Behind }),
        Standing::UnderWay => {
            let due = moment(id, &mut read)?;
            JobState::Queued(Queued { due, place: Place::UnderWay { since: moment(id, &mut read)? } })
        }
        Standing::Delivered => JobState::Delivered,
        Standing::Flagged => JobState::Flagged,
        Standing::Superseded => JobState::Superseded,
        Standing::Discarded => JobState::Discarded,
    };
    job.updated_at = moment(id, &mut read)?;
    job.tries = read.small("tries")?;
    job.ends = read.small("ends")?;
    job.ags_timestamp = (flags & 2 != 0).then(|| moment(id, &mut read)).transpose()?;
    job.reason = (flags & 4 != 0).then(|| decode(&REASONS, read.byte()?, "reason")).transpose()?;
    job.hint = (flags & 8 != 0).then(|| decode(&HINTS, read.byte()?, "hint")).transpose()?;
    job.attempts_omitted = read.small("attempts_omitted")?;
    for _ in 0..read.number()? {
        job.attempts.push(read_attempt(id, &mut read)?);
    }
    read.end()
}

fn read_attempt(id: JobId, read: &mut In<'_>) -> Result<Attempt, Damage> {
    let flags = flags(read, 5)?;
    let started_at = moment(id, read)?;
    let duration = Duration::from_micros(read.number()?);
    let status = |read: &mut In<'_>| u16::try_from(read.number()?).map_err(|_| Damage::Code("http_status"));
    let http_status = (flags & 1 != 0).then(|| status(read)).transpose()?;
    let outcome = match read.byte()? {
        DELIVERED => AttemptOutcome::Delivered,
        SUPERSEDED => AttemptOutcome::Superseded,
        reason => AttemptOutcome::Failed(decode(&REASONS, reason, "outcome")?),
    };
    let message = read.text("message")?.into();
    Ok(Attempt {
        started_at,
        duration,
        http_status,
        outcome,
        message,
        reply_lost: flags & 2 != 0,
        counted: flags & 4 != 0,
        column_remade: flags & 8 != 0,
        grade_answered: flags & 16 != 0,
    })
}

/// A job's state without its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Queued, and may be started when it is due.
    Ready,
    /// Queued behind an older job of its cell.
    Behind,
    /// Queued, with an attempt under way.
    UnderWay,
    /// As the state's public name says.
    Delivered,
    /// As the state's public name says.
    Flagged,
    /// As the state's public name says.
    Superseded,
    /// As the state's public name says.
    Discarded,
}

impl Standing {
    /// Of a state.
    pub(super) fn of(state: JobState) -> Self {
        match state {
            JobState::Queued(Queued { place: Place::Ready, .. }) => Self::Ready,
            JobState::Queued(Queued { place: Place::Behind, .. }) => Self::Behind,
            JobState::Queued(Queued { place: Place::UnderWay { .. }, .. }) => Self::UnderWay,
            JobState::Delivered => Self::Delivered,
            JobState::Flagged => Self::Flagged,
            JobState::Superseded => Self::Superseded,
            JobState::Discarded => Self::Discarded,
        }
    }

    /// The state's public name.
    pub(super) fn name(self) -> StateName {
        match self {
            Self::Ready | Self::Behind | Self::UnderWay => StateName::Queued,
            Self::Delivered => StateName::Delivered,
            Self::Flagged => StateName::Flagged,
            Self::Superseded => StateName::Superseded,
            Self::Discarded => StateName::Discarded,
        }
    }

    /// The stored form.
    pub(super) fn code(self) -> u8 {
        code(&STANDINGS, &self)
    }

    /// Reads the stored form.
    pub(super) fn from_code(code: u8) -> Result<Self, Damage> {
        decode(&STANDINGS, code, "state")
    }
}

/// A key's namespace and digest.
pub(super) fn key_parts(key: &IdempotencyKey) -> (u8, [u8; 16]) {
    match *key {
        IdempotencyKey::Event(digest) => (1, digest),
        IdempotencyKey::Message(digest) => (2, digest),
        IdempotencyKey::Content(digest) => (3, digest),
    }
}

fn outcome_code(outcome: AttemptOutcome) -> u8 {
    match outcome {
        AttemptOutcome::Delivered => DELIVERED,
        AttemptOutcome::Superseded => SUPERSEDED,
        AttemptOutcome::Failed(reason) => code(&REASONS, &reason),
    }
}

/// The stored form of a delivery.
pub(super) fn delivery_code(delivery: Delivery) -> u8 {
    code(&DELIVERIES, &delivery)
}

/// Reads the stored form of a delivery.
pub(super) fn delivery_of(code: u8) -> Result<Delivery, Damage> {
    decode(&DELIVERIES, code, "delivery")
}

/// The stored form of a reason.
pub(super) fn reason_code(reason: FailureReason) -> u8 {
    code(&REASONS, &reason)
}

/// Reads the stored form of a reason.
pub(super) fn reason_of(code: u8) -> Result<FailureReason, Damage> {
    decode(&REASONS, code, "reason")
}

/// A byte of flags, of which the lowest `used` mean something.
fn flags(read: &mut In<'_>, used: u32) -> Result<u8, Damage> {
    let flags = read.byte()?;
    if u32::from(flags) >> used == 0 { Ok(flags) } else { Err(Damage::Code("flags")) }
}

fn code<T: PartialEq>(codes: &[(T, u8)], value: &T) -> u8 {
    let found = codes.iter().find(|(known, _)| known == value);
    found.map(|(_, code)| *code).expect("a test makes sure that every value has its code")
}

fn decode<T: Copy>(codes: &[(T, u8)], code: u8, field: &'static str) -> Result<T, Damage> {
    codes.iter().find(|(_, known)| *known == code).map(|(value, _)| *value).ok_or(Damage::Code(field))
}

// Codes are for ever: a new value takes a new number, and the number of a dropped one is never used again.

const DOORS: [(Door, u8); 2] = [(Door::Event, 1), (Door::GradePassback, 2)];

const DELIVERIES: [(Delivery, u8); 3] = [(Delivery::Lti11, 1), (Delivery::Delegated, 2), (Delivery::Ags, 3)];

const HINTS: [(Hint, u8); 1] = [(Hint::LookAtTheGrade, 1)];

const STANDINGS: [(Standing, u8); 7] = [
    (Standing::Ready, 1),
    (Standing::Behind, 2),
    (Standing::UnderWay, 3),
    (Standing::Delivered, 4),
    (Standing::Flagged, 5),
    (Standing::Superseded, 6),
    (Standing::Discarded, 7),
];

const DELIVERED: u8 = 200;
const SUPERSEDED: u8 = 201;

const REASONS: [(FailureReason, u8); FailureReason::ALL.len()] = [
    (FailureReason::Connection, 1),
    (FailureReason::Timeout, 2),
    (FailureReason::Tls, 3),
    (FailureReason::BlockedDestination, 4),
    (FailureReason::Unauthorized, 5),
    (FailureReason::TokenRefused, 6),
    (FailureReason::NotFound, 7),
    (FailureReason::Rejected, 8),
    (FailureReason::RateLimited, 9),
    (FailureReason::ServerError, 10),
    (FailureReason::BadResponse, 11),
    (FailureReason::UnknownKey, 12),
    (FailureReason::UnknownPlatform, 13),
    (FailureReason::InvalidScore, 14),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::job::HISTORY_MAX;

    const PLATFORM: u32 = 300;

    /// A job in which every field says something.
    pub(in super::super) fn full_job() -> Job {
        let at = |seconds: i64| Timestamp::from_micros(1_790_000_000_123_456 + seconds * 1_000_000);
        let attempt = |outcome, http_status, message: &str, reply_lost, counted| Attempt {
            started_at: at(10),
            duration: Duration::from_micros(1_234_567),
            http_status,
            outcome,
            message: message.into(),
            reply_lost,
            counted,
            column_remade: false,
            grade_answered: false,
        };
        Job {
            id: JobId::from_bytes(*b"0123456789abcdef"),
            door: Door::GradePassback,
            body: Arc::from(&b"{\"session_id\": \"s-1\"}"[..]),
            parsed: None,
            delivery: Delivery::Ags,
            origin: Origin::from_stored("https://lms.example.edu:8443"),
            cell: GradeCell([7; 16]),
            key: IdempotencyKey::Message([9; 16]),
            bears_grade: true,
            session_id: Some("s-1".into()),
            occurred_at: at(-5),
            created_at: at(0),
            updated_at: at(70),
            state: JobState::Queued(Queued { due: at(60), place: Place::UnderWay { since: at(70) } }),
            attempts: vec![
                attempt(AttemptOutcome::Failed(FailureReason::ServerError), Some(503), "wartet, später", false, true),
                attempt(AttemptOutcome::Superseded, None, "", true, false),
                attempt(AttemptOutcome::Delivered, Some(200), "ok", false, true),
            ],
            attempts_omitted: 3,
            tries: 2,
            ags_timestamp: Some(at(-5)),
            reason: Some(FailureReason::Rejected),
            hint: Some(Hint::LookAtTheGrade),
            ended_at: Some(at(80)),
            ends: 4,
        }
    }

    fn read(event: &[u8], state: &[u8]) -> Result<Job, Damage> {
        let job = full_job();
        super::job(job.id, event, state, |number| (number == PLATFORM).then(|| job.origin.clone()))
    }

    /// A job with all of its fields. A new field does not compile until it is compared too.
    fn shown(job: &Job) -> String {
        let Job {
            id,
            door,
            body,
            // Made from the body again.
            parsed: _,
            delivery,
            origin,
            cell,
            key,
            bears_grade,
            session_id,
            occurred_at,
            created_at,
            updated_at,
            state,
            attempts,
            attempts_omitted,
            tries,
            ags_timestamp,
            reason,
            hint,
            ended_at,
            ends,
        } = job;
        let event = (id, door, body, delivery, origin, cell.0, key, bears_grade, session_id, occurred_at, created_at);
        let state = (updated_at, state, attempts, attempts_omitted, tries, ags_timestamp, reason, hint, ended_at, ends);
        format!("{event:?} {state:?}")
    }

    fn round_trip(job: &Job) {
        let back = read(&event_half(job, PLATFORM), &state_half(job)).expect("what was written can be read");
        assert_eq!(shown(&back), shown(job));
    }

    #[test]
    fn every_field_comes_back_as_it_went() {
        let full = full_job();
        round_trip(&full);
        let bare = Job {
            session_id: None,
            bears_grade: false,
            key: IdempotencyKey::Content([1; 16]),
            attempts: Vec::new(),
            ags_timestamp: None,
            reason: None,
            hint: None,
            ended_at: None,
            ..full.clone()
        };
        round_trip(&bare);
        for (column_remade, grade_answered) in [(true, false), (false, true)] {
            let attempt = Attempt { column_remade, grade_answered, ..full.attempts[0].clone() };
            round_trip(&Job { attempts: vec![attempt], ..full.clone() });
        }
        for place in [Place::Ready, Place::Behind] {
            round_trip(&Job { state: JobState::Queued(Queued { due: full.created_at, place }), ..full.clone() });
        }
        for state in [JobState::Delivered, JobState::Flagged, JobState::Superseded, JobState::Discarded] {
            round_trip(&Job { state, ..full.clone() });
        }
        for (reason, _) in REASONS {
            let outcome = AttemptOutcome::Failed(reason);
            let attempts = vec![Attempt { outcome, ..full.attempts[0].clone() }; HISTORY_MAX];
            round_trip(&Job { reason: Some(reason), attempts, ..full.clone() });
        }
        for moment in [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_micros) {
            round_trip(&Job { occurred_at: moment, updated_at: moment, ended_at: Some(moment), ..full.clone() });
            round_trip(&Job { created_at: moment, ..full.clone() });
        }
    }

    #[test]
    fn every_value_has_a_code_of_its_own() {
        fn check<T>(codes: &[(T, u8)]) {
            let mut numbers: Vec<u8> = codes.iter().map(|(_, code)| *code).collect();
            numbers.dedup();
            assert!(numbers.len() == codes.len() && numbers.is_sorted() && !numbers.contains(&0));
        }
        assert_eq!(REASONS.map(|(reason, _)| reason), FailureReason::ALL);
        assert_eq!(DELIVERIES.map(|(delivery, _)| delivery), Delivery::ALL);
        check(&REASONS);
        check(&DELIVERIES);
        check(&DOORS);
        check(&HINTS);
        assert!(REASONS.iter().all(|(_, code)| ![DELIVERED, SUPERSEDED].contains(code)));
        check(&STANDINGS);
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let (event, state) = (event_half(&full_job(), PLATFORM), state_half(&full_job()));
        for cut in 0..event.len() {
            assert!(read(&event[..cut], &state).is_err(), "event cut at {cut}");
        }
        for cut in 0..state.len() {
            assert!(read(&event, &state[..cut]).is_err(), "state cut at {cut}");
        }
        // A flipped bit may give another value, but never a panic.
        for (half, other) in [(&event, &state), (&state, &event)] {
            for place in 0..half.len() * 8 {
                let mut bytes = half.clone();
                bytes[place / 8] ^= 1 << (place % 8);
                let _ = if half == &event { read(&bytes, other) } else { read(other, &bytes) };
            }
        }
        assert_eq!(read(&[2], &state).err(), Some(Damage::Form(2)));
        assert_eq!(read(&[&event[..], &[0]].concat(), &state).err(), Some(Damage::Trailing));
        let elsewhere = event_half(&full_job(), PLATFORM + 1);
        assert_eq!(read(&elsewhere, &state).err(), Some(Damage::Missing("its platform")));
    }

    /// Form 1 as it was released. This test is never changed: a store of that time must stay readable.
    #[test]
    fn the_golden_record_of_form_1_is_read() {
        let hex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("hex digits"));
            digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
        };
        let back = read(&hex(GOLDEN_EVENT), &hex(GOLDEN_STATE)).expect("form 1 is read for ever");
        assert_eq!(shown(&back), shown(&full_job()));
    }

    const GOLDEN_EVENT: &str = "\
        01020303ac020707070707070707070707070707070702090909090909090909090909090909098fb3e1dda78bf2b501\
        8fe0c3e2a78bf2b50103732d31157b2273657373696f6e5f6964223a2022732d31227d";
    const GOLDEN_STATE: &str = "\
        01030f8fe3bb91a78bf2b5018f97c5a4a78bf2b5018fbd809ba78bf2b5018fbd809ba78bf2b50102048fe0c3e2a78bf2\
        b50108010303058fd99cd4a78bf2b50187ad4bf7030a0f7761727465742c207370c3a4746572028fd99cd4a78bf2b501\
        87ad4bc900058fd99cd4a78bf2b50187ad4bc801c8026f6b";
}
