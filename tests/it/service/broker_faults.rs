//! Trouble with the broker, of every kind that it can make, under a worker that is to carry on: while it lasts the
//! worker says so, and within seconds of its end events flow again. The consumer never stops silently, nothing is
//! lost, and nothing that is healthy becomes a dead letter. Every end of a job is told in the end.
//!
//! `tests/campaign broker` lets the broker stand still for more than a minute, under the default heartbeat.

use std::{sync::Arc, time::Duration};

use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use passback::{
    adapters::amqp::{self, Message, Publisher},
    simulator::SimulatedLms,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    broker::Broker,
    delivery::{settings, signing_key},
    doomed::{self, Step},
    oracle::{Books, Ledger, bring_to_an_end, flaky_lms, times},
    outcomes::Listener,
    worker::{Worker, wait_for},
};

const QUEUE: &str = "events";
const DEAD: &str = "events.dlq";
const OUTCOMES: &str = "outcomes";
/// Events before and after each trouble.
const BATCH: usize = 20;
/// From the end of a trouble to the delivery of an event that was published then: seconds, on a machine that has much
/// else to do.
const FLOW_LIMIT: Duration = Duration::from_secs(20);
/// How long the broker stands still in a campaign, in seconds, under the default heartbeat. In a normal run a heartbeat
/// comes every two, and the broker stands still until it is missed.
const FROZEN_VARIABLE: &str = "PASSBACK_FROZEN_SECS";
/// The delivery limit that RabbitMQ 4 sets by itself, and one crash more than it allows, and some.
const DELIVERY_LIMIT: u32 = 20;
const CRASHES: u32 = 25;

/// What the worker must say while a trouble lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That the queue has no consumer.
    NotReady,
    /// It may be over before anybody can look.
    Perhaps,
}

#[tokio::test(flavor = "multi_thread")]
async fn events_flow_again_within_seconds_of_any_trouble() {
    let frozen = times(FROZEN_VARIABLE, 0);
    let mut scene = Scene::of_its_own(if frozen == 0 { "?heartbeat=2" } else { "" }).await;
    scene.trouble("closed connections", Told::Perhaps, |broker| broker.close_connections("/"), |_| {}).await;
    scene.trouble("a cancelled consumer", Told::Perhaps, |broker| broker.cancel_consumers(QUEUE), |_| {}).await;
    scene.trouble("a deleted queue", Told::Perhaps, |broker| drop(broker.ctl(&["delete_queue", QUEUE])), |_| {}).await;
    scene.trouble("a stopped broker", Told::NotReady, Broker::stop_app, Broker::start_app).await;
    scene.trouble("a node that died", Told::NotReady, Broker::halt, Broker::resume).await;
    let freeze = move |broker: &Broker| {
        broker.freeze();
        std::thread::sleep(Duration::from_secs(frozen.into()));
    };
    scene.trouble("a broker that stood still", Told::NotReady, freeze, Broker::thaw).await;
    assert_eq!(scene.depth(DEAD).await, 0);
    scene.bring_to_an_end().await;
}

/// The broker closes the channel of a worker that does not acknowledge; and a broker in need takes nothing new, also no
/// dead letter, but gives out what it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_closed_by_an_error_and_an_alarm_hold_nothing_up() {
    let mut scene = Scene::of_its_own("").await;
    scene.channel_closed_by_an_error().await;
    let memory = |share| ["set_vm_memory_high_watermark", share];
    scene.alarm("a memory alarm", memory("0.00001"), memory("0.4")).await;
    let disk = |free| ["set_disk_free_limit", free];
    scene.alarm("a disk alarm", disk("100000GB"), disk("50MB")).await;
    assert_eq!(scene.depth(DEAD).await, 2, "one poisonous event for each alarm, and nothing else");
    scene.bring_to_an_end().await;
}

/// A worker that crashes more often than the delivery limit allows, and gets a little further each time.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_beyond_the_delivery_limit_make_no_dead_letters() {
    let mut scene = Scene::with_a_delivery_limit().await;
    for crash in 0..CRASHES {
        scene.crash_at(Step::Stored, 1 + crash % 3).await;
    }
    assert_eq!(scene.depth(DEAD).await, 0, "an event that is healthy became a dead letter");
    scene.worker.start().await;
    scene.bring_to_an_end().await;
}

/// A worker that crashes before it has stored anything, time after time: the event at which it does so is kept as a
/// dead letter in the end, and no other becomes one.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_at_which_the_worker_always_crashes_becomes_a_dead_letter_alone() {
    let mut scene = Scene::with_a_delivery_limit().await;
    for _ in 0..CRASHES {
        scene.crash_at(Step::Received, 1).await;
    }
    let books = Books::copied(scene.worker.store());
    let confirmed = scene.ledger.confirmed();
    let dead = wait_for("every event to be stored, to wait, or to be a dead letter", async || {
        let (dead, waiting) = (scene.depth(DEAD).await, scene.depth(QUEUE).await);
        (books.len() + dead + waiting == confirmed).then_some(dead)
    })
    .await;
    assert_eq!(dead, 1, "its neighbours became dead letters too");
}

struct Scene {
    url: String,
    /// A broker that only this scene uses.
    own: Option<Arc<Broker>>,
    lms: SimulatedLms,
    worker: Worker,
    ledger: Ledger,
    listener: Listener,
}

impl Scene {
    async fn of_its_own(query: &str) -> Self {
        let broker = Arc::new(tokio::task::spawn_blocking(Broker::start).await.expect("a broker"));
        let url = broker.url();
        Self::prepare(url, query, Some(broker)).await
    }

    /// In a virtual host of its own, where every queue has a delivery limit; with events that wait, and no worker.
    async fn with_a_delivery_limit() -> Self {
        let url = tokio::task::spawn_blocking(|| {
            let (vhost, url) = Broker::shared().own_vhost();
            let limit = format!("{{\"delivery-limit\": {DELIVERY_LIMIT}}}");
            Broker::shared().ctl(&["set_policy", "-p", &vhost, "limit", ".*", &limit, "--apply-to", "queues"]);
            url
        });
        let mut scene = Self::prepare(url.await.expect("a virtual host"), "", None).await;
        scene.worker.kill();
        scene.publish(10 * BATCH).await;
        scene
    }

    async fn prepare(url: String, query: &str, own: Option<Arc<Broker>>) -> Self {
        let lms = flaky_lms().await;
        let amqp = format!("[amqp]\nurl = \"{url}{query}\"\nqueues = [\"{QUEUE}\"]\nprefetch = 64\n");
        let amqp = format!("{amqp}outcomes_exchange = \"{OUTCOMES}\"\n");
        let listener = Listener::bound(&url, OUTCOMES).await;
        let mut worker = Worker::new(&format!("{}{amqp}", settings(&lms, &signing_key())));
        worker.start().await;
        let mut scene = Self { url, own, lms, worker, ledger: Ledger::default(), listener };
        scene.is_ready().await;
        scene.publish(BATCH).await;
        scene.all_is_stored().await;
        scene
    }

    async fn crash_at(&mut self, step: Step, passage: u32) {
        doomed::spawn(&mut self.worker, step, passage);
        assert_eq!(self.worker.killed().await, Some(9), "{}", self.worker.log());
    }

    /// Does something to the broker; it blocks.
    async fn act(&self, act: impl FnOnce(&Broker) + Send + 'static) {
        let broker = self.own.clone().expect("only a broker of the scene's own is troubled");
        tokio::task::spawn_blocking(move || act(&broker)).await.expect("the broker obeys");
    }

    /// A trouble from its beginning to its end, and what comes after.
    async fn trouble(
        &mut self,
        what: &str,
        told: Told,
        begin: impl FnOnce(&Broker) + Send + 'static,
        end: impl FnOnce(&Broker) + Send + 'static,
    ) {
        self.act(begin).await;
        if told == Told::NotReady {
            self.is_not_ready().await;
        }
        self.act(end).await;
        self.flows_again(what).await;
    }

    /// Within seconds from now on what is published is stored.
    async fn flows_again(&mut self, what: &str) {
        let over = Instant::now();
        // A queue that was deleted is not there before the worker has declared it again.
        self.is_ready().await;
        self.publish(BATCH).await;
        self.all_is_stored().await;
        let took = over.elapsed();
        println!("{what}: events flow {} ms after its end", took.as_millis());
        assert!(took < FLOW_LIMIT, "{what}: events flow only {took:?} after its end");
    }

    /// The broker ends the channel because the worker was halted with events that it had not acknowledged.
    async fn channel_closed_by_an_error(&mut self) {
        self.act(|broker| {
            broker.set_consumer_timeout(1_000);
            // The channels that are open keep the old one.
            broker.close_connections("/");
        })
        .await;
        self.flows_again("closed connections once more").await;
        self.worker.freeze().await;
        self.publish(BATCH).await;
        self.act(Broker::wait_until_a_channel_is_closed).await;
        self.worker.signal("CONT");
        self.act(|broker| broker.set_consumer_timeout(1_800_000)).await;
        self.flows_again("a channel closed by an error").await;
        assert!(self.worker.log().contains("PRECONDITION_FAILED"), "the log says why:\n{}", self.worker.log());
    }

    /// While a broker is short of something, it takes nothing new; what is there is delivered all the same, and one
    /// poisonous event does not hold up the others.
    async fn alarm(&mut self, what: &str, begin: [&'static str; 2], end: [&'static str; 2]) {
        self.worker.kill();
        let dead = self.depth(DEAD).await;
        self.publish(BATCH).await;
        self.publish_raw(b"poison".to_vec()).await;
        self.publish(BATCH).await;
        self.act(move |broker| drop(broker.ctl(&begin))).await;
        self.worker.start().await;
        self.is_ready().await;
        self.all_is_stored().await;
        assert_eq!(self.depth(DEAD).await, dead, "the alarm holds back what is published");
        self.act(move |broker| drop(broker.ctl(&end))).await;
        self.flows_again(what).await;
        wait_for("the poisonous event among the dead letters", async || {
            (self.depth(DEAD).await == dead + 1).then_some(())
        })
        .await;
    }

    async fn publish(&mut self, count: usize) {
        let events: Vec<Value> = (0..count).map(|_| self.ledger.next(&self.lms)).collect();
        let messages = events.iter().map(|event| event.to_string().into_bytes());
        self.publish_all(messages.collect()).await;
        for event in &events {
            self.ledger.confirm(event);
        }
    }

    async fn publish_raw(&self, body: Vec<u8>) {
        self.publish_all(vec![body]).await;
    }

    /// The connection is new each time: the last trouble may have taken the one before.
    async fn publish_all(&self, bodies: Vec<Vec<u8>>) {
        let options = amqp::Options { queues: vec![QUEUE.to_owned()], ..amqp::Options::at(self.url.as_str()) };
        let publisher = Publisher::connect(&options).await.expect("a publisher");
        let count = bodies.len();
        let messages = bodies.into_iter().map(|body| Message { body, ..Message::default() });
        assert_eq!(publisher.publish(messages).await.expect("all are confirmed"), count);
        publisher.close().await;
    }

    async fn is_ready(&self) {
        wait_for("the worker to be ready", async || (self.worker.get_open("/readyz").await.0 == 200).then_some(()))
            .await;
        self.metric_shows("passback_amqp_connected 1").await;
    }

    async fn is_not_ready(&self) {
        wait_for("the worker to say that it has no consumer", async || {
            let (status, missing) = self.worker.get_open("/readyz").await;
            (status == 503 && missing.contains(&format!("no consumer on queue {QUEUE}"))).then_some(())
        })
        .await;
        self.metric_shows("passback_amqp_connected 0").await;
        assert_eq!(self.worker.get_open("/healthz").await.0, 200);
    }

    async fn metric_shows(&self, line: &str) {
        wait_for(line, async || self.worker.get_open("/metrics").await.1.contains(line).then_some(())).await;
    }

    async fn all_is_stored(&self) {
        let confirmed = self.ledger.confirmed();
        wait_for(&format!("{confirmed} events to be stored"), async || {
            let counts = self.worker.counts().await?;
            let all: u64 = counts.as_object()?.values().filter_map(Value::as_u64).sum();
            (usize::try_from(all).ok()? >= confirmed).then_some(())
        })
        .await;
    }

    async fn depth(&self, queue: &str) -> usize {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await;
        let channel = connection.expect("a connection").create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        queue.expect("the queue is there").message_count() as usize
    }

    async fn bring_to_an_end(mut self) {
        let books = bring_to_an_end(&mut self.worker, &self.lms, &self.ledger).await;
        assert_eq!(books.len(), self.ledger.confirmed(), "each event is one job");
        assert_eq!(self.depth(QUEUE).await, 0);
        self.worker.start().await;
        self.listener.again(&self.url).await;
        let (ends, repeats) = self.listener.hears_every_end(&books, Vec::new()).await;
        println!("{ends} ends told, {repeats} of them again");
    }
}
