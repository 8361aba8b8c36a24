//! One platform dead, one slow, one rate limited, among twenty healthy ones under load: the latency of each healthy grade
//! is the same, to the millisecond, as it is without the three.

use std::{collections::BTreeMap, time::Duration};

use passback::domain::{
    dispatch::Limits,
    job::{JobId, StateName},
    notice::Notice,
    retry::RetryPolicy,
};

use super::{
    lms::Mood,
    universe::{Universe, limits, lti11},
};

const HEALTHY: usize = 20;
const SECOND: Duration = Duration::from_secs(1);

/// Each healthy platform takes its own time, from 20 to 400 ms.
fn latency(platform: usize) -> Duration {
    Duration::from_millis(20 + 20 * platform as u64)
}

/// Which platforms are there besides the healthy ones.
#[derive(Clone, Copy, PartialEq)]
enum Neighbours {
    None,
    Three,
}

/// Forty seconds of load: each 100 ms a grade for one healthy platform after the other, and for each sick one. The latency
/// of each healthy grade, by its student.
async fn load(neighbours: Neighbours, limits: Limits) -> BTreeMap<usize, Duration> {
    let universe = Universe::started_with(limits);
    for platform in 0..HEALTHY {
        universe.lms.set(&format!("lms{platform}.example.edu"), Mood::Well, latency(platform));
    }
    universe.lms.set("dead.example.edu", Mood::Silent, Duration::ZERO);
    universe.lms.set("slow.example.edu", Mood::Well, 25 * SECOND);
    universe.lms.set("limited.example.edu", Mood::Limits(Some(5)), Duration::from_millis(100));
    let mut healthy: BTreeMap<JobId, usize> = BTreeMap::new();
    for number in 0..400 {
        if neighbours == Neighbours::Three {
            for host in ["dead.example.edu", "slow.example.edu", "limited.example.edu"] {
                universe.submit(&lti11(host, number, 8)).await;
            }
        }
        // Ten at once to every platform now and then, else one grade to each third.
        let burst = number % 100 == 99;
        for platform in (0..HEALTHY).filter(|platform| burst || (platform + number) % 3 == 0) {
            for copy in 0..if burst { 10 } else { 1 } {
                let student = number * 1_000 + platform * 10 + copy;
                let host = format!("lms{platform}.example.edu");
                healthy.insert(universe.submit(&lti11(&host, student, 8)).await, student);
            }
        }
        tokio::time::sleep(SECOND / 10).await;
    }
    tokio::time::sleep(2 * SECOND).await;
    let told = universe.told();
    let latencies = told.iter().filter_map(|(_, notice)| match notice {
        Notice::Delivered { about, latency } => Some((*healthy.get(&about.job)?, *latency)),
        _ => None,
    });
    let latencies: BTreeMap<usize, Duration> = latencies.collect();
    assert_eq!(latencies.len(), healthy.len(), "every healthy grade is delivered");
    if neighbours == Neighbours::Three {
        // The sick ones are really there, and their jobs wait.
        assert!(universe.count(StateName::Queued) > 400, "{}", universe.count(StateName::Queued));
        assert_eq!(universe.lms.seen("slow.example.edu").iter().map(|seen| seen.at_work).max(), Some(16));
        assert!(universe.lms.seen("dead.example.edu").len() < 40, "it is held");
        assert!(universe.lms.seen("limited.example.edu").len() < 100, "it rests");
    }
    latencies
}

/// The largest difference that the neighbours make to one grade.
async fn difference(limits: Limits) -> Duration {
    let alone = load(Neighbours::None, limits).await;
    let together = load(Neighbours::Three, limits).await;
    assert_eq!(alone.len(), together.len());
    let worst = alone.iter().map(|(student, latency)| latency.abs_diff(together[student])).max();
    worst.expect("grades")
}

#[tokio::test(start_paused = true)]
async fn one_dead_one_slow_and_one_limited_platform_delay_no_healthy_grade() {
    let worst = difference(limits(RetryPolicy::default())).await;
    assert!(worst <= Duration::from_millis(1), "a healthy grade took {worst:?} longer");
}
