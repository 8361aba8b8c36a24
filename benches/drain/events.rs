//! The events of the load run: LTI 1.1, a cell for each, about a kilobyte, the same ones for everybody.

use passback::adapters::amqp::{Message, Options, Publisher};
use serde_json::json;

/// The consumer key of the simulated LMS, and its secret.
pub(super) const KEY: &str = "demo-key";
pub(super) const SECRET: &str = "demo-secret";

/// One event, for the outcome service at `url`.
pub(super) fn event(number: usize, url: &str) -> String {
    let event = json!({
        "event_id": format!("event-{number}"),
        "session_id": format!("session-{number}"),
        "user_id": format!("student-{number}"),
        "activity_id": "quiz-1",
        "score": number % 11,
        "max_score": 10,
        "occurred_at": "2026-11-21T10:30:00Z",
        "metadata": "x".repeat(600),
        "lis_data": {
            "lis_outcome_service_url": url,
            "lis_result_sourcedid": format!("course-1:quiz-1:student-{number}"),
            "oauth_consumer_key": KEY,
        },
    });
    event.to_string()
}

/// The outcome service of an event: the LMS listens on every address of the loopback, and each is a platform.
pub(super) fn outcomes_of(number: usize, outcomes: &str, platforms: usize) -> String {
    outcomes.replace("0.0.0.0", &format!("127.0.0.{}", 1 + number % platforms))
}

/// Puts so many events into a queue, each confirmed.
pub(super) async fn publish(amqp: &str, queue: &str, count: usize, outcomes: &str, platforms: usize) {
    let options = Options { queues: vec![queue.to_owned()], ..Options::at(amqp) };
    let publisher = Publisher::connect(&options).await.expect("a connection");
    let messages = (0..count).map(|number| {
        let body = event(number, &outcomes_of(number, outcomes, platforms)).into_bytes();
        Message { body, ..Message::default() }
    });
    publisher.publish(messages).await.expect("all are confirmed");
    publisher.close().await;
}
