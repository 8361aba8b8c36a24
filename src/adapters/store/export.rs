//! The export: everything of a store as lines of JSON, a job a line, with all that another store needs to take it over.
//!
//! Of a sound store all is written or nothing is promised. A damaged one is read as far as it can be; what is missing is told
//! by the store's own count of its jobs, or said not to be known, and the folder itself stays as it is.
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
    fmt::{self, Write as _},
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    OpenError,
    census::Tally,
    disk::{Disk as _, Fault},
    file::SledFile,
    highwater, keys, parts, record,
    salvage::{Harm, Wreck},
    shelf::Shelf,
    upgrade,
};
use crate::domain::{
    job::{Attempt, IdempotencyKey, Job, JobId, JobState, Place, Queued, StateName},
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
    /// Jobs and records that were found and could not be read, or the number of missing jobs, where that is greater.
    pub unread: u64,
    /// What is missing of a damaged store; none if nothing is.
    pub loss: Option<Loss>,
}

/// What is missing of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// At least so many jobs, by the store's own count; none where that cannot be relied on.
    pub jobs: Option<u64>,
    /// At least so many of the jobs that were written are in another state than the store's own count has them.
    pub outdated: u64,
    /// Jobs and records that were found and could not be read.
    pub unread: u64,
    /// Places in the store's files that could not be read, and stretches of records that are missing or not the newest.
    pub places: u64,
    /// Parts of the store's files without anything in them, of which it is not known whether there ever was.
    pub blank: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, outdated, unread, places, blank } = *self;
        match jobs {
            None => write!(to, "how many jobs are missing is not known")?,
            Some(0) => {
                write!(
                    to,
                    "no job is missing by the store's own count, but some may be as they were at an earlier time"
                )?;
            }
            Some(1) => write!(to, "at least 1 job is missing")?,
            Some(jobs) => write!(to, "at least {jobs} jobs are missing")?,
        }
        if outdated > 0 {
            write!(to, "; at least {outdated} of those written are as they were at an earlier time")?;
        }
        if unread > 0 {
            let what = if unread == 1 { "job or record that was" } else { "jobs or records that were" };
            write!(to, "; {unread} {what} found could not be read")?;
        }
        if places > 0 {
            let what = if places == 1 { "place" } else { "places" };
            write!(to, "; {places} {what} in the store's files could not be read")?;
        }
        if blank > 0 {
            let what = if blank == 1 { "empty place" } else { "empty places" };
            write!(to, "; whether there ever was something in {blank} {what} of the store's files is not known")?;
        }
        Ok(())
    }
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
        "nothing of the store in {} can be read: keep a copy of the folder, and restore a backup, or begin with an empty \
         folder",
        .0.display()
    )]
    Nothing(PathBuf),
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
    let mut lines = Lines {
        to,
        shelf: &shelf,
        summary: Summary::default(),
        by_state: Default::default(),
        damage: Damaged::IsAnError,
    };
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

/// Writes what can be read of a damaged store, which may not be in use, and tells how many
/// of how many jobs are written, if it is known how many there are.
pub fn salvage_and_tell(
    folder: &Path,
    to: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, ExportError> {
    must_be_there(folder)?;
    let wreck = Wreck::read(folder)?;
    if let Err(error @ OpenError::Newer { .. }) = upgrade::version(&wreck) {
        return Err(error.into());
    }
    let harm = wreck.harm();
    if wreck.scan_prefix(&[]).all(|record| record.is_err()) {
        return Err(ExportError::Nothing(folder.to_owned()));
    }
    let shelf = Shelf::salvaged(Box::new(wreck));
    let own_count = own_count(folder, &shelf, harm);
    let jobs = own_count.map(|count| count.iter().sum());
    let mut lines = Lines {
        to,
        shelf: &shelf,
        summary: Summary::default(),
        by_state: Default::default(),
        damage: Damaged::IsCounted,
    };
    lines.begin()?;
    for record in shelf.disk.scan_prefix(&[keys::COLUMN]) {
        if let Some((key, _)) = lines.read(record)? {
            lines.column(&key)?;
        }
    }
    for record in shelf.disk.scan_prefix(&[keys::NOTE]) {
        if let Some((key, record)) = lines.read(record)? {
            lines.note(&key, &record)?;
        }
    }
    for record in shelf.disk.scan_prefix(&[keys::STATES]) {
        if let Some((key, states)) = lines.read(record)? {
            lines.part(&key, &states)?;
        }
        if let Some(jobs) = jobs {
            progress(lines.summary.jobs.min(jobs), jobs);
        }
    }
    lines.compare(own_count, harm);
    lines.end()
}

/// The same, and tells nothing on the way.
pub fn salvage(folder: &Path, to: &mut dyn Write) -> Result<Summary, ExportError> {
    salvage_and_tell(folder, to, &mut |_, _| {})
}

/// How many jobs the store itself says that it has, by state; none if that cannot be read, or is not the newest that was
/// written.
fn own_count(folder: &Path, shelf: &Shelf, harm: Harm) -> Option<[u64; StateName::ALL.len()]> {
    let is_counted = shelf.disk.get(keys::LEDGER).ok()?.is_some();
    let tally = Tally::read(&*shelf.disk).ok()?;
    let is_newest = match highwater::noted_in(folder) {
        0 => harm.is_none(),
        noted => is_counted && tally.commits >= noted,
    };
    is_newest.then(|| tally.census(&shelf.platforms).by_state)
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
    /// The jobs that were written, by state.
    by_state: [u64; StateName::ALL.len()],
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
                let state = job.state_name();
                let same = StateName::ALL.iter().zip(&mut self.by_state).filter(|(name, _)| **name == state);
                same.for_each(|(_, count)| *count += 1);
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

    /// Says what is missing.
    fn compare(&mut self, own_count: Option<[u64; StateName::ALL.len()]>, harm: Harm) {
        let jobs = own_count.map(|count| count.iter().sum::<u64>().saturating_sub(self.summary.jobs));
        let more = |count: [u64; StateName::ALL.len()]| {
            self.by_state.iter().zip(count).map(|(written, counted)| written.saturating_sub(counted)).sum()
        };
        let outdated = own_count.map_or(0, more);
        let unread = self.summary.unread;
        let places = harm.breaks + harm.gaps + harm.contested;
        let loss = Loss { jobs, outdated, unread, places, blank: harm.blank };
        let is_whole = harm.is_none() && jobs == Some(0) && outdated + unread == 0;
        self.summary.loss = Some(loss).filter(|_| !is_whole);
        // Whoever takes the lines in must know that they are not all.
        self.summary.unread = unread.max(jobs.unwrap_or(1)).max(u64::from(!is_whole));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_says_what_is_known_of_it() {
        let none = Loss { jobs: None, outdated: 0, unread: 0, places: 0, blank: 0 };
        let check = |loss: Loss, words: &str| assert_eq!(loss.to_string(), words);
        check(none, "how many jobs are missing is not known");
        check(
            Loss { jobs: Some(2), outdated: 3, unread: 1, places: 1, ..none },
            "at least 2 jobs are missing; at least 3 of those written are as they were at an earlier time; \
             1 job or record that was found could not be read; 1 place in the store's files could not be read",
        );
        check(
            Loss { jobs: Some(0), blank: 2, ..none },
            "no job is missing by the store's own count, but some may be as they were at an earlier time; \
             whether there ever was something in 2 empty places of the store's files is not known",
        );
    }
}
