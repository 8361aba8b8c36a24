//! The broker: a queue that gives a message again until it is settled. After a lost connection it gives all that was
//! not settled once more; it may give a message twice, out of order, or many at once.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use super::world::Chance;

/// A message: which event of the plan it carries.
pub(super) type EventNo = usize;

/// The queue, and what of it is with the worker.
#[derive(Default)]
pub(super) struct Broker {
    queue: VecDeque<EventNo>,
    unsettled: BTreeMap<u64, EventNo>,
    last_tag: u64,
    /// The refused ones, in the queue of their own.
    dead: Vec<EventNo>,
    /// Deliveries that were not the first of their message, for the figures.
    pub(super) redelivered: u64,
}

impl Broker {
    /// A message comes in, and is confirmed to its sender.
    pub(super) fn publish(&mut self, event: EventNo, chance: &mut Chance, reorders: f64) {
        let at = if chance.hits(reorders) { chance.below(self.queue.len() + 1) } else { self.queue.len() };
        self.queue.insert(at, event);
    }

    /// The next message for a worker that may hold `prefetch` of them.
    pub(super) fn deliver(&mut self, prefetch: usize) -> Option<(u64, EventNo)> {
        if self.unsettled.len() >= prefetch {
            return None;
        }
        let event = self.queue.pop_front()?;
        self.last_tag += 1;
        self.unsettled.insert(self.last_tag, event);
        Some((self.last_tag, event))
    }

    /// The worker settles a message; none where the tag belongs to a connection that is gone.
    pub(super) fn settle(&mut self, tag: u64) -> Option<EventNo> {
        self.unsettled.remove(&tag)
    }

    /// Whether this delivery can still be settled.
    pub(super) fn waits_for(&self, tag: u64) -> bool {
        self.unsettled.contains_key(&tag)
    }

    /// A refused message goes to the dead-letter queue.
    pub(super) fn bury(&mut self, event: EventNo) {
        self.dead.push(event);
    }

    /// The connection is gone: all that was not settled waits again, in front.
    pub(super) fn lose_connection(&mut self) {
        self.redelivered += self.unsettled.len() as u64;
        for (_, event) in mem::take(&mut self.unsettled).into_iter().rev() {
            self.queue.push_front(event);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.unsettled.is_empty()
    }

    pub(super) fn dead(&self) -> &[EventNo] {
        &self.dead
    }
}
