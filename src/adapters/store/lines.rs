//! The lines of an export, read again: each into what it was written from, or into words that say what is wrong with
//! it. What an export writes comes back whole; an unknown member or word is an error and never passed over.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{export::FORMAT, limits, upgrade};
use crate::domain::{
    destination::{Delivery, GradeCell, Origin},
    drawer::{self, Drawer},
    event::Door,
    job::{Attempt, HISTORY_MAX, Hint, IdempotencyKey, Job, JobId, JobState, Place, Queued, StateName},
    ledger::PlatformRecord,
    outcome::{AttemptOutcome, FailureReason},
    time::Timestamp,
};

/// What a line says.
pub(super) enum Line {
    /// The first one.
    Store,
    Platform(PlatformRecord),
    Column {
        key: [u8; 16],
        url: String,
    },
    Note {
        drawer: Drawer,
        key: Vec<u8>,
        record: Vec<u8>,
    },
    Job(Box<Job>),
    /// The last one: how many jobs there were, and how many could not be read.
    End {
        jobs: u64,
        unread: u64,
    },
}

impl Line {
    /// Reads a line; an error says what is wrong with it.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| format!("is no JSON: {error}"))?;
        let Value::Object(mut members) = value else { return Err("is no JSON object".to_owned()) };
        let kind = members.remove("kind");
        let rest = Value::Object(members);
        match kind.as_ref().and_then(Value::as_str) {
            Some("store") => store(rest),
            Some("platform") => of::<PlatformLine>(rest)?.record().map(Self::Platform),
            Some("column") => {
                let ColumnLine { key, url } = of(rest)?;
                limits::text("url", &url, limits::TEXT_BYTES_MAX)?;
                Ok(Self::Column { key: digest("key", &key)?, url })
            }
            Some("note") => note(rest),
            Some("job") => of::<JobLine>(rest)?.job().map(|job| Self::Job(Box::new(job))),
            Some("end") => {
                let EndLine { jobs, unread, .. } = of(rest)?;
                Ok(Self::End { jobs, unread })
            }
            Some(other) => Err(format!("kind: {:?} is unknown", limits::cut(other))),
            None => Err("has no kind: is it a line of an export?".to_owned()),
        }
    }
}

fn of<T: DeserializeOwned>(members: Value) -> Result<T, String> {
    serde_json::from_value(members).map_err(|error| limits::cut(&error.to_string()).to_owned())
}

fn store(members: Value) -> Result<Line, String> {
    let StoreLine { format, store_format, version } = of(members)?;
    if format == FORMAT && store_format <= upgrade::VERSION {
        return Ok(Line::Store);
    }
    let version = limits::cut(&version);
    Err(format!("was written by passback {version} in a form that this one does not know: use that version"))
}

fn note(members: Value) -> Result<Line, String> {
    let NoteLine { drawer, key, record, record_base64 } = of(members)?;
    let found = Drawer::ALL.into_iter().find(|known| known.name() == drawer);
    let drawer = found.ok_or_else(|| format!("drawer: there is none with the name {:?}", limits::cut(&drawer)))?;
    let key = bytes("key", &key)?;
    let record = match (record, record_base64) {
        (Some(record), None) => record.into_bytes(),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| "record_base64: is no base64")?,
        _ => return Err("record: a note has either record or record_base64".to_owned()),
    };
    if key.len() > drawer::KEY_BYTES_MAX || record.len() > drawer::RECORD_BYTES_MAX {
        return Err("key or record: is too long for a note".to_owned());
    }
    Ok(Line::Note { drawer, key, record })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreLine {
    format: u32,
    store_format: u32,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformLine {
    origin: Origin,
    client_id: Option<String>,
    paused_since: Option<Timestamp>,
    held_since: Option<Timestamp>,
}

impl PlatformLine {
    fn record(self) -> Result<PlatformRecord, String> {
        let Self { origin, client_id, paused_since, held_since } = self;
        limits::text("origin", origin.as_str(), limits::ORIGIN_BYTES_MAX)?;
        limits::text("client_id", client_id.as_deref().unwrap_or_default(), limits::TEXT_BYTES_MAX)?;
        limits::moment("paused_since", paused_since)?;
        limits::moment("held_since", held_since)?;
        Ok(PlatformRecord { origin, client_id, paused_since, held_since })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnLine {
    key: String,
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteLine {
    drawer: String,
    key: String,
    record: Option<String>,
    record_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    jobs: u64,
    #[serde(rename = "platforms")]
    _platforms: u64,
    #[serde(rename = "columns")]
    _columns: u64,
    unread: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobLine {
    id: JobId,
    state: StateName,
    due: Option<Timestamp>,
    place: Option<PlaceName>,
    under_way_since: Option<Timestamp>,
    door: Door,
    delivery: Delivery,
    platform: Origin,
    cell: String,
    key: KeyLine,
    bears_grade: bool,
    session_id: Option<String>,
    occurred_at: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
    ended_at: Option<Timestamp>,
    ends: u32,
    tries: u32,
    ags_timestamp: Option<Timestamp>,
    reason: Option<FailureReason>,
    hint: Option<Hint>,
    attempts: Vec<AttemptLine>,
    attempts_omitted: u32,
    event: Option<String>,
    event_base64: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlaceName {
    Ready,
    Behind,
    UnderWay,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    of: KeyName,
    digest: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyName {
    Event,
    Message,
    Content,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the members of an attempt's line")]
struct AttemptLine {
    started_at: Timestamp,
    duration_us: u64,
    http_status: Option<u16>,
    outcome: String,
    message: String,
    reply_lost: bool,
    counted: bool,
    column_remade: bool,
    grade_answered: bool,
}

impl JobLine {
    fn job(self) -> Result<Job, String> {
        self.is_within_limits()?;
        let state = self.state()?;
        let body: Arc<[u8]> = match (self.event, self.event_base64) {
            (Some(event), None) => event.into_bytes().into(),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| "event_base64: is no base64")?.into(),
            _ => return Err("event: a job has either event or event_base64".to_owned()),
        };
        let digest_of_key = digest("key", &self.key.digest)?;
        let job = Job {
            id: self.id,
            door: self.door,
            body,
            parsed: None,
            delivery: self.delivery,
            origin: self.platform,
            cell: GradeCell(digest("cell", &self.cell)?),
            key: match self.key.of {
                KeyName::Event => IdempotencyKey::Event(digest_of_key),
                KeyName::Message => IdempotencyKey::Message(digest_of_key),
                KeyName::Content => IdempotencyKey::Content(digest_of_key),
            },
            bears_grade: self.bears_grade,
            session_id: self.session_id.map(Arc::from),
            occurred_at: self.occurred_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
            state,
            attempts: self.attempts.into_iter().map(AttemptLine::attempt).collect::<Result<_, _>>()?,
            attempts_omitted: self.attempts_omitted,
            tries: self.tries,
            ags_timestamp: self.ags_timestamp,
            reason: self.reason,
            hint: self.hint,
            ended_at: self.ended_at,
            ends: self.ends,
        };
        job.event().map_err(|refused| format!("event: {refused}"))?;
        Ok(job)
    }

    /// What is within them every record can hold, and a worker can count on from there.
    fn is_within_limits(&self) -> Result<(), String> {
        limits::id(self.id)?;
        limits::text("platform", self.platform.as_str(), limits::ORIGIN_BYTES_MAX)?;
        limits::text("session_id", self.session_id.as_deref().unwrap_or_default(), limits::TEXT_BYTES_MAX)?;
        for (member, moment) in [
            ("due", self.due),
            ("under_way_since", self.under_way_since),
            ("occurred_at", Some(self.occurred_at)),
            ("created_at", Some(self.created_at)),
            ("updated_at", Some(self.updated_at)),
            ("ended_at", self.ended_at),
            ("ags_timestamp", self.ags_timestamp),
        ] {
            limits::moment(member, moment)?;
        }
        for (member, count) in [("ends", self.ends), ("tries", self.tries), ("attempts_omitted", self.attempts_omitted)]
        {
            limits::count(member, count)?;
        }
        if self.attempts.len() > HISTORY_MAX {
            return Err(format!("attempts: a job shows at most {HISTORY_MAX}"));
        }
        if self.state == StateName::Flagged && self.reason.is_none() {
            return Err("reason: is missing: a flagged job has one".to_owned());
        }
        Ok(())
    }

    fn state(&self) -> Result<JobState, String> {
        let ended = match (self.state, self.due, self.place) {
            (StateName::Queued, Some(due), Some(place)) => {
                let place = match (place, self.under_way_since) {
                    (PlaceName::Ready, None) => Place::Ready,
                    (PlaceName::Behind, None) => Place::Behind,
                    (PlaceName::UnderWay, Some(since)) => Place::UnderWay { since },
                    _ => return Err("under_way_since: is there if, and only if, place is under_way".to_owned()),
                };
                return Ok(JobState::Queued(Queued { due, place }));
            }
            (StateName::Queued, ..) => return Err("due and place: a queued job has both".to_owned()),
            (_, Some(_), _) | (_, _, Some(_)) => return Err("due and place: only a queued job has them".to_owned()),
            (StateName::Delivered, ..) => JobState::Delivered,
            (StateName::Flagged, ..) => JobState::Flagged,
            (StateName::Superseded, ..) => JobState::Superseded,
            (StateName::Discarded, ..) => JobState::Discarded,
        };
        if self.ended_at.is_some() { Ok(ended) } else { Err("ended_at: is missing".to_owned()) }
    }
}

impl AttemptLine {
    fn attempt(self) -> Result<Attempt, String> {
        limits::moment("started_at of an attempt", Some(self.started_at))?;
        limits::text("message of an attempt", &self.message, limits::MESSAGE_BYTES_MAX)?;
        if self.http_status.is_some_and(|status| !(100..=999).contains(&status)) {
            return Err("http_status of an attempt: has three digits".to_owned());
        }
        if self.duration_us > limits::DURATION_US_MAX {
            return Err("duration_us of an attempt: is longer than any attempt".to_owned());
        }
        let outcome = match self.outcome.as_str() {
            "delivered" => AttemptOutcome::Delivered,
            "superseded" => AttemptOutcome::Superseded,
            reason => {
                let reason = FailureReason::from_name(reason);
                AttemptOutcome::Failed(
                    reason.ok_or_else(|| format!("outcome: {:?} is unknown", limits::cut(&self.outcome)))?,
                )
            }
        };
        Ok(Attempt {
            started_at: self.started_at,
            duration: Duration::from_micros(self.duration_us),
            http_status: self.http_status,
            outcome,
            message: self.message.into(),
            reply_lost: self.reply_lost,
            counted: self.counted,
            column_remade: self.column_remade,
            grade_answered: self.grade_answered,
        })
    }
}

fn digest(member: &str, text: &str) -> Result<[u8; 16], String> {
    bytes(member, text)?.try_into().map_err(|_| format!("{member}: must have 32 hexadecimal digits"))
}

fn bytes(member: &str, text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{member}: must be hexadecimal digits");
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let pairs = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).map_err(|_| wrong())).collect()
}
