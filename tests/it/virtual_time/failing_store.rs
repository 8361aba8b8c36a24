//! A store that says nothing, and one that is shut: nobody waits for ever, nobody is told what is not known, and the
//! engine goes on by itself.

use std::time::Duration;

use passback::{
    domain::{
        audit::Word,
        bulk::{Change, Task},
        job::StateName,
        ledger::Mode,
        notice::Notice,
        outcome::AttemptOutcome,
        retry::RetryPolicy,
    },
    engine::manage::{NotDone, NotStored, StoreHealth},
    ports::{JobFilter, StoreError},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    lms::Mood,
    universe::{Universe, lti11},
};

const HOST: &str = "lms.example.edu";
const PAUSED: &str = "paused.example.edu";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_admin_waits_half_a_minute_and_learns_that_the_outcome_is_unknown() {
    let universe = Universe::started(RetryPolicy::default());
    let id = universe.submit(&lti11(HOST, 1, 8)).await;
    universe
        .until("it to be delivered", SECOND, 60 * SECOND, |universe| universe.count(StateName::Delivered) == 1)
        .await;
    let handle = universe.handle().clone();
    let origin = universe.job(id).origin;
    handle.pause(&origin, None).await.expect("the store answers");
    universe.submit(&lti11(HOST, 2, 8)).await;
    universe.store.fall_silent();
    let began = Instant::now();
    let check = |outcome: &'static str, result: Result<(), NotStored>| {
        assert!(matches!(result, Err(NotStored::NoAnswer)), "{outcome}: {result:?}");
    };
    let not_stored = |error| match error {
        NotDone::Store(error) => error,
        error => panic!("the store was asked: {error}"),
    };
    check("a replay", handle.replay(id, None).await.map(drop).map_err(not_stored));
    check("a discard", handle.discard(id, None).await.map(drop).map_err(not_stored));
    let queued = JobFilter { state: Some(StateName::Queued), ..JobFilter::default() };
    check("a replay of many", handle.replay_many(queued, Mode::Earnest).await.map(drop));
    check("a resume", handle.resume(&origin, None).await.map(drop));
    assert_eq!(began.elapsed().as_secs(), 4 * 30);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_not_healthy_after_half_a_minute() {
    let universe = Universe::started(RetryPolicy::default());
    let health = || universe.handle().store_health();
    sleep(3_600 * SECOND).await;
    universe.store.fall_silent();
    sleep(29 * SECOND).await;
    assert_eq!(health(), StoreHealth::Healthy, "a slow sync is no fault");
    sleep(2 * SECOND).await;
    assert_eq!(health(), StoreHealth::Stuck);
}

#[tokio::test(start_paused = true)]
async fn a_start_on_a_store_that_is_shut_waits_for_it_and_forgets_nothing() {
    let mut universe = Universe::started(RetryPolicy::default());
    let is_delivered = |count| move |universe: &Universe| universe.count(StateName::Delivered) == count;
    let first = universe.submit(&lti11(PAUSED, 1, 8)).await;
    universe.until("it to be delivered", SECOND, 60 * SECOND, is_delivered(1)).await;
    let origin = universe.job(first).origin;
    universe.handle().pause(&origin, None).await.expect("the store answers");
    let waiting = universe.submit(&lti11(PAUSED, 2, 8)).await;
    universe.lms.set(HOST, Mood::Well, 10 * SECOND);
    let cut_off = universe.submit(&lti11(HOST, 1, 8)).await;
    sleep(SECOND).await;
    universe.crash().await;

    universe.store.shut();
    universe.start();
    sleep(60 * SECOND).await;
    universe.store.recover();
    universe.until("the one that was cut off to be delivered", SECOND, 120 * SECOND, is_delivered(2)).await;
    let outcomes: Vec<_> = universe.job(cut_off).attempts.iter().map(|attempt| attempt.outcome).collect();
    assert!(matches!(outcomes[..], [AttemptOutcome::Failed(_), AttemptOutcome::Delivered]), "{outcomes:?}");
    assert!(universe.job(waiting).attempts.is_empty(), "the pause is not forgotten");
    universe.handle().resume(&origin, None).await.expect("the store answers");
    universe.until("the other one to be delivered", SECOND, 60 * SECOND, is_delivered(3)).await;
    let is_damage = |notice: &Notice| matches!(notice, Notice::RecordDamaged { .. });
    assert!(!universe.told().iter().any(|(_, notice)| is_damage(notice)), "nothing was damaged");
}

#[tokio::test(start_paused = true)]
async fn a_bulk_change_forgets_no_job_whose_step_the_store_did_not_take() {
    let universe = Universe::started(RetryPolicy::default());
    let first = universe.submit(&lti11(PAUSED, 1, 8)).await;
    universe
        .until("it to be delivered", SECOND, 60 * SECOND, |universe| universe.count(StateName::Delivered) == 1)
        .await;
    universe.handle().pause(&universe.job(first).origin, None).await.expect("the store answers");
    for student in 2..=4 {
        universe.submit(&lti11(PAUSED, student, 8)).await;
    }
    // One that cannot be read is among them, so each gets a step of its own; the second of these meets a full disk.
    let unreadable = || Some(StoreError::Unreadable("a record is damaged".into()));
    let full = || Some(StoreError::Unavailable("the disk is full".into()));
    universe.store.plan_steps([unreadable(), None, full()]);
    let handle = universe.handle().clone();
    let filter = serde_json::json!({"state": "queued"});
    let task = Task::new(Change::Discard, Word::of("ops"), filter, None, handle.now());
    let id = handle.begin(&task).await.expect("it begins");
    let drain = CancellationToken::new();
    tokio::join!(handle.run_bulk(drain.clone()), async {
        let has_ended =
            |_: &Universe| handle.task(id).expect("reading works").is_some_and(|task| task.ended_at.is_some());
        universe.until("the bulk change to end", SECOND, 60 * SECOND, has_ended).await;
        drain.cancel();
    });
    let task = handle.task(id).expect("reading works").expect("the task");
    assert_eq!((task.discarded, task.skipped), (3, 0), "{task:?}");
    assert_eq!(universe.count(StateName::Discarded), 3);
    let stand = handle.whereabouts(id, &task).expect("reading works").expect("its steps are known");
    assert_eq!(
        (stand.by_state[StateName::Discarded as usize], stand.by_state.iter().sum::<u64>(), stand.gone),
        (3, 3, 0)
    );
    let of_more = Task { matched: 4, ..task };
    assert_eq!(
        handle.whereabouts(id, &of_more).expect("reading works"),
        None,
        "where steps are missing nothing is counted"
    );
}
