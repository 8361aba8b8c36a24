//! Drawers: what is kept beside the jobs, as durable as they are, in the order of its keys. What admins did, the bulk
//! changes that are under way and what came of each of their jobs, the ends of jobs that are still to be published, and the
//! pauses of platforms that nobody has met.

use super::{
    job::{Job, JobId, StateName},
    time::Timestamp,
};

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Drawer {
    /// What admins did; see [`newest_first`] for its keys.
    Audit,
    /// Bulk changes, those under way and the last ones that ended.
    Bulk,
    /// What came of each job of a bulk change; see [`super::bulk::Step`].
    Steps,
    /// Ends of jobs that are to be published; see [`JobEnd`].
    Outcomes,
    /// Names of platforms that are paused, though no grade has gone there yet.
    Paused,
}

impl Drawer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Audit, Self::Bulk, Self::Outcomes, Self::Paused, Self::Steps];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Bulk => "bulk",
            Self::Steps => "steps",
            Self::Outcomes => "outcomes",
            Self::Paused => "paused",
        }
    }
}

/// The longest key of a note, in bytes.
pub const KEY_BYTES_MAX: usize = 32;

/// The longest record of a note, in bytes.
pub const RECORD_BYTES_MAX: usize = 4 * 1024;

/// A note in a drawer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it lies; notes are read in the order of their keys. At most [`KEY_BYTES_MAX`].
    pub key: Vec<u8>,
    /// What it says. At most [`RECORD_BYTES_MAX`].
    pub record: Vec<u8>,
}

/// A key that sorts the newest note first.
pub fn newest_first(id: JobId) -> [u8; 16] {
    id.to_bytes().map(|byte| !byte)
}

/// The id of a note under such a key.
pub fn read_newest_first(key: &[u8]) -> Option<JobId> {
    Some(JobId::from_bytes(<[u8; 16]>::try_from(key).ok()?.map(|byte| !byte)))
}

/// One end of a job: after a replay it may have another. It names its message too, so that a repeat is known as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// When.
    pub at: Timestamp,
    /// The job.
    pub job: JobId,
    /// The number of this end, from 1.
    pub number: u32,
    /// The state that it came to.
    pub state: StateName,
}

impl JobEnd {
    /// The end that a job has come to; none while it is queued.
    pub fn of(job: &Job) -> Option<Self> {
        let at = job.ended_at.filter(|_| job.queued().is_none())?;
        Some(Self { at, job: job.id, number: job.ends, state: job.state_name() })
    }

    /// The note that waits until this end is published. Notes lie in the order of the ends.
    pub fn note(&self) -> Note {
        let at = self.at.as_micros().cast_unsigned() ^ (1 << 63);
        let key = [&at.to_be_bytes()[..], &self.job.to_bytes(), &self.number.to_be_bytes()].concat();
        Note { key, record: self.state.name().into() }
    }

    /// Reads such a note.
    pub fn read(note: &Note) -> Option<Self> {
        let (at, rest) = note.key.split_first_chunk::<8>()?;
        let (job, number) = rest.split_first_chunk::<16>()?;
        Some(Self {
            at: Timestamp::from_micros((u64::from_be_bytes(*at) ^ (1 << 63)).cast_signed()),
            job: JobId::from_bytes(*job),
            number: u32::from_be_bytes(number.try_into().ok()?),
            state: StateName::from_name(std::str::from_utf8(&note.record).ok()?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_of_an_end_is_read_again_and_lies_in_its_order() {
        let end = |seconds: i64, number| JobEnd {
            at: Timestamp::from_secs(seconds),
            job: JobId::from_bytes([7; 16]),
            number,
            state: StateName::Flagged,
        };
        let ends = [end(-5, 1), end(0, 1), end(1_800_000_000, 1), end(1_800_000_000, 2), end(1_800_000_001, 1)];
        let notes = ends.map(|end| end.note());
        assert!(notes.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert!(notes.iter().all(|note| note.key.len() <= KEY_BYTES_MAX));
        assert_eq!(notes.map(|note| JobEnd::read(&note)), ends.map(Some));
        assert_eq!(JobEnd::read(&Note { key: vec![1; 8], record: b"flagged".to_vec() }), None);
    }

    #[test]
    fn the_newest_note_lies_first() {
        let (older, newer) = (JobId::from_bytes([1; 16]), JobId::from_bytes([2; 16]));
        assert!(newest_first(newer) < newest_first(older));
        assert_eq!(read_newest_first(&newest_first(newer)), Some(newer));
    }
}
