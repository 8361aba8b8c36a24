//! New columns under a race: many jobs of one worker make one; two workers, which know nothing of each other, end with
//! one in use.

use std::collections::BTreeSet;

use passback::simulator::{Fault, FaultKind, Likeness, Route, SimulatedLms};
use serde_json::Value;

use super::campus::{COURSE, campus, column_of, event, sought, worker};
use crate::service::worker::Worker;

const RESOURCE: &str = "essay";

/// Grades for so many students from number `first` on.
fn grades(lms: &SimulatedLms, first: u32, count: u32) -> Value {
    (first..first + count).map(|n| event(n, 50, &sought(lms, &(1_000 + n).to_string(), RESOURCE))).collect()
}

async fn deliver(worker: &Worker, grades: &Value) {
    for id in worker.submit(grades).await {
        worker.job_in(&id, "delivered").await;
    }
}

/// The columns that hold a grade of these students.
fn columns_in_use(lms: &SimulatedLms, first: u32, count: u32) -> BTreeSet<String> {
    let users: BTreeSet<String> = (first..first + count).map(|n| (1_000 + n).to_string()).collect();
    let cells = lms.gradebook().into_iter().map(|(cell, _)| cell).filter(|cell| users.contains(&cell.user));
    cells.map(|cell| cell.column).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_jobs_of_one_worker_make_a_new_column_once() {
    for like in Likeness::ALL {
        let lms = campus(like).await;
        // Long enough for all of them to be looking at once, if they could.
        lms.set_fault(Route::Lineitems, Fault::times(FaultKind::Delay { ms: 100 }, 40)).expect("a fault");
        let worker = worker(&lms).await;
        deliver(&worker, &grades(&lms, 1, 20)).await;
        let column = column_of(&lms, RESOURCE).expect("one column");
        assert_eq!(columns_in_use(&lms, 1, 20), BTreeSet::from([format!("{COURSE}/{column}")]), "{like}");
    }
}

/// No platform makes find-then-create atomic, so both workers make a column. Each looks again, and takes the first.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_race_for_a_new_column_end_with_one_in_use() {
    for like in Likeness::ALL {
        let lms = campus(like).await;
        let (one, other) = (worker(&lms).await, worker(&lms).await);
        // Both have looked, and found nothing, before either makes one.
        lms.set_fault(Route::Lineitems, Fault::times(FaultKind::Delay { ms: 700 }, 4)).expect("a fault");
        let (ones, others) = (grades(&lms, 1, 5), grades(&lms, 101, 5));
        tokio::join!(deliver(&one, &ones), deliver(&other, &others));
        let (ones, others) = (grades(&lms, 11, 5), grades(&lms, 111, 5));
        tokio::join!(deliver(&one, &ones), deliver(&other, &others));
        let made: Vec<_> =
            lms.columns(COURSE).into_iter().filter(|column| column.resource_id.as_deref() == Some(RESOURCE)).collect();
        let first = BTreeSet::from([format!("{COURSE}/{}", made.first().expect("a column").id)]);
        for students in [11, 111] {
            assert_eq!(columns_in_use(&lms, students, 5), first, "{like}: {} columns were made", made.len());
        }
    }
}
