//! A bulk replay of half of the flagged jobs across a kill -9, and what keeps a worker busy.

use std::path::Path;

use passback::ports::Clock as _;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::{events::event, filling::Lms, programs::Worker};

/// Longer than any of it takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Posts events for the LMS for as long as it is asked, a hundred at a time.
pub(super) async fn keep_busy(worker: &Worker, lms: &Lms) {
    let run = passback::adapters::clock::SystemClock.now().as_secs();
    for first in (0..).step_by(100) {
        let lines: Vec<String> = (first..first + 100).map(|number| event(number, &lms.outcomes)).collect();
        worker
            .post(
                "/v1/events",
                lines
                    .join("\n")
                    .replace("student-", &format!("student-of-{run}-"))
                    .replace("event-", &format!("event-{run}-")),
            )
            .await;
        sleep(Duration::from_millis(50)).await;
    }
}

/// Replays, kills half-way, goes on, and compares every number.
pub(super) async fn replay(worker: &mut Worker, folder: &Path, lms: &Lms) {
    let before = counts(worker).await;
    let group = json(worker, "/api/v1/groups?state=flagged").await["groups"][0].clone();
    let wanted = group["count"].as_u64().expect("a count");
    println!("\nreplay in the background of {wanted} flagged jobs: {} {}", group["platform"], group["reason"]);
    let wish = json!({
        "filter": {"platform": group["platform"], "reason": group["reason"]}, "background": true, "note": "the secret is right now",
    });
    for filter in [json!({}), wish["filter"].clone(), json!({"reason": "tls"})] {
        let began = Instant::now();
        let would = worker.post("/api/v1/replay", json!({"filter": filter, "dry_run": true}).to_string()).await;
        println!("  dry run of {filter}: {would} in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    }
    let began = Instant::now();
    let task: Value = serde_json::from_str(&worker.post("/api/v1/replay", wish.to_string()).await).expect("JSON");
    let path = format!("/api/v1/replays/{}", task["id"].as_str().expect("an id"));
    let half = until(worker, &path, |task| task["matched"].as_u64() >= Some(wanted / 2)).await;
    println!(
        "  kill -9 after {:.1} s: {} of {} replayed",
        began.elapsed().as_secs_f64(),
        half["matched"],
        half["total"]
    );
    worker.program.kill();
    let start = Instant::now();
    *worker = Worker::start(folder, &lms.settings());
    worker.wait_until_ready().await;
    println!("  ready again in {:.2} s", start.elapsed().as_secs_f64());
    let done = until(worker, &path, |task| task["state"] == "done").await;
    println!("  done {:.1} s after it began: {done}", began.elapsed().as_secs_f64());
    let delivered = before["delivered"].as_u64().unwrap_or(0) + wanted;
    worker.wait_until("delivered", usize::try_from(delivered).unwrap_or(usize::MAX)).await;
    let after = counts(worker).await;
    println!("  all delivered {:.1} s after it began; before {before}, after {after}", began.elapsed().as_secs_f64());
    println!("  {:.0} MiB peak", worker.program.peak_mib());
    let number = |name: &str| done[name].as_u64().expect("a number");
    assert_eq!(
        (number("total"), number("matched"), number("replayed"), number("skipped")),
        (wanted, wanted, wanted, 0)
    );
    assert_eq!(after["flagged"].as_u64(), before["flagged"].as_u64().map(|flagged| flagged - wanted));
    let audit = json(worker, "/api/v1/audit").await;
    let entries = audit["entries"].as_array().expect("entries");
    assert_eq!(entries.iter().filter(|entry| entry["count"].as_u64() == Some(wanted)).count(), 1, "{audit}");
    let told = told(worker, &path).await;
    assert_eq!((told.len() as u64, told.is_sorted_by(|newer, older| newer > older)), (wanted, true), "each job once");
}

/// The jobs of a bulk change, as it tells of them.
async fn told(worker: &Worker, path: &str) -> Vec<String> {
    let (mut told, mut waiting, mut cursor, mut longest) = (Vec::new(), 0, String::new(), Duration::ZERO);
    loop {
        let began = Instant::now();
        let page = json(worker, &format!("{path}/jobs?limit=50{cursor}")).await;
        longest = longest.max(began.elapsed());
        for entry in page["jobs"].as_array().expect("jobs") {
            assert_eq!(entry["result"], "replayed", "{entry}");
            // An attempt that the kill cut off is made again by the schedule.
            let state = entry["job"]["state"].as_str().unwrap_or_default();
            assert!(state == "delivered" || state == "queued", "{entry}");
            waiting += usize::from(state == "queued");
            told.push(entry["id"].as_str().expect("an id").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    println!(
        "  {} jobs are told of, {waiting} wait for another attempt; the slowest page took {longest:?}",
        told.len()
    );
    told
}

async fn until(worker: &Worker, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let (began, mut busiest) = (Instant::now(), 0.0_f64);
    loop {
        let seen = json(worker, path).await;
        busiest = busiest.max(worker.metric("passback_inflight_attempts").await);
        if is_so(&seen) {
            println!("  at most {busiest} attempts under way");
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "{seen}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn counts(worker: &Worker) -> Value {
    json(worker, "/api/v1/stats").await["jobs"].clone()
}

async fn json(worker: &Worker, path: &str) -> Value {
    serde_json::from_str(&worker.get(path).await.expect("it answers")).expect("JSON")
}
