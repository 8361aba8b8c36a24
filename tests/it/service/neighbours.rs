//! One dead, one slow and one rate-limited platform among twenty healthy ones, on the whole program: every healthy grade
//! is delivered while the jobs of the three still wait, and what a healthy grade takes is printed, with the three and
//! without. That it does not move is proven to the millisecond on virtual time; here a machine's noise is in it.
//!
//! `tests/campaign neighbours [N]` puts N grades through each healthy platform.

use std::time::Duration;

use passback::{
    domain::time::Timestamp,
    simulator::{Fault, FaultKind, Route, SimulatedLms},
};
use serde_json::{Value, json};

use super::{
    delivery::{lms, lti11, settings, signing_key},
    worker::{Worker, free_address, wait_for},
};

const HEALTHY: usize = 20;

/// Grades for each healthy platform.
fn grades() -> usize {
    std::env::var("PASSBACK_NEIGHBOURS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// What the healthy grades took, from stored to delivered, in milliseconds, in order.
async fn load(with_the_sick: bool) -> Vec<u64> {
    let healthy = futures_util::future::join_all((0..HEALTHY).map(|_| lms())).await;
    let (slow, limited) = (lms().await, lms().await);
    slow.set_fault(Route::Lti11, Fault::always(FaultKind::Delay { ms: 20_000 })).expect("a fault");
    let limit = FaultKind::Status { code: 429, body: None, retry_after: Some("2".into()) };
    limited.set_fault(Route::Lti11, Fault::always(limit)).expect("a fault");
    let config = settings(&healthy[0], &signing_key());
    let mut worker = Worker::started(&config).await;
    let dead = free_address();
    let mut ids = Vec::new();
    let mut sick = 0;
    for round in 0..grades() {
        let mut events: Vec<Value> = healthy.iter().map(|lms| lti11(lms, &format!("h{round}"), 8)).collect();
        if with_the_sick {
            let mut to_the_dead = lti11(&slow, &format!("d{round}"), 8);
            to_the_dead["lis_data"]["lis_outcome_service_url"] = json!(format!("http://{dead}/outcomes"));
            events.extend([
                to_the_dead,
                lti11(&slow, &format!("s{round}"), 8),
                lti11(&limited, &format!("l{round}"), 8),
            ]);
            sick += 3;
        }
        ids.extend(worker.submit(&events.into()).await.into_iter().take(HEALTHY));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut took = Vec::with_capacity(ids.len());
    for id in &ids {
        took.push(took_ms(&worker.job_in(id, "delivered").await));
    }
    if with_the_sick {
        let counts = worker.counts().await.expect("counts");
        assert!(
            counts["queued"].as_u64().is_some_and(|queued| queued > sick / 2),
            "the three are still sick: {counts}"
        );
    }
    stop(&mut worker, &slow).await;
    took.sort_unstable();
    took
}

async fn stop(worker: &mut Worker, slow: &SimulatedLms) {
    slow.clear_faults();
    worker.kill();
    wait_for("the worker to be gone", async || worker.counts().await.is_none().then_some(())).await;
}

fn took_ms(job: &Value) -> u64 {
    let time = |name: &str| Timestamp::parse(job[name].as_str().expect("a time")).expect("a time");
    time("delivered_at").as_millis() - time("created_at").as_millis()
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_platforms_get_their_grades_beside_three_sick_ones() {
    for with_the_sick in [false, true] {
        let took = load(with_the_sick).await;
        assert_eq!(took.len(), HEALTHY * grades());
        println!(
            "neighbours: {} grades to {HEALTHY} healthy platforms, {}: p50 {} ms, p99 {} ms, most {} ms",
            took.len(),
            if with_the_sick { "with one dead, one slow and one limited" } else { "alone" },
            percentile(&took, 50),
            percentile(&took, 99),
            percentile(&took, 100),
        );
    }
}
