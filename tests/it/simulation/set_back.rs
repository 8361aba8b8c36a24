//! The worker's watch over its clock: what the loop looks at, and the production [`Hastening`] of each platform, one after
//! the other, as the engine's task has them.

use std::{collections::VecDeque, time::Duration};

use passback::{
    domain::{destination::Origin, job::JobId, ledger::Work, time::Timestamp},
    engine::set_back::{Hastening, STORE_PAUSE, seen_at_start},
    ports::JobFilter,
};

use super::{
    outside::Outside,
    process::{Local, Process, Who},
};

/// The task that puts forward what waits, after one jump.
pub(super) struct Spell {
    by: Duration,
    noticed: Option<Timestamp>,
    /// Platforms whose turn has not come.
    origins: VecDeque<Origin>,
    hastening: Option<Hastening>,
    /// Its turn has not come.
    is_waiting: bool,
    /// What was ordered before it is on the schedule.
    is_fenced: bool,
    /// Orders whose answers are not there.
    unanswered: usize,
    /// The store refused some of them.
    refused: bool,
}

impl Process {
    /// A start sees jobs from the future.
    pub(super) fn look_at_start(&mut self, out: &mut Outside) {
        let newest = match self.books.reader().list(&JobFilter::default(), None, 1) {
            Ok(mut page) => page.jobs.pop(),
            Err(error) => return out.oracle.broken("the store can be read", error.to_string()),
        };
        let seen = seen_at_start(newest.as_ref(), out.clock());
        out.oracle.clock_at_start(seen.unwrap_or_default());
        if let Some(by) = seen {
            self.put_forward(by, None, out);
        }
    }

    /// The loop looks at the clock.
    pub(super) fn look(&mut self, out: &mut Outside) {
        let now = out.clock();
        if let Some(by) = self.watch.handle_look(now, out.steady()) {
            self.dispatcher.handle_set_back(by);
            self.put_forward(by, Some(now), out);
        }
        out.oracle.looked();
    }

    fn put_forward(&mut self, by: Duration, noticed: Option<Timestamp>, out: &mut Outside) {
        out.world.note(format_args!("the clock was set back by {by:?}, noticed {noticed:?}"));
        out.stats.set_back += 1;
        out.oracle.spell_begins(noticed);
        self.last_spell += 1;
        let spell = Spell {
            by,
            noticed,
            origins: VecDeque::new(),
            hastening: None,
            is_waiting: true,
            is_fenced: false,
            unanswered: 0,
            refused: false,
        };
        self.spells.insert(self.last_spell, spell);
        self.next_spell(out);
    }

    /// One jump is made up for after the other.
    fn next_spell(&mut self, out: &mut Outside) {
        let Some((number, spell)) = self.spells.iter_mut().next() else { return };
        if std::mem::take(&mut spell.is_waiting) {
            let (number, moment) = (*number, out.moment());
            out.local(moment, Local::Hasten(number));
        }
    }

    /// What was ordered before the jump was seen is on the schedule, or the store is asked again.
    pub(super) fn fenced(&mut self, number: u64, is_done: bool, out: &mut Outside) {
        if let Some(spell) = self.spells.get_mut(&number) {
            spell.is_fenced = is_done;
            spell.origins = self.books.reader().platforms().into_iter().map(|platform| platform.origin).collect();
            spell.origins.make_contiguous().sort();
        }
        let after = if is_done { out.moment() } else { STORE_PAUSE };
        out.local(after, Local::Hasten(number));
    }

    /// The task of a jump goes on: orders again what was refused, reads the next page, or turns to the next platform.
    pub(super) fn hasten(&mut self, number: u64, out: &mut Outside) {
        let Some(spell) = self.spells.get_mut(&number) else { return };
        if !spell.is_fenced {
            return self.order(Work::Fence, Who::Fence(number), out);
        }
        spell.refused = false;
        let orders = loop {
            if let Some(hastening) = &mut spell.hastening {
                let orders = hastening.poll_orders();
                if !orders.is_empty() {
                    break orders;
                }
                if let Some(after) = hastening.poll_page() {
                    let window = out.climate.window;
                    match self.books.reader().due(&hastening.origin, Some(after), window) {
                        Ok(page) => hastening.handle_page(&page, window),
                        Err(error) => return out.oracle.broken("the store can be read", error.to_string()),
                    }
                    continue;
                }
            }
            let Some(origin) = spell.origins.pop_front() else {
                self.spells.remove(&number);
                out.oracle.spell_ends();
                return self.next_spell(out);
            };
            spell.hastening = Some(Hastening::new(origin, spell.by, spell.noticed));
        };
        spell.unanswered = orders.len();
        for (id, due, work) in orders {
            self.order(work, Who::Hasten(number, id, due), out);
        }
    }

    /// The store has answered to one of the orders.
    pub(super) fn hastened(&mut self, number: u64, (id, due): (JobId, Timestamp), is_done: bool, out: &mut Outside) {
        let is_writable = self.is_writable();
        let Some(spell) = self.spells.get_mut(&number) else { return };
        if !is_done && is_writable {
            out.oracle.broken("a good disk takes every order", format!("{id} was not put forward"));
        }
        if let Some(hastening) = spell.hastening.as_mut().filter(|_| !is_done) {
            hastening.handle_not_taken(id, due);
            spell.refused = true;
        }
        spell.unanswered -= 1;
        if spell.unanswered == 0 {
            let after = if spell.refused { STORE_PAUSE } else { out.moment() };
            out.local(after, Local::Hasten(number));
        }
    }
}
