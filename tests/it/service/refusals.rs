//! Every event that can never become a job, in one table: refused over HTTP with the field named, and over AMQP into the
//! dead-letter queue with the field in a header. Nothing is dropped in silence.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use passback::adapters::amqp::{self, Message, Publisher};
use serde_json::{Value, json};

use super::{
    broker::{Broker, unique},
    worker::{LOCAL, Worker, client, wait_for},
};

/// What is wrong, the event, and the field that is named.
fn table() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut rows: Vec<(&'static str, Vec<u8>, &'static str)> = vec![
        ("no JSON", b"not json".to_vec(), "event"),
        ("broken JSON", br#"{"session_id":"#.to_vec(), "event"),
        ("an array", b"[1]".to_vec(), "event"),
        ("a name that steers", br#"{"a\r\nb\u001b[2J": 1, "a\r\nb\u001b[2J": 2}"#.to_vec(), "a\\u{d}\\u{a}b\\u{1b}[2J"),
        ("no UTF-8", b"{\"session_id\":\"\xff\"}".to_vec(), "event"),
    ];
    let mut wrong = |what, field, change: fn(&mut Value)| {
        let mut event = json!({
            "session_id": "s", "score": 8, "max_score": 10,
            "lis_data": {"lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": "x", "oauth_consumer_key": "k"},
        });
        change(&mut event);
        rows.push((what, event.to_string().into_bytes(), field));
    };
    wrong("no session", "session_id", |e| remove(e, "session_id"));
    wrong("an empty session", "session_id", |e| e["session_id"] = "".into());
    wrong("a session that is a number", "session_id", |e| e["session_id"] = 7.into());
    wrong("a control character", "session_id", |e| e["session_id"] = "a\u{0}b".into());
    wrong("an event_id that is a number", "event_id", |e| e["event_id"] = 7.into());
    wrong("no lis_data", "lis_data", |e| remove(e, "lis_data"));
    wrong("lis_data that is a string", "lis_data", |e| e["lis_data"] = "x".into());
    wrong("no route", "lis_data.lis_outcome_service_url", |e| e["lis_data"] = json!({}));
    wrong("an unknown version", "lis_data.lti_version", |e| e["lis_data"]["lti_version"] = "2.0".into());
    wrong("a version that is a number", "lis_data.lti_version", |e| e["lis_data"]["lti_version"] = 1.3.into());
    wrong("no sourcedid", "lis_data.lis_result_sourcedid", |e| remove(&mut e["lis_data"], "lis_result_sourcedid"));
    wrong("a sourcedid XML cannot carry", "lis_data.lis_result_sourcedid", |e| {
        e["lis_data"]["lis_result_sourcedid"] = "a\u{1}".into();
    });
    wrong("no consumer key", "lis_data.oauth_consumer_key", |e| remove(&mut e["lis_data"], "oauth_consumer_key"));
    wrong("a relative URL", "lis_data.lis_outcome_service_url", |e| {
        e["lis_data"]["lis_outcome_service_url"] = "/o".into();
    });
    wrong("a URL of another scheme", "lis_data.lis_outcome_service_url", |e| {
        e["lis_data"]["lis_outcome_service_url"] = "file:///etc/passwd".into();
    });
    wrong("a URL with a password", "lis_data.lis_outcome_service_url", |e| {
        e["lis_data"]["lis_outcome_service_url"] = "https://u:p@lms.example.edu/".into();
    });
    wrong("a negative score", "score", |e| e["score"] = json!(-1));
    wrong("a score that is a string", "score", |e| e["score"] = "8".into());
    wrong("a maximum that is a string", "max_score", |e| e["max_score"] = "10".into());
    wrong("a maximum of zero", "max_score", |e| e["max_score"] = 0.into());
    wrong("a negative maximum", "max_score", |e| e["max_score"] = json!(-1));
    wrong("a score without a maximum", "max_score", |e| remove(e, "max_score"));
    wrong("a maximum without a score", "score", |e| remove(e, "score"));
    wrong("neither", "score", |e| {
        remove(e, "score");
        remove(e, "max_score");
    });
    wrong("half a score in data", "data.max_score", |e| {
        remove(e, "score");
        remove(e, "max_score");
        e["data"] = json!({"score": 8});
    });
    wrong("a time that is none", "occurred_at", |e| e["occurred_at"] = "yesterday".into());
    wrong("a time that is a number", "submitted_at", |e| e["submitted_at"] = 7.into());
    wrong("an unknown operation", "operation", |e| e["operation"] = "add".into());
    wrong("an unknown progress", "activity_progress", |e| e["activity_progress"] = "Done".into());
    wrong("an unknown grading", "grading_progress", |e| e["grading_progress"] = "Done".into());
    wrong("a comment that is a number", "comment", |e| e["comment"] = 7.into());
    let mut wrong_ags = |what, field, change: fn(&mut Value)| {
        let lineitem = "https://lms.example.edu/1/lineitem";
        let lis_data = json!({"lti_version": "1.3", "client_id": "c", "user_id": "u", "lineitem": lineitem});
        let mut event = json!({"session_id": "s", "score": 8, "max_score": 10, "lis_data": lis_data});
        change(&mut event);
        rows.push((what, event.to_string().into_bytes(), field));
    };
    wrong_ags("no client", "lis_data.client_id", |e| remove(&mut e["lis_data"], "client_id"));
    wrong_ags("no user", "lis_data.user_id", |e| remove(&mut e["lis_data"], "user_id"));
    wrong_ags("no column", "lis_data.lineitem", |e| remove(&mut e["lis_data"], "lineitem"));
    wrong_ags("nothing that finds the column", "lis_data.resource_id", |e| {
        remove(&mut e["lis_data"], "lineitem");
        e["lis_data"]["lineitems"] = "https://lms.example.edu/lineitems".into();
    });
    wrong_ags("a scope that is a number", "lis_data.scope", |e| e["lis_data"]["scope"] = 7.into());
    wrong_ags("delegated without a key", "lis_data.oauth_consumer_key", |e| {
        e["lis_data"]["grade_passback_url"] = "https://client.example/p".into();
    });
    wrong_ags("delegated without a score", "score", |e| {
        e["lis_data"]["grade_passback_url"] = "https://client.example/p".into();
        e["lis_data"]["oauth_consumer_key"] = "k".into();
        remove(e, "score");
        remove(e, "max_score");
    });
    for (what, number) in [("a score that is infinite", "1e999"), ("a score that is no number", "NaN")] {
        let event = format!(
            r#"{{"session_id":"s","score":{number},"max_score":1,"lis_data":{{"lis_outcome_service_url":"https://l/o","lis_result_sourcedid":"x","oauth_consumer_key":"k"}}}}"#
        );
        rows.push((what, event.into_bytes(), if number == "NaN" { "event" } else { "score" }));
    }
    rows
}

fn remove(value: &mut Value, member: &str) {
    value.as_object_mut().expect("an object").remove(member);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_each_is_a_problem_that_names_the_field() {
    let worker = Worker::started(LOCAL).await;
    for (what, body, field) in table() {
        let request = client().post(worker.url("/v1/events")).bearer_auth(worker.token());
        let answer = request.header("content-type", "application/json").body(body).send().await.expect("an answer");
        // An array is many events, so there the place is named too.
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.expect("a problem document");
        assert_eq!((status, problem["field"].as_str()), (422, Some(field)), "{what}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(field)), "{what}: {problem}");
    }
    let counts = worker.counts().await.expect("counts");
    assert!(counts.as_object().expect("counts").values().all(|count| count == 0), "{counts}");
    let (_, metrics) = worker.get_open("/metrics").await;
    let refused = format!("passback_events_total{{result=\"refused\",source=\"http\"}} {}", table().len());
    assert!(metrics.contains(&refused), "{refused} is not in the metrics");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_takes_many_events_whole_or_not_at_all_and_says_what_is_too_large_or_odd() {
    let worker = Worker::started(LOCAL).await;
    let good = json!({"session_id": "s", "event_id": "e-1", "score": 8, "max_score": 10,
        "lis_data": {"lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": "x", "oauth_consumer_key": "k"}});
    let bad = json!({"session_id": "s"});
    let post = async |media_type: &str, body: String| {
        let request = client().post(worker.url("/v1/events")).bearer_auth(worker.token());
        let answer = request.header("content-type", media_type).body(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    let (status, problem) = post("application/json", json!([good, bad]).to_string()).await;
    assert_eq!((status, &problem["errors"][0]["index"]), (422, &json!(1)), "{problem}");
    assert_eq!(problem["errors"][0]["field"], "lis_data", "{problem}");
    let (status, problem) = post("application/x-ndjson", format!("{good}\n\n{bad}\n")).await;
    assert_eq!((status, &problem["errors"][0]["index"]), (422, &json!(1)), "{problem}");
    assert_eq!(worker.counts().await.expect("counts")["flagged"], 0);
    let (status, taken) = post("application/x-ndjson", format!("{good}\n{good}\n")).await;
    let results: Vec<_> = taken["events"].as_array().expect("events").iter().map(|event| &event["result"]).collect();
    assert_eq!((status, results), (202, vec![&json!("stored"), &json!("duplicate")]), "{taken}");
    assert_eq!(taken["events"][0]["event_id"], "e-1");
    let many: Vec<String> = (0..20_000)
        .map(|n| {
            let mut event = good.clone();
            event["event_id"] = format!("many-{n}").into();
            event["lis_data"]["lis_result_sourcedid"] = format!("student-{n}").into();
            event.to_string()
        })
        .collect();
    let (status, taken) = post("application/x-ndjson", many.join("\n")).await;
    assert_eq!(
        (status, taken["events"].as_array().map(Vec::len)),
        (202, Some(20_000)),
        "a request of many small events"
    );
    let (status, _) = post("text/plain", good.to_string()).await;
    assert_eq!(status, 415);
    let large = json!({"session_id": "s".repeat(70_000)}).to_string();
    let (status, _) = post("application/json", large.clone()).await;
    assert_eq!(status, 413);
    let (status, _) = post("application/x-ndjson", large).await;
    assert_eq!(status, 413);
    let (status, _) = post("application/json", " ".repeat(16 * 1024 * 1024 + 1)).await;
    assert_eq!(status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_amqp_each_goes_to_the_dead_letter_queue_with_its_reason() {
    let broker = Broker::shared();
    let queue = unique("refusals");
    let config = format!("{LOCAL}[amqp]\nurl = \"{}\"\nqueues = [\"{queue}\"]\n", broker.url());
    let worker = Worker::started(&config).await;
    let options = amqp::Options { queues: vec![queue.clone()], ..amqp::Options::at(broker.url()) };
    let publisher = Publisher::connect(&options).await.expect("a connection");
    let rows = table();
    let too_large = ("too large", vec![b' '; 70_000], "event");
    let wanted: BTreeMap<String, (Vec<u8>, &str)> =
        rows.into_iter().chain([too_large]).map(|(what, body, field)| (what.to_owned(), (body, field))).collect();
    let messages = wanted.iter().map(|(what, (body, _))| Message {
        body: body.clone(),
        message_id: Some(what.clone()),
        sent_at: None,
    });
    publisher.publish(messages).await.expect("all are confirmed");
    let dead = dead_letters(&broker.url(), &format!("{queue}.dlq"), wanted.len()).await;
    for (what, (body, field)) in &wanted {
        let (seen, error, named) = dead.get(what).unwrap_or_else(|| panic!("{what} is not in the dead-letter queue"));
        assert_eq!((seen, named.as_str()), (body, *field), "{what}: {error}");
        assert!(error.contains(field), "{what}: {error}");
    }
    wait_for("the queue to be empty", async || {
        let queues = broker.ctl(&["list_queues", "-q", "name", "messages"]);
        queues.lines().any(|line| line.split_whitespace().eq([queue.as_str(), "0"])).then_some(())
    })
    .await;
    assert_eq!(worker.counts().await.expect("counts")["queued"], 0);
}

/// Message id to body, sentence and field.
type Dead = BTreeMap<String, (Vec<u8>, String, String)>;

async fn dead_letters(url: &str, queue: &str, count: usize) -> Dead {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.expect("the dead-letter queue");
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut consumer =
        channel.basic_consume(queue.into(), "test".into(), options, FieldTable::default()).await.expect("a consumer");
    let mut dead = Dead::new();
    while dead.len() < count {
        let next = tokio::time::timeout(super::worker::PATIENCE, consumer.next()).await;
        let delivery = next.expect("a dead letter in time").expect("the stream goes on").expect("a delivery");
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let text = |name: &str| match headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name} is {other:?}"),
        };
        let id = delivery.properties.message_id().as_ref().expect("a message id").to_string();
        dead.insert(id, (delivery.data.clone(), text("x-passback-error"), text("x-passback-field")));
    }
    dead
}

/// Without a dead-letter queue a refused event cannot go anywhere. It waits at the broker, and takes nobody with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_without_a_dead_letter_queue_takes_no_good_one_with_it() {
    let broker = Broker::shared();
    let queue = unique("undeclared");
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await.expect("a plain queue");
    let options = amqp::Options { queues: vec![queue.clone()], declare: false, ..amqp::Options::at(broker.url()) };
    let publisher = Publisher::connect(&options).await.expect("a connection");
    let good = |score: u32| {
        json!({"session_id": "s", "score": score, "max_score": 10,
            "lis_data": {"lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": "x", "oauth_consumer_key": "k"}})
        .to_string()
        .into_bytes()
    };
    let bodies = [b"{\"session_id\":1}".to_vec(), good(8), good(9)];
    let messages = bodies.map(|body| Message { body, ..Message::default() });
    publisher.publish(messages).await.expect("all are confirmed");
    let config = format!("{LOCAL}[amqp]\nurl = \"{}\"\nqueues = [\"{queue}\"]\ndeclare = false\n", broker.url());
    let worker = Worker::started(&config).await;
    wait_for("some reconnects", async || {
        let (_, metrics) = worker.get_open("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("passback_amqp_reconnects_total"))?;
        line.ends_with(|digit: char| ('3'..='9').contains(&digit)).then_some(())
    })
    .await;
    let counts = worker.counts().await.expect("counts");
    let jobs: u64 = counts.as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(jobs, 2, "{counts}");
    let queues = broker.ctl(&["list_queues", "-q", "name", "messages"]);
    let left = queues.lines().find(|line| line.starts_with(&queue)).expect("the queue");
    assert!(left.ends_with('1'), "only the refused event is left: {left}");
}
