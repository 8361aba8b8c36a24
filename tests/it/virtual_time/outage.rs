//! An outage of hours with ten thousand jobs waiting: none burnt, no stampede when the platform returns; and rate limits,
//! which rest a platform as a whole.

use std::time::Duration;

use passback::domain::{
    job::{Job, StateName},
    notice::{Notice, PlatformState},
    outcome::{AttemptOutcome, FailureReason},
    retry::RetryPolicy,
};

use super::{
    lms::{LATENCY, Mood, Seen},
    universe::{Universe, lti11},
};

const SICK: &str = "sick.example.edu";
const WELL: &str = "well.example.edu";
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// `[delivery] per_platform`.
const PER_PLATFORM: usize = 16;

async fn submit(universe: &Universe, host: &str, students: usize) {
    for student in 0..students {
        universe.submit(&lti11(host, student, 8)).await;
    }
}

fn jobs_of(universe: &Universe, host: &str) -> Vec<Job> {
    let mut jobs = universe.store.jobs();
    jobs.retain(|job| job.origin.host() == host);
    jobs
}

/// The tries that the jobs of a platform have used up, in all.
fn burnt(universe: &Universe, host: &str) -> u32 {
    jobs_of(universe, host).iter().map(|job| job.tries).sum()
}

/// When a platform changed to a state.
fn changes(told: &[(Duration, Notice)], host: &str, to: PlatformState) -> Vec<Duration> {
    let is_it = |notice: &Notice| matches!(notice, Notice::Platform { origin, state, .. } if origin.host() == host && *state == to);
    told.iter().filter(|(_, notice)| is_it(notice)).map(|(at, _)| *at).collect()
}

/// A platform that comes back gets one request at a time, then two, four, …: never more than a success each has earned.
fn assert_slow_start(seen: &[Seen]) {
    for request in seen {
        // The probe's success opens the hold with room for one; each success after that doubles it.
        let earned = 1_usize << request.successes.saturating_sub(1).min(4);
        assert!(request.at_work <= earned, "{} at work after {} successes", request.at_work, request.successes);
    }
    let most = seen.iter().map(|request| request.at_work).max();
    assert_eq!(most, Some(PER_PLATFORM), "it comes to its full room in the end");
}

/// Times that a timer of whole milliseconds keeps.
#[track_caller]
fn assert_about(got: Duration, want: Duration) {
    assert!(got >= want && got <= want + Duration::from_millis(2), "{got:?} instead of {want:?}");
}

/// Six hours of outage. What was under way when the platform was held has lost one try, and nothing else has.
async fn survive_six_hours(mood: Mood, latency: Duration, students: usize, reason: FailureReason) {
    let universe = Universe::started(RetryPolicy::default());
    universe.lms.set(SICK, mood, latency);
    submit(&universe, SICK, students).await;
    for student in 0..6 * 60 {
        universe.submit(&lti11(WELL, student, 8)).await;
        tokio::time::sleep(60 * SECOND).await;
    }
    let told = universe.told();
    let held = changes(&told, SICK, PlatformState::Held);
    assert_eq!((held.len(), changes(&told, SICK, PlatformState::Open).len()), (1, 0), "held once, and all the time");
    assert_probes(&universe.lms.seen(SICK), held[0], latency);
    let jobs = jobs_of(&universe, SICK);
    assert!(jobs.iter().all(|job| job.state_name() == StateName::Queued && job.tries <= 1));
    assert!(burnt(&universe, SICK) as usize <= PER_PLATFORM, "{} tries were burnt", burnt(&universe, SICK));
    assert!(jobs.iter().flat_map(|job| &job.attempts).all(|attempt| attempt.outcome == AttemptOutcome::Failed(reason)));
    let other = told.iter().filter_map(|(_, notice)| match notice {
        Notice::Delivered { about, latency } if about.origin.host() == WELL => Some(*latency),
        _ => None,
    });
    assert_eq!(other.clone().count(), 360);
    other.for_each(|latency| assert_about(latency, LATENCY));

    let asked = universe.lms.seen(SICK).len();
    universe.lms.set(SICK, Mood::Well, LATENCY);
    let is_done = |universe: &Universe| universe.count(StateName::Delivered) == students + 360;
    let took = universe.until("every grade to be delivered", SECOND, HOUR, is_done).await;
    let seen = &universe.lms.seen(SICK)[asked..];
    assert_slow_start(seen);
    assert_eq!(seen.len(), students, "each grade is sent once");
    assert!(burnt(&universe, SICK) as usize <= PER_PLATFORM + students, "a delivery is a try, a probe was none");
    // Five minutes for the probe at the most; sixteen at a time after that.
    let pace = LATENCY * u32::try_from(students / PER_PLATFORM).expect("small");
    assert!(took <= 301 * SECOND + pace * 2, "{took:?}");
}

/// After the one that failed, 30 s, 120 s, then every five minutes, one at a time.
fn assert_probes(seen: &[Seen], held: Duration, latency: Duration) {
    let probes: Vec<&Seen> = seen.iter().filter(|request| request.at > held).collect();
    assert!(probes.len() >= 6 * 3600 / 330, "{} probes", probes.len());
    let mut ended = held;
    for (number, probe) in probes.iter().enumerate() {
        let wait = [30, 120].get(number).map_or(300 * SECOND, |wait| *wait * SECOND);
        assert_about(probe.at, ended + wait);
        assert_eq!(probe.at_work, 1);
        ended = probe.at + latency;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_jobs_wait_for_hours_and_none_is_burnt() {
    survive_six_hours(Mood::Refuses, Duration::ZERO, 10_000, FailureReason::Connection).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_5xx_burns_none_either() {
    survive_six_hours(Mood::Says(503), Duration::from_millis(20), 500, FailureReason::ServerError).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_silence_burns_none_either() {
    survive_six_hours(Mood::Silent, Duration::from_secs(30), 500, FailureReason::Timeout).await;
}

/// Restarts and crashes in the middle of an outage: the hold is remembered, and its beginning too.
#[tokio::test(start_paused = true)]
async fn a_hold_survives_restarts_and_crashes() {
    let mut universe = Universe::started(RetryPolicy::default());
    universe.lms.set(SICK, Mood::Refuses, Duration::ZERO);
    submit(&universe, SICK, 300).await;
    tokio::time::sleep(HOUR).await;
    let since = universe.handle().look().await.expect("a picture").platforms[0].since;
    let before = burnt(&universe, SICK);
    for round in 0..6 {
        if round % 2 == 0 {
            universe.stop().await;
        } else {
            universe.crash().await;
        }
        tokio::time::sleep(60 * SECOND).await;
        universe.start();
        tokio::time::sleep(HOUR).await;
        let picture = universe.handle().look().await.expect("a picture");
        assert_eq!((picture.platforms[0].state, picture.platforms[0].since), (PlatformState::Held, since));
    }
    assert_eq!(burnt(&universe, SICK), before, "none was tried at its own cost");
    universe.lms.set(SICK, Mood::Well, LATENCY);
    let asked = universe.lms.seen(SICK).len();
    let is_done = |universe: &Universe| universe.count(StateName::Delivered) == 300;
    universe.until("every grade to be delivered", SECOND, HOUR, is_done).await;
    assert_slow_start(&universe.lms.seen(SICK)[asked..]);
}

/// `[retry] hold` is over: the jobs are tried like any others, six times each, and flagged; none before.
#[tokio::test(start_paused = true)]
async fn a_hold_that_lasts_too_long_lets_its_jobs_be_tried_and_flagged() {
    let hold = 2 * HOUR;
    let universe = Universe::started(RetryPolicy { hold, ..RetryPolicy::default() });
    universe.lms.set(SICK, Mood::Refuses, Duration::ZERO);
    submit(&universe, SICK, 80).await;
    tokio::time::sleep(hold).await;
    assert_eq!((universe.count(StateName::Queued), universe.count(StateName::Flagged)), (80, 0));
    // The five waits of the schedule, the jitter at its worst: 30, 120, 480, 1920 and 7680 s.
    let most = Duration::from_secs((30 + 120 + 480 + 1_920 + 7_680) * 12 / 10) + 60 * SECOND;
    let is_done = |universe: &Universe| universe.count(StateName::Flagged) == 80;
    universe.until("every job to be flagged", 10 * SECOND, most, is_done).await;
    for job in jobs_of(&universe, SICK) {
        assert_eq!((job.tries, job.reason), (6, Some(FailureReason::Connection)));
        assert_eq!(job.attempts.iter().filter(|attempt| attempt.counted).count(), 6);
    }
    // It is held all the while, and one success is enough to open it.
    universe.lms.set(SICK, Mood::Well, LATENCY);
    let id = universe.submit(&lti11(SICK, 1_000, 8)).await;
    let is_delivered = |universe: &Universe| universe.job(id).state_name() == StateName::Delivered;
    universe.until("a new grade to be delivered", SECOND, 10 * SECOND, is_delivered).await;
    assert_eq!(changes(&universe.told(), SICK, PlatformState::Open).len(), 1);
}

/// A 429 rests the platform as a whole: nothing more is sent until its `Retry-After`, and then it starts slowly. Jobs
/// that only wait lose no try, and the others' deliveries go on.
async fn rest(asked: Option<u32>, waits: &[u64]) {
    let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
    let universe = Universe::started(policy);
    universe.lms.set(SICK, Mood::Limits(asked), LATENCY);
    submit(&universe, SICK, 600).await;
    // The first sixteen are under way together; all of them are told.
    tokio::time::sleep(LATENCY + Duration::from_millis(2)).await;
    assert_eq!((universe.lms.seen(SICK).len(), burnt(&universe, SICK)), (PER_PLATFORM, 16));
    for (number, wait) in waits.iter().enumerate() {
        let came_before = universe.lms.seen(SICK);
        let last = came_before.last().expect("a request").at + LATENCY;
        universe.submit(&lti11(WELL, number, 8)).await;
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(*wait) - SECOND).await;
        assert_eq!(universe.lms.seen(SICK).len(), came_before.len(), "nothing is sent while it rests");
        assert_eq!(universe.count(StateName::Delivered), number + 1, "others are not concerned");
        let more = |universe: &Universe| universe.lms.seen(SICK).len() > came_before.len();
        universe.until("it to be asked again", Duration::from_millis(10), 3 * SECOND, more).await;
        let seen = universe.lms.seen(SICK);
        assert_eq!((seen.len(), seen.last().map(|seen| seen.at_work)), (came_before.len() + 1, Some(1)));
        let waited = seen.last().expect("a request").at.saturating_sub(last);
        assert!(
            waited.abs_diff(Duration::from_secs(*wait)) <= 3 * Duration::from_millis(1),
            "{waited:?} and not {wait} s"
        );
        tokio::time::sleep(LATENCY + Duration::from_millis(2)).await;
    }
    assert_eq!(burnt(&universe, SICK) as usize, 16 + waits.len());
    universe.lms.set(SICK, Mood::Well, LATENCY);
    let asked = universe.lms.seen(SICK).len();
    let is_done = |universe: &Universe| universe.count(StateName::Delivered) == 600 + waits.len();
    universe.until("every grade to be delivered", SECOND, 10 * HOUR, is_done).await;
    let seen = &universe.lms.seen(SICK)[asked..];
    for request in seen {
        assert!(request.at_work <= 1 << request.successes.min(4), "{request:?}");
    }
    assert_eq!(seen.iter().map(|seen| seen.at_work).max(), Some(PER_PLATFORM));
    assert!(universe.store.jobs().iter().all(|job| job.tries <= 1 + 1 + u32::try_from(waits.len()).expect("small")));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_rests_the_whole_platform_until_its_retry_after() {
    rest(Some(90), &[90, 90, 90]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_without_a_time_rests_a_step_longer_each_time() {
    rest(None, &[30, 120, 480, 1_920]).await;
}
