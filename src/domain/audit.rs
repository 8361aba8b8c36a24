//! The audit log: who did what, when, to how many, and why. An entry is a note in [`Drawer::Audit`], as durable as what
//! it tells of and written in the same commit or before it; the newest [`ENTRIES_MAX`] are kept.
//!
//! [`Drawer::Audit`]: super::drawer::Drawer::Audit

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{job::JobId, time::Timestamp};

/// As many entries are kept.
pub const ENTRIES_MAX: usize = 10_000;

/// The longest note that somebody adds, in characters.
pub const NOTE_CHARS_MAX: usize = 500;

/// The longest filter that is written down, in bytes of JSON. With the longest note and name, an entry fits into a
/// drawer.
pub const FILTER_BYTES_MAX: usize = 1_200;

/// Names of tokens and platforms are cut down to so many characters.
const NAME_CHARS_MAX: usize = 80;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A job was tried again, or many.
    Replay,
    /// A job was given up, or many.
    Discard,
    /// A platform was stopped.
    Pause,
    /// A platform was let go on.
    Resume,
    /// Keys, platforms and tokens were read anew.
    Reload,
    /// The store was copied.
    Backup,
    /// Jobs of another store were brought in.
    Import,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Replay, Self::Discard, Self::Pause, Self::Resume, Self::Reload, Self::Backup, Self::Import];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reload => "reload",
            Self::Backup => "backup",
            Self::Import => "import",
        }
    }
}

/// Whose word it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The token's name.
    pub who: String,
    /// What was added to it.
    pub note: Option<String>,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The token's name.
    pub who: String,
    /// What was done.
    pub action: Action,
    /// The job, where it was one.
    pub job: Option<JobId>,
    /// Which jobs, where it was many; which platform, where it was one.
    pub filter: Option<Value>,
    /// How many jobs. None of one that has not come to its end.
    pub count: Option<u64>,
    /// Why.
    pub note: Option<String>,
}

impl Word {
    /// A word without a note.
    pub fn of(who: &str) -> Self {
        Self { who: who.chars().take(NAME_CHARS_MAX).collect(), note: None }
    }

    /// The same with a note; `None` where it is longer than [`NOTE_CHARS_MAX`]. What is no text becomes a space.
    pub fn saying(mut self, note: &str) -> Option<Self> {
        if note.chars().count() > NOTE_CHARS_MAX {
            return None;
        }
        let note: String = note.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        let note = note.trim();
        self.note = (!note.is_empty()).then(|| note.to_owned());
        Some(self)
    }
}

impl Entry {
    /// An entry about nothing in particular yet.
    pub fn new(at: Timestamp, word: &Word, action: Action) -> Self {
        let Word { who, note } = word.clone();
        Self { at, who, action, job: None, filter: None, count: None, note }
    }

    /// About a job.
    #[must_use]
    pub fn about_job(self, job: JobId) -> Self {
        Self { job: Some(job), count: Some(1), ..self }
    }

    /// About a platform.
    #[must_use]
    pub fn about_platform(self, name: &str) -> Self {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        Self { filter: Some(serde_json::json!({ "platform": name })), ..self }
    }

    /// As it lies in the drawer.
    pub fn record(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has text for keys")
    }

    /// Reads an entry; none where it is of another form.
    pub fn read(record: &[u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::drawer::RECORD_BYTES_MAX;

    #[test]
    fn the_longest_entry_fits_into_a_drawer_and_is_read_again() {
        let word = Word::of(&"𝄞".repeat(200)).saying(&"𝄞".repeat(NOTE_CHARS_MAX)).expect("it is just short enough");
        let entry = Entry {
            filter: Some(Value::String("x".repeat(FILTER_BYTES_MAX - 2))),
            job: Some(JobId::LAST),
            count: Some(u64::MAX),
            ..Entry::new(Timestamp::from_secs(1_800_000_000), &word, Action::Discard)
        };
        assert!(entry.record().len() <= RECORD_BYTES_MAX, "{}", entry.record().len());
        assert_eq!(Entry::read(&entry.record()), Some(entry));
        assert_eq!(word.saying(&"x".repeat(NOTE_CHARS_MAX + 1)), None);
    }

    #[test]
    fn a_note_is_text() {
        let note = |text: &str| Word::of("ops").saying(text).and_then(|word| word.note);
        assert_eq!(note(" the LMS\nis back\u{7} \u{0}"), Some("the LMS\nis back".to_owned()));
        assert_eq!(note("  "), None);
    }

    #[test]
    fn each_action_is_written_as_it_is_named() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).expect("a text"), action.name());
        }
    }
}
