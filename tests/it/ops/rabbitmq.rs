//! The broker's definitions: a real RabbitMQ takes them, they are what the worker declares, and their users may do what
//! they must and nothing else.

use std::{collections::BTreeMap, fs};

use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use passback::adapters::amqp::{Message, Options, Publisher};
use serde_json::{Value, json};

use super::files::text;
use crate::service::{
    broker::Broker,
    delivery::{lms, lti11, settings, signing_key},
    worker::{Worker, wait_for},
};

const QUEUE: &str = "passback.session-completed";
const BINDING: &str = "exchange = \"assessment\"\nrouting_key = \"session.completed\"\n";

/// The definitions, for a virtual host of the test's own.
fn definitions(vhost: &str) -> Value {
    let mut all: Value = serde_json::from_str(&text("deploy/rabbitmq/definitions.json")).expect("JSON");
    for list in all.as_object_mut().expect("an object").values_mut().filter_map(Value::as_array_mut) {
        for entry in list.iter_mut() {
            let place = ["vhost", "name"].into_iter().find(|place| entry[place] == "/");
            if let Some(place) = place {
                entry[place] = vhost.into();
            }
        }
    }
    all
}

/// Queues, exchanges and bindings of a virtual host, by what they are called, with all that makes two of them equal.
fn things(definitions: &Value, vhost: &str) -> BTreeMap<String, Value> {
    let mut things = BTreeMap::new();
    for kind in ["queues", "exchanges", "bindings"] {
        let entries = definitions[kind].as_array().expect("a list").iter().filter(|entry| entry["vhost"] == vhost);
        for entry in entries {
            let mut entry = entry.clone();
            let members = entry.as_object_mut().expect("an object");
            members.remove("vhost");
            if kind == "queues" {
                // Newer brokers say it here too, beside the argument.
                members.remove("type");
            }
            let called = [&entry["name"], &entry["source"], &entry["destination"], &entry["routing_key"]];
            things.insert(format!("{kind} {called:?}"), entry);
        }
    }
    things
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_takes_the_definitions_and_they_are_what_the_worker_declares() {
    let broker = Broker::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ours, declared) = (broker.own_vhost().0, broker.own_vhost().0);
    fs::write(file("ours.json"), definitions(&ours).to_string()).expect("definitions");
    broker.ctl(&["import_definitions", &file("ours.json")]);

    let config = format!("[amqp]\nurl = \"{}\"\n{BINDING}", broker.url_of(&declared));
    let worker = Worker::started(&config).await;
    wait_for("the worker to have declared", async || (worker.get_open("/readyz").await.0 == 200).then_some(())).await;
    broker.ctl(&["export_definitions", &file("all.json")]);
    let all: Value = serde_json::from_slice(&fs::read(file("all.json")).expect("definitions")).expect("JSON");
    assert_eq!(things(&all, &ours), things(&all, &declared), "what is imported is what is declared");
    assert_eq!(things(&all, &ours).len(), 6, "two queues, two exchanges, two bindings");
    drop(worker);
    the_users_may_do_what_they_must(broker, &ours).await;
}

async fn the_users_may_do_what_they_must(broker: &Broker, vhost: &str) {
    let url = |user: &str, password: &str| broker.url_of(vhost).replace("guest:guest", &format!("{user}:{password}"));
    let connect = async |url: &str| Connection::connect(url, ConnectionProperties::default()).await;
    for user in ["passback", "assessment"] {
        assert!(connect(&url(user, "")).await.is_err(), "{user} comes in without a password");
        broker.ctl(&["change_password", user, "a-password"]);
    }
    let lms = lms().await;
    let ours = format!("[amqp]\nurl = \"{}\"\n{BINDING}", url("passback", "a-password"));
    let worker = Worker::started(&format!("{}{ours}", settings(&lms, &signing_key()))).await;
    wait_for("the consumer", async || (worker.get_open("/readyz").await.0 == 200).then_some(())).await;

    let sender = Options {
        exchange: Some("assessment".to_owned()),
        routing_key: Some("session.completed".to_owned()),
        declare: false,
        ..Options::at(url("assessment", "a-password"))
    };
    let publisher = Publisher::connect(&sender).await.expect("a publisher");
    let bodies = [lti11(&lms, "ann", 8), json!({"session_id": "s", "score": -1})];
    let messages = bodies.map(|body| Message { body: body.to_string().into_bytes(), ..Message::default() });
    publisher.publish(messages).await.expect("both are confirmed");
    wait_for("the grade", async || (worker.counts().await?["delivered"] == 1).then_some(())).await;
    wait_for("the dead letter", async || {
        let queues = broker.ctl(&["list_queues", "-p", vhost, "name", "messages", "policy"]);
        let letters = format!("{QUEUE}.dlq\t1\t");
        (queues.contains(&letters) && queues.contains(&format!("{QUEUE}\t0\tpassback"))).then_some(())
    })
    .await;

    // Each try costs its connection a channel.
    let stranger = connect(&url("assessment", "a-password")).await.expect("a connection");
    let look = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = stranger.create_channel().await.expect("a channel");
    assert!(
        channel.queue_declare("mine".into(), look, FieldTable::default()).await.is_err(),
        "senders declare nothing"
    );
    let channel = stranger.create_channel().await.expect("a channel");
    let taken = channel.basic_get(QUEUE.into(), lapin::options::BasicGetOptions::default()).await;
    assert!(taken.is_err(), "senders read no events");
}
