//! The gradebook: what the simulated LMS holds, cell by cell.
//!
//! One lock around one map. Comparing with the stored time and writing are one step under it, so two posts for one
//! cell can never both win (the real Moodle reads before it writes, and they can). Memory grows with the number of
//! different cells, which is what a gradebook is; the history of a cell is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::locked;
use super::manners::Order;

/// Accepted values kept per cell, newest last.
const HISTORY_MAX: usize = 32;

/// By which protocol a grade came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// LTI 1.1 Basic Outcomes.
    Lti11,
    /// LTI 1.3 Assignment and Grade Services.
    Ags,
    /// The delegated JSON POST.
    Delegated,
}

/// The name of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// By which protocol it is written.
    pub protocol: Protocol,
    /// LTI 1.1: path and query of the outcome service URL. AGS: `context/line item id`. Delegated: the first of
    /// `lineitem`, `resource_link_id`, `activity_id` in the body, else empty.
    pub column: String,
    /// LTI 1.1: the sourcedid. AGS: the `userId`. Delegated: `user_id`, else `session_id`, else empty.
    pub user: String,
}

impl Cell {
    /// The cell of an LTI 1.1 sourcedid at the plain [`outcomes_url`](super::SimulatedLms::outcomes_url).
    pub fn lti11(sourced_id: &str) -> Self {
        Self { protocol: Protocol::Lti11, column: "/lti11/outcomes".to_owned(), user: sourced_id.to_owned() }
    }

    /// The cell of a user in an AGS line item.
    pub fn ags(context: &str, line_item: &str, user: &str) -> Self {
        Self { protocol: Protocol::Ags, column: format!("{context}/{line_item}"), user: user.to_owned() }
    }

    /// The cell of a delegated POST.
    pub fn delegated(column: &str, user: &str) -> Self {
        Self { protocol: Protocol::Delegated, column: column.to_owned(), user: user.to_owned() }
    }
}

/// A grade in raw points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Grade {
    /// Points given.
    pub score: f64,
    /// Points that could be had; 1.0 for LTI 1.1.
    pub maximum: f64,
}

/// One write that was accepted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accepted {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The grade; `None` when the cell was cleared.
    pub grade: Option<Grade>,
    /// The AGS timestamp in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The AGS comment.
    pub comment: Option<String>,
}

/// What one cell holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CellState {
    /// The grade now; `None` when it was cleared.
    pub grade: Option<Grade>,
    /// A teacher's grade that stands before the tool's; on Moodle alone there are any.
    pub overridden: Option<Grade>,
    /// Whether a teacher has locked it.
    pub locked: bool,
    /// How many writes were accepted, clearing ones included.
    pub writes: u64,
    /// How many submissions were made; on Canvas alone there are any.
    pub submissions: u64,
    /// The last accepted writes, newest last.
    pub history: VecDeque<Accepted>,
}

/// What one write does beside its grade.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) order: Order,
    pub(super) effect: Effect,
    /// How many submissions it makes.
    pub(super) submissions: u64,
}

/// What a write does to the grade.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It takes the place of the one before.
    Replaces,
    /// It is stored with its timestamp, and the grade stays as it is.
    LeavesGrade,
}

/// The stored timestamp is as new as the one sent, or newer.
#[derive(Debug, thiserror::Error)]
#[error("the cell already holds a grade with the timestamp {stored_ms} ms, and the one sent is not newer")]
pub(super) struct NotNewer {
    pub(super) stored_ms: i64,
    pub(super) sent_ms: i64,
}

#[derive(Default)]
pub(super) struct Gradebook {
    cells: Mutex<HashMap<Cell, CellState>>,
}

impl Gradebook {
    /// Writes `accepted` into the cell. One with a timestamp must be newer, by a millisecond or more, than the
    /// last one that had one; a cleared cell keeps its timestamp.
    pub(super) fn write(&self, cell: Cell, accepted: Accepted) -> Result<(), NotNewer> {
        let manner = Manner { order: Order::NewerMillisecond, effect: Effect::Replaces, submissions: 0 };
        self.write_in(manner, cell, accepted)
    }

    /// Writes in the manner of a platform.
    pub(super) fn write_in(&self, manner: Manner, cell: Cell, mut accepted: Accepted) -> Result<(), NotNewer> {
        let mut cells = locked(&self.cells);
        let state = cells.entry(cell).or_default();
        state.check_order(manner.order, accepted.timestamp_ms)?;
        if manner.effect == Effect::LeavesGrade {
            accepted.grade = state.grade;
        }
        state.grade = accepted.grade;
        state.writes += 1;
        state.submissions += manner.submissions;
        if state.history.len() == HISTORY_MAX {
            state.history.pop_front();
        }
        state.history.push_back(accepted);
        Ok(())
    }

    /// Changes a cell by hand, and makes it if need be: no write of the tool, so no timestamp, no count, no history.
    pub(super) fn edit(&self, cell: Cell, change: impl FnOnce(&mut CellState)) -> CellState {
        let mut cells = locked(&self.cells);
        let state = cells.entry(cell).or_default();
        change(state);
        state.clone()
    }

    /// Whether a teacher has locked a cell.
    pub(super) fn is_locked(&self, cell: &Cell) -> bool {
        locked(&self.cells).get(cell).is_some_and(|state| state.locked)
    }

    /// What a cell holds; `None` if it was never written.
    pub(super) fn cell(&self, cell: &Cell) -> Option<CellState> {
        locked(&self.cells).get(cell).cloned()
    }

    /// The cells for which `wanted` holds, in order of their names.
    pub(super) fn snapshot(&self, wanted: impl Fn(&Cell) -> bool) -> Vec<(Cell, CellState)> {
        let cells = locked(&self.cells);
        let mut found: Vec<_> =
            cells.iter().filter(|(cell, _)| wanted(cell)).map(|(cell, state)| (cell.clone(), state.clone())).collect();
        drop(cells);
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        found
    }
}

impl CellState {
    /// The grade as a student sees it.
    pub(super) fn shown(&self) -> Option<Grade> {
        self.overridden.or(self.grade)
    }

    fn check_order(&self, order: Order, sent_ms: Option<i64>) -> Result<(), NotNewer> {
        let stored_ms = self.history.iter().rev().find_map(|before| before.timestamp_ms);
        let (Some(sent_ms), Some(stored_ms)) = (sent_ms, stored_ms) else {
            return Ok(());
        };
        let is_cleared = self.grade.is_none();
        let is_taken = match order {
            Order::NewerMillisecond | Order::NewerOr400 => sent_ms > stored_ms,
            Order::NewerSecond => is_cleared || sent_ms.div_euclid(1000) > stored_ms.div_euclid(1000),
            Order::NotOlder => sent_ms >= stored_ms,
            Order::Unchecked => true,
        };
        if is_taken { Ok(()) } else { Err(NotNewer { stored_ms, sent_ms }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(score: f64, timestamp_ms: Option<i64>) -> Accepted {
        Accepted { at_ms: 1, grade: Some(Grade { score, maximum: 10.0 }), timestamp_ms, comment: None }
    }

    #[test]
    fn only_a_newer_millisecond_wins() {
        let book = Gradebook::default();
        let cell = Cell::ags("c", "1", "u");
        book.write(cell.clone(), accepted(5.0, Some(1_000))).expect("the first");
        book.write(cell.clone(), accepted(6.0, Some(1_000))).expect_err("the same time");
        book.write(cell.clone(), accepted(6.0, Some(999))).expect_err("older");
        book.write(cell.clone(), accepted(7.0, Some(1_001))).expect("newer by a millisecond");
        let state = book.cell(&cell).expect("written");
        assert_eq!((state.grade.map(|grade| grade.score), state.writes), (Some(7.0), 2));
    }

    #[test]
    fn history_is_bounded_and_writes_are_counted() {
        let book = Gradebook::default();
        let cell = Cell::lti11("s");
        for score in 0..100_u32 {
            book.write(cell.clone(), accepted(f64::from(score), None)).expect("no timestamps, no order");
        }
        let state = book.cell(&cell).expect("written");
        assert_eq!((state.writes, state.history.len()), (100, HISTORY_MAX));
        assert_eq!(book.snapshot(|_| true).len(), 1);
    }
}
