//! The survey of a file that is to be imported: every line is looked at, the bad ones are told by their number, and of
//! the good ones it is noted where they stand. Nothing is made of them here.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
};

use super::{
    import::{ImportError, Phase, Progress, Stop, Wholeness},
    lines::Line,
};
use crate::domain::job::JobId;

/// The longest line, in bytes: an event, escaped, and a hundred attempts with their words are far below it.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So many bad lines are told in words.
const BAD_LINES_TOLD: usize = 20;

/// Where a job's line stands.
pub(super) struct Spot {
    pub(super) id: JobId,
    pub(super) line: u64,
    pub(super) at: u64,
}

/// What was found in a file whose lines are all good.
pub(super) struct Survey {
    /// By their ids.
    pub(super) jobs: Vec<Spot>,
    /// Where the other lines stand that something is made of.
    pub(super) others: Vec<u64>,
    /// What could not be read when the file was written.
    pub(super) unread: u64,
}

impl Survey {
    pub(super) fn of(
        file: &mut File,
        wholeness: Wholeness,
        progress: Progress<'_>,
        stop: Stop<'_>,
    ) -> Result<Self, ImportError> {
        let size = file.metadata().map_err(ImportError::Read)?.len();
        let mut lines = Lines::from(file, 0)?;
        let mut survey = Self { jobs: Vec::new(), others: Vec::new(), unread: 0 };
        let (mut bad, mut end) = (Bad::default(), None);
        while let Some((at, text)) = lines.next()? {
            let line = lines.number;
            if stop() {
                return Err(ImportError::Stopped);
            }
            progress(Phase::Reading, at, size);
            if text.len() > LINE_BYTES_MAX {
                bad.line(line, "is longer than any line of an export");
                continue;
            }
            match Line::read(&text) {
                _ if text.trim_ascii().is_empty() => {}
                Err(why) => bad.line(line, &why),
                Ok(Line::Job(job)) => survey.jobs.push(Spot { id: job.id, line, at }),
                Ok(Line::End { jobs, unread }) => {
                    survey.unread = unread;
                    end = Some(jobs);
                }
                Ok(Line::Store) => {}
                Ok(_) => survey.others.push(at),
            }
        }
        survey.jobs.sort_by_key(|job| (job.id, job.line));
        for pair in survey.jobs.windows(2).filter(|pair| pair[0].id == pair[1].id) {
            bad.line(pair[1].line, &format!("is job {}, which stands on line {} already", pair[1].id, pair[0].line));
        }
        let count = survey.jobs.len() as u64;
        match end {
            _ if wholeness == Wholeness::Waived || bad.count > 0 => {}
            None => bad
                .of_all("the file is cut short, it has no last line of the kind \"end\" (--partial takes it as it is)"),
            Some(jobs) if jobs != count => {
                bad.of_all(&format!(
                    "the file has {count} jobs and its end tells of {jobs} (--partial takes it as it is)"
                ));
            }
            Some(_) => {}
        }
        bad.none_or(survey)
    }
}

/// The lines that are wrong.
#[derive(Default)]
struct Bad {
    words: Vec<String>,
    count: usize,
}

impl Bad {
    fn line(&mut self, number: u64, why: &str) {
        self.of_all(&format!("line {number}: {why}"));
    }

    fn of_all(&mut self, words: &str) {
        self.count += 1;
        if self.count <= BAD_LINES_TOLD {
            self.words.push(words.to_owned());
        }
    }

    fn none_or(mut self, survey: Survey) -> Result<Survey, ImportError> {
        if self.count == 0 {
            return Ok(survey);
        }
        if self.count > BAD_LINES_TOLD {
            self.words.push(format!("and {} more", self.count - BAD_LINES_TOLD));
        }
        Err(ImportError::BadLines(self.words))
    }
}

/// The lines of a file from a place on.
pub(super) struct Lines<'a> {
    file: BufReader<&'a mut File>,
    at: u64,
    /// Of the line that came last, from 1.
    number: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn from(file: &'a mut File, at: u64) -> Result<Self, ImportError> {
        file.seek(SeekFrom::Start(at)).map_err(ImportError::Read)?;
        Ok(Self { file: BufReader::new(file), at, number: 0 })
    }

    /// The next line with its place, without its line break. Of one that is too long only the beginning is kept.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, ImportError> {
        let (at, mut text) = (self.at, Vec::new());
        let read = (&mut self.file).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text);
        let mut len = read.map_err(ImportError::Read)?;
        if len == 0 {
            return Ok(None);
        }
        if text.len() > LINE_BYTES_MAX {
            len += self.file.skip_until(b'\n').map_err(ImportError::Read)?;
        }
        self.at += len as u64;
        self.number += 1;
        Ok(Some((at, text)))
    }
}
