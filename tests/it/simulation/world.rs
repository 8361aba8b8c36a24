//! The world: a clock that jumps from one event to the next, the heap of what is still to come, chance from one seed,
//! and a trace of all that happened. Nothing in it knows what the events mean.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use passback::domain::time::{Draw, Timestamp};

/// Chance: numbers that depend on the seed alone (`SplitMix64`).
#[derive(Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_F42D_4C95_7F2D)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 (included) to 1 (excluded).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in this part of the cases.
    pub(super) fn hits(&mut self, part: f64) -> bool {
        part > 0.0 && self.unit() < part
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.max(low) - low + 1)
    }

    /// An index below `len`, which is not 0.
    pub(super) fn below(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % len as u64).expect("below a usize")
    }

    pub(super) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Spans of any length between two, the short ones as often as the long ones.
    pub(super) fn span(&mut self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (low.as_secs_f64().max(1e-4), high.as_secs_f64().max(1e-4));
        let secs = low * (high / low).powf(self.unit());
        Duration::from_micros(Duration::from_secs_f64(secs).as_micros().try_into().unwrap_or(u64::MAX))
    }

    pub(super) fn draw(&mut self) -> Draw {
        Draw::new(self.unit())
    }

    pub(super) fn luck(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// Time, what is to come, chance and the trace.
pub(super) struct World<E> {
    now: Timestamp,
    to_come: BTreeMap<(Timestamp, u64), E>,
    count: u64,
    pub(super) chance: Chance,
    pub(super) trace: Trace,
}

impl<E> World<E> {
    pub(super) fn new(seed: u64, now: Timestamp, trace: Trace) -> Self {
        Self { now, to_come: BTreeMap::new(), count: 0, chance: Chance::new(seed), trace }
    }

    /// The true time.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Something will happen after a span; of two at the same time the one that was said first comes first.
    pub(super) fn after(&mut self, span: Duration, event: E) {
        self.count += 1;
        self.to_come.insert((self.now + span, self.count), event);
    }

    /// Goes to the next event.
    pub(super) fn next(&mut self) -> Option<E> {
        let ((moment, _), event) = self.to_come.pop_first()?;
        self.now = self.now.max(moment);
        Some(event)
    }

    /// A line of the trace.
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        let now = self.now;
        self.trace.note(now, line);
    }
}

/// What happened, as one number; and as lines for somebody who looks.
pub(super) struct Trace {
    hash: u64,
    lines: u64,
    shown: bool,
}

impl Trace {
    pub(super) fn new(shown: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines: 0, shown }
    }

    fn note(&mut self, now: Timestamp, line: fmt::Arguments<'_>) {
        self.lines += 1;
        self.mix(&now.as_micros().to_le_bytes());
        self.write_fmt(line).expect("a hash takes everything");
        if self.shown {
            println!("{now} {line}");
        }
    }

    /// The number; two runs of a seed have the same.
    pub(super) fn hash(&self) -> u64 {
        self.hash ^ self.lines
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.mix(text.as_bytes());
        Ok(())
    }
}
