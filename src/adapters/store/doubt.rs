//! What those outside were told: how many commits there are, which attempts to make, and what of a commit in doubt. When
//! the store is opened anew after a failure, this decides what was lost, what is taken back and what is told.
//!
//! It has no thread, no folder and no clock, so that the writer and the simulation go by the same rules. Two things must
//! stay true: an attempt that somebody was told to make is never taken back, and one of which nobody was told always is.

use std::{collections::HashSet, mem};

use super::bookkeeper::Bookkeeper;
use crate::{
    domain::{
        job::JobId,
        ledger::{Answer, Order, Report, Work},
        time::{Draw, Timestamp},
    },
    ports::StoreError,
};

/// What was told, and what is in doubt. It outlives the [`Bookkeeper`], of whom there is a new one after each failure.
pub struct Doubt {
    /// The commits of which somebody was told.
    acknowledged: u64,
    /// What the commit that failed would have brought about.
    undecided: Option<Report>,
    /// What is true and will be told when orders are taken again.
    untold: Report,
    /// The attempts that somebody was told to make and that have not ended. What is under way on disk beside these
    /// was never begun.
    begun: HashSet<JobId>,
}

/// So many commits of which somebody was told are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How many are missing.
    pub commits: u64,
}

impl Doubt {
    /// At the start. Whoever starts is told of the attempts of the last run, and ends them.
    pub fn at_start(bookkeeper: &Bookkeeper) -> Self {
        Self {
            acknowledged: bookkeeper.commits(),
            undecided: None,
            untold: Report::default(),
            begun: bookkeeper.cut_off().iter().copied().collect(),
        }
    }

    /// A commit is on disk, and its answers are about to be told.
    pub fn committed(&mut self, steps: &Steps, answers: &[Result<Answer, StoreError>]) {
        for (step, answer) in steps.0.iter().zip(answers) {
            match (step, answer) {
                (Step::Start(id), Ok(Answer::Job(_))) => drop(self.begun.insert(*id)),
                // An attempt that began since the one that was meant goes on.
                (Step::End(_), Ok(Answer::NotNow)) => {}
                (Step::End(id), Ok(_)) => drop(self.begun.remove(id)),
                _ => {}
            }
        }
    }

    /// The bookkeeper has failed, and its last commit may be on disk or not.
    pub fn failed(&mut self, bookkeeper: &mut Bookkeeper) {
        self.acknowledged = bookkeeper.commits();
        self.undecided = bookkeeper.take_in_doubt();
    }

    /// Whether the store that was opened anew has every commit of which somebody was told.
    pub fn compare(&self, bookkeeper: &Bookkeeper) -> Result<(), Lost> {
        match self.acknowledged.saturating_sub(bookkeeper.commits()) {
            0 => Ok(()),
            commits => Err(Lost { commits }),
        }
    }

    /// The store that was opened anew is gone on with. If it has one commit more, then the one in doubt is there, and
    /// what it brought about will be told.
    pub fn reopened(&mut self, bookkeeper: &Bookkeeper) {
        let commits = bookkeeper.commits();
        // An attempt whose end was in doubt and is there has ended, though nobody was told.
        let under_way: HashSet<JobId> = bookkeeper.cut_off().iter().copied().collect();
        self.begun.retain(|id| under_way.contains(id));
        let undecided = self.undecided.take().filter(|_| commits > self.acknowledged);
        self.acknowledged = commits;
        self.untold.reopened = true;
        if let Some(report) = undecided {
            self.tell_later(report);
        }
    }

    /// What takes back the attempts that are under way on disk and that nobody was told to make.
    pub fn withdrawals(&self, bookkeeper: &Bookkeeper, now: Timestamp) -> Vec<Order> {
        let never_begun = bookkeeper.cut_off().iter().filter(|id| !self.begun.contains(id));
        never_begun.map(|id| Order { work: Work::Withdraw { id: *id }, now, draw: Draw::MIDDLE }).collect()
    }

    /// Keeps what is true until it can be told.
    pub fn tell_later(&mut self, report: Report) {
        self.untold.queued.extend(report.queued);
        self.untold.notices.extend(report.notices);
    }

    /// What is to be told now that orders are taken again.
    pub fn take_untold(&mut self) -> Report {
        mem::take(&mut self.untold)
    }
}

/// What the orders of a commit mean for the attempts under way.
pub struct Steps(Vec<Step>);

enum Step {
    Start(JobId),
    End(JobId),
    Other,
}

impl Steps {
    /// Those of these orders, before they are carried out.
    pub fn of(orders: &[Order]) -> Self {
        Self(orders.iter().map(Step::of).collect())
    }
}

impl Step {
    fn of(order: &Order) -> Self {
        match &order.work {
            Work::Start { id } => Self::Start(*id),
            Work::Finish { id, .. } | Work::Interrupt { id, .. } | Work::CutOff { id, .. } | Work::Withdraw { id } => {
                Self::End(*id)
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::store::{Thresholds, file::SledFile},
        domain::{
            ledger::{Outcomes, Rules},
            retry::RetryPolicy,
        },
    };

    /// The end of an attempt was in doubt and is there; asked again it is "not now", so nobody notes it. Should the start
    /// of the next attempt be in doubt one day, it must be taken back.
    #[test]
    fn what_is_not_under_way_on_disk_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Box::new(SledFile::open(folder.path()).expect("a disk"));
        let rules = Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped };
        let bookkeeper = Bookkeeper::open(disk, rules, &Thresholds::default()).expect("a store");
        let mut doubt = Doubt::at_start(&bookkeeper);
        doubt.begun.insert(JobId::from_bytes([7; 16]));
        doubt.reopened(&bookkeeper);
        assert!(doubt.begun.is_empty());
    }
}
