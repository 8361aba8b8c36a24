//! Outcomes back to the assessment platform, with a real broker: each end of a job is published with its key, its body
//! and its properties, in order, and whatever is killed or away in between, none is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use passback::domain::{job::StateName, time::Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    broker::{Broker, unique},
    delivery::{lms, lti11, settings, signing_key},
    gate::Gate,
    oracle::Books,
    worker::{PATIENCE, QUICK, Worker, wait_for},
};

/// Ends of the test that has many.
const MANY: usize = 1_000;

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) message_id: String,
    key: String,
    pub(crate) body: Value,
    is_persistent: bool,
    content_type: String,
    sent_at: u64,
}

/// An assessment platform that wants to know.
pub(crate) struct Listener {
    channel: Channel,
    queue: String,
    /// Keeps the channel.
    _connection: Connection,
}

impl Listener {
    /// Binds a queue of its own to an exchange, which is declared as the README says it is.
    pub(crate) async fn bound(url: &str, exchange: &str) -> Self {
        let listener = Self::with_a_queue(url).await;
        listener.declare(exchange, ExchangeKind::Topic, FieldTable::default()).await;
        listener.bind(exchange, "job.*").await;
        listener
    }

    /// Makes the exchange that a worker is waiting for. It publishes at once, so whatever is not bound for yet goes another
    /// way to the same queue.
    async fn awaited(url: &str, exchange: &str) -> Self {
        let listener = Self::with_a_queue(url).await;
        let rest = format!("{exchange}.rest");
        listener.declare(&rest, ExchangeKind::Fanout, FieldTable::default()).await;
        listener.bind(&rest, "").await;
        let mut arguments = FieldTable::default();
        arguments.insert("alternate-exchange".into(), AMQPValue::LongString(rest.into()));
        listener.declare(exchange, ExchangeKind::Topic, arguments).await;
        listener
    }

    async fn with_a_queue(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        let queue = unique("outcomes");
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare((&*queue).into(), durable, FieldTable::default()).await.expect("a queue");
        Self { channel, queue, _connection: connection }
    }

    async fn declare(&self, exchange: &str, kind: ExchangeKind, arguments: FieldTable) {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = self.channel.exchange_declare(exchange.into(), kind, durable, arguments).await;
        declared.expect("a durable exchange, by whomever it was declared");
    }

    async fn bind(&self, exchange: &str, key: &str) {
        let (queue, binding) = ((&*self.queue).into(), QueueBindOptions::default());
        let bound = self.channel.queue_bind(queue, exchange.into(), key.into(), binding, FieldTable::default());
        bound.await.expect("a binding");
    }

    /// All that is there now.
    pub(crate) async fn drain(&self) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            let got = self.channel.basic_get((&*self.queue).into(), BasicGetOptions::default()).await;
            let Some(message) = got.expect("an answer") else { return told };
            message.delivery.acker.ack(BasicAckOptions::default()).await.expect("an acknowledgement");
            let (delivery, properties) = (&message.delivery, &message.delivery.properties);
            told.push(Told {
                message_id: properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
                key: delivery.routing_key.to_string(),
                body: serde_json::from_slice(&delivery.data).expect("JSON"),
                is_persistent: *properties.delivery_mode() == Some(2),
                content_type: properties.content_type().as_ref().map(ToString::to_string).unwrap_or_default(),
                sent_at: properties.timestamp().unwrap_or_default(),
            });
        }
    }

    /// The same queue, after the broker was away.
    pub(crate) async fn again(&mut self, url: &str) {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        *self = Self { channel, queue: std::mem::take(&mut self.queue), _connection: connection };
    }

    /// Waits until each end of each job has been told under its own number, beside those that came before. Says how many
    /// there are, and how many messages told of one again.
    pub(crate) async fn hears_every_end(&self, books: &Books, mut heard: Vec<String>) -> (usize, usize) {
        let begin = Instant::now();
        loop {
            heard.extend(self.drain().await.into_iter().map(|told| told.message_id));
            let told: BTreeSet<&str> = heard.iter().map(String::as_str).collect();
            let missing = untold(books, &told);
            if missing.is_empty() {
                let ends: usize = books.ends().map(|(_, _, ends)| ends as usize).sum();
                assert_eq!(told.len(), ends, "no end is told that never was");
                return (ends, heard.len() - ends);
            }
            assert!(begin.elapsed() < PATIENCE, "not told, or told in two ways: {missing:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for so many, and sees that no more come: the worker has nothing left to tell.
    async fn take(&self, worker: &Worker, count: usize) -> Vec<Told> {
        let mut told = Vec::new();
        wait_for(&format!("{count} outcomes"), async || {
            told.extend(self.drain().await);
            (told.len() >= count).then_some(())
        })
        .await;
        wait_for("no outcome to wait", async || {
            worker.get_open("/metrics").await.1.contains("\npassback_outcomes_waiting 0\n").then_some(())
        })
        .await;
        told.extend(self.drain().await);
        assert_eq!(told.len(), count, "{told:#?}");
        told
    }
}

/// The ends that were not told, or not in one way alone.
fn untold(books: &Books, told: &BTreeSet<&str>) -> Vec<String> {
    let ways = |id: &str, number: u32| {
        let name = |state: &StateName| format!("{id}-{}-{number}", state.name());
        StateName::ALL.iter().filter(|state| told.contains(&*name(state))).count()
    };
    let mut untold = Vec::new();
    for (id, state, ends) in books.ends() {
        let id = id.to_string();
        untold.extend((1..=ends).filter(|number| ways(&id, *number) != 1).map(|number| format!("{id}-…-{number}")));
        let last = format!("{id}-{}-{ends}", state.name());
        untold.extend((!told.contains(&*last)).then_some(last));
    }
    untold
}

/// What the worker has for the broker.
fn amqp(url: &str, exchange: &str) -> String {
    format!("[amqp]\nurl = \"{url}\"\nqueues = [\"{}\"]\noutcomes_exchange = \"{exchange}\"\n", unique("events"))
}

/// What is refused is flagged at once.
fn flagging(config: &str) -> String {
    config.replace(QUICK, &format!("{QUICK}permanent = \"flag\"\n"))
}

fn ids(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.message_id.as_str()).collect()
}

/// Everything about a message that holds for each of them.
fn is_well_formed(told: &Told) {
    let state = told.body["state"].as_str().expect("a state");
    assert_eq!(told.key, format!("job.{state}"), "{told:?}");
    assert!(told.message_id.starts_with(&format!("{}-{state}-", told.body["id"].as_str().expect("an id"))), "{told:?}");
    assert!(told.is_persistent && told.content_type == "application/json", "{told:?}");
    let now = Timestamp::from_secs(i64::try_from(told.sent_at).expect("a time"));
    assert!(now > Timestamp::from_secs(1_700_000_000), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_four_ends_is_published_once_with_its_number() {
    let (lms, exchange) = (lms().await, unique("exchange"));
    let broker = Broker::shared();
    let config = flagging(&settings(&lms, &signing_key())) + &amqp(&broker.url(), &exchange);
    let worker = Worker::started(&config).await;
    wait_for("the exchange", async || worker.log().contains("outcomes connected").then_some(())).await;
    let listener = Listener::bound(&broker.url(), &exchange).await;

    lms.refuse_user("ben");
    let mut given = lti11(&lms, "ann", 8);
    given["event_id"] = "event-1".into();
    given["occurred_at"] = "2026-01-02T00:00:00Z".into();
    let mut late = lti11(&lms, "ann", 7);
    late["occurred_at"] = "2026-01-01T00:00:00Z".into();
    let delivered = worker.submit(&given).await.remove(0);
    let shown = worker.job_in(&delivered, "delivered").await;
    let superseded = worker.submit(&late).await.remove(0);
    let flagged = worker.submit(&lti11(&lms, "ben", 6)).await.remove(0);
    worker.job_in(&flagged, "flagged").await;
    lms.welcome_user("ben");
    worker.post(&format!("/api/v1/jobs/{flagged}/replay"), &json!({})).await;
    worker.job_in(&flagged, "delivered").await;
    lms.refuse_user("cid");
    let discarded = worker.submit(&lti11(&lms, "cid", 5)).await.remove(0);
    worker.job_in(&discarded, "flagged").await;
    worker.post(&format!("/api/v1/jobs/{discarded}/discard"), &json!({})).await;

    let told = listener.take(&worker, 6).await;
    told.iter().for_each(is_well_formed);
    let expected = [
        format!("{delivered}-delivered-1"),
        format!("{superseded}-superseded-1"),
        format!("{flagged}-flagged-1"),
        format!("{flagged}-delivered-2"),
        format!("{discarded}-flagged-1"),
        format!("{discarded}-discarded-2"),
    ];
    assert_eq!(ids(&told), expected, "in their order");
    // The body is the job as in a list, with the sender's own key.
    let mut listed = worker.get("/api/v1/jobs?session_id=session-ann&state=delivered").await["jobs"][0].clone();
    listed["event_id"] = "event-1".into();
    assert_eq!(told[0].body, listed);
    assert_eq!(told[0].body["delivered_at"], shown["delivered_at"]);
    assert!(told[1].body["event_id"].is_null() && told[1].body["delivered_at"].is_null(), "{:?}", told[1]);
    assert!(told[2].body["flagged_at"].is_string() && told[5].body["flagged_at"].is_null(), "{told:?}");
    let metrics = worker.get_open("/metrics").await.1;
    assert!(metrics.contains("\npassback_outcomes_published_total 6\n"), "{metrics}");
}

/// While the broker is away, ends pile up, and the worker dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_ends_outlive_a_kill_and_a_broker_that_is_away() {
    let (lms, exchange, url) = (lms().await, unique("exchange"), Broker::shared().url());
    let (listener, gate) = (Listener::bound(&url, &exchange).await, Gate::before(&url).await);
    let mut worker = Worker::started(&(settings(&lms, &signing_key()) + &amqp(&gate.url(), &exchange))).await;
    let first = worker.submit(&lti11(&lms, "first", 1)).await.remove(0);
    assert_eq!(ids(&listener.take(&worker, 1).await), [format!("{first}-delivered-1")]);

    gate.shut();
    wait_for("the worker to notice", async || worker.log().contains("outcomes cannot be published").then_some(()))
        .await;
    let events: Vec<Value> = (0..MANY).map(|number| lti11(&lms, &format!("student-{number}"), 7)).collect();
    worker.submit(&Value::Array(events)).await;
    wait_for("all to be delivered", async || (worker.counts().await?["delivered"] == MANY + 1).then_some(())).await;
    wait_for("the metric to tell", async || {
        worker.get_open("/metrics").await.1.contains(&format!("\npassback_outcomes_waiting {MANY}\n")).then_some(())
    })
    .await;
    assert_eq!(worker.get_open("/healthz").await.0, 200);
    worker.kill();
    worker.start().await;
    let back = Instant::now();
    gate.open();
    let told = listener.take(&worker, MANY).await;
    println!("{MANY} outcomes came within {} ms of the broker's return", back.elapsed().as_millis());
    let ended: Vec<&str> = told.iter().map(|told| told.body["delivered_at"].as_str().expect("a time")).collect();
    let times: Vec<Timestamp> = ended.iter().map(|time| Timestamp::parse(time).expect("a time")).collect();
    assert!(times.is_sorted(), "the oldest end comes first");
    let jobs: BTreeMap<&str, usize> = told.iter().fold(BTreeMap::new(), |mut jobs, told| {
        *jobs.entry(told.message_id.as_str()).or_default() += 1;
        jobs
    });
    assert_eq!(jobs.len(), MANY, "each of them once");
}

/// A job may be replayed, or forgotten, before its end is published.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_as_it_was_whatever_became_of_the_job() {
    let (lms, exchange, url) = (lms().await, unique("exchange"), Broker::shared().url());
    let (listener, gate) = (Listener::bound(&url, &exchange).await, Gate::before(&url).await);
    gate.shut();
    let mut worker = Worker::new(&(flagging(&settings(&lms, &signing_key())) + &amqp(&gate.url(), &exchange)));
    worker.start().await;
    lms.refuse_user("ann");
    let ann = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    let flagged_at = worker.job_in(&ann, "flagged").await["flagged_at"].clone();
    lms.welcome_user("ann");
    worker.post(&format!("/api/v1/jobs/{ann}/replay"), &json!({})).await;
    worker.job_in(&ann, "delivered").await;
    let ben = worker.submit(&lti11(&lms, "ben", 7)).await.remove(0);
    worker.job_in(&ben, "delivered").await;

    gate.open();
    let told = listener.take(&worker, 3).await;
    told.iter().for_each(is_well_formed);
    assert_eq!(ids(&told), [format!("{ann}-flagged-1"), format!("{ann}-delivered-2"), format!("{ben}-delivered-1")]);
    let first = &told[0].body;
    assert_eq!((&first["state"], &first["flagged_at"]), (&"flagged".into(), &flagged_at));
    assert!(first["delivered_at"].is_null() && first["next_attempt_at"].is_null(), "{first}");
    assert_eq!(first["attempts"], 2, "the rest is as it is now");

    // The broker goes away again, and the next job is forgotten before it is back.
    gate.shut();
    assert_eq!(worker.stop().await, Some(0));
    let config = fs::read_to_string(worker.config_path()).expect("a configuration");
    let forgetful = config.replacen("[http]", "retain_delivered = \"500ms\"\n[http]", 1);
    fs::write(worker.config_path(), forgetful).expect("it can be written");
    worker.start().await;
    let cid = worker.submit(&lti11(&lms, "cid", 6)).await.remove(0);
    wait_for("the job to be forgotten", async || {
        let counts = worker.counts().await?;
        let all: u64 = counts.as_object()?.values().filter_map(Value::as_u64).sum();
        (all == 0).then_some(())
    })
    .await;
    gate.open();
    let told = listener.take(&worker, 1).await;
    is_well_formed(&told[0]);
    assert_eq!(told[0].body, json!({"id": cid, "state": "delivered"}));
}

/// Off, nothing is noted; what waited before stays, for when it is on again.
#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_keeps_what_it_had_and_notes_nothing_new() {
    let (lms, exchange, url) = (lms().await, unique("exchange"), Broker::shared().url());
    let (listener, gate) = (Listener::bound(&url, &exchange).await, Gate::before(&url).await);
    gate.shut();
    let mut worker = Worker::new(&(settings(&lms, &signing_key()) + &amqp(&gate.url(), &exchange)));
    let on = fs::read_to_string(worker.config_path()).expect("a configuration");
    let mut kept = Vec::new();
    for (student, is_on) in [("ann", true), ("ben", false), ("cid", true)] {
        let config = if is_on { on.clone() } else { on.replace("outcomes_exchange", "#") };
        fs::write(worker.config_path(), config).expect("it can be written");
        worker.start().await;
        let id = worker.submit(&lti11(&lms, student, 8)).await.remove(0);
        worker.job_in(&id, "delivered").await;
        kept.extend(is_on.then(|| format!("{id}-delivered-1")));
        if student != "cid" {
            assert_eq!(worker.stop().await, Some(0));
        }
    }
    gate.open();
    assert_eq!(ids(&listener.take(&worker, 2).await), kept);
}

/// With `declare = false` the exchange has to be there: until it is, everything waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_missing_is_named_and_nothing_is_lost() {
    let (lms, exchange, broker) = (lms().await, unique("exchange"), Broker::shared());
    let config = settings(&lms, &signing_key()) + &amqp(&broker.url(), &exchange) + "declare = false\n";
    let worker = Worker::started(&config).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    wait_for("the log to name it", async || {
        let log = worker.log();
        log.lines().any(|line| line.contains("NOT_FOUND") && line.contains(&exchange)).then_some(())
    })
    .await;
    let listener = Listener::awaited(&broker.url(), &exchange).await;
    assert_eq!(ids(&listener.take(&worker, 1).await), [format!("{id}-delivered-1")]);
}
