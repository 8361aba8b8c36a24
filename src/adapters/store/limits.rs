//! What the members of an imported line may be at most. Whatever is within these limits fits the records of the store, and
//! leaves a worker room to count on; an export has nothing beyond them. Each refusal names its member.

use crate::domain::{
    event::EVENT_BYTES_MAX,
    job::{HISTORY_MAX, JobId},
    time::Timestamp,
};

/// The longest text that comes from an event, in bytes, and the longest URL.
pub(super) const TEXT_BYTES_MAX: usize = EVENT_BYTES_MAX;

/// The longest origin, in bytes: a host name has at most 254.
pub(super) const ORIGIN_BYTES_MAX: usize = 300;

/// The longest words of an attempt, in bytes; the worker cuts them after some hundred letters.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;

const _: () = assert!(HISTORY_MAX * (MESSAGE_BYTES_MAX + 64) < 1024 * 1024, "a history must fit its records");

/// The longest attempt, in microseconds: ten years.
pub(super) const DURATION_US_MAX: u64 = 10 * 366 * 24 * 3_600 * 1_000_000;

/// The greatest count of tries and the like: it can be counted on from there.
const COUNT_MAX: u32 = 1_000_000_000;

/// 2100-01-01: nothing has happened after that, and no id says so.
const END_OF_TIME: Timestamp = Timestamp::from_secs(4_102_444_800);

/// Of what a line says so much is quoted, in letters.
const QUOTED_CHARS_MAX: usize = 120;

/// An id after which no other would be left, or that puts all later ones into its own year, is none of a job.
pub(super) fn id(id: JobId) -> Result<(), String> {
    if id < JobId::first_at(END_OF_TIME) { Ok(()) } else { Err("id: is of a time after the year 2099".to_owned()) }
}

pub(super) fn moment(member: &str, moment: Option<Timestamp>) -> Result<(), String> {
    if moment.is_none_or(|moment| moment < END_OF_TIME) {
        return Ok(());
    }
    Err(format!("{member}: is after the year 2099"))
}

pub(super) fn text(member: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() <= bytes_max { Ok(()) } else { Err(format!("{member}: is longer than {bytes_max} bytes")) }
}

pub(super) fn count(member: &str, count: u32) -> Result<(), String> {
    if count <= COUNT_MAX { Ok(()) } else { Err(format!("{member}: is greater than {COUNT_MAX}")) }
}

/// The beginning of what a line says, to be quoted.
pub(super) fn cut(text: &str) -> &str {
    text.char_indices().nth(QUOTED_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}
