//! The export: everything of a store as lines of JSON, a job a line, with all that another store needs to take it over.
//!
//! Of a sound store all is written or nothing is promised. A damaged one is read as far as it can be, from a copy; what
//! cannot be read is counted, and the folder itself stays as it is.
//!
//! ```text
//! {"kind": "store", "format": 1, …}
//! {"kind": "platform", "origin": …, "client_id": …, "paused_since": …, "held_since": …}
//! {"kind": "column", "key": …, "url": …}
//! {"kind": "note", "drawer": …, "key": …, "record": a text, or "record_base64"}
//! {"kind": "job", "id": …, "state": …, "event": the bytes as a text, or "event_base64", …}
//! {"kind": "end", "jobs": …, …}
//! ```

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    OpenError,
    census::Tally,
    disk::Fault,
    file::SledFile,
    keys, parts, record,
    salvage::{self, Find},
    shelf::Shelf,
    upgrade,
};
use crate::domain::{
    job::{Attempt, IdempotencyKey, Job, JobId, JobState, Place, Queued},
    ledger::PlatformRecord,
    outcome::{AttemptOutcome, FailureReason},
    time::Timestamp,
};

/// The form of the lines.
pub(super) const FORMAT: u32 = 1;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Jobs.
    pub jobs: u64,
    /// Platforms.
    pub platforms: u64,
    /// Columns that were found or made.
    pub columns: u64,
    /// Jobs and records that could not be read; a record may have held many jobs.
    pub unread: u64,
    /// What had to be done to the copy before it could be opened.
    pub remedy: Option<String>,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store in the folder.
    #[error("there is no store in {0}: look at [store] path")]
    NoStore(String),
    /// There is nothing to be saved.
    #[error(
        "nothing of the store in {} can be read ({detail}): keep a copy of the folder, and restore a backup, or begin with \
         an empty folder",
        folder.display()
    )]
    Nothing {
        /// The folder.
        folder: PathBuf,
        /// What sled says.
        detail: String,
    },
    /// The copy that is read cannot be made.
    #[error(
        "the store cannot be copied into {}: {cause}; name a folder with room for it in TMPDIR",
        temporary.display()
    )]
    NoCopy {
        /// The folder for temporary files.
        temporary: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// A record cannot be read.
    #[error("{0}: export what can be read with --salvage")]
    Read(#[from] Fault),
    /// The lines cannot be written.
    #[error("the lines cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes a stopped store; a single damaged record is an error.
pub fn export(folder: &Path, to: &mut dyn Write) -> Result<Summary, ExportError> {
    export_and_tell(folder, to, &mut |_, _| {})
}

/// The same, and tells how many of how many jobs are written.
pub fn export_and_tell(
    folder: &Path,
    to: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, ExportError> {
    must_be_there(folder)?;
    let disk = SledFile::open(folder)?;
    upgrade::version(&disk)?;
    let shelf = Shelf::new(Box::new(disk))?;
    let mut lines = Lines { to, shelf: &shelf, summary: Summary::default(), damage: Damaged::IsAnError };
    lines.begin()?;
    for record in shelf.disk.scan_prefix(&[keys::COLUMN]) {
        lines.column(&record?.0)?;
    }
    for record in shelf.disk.scan_prefix(&[keys::NOTE]) {
        let (key, record) = record?;
        lines.note(&key, &record)?;
    }
    let jobs = Tally::read(&*shelf.disk)?.census(&shelf.platforms).by_state.iter().sum();
    for record in shelf.disk.scan_prefix(&[keys::STATES]) {
        let (key, states) = record?;
        lines.part(&key, &states)?;
        progress(lines.summary.jobs, jobs);
    }
    lines.end()
}

/// Writes what can be read of a damaged store, which may not be in use. It works on a copy in the folder for temporary
/// files.
pub fn salvage(folder: &Path, to: &mut dyn Write) -> Result<Summary, ExportError> {
    must_be_there(folder)?;
    let Find { disk, remedy, _copy: copy } = salvage::find(folder)?;
    let (columns, gap) = salvage::around_damage(&disk, keys::COLUMN);
    let columns: Vec<_> = columns.map(|(key, _)| key.to_vec()).collect();
    let mut unread = gap.get();
    let notes: Vec<_> = {
        let (notes, gap) = salvage::around_damage(&disk, keys::NOTE);
        let notes = notes.map(|(key, record)| (key.to_vec(), record.to_vec())).collect();
        unread += gap.get();
        notes
    };
    let parts: Vec<_> = {
        let (parts, gap) = salvage::around_damage(&disk, keys::STATES);
        let parts = parts.map(|(key, _)| key.to_vec()).collect();
        unread += gap.get();
        parts
    };
    let shelf = Shelf::salvaged(Box::new(disk));
    let summary = Summary { unread, remedy, ..Summary::default() };
    let mut lines = Lines { to, shelf: &shelf, summary, damage: Damaged::IsCounted };
    lines.begin()?;
    for key in columns {
        lines.column(&key)?;
    }
    for (key, record) in notes {
        lines.note(&key, &record)?;
    }
    for key in parts {
        match shelf.disk.get(&key) {
            Ok(Some(states)) => lines.part(&key, &states)?,
            _ => lines.summary.unread += 1,
        }
    }
    let summary = lines.end();
    drop(copy);
    summary
}

/// Whether there is a store in a folder.
pub(super) fn is_there(folder: &Path) -> bool {
    folder.join("db").is_file()
}

fn must_be_there(folder: &Path) -> Result<(), ExportError> {
    if is_there(folder) { Ok(()) } else { Err(ExportError::NoStore(folder.display().to_string())) }
}

/// What becomes of a record that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damaged {
    IsAnError,
    IsCounted,
}

struct Lines<'a> {
    to: &'a mut dyn Write,
    shelf: &'a Shelf,
    summary: Summary,
    damage: Damaged,
}

impl Lines<'_> {
    fn begin(&mut self) -> Result<(), ExportError> {
        self.line(&json!({
            "kind": "store", "format": FORMAT, "store_format": upgrade::VERSION, "version": env!("CARGO_PKG_VERSION"),
        }))?;
        for platform in self.shelf.platforms.all() {
            self.line(&of_platform(&platform))?;
            self.summary.platforms += 1;
        }
        Ok(())
    }

    fn column(&mut self, key: &[u8]) -> Result<(), ExportError> {
        // The other pieces of a long one follow it.
        let Some(digest) = key.get(1..).and_then(|digest| <[u8; 16]>::try_from(digest).ok()) else {
            return Ok(());
        };
        let url = self.shelf.column(digest);
        if let Some(url) = self.read(url)?.flatten() {
            self.line(&json!({ "kind": "column", "key": hex(&digest), "url": url }))?;
            self.summary.columns += 1;
        }
        Ok(())
    }

    fn note(&mut self, key: &[u8], record: &[u8]) -> Result<(), ExportError> {
        let Some((drawer, key)) = keys::read_note(key) else {
            return Ok(());
        };
        let mut line = json!({ "kind": "note", "drawer": drawer.name(), "key": hex(key) });
        match str::from_utf8(record) {
            Ok(text) => line["record"] = text.into(),
            Err(_) => line["record_base64"] = STANDARD.encode(record).into(),
        }
        self.line(&line)
    }

    fn part(&mut self, key: &[u8], states: &[u8]) -> Result<(), ExportError> {
        let (slots, whole) = parts::decode_slots_so_far(states);
        self.read(whole.map_err(|why| Fault::Damaged { key: key.to_vec(), why }))?;
        let part = keys::read_id(key).or(slots.first().map(|slot| slot.id)).unwrap_or(JobId::LAST);
        for slot in &slots {
            let job = self.shelf.job_in(part, slot);
            if let Some(job) = self.read(job)? {
                self.line(&of_job(&job))?;
                self.summary.jobs += 1;
            }
        }
        Ok(())
    }

    fn read<T>(&mut self, outcome: Result<T, Fault>) -> Result<Option<T>, ExportError> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(fault) if self.damage == Damaged::IsAnError => Err(fault.into()),
            Err(_) => {
                self.summary.unread += 1;
                Ok(None)
            }
        }
    }

    fn end(mut self) -> Result<Summary, ExportError> {
        let Summary { jobs, platforms, columns, unread, .. } = self.summary;
        let end = json!({ "kind": "end", "jobs": jobs, "platforms": platforms, "columns": columns, "unread": unread });
        self.line(&end)?;
        self.to.flush()?;
        Ok(self.summary)
    }

    fn line(&mut self, line: &Value) -> Result<(), ExportError> {
        Ok(writeln!(self.to, "{line}")?)
    }
}

fn of_platform(platform: &PlatformRecord) -> Value {
    let PlatformRecord { origin, client_id, paused_since, held_since } = platform;
    json!({
        "kind": "platform", "origin": origin.as_str(), "client_id": client_id,
        "paused_since": paused_since.map(exact), "held_since": held_since.map(exact),
    })
}

/// A job with all of its fields. A new field does not compile until it is written too.
fn of_job(job: &Job) -> Value {
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
    let (event, event_base64) = match str::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(body))),
    };
    let mut line = json!({
        "kind": "job", "id": id, "state": job.state_name(), "door": door, "delivery": delivery.name(),
        "platform": origin.as_str(), "cell": hex(&cell.0), "key": of_key(key), "bears_grade": bears_grade,
        "session_id": session_id, "occurred_at": exact(*occurred_at), "created_at": exact(*created_at),
        "updated_at": exact(*updated_at), "ended_at": ended_at.map(exact), "ends": ends, "tries": tries,
        "ags_timestamp": ags_timestamp.map(exact), "reason": reason.map(FailureReason::name), "hint": hint,
        "attempts": attempts.iter().map(of_attempt).collect::<Vec<_>>(), "attempts_omitted": attempts_omitted,
    });
    if let JobState::Queued(Queued { due, place }) = state {
        line["due"] = exact(*due).into();
        line["place"] = match place {
            Place::Ready => "ready",
            Place::Behind => "behind",
            Place::UnderWay { .. } => "under_way",
        }
        .into();
    }
    if let Some(since) = job.under_way_since() {
        line["under_way_since"] = exact(since).into();
    }
    match (event, event_base64) {
        (Some(event), _) => line["event"] = event.into(),
        (None, encoded) => line["event_base64"] = encoded.into(),
    }
    line
}

fn of_attempt(attempt: &Attempt) -> Value {
    let Attempt {
        started_at,
        duration,
        http_status,
        outcome,
        message,
        reply_lost,
        counted,
        column_remade,
        grade_answered,
    } = attempt;
    let outcome = match outcome {
        AttemptOutcome::Delivered => "delivered",
        AttemptOutcome::Superseded => "superseded",
        AttemptOutcome::Failed(reason) => reason.name(),
    };
    json!({
        "started_at": exact(*started_at), "duration_us": u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        "http_status": http_status, "outcome": outcome, "message": message, "reply_lost": reply_lost,
        "counted": counted, "column_remade": column_remade, "grade_answered": grade_answered,
    })
}

fn of_key(key: &IdempotencyKey) -> Value {
    let of = match key {
        IdempotencyKey::Event(_) => "event",
        IdempotencyKey::Message(_) => "message",
        IdempotencyKey::Content(_) => "content",
    };
    json!({ "of": of, "digest": hex(&record::key_parts(key).1) })
}

/// RFC 3339 to the microsecond, which is what a store keeps.
fn exact(moment: Timestamp) -> String {
    let to_millis = moment.to_string();
    format!("{}{:03}Z", to_millis.trim_end_matches('Z'), moment.as_micros().rem_euclid(1_000))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
