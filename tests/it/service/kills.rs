//! `kill -9` at each named step and at random moments, with a real broker, replies that get lost and platforms that
//! fail: after each kill every confirmed event is in the store or still in the queue, the store is consistent, and the
//! platform has no grade that no known attempt has sent. In the end nothing is lost, and each end of a job was published.
//!
//! `tests/campaign kills 200` does it 200 times.

use std::{collections::BTreeMap, time::Duration};

use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use passback::{
    adapters::amqp::{self, Message, Publisher},
    simulator::SimulatedLms,
};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    broker::{Broker, unique},
    delivery::{settings, signing_key},
    doomed::{self, Step},
    oracle::{Books, Ledger, bring_to_an_end, chance, flaky_lms, times},
    outcomes::Listener,
    worker::{QUICK, Worker, wait_for},
};

/// Two of each kind in a normal run.
const KILLS: u32 = 20;
/// How many kills there are in a campaign.
const KILLS_VARIABLE: &str = "PASSBACK_KILLS";
/// Events published before each kill.
const BATCH: u32 = 40;
/// Jobs that are flagged before a kill during a replay.
const FLAGGED: u32 = 8;
/// The worker dies at the first passage of a step, or at a later one up to this.
const PASSAGE_MAX: u32 = 8;
/// The longest that a worker lives before it is killed at a random moment: from the middle of its start to when all is
/// done.
const LIFE_MAX_MS: u64 = 900;

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_every_step_and_at_any_moment_lose_nothing() {
    let begin = Instant::now();
    let mut campaign = Campaign::prepare().await;
    let kills = times(KILLS_VARIABLE, KILLS);
    let kinds: Vec<Option<Step>> = Step::ALL.into_iter().map(Some).chain([None]).collect();
    let mut figures: BTreeMap<&str, u32> = BTreeMap::new();
    for kind in kinds.iter().cycle().take(kills as usize) {
        match kind {
            Some(Step::Replay) => campaign.kill_during_a_replay().await,
            Some(step) => campaign.kill_at(*step).await,
            None => campaign.kill_at_a_random_moment().await,
        }
        campaign.look().await;
        *figures.entry(kind.map_or("random moment", Step::name)).or_default() += 1;
    }
    let counts = campaign.bring_to_an_end().await;
    let writes = campaign.ledger.writes(&campaign.lms);
    let taken: u64 = writes.values().sum();
    println!(
        "{kills} kills, {} events, {counts}; the platform took {taken} grades, {} of them again; {figures:?}; {} s",
        campaign.ledger.confirmed(),
        taken - writes.len() as u64,
        begin.elapsed().as_secs()
    );
}

struct Campaign {
    lms: SimulatedLms,
    worker: Worker,
    publisher: Publisher,
    channel: lapin::Channel,
    /// Keeps the channel.
    _connection: Connection,
    queue: String,
    listener: Listener,
    /// The message ids of the outcomes that came.
    told: Vec<String>,
    ledger: Ledger,
    books: Books,
    chance: StdRng,
}

impl Campaign {
    async fn prepare() -> Self {
        let broker = Broker::shared();
        let lms = flaky_lms().await;
        let (queue, exchange) = (unique("kills"), unique("outcomes-of-kills"));
        let listener = Listener::bound(&broker.url(), &exchange).await;
        // What a platform refuses is flagged at once, so that there is something to replay.
        let config = format!(
            "{}[amqp]\nurl = \"{}\"\nqueues = [\"{queue}\"]\nprefetch = 64\n\
             outcomes_exchange = \"{exchange}\"\n",
            settings(&lms, &signing_key()).replace(QUICK, &format!("{QUICK}permanent = \"flag\"\n")),
            broker.url()
        );
        let options = amqp::Options { queues: vec![queue.clone()], ..amqp::Options::at(broker.url()) };
        let publisher = Publisher::connect(&options).await.expect("a publisher");
        let connection =
            Connection::connect(&broker.url(), ConnectionProperties::default()).await.expect("a connection");
        Self {
            worker: Worker::new(&config),
            publisher,
            channel: connection.create_channel().await.expect("a channel"),
            _connection: connection,
            queue,
            listener,
            told: Vec::new(),
            ledger: Ledger::default(),
            books: Books::default(),
            chance: chance(),
            lms,
        }
    }

    async fn publish(&mut self) {
        let events: Vec<Value> = (0..BATCH).map(|_| self.ledger.next(&self.lms)).collect();
        self.publish_all(&events).await;
    }

    async fn publish_all(&mut self, events: &[Value]) {
        let message = |event: &Value| Message { body: event.to_string().into_bytes(), ..Message::default() };
        let confirmed = self.publisher.publish(events.iter().map(message)).await.expect("all are confirmed");
        assert_eq!(confirmed, events.len());
        for event in events {
            self.ledger.confirm(event);
        }
    }

    async fn kill_at(&mut self, step: Step) {
        self.publish().await;
        // There is an attempt to end at a start, but nobody knows whether there are two.
        let passage = if step == Step::Recovery { 1 } else { self.chance.random_range(1..=PASSAGE_MAX) };
        doomed::spawn(&mut self.worker, step, passage);
        self.has_died().await;
    }

    async fn kill_at_a_random_moment(&mut self) {
        self.publish().await;
        self.worker.spawn();
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..LIFE_MAX_MS))).await;
        self.worker.kill();
    }

    async fn kill_during_a_replay(&mut self) {
        let passage = self.chance.random_range(1..=FLAGGED);
        doomed::spawn(&mut self.worker, Step::Replay, passage);
        self.worker.wait_until_it_answers().await;
        let students: Vec<String> = (0..FLAGGED).map(|_| unique("refused")).collect();
        for student in &students {
            self.lms.refuse_user(student);
        }
        let events: Vec<Value> = students.iter().map(|student| self.ledger.lti11(&self.lms, student)).collect();
        self.publish_all(&events).await;
        self.publish().await;
        wait_for("jobs to be flagged", async || {
            (self.worker.counts().await?["flagged"].as_u64()? >= u64::from(FLAGGED)).then_some(())
        })
        .await;
        for student in &students {
            self.lms.welcome_user(student);
        }
        // Nobody will be there to answer.
        assert!(self.worker.try_post("/api/v1/replay", &json!({"filter": {}})).await.is_none());
        self.has_died().await;
    }

    async fn has_died(&mut self) {
        assert_eq!(self.worker.killed().await, Some(9), "the worker was to die by SIGKILL:\n{}", self.worker.log());
    }

    /// Looks at what the kill has left.
    async fn look(&mut self) {
        let books = Books::copied(self.worker.store());
        books.follow(&self.books);
        self.hear().await;
        let writes = self.ledger.writes(&self.lms);
        self.ledger.check(&books, &writes, &writes);
        let (stored, confirmed) = (books.len(), self.ledger.confirmed());
        let what = format!("{stored} stored events and those in the queue to be all {confirmed}");
        wait_for(&what, async || {
            let queue = self.depth().await;
            (queue.1 == 0 && stored + queue.0 >= confirmed).then_some(())
        })
        .await;
        self.books = books;
    }

    /// How many messages wait in the queue, and how many consumers it has.
    async fn depth(&self) -> (usize, u32) {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare((&*self.queue).into(), options, FieldTable::default()).await;
        let queue = queue.expect("the queue is there");
        (queue.message_count() as usize, queue.consumer_count())
    }

    async fn bring_to_an_end(&mut self) -> String {
        self.worker.start().await;
        let books = bring_to_an_end(&mut self.worker, &self.lms, &self.ledger).await;
        books.follow(&self.books);
        assert_eq!(books.len(), self.ledger.confirmed(), "each event is one job");
        self.worker.start().await;
        let (ends, repeats) = self.listener.hears_every_end(&books, std::mem::take(&mut self.told)).await;
        assert_eq!(self.worker.stop().await, Some(0));
        format!("{books}; {ends} ends told, {repeats} of them again")
    }

    async fn hear(&mut self) {
        let told = self.listener.drain().await;
        self.told.extend(told.into_iter().map(|told| told.message_id));
    }
}
