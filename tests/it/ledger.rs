//! The order of grades, as promises: what the ledger makes of events, attempts and admins' words, on the real store.

use std::{path::Path, sync::Arc, time::Duration};

use passback::{
    adapters::store::Store,
    domain::{
        advice::advice,
        audit::Word,
        bulk::{Change, Task},
        drawer::Drawer,
        job::{HISTORY_MAX, Job, JobId, Place, Queued, StateName},
        ledger::{Answer, Mode, Rules, Work},
        outcome::{FailureReason, Finding, NotNewer, Verdict},
        time::Timestamp,
        transition::Trial,
    },
    ports::JobStore,
};
use serde_json::{Value, json};

use crate::store_common::{admit, carry_out, open, order, rules, wait};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A store, a time that goes on by hand, and the verbs of the ledger.
struct Scene {
    _folder: tempfile::TempDir,
    store: Store,
    now: Timestamp,
    luck: u128,
}

impl Scene {
    fn new() -> Self {
        Self::with(rules())
    }

    fn with(rules: Rules) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path: &Path = folder.path();
        let (store, _) = open(path, rules).expect("a new store");
        Self { _folder: folder, store, now: NOW, luck: 0 }
    }

    fn take(&mut self, event: &Value) -> Answer {
        self.luck += 1;
        carry_out(&self.store, admit(&event.to_string(), self.luck), self.now)
    }

    fn stored(&mut self, event: &Value) -> JobId {
        match self.take(event) {
            Answer::Stored(id) => id,
            other => panic!("{event} was answered with {other:?}"),
        }
    }

    fn job(&self, id: JobId) -> Job {
        self.store.job(id).expect("reading works").expect("the job")
    }

    fn state(&self, id: JobId) -> StateName {
        self.job(id).state_name()
    }

    fn start(&self, id: JobId) -> Option<Arc<Job>> {
        match carry_out(&self.store, Work::Start { id }, self.now) {
            Answer::Job(job) => Some(job),
            Answer::NotNow => None,
            other => panic!("a start was answered with {other:?}"),
        }
    }

    fn finish(&self, id: JobId, finding: Finding) {
        self.finish_with(id, Verdict::without_reply(finding, "words"));
    }

    fn finish_with(&self, id: JobId, verdict: Verdict) {
        let work = Work::Finish { id, verdict, trial: Trial::Regular };
        assert!(matches!(carry_out(&self.store, work, self.now), Answer::Job(_)));
    }

    /// Makes attempts until the job is not queued any more.
    fn fail_for_good(&mut self, id: JobId) {
        while self.state(id) == StateName::Queued {
            self.pass(Duration::from_secs(24 * 3600));
            assert!(self.start(id).is_some(), "a due job can be started");
            self.finish(id, Finding::Failed(FailureReason::ServerError));
        }
        assert_eq!(self.state(id), StateName::Flagged);
    }

    fn replay(&self, id: JobId) -> Answer {
        carry_out(&self.store, Work::Replay { id, mode: Mode::Earnest }, self.now)
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.store.check().expect("reading works").is_sound(), "the indexes are what the jobs imply");
        }
    }
}

fn lti11(score: u32, occurred: Option<u32>) -> Value {
    let mut event = json!({
        "session_id": "s", "score": score, "max_score": 10,
        "lis_data": {
            "lis_outcome_service_url": "https://lms.example.edu/outcomes",
            "lis_result_sourcedid": "student", "oauth_consumer_key": "key",
        },
    });
    at(&mut event, occurred);
    event
}

fn ags(score: Option<u32>, occurred: Option<u32>) -> Value {
    let mut event = json!({
        "session_id": "s",
        "lis_data": {
            "lti_version": "1.3", "client_id": "c", "user_id": "u", "lineitem": "https://lms.example.edu/1/lineitem",
        },
    });
    match score {
        Some(score) => (event["score"], event["max_score"]) = (score.into(), 10.into()),
        None => event["activity_progress"] = "Started".into(),
    }
    at(&mut event, occurred);
    event
}

/// `occurred_at`, in seconds before [`NOW`].
fn at(event: &mut Value, occurred: Option<u32>) {
    if let Some(seconds) = occurred {
        event["occurred_at"] = Timestamp::from_secs(NOW.as_secs() - i64::from(seconds)).to_string().into();
    }
}

#[test]
fn eight_nine_eight_are_three_jobs_and_eight_eight_is_one() {
    let mut scene = Scene::new();
    let first = scene.stored(&lti11(8, None));
    assert!(matches!(scene.take(&lti11(8, None)), Answer::Duplicate(id) if id == first));
    scene.pass(Duration::from_secs(1));
    let second = scene.stored(&lti11(9, None));
    scene.pass(Duration::from_secs(1));
    let third = scene.stored(&lti11(8, None));
    assert_eq!(
        [first, second, third].map(|id| scene.state(id)),
        [StateName::Superseded, StateName::Superseded, StateName::Queued]
    );
}

#[test]
fn the_same_event_id_is_one_job_whatever_else_differs() {
    let mut scene = Scene::new();
    let mut event = lti11(8, None);
    event["event_id"] = "e-1".into();
    let first = scene.stored(&event);
    event["score"] = 9.into();
    event["lis_data"]["lis_result_sourcedid"] = "somebody else".into();
    assert!(matches!(scene.take(&event), Answer::Duplicate(id) if id == first));
}

#[test]
fn an_older_event_that_comes_late_is_superseded_at_once() {
    let mut scene = Scene::new();
    let newer = scene.stored(&lti11(9, Some(10)));
    let older = scene.stored(&lti11(5, Some(60)));
    assert_eq!((scene.state(newer), scene.state(older)), (StateName::Queued, StateName::Superseded));
    let same_time = scene.stored(&lti11(7, Some(10)));
    assert_eq!((scene.state(newer), scene.state(same_time)), (StateName::Superseded, StateName::Queued));
}

#[test]
fn a_time_in_the_future_is_taken_as_the_arrival() {
    let mut scene = Scene::new();
    let mut event = lti11(9, None);
    event["occurred_at"] = "2999-01-01T00:00:00Z".into();
    let id = scene.stored(&event);
    assert_eq!(scene.job(id).occurred_at, NOW);
}

#[test]
fn an_attempt_under_way_ends_before_the_newer_grade_goes() {
    let mut scene = Scene::new();
    let older = scene.stored(&lti11(5, Some(60)));
    assert!(scene.start(older).is_some());
    let newer = scene.stored(&lti11(9, Some(10)));
    assert_eq!(scene.state(older), StateName::Queued);
    assert!(scene.start(newer).is_none(), "one attempt at a time per cell");
    scene.finish(older, Finding::Failed(FailureReason::Timeout));
    assert_eq!(scene.state(older), StateName::Superseded);
    assert!(scene.start(newer).is_some());
}

#[test]
fn an_older_grade_that_arrives_during_its_attempt_stays_delivered() {
    let mut scene = Scene::new();
    let older = scene.stored(&lti11(5, Some(60)));
    scene.start(older);
    let newer = scene.stored(&lti11(9, Some(10)));
    scene.finish(older, Finding::Accepted);
    assert_eq!(scene.state(older), StateName::Delivered);
    assert!(scene.start(newer).is_some());
}

#[test]
fn without_superseding_each_grade_goes_oldest_first() {
    let mut scene = Scene::with(Rules { supersede: false, ..rules() });
    let second = scene.stored(&lti11(6, Some(50)));
    let first = scene.stored(&lti11(5, Some(60)));
    let third = scene.stored(&lti11(7, Some(40)));
    for (id, waiting) in [(first, [second, third]), (second, [third, third]), (third, [first, second])] {
        assert!(waiting.iter().all(|other| scene.start(*other).is_none()));
        assert!(scene.start(id).is_some());
        scene.finish(id, Finding::Accepted);
    }
    let late = scene.stored(&lti11(1, Some(90)));
    assert_eq!(scene.state(late), StateName::Superseded);
}

#[test]
fn a_state_change_waits_for_the_score_before_it_and_supersedes_state_changes_only() {
    let mut scene = Scene::new();
    let begun = scene.stored(&ags(None, Some(90)));
    let score = scene.stored(&ags(Some(5), Some(60)));
    assert_eq!(scene.state(begun), StateName::Superseded);
    let again = scene.stored(&ags(None, Some(30)));
    assert_eq!((scene.state(score), scene.start(again).is_none()), (StateName::Queued, true));
    assert!(scene.start(score).is_some());
    scene.finish(score, Finding::Accepted);
    assert!(scene.start(again).is_some());
}

#[test]
fn delegated_deliveries_are_all_made_in_their_order() {
    let mut scene = Scene::new();
    let event = |score: u32| {
        json!({
            "session_id": "s", "score": score, "max_score": 10,
            "lis_data": {"lti_version": "1.3", "grade_passback_url": "https://c.example/p", "oauth_consumer_key": "k"},
        })
    };
    let first = scene.stored(&event(5));
    scene.pass(Duration::from_secs(1));
    let second = scene.stored(&event(6));
    assert!(scene.start(second).is_none() && scene.start(first).is_some());
    scene.finish(first, Finding::Accepted);
    assert!(scene.start(second).is_some());
    scene.finish(second, Finding::Accepted);
    assert_eq!([scene.state(first), scene.state(second)], [StateName::Delivered; 2]);
}

#[test]
fn six_attempts_and_then_the_flag_and_a_replay_keeps_the_history() {
    let mut scene = Scene::new();
    let id = scene.stored(&lti11(5, None));
    scene.fail_for_good(id);
    let job = scene.job(id);
    assert_eq!((job.attempts.len(), job.reason), (6, Some(FailureReason::ServerError)));
    assert!(matches!(scene.replay(id), Answer::Job(_)));
    scene.start(id);
    scene.finish(id, Finding::Accepted);
    let job = scene.job(id);
    assert_eq!((job.state_name(), job.attempts.len(), job.reason), (StateName::Delivered, 7, None));
    assert!(matches!(scene.replay(id), Answer::Refused(_)), "a delivered job stays delivered");
}

#[test]
fn a_replay_of_an_older_grade_is_superseded_unless_the_newer_one_was_discarded() {
    let mut scene = Scene::new();
    let older = scene.stored(&lti11(5, Some(60)));
    scene.fail_for_good(older);
    let newer = scene.stored(&lti11(9, Some(10)));
    scene.fail_for_good(newer);
    let rehearsed = carry_out(&scene.store, Work::Replay { id: older, mode: Mode::Rehearsal }, scene.now);
    assert!(matches!(rehearsed, Answer::Job(job) if job.state_name() == StateName::Superseded));
    assert_eq!(scene.state(older), StateName::Flagged, "a rehearsal changes nothing");
    carry_out(&scene.store, Work::Discard { id: newer }, scene.now);
    scene.replay(older);
    assert_eq!(scene.state(older), StateName::Queued);
}

#[test]
fn a_bulk_change_leaves_alone_what_is_not_flagged_any_more() {
    let mut scene = Scene::new();
    let (one, other) = (scene.stored(&lti11(8, None)), scene.stored(&ags(Some(8), None)));
    scene.fail_for_good(one);
    scene.fail_for_good(other);
    // Both were listed; a colleague was faster with one of them.
    assert!(matches!(scene.replay(one), Answer::Job(_)));
    for (change, state, numbers) in
        [(Change::Replay, StateName::Queued, (1, 1)), (Change::Discard, StateName::Queued, (0, 2))]
    {
        let task = Task::new(change, Word::of("ops"), json!({}), None, scene.now);
        let key = vec![change as u8];
        let work = Work::Step { key: key.clone(), task: Box::new(task), ids: vec![other, one], unreadable: None };
        carry_out(&scene.store, work, scene.now);
        assert_eq!((scene.state(one), scene.state(other)), (StateName::Queued, state), "{change:?}");
        let record = scene.store.note(Drawer::Bulk, &key).expect("reading works").expect("the task");
        let task = Task::read(&record).expect("a task");
        assert_eq!((task.matched, task.skipped), numbers, "{task:?}");
    }
    let still = |state| Work::Still { id: one, state, work: Box::new(Work::Discard { id: one }) };
    assert!(matches!(carry_out(&scene.store, still(StateName::Flagged), scene.now), Answer::NotNow));
    assert_eq!(scene.state(one), StateName::Queued);
    // Who asks for those that wait gets those.
    let filter = json!({"state": "queued"});
    let task = Task::new(Change::Discard, Word::of("ops"), filter, None, scene.now);
    let work = Work::Step { key: vec![9], task: Box::new(task), ids: vec![other, one], unreadable: None };
    carry_out(&scene.store, work, scene.now);
    assert_eq!((scene.state(one), scene.state(other)), (StateName::Discarded, StateName::Discarded));
}

#[test]
fn what_not_newer_means_depends_on_what_came_before() {
    let not_newer = Finding::NotNewer(NotNewer::AlreadyExists);
    let check = |first: Option<Verdict>, state: StateName| {
        let mut scene = Scene::new();
        let id = scene.stored(&ags(Some(5), Some(60)));
        if let Some(first) = first {
            scene.start(id);
            scene.finish_with(id, first);
            scene.pass(Duration::from_secs(3600));
        }
        scene.start(id).expect("it is due");
        scene.finish(id, not_newer);
        assert_eq!(scene.state(id), state);
        scene.job(id)
    };
    let failed = |reason| Verdict::without_reply(Finding::Failed(reason), "");
    check(None, StateName::Superseded);
    check(Some(failed(FailureReason::Connection)), StateName::Superseded);
    check(Some(Verdict { reply_lost: true, ..failed(FailureReason::Timeout) }), StateName::Delivered);
    // A 500 that was not about the grade proves nothing.
    let with_500 = Verdict { http_status: Some(500), ..failed(FailureReason::ServerError) };
    check(Some(with_500.clone()), StateName::Superseded);
    let doubtful = check(Some(Verdict { grade_answered: true, ..with_500.clone() }), StateName::Flagged);
    assert_eq!(doubtful.reason, Some(FailureReason::Rejected));
    let advice = advice(&doubtful, doubtful.event().ok().as_deref());
    assert!(advice.is_some_and(|advice| advice.contains("look at the grade")));
}

#[test]
fn an_attempt_that_was_cut_off_counts_and_its_reply_is_lost() {
    let mut scene = Scene::new();
    let id = scene.stored(&ags(Some(5), Some(60)));
    scene.start(id);
    carry_out(&scene.store, Work::Interrupt { id, reply_lost: true }, scene.now);
    let job = scene.job(id);
    assert_eq!((job.tries, job.lost_a_reply(), job.state_name()), (1, true, StateName::Queued));
    assert!(scene.start(id).is_none(), "it is due again by the schedule");
}

/// Whoever ordered it and got no answer orders it again, and the first order may have reached the disk.
#[test]
fn a_job_is_put_forward_once_however_often_that_is_ordered() {
    let mut scene = Scene::new();
    let id = scene.stored(&lti11(8, None));
    scene.start(id).expect("it starts");
    scene.finish(id, Finding::Failed(FailureReason::ServerError));
    let due = |scene: &Scene| scene.job(id).queued().expect("a retry").due;
    let (before, by) = (due(&scene), Duration::from_secs(10));
    scene.now = NOW.back(by);
    let hasten = || Work::Hasten { id, due: before, by, noticed: Some(scene.now) };
    assert!(matches!(carry_out(&scene.store, hasten(), scene.now), Answer::Done));
    assert_eq!(due(&scene), before.back(by));
    assert!(matches!(carry_out(&scene.store, hasten(), scene.now), Answer::NotNow));
    assert_eq!(due(&scene), before.back(by));
}

/// What waits behind an overdue job of its cell is put forward with it, and that, too, only once.
#[test]
fn what_waits_behind_an_overdue_job_is_put_forward_once_too() {
    let mut scene = Scene::with(Rules { supersede: false, ..rules() });
    let newer = scene.stored(&lti11(8, Some(10)));
    scene.start(newer).expect("it starts");
    scene.finish(newer, Finding::Failed(FailureReason::ServerError));
    scene.pass(Duration::from_secs(1));
    let older = scene.stored(&lti11(9, Some(20)));
    let due = |scene: &Scene, id| scene.job(id).queued().expect("it waits").due;
    let (head, before, by) = (due(&scene, older), due(&scene, newer), Duration::from_secs(10));
    assert_eq!(scene.job(newer).queued().map(|queued| queued.place), Some(Place::Behind));
    scene.now = NOW + Duration::from_secs(9);
    let hasten = || Work::Hasten { id: older, due: head, by, noticed: Some(scene.now) };
    assert!(matches!(carry_out(&scene.store, hasten(), scene.now), Answer::Done));
    assert_eq!(due(&scene, newer), before.back(by));
    assert!(matches!(carry_out(&scene.store, hasten(), scene.now), Answer::NotNow));
    assert_eq!(due(&scene, newer), before.back(by));
    assert!(scene.start(older).is_some(), "it is as due as before");
}

/// Behind an attempt that is under way nothing is put forward; what shows the jump is that the plan is from the future.
#[test]
fn what_waits_behind_an_attempt_under_way_waits_no_longer_for_a_clock_that_was_set_back() {
    let mut scene = Scene::with(Rules { supersede: false, ..rules() });
    let newer = scene.stored(&lti11(8, Some(10)));
    scene.start(newer).expect("it starts");
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    scene.now = NOW + hour;
    scene.finish(newer, Finding::Failed(FailureReason::ServerError));
    let older = scene.stored(&lti11(9, Some(3700)));
    scene.start(older).expect("it starts");
    let before = scene.job(newer).queued().expect("it waits");
    assert_eq!(before.place, Place::Behind);
    scene.now = NOW + second;
    scene.finish(older, Finding::Accepted);
    let due = before.due.back(hour.saturating_sub(second));
    assert_eq!(scene.job(newer).queued(), Some(Queued { due, place: Place::Ready }));
}

/// A replayed job waits for its turn alone, whatever time of day it was replayed at.
#[test]
fn a_replayed_job_that_steps_up_need_not_wait_for_a_clock_that_was_set_back() {
    let mut scene = Scene::with(Rules { supersede: false, ..rules() });
    let newer = scene.stored(&ags(None, Some(10)));
    scene.fail_for_good(newer);
    let tried = scene.now;
    scene.pass(Duration::from_secs(3600));
    let older = scene.stored(&ags(Some(9), Some(20)));
    scene.start(older).expect("it starts");
    scene.replay(newer);
    assert_eq!(scene.job(newer).queued().map(|queued| queued.place), Some(Place::Behind));
    scene.now = tried + Duration::from_secs(60);
    scene.finish(older, Finding::Accepted);
    assert_eq!(scene.job(newer).queued(), Some(Queued { due: scene.now, place: Place::Ready }));
}

/// Whoever was answered to a fence reads what was ordered before it.
#[test]
fn a_fence_is_answered_when_all_before_it_is_on_the_schedule() {
    let scene = Scene::new();
    let orders = (1..=50).map(|luck| {
        let mut event = lti11(8, None);
        event["lis_data"]["lis_result_sourcedid"] = format!("student {luck}").into();
        admit(&event.to_string(), luck)
    });
    let admitted: Vec<_> = orders.map(|work| scene.store.submit(order(work, scene.now))).collect();
    let fence = scene.store.submit(order(Work::Fence, scene.now));
    assert!(matches!(wait(fence), Ok(Answer::Done)));
    let origin = scene.store.platforms().expect("reading works").remove(0).origin;
    assert_eq!(scene.store.due(&origin, None, 100).expect("reading works").len(), admitted.len());
}

#[test]
fn a_start_that_is_taken_back_burns_nothing_and_lets_the_newer_grade_go() {
    let mut scene = Scene::new();
    let first = scene.stored(&lti11(8, Some(2)));
    let withdraw = |scene: &Scene| carry_out(&scene.store, Work::Withdraw { id: first }, scene.now);
    scene.start(first).expect("it starts");
    assert!(matches!(withdraw(&scene), Answer::Job(_)));
    let job = scene.job(first);
    assert_eq!((job.attempts.len(), job.tries, job.state_name()), (0, 0, StateName::Queued));
    assert!(matches!(withdraw(&scene), Answer::Refused(_)), "nothing is under way");
    scene.start(first).expect("it starts again");
    let second = scene.stored(&lti11(9, Some(1)));
    assert!(matches!(withdraw(&scene), Answer::Job(_)));
    assert_eq!(scene.state(first), StateName::Superseded);
    scene.start(second).expect("nothing is in its way");
}

#[test]
fn ags_timestamps_rise_by_a_second_in_a_cell_and_are_never_in_the_future() {
    let mut scene = Scene::new();
    let first = scene.stored(&ags(Some(5), Some(0)));
    let sent = scene.start(first).expect("it is due").ags_timestamp.expect("a timestamp");
    assert_eq!(sent, NOW);
    scene.finish(first, Finding::Accepted);
    let second = scene.stored(&ags(Some(6), Some(0)));
    assert!(scene.start(second).is_none(), "its timestamp would be in the future");
    assert!(scene.job(second).attempts.is_empty());
    scene.pass(Duration::from_secs(1));
    let sent = scene.start(second).expect("it is due").ags_timestamp;
    assert_eq!(sent, Some(NOW + Duration::from_secs(1)));
    scene.finish(second, Finding::Failed(FailureReason::Timeout));
    scene.pass(Duration::from_secs(3600));
    assert_eq!(scene.start(second).expect("it is due").ags_timestamp, sent, "the same through all tries");
}

#[test]
fn what_a_discarded_job_has_sent_was_sent() {
    let mut scene = Scene::new();
    let first = scene.stored(&ags(Some(5), Some(10)));
    let sent = scene.start(first).expect("it is due").ags_timestamp.expect("a timestamp");
    scene.finish_with(
        first,
        Verdict { reply_lost: true, ..Verdict::without_reply(Finding::Failed(FailureReason::Timeout), "") },
    );
    scene.fail_for_good(first);
    carry_out(&scene.store, Work::Discard { id: first }, scene.now);
    let second = scene.stored(&ags(Some(6), Some(10)));
    let next = scene.start(second).expect("it is due").ags_timestamp;
    assert_eq!(next, Some(sent + Duration::from_secs(1)));
}

#[test]
fn a_failed_probe_stands_in_the_history_and_uses_up_nothing() {
    let mut scene = Scene::new();
    let id = scene.stored(&lti11(5, None));
    for reason in [FailureReason::ServerError, FailureReason::BadResponse, FailureReason::Tls] {
        scene.start(id).expect("it is due at once");
        let verdict = Verdict::without_reply(Finding::Failed(reason), "");
        carry_out(&scene.store, Work::Finish { id, verdict, trial: Trial::Probe }, scene.now);
    }
    let job = scene.job(id);
    assert_eq!((job.attempts.len(), job.tries, job.state_name()), (3, 0, StateName::Queued));
}

/// The reply to one probe of a held platform was lost; then came more failed probes than the history can show.
#[test]
fn a_lost_reply_is_remembered_behind_a_hundred_failed_probes() {
    let mut scene = Scene::new();
    let id = scene.stored(&ags(Some(8), Some(60)));
    let probe = |scene: &mut Scene, reply_lost| {
        assert!(scene.start(id).is_some());
        let verdict = Verdict::without_reply(Finding::Failed(FailureReason::Timeout), "");
        let verdict = Verdict { reply_lost, ..verdict };
        let answer = carry_out(&scene.store, Work::Finish { id, verdict, trial: Trial::Probe }, scene.now);
        assert!(matches!(answer, Answer::Job(_)));
        scene.pass(Duration::from_secs(1));
    };
    probe(&mut scene, true);
    (0..=HISTORY_MAX).for_each(|_| probe(&mut scene, false));
    let job = scene.job(id);
    assert_eq!((job.attempts.len(), job.attempts_omitted, job.tries), (HISTORY_MAX, 2, 0));
    assert!(scene.start(id).is_some());
    scene.finish(id, Finding::NotNewer(NotNewer::Older));
    assert_eq!(scene.state(id), StateName::Delivered, "the platform has this very grade");
}

#[test]
fn what_cannot_be_sent_gives_way_to_a_newer_grade() {
    let mut scene = Scene::new();
    let older = scene.stored(&lti11(5, Some(60)));
    scene.start(older);
    scene.stored(&lti11(9, Some(10)));
    scene.finish(older, Finding::Unsendable(FailureReason::UnknownKey));
    assert_eq!(scene.state(older), StateName::Superseded);
}

#[test]
fn an_old_grade_is_kept_as_long_as_an_older_flagged_one_could_be_replayed() {
    let mut scene = Scene::new();
    let older = scene.stored(&lti11(5, Some(60)));
    scene.fail_for_good(older);
    let newer = scene.stored(&lti11(9, Some(10)));
    scene.start(newer);
    scene.finish(newer, Finding::Accepted);
    scene.pass(Duration::from_secs(40 * 86_400));
    carry_out(&scene.store, Work::Prune { ended_before: scene.now, limit: 100 }, scene.now);
    assert_eq!(scene.state(newer), StateName::Delivered);
    scene.replay(older);
    assert_eq!(scene.state(older), StateName::Superseded);
}
