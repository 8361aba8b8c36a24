//! What must be true at the end, when the faults have been over for long enough: every job has come to an end, every
//! message is settled, and each grade book shows the newest grade of its cell.

use std::collections::BTreeMap;

use passback::domain::{
    destination::GradeCell,
    job::{JobState, StateName},
};

use super::{
    oracle::{Known, Oracle},
    outside::Outside,
};

/// Checks the end of a universe.
pub(super) fn check(out: &mut Outside) {
    let Outside { oracle, broker, platforms, climate, .. } = out;
    if !broker.is_empty() || !out.posted.is_empty() {
        oracle.broken("every message is settled in the end", format!("posted and unanswered: {:?}", out.posted));
    }
    let missing: Vec<usize> = (0..climate.events.len()).filter(|event| !oracle.arrived.contains(event)).collect();
    if !missing.is_empty() {
        oracle.broken("every event that was sent has arrived", format!("{missing:?}"));
    }
    if broker.dead().iter().any(|event| !climate.events[*event].is_poison) {
        oracle.broken("only what can never be a job is buried", format!("{:?}", broker.dead()));
    }
    oracle.clock_is_made_up();
    let waiting: Vec<String> = waiting(oracle);
    if !waiting.is_empty() {
        return oracle.broken("every job comes to an end", waiting.join(", "));
    }
    let by_name: BTreeMap<(usize, String), Option<_>> = platforms
        .iter()
        .flat_map(|platform| platform.book.iter().map(|(cell, entry)| ((platform.number, cell.clone()), entry.by)))
        .collect();
    for (newest, name) in newest_of_cells(oracle) {
        let job = &oracle.jobs[&newest].job;
        match by_name.get(&name) {
            // A teacher wrote over it, or deleted the column.
            None | Some(None) => {}
            Some(Some(by)) if *by == newest => {}
            Some(Some(by)) => {
                let words = format!("{newest} of {name:?} is {:?}, and the book shows {by}", job.state);
                return oracle.broken("each grade book shows the newest grade", words);
            }
        }
    }
}

fn waiting(oracle: &Oracle) -> Vec<String> {
    let waiting = oracle.jobs.values().filter(|known| !known.gone && known.job.state_name() == StateName::Queued);
    waiting.map(|known| format!("{} {:?}", known.job.id, known.job.queued())).collect()
}

/// The newest delivered grade of each cell in which nothing newer is flagged, and the cell's name.
fn newest_of_cells(oracle: &Oracle) -> Vec<(passback::domain::job::JobId, (usize, String))> {
    let mut cells: BTreeMap<GradeCell, Vec<&Known>> = BTreeMap::new();
    for known in oracle.jobs.values().filter(|known| known.job.bears_grade && known.job.delivery.can_supersede()) {
        cells.entry(known.job.cell).or_default().push(known);
    }
    let mut newest = Vec::new();
    for mut known in cells.into_values() {
        // What was swept counts no more: what came after it may be older.
        if known.iter().any(|known| known.gone) {
            continue;
        }
        known.sort_by_key(|known| known.job.order());
        if let Some(last) = known.last().filter(|last| last.job.state == JobState::Delivered) {
            newest.push((last.job.id, oracle.names[last.event].clone()));
        }
    }
    newest
}
