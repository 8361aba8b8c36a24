//! A thousand confirmed events, ten kills: nothing is lost, and every gradebook cell shows the newest grade. And a disk
//! that is full.

use std::collections::HashMap;

use passback::{
    adapters::amqp::{self, Message, Publisher},
    simulator::{Cell, Fault, FaultKind, Route},
};
use serde_json::{Value, json};

use super::{
    broker::{Broker, unique},
    delivery::{lms, lti11, settings, signing_key},
    worker::{LOCAL, Worker, wait_for},
};

const EVENTS: usize = 1_000;
const KILLS: usize = 10;
/// Each of them gets several grades, one after another.
const STUDENTS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_and_ten_kills_lose_nothing() {
    let broker = Broker::shared();
    let lms = lms().await;
    // Replies get lost on the way too, and every platform fails now and then.
    let faults = vec![
        Fault { kind: FaultKind::AcceptThenCut, times: None, every: 17 },
        Fault { kind: FaultKind::Status { code: 500, body: None, retry_after: None }, times: None, every: 23 },
    ];
    lms.set_faults(Route::Lti11, faults).expect("faults");
    let queue = unique("crashes");
    let amqp = format!("[amqp]\nurl = \"{}\"\nqueues = [\"{queue}\"]\nprefetch = 64\n", broker.url());
    let mut worker = Worker::started(&format!("{}{amqp}", settings(&lms, &signing_key()))).await;
    let options = amqp::Options { queues: vec![queue], ..amqp::Options::at(broker.url()) };
    let publisher = Publisher::connect(&options).await.expect("a connection");
    let mut newest = HashMap::new();
    for round in 0..KILLS {
        let batch: Vec<Message> = (0..EVENTS / KILLS)
            .map(|n| {
                let number = round * (EVENTS / KILLS) + n;
                let student = format!("student-{}", number % STUDENTS);
                let score = u32::try_from(number % 11).expect("small");
                newest.insert(student.clone(), score);
                event(&lms, &student, score, number)
            })
            .collect();
        assert_eq!(publisher.publish(batch).await.expect("all are confirmed"), EVENTS / KILLS);
        // Killed in the middle of the work: some of the batch is stored, some is not.
        wait_for("some of the batch to be stored", async || {
            let stored = total(&worker.counts().await?);
            (stored > round * (EVENTS / KILLS)).then_some(())
        })
        .await;
        worker.kill();
        worker.start().await;
    }
    let counts = wait_for("every event to come to an end", async || {
        let counts = worker.counts().await?;
        (total(&counts) >= EVENTS && counts["queued"] == 0).then_some(counts)
    })
    .await;
    assert_eq!(total(&counts), EVENTS, "each event is one job: {counts}");
    for (student, score) in newest {
        let grade = lms.grade(&Cell::lti11(&student)).unwrap_or_else(|| panic!("{student} has no grade"));
        let shown = grade.score / grade.maximum;
        assert!((shown - f64::from(score) / 10.0).abs() < 1e-9, "{student}: sent {score}, shown {shown}: {counts}");
    }
    assert_eq!(counts["flagged"], 0, "{counts}");
}

/// A disk that takes no more: nothing is acknowledged that is not stored, reading goes on, everybody who looks is told;
/// and when there is room again, all that was acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_loud_and_loses_nothing() {
    let mut worker = Worker::new(LOCAL);
    worker.start_on_a_small_disk(6 * 1024).await;
    let mut acknowledged = Vec::new();
    let refused = wait_for("the disk to be full", async || {
        let number = acknowledged.len();
        let event = json!({
            "session_id": format!("s-{number}"), "event_id": format!("e-{number}"), "score": 8, "max_score": 10,
            "metadata": "x".repeat(30_000),
            "lis_data": {
                "lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": format!("c-{number}"),
                "oauth_consumer_key": "nobody",
            },
        });
        match worker.post("/v1/events", &event).await {
            (202, answer) => {
                acknowledged.push(answer["events"][0]["id"].as_str().expect("an id").to_owned());
                None
            }
            (status, problem) => Some((status, problem)),
        }
    })
    .await;
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert!(acknowledged.len() > 10, "{} events fitted", acknowledged.len());
    let (status, missing) = worker.get_open("/readyz").await;
    assert_eq!((status, missing.contains("store")), (503, true), "{missing}");
    let (_, metrics) = worker.get_open("/metrics").await;
    assert!(metrics.contains("passback_store_healthy 0"), "the metric says so");
    assert!(worker.log().contains("store"), "the log says so");
    assert_eq!(worker.get(&format!("/api/v1/jobs/{}", acknowledged[0])).await["id"], acknowledged[0].as_str());
    assert_eq!(worker.get_open("/healthz").await.0, 200);
    worker.kill();
    worker.start().await;
    for id in &acknowledged {
        assert_eq!(worker.get(&format!("/api/v1/jobs/{id}")).await["id"], id.as_str());
    }
    let (status, _) = worker.get_open("/readyz").await;
    assert_eq!(status, 200);
}

fn event(lms: &passback::simulator::SimulatedLms, student: &str, score: u32, number: usize) -> Message {
    let mut event = lti11(lms, student, score);
    event["event_id"] = format!("event-{number}").into();
    // The order of the session's states, so that a redelivery that comes late is known to be late.
    event["occurred_at"] =
        format!("2026-01-01T{:02}:{:02}:{:02}Z", number / 3600, number / 60 % 60, number % 60).into();
    Message { body: event.to_string().into_bytes(), ..Message::default() }
}

fn total(counts: &Value) -> usize {
    let counts = counts.as_object().expect("counts").values();
    counts.map(|count| usize::try_from(count.as_u64().expect("a count")).expect("small")).sum()
}
