//! A bulk change in the background: all jobs of a selection are replayed or discarded, newest first, step by step.
//!
//! The task is a note in [`Drawer::Bulk`] that says how far it has come. A step changes its jobs and the task in one
//! commit, and notes in [`Drawer::Steps`] what came of each job, so what is counted and told is what was changed,
//! whenever the worker is killed.
//!
//! [`Drawer::Bulk`]: super::drawer::Drawer::Bulk
//! [`Drawer::Steps`]: super::drawer::Drawer::Steps

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    audit::{Action, Entry, Word},
    destination::Origin,
    drawer::{Note, RECORD_BYTES_MAX, newest_first},
    job::{JobId, StateName},
    time::Timestamp,
};

/// What is done to each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is tried again.
    Replay,
    /// It is given up.
    Discard,
}

impl Change {
    /// As the audit log calls it.
    pub const fn action(self) -> Action {
        match self {
            Self::Replay => Action::Replay,
            Self::Discard => Action::Discard,
        }
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is worked off.
    Running,
    /// It has come to its end.
    Done,
    /// It was given up; the error says why.
    Failed,
}

impl Standing {
    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What came of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// It is queued again.
    Replayed,
    /// Its cell has a newer grade.
    Superseded,
    /// It was given up.
    Discarded,
    /// It was left as it was: it has moved on since it was listed, an attempt is under way, or it cannot be read.
    Skipped,
}

impl Came {
    /// All of them; the place of each is its number in a record.
    pub const ALL: [Self; 4] = [Self::Replayed, Self::Superseded, Self::Discarded, Self::Skipped];

    /// By the state that a job came to; none where it was not changed.
    pub fn to(state: Option<StateName>) -> Self {
        match state {
            None => Self::Skipped,
            Some(StateName::Superseded) => Self::Superseded,
            Some(StateName::Discarded) => Self::Discarded,
            Some(_) => Self::Replayed,
        }
    }

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
            Self::Skipped => "skipped",
        }
    }
}

/// What came of the jobs of one step, newest first: a note of its own, that is never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step(pub Vec<(JobId, Came)>);

impl Step {
    /// The most jobs of a step.
    pub const JOBS_MAX: usize = 100;

    /// The note, which lies with its task, in the order of its oldest job; none of no jobs. `task` is the key of the task.
    pub fn note(&self, task: &[u8]) -> Option<Note> {
        let (oldest, _) = self.0.last()?;
        let entry = |(id, came): &(JobId, Came)| id.to_bytes().into_iter().chain([*came as u8]);
        Some(Note { key: [task, &newest_first(*oldest)].concat(), record: self.0.iter().flat_map(entry).collect() })
    }

    /// Reads what a note says; none where it is of another form.
    pub fn read(record: &[u8]) -> Option<Self> {
        let (entries, rest) = record.as_chunks::<ENTRY_BYTES>();
        let read = |entry: &[u8; ENTRY_BYTES]| {
            let (id, came) = entry.split_first_chunk::<16>()?;
            Some((JobId::from_bytes(*id), *Came::ALL.get(usize::from(came[0]))?))
        };
        if rest.is_empty() { entries.iter().map(read).collect::<Option<_>>().map(Self) } else { None }
    }
}

/// A job id and what came of it.
const ENTRY_BYTES: usize = 17;

const _: () = assert!(Step::JOBS_MAX * ENTRY_BYTES <= RECORD_BYTES_MAX, "a step must fit a note");

/// A bulk change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What is done to each job.
    pub change: Change,
    /// Whose word it is, and why.
    pub word: Word,
    /// Which jobs, as it was asked for.
    pub filter: Value,
    /// The origins of the platform that the filter names, as it was known by that name at the start.
    pub origins: Option<Vec<Origin>>,
    /// Where it stands.
    pub standing: Standing,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it was given up.
    pub error: Option<String>,
    /// Jobs of this id and newer ones are behind it.
    pub cursor: Option<JobId>,
    /// Jobs that passed the filter at the start; none until they are counted.
    pub total: Option<u64>,
    /// Jobs that were changed.
    pub matched: u64,
    /// Of these, jobs that are queued again.
    pub replayed: u64,
    /// Jobs that are superseded, because their cell has a newer grade.
    pub superseded: u64,
    /// Jobs that were given up.
    pub discarded: u64,
    /// Jobs that could not be changed: an attempt is under way, they have moved on, or cannot be read.
    pub skipped: u64,
}

impl Task {
    /// A task at its beginning.
    pub fn new(change: Change, word: Word, filter: Value, origins: Option<Vec<Origin>>, now: Timestamp) -> Self {
        Self {
            change,
            word,
            filter,
            origins,
            standing: Standing::Running,
            started_at: now,
            ended_at: None,
            error: None,
            cursor: None,
            total: None,
            matched: 0,
            replayed: 0,
            superseded: 0,
            discarded: 0,
            skipped: 0,
        }
    }

    /// The state of the jobs that it changes: flagged, unless its filter names another. None where nobody knows that name.
    pub fn wanted(&self) -> Option<StateName> {
        match self.filter.get("state").and_then(Value::as_str) {
            Some(name) => StateName::from_name(name),
            None => Some(StateName::Flagged),
        }
    }

    /// Counts a job by what came of it.
    pub fn count(&mut self, came: Came) {
        let counter = match came {
            Came::Skipped => return self.skipped += 1,
            Came::Superseded => &mut self.superseded,
            Came::Discarded => &mut self.discarded,
            Came::Replayed => &mut self.replayed,
        };
        *counter += 1;
        self.matched += 1;
    }

    /// The end: done, or given up for a reason.
    pub fn end(&mut self, now: Timestamp, error: Option<String>) {
        self.standing = if error.is_none() { Standing::Done } else { Standing::Failed };
        self.ended_at = Some(now);
        self.error = error;
    }

    /// What the audit log says of it.
    pub fn entry(&self) -> Entry {
        let count = (self.standing != Standing::Running).then_some(self.matched);
        let entry = Entry::new(self.started_at, &self.word, self.change.action());
        Entry { filter: Some(self.filter.clone()), count, ..entry }
    }

    /// As it lies in the drawer.
    pub fn record(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a task has text for keys")
    }

    /// Reads a task; none where it is of another form.
    pub fn read(record: &[u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_counts_what_was_changed_and_is_read_again() {
        let now = Timestamp::from_secs(1_800_000_000);
        let mut task = Task::new(Change::Replay, Word::of("ops"), Value::Null, None, now);
        for came in [Came::Replayed, Came::Superseded, Came::Skipped, Came::Replayed] {
            task.count(came);
        }
        assert_eq!((task.matched, task.replayed, task.superseded, task.skipped), (3, 2, 1, 1));
        assert_eq!(task.entry().count, None, "it has not come to its end");
        task.end(now, None);
        assert_eq!(task.entry().count, Some(3));
        assert_eq!(Task::read(&task.record()), Some(task));
    }

    #[test]
    fn a_step_is_read_again_and_lies_by_its_oldest_job() {
        let id = |number: u128| JobId::from_bytes(number.to_be_bytes());
        let task = newest_first(id(9));
        let step = Step(Came::ALL.into_iter().zip([8, 6, 4, 2]).map(|(came, number)| (id(number), came)).collect());
        let note = step.note(&task).expect("it has jobs");
        assert_eq!((note.key, Step::read(&note.record)), ([task, newest_first(id(2))].concat(), Some(step)));
        assert_eq!(Step::default().note(&task), None);
        assert_eq!((Step::read(&note.record[1..]), Step::read(&[7; ENTRY_BYTES])), (None, None));
    }
}
