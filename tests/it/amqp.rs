//! The way in from RabbitMQ against a real broker, with an engine that is played by the test: it refuses what the test
//! calls poison, holds receipts back, or fails, and remembers what it was given.
//!
//! Each test has queues of its own; those that cut connections have a virtual host of their own. What stops or freezes
//! the broker is in `service::broker_faults`. Every wait is for a condition, with a limit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use passback::{
    adapters::{
        amqp::{AmqpHealth, AmqpIntake, Message, NotPublished, Options, Publisher},
        clock::SystemClock,
    },
    domain::{
        event::{Door, GradeEvent, Refused},
        job::{IdempotencyKey, JobId},
        ledger::Arrival,
        notice::{Notice, Source},
        time::Timestamp,
    },
    ports::{Incoming, Intake, Observer, Pending, QueueHealth as _, Receipt, StoreError},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::service::broker::{Broker, unique};

/// What the played store does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Says at once that it is on disk.
    Stores,
    /// Says nothing until the test lets it.
    Holds,
    /// Fails.
    Fails,
}

/// An engine that is played.
struct Stage {
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    open: bool,
    /// What was stored, by session id, in order, repeats included.
    stored: Vec<String>,
    failed: usize,
    held: VecDeque<(String, oneshot::Sender<Result<(), StoreError>>)>,
    seen: Vec<Incoming>,
    notices: Vec<Notice>,
}

impl Stage {
    fn new(mood: Mood) -> Arc<Self> {
        let state = State {
            mood,
            open: true,
            stored: Vec::new(),
            failed: 0,
            held: VecDeque::new(),
            seen: Vec::new(),
            notices: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self) -> Vec<String> {
        self.state().stored.clone()
    }

    fn failed(&self) -> usize {
        self.state().failed
    }

    fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Lets the held event with this session id be stored.
    fn release(&self, session: &str) {
        let mut state = self.state();
        let place = state.held.iter().position(|(held, _)| held == session).expect("it is held");
        let (session, answer) = state.held.remove(place).expect("it is there");
        state.stored.push(session);
        // The other end is gone if the session ended meanwhile; the event is stored all the same.
        let _ = answer.send(Ok(()));
    }

    fn release_all(&self) {
        let sessions: Vec<String> = self.state().held.iter().map(|(session, _)| session.clone()).collect();
        for session in sessions {
            self.release(&session);
        }
    }

    fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    fn count(&self, wanted: impl Fn(&Notice) -> bool) -> usize {
        self.state().notices.iter().filter(|notice| wanted(notice)).count()
    }

    fn connected(&self) -> usize {
        self.count(|notice| matches!(notice, Notice::AmqpConnected { .. }))
    }

    fn lost(&self) -> Vec<String> {
        let state = self.state();
        let lost = state.notices.iter().filter_map(|notice| match notice {
            Notice::AmqpLost { error, .. } => Some(error.clone()),
            _ => None,
        });
        lost.collect()
    }
}

impl Intake for Stage {
    fn read(&self, incoming: Incoming) -> Result<Box<Arrival>, Refused> {
        self.state().seen.push(incoming.clone());
        let event = GradeEvent::parse(&incoming.body, Door::Event)?;
        let key = IdempotencyKey::Content([0; 16]);
        let Incoming { body, door, source, sent_at, .. } = incoming;
        Ok(Box::new(Arrival { event, body, door, source, key, sent_at, luck: 0 }))
    }

    fn store(&self, arrival: Box<Arrival>) -> Pending<'static, Result<Receipt, StoreError>> {
        let session = arrival.event.session_id.clone().unwrap_or_default();
        let mut state = self.state();
        let (answer, answered) = oneshot::channel();
        match state.mood {
            Mood::Stores => {
                state.stored.push(session);
                let _ = answer.send(Ok(()));
            }
            Mood::Holds => state.held.push_back((session, answer)),
            Mood::Fails => {
                state.failed += 1;
                let _ = answer.send(Err(StoreError::Unavailable("the disk is full".into())));
            }
        }
        let receipt = Receipt { id: JobId::next(None, Timestamp::from_secs(0), 0), event_id: None, duplicate: false };
        Box::pin(async move { answered.await.expect("the stage answers").map(|()| receipt) })
    }

    fn is_open(&self) -> bool {
        self.state().open
    }
}

impl Observer for Stage {
    fn observe(&self, notice: &Notice) {
        self.state().notices.push(notice.clone());
    }
}

/// A worker's way in, running.
struct Running {
    health: AmqpHealth,
    drain: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(options: Options, stage: &Arc<Stage>) -> Self {
        let intake = AmqpIntake::new(options, stage.clone(), stage.clone(), Arc::new(SystemClock)).expect("an intake");
        let health = intake.health();
        let drain = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test owns the task and stops it")]
        let task = tokio::spawn(intake.run(drain.clone()));
        Self { health, drain, task }
    }

    /// Starts, and waits until every queue has its consumer.
    async fn ready(options: Options, stage: &Arc<Stage>) -> Self {
        let running = Self::start(options, stage);
        running.is_ready().await;
        running
    }

    async fn is_ready(&self) {
        until("every queue has its consumer", || self.health.queues_without_consumer().is_empty()).await;
    }

    async fn stop(self) {
        self.drain.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it stops").expect("it does not panic");
    }
}

/// A client of the test's own.
struct Client {
    _connection: Connection,
    channel: Channel,
}

impl Client {
    async fn new(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        Self { _connection: connection, channel }
    }

    async fn publish(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let published = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await;
        published.expect("it is published").await.expect("no confirm is asked for");
    }

    /// Takes a message out of a queue, once there is one.
    async fn take(&self, queue: &str) -> BasicGetMessage {
        for _ in 0..TRIES {
            let got = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("an answer");
            if let Some(message) = got {
                message.acker.ack(BasicAckOptions::default()).await.expect("it is acknowledged");
                return message;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("nothing came into {queue}");
    }

    /// Messages that are ready, or delivered and not acknowledged, once nobody consumes the queue any more.
    async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        queue.expect("the queue is there").message_count()
    }

    async fn depth_is(&self, queue: &str, wanted: u32) {
        let mut depth = 0;
        for _ in 0..TRIES {
            depth = self.depth(queue).await;
            if depth == wanted {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("{queue} holds {depth} messages, not {wanted}");
    }
}

const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const TRIES: usize = 3_000;

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..TRIES {
        if condition() {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("it never came true that {what}");
}

/// The shared broker. Its start blocks, so it gets a thread of its own.
async fn shared() -> &'static Broker {
    tokio::task::spawn_blocking(Broker::shared).await.expect("a broker")
}

/// Options for one queue that no other test uses.
fn options(url: &str) -> (Options, String) {
    let queue = unique("queue");
    (Options { queues: vec![queue.clone()], ..Options::at(url) }, queue)
}

/// The same, without the wary start, which would wait for what the stage holds back.
fn unwary(url: &str) -> (Options, String) {
    let (options, queue) = options(url);
    (Options { wary: false, ..options }, queue)
}

fn event(session: &str) -> Vec<u8> {
    format!(
        r#"{{"session_id": "{session}", "score": 1, "max_score": 2, "lis_data": {{
            "lis_outcome_service_url": "https://lms.example.edu/outcomes",
            "lis_result_sourcedid": "{session}", "oauth_consumer_key": "key"}}}}"#
    )
    .into_bytes()
}

fn message(session: &str) -> Message {
    Message { body: event(session), ..Message::default() }
}

fn sessions(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

async fn publish(options: &Options, sessions: &[String]) {
    let publisher = Publisher::connect(options).await.expect("a publisher");
    let confirmed = publisher.publish(sessions.iter().map(|session| message(session))).await.expect("confirms");
    assert_eq!(confirmed, sessions.len());
    publisher.close().await;
}

#[tokio::test]
async fn events_are_stored_in_order_and_acknowledged_in_bulk() {
    let (options, queue) = options(&shared().await.url());
    let sent = sessions(3_000);
    publish(&options, &sent).await;
    let stage = Stage::new(Mood::Stores);
    let running = Running::ready(options.clone(), &stage).await;
    until("all are stored", || stage.stored().len() == sent.len()).await;
    running.stop().await;
    assert_eq!(stage.stored(), sent);
    Client::new(&shared().await.url()).await.depth_is(&queue, 0).await;
    let beats = stage.count(|notice| matches!(notice, Notice::Beat { .. }));
    assert!((1..sent.len() / 2).contains(&beats), "{beats} acknowledgements for {} events", sent.len());
    assert_eq!(stage.lost(), Vec::<String>::new());
}

#[tokio::test]
async fn an_event_comes_with_its_message_id_and_time() {
    let (options, _) = options(&shared().await.url());
    let publisher = Publisher::connect(&options).await.expect("a publisher");
    let sent_at = Timestamp::parse("2026-11-21T10:30:00Z").ok();
    let message = Message { message_id: Some("m-1".to_owned()), sent_at, ..message("s") };
    assert_eq!(publisher.publish([message]).await.expect("a confirm"), 1);
    let stage = Stage::new(Mood::Stores);
    let running = Running::ready(options, &stage).await;
    until("it is stored", || stage.stored().len() == 1).await;
    let seen = stage.state().seen.pop().expect("an event");
    assert_eq!((seen.message_id.as_deref(), seen.sent_at, seen.source), (Some("m-1"), sent_at, Source::Amqp));
    assert_eq!((seen.door, seen.user, &*seen.body), (Door::Event, None, &*event("s")));
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_before_what_came_before_it_is_on_disk() {
    let (options, queue) = unwary(&shared().await.url());
    publish(&options, &sessions(10)).await;
    let stage = Stage::new(Mood::Holds);
    let running = Running::ready(Options { drain: Duration::ZERO, ..options.clone() }, &stage).await;
    until("all are handed over", || stage.held() == 10).await;
    for session in ["s9", "s5", "s1", "s0"] {
        stage.release(session);
    }
    until("the first two are acknowledged", || stage.count(|notice| matches!(notice, Notice::Beat { .. })) > 0).await;
    running.stop().await;
    // s5 and s9 are on disk, but s2 is not; they come again, and the idempotency key makes that harmless.
    let client = Client::new(&shared().await.url()).await;
    client.depth_is(&queue, 8).await;
    assert_eq!(client.take(&queue).await.delivery.data, event("s2"));
}

#[tokio::test]
async fn events_that_come_back_are_taken_a_few_at_a_time_at_first() {
    let (options, queue) = options(&shared().await.url());
    let sent = sessions(40);
    publish(&options, &sent).await;
    let client = Client::new(&shared().await.url()).await;
    // Somebody had all of them in hand, and is gone.
    for _ in &sent {
        client.channel.basic_get((&*queue).into(), BasicGetOptions::default()).await.expect("an answer");
    }
    drop(client);
    let stage = Stage::new(Mood::Holds);
    let running = Running::start(Options { prefetch: 45, ..options.clone() }, &stage);
    for (group, sessions) in [&sent[..1], &sent[1..3]].into_iter().enumerate() {
        until("a group is handed over", || stage.held() == sessions.len()).await;
        // One more would have come by the time that a message has gone through the broker and back.
        publish(&options, &[format!("later-{group}")]).await;
        assert_eq!(stage.held(), sessions.len());
        stage.release_all();
    }
    until("all that are left are handed over", || stage.held() == 39).await;
    stage.release_all();
    running.is_ready().await;
    running.stop().await;
    let mut stored = stage.stored();
    assert!(sent.iter().all(|session| stored.contains(session)), "{stored:?}");
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 42, "each of them once");
}

#[tokio::test]
async fn a_store_error_sends_events_back_until_the_store_is_open_again() {
    let (options, queue) = options(&shared().await.url());
    let sent = sessions(50);
    publish(&options, &sent).await;
    let stage = Stage::new(Mood::Fails);
    stage.state().open = false;
    let running = Running::start(options.clone(), &stage);
    until("the store has failed", || stage.lost().len() == 1).await;
    assert!(stage.lost()[0].contains("the disk is full"), "{:?}", stage.lost());
    assert_eq!(running.health.queues_without_consumer(), [&*queue]);
    Client::new(&shared().await.url()).await.depth_is(&queue, 50).await;
    let failed = stage.failed();
    stage.set(Mood::Stores);
    stage.state().open = true;
    until("all are stored", || stage.stored().len() == sent.len()).await;
    // The second session failed at its first event, and handed over no other.
    assert_eq!((stage.stored(), stage.failed(), stage.connected()), (sent, failed, 1));
    running.stop().await;
    Client::new(&shared().await.url()).await.depth_is(&queue, 0).await;
}

#[tokio::test]
async fn a_refused_event_goes_to_the_dead_letter_queue_as_it_came_and_says_why() {
    let url = shared().await.url();
    let (options, queue) = options(&url);
    publish(&options, &["before".to_owned()]).await;
    let client = Client::new(&url).await;
    let mut headers = FieldTable::default();
    headers.insert("trace".into(), AMQPValue::LongString("abc".into()));
    let properties = BasicProperties::default()
        .with_message_id("poison-1".into())
        .with_content_type("text/plain".into())
        .with_timestamp(1_700_000_000)
        .with_headers(headers);
    let poison = b"{\"session_id\": 7, \xff";
    client.publish(&queue, poison, properties.clone().with_user_id("guest".into())).await;
    client.publish(&queue, &event("after"), BasicProperties::default()).await;
    client
        .publish(&queue, br#"{"session_id": "s", "score": -1}"#, properties.clone().with_expiration("60000".into()))
        .await;
    client.publish(&queue, &vec![b'x'; 1 << 20], BasicProperties::default()).await;

    let stage = Stage::new(Mood::Stores);
    let running = Running::ready(options, &stage).await;
    let dead = format!("{queue}.dlq");
    let first = client.take(&dead).await.delivery;
    assert_eq!(
        (&*first.data, first.routing_key.as_str(), first.exchange.as_str()),
        (&poison[..], &*queue, "passback.dlx")
    );
    let kept = &first.properties;
    assert_eq!((kept.message_id(), kept.content_type()), (properties.message_id(), properties.content_type()));
    assert_eq!(
        (kept.timestamp(), kept.user_id().as_ref().map(ShortString::as_str)),
        (properties.timestamp(), Some("guest"))
    );
    let header = |properties: &BasicProperties, name: &str| {
        let headers = properties.headers().as_ref().expect("headers").inner().clone();
        headers.get(name).and_then(AMQPValue::as_long_string).map(ToString::to_string)
    };
    assert_eq!(header(kept, "trace").as_deref(), Some("abc"));
    assert_eq!(header(kept, "x-passback-field").as_deref(), Some("event"));
    assert!(header(kept, "x-passback-error").is_some_and(|words| words.contains("event must be UTF-8")));

    let second = client.take(&dead).await.delivery.properties;
    assert_eq!(header(&second, "x-passback-expiration").as_deref(), Some("60000"));
    assert!(second.expiration().is_none());
    assert_eq!(client.take(&dead).await.delivery.data.len(), 1 << 20);
    until("the good ones are stored", || stage.stored() == ["before", "after"]).await;
    running.stop().await;
    client.depth_is(&queue, 0).await;
}

#[tokio::test]
async fn a_flood_of_poison_is_put_aside_and_lets_the_good_ones_through() {
    let url = shared().await.url();
    let (options, queue) = options(&url);
    let publisher = Publisher::connect(&options).await.expect("a publisher");
    let mixed = (0..1_000).map(|number| match number % 10 {
        0 => message(&format!("s{}", number / 10)),
        _ => Message { body: b"poison".to_vec(), ..Message::default() },
    });
    assert_eq!(publisher.publish(mixed).await.expect("confirms"), 1_000);
    let stage = Stage::new(Mood::Stores);
    let running = Running::ready(options, &stage).await;
    let client = Client::new(&url).await;
    client.depth_is(&format!("{queue}.dlq"), 900).await;
    until("the good ones are stored", || stage.stored() == sessions(100)).await;
    running.stop().await;
    client.depth_is(&queue, 0).await;
}

#[tokio::test]
async fn poison_without_a_dead_letter_queue_is_kept_and_complained_about() {
    let (vhost, url) = tokio::task::spawn_blocking(|| Broker::shared().own_vhost()).await.expect("a vhost");
    let (options, queue) = options(&url);
    let client = Client::new(&url).await;
    let bare = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    client.channel.queue_declare((&*queue).into(), bare, FieldTable::default()).await.expect("a queue");
    client.publish(&queue, b"poison", BasicProperties::default()).await;
    let stage = Stage::new(Mood::Stores);
    let running = Running::start(Options { declare: false, ..options.clone() }, &stage);
    until("it complains", || stage.lost().iter().any(|words| words.contains("passback.dlx"))).await;
    running.stop().await;
    client.depth_is(&queue, 1).await;

    // The same queue cannot be declared with our settings, and the sentence says what to do.
    let stage = Stage::new(Mood::Stores);
    let running = Running::start(options, &stage);
    until("it complains", || !stage.lost().is_empty()).await;
    let words = stage.lost().remove(0);
    assert!(words.contains(&queue) && words.contains("declare = false"), "{words} in {vhost}");
    running.stop().await;
}

#[tokio::test]
async fn several_queues_are_consumed_side_by_side() {
    let url = shared().await.url();
    let (first, second) = (options(&url), options(&url));
    publish(&first.0, &["one".to_owned()]).await;
    publish(&second.0, &["two".to_owned()]).await;
    let queues = vec![first.1.clone(), second.1.clone()];
    let both = Options { queues: queues.clone(), ..first.0 };
    let stage = Stage::new(Mood::Stores);
    let running = Running::start(both, &stage);
    let mut missing = running.health.queues_without_consumer();
    missing.retain(|queue| !queues.contains(queue));
    assert_eq!(missing, Vec::<String>::new());
    running.is_ready().await;
    until("both are stored", || stage.stored().len() == 2).await;
    // One loses its queue; the other goes on.
    let client = Client::new(&url).await;
    client.channel.queue_delete((&*second.1).into(), QueueDeleteOptions::default()).await.expect("it is deleted");
    client.publish(&first.1, &event("three"), BasicProperties::default()).await;
    until("the third is stored", || stage.stored().iter().any(|session| session == "three")).await;
    running.is_ready().await;
    running.stop().await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_and_consumed_again() {
    let url = shared().await.url();
    let (options, queue) = options(&url);
    let stage = Stage::new(Mood::Stores);
    let running = Running::ready(options.clone(), &stage).await;
    let client = Client::new(&url).await;
    client.channel.queue_delete((&*queue).into(), QueueDeleteOptions::default()).await.expect("it is deleted");
    until("the loss is noticed", || stage.lost().len() == 1).await;
    assert!(stage.lost()[0].contains("ended the consumer"), "{:?}", stage.lost());
    until("it is back", || stage.connected() == 2).await;
    publish(&options, &["s".to_owned()]).await;
    until("it is stored", || stage.stored() == ["s"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_stored_when_the_consumer_ends_is_still_acknowledged() {
    let url = shared().await.url();
    let (options, queue) = unwary(&url);
    publish(&options, &sessions(5)).await;
    let stage = Stage::new(Mood::Holds);
    let running = Running::ready(options, &stage).await;
    until("all are handed over", || stage.held() == 5).await;
    let client = Client::new(&url).await;
    client.channel.queue_delete((&*queue).into(), QueueDeleteOptions::default()).await.expect("it is deleted");
    stage.release_all();
    until("they are acknowledged", || stage.count(|notice| matches!(notice, Notice::Beat { .. })) > 0).await;
    until("it is back", || stage.connected() == 2).await;
    assert_eq!(stage.count(|notice| matches!(notice, Notice::AcksLost { .. })), 0);
    running.stop().await;
}

#[tokio::test]
async fn cut_connections_come_back_with_their_prefetch_and_lose_nothing() {
    let (vhost, url) = tokio::task::spawn_blocking(|| Broker::shared().own_vhost()).await.expect("a vhost");
    let (options, queue) = unwary(&url);
    let options = Options { prefetch: 7, ..options };
    let sent = sessions(40);
    publish(&options, &sent).await;
    let stage = Stage::new(Mood::Holds);
    let running = Running::ready(options, &stage).await;
    until("the prefetch is used up", || stage.held() == 7).await;

    let cut = vhost.clone();
    tokio::task::spawn_blocking(move || Broker::shared().close_connections(&cut)).await.expect("rabbitmqctl");
    until("the loss is noticed", || !stage.lost().is_empty()).await;
    // What was on its way to the disk arrives there, but nobody is left to acknowledge it.
    stage.release_all();
    until("it is back", || stage.connected() >= 2).await;
    until("the prefetch is used up again", || stage.held() == 7).await;
    // More would have come by the time that a message has gone through the broker and back.
    let client = Client::new(&url).await;
    client.depth_is(&queue, 33).await;
    assert_eq!(stage.held(), 7);

    stage.set(Mood::Stores);
    stage.release_all();
    until("all are stored", || sent.iter().all(|session| stage.stored().contains(session))).await;
    assert_eq!(stage.stored().len(), sent.len() + 7, "exactly the unacknowledged ones came twice");
    running.stop().await;
    Client::new(&url).await.depth_is(&queue, 0).await;
}

#[tokio::test]
async fn acknowledgements_that_nobody_gets_are_counted() {
    let (vhost, url) = tokio::task::spawn_blocking(|| Broker::shared().own_vhost()).await.expect("a vhost");
    let (options, _) = unwary(&url);
    publish(&options, &sessions(1)).await;
    let stage = Stage::new(Mood::Holds);
    let running = Running::ready(options, &stage).await;
    until("it is handed over", || stage.held() == 1).await;
    // The receipt and the cut race; whichever way it goes, the event is stored, and known if it comes again.
    let cut = tokio::task::spawn_blocking(move || Broker::shared().close_connections(&vhost));
    stage.release_all();
    cut.await.expect("rabbitmqctl");
    stage.set(Mood::Stores);
    until("it is back", || stage.connected() >= 2).await;
    running.is_ready().await;
    running.stop().await;
    let acked = stage.count(|notice| matches!(notice, Notice::Beat { .. }));
    assert!(acked >= 1, "it was acknowledged, at the latest when it came again");
}

#[tokio::test]
async fn a_stop_settles_what_is_on_its_way_and_sends_back_the_rest() {
    let url = shared().await.url();
    let (options, queue) = unwary(&url);
    publish(&options, &sessions(30)).await;
    let stage = Stage::new(Mood::Holds);
    let running = Running::ready(Options { prefetch: 10, ..options }, &stage).await;
    until("the prefetch is used up", || stage.held() == 10).await;
    running.drain.cancel();
    let client = Client::new(&url).await;
    client.depth_is(&queue, 20).await;
    assert!(!running.task.is_finished(), "it waits for the ten");
    stage.release_all();
    running.stop().await;
    client.depth_is(&queue, 20).await;
    assert_eq!(stage.stored(), sessions(10));
    assert_eq!(stage.lost(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_broker_that_is_not_there() {
    let stage = Stage::new(Mood::Stores);
    let (options, queue) = options("amqp://zoe:hunter2@127.0.0.1:1/%2f");
    let running = Running::start(options.clone(), &stage);
    until("it has failed twice", || stage.lost().len() >= 2).await;
    assert_eq!(running.health.queues_without_consumer(), [queue]);
    running.stop().await;
    let words = stage.lost().concat();
    assert!(words.contains("127.0.0.1:1") && !words.contains("hunter2") && !words.contains("zoe"), "{words}");
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let stage = Stage::new(Mood::Stores);
    let url = shared().await.url().replace("guest:guest", "guest:hunter2");
    let running = Running::start(options(&url).0, &stage);
    until("it has failed", || !stage.lost().is_empty()).await;
    running.stop().await;
    let words = stage.lost().concat();
    assert!(words.contains("ACCESS_REFUSED") && !words.contains("hunter2"), "{words}");
}

#[tokio::test]
async fn a_queue_is_bound_to_the_exchange_of_the_senders() {
    let url = shared().await.url();
    for kind in [None, Some(ExchangeKind::Direct), Some(ExchangeKind::Fanout)] {
        let exchange = unique("exchange");
        if let Some(kind) = kind {
            let client = Client::new(&url).await;
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let declared = client.channel.exchange_declare((&*exchange).into(), kind, options, FieldTable::default());
            declared.await.expect("an exchange of the senders");
        }
        let routing_key = Some("session.completed".to_owned());
        let options = Options { exchange: Some(exchange), routing_key, ..options(&url).0 };
        publish(&options, &["s".to_owned()]).await;
        let stage = Stage::new(Mood::Stores);
        let running = Running::ready(options, &stage).await;
        until("it is stored", || stage.stored() == ["s"]).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn publishing_into_nowhere_is_an_error_that_counts_what_arrived() {
    let url = shared().await.url();
    let (options, _) = options(&url);
    let publisher = Publisher::connect(&Options { declare: false, ..options.clone() }).await.expect("a publisher");
    let error = publisher.publish([message("s")]).await.expect_err("no queue");
    assert!(matches!((error.confirmed, error.cause), (0, NotPublished::Unroutable { .. })));
    let publisher = Publisher::connect(&options).await.expect("a publisher");
    let long = Message { message_id: Some("m".repeat(256)), ..Message::default() };
    let error = publisher.publish([message("s"), long]).await.expect_err("a bad id");
    assert!(matches!(error.cause, NotPublished::MessageId), "{error:?}");
}
