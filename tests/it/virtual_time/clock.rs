//! The wall clock is set while the worker runs: an hour forward, an hour back, a machine that was suspended, a clock that
//! stood still. Nothing is tried before its due time, nothing waits an hour more than its schedule says, and whatever is
//! signed or stamped carries the time of day at which it is sent.

use std::time::Duration;

use passback::{
    domain::{
        job::{Job, JobId, StateName},
        notice::{Notice, PlatformState},
        retry::RetryPolicy,
        time::Timestamp,
    },
    ports::Clock,
};
use serde_json::{Value, json};

use super::{
    lms::{LATENCY, Mood, Seen, TOKEN_LIFE},
    universe::{EPOCH, Universe, ags, lti11},
};

const HOST: &str = "lms.example.edu";
const SECOND: Duration = Duration::from_secs(1);
const HOUR_SECS: i64 = 3600;
const HOUR: Duration = Duration::from_secs(3600);
/// The waits of the default schedule, in seconds.
const WAITS: [u64; 5] = [30, 120, 480, 1_920, 7_680];

/// The default schedule without its jitter.
fn exact() -> RetryPolicy {
    RetryPolicy { jitter: 0.0, ..RetryPolicy::default() }
}

/// A universe with one job that failed a moment ago, `tries` times in all, at a platform that refuses grades.
async fn after_failures(tries: u32) -> (Universe, JobId) {
    let universe = Universe::started(exact());
    universe.lms.set(HOST, Mood::Says(400), LATENCY);
    let id = universe.submit(&lti11(HOST, 1, 8)).await;
    let failed = |universe: &Universe| universe.job(id).tries == tries;
    universe.until("the failures", SECOND, 3 * HOUR, failed).await;
    (universe, id)
}

/// How long the job waits for its next try, from the end of the last one, by the steady clock.
async fn next_try(universe: &Universe, id: JobId) -> Duration {
    let tries = universe.job(id).tries;
    let ended = universe.lms.seen(HOST).last().expect("a try").at + LATENCY;
    let tried = |universe: &Universe| universe.job(id).tries > tries;
    universe.until("the next try", SECOND, Duration::from_secs(4 * 7_680), tried).await;
    universe.lms.seen(HOST).last().expect("a try").at.saturating_sub(ended)
}

/// No attempt began before its time: the wait after the one before, by the time of day of both.
fn assert_never_early(job: &Job) {
    for (pair, wait) in job.attempts.windows(2).zip(WAITS) {
        let waited = pair[1].started_at.since(pair[0].started_at + pair[0].duration);
        assert!(waited >= Duration::from_secs(wait), "waited {waited:?} and not {wait} s");
    }
}

/// A clock is set up to a second after the last try, and that is noticed within another.
fn assert_waited(waited: Duration, least: Duration) {
    assert!(waited >= least && waited <= least + Duration::from_millis(2_100), "{waited:?} and not {least:?}");
}

/// By the time of day an hour has passed: what has become due is tried, what has not waits on. A machine that was
/// suspended looks the same: its steady clock stood still meanwhile.
#[tokio::test(start_paused = true)]
async fn an_hour_forward_or_suspended_makes_due_what_is_due_and_nothing_else() {
    for (tries, wait) in (1..).zip(WAITS) {
        let (universe, id) = after_failures(tries).await;
        universe.clock.set_by(HOUR_SECS);
        let waited = next_try(&universe, id).await;
        assert_waited(waited, Duration::from_secs(wait).saturating_sub(HOUR));
        assert_never_early(&universe.job(id));
    }
}

/// A retry that is due in 30 s comes in 30 s, also when the clock goes back an hour meanwhile; and so for each wait.
#[tokio::test(start_paused = true)]
async fn an_hour_back_keeps_nobody_waiting_an_hour_more() {
    for (tries, wait) in (1..).zip(WAITS) {
        let (universe, id) = after_failures(tries).await;
        tokio::time::sleep(5 * SECOND).await;
        universe.clock.set_by(-HOUR_SECS);
        assert_waited(next_try(&universe, id).await, Duration::from_secs(wait));
        let told = universe.told();
        let by = told.iter().find_map(|(_, notice)| match notice {
            Notice::ClockSetBack { by } => Some(*by),
            _ => None,
        });
        assert!(by.is_some_and(|by| by.abs_diff(HOUR) < SECOND), "it is told: {by:?}");
        // And the next one is on its schedule again, by the new time of day.
        if let Some(next) = WAITS.get(tries as usize) {
            assert_waited(next_try(&universe, id).await, Duration::from_secs(*next));
        }
    }
}

/// The reverse of a suspended machine: the steady clock goes on an hour at once and the time of day stands still. Whatever
/// was due within that hour is tried when it is noticed.
#[tokio::test(start_paused = true)]
async fn a_time_of_day_that_stood_still_for_an_hour_is_made_up_for() {
    let (universe, id) = after_failures(3).await;
    tokio::time::sleep(5 * SECOND).await;
    universe.clock.set_by(-HOUR_SECS);
    tokio::time::advance(HOUR).await;
    let waited = next_try(&universe, id).await;
    assert!(waited <= HOUR + 8 * SECOND, "{waited:?}");
}

/// The clock goes back while an attempt is under way: its retry is put on the schedule by the new time of day, and is
/// not put forward a second time.
#[tokio::test(start_paused = true)]
async fn an_attempt_across_the_jump_is_retried_on_schedule() {
    let universe = Universe::started(exact());
    universe.lms.set(HOST, Mood::Says(400), 10 * SECOND);
    let id = universe.submit(&lti11(HOST, 1, 8)).await;
    tokio::time::sleep(5 * SECOND).await;
    universe.clock.set_by(-HOUR_SECS);
    let tried = |universe: &Universe| universe.job(id).tries == 2;
    universe.until("two tries", SECOND, 60 * SECOND, tried).await;
    let seen = universe.lms.seen(HOST);
    assert_waited(seen[1].at.saturating_sub(seen[0].at), (10 + 30) * SECOND);
    assert!(universe.job(id).attempts.iter().all(|attempt| attempt.started_at <= universe.clock.now()));
}

/// A jump back under more waiting jobs than a window shows: each keeps its own wait, those that came after the jump too.
#[tokio::test(start_paused = true)]
async fn thousands_that_wait_are_all_put_forward_and_newcomers_are_not() {
    let universe = Universe::started(exact());
    universe.lms.set(HOST, Mood::Says(400), LATENCY);
    for student in 0..1_500 {
        universe.submit(&lti11(HOST, student, 8)).await;
    }
    let all_tried = |universe: &Universe| universe.lms.seen(HOST).len() >= 1_500;
    universe.until("one try of each", SECOND, 60 * SECOND, all_tried).await;
    universe.clock.set_by(-HOUR_SECS);
    let newcomer = universe.submit(&lti11(HOST, 9_999, 8)).await;
    // 1,500 jobs, sixteen at a time, 50 ms each: 5 s for a round; 30 s after its first try each has its second.
    let all_tried = |universe: &Universe| universe.store.jobs().iter().all(|job| job.tries >= 2);
    universe.until("two tries of each", SECOND, 60 * SECOND, all_tried).await;
    for job in universe.store.jobs() {
        assert_eq!(job.tries, 2, "nobody is tried a third time before 120 s have passed");
    }
    assert_never_early(&universe.job(newcomer));
}

/// A held platform is probed on the same steady times, and a rest ends when it should, when the clock goes back meanwhile.
#[tokio::test(start_paused = true)]
async fn probes_and_rests_keep_their_distance() {
    let universe = Universe::started(exact());
    universe.lms.set(HOST, Mood::Refuses, Duration::ZERO);
    for student in 0..40 {
        universe.submit(&lti11(HOST, student, 8)).await;
    }
    tokio::time::sleep(10 * SECOND).await;
    universe.clock.set_by(-HOUR_SECS);
    tokio::time::sleep(170 * SECOND).await;
    let seen = universe.lms.seen(HOST);
    let probes: Vec<u64> = seen[16..].iter().map(|seen| seen.at.as_secs()).collect();
    assert_eq!(probes, [30, 150], "30 s and 120 s later");
    let resting = "resting.example.edu";
    universe.lms.set(resting, Mood::Limits(Some(90)), Duration::ZERO);
    universe.submit(&lti11(resting, 1, 8)).await;
    tokio::time::sleep(10 * SECOND).await;
    universe.clock.set_by(-HOUR_SECS);
    tokio::time::sleep(85 * SECOND).await;
    let seen: Vec<Seen> = universe.lms.seen(resting);
    assert_eq!(seen.len(), 2);
    assert_waited(seen[1].at.saturating_sub(seen[0].at), 90 * SECOND);
}

/// A hold that began in what is now the future, found at a start: it begins now, and does not last an hour more.
#[tokio::test(start_paused = true)]
async fn a_hold_from_the_future_begins_now() {
    let mut universe = Universe::started(RetryPolicy { hold: 2 * HOUR, ..exact() });
    universe.lms.set(HOST, Mood::Refuses, Duration::ZERO);
    for student in 0..40 {
        universe.submit(&lti11(HOST, student, 8)).await;
    }
    tokio::time::sleep(10 * SECOND).await;
    universe.stop().await;
    universe.clock.set_by(-24 * HOUR_SECS);
    universe.start();
    let platform = universe.handle().look().await.expect("a picture").platforms.remove(0);
    assert_eq!(
        (platform.state, platform.since.is_some_and(|since| since <= universe.clock.now())),
        (PlatformState::Held, true)
    );
}

/// The clock is set back while the worker is down: a start cannot see by how much, but it sees jobs from the future, and
/// they wait no longer for that. A second start puts nothing forward twice that was tried since.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_before_a_start_keeps_nobody_waiting_either() {
    let (mut universe, id) = after_failures(2).await;
    universe.stop().await;
    universe.clock.set_by(-HOUR_SECS);
    universe.start();
    // The second wait is 120 s; the newest job was stored 30 s before the last try, which nobody can tell from here.
    let waited = next_try(&universe, id).await;
    assert!(waited <= (120 + 31) * SECOND, "{waited:?}");
    for _ in 0..3 {
        universe.crash().await;
        universe.start();
    }
    assert_waited(next_try(&universe, id).await, Duration::from_secs(480));
}

/// Each signature carries the time of day at which it is sent, whatever the clock does between one try and the next.
#[tokio::test(start_paused = true)]
async fn every_signature_carries_the_time_at_which_it_is_sent() {
    let universe = Universe::started(exact());
    universe.lms.set(HOST, Mood::Says(400), Duration::ZERO);
    for (student, jump) in [0, HOUR_SECS, -HOUR_SECS, 30 * HOUR_SECS, -31 * HOUR_SECS].into_iter().enumerate() {
        universe.clock.set_by(jump);
        let before = universe.lms.seen(HOST).len();
        universe.submit(&lti11(HOST, student, 8)).await;
        tokio::time::sleep(SECOND / 100).await;
        let now = universe.clock.now().as_secs();
        let seen = &universe.lms.seen(HOST)[before..];
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|seen| seen.signed_at.is_some_and(|at| (now - 1..=now).contains(&at))), "{seen:?}");
    }
}

/// A token that died while the machine was suspended is not used; one from before a jump back is not used either, since
/// nobody can tell how old it is; and a jump costs one new token, not one for each grade.
#[tokio::test(start_paused = true)]
async fn no_token_is_used_past_its_life_however_the_clock_goes() {
    let universe = Universe::started(exact());
    let mut student = 0;
    let mut deliver = async |universe: &Universe| {
        for _ in 0..20 {
            student += 1;
            universe.submit(&ags(HOST, student, 8)).await;
        }
        let delivered = |universe: &Universe| universe.count(StateName::Delivered) == student;
        universe.until("the grades", SECOND / 10, 10 * SECOND, delivered).await;
        universe.lms.seen(HOST).iter().filter(|seen| seen.is_token).count()
    };
    assert_eq!(deliver(&universe).await, 1);
    // Suspended: the platform's clock goes on, and so does the time of day.
    tokio::time::advance(HOUR).await;
    assert_eq!(deliver(&universe).await, 2);
    universe.clock.set_by(-HOUR_SECS);
    assert_eq!(deliver(&universe).await, 3);
    tokio::time::advance(HOUR).await;
    assert_eq!(deliver(&universe).await, 4);
    universe.clock.set_by(HOUR_SECS);
    assert_eq!(deliver(&universe).await, 5);
    let ages: Vec<Duration> = universe.lms.seen(HOST).iter().filter_map(|seen| seen.token_age).collect();
    assert!(ages.len() == 100 && ages.iter().all(|age| *age < TOKEN_LIFE), "{ages:?}");
    assert!(universe.store.jobs().iter().all(|job| job.attempts.len() == 1));
}

/// The AGS timestamps of a cell rise, and none is in the future when it is sent, however the clock goes. After a jump
/// back a grade of the same cell has to wait until its timestamp is not in the future any more: the platform takes none
/// that is not newer than the last one. Other cells do not wait.
#[tokio::test(start_paused = true)]
async fn ags_timestamps_rise_in_a_cell_and_are_never_in_the_future() {
    let universe = Universe::started(exact());
    let mut sent: Vec<Timestamp> = Vec::new();
    for (score, jump) in [(1, 0), (2, HOUR_SECS), (3, -HOUR_SECS / 2), (4, -600), (5, 7 * HOUR_SECS)] {
        universe.clock.set_by(jump);
        let other = universe.submit(&ags(HOST, 100 + score as usize, score)).await;
        let id = universe.submit(&ags(HOST, 1, score)).await;
        let delivered = |universe: &Universe| universe.job(id).state_name() == StateName::Delivered;
        let done = |universe: &Universe| universe.job(other).state_name() == StateName::Delivered;
        universe.until("the other cell's grade", SECOND / 10, 2 * SECOND, done).await;
        let begin = universe.clock.now();
        let last = sent.last().map_or(begin, |last| *last + SECOND);
        let waited = universe.until("the grade", SECOND, 2 * HOUR, delivered).await;
        assert!(waited <= last.since(begin) + 2 * SECOND, "{waited:?} is longer than it must be");
        let mut seen = universe.lms.seen(HOST);
        seen.retain(|seen| seen.body.contains("\"student-1\""));
        assert_eq!(seen.len(), sent.len() + 1, "each grade is sent once");
        let document: Value = serde_json::from_str(&seen[sent.len()].body).expect("a score");
        let timestamp = Timestamp::parse(document["timestamp"].as_str().expect("a time")).expect("a time");
        assert!(timestamp <= universe.clock.now(), "{timestamp} is in the future");
        assert!(sent.last().is_none_or(|last| timestamp >= *last + SECOND), "{timestamp} after {sent:?}");
        sent.push(timestamp);
    }
}

/// Two grades of one cell with a jump back between them, without and with times of their own: the later one is the newer
/// one, and reaches the gradebook.
#[tokio::test(start_paused = true)]
async fn a_grade_that_comes_after_a_jump_back_is_still_the_newer_one() {
    for stamped in [false, true] {
        let universe = Universe::started(exact());
        tokio::time::sleep(SECOND).await;
        let event = |score: u32, secs: i64| {
            let mut event = lti11(HOST, 1, score);
            if stamped {
                event["occurred_at"] = json!((Timestamp::from_secs(EPOCH.as_secs() + secs)).to_string());
            }
            event
        };
        let first = universe.submit(&event(3, 0)).await;
        tokio::time::sleep(60 * SECOND).await;
        universe.clock.set_by(-HOUR_SECS);
        // The sender's clock is right: for it a minute has passed.
        let second = universe.submit(&event(9, 60)).await;
        tokio::time::sleep(2 * SECOND).await;
        for id in [first, second] {
            assert_eq!(universe.job(id).state_name(), StateName::Delivered, "stamped: {stamped}");
        }
        let last = universe.lms.seen(HOST).pop().expect("a request").body;
        assert!(last.contains("<textString>0.9</textString>"), "{last}");
    }
}

/// A change of state waits behind a grade when the clock goes back; it follows the grade, and not an hour later.
#[tokio::test(start_paused = true)]
async fn what_waits_behind_another_comes_along() {
    let universe = Universe::started(exact());
    universe.lms.set(HOST, Mood::Says(400), LATENCY);
    let grade = universe.submit(&ags(HOST, 1, 8)).await;
    let mut state = ags(HOST, 1, 8);
    state["event_id"] = json!("a change of state");
    state["activity_progress"] = json!("Submitted");
    for member in ["score", "max_score"] {
        state.as_object_mut().expect("an object").remove(member);
    }
    let state = universe.submit(&state).await;
    let failed = |universe: &Universe| universe.job(grade).tries == 1;
    universe.until("the failure", SECOND / 10, 10 * SECOND, failed).await;
    universe.clock.set_by(-HOUR_SECS);
    universe.lms.set(HOST, Mood::Well, LATENCY);
    // The grade's own timestamp is from before the jump, so both wait for that hour; and for no second hour.
    let done = |universe: &Universe| universe.job(state).state_name() == StateName::Delivered;
    let waited = universe.until("both", SECOND, 2 * HOUR, done).await;
    assert_eq!(universe.job(grade).state_name(), StateName::Delivered);
    assert!(waited <= HOUR + 5 * SECOND, "{waited:?}");
}
