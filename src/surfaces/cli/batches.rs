//! Events as lines of a file or a pipe, gathered into batches of bounded size that remember their line numbers.
//!
//! Nothing is judged here but the length: whether a line is an event is for the worker to say.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The longest event, in bytes.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of one batch; half of what a worker takes in one request.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads batches, one after the other.
pub(super) struct Batches<R> {
    reader: R,
    events_max: usize,
    line: u64,
    bytes: u64,
}

/// Some lines, each an event; blank ones are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Line number, from 1, and text without the line break.
    pub events: Vec<(u64, Vec<u8>)>,
    /// The numbers of lines that are longer than any event.
    pub too_long: Vec<u64>,
}

impl Batch {
    /// How many events it has, too long ones with them.
    pub(super) fn len(&self) -> u64 {
        (self.events.len() + self.too_long.len()) as u64
    }

    /// The first and the last line number.
    pub(super) fn lines(&self) -> (u64, u64) {
        let lines = || self.events.iter().map(|(line, _)| *line).chain(self.too_long.iter().copied());
        (lines().min().unwrap_or(0), lines().max().unwrap_or(0))
    }

    /// As the body of one request.
    pub(super) fn to_ndjson(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.events.iter().map(|(_, event)| event.len() + 1).sum());
        for (_, event) in &self.events {
            body.extend_from_slice(event);
            body.push(b'\n');
        }
        body
    }
}

enum Line {
    Event(Vec<u8>),
    TooLong,
    Blank,
    End,
}

impl<R: AsyncBufRead + Unpin> Batches<R> {
    /// Batches of at most `events_max` events.
    pub(super) fn new(reader: R, events_max: usize) -> Self {
        Self { reader, events_max, line: 0, bytes: 0 }
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next batch; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Batch>> {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while batch.len() < self.events_max as u64 && bytes + EVENT_BYTES_MAX < BATCH_BYTES_MAX {
            match self.next_line().await? {
                Line::Event(event) => {
                    bytes += event.len() + 1;
                    batch.events.push((self.line, event));
                }
                Line::TooLong => batch.too_long.push(self.line),
                Line::Blank => {}
                Line::End => break,
            }
        }
        Ok((batch.len() > 0).then_some(batch))
    }

    async fn next_line(&mut self) -> io::Result<Line> {
        let mut text = Vec::new();
        // A line break of two bytes, and one more byte that shows that the line is too long.
        let limit = EVENT_BYTES_MAX as u64 + 3;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut text).await?;
        self.bytes += read as u64;
        if read == 0 {
            return Ok(Line::End);
        }
        self.line += 1;
        let is_whole = text.ends_with(b"\n");
        let mut event = text.trim_ascii();
        if self.line == 1 {
            event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
        }
        let line = match event {
            [] => Line::Blank,
            event if event.len() > EVENT_BYTES_MAX => Line::TooLong,
            event => Line::Event(event.to_vec()),
        };
        if is_whole || (read as u64) < limit {
            return Ok(line);
        }
        self.skip_line().await?;
        Ok(Line::TooLong)
    }

    /// Reads to the end of a line without keeping it.
    async fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            let (used, is_end) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (chunk.len(), chunk.is_empty()),
            };
            self.reader.consume(used);
            self.bytes += used as u64;
            if is_end {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(text: &[u8], events_max: usize, expected: &[(&[u64], &[u64])]) {
        let mut batches = Batches::new(text, events_max);
        let mut got = Vec::new();
        while let Some(batch) = batches.next().await.expect("it is read") {
            got.push((batch.events.iter().map(|(line, _)| *line).collect::<Vec<_>>(), batch.too_long));
        }
        assert_eq!(batches.bytes(), text.len() as u64);
        let expected: Vec<_> = expected.iter().map(|(lines, long)| (lines.to_vec(), long.to_vec())).collect();
        assert_eq!(got, expected, "{}", String::from_utf8_lossy(&text[..text.len().min(80)]));
    }

    #[tokio::test]
    async fn batches_remember_the_line_numbers() {
        check(b"", 2, &[]).await;
        check(b"\n \n", 2, &[]).await;
        check(b"{}\n{}\n{}\n", 2, &[(&[1, 2], &[]), (&[3], &[])]).await;
        check(b"{}\r\n\r\n{}", 2, &[(&[1, 3], &[])]).await;
        check(b"\xef\xbb\xbf{}\n", 2, &[(&[1], &[])]).await;
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_named_and_not_kept() {
        let exact = "x".repeat(EVENT_BYTES_MAX);
        for end in ["", "\n", "\r\n"] {
            check(format!("{exact}{end}").as_bytes(), 5, &[(&[1], &[])]).await;
            check(format!("{exact}x{end}").as_bytes(), 5, &[(&[], &[1])]).await;
        }
        let huge = format!("{{}}\n{}\n{{}}\n", "y".repeat(1_000_000));
        check(huge.as_bytes(), 5, &[(&[1, 3], &[2])]).await;
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_too() {
        let line = format!("{}\n", "x".repeat(EVENT_BYTES_MAX));
        let text = line.repeat(200);
        let mut batches = Batches::new(text.as_bytes(), 1000);
        let first = batches.next().await.expect("it is read").expect("a batch");
        assert!(first.to_ndjson().len() <= BATCH_BYTES_MAX && first.len() > 100, "{}", first.len());
        assert_eq!(first.lines(), (1, first.len()));
    }
}
