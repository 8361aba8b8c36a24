//! A store whose disk has failed opens it anew and goes on by itself, and then tells the truth anew: what was promised
//! is there, what was not promised is told or gone, and no attempt is begun that nobody makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use passback::{
    adapters::store::Store,
    domain::{
        job::{JobId, Place, StateName},
        ledger::{Answer, Report, Work},
        notice::Notice,
        outcome::{FailureReason, Finding, Verdict},
        time::Timestamp,
        transition::Trial,
    },
    ports::{JobFilter, JobStore, StoreError},
};
use proptest::prelude::*;

use crate::store_common::{Ears, FaultyDisk, Strike, admit, carry_out, lti11_event, open_on, order, until, wait};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A store on a disk that fails when it is told to.
struct Scene {
    _folder: tempfile::TempDir,
    disk: FaultyDisk,
    store: Store,
    ears: Arc<Ears>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = FaultyDisk::default();
        let (store, ears) = open_on(folder.path(), disk.opener()).expect("a new store");
        Self { _folder: folder, disk, store, ears }
    }

    fn stored(&self, student: u64) -> JobId {
        match carry_out(&self.store, admit(&lti11_event(student, 0), 1), NOW) {
            Answer::Stored(id) => id,
            other => panic!("not stored: {other:?}"),
        }
    }

    /// An order that must fail, since the disk strikes.
    fn fails(&self, strike: Strike, work: Work) {
        self.ears.reports.lock().expect("no panic").clear();
        self.disk.strike(strike);
        wait(self.store.submit(order(work, NOW))).expect_err("the disk has failed");
        assert!(!self.store.is_writable());
    }

    fn mended(&self) {
        until("the store to go on", || self.store.is_writable());
        until("the truth to be told", || self.reports(|report| report.reopened).len() == 1);
        let told = |notice: &Notice| matches!(notice, Notice::StoreMended);
        assert!(self.ears.notices.lock().expect("no panic").iter().any(told));
    }

    fn reports(&self, is_meant: impl Fn(&Report) -> bool) -> Vec<usize> {
        let reports = self.ears.reports.lock().expect("no panic");
        (0..reports.len()).filter(|place| is_meant(&reports[*place])).collect()
    }

    fn tells(&self, is_meant: impl Fn(&Notice) -> bool) -> bool {
        !self.reports(|report| report.notices.iter().any(&is_meant)).is_empty()
    }

    fn place(&self, id: JobId) -> Option<Place> {
        self.store.job(id).expect("reading works")?.queued().map(|queued| queued.place)
    }

    fn is_sound(&self) {
        let report = self.store.check().expect("reading works");
        assert!(report.is_sound(), "{report:?}");
    }
}

fn finish(id: JobId, finding: Finding) -> Work {
    Work::Finish { id, verdict: Verdict::without_reply(finding, "words"), trial: Trial::Regular }
}

const STRIKES: [Strike; 3] = [Strike::AtApply, Strike::AtSync { kept: false }, Strike::AtSync { kept: true }];

#[test]
fn an_event_that_was_not_acknowledged_is_a_duplicate_or_new_when_it_comes_again() {
    for strike in STRIKES {
        let scene = Scene::new();
        let before = scene.stored(1);
        scene.fails(strike, admit(&lti11_event(2, 0), 1));
        assert!(scene.store.job(before).expect("reads go on").is_some());
        scene.mended();
        let kept = strike == Strike::AtSync { kept: true };
        assert_eq!(scene.tells(|notice| matches!(notice, Notice::EventStored { .. })), kept, "{strike:?}");
        let again = carry_out(&scene.store, admit(&lti11_event(2, 0), 1), NOW);
        assert_eq!(matches!(again, Answer::Duplicate(_)), kept, "{strike:?}: {again:?}");
        assert_eq!(scene.store.census().by_state[0], 2);
        scene.is_sound();
    }
}

#[test]
fn a_start_of_which_nobody_was_told_is_taken_back_and_one_that_was_told_goes_on() {
    for strike in STRIKES {
        let scene = Scene::new();
        let (told, untold) = (scene.stored(1), scene.stored(2));
        carry_out(&scene.store, Work::Start { id: told }, NOW);
        scene.fails(strike, Work::Start { id: untold });
        scene.mended();
        assert!(matches!(scene.place(told), Some(Place::UnderWay { .. })), "somebody makes this attempt");
        assert_eq!(scene.place(untold), Some(Place::Ready), "nobody makes this one");
        let job = scene.store.job(untold).expect("reading works").expect("the job");
        assert_eq!((job.attempts.len(), job.tries), (0, 0));
        assert!(matches!(carry_out(&scene.store, finish(told, Finding::Accepted), NOW), Answer::Job(_)));
        assert!(matches!(carry_out(&scene.store, Work::Start { id: untold }, NOW), Answer::Job(_)));
        scene.is_sound();
    }
}

#[test]
fn an_end_that_was_not_confirmed_counts_once() {
    for strike in STRIKES {
        let scene = Scene::new();
        let id = scene.stored(1);
        carry_out(&scene.store, Work::Start { id }, NOW);
        let failed = || finish(id, Finding::Failed(FailureReason::Timeout));
        scene.fails(strike, failed());
        scene.mended();
        let kept = strike == Strike::AtSync { kept: true };
        assert_eq!(scene.tells(|notice| matches!(notice, Notice::AttemptEnded { .. })), kept, "{strike:?}");
        // Whoever made the attempt tells its end again.
        let again = carry_out(&scene.store, failed(), NOW);
        assert_eq!(matches!(again, Answer::Refused(_)), kept, "{strike:?}: {again:?}");
        let job = scene.store.job(id).expect("reading works").expect("the job");
        assert_eq!((job.attempts.len(), job.tries), (1, 1));
        scene.is_sound();
    }
}

#[test]
fn attempts_of_the_last_run_are_not_taken_back() {
    let scene = Scene::new();
    let id = scene.stored(1);
    carry_out(&scene.store, Work::Start { id }, NOW);
    let Scene { _folder: folder, disk, store, .. } = scene;
    drop(store);
    let (store, ears) = open_on(folder.path(), disk.opener()).expect("the same store");
    assert_eq!(store.cut_off(), [id]);
    let scene = Scene { _folder: folder, disk, store, ears };
    scene.fails(Strike::AtApply, admit(&lti11_event(2, 0), 1));
    scene.mended();
    assert!(matches!(scene.place(id), Some(Place::UnderWay { .. })), "its bytes may have left");
    assert!(matches!(carry_out(&scene.store, Work::Interrupt { id, reply_lost: true }, NOW), Answer::Job(_)));
}

#[test]
fn a_disk_that_stays_away_is_asked_again_and_the_counts_stay() {
    let scene = Scene::new();
    let id = scene.stored(1);
    scene.disk.shut(2);
    scene.fails(Strike::AtSync { kept: true }, admit(&lti11_event(2, 0), 1));
    let is_unopened = |error: StoreError| error.to_string().contains("cannot be opened");
    until("the files to be shut, and not to open", || scene.store.job(id).is_err_and(is_unopened));
    assert_eq!(scene.store.census().by_state[0], 1, "what is in memory can still be asked");
    let refused = wait(scene.store.submit(order(Work::Start { id }, NOW))).expect_err("it is shut");
    assert!(refused.to_string().contains("cannot be opened"), "{refused}");
    scene.mended();
    assert!(scene.store.job(id).expect("reading works").is_some());
    let failures = |notice: &&Notice| matches!(notice, Notice::StoreFailed { .. });
    let told = scene.ears.notices.lock().expect("no panic").iter().filter(failures).count();
    assert_eq!(told, 2, "each cause is told once");
    scene.is_sound();
}

#[test]
fn a_sync_that_does_not_return_shows_and_does_no_harm() {
    let scene = Scene::new();
    scene.stored(1);
    assert_eq!(scene.store.stuck_for(), Duration::ZERO, "everybody is answered");
    let hang = scene.disk.hang();
    let first = scene.store.submit(order(admit(&lti11_event(2, 0), 1), NOW));
    let some = Duration::from_millis(50);
    until("it to show that nobody is answered", || scene.store.stuck_for() > some);
    let second = scene.store.submit(order(admit(&lti11_event(3, 0), 1), NOW));
    assert!(scene.store.stuck_for() > some, "another one who waits does not make it well");
    assert!(scene.store.is_writable(), "it has not failed");
    drop(hang);
    for answer in [first, second] {
        assert!(matches!(wait(answer), Ok(Answer::Stored(_))));
    }
    assert_eq!(scene.store.stuck_for(), Duration::ZERO);
    scene.is_sound();
}

#[test]
fn a_disk_that_forgot_what_it_had_confirmed_is_not_taken_for_whole() {
    let scene = Scene::new();
    let first = scene.stored(1);
    let early = scene.disk.image();
    let second = scene.stored(2);
    let late = scene.disk.image();
    scene.disk.put_back(early);
    scene.fails(Strike::AtSync { kept: false }, admit(&lti11_event(3, 0), 1));
    until("the loss to be told", || {
        let lost =
            |notice: &Notice| matches!(notice, Notice::StoreFailed { error } if error.contains("has lost its last"));
        scene.ears.notices.lock().expect("no panic").iter().any(lost)
    });
    assert!(!scene.store.is_writable() && scene.store.job(first).is_err());
    // A cable that was plugged in again.
    scene.disk.put_back(late);
    scene.mended();
    assert!(scene.store.job(second).expect("reading works").is_some());
}

/// What a test does while the disk fails now and then: admit, start, end well, end badly.
fn works() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, Option<usize>)>> {
    prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), prop::option::weighted(0.04, 0..3_usize)), 60..120)
}

proptest! {
    // Each failure costs a second of waiting, so there are few cases and many steps in each.
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_in_between_what_was_acknowledged_is_so(steps in works()) {
        let scene = Scene::new();
        let mut ids: Vec<JobId> = Vec::new();
        let mut states: BTreeMap<JobId, StateName> = BTreeMap::new();
        let mut under_way: BTreeSet<JobId> = BTreeSet::new();
        for (number, (kind, which, strike)) in (0..).zip(steps) {
            scene.ears.reports.lock().expect("no panic").clear();
            if let Some(strike) = strike {
                scene.disk.strike(STRIKES[strike]);
            }
            let id = (!ids.is_empty()).then(|| *which.get(&ids));
            let work = match (kind, id) {
                (1, Some(id)) => Work::Start { id },
                (2, Some(id)) => finish(id, Finding::Accepted),
                (3, Some(id)) => finish(id, Finding::Unsendable(FailureReason::UnknownKey)),
                _ => admit(&lti11_event(number, 0), 1),
            };
            let is_start = matches!(work, Work::Start { .. });
            let answer = wait(scene.store.submit(order(work, NOW)));
            match answer {
                Ok(Answer::Stored(id)) => {
                    ids.push(id);
                    states.insert(id, StateName::Queued);
                }
                Ok(Answer::Job(job)) => {
                    if is_start { under_way.insert(job.id); } else { under_way.remove(&job.id); }
                    states.insert(job.id, job.state_name());
                }
                Ok(_) => {}
                Err(_) => {
                    scene.mended();
                    // An end that was not confirmed may have been noted.
                    if let (2 | 3, Some(id)) = (kind, id) {
                        let now = scene.store.job(id).expect("reading works").expect("the job").state_name();
                        if now != StateName::Queued {
                            under_way.remove(&id);
                        }
                        states.insert(id, now);
                    }
                }
            }
            // What changed nothing was not written.
            if scene.disk.is_to_strike() {
                continue;
            }
            let is_under_way = |id: &JobId| matches!(scene.place(*id), Some(Place::UnderWay { .. }));
            for (id, state) in &states {
                let job = scene.store.job(*id).expect("reading works").expect("it was acknowledged");
                prop_assert_eq!(job.state_name(), *state);
                prop_assert_eq!(is_under_way(id), under_way.contains(id));
            }
        }
        scene.is_sound();
        let listed = scene.store.list(&JobFilter::default(), None, 1_000).expect("reading works");
        prop_assert!(listed.jobs.len() >= ids.len());
    }
}
