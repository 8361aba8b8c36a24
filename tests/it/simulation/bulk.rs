//! Bulk changes in the background: begun by an admin, and worked off step by step as the engine does it, over crashes and
//! a store that fails; and what must be true of them whenever somebody looks.

use std::{collections::BTreeSet, time::Duration};

use passback::{
    adapters::store::bookkeeper::Reader,
    domain::{
        audit::{Entry, Word},
        bulk::{Came, Change, Standing, Step, Task},
        drawer::{Drawer, Note, newest_first, read_newest_first},
        job::{JobId, StateName},
        ledger::Work,
    },
    ports::JobFilter,
};

use super::{
    oracle::Oracle,
    outside::Outside,
    process::{Local, Process, STORE_PAUSE, Who},
};

/// Jobs of a step: few, so that a change has some.
const STEP: usize = 3;
/// More changes than a universe has.
const TASKS_MAX: usize = 1_000;

/// Where a worker stands with the bulk changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bulk {
    /// It has done no step yet.
    New,
    /// A step is on its way to the disk.
    UnderWay,
    /// Until the next one.
    Resting,
}

impl Process {
    /// An admin wants all flagged jobs changed.
    pub(super) fn begin_bulk(&mut self, change: Change, out: &mut Outside) {
        let now = out.clock();
        let task = Task::new(change, Word::of("admin"), serde_json::json!({}), None, now);
        let newest = self.books.reader().notes(Drawer::Bulk, None, 1).unwrap_or_default().pop();
        let newest = newest.and_then(|note| read_newest_first(&note.key));
        let id = JobId::next(newest, now, out.world.chance.luck());
        out.world.note(format_args!("bulk change {id} begins: {change:?}"));
        let key = newest_first(id).to_vec();
        let note = Note { key: key.clone(), record: task.entry().record() };
        let work = Box::new(Work::PutNote { drawer: Drawer::Bulk, key, record: Some(task.record()) });
        self.order(Work::Noted { work, drawer: Drawer::Audit, note }, Who::BulkBegun, out);
    }

    /// The oldest bulk change that runs goes a step further.
    pub(super) fn work_off(&mut self, out: &mut Outside) {
        if self.stopping || self.bulk == Bulk::UnderWay {
            return;
        }
        let oldest = tasks(self.books.reader()).into_iter().rev().find(|(_, task)| task.standing == Standing::Running);
        let Some((key, mut task)) = oldest else { return };
        let flagged = JobFilter { state: Some(StateName::Flagged), ..JobFilter::default() };
        let reader = self.books.reader();
        if task.total.is_none() {
            task.total = Some(reader.census().by_state[StateName::Flagged as usize]);
        }
        let Ok(page) = reader.list(&flagged, task.cursor, STEP) else {
            return out.oracle.broken("the store can be read", "a list".to_owned());
        };
        if page.next.is_none() {
            task.end(out.clock(), None);
        }
        task.cursor = page.next.or(task.cursor);
        out.stats.bulk_steps += u64::from(!page.jobs.is_empty());
        out.stats.bulk_resumed += u64::from(self.bulk == Bulk::New && task.matched > 0);
        let ids = page.jobs.iter().map(|job| job.id).collect();
        self.bulk = Bulk::UnderWay;
        self.order(Work::Step { key, task: Box::new(task), ids, unreadable: None }, Who::Bulk, out);
    }

    /// A step is answered: the next one follows after a pause.
    pub(super) fn stepped(&mut self, is_done: bool, out: &mut Outside) {
        self.bulk = Bulk::Resting;
        let pause =
            if is_done { out.world.chance.span(Duration::from_millis(2), Duration::from_secs(5)) } else { STORE_PAUSE };
        out.local(pause, Local::Bulk);
    }
}

/// All bulk changes, newest first.
fn tasks(reader: &Reader) -> Vec<(Vec<u8>, Task)> {
    let notes = reader.notes(Drawer::Bulk, None, TASKS_MAX).unwrap_or_default();
    notes.into_iter().filter_map(|note| Some((note.key, Task::read(&note.record)?))).collect()
}

impl Oracle {
    /// What each change counts is what its steps tell, each job once; and the audit log knows how many it were.
    pub(super) fn bulk_is_true(&mut self, reader: &Reader) {
        for (key, task) in tasks(reader) {
            if let Err(words) = is_true(reader, &key, &task) {
                self.broken("a bulk change tells what it has done", words);
            }
        }
    }

    /// All of them have come to an end.
    pub(super) fn bulk_has_ended(&mut self, reader: &Reader) {
        for (_, task) in tasks(reader).into_iter().filter(|(_, task)| task.standing != Standing::Done) {
            self.broken("every bulk change comes to an end", format!("{task:?}"));
        }
    }
}

fn is_true(reader: &Reader, key: &[u8], task: &Task) -> Result<(), String> {
    let notes = reader.notes(Drawer::Steps, Some(key), usize::MAX).unwrap_or_default();
    let mut jobs: BTreeSet<JobId> = BTreeSet::new();
    let mut told = [0; Came::ALL.len()];
    for note in notes.iter().take_while(|note| note.key.starts_with(key)) {
        for (id, came) in Step::read(&note.record).ok_or("a step cannot be read")?.0 {
            told[came as usize] += 1;
            if !jobs.insert(id) {
                return Err(format!("{id} was changed twice by {task:?}"));
            }
        }
    }
    let Task { replayed, superseded, discarded, skipped, matched, .. } = task;
    if told != [*replayed, *superseded, *discarded, *skipped] || *matched != replayed + superseded + discarded {
        return Err(format!("the steps tell {told:?}, and the change {task:?}"));
    }
    let entry = reader.note(Drawer::Audit, key).ok().flatten().and_then(|record| Entry::read(&record));
    let count = (task.standing != Standing::Running).then_some(*matched);
    match entry {
        Some(entry) if entry.count == count => Ok(()),
        entry => Err(format!("the audit log has {entry:?} of {task:?}")),
    }
}
