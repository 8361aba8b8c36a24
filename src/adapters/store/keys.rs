//! The keys of the store's one tree, and what stands under them for a job: a pure function of the job.
//!
//! A commit removes what the old job implies and the new one does not, and writes what is new, all in one batch. So an
//! index cannot drift from the records, and a check can compute it all again.
//!
//! | key | value | what for |
//! | --- | --- | --- |
//! | `b` id (part) | the event half of a job | written once |
//! | `j` id (part) | the state half | rewritten with each change |
//! | `c` cell, occurred at, id | – | the jobs of a cell, in their order |
//! | `d` platform, due, id | the cell | jobs that may be started |
//! | `e` ended at, id | – | what may be pruned |
//! | `k` namespace, digest | the id | event and message keys |
//! | `l` state, id | – | lists of queued and of flagged jobs |
//! | `u` id | – | attempts under way, for the next start |
//! | `p` number | a platform | |
//! | `n` number / 64 | its queued and flagged jobs, 64 platforms a record | the census |
//! | `x` digest | a URL | columns that were found or made |
//! | `m` | last id, jobs by state | the census |
//! | `v` | the format's version | |

use std::collections::BTreeMap;

use super::{disk::VALUE_BYTES_MAX, record};
use crate::domain::{
    destination::GradeCell,
    job::{IdempotencyKey, Job, JobId, JobState, Place, StateName},
    ledger::CellEntry,
    time::Timestamp,
};

pub(super) const EVENT: u8 = b'b';
pub(super) const STATE: u8 = b'j';
pub(super) const DUE: u8 = b'd';
pub(super) const ENDED: u8 = b'e';
pub(super) const UNDER_WAY: u8 = b'u';
pub(super) const PLATFORM: u8 = b'p';
pub(super) const COLUMN: u8 = b'x';
pub(super) const PLATFORM_COUNTS: u8 = b'n';
pub(super) const LEDGER: &[u8] = b"m";
pub(super) const VERSION: &[u8] = b"v";

/// The length of a key that names a job and nothing else.
pub(super) const JOB_KEY_BYTES: usize = 17;

/// Everything the store holds of a job, by key. `platform` is the number of the job's origin.
pub(super) fn entries(job: &Job, platform: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    entries.extend(laid_out(&of_job(EVENT, job.id), &record::event_half(job, platform)));
    entries.extend(laid_out(&of_job(STATE, job.id), &record::state_half(job)));
    entries.insert(cell_entry(job.cell, CellEntry { occurred_at: job.occurred_at, id: job.id }), Vec::new());
    if let Some(key) = idempotency(&job.key) {
        entries.insert(key, job.id.to_bytes().to_vec());
    }
    match job.state {
        JobState::Queued(queued) => {
            entries.insert(listed(job.state_name(), job.id), Vec::new());
            match queued.place {
                Place::Ready => drop(entries.insert(due(platform, queued.due, job.id), job.cell.0.to_vec())),
                Place::UnderWay { .. } => drop(entries.insert(of_job(UNDER_WAY, job.id), Vec::new())),
                Place::Behind => {}
            }
        }
        JobState::Flagged => drop(entries.insert(listed(job.state_name(), job.id), Vec::new())),
        JobState::Delivered | JobState::Superseded | JobState::Discarded => {
            entries.insert(ended(job.ended_at.unwrap_or_default(), job.id), Vec::new());
        }
    }
    entries
}

/// A value of any length, in parts that are small enough for the tree: the first under the key itself with the number
/// of the others before it, the others under the key and their number.
pub(super) fn laid_out(key: &[u8], value: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (head, tail) = value.split_at(value.len().min(PART_BYTES));
    let others = tail.chunks(PART_BYTES);
    let count = u8::try_from(others.len()).expect("an event has 64 KiB and a history 100 attempts");
    let parts = (1..=count).zip(others).map(|(number, part)| (join(&[key, &[number]]), part.to_vec()));
    parts.chain([(key.to_vec(), join(&[&[count], head]))]).collect()
}

const PART_BYTES: usize = VALUE_BYTES_MAX - 1;

/// Reads a value that was laid out in parts. `get` reads one of the other parts.
pub(super) fn gather<E>(
    key: &[u8],
    first: &[u8],
    mut get: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let Some((&others, head)) = first.split_first() else {
        return Ok(None);
    };
    let mut value = head.to_vec();
    for number in 1..=others {
        let mut key = key.to_vec();
        key.push(number);
        value.extend(get(&key)?);
    }
    Ok(Some(value))
}

/// The key of one job's record of a kind.
pub(super) fn of_job(kind: u8, id: JobId) -> Vec<u8> {
    join(&[&[kind], &id.to_bytes()])
}

/// What the entries of a cell begin with.
pub(super) fn cell(cell: GradeCell) -> Vec<u8> {
    join(&[b"c", &cell.0])
}

fn cell_entry(of: GradeCell, entry: CellEntry) -> Vec<u8> {
    join(&[b"c", &of.0, &time(entry.occurred_at), &entry.id.to_bytes()])
}

/// The entry that a key in a cell stands for.
pub(super) fn read_cell_entry(key: &[u8]) -> Option<CellEntry> {
    let (occurred_at, id) = read_time_and_id(key.get(17..)?)?;
    Some(CellEntry { occurred_at, id })
}

/// What the due entries of a platform begin with.
pub(super) fn due_of(platform: u32) -> Vec<u8> {
    join(&[&[DUE], &platform.to_be_bytes()])
}

/// The key of a due entry.
pub(super) fn due(platform: u32, due: Timestamp, id: JobId) -> Vec<u8> {
    join(&[&[DUE], &platform.to_be_bytes(), &time(due), &id.to_bytes()])
}

/// The due time and the job of a due entry.
pub(super) fn read_due(key: &[u8]) -> Option<(Timestamp, JobId)> {
    read_time_and_id(key.get(5..)?)
}

/// The key of an ended job's entry.
pub(super) fn ended(at: Timestamp, id: JobId) -> Vec<u8> {
    join(&[&[ENDED], &time(at), &id.to_bytes()])
}

/// When a job ended, and which.
pub(super) fn read_ended(key: &[u8]) -> Option<(Timestamp, JobId)> {
    read_time_and_id(key.get(1..)?)
}

/// The key of an idempotency key's entry; none for a content key, which counts within its cell alone.
pub(super) fn idempotency(key: &IdempotencyKey) -> Option<Vec<u8>> {
    let (namespace, digest) = record::key_parts(key);
    (!matches!(key, IdempotencyKey::Content(_))).then(|| join(&[b"k", &[namespace], &digest]))
}

/// What the list of a state begins with, where a state has its own.
pub(super) fn list_of(state: StateName) -> Option<Vec<u8>> {
    match state {
        StateName::Queued => Some(b"lq".to_vec()),
        StateName::Flagged => Some(b"lf".to_vec()),
        StateName::Delivered | StateName::Superseded | StateName::Discarded => None,
    }
}

fn listed(state: StateName, id: JobId) -> Vec<u8> {
    let list = list_of(state).expect("only called for queued and flagged jobs");
    join(&[&list, &id.to_bytes()])
}

/// The key of a platform's record.
pub(super) fn platform(number: u32) -> Vec<u8> {
    join(&[&[PLATFORM], &number.to_be_bytes()])
}

/// The key of the record that counts the jobs of a platform and its 63 neighbours.
pub(super) fn platform_counts(shelf: u32) -> Vec<u8> {
    join(&[&[PLATFORM_COUNTS], &shelf.to_be_bytes()])
}

/// The key of a column.
pub(super) fn column(digest: [u8; 16]) -> Vec<u8> {
    join(&[&[COLUMN], &digest])
}

/// The job id at the end of a key.
pub(super) fn read_id(bytes: &[u8]) -> Option<JobId> {
    Some(JobId::from_bytes(*bytes.last_chunk()?))
}

/// A key in letters and digits, for an error that names it.
pub(super) fn shown(key: &[u8]) -> String {
    let (kind, rest) = key.split_first().map_or((' ', key), |(kind, rest)| (char::from(*kind), rest));
    rest.iter().fold(format!("{kind:?}"), |text, byte| format!("{text}{byte:02x}"))
}

fn read_time_and_id(bytes: &[u8]) -> Option<(Timestamp, JobId)> {
    let (micros, id) = bytes.split_first_chunk::<8>()?;
    let micros = u64::from_be_bytes(*micros) ^ SIGN;
    Some((Timestamp::from_micros(micros.cast_signed()), JobId::from_bytes(id.try_into().ok()?)))
}

/// A time as bytes that sort as it does.
fn time(moment: Timestamp) -> [u8; 8] {
    (moment.as_micros().cast_unsigned() ^ SIGN).to_be_bytes()
}

const SIGN: u64 = 1 << 63;

fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}
