//! A disk that is full. What a kill leaves is in `kills`, what a power cut leaves in `power_cuts`.

use passback::{
    adapters::amqp::{self, Message, Publisher},
    simulator::{Cell, Fault, FaultKind, Route, SimulatedLms},
};
use serde_json::Value;

use super::{
    broker::{Broker, unique},
    delivery::{lms, lti11, settings, signing_key},
    worker::{Worker, wait_for},
};
use crate::small_disk::SmallDisk;

/// A disk that takes no more: nothing is acknowledged that is not stored, reading goes on, everybody who looks is told;
/// and when there is room again it goes on by itself, with all that was acknowledged and no attempt burnt.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_loud_and_goes_on_by_itself() {
    let (lms, broker) = (lms().await, Broker::shared());
    let queue = unique("full-disk");
    let amqp = format!("[amqp]\nurl = \"{}\"\nqueues = [\"{queue}\"]\nprefetch = 64\n", broker.url());
    let mut worker = Worker::new(&format!("{}{amqp}", settings(&lms, &signing_key())));
    let Some(disk) = SmallDisk::mount(&worker.folder().join("store"), 64) else { return };
    worker.start().await;
    // Attempts are under way when the disk fills up, and end before there is room.
    lms.set_faults(Route::Lti11, vec![Fault::always(FaultKind::Delay { ms: 1_500 })]).expect("faults");
    let slow: Vec<_> = (0..5).map(|number| lti11(&lms, &format!("slow-{number}"), 8)).collect();
    let mut ids = worker.submit(&slow.into()).await;
    wait_for("the attempts to be under way", async || {
        let (_, metrics) = worker.get_open("/metrics").await;
        metrics.contains("passback_inflight_attempts 5").then_some(())
    })
    .await;
    disk.fill();
    let refused = wait_for("the store to say no", async || {
        let event = lti11(&lms, &format!("posted-{}", ids.len()), 8);
        let (status, answer) = worker.post("/v1/events", &event).await;
        if status == 202 {
            ids.push(answer["events"][0]["id"].as_str().expect("an id").to_owned());
        }
        (status != 202).then_some((status, answer))
    })
    .await;
    assert_eq!(refused.0, 503, "{}", refused.1);
    is_shut_and_can_be_read(&worker, &ids[0]).await;
    let options = amqp::Options { queues: vec![queue.clone()], ..amqp::Options::at(broker.url()) };
    let publisher = Publisher::connect(&options).await.expect("a connection");
    let batch: Vec<_> = (0..50).map(|number| event(&lms, number)).collect();
    assert_eq!(publisher.publish(batch).await.expect("all are confirmed"), 50);
    wait_for("the events to stay in the queue", async || {
        let queues = broker.ctl(&["--silent", "list_queues", "name", "messages"]);
        // Its dead-letter queue has a name that begins with the same letters.
        let mut counts = queues.lines().filter_map(|line| line.split_once('\t'));
        counts.any(|(name, messages)| name == queue && messages.trim() == "50").then_some(())
    })
    .await;
    // The grades are there, and nobody can write it down.
    let last = Cell::lti11("slow-4");
    wait_for("the slow attempts to end", async || lms.grade(&last)).await;
    lms.set_faults(Route::Lti11, Vec::new()).expect("faults");
    is_shut_and_can_be_read(&worker, &ids[0]).await;
    disk.make_room();
    all_is_delivered(&worker, ids.len() + 50, &ids).await;
    assert!(worker.log().contains("the store takes writes again"), "the log says so");

    // And a start while the disk is full.
    disk.fill();
    worker.kill();
    worker.start().await;
    is_shut_and_can_be_read(&worker, &ids[0]).await;
    assert_eq!(worker.post("/v1/events", &lti11(&lms, "early", 8)).await.0, 503);
    disk.make_room();
    wait_for("the worker to be ready", async || (worker.get_open("/readyz").await.0 == 200).then_some(())).await;
    ids.extend(worker.submit(&lti11(&lms, "late", 8)).await);
    all_is_delivered(&worker, ids.len() + 50, &ids).await;
}

/// Everybody who looks is told that nothing is written, and can read on.
async fn is_shut_and_can_be_read(worker: &Worker, id: &str) {
    let (status, missing) = worker.get_open("/readyz").await;
    assert_eq!((status, missing.contains("the store takes no writes")), (503, true), "{missing}");
    let (_, metrics) = worker.get_open("/metrics").await;
    assert!(metrics.contains("passback_store_healthy 0"), "the metric says so");
    assert!(worker.log().contains("the store takes no writes"), "the log says so");
    assert_eq!(worker.get_open("/healthz").await.0, 200);
    // The files are opened anew once, right after the failure; in that moment a reader is asked to come again.
    let path = format!("/api/v1/jobs/{id}");
    wait_for("a job to be read", async || (worker.get(&path).await["id"] == id).then_some(())).await;
    let three = async || (worker.get("/api/v1/jobs?limit=3").await["jobs"].as_array()?.len() == 3).then_some(());
    wait_for("jobs to be listed", three).await;
    assert!(worker.counts().await.is_some());
}

/// Every job is delivered by one attempt, and nothing stays under way.
async fn all_is_delivered(worker: &Worker, count: usize, some: &[String]) {
    let counts = wait_for("every event to be delivered", async || {
        let counts = worker.counts().await?;
        (counts["delivered"] == count).then_some(counts)
    })
    .await;
    assert_eq!(total(&counts), count, "each event is one job: {counts}");
    let (status, ready) = worker.get_open("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    for id in some {
        let job = worker.get(&format!("/api/v1/jobs/{id}")).await;
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "no attempt was burnt: {job}");
    }
}

fn event(lms: &SimulatedLms, number: usize) -> Message {
    let mut event = lti11(lms, &format!("published-{number}"), 7);
    event["event_id"] = format!("event-{number}").into();
    Message { body: event.to_string().into_bytes(), ..Message::default() }
}

fn total(counts: &Value) -> usize {
    let counts = counts.as_object().expect("counts").values();
    counts.map(|count| usize::try_from(count.as_u64().expect("a count")).expect("small")).sum()
}
