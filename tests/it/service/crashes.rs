//! A thousand confirmed events, ten kills: nothing is lost, and every gradebook cell shows the newest grade.

use std::collections::HashMap;

use passback::{
    adapters::amqp::{self, Message, Publisher},
    simulator::{Cell, Fault, FaultKind, Route},
};
use serde_json::Value;

use super::{
    broker::{Broker, unique},
    delivery::{lms, lti11, settings, signing_key},
    worker::{Worker, wait_for},
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
