//! The keys of the store's one tree.
//!
//! | key | value |
//! | --- | --- |
//! | `b` part, chunk | events of a part's jobs; written once |
//! | `s` part | the states of a part's jobs, and what a list asks of each |
//! | `o` id (piece) | a state that is too long for its part |
//! | `d` platform, due, id | the cell of a job that may be started, once its part is settled |
//! | `r` run, chunk | marks: what finds jobs by cell and by idempotency key |
//! | `p` number (piece) | a platform |
//! | `n` number / 64 | its queued jobs, and the flagged ones by reason, 64 platforms a record |
//! | `x` digest (piece) | the URL of a column that was found or made |
//! | `k` drawer, key | a note |
//! | `m` | last id, jobs by state, how far parts are settled and marks are in runs |
//! | `v` | the version of the format |
//!
//! A part is named by the id of its first job. Numbers are big-endian, so that keys sort as they do.

use std::collections::BTreeMap;

use super::{disk::VALUE_BYTES_MAX, memory::Due};
use crate::domain::{drawer::Drawer, job::JobId, time::Timestamp};

pub(super) const EVENTS: u8 = b'b';
pub(super) const STATES: u8 = b's';
pub(super) const OWN_STATE: u8 = b'o';
pub(super) const DUE: u8 = b'd';
pub(super) const RUN: u8 = b'r';
pub(super) const PLATFORM: u8 = b'p';
pub(super) const PLATFORM_COUNTS: u8 = b'n';
pub(super) const COLUMN: u8 = b'x';
pub(super) const NOTE: u8 = b'k';
pub(super) const LEDGER: &[u8] = b"m";
pub(super) const VERSION: &[u8] = b"v";

/// The key of a chunk of events.
pub(super) fn events(part: JobId, chunk: u8) -> Vec<u8> {
    join(&[&[EVENTS], &part.to_bytes(), &[chunk]])
}

/// The key of a part's states.
pub(super) fn states(part: JobId) -> Vec<u8> {
    join(&[&[STATES], &part.to_bytes()])
}

/// The key of a job's own state.
pub(super) fn own_state(id: JobId) -> Vec<u8> {
    join(&[&[OWN_STATE], &id.to_bytes()])
}

/// The key of a due entry.
pub(super) fn due(due: &Due) -> Vec<u8> {
    join(&[&due_of(due.platform), &time(due.at), &due.id.to_bytes()])
}

/// What the due entries of a platform begin with.
pub(super) fn due_of(platform: u32) -> Vec<u8> {
    join(&[&[DUE], &platform.to_be_bytes()])
}

/// What the due entries of a platform after this one begin with.
pub(super) fn due_after(platform: u32, after: (Timestamp, JobId)) -> Vec<u8> {
    join(&[&due_of(platform), &time(after.0), &after.1.to_bytes(), &[0]])
}

/// The due time and the job of a due entry.
pub(super) fn read_due(key: &[u8]) -> Option<(Timestamp, JobId)> {
    let (micros, id) = key.get(5..)?.split_first_chunk::<8>()?;
    let micros = u64::from_be_bytes(*micros) ^ SIGN;
    Some((Timestamp::from_micros(micros.cast_signed()), JobId::from_bytes(id.try_into().ok()?)))
}

/// The key of a record of a run.
pub(super) fn run(number: u32, chunk: usize) -> Vec<u8> {
    let chunk = u32::try_from(chunk).expect("a run has some hundred records");
    join(&[&[RUN], &number.to_be_bytes(), &chunk.to_be_bytes()])
}

/// The run and the number of one of its records.
pub(super) fn read_run(key: &[u8]) -> Option<(u32, u32)> {
    let (run, chunk) = key.get(1..)?.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*run), u32::from_be_bytes(chunk.try_into().ok()?)))
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

/// The key of a note.
pub(super) fn note(drawer: Drawer, key: &[u8]) -> Vec<u8> {
    join(&[&notes_of(drawer), key])
}

/// What the keys of a drawer's notes begin with.
pub(super) fn notes_of(drawer: Drawer) -> [u8; 2] {
    let code = match drawer {
        Drawer::Audit => 1,
        Drawer::Bulk => 2,
        Drawer::Outcomes => 3,
        Drawer::Steps => 4,
        Drawer::Paused => 5,
    };
    [NOTE, code]
}

/// The drawer of a note, and its key there.
pub(super) fn read_note(key: &[u8]) -> Option<(Drawer, &[u8])> {
    let drawer = Drawer::ALL.into_iter().find(|drawer| key.starts_with(&notes_of(*drawer)))?;
    Some((drawer, &key[2..]))
}

/// The job id that follows the kind of a key.
pub(super) fn read_id(key: &[u8]) -> Option<JobId> {
    Some(JobId::from_bytes(key.get(1..)?.try_into().ok()?))
}

/// A value of any length, in pieces that are small enough for the tree: the first under the key itself with the number
/// of the others before it, the others under the key and their number.
pub(super) fn laid_out(key: &[u8], value: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (head, tail) = value.split_at(value.len().min(PIECE_BYTES));
    let others = tail.chunks(PIECE_BYTES);
    let count = u8::try_from(others.len()).expect("an event has 64 KiB and a history 100 attempts");
    let pieces = (1..=count).zip(others).map(|(number, piece)| (join(&[key, &[number]]), piece.to_vec()));
    pieces.chain([(key.to_vec(), join(&[&[count], head]))]).collect()
}

const PIECE_BYTES: usize = VALUE_BYTES_MAX - 1;

/// Puts a value together that was laid out in pieces. `get` reads one of the other pieces.
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
        value.extend(get(&join(&[key, &[number]]))?);
    }
    Ok(Some(value))
}

/// A key in letters and digits, for an error that names it.
pub(super) fn shown(key: &[u8]) -> String {
    let (kind, rest) = key.split_first().map_or((' ', key), |(kind, rest)| (char::from(*kind), rest));
    rest.iter().fold(format!("{kind:?}"), |text, byte| format!("{text}{byte:02x}"))
}

/// A time as bytes that sort as it does.
fn time(moment: Timestamp) -> [u8; 8] {
    (moment.as_micros().cast_unsigned() ^ SIGN).to_be_bytes()
}

const SIGN: u64 = 1 << 63;

fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::GradeCell;

    #[test]
    fn due_keys_sort_by_time_and_then_by_id_and_are_read_again() {
        let id = |number: u128| JobId::from_bytes(number.to_be_bytes());
        let entry = |micros, number| Due {
            platform: 7,
            at: Timestamp::from_micros(micros),
            id: id(number),
            cell: GradeCell([0; 16]),
        };
        let sorted = [entry(i64::MIN, 5), entry(-1, 4), entry(0, 3), entry(1, 1), entry(1, 2), entry(i64::MAX, 0)];
        let keys: Vec<_> = sorted.iter().map(due).collect();
        assert!(keys.is_sorted());
        for (entry, key) in sorted.iter().zip(&keys) {
            assert_eq!(read_due(key), Some((entry.at, entry.id)));
            let after = due_after(7, (entry.at, entry.id));
            assert!(keys.iter().all(|other| (other > key) == (*other >= after)));
        }
        assert_eq!(read_due(&keys[0][..20]), None);
    }

    #[test]
    fn a_long_value_comes_back_from_its_pieces() {
        for len in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 10 * PIECE_BYTES + 5] {
            let value: Vec<u8> = (0_u8..=250).cycle().take(len).collect();
            let records = laid_out(b"key", &value);
            assert!(records.values().all(|record| record.len() <= VALUE_BYTES_MAX));
            let get = |key: &[u8]| records.get(key).cloned().ok_or(());
            assert_eq!(gather(b"key", &records[&b"key"[..]], get), Ok(Some(value)), "{len}");
        }
        assert_eq!(gather(b"key", &[], |_| Err(())), Ok(None));
        assert_eq!(gather(b"key", &[1], |_| Err(())), Err(()));
    }

    #[test]
    fn a_key_is_shown_in_letters_and_digits() {
        assert_eq!(shown(&[b's', 0, 255]), "'s'00ff");
    }
}
