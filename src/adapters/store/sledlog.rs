//! sled's log, read without sled: the form of its segments, of the messages in them, and of the nodes and links that the
//! messages hold, as sled 0.34.7 writes them. Salvage needs it because sled refuses its files as a whole when a page is lost.
//!
//! Nothing is believed without its checksum, and nothing here writes or panics, whatever the bytes are.

use std::collections::BTreeSet;

use super::disk::SEGMENT_BYTES;

/// How long a segment is, in bytes.
pub(super) const SEGMENT: u64 = SEGMENT_BYTES as u64;

/// So long is the head of a segment, in bytes.
pub(super) const HEAD_BYTES: usize = 20;

/// No message begins in so many bytes at the end of a segment.
const RED_ZONE_BYTES: usize = 32;

/// The page numbers below this one are sled's own.
const FIRST_PAGE: u64 = 2;

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where it stands in the log; the greater, the newer.
    pub(super) lsn: u64,
    /// All before this was on disk when the segment was begun.
    pub(super) stable: u64,
}

impl Head {
    /// Reads the first bytes of a segment.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        const MASK: u64 = u64::MAX >> 1;
        let (check, rest) = bytes.split_first_chunk::<4>()?;
        let (lsn, stable) = rest.split_first_chunk::<8>()?;
        let stable = stable.first_chunk::<8>()?;
        let [lsn, stable] = [lsn, stable].map(|number| u64::from_le_bytes(*number) ^ MASK);
        let is_sound = u32::from_le_bytes(*check) == !crc32fast::hash(rest) && lsn <= MASK && lsn % SEGMENT == 0;
        // Of an empty log nothing is stable, which sled writes as -1.
        is_sound.then_some(Self { lsn, stable: if stable <= MASK { stable } else { 0 } })
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// All of a page.
    Page,
    /// A change of a page.
    Link,
    /// The page is none any more.
    Freed,
    /// What follows up to this place belongs together.
    Batch(u64),
    /// Nothing that salvage needs.
    Nothing,
    /// Its content lies in a file of its own.
    Elsewhere,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) said: Said,
    pub(super) page: u64,
    /// Where it stands in the segment.
    pub(super) at: usize,
    /// Where the next one stands.
    pub(super) end: usize,
    pub(super) body: &'a [u8],
}

/// What comes next in a segment.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Message(Message<'a>),
    /// It cannot be read for a while; the next one that can be, if any, stands behind it.
    Break,
}

/// The messages of a segment, in their order. What cannot be read is passed by.
pub(super) struct Messages<'a> {
    segment: &'a [u8],
    number: u64,
    at: usize,
}

impl<'a> Messages<'a> {
    /// Of a segment that stands there in the log.
    pub(super) fn of(segment: &'a [u8], lsn: u64) -> Self {
        Self { segment, number: lsn / SEGMENT, at: HEAD_BYTES }
    }

    fn read(&self, at: usize) -> Option<(Message<'a>, u8)> {
        let from = self.segment.get(at..)?;
        let mut rest = Bytes(from);
        let check = u32::from_le_bytes(rest.take(4)?.try_into().ok()?);
        let kind = rest.byte()?;
        if !(1..=11).contains(&kind) {
            return None;
        }
        let len = usize::try_from(rest.number()?).ok()?;
        if rest.number()? != self.number {
            return None;
        }
        let page = rest.number()?;
        let head = &from[4..from.len() - rest.0.len()];
        let body = rest.take(len)?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(body);
        sum.update(head);
        let said = match kind {
            3 => Said::Batch(u64::from_le_bytes(body.try_into().ok()?)),
            4 if page >= FIRST_PAGE => Said::Freed,
            8 if page >= FIRST_PAGE => Said::Page,
            10 if page >= FIRST_PAGE => Said::Link,
            9 | 11 => Said::Elsewhere,
            _ => Said::Nothing,
        };
        let end = self.segment.len() - rest.0.len();
        (check == !sum.finalize()).then_some((Message { said, page, at, end, body }, kind))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        const CAP: u8 = 2;
        if self.at + RED_ZONE_BYTES > SEGMENT_BYTES {
            return None;
        }
        if let Some((message, kind)) = self.read(self.at) {
            // A cap fills the rest of a segment up.
            self.at = if kind == CAP { SEGMENT_BYTES } else { message.end };
            return Some(Step::Message(message));
        }
        let behind = self.at + 1..self.segment.len();
        self.at = behind.into_iter().find(|at| self.read(*at).is_some()).unwrap_or(SEGMENT_BYTES);
        Some(Step::Break)
    }
}

/// A node of sled's tree. Keys in it are without what they all begin with.
pub(super) struct Node<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) low: &'a [u8],
    /// Where it ends; empty for the last one.
    pub(super) high: &'a [u8],
    /// The records; none where the node only leads to others.
    pub(super) records: Option<Vec<(&'a [u8], &'a [u8])>>,
}

impl<'a> Node<'a> {
    /// Reads the body of a message that has all of a page.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut rest = Bytes(body);
        let (_next, _merging_child, _is_merging) = (rest.number()?, rest.number()?, rest.byte()?);
        let prefix_len = rest.byte()?;
        let (low, high) = (rest.text()?, rest.text()?);
        let is_leaf = rest.byte()? == 0;
        let records = if is_leaf { Some(rest.records()?) } else { None };
        Some(Self { prefix: low.get(..usize::from(prefix_len))?, low, high, records })
    }
}

/// A change of a record, its key without what all keys of its node begin with.
pub(super) enum Change<'a> {
    Set(&'a [u8], &'a [u8]),
    Removed(&'a [u8]),
}

impl<'a> Change<'a> {
    /// Reads the body of a link; none for one that changes no record.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut rest = Bytes(body);
        match rest.byte()? {
            0 => Some(Self::Set(rest.text()?, rest.text()?)),
            1 => Some(Self::Removed(rest.text()?)),
            _ => None,
        }
    }
}

/// A snapshot: what sled needed of its log when it was last opened.
pub(super) struct Snapshot {
    /// How far in the log it goes.
    pub(super) lsn: u64,
    /// The numbers of the segments in the file that pages were in.
    pub(super) segments: BTreeSet<u64>,
}

impl Snapshot {
    /// Reads the content of a snapshot's file.
    pub(super) fn read(file: &[u8]) -> Option<Self> {
        let (rest, check) = file.split_last_chunk::<4>()?;
        let (content, _len) = rest.split_last_chunk::<8>()?;
        if u32::from_le_bytes(*check) != crc32fast::hash(content) {
            return None;
        }
        let mut rest = Bytes(content);
        let lsn = u64::from_le_bytes(rest.take(8)?.try_into().ok()?).saturating_sub(1);
        let _active_segment = rest.number()?;
        let mut segments = BTreeSet::new();
        while !rest.0.is_empty() {
            let places = rest.byte()?;
            for _ in 0..places.max(1) {
                let _lsn = rest.take(8)?;
                let is_elsewhere = rest.byte()? == 1;
                let at = rest.number()?;
                rest.take(if is_elsewhere { 8 } else { 0 })?;
                if places > 0 {
                    let _len = rest.number()?;
                }
                // A page that was freed is not needed.
                segments.extend(Some(at / SEGMENT).filter(|_| places > 0));
            }
        }
        Some(Self { lsn, segments })
    }
}

/// Bytes in sled's form.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        let first = u64::from(self.byte()?);
        Some(match first {
            0..=240 => first,
            241..=248 => 240 + 256 * (first - 241) + u64::from(self.byte()?),
            249 => 2_288 + 256 * u64::from(self.byte()?) + u64::from(self.byte()?),
            _ => {
                let bytes = self.take(usize::try_from(first - 247).ok()?)?;
                bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
        })
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    fn records(&mut self) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let count = self.number()?;
        let keys = (0..count).map(|_| self.text()).collect::<Option<Vec<_>>>()?;
        keys.into_iter().map(|key| Some((key, self.text()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read() {
        let check = |bytes: &[u8], number| assert_eq!(Bytes(bytes).number(), number, "{bytes:?}");
        check(&[240], Some(240));
        check(&[241, 0], Some(240));
        check(&[248, 255], Some(2_287));
        check(&[249, 0, 1], Some(2_289));
        check(&[250, 1, 0, 1], Some(65_537));
        check(&[255, 1, 0, 0, 0, 0, 0, 0, 128], Some(1 << 63 | 1));
        check(&[250, 1, 0], None);
        check(&[], None);
    }

    #[test]
    fn what_has_no_checksum_is_nothing() {
        assert_eq!(Head::read(&[0; HEAD_BYTES]), None);
        let segment = vec![2; SEGMENT_BYTES];
        let steps: Vec<_> = Messages::of(&segment, 0).collect();
        assert!(matches!(steps[..], [Step::Break]), "{steps:?}");
    }
}
