//! The way out: each end of a job, from its note in the store to the exchange `[amqp] outcomes_exchange`.
//!
//! The note was written in the commit that ended the job, and is taken out only when the broker has confirmed the
//! message: so a crash in between repeats the message, and nothing loses it. Ends go in the order in which they came, in
//! rounds: read, see that they are on disk, publish, wait for the confirms, take out. There is no other memory of what
//! is to be done, so a start, a broker that was away and a quiet day all go the same way. The connection is one of its
//! own: a broker that stops reading from those who publish must hold up neither acknowledgements nor deliveries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use secrecy::SecretString;
use tokio::{sync::Notify, task::yield_now, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    AmqpError,
    connect::Broker,
    in_full,
    outlet::{Outlet, Post},
    pause,
};
use crate::{
    domain::{
        drawer::{Drawer, JobEnd, Note},
        job::Job,
        ledger::{Answer, Order, Work},
        notice::Notice,
    },
    ports::{Clock, JobStore, Observer, Pending, StoreError},
};

/// Where the ends of jobs are published.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub url: SecretString,
    /// The exchange.
    pub exchange: String,
    /// Whether it is declared where it is missing.
    pub declare: bool,
}

/// What a message says of an end; of its job, as it is by now, where that is still there and can be read.
pub type Telling = Arc<dyn Fn(&JobEnd, Option<&Job>) -> Vec<u8> + Send + Sync>;

/// Hears of each job that ends, so that nobody has to look all the time.
#[derive(Default)]
pub struct Bell {
    rung: Notify,
    ends: AtomicU64,
}

impl Observer for Bell {
    fn observe(&self, notice: &Notice) {
        if let Notice::Delivered { .. }
        | Notice::Flagged { .. }
        | Notice::Superseded { .. }
        | Notice::Discarded { .. } = notice
        {
            self.ends.fetch_add(1, Ordering::Relaxed);
            self.rung.notify_one();
        }
    }
}

/// The ports that it works with.
#[derive(Clone)]
pub struct OutboxPorts {
    /// Where the notes are.
    pub store: Arc<dyn JobStore>,
    /// What is said of an end.
    pub tell: Telling,
    /// Who hears of the ends.
    pub bell: Arc<Bell>,
    /// Who wants to know.
    pub observer: Arc<dyn Observer>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
}

/// Publishes the ends of jobs.
pub struct AmqpOutbox {
    broker: Broker,
    options: OutboxOptions,
    ports: OutboxPorts,
    /// Keys of notes whose message is confirmed, and which are not taken out yet: while the store takes no writes, they
    /// shall not be published again and again.
    confirmed: Vec<Vec<u8>>,
    /// How many ends wait, as far as is known.
    waiting: u64,
    /// Whether this session published anything: then the next failure is the first of a new row.
    did_well: bool,
}

/// What a round came to.
enum Round {
    /// There may be more.
    More,
    /// There is nothing to do, or it cannot be done now.
    Rest,
}

impl AmqpOutbox {
    /// Checks the options; connects to nothing yet.
    pub fn new(options: OutboxOptions, ports: OutboxPorts) -> Result<Self, AmqpError> {
        let broker = Broker::parse(&options.url)?;
        Ok(Self { broker, options, ports, confirmed: Vec::new(), waiting: 0, did_well: false })
    }

    /// Publishes until `drain`. What is not published by then stays in the store, for the next start.
    pub async fn run(mut self, drain: CancellationToken) {
        self.count().await;
        let mut failures = 0;
        while let Err(error) = self.session(&drain).await {
            failures = if self.did_well { 1 } else { failures + 1 };
            let exchange = self.options.exchange.clone();
            self.ports.observer.observe(&Notice::OutcomesLost { exchange, error: in_full(&error) });
            self.know_waiting(self.waiting + self.ports.bell.ends.swap(0, Ordering::Relaxed));
            let pause = pause(failures, self.ports.clock.draw());
            if drain.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Counts what the last run has left.
    async fn count(&mut self) {
        let (mut count, mut last) = (0, None::<Note>);
        while let Ok(notes) =
            self.ports.store.notes(Drawer::Outcomes, last.as_ref().map(|note| &*note.key), COUNTED_AT_ONCE)
            && !notes.is_empty()
        {
            count += notes.len() as u64;
            last = notes.into_iter().next_back();
            yield_now().await;
        }
        self.know_waiting(count);
    }

    /// One connection, from its beginning to whatever ends it; `Ok` when the worker stops.
    async fn session(&mut self, drain: &CancellationToken) -> Result<(), AmqpError> {
        self.did_well = false;
        let opening = Outlet::open(&self.broker, &self.options);
        let Some(opened) = drain.run_until_cancelled(opening).await else {
            return Ok(());
        };
        let outlet = opened?;
        let exchange = self.options.exchange.clone();
        self.ports.observer.observe(&Notice::OutcomesConnected { exchange });
        let ended = self.publish_until(drain, &outlet).await;
        outlet.close().await;
        ended
    }

    async fn publish_until(&mut self, drain: &CancellationToken, outlet: &Outlet) -> Result<(), AmqpError> {
        // One alone goes first: a broker that takes nothing, time after time, is not to get hundreds of repeats.
        let mut limit = 1;
        while !drain.is_cancelled() {
            let overtime = async {
                drain.cancelled().await;
                sleep(DRAIN_LIMIT).await;
            };
            let round = tokio::select! {
                biased;
                round = self.round(outlet, limit) => round?,
                // What was under way is published once more after the next start.
                () = overtime => return Ok(()),
            };
            match round {
                Round::More => limit = ROUND_MAX,
                Round::Rest => {
                    tokio::select! {
                        () = drain.cancelled() => {}
                        () = self.ports.bell.rung.notified() => {}
                        () = sleep(LOOK_EVERY) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Publishes the oldest ends, at most so many.
    async fn round(&mut self, outlet: &Outlet, limit: usize) -> Result<Round, AmqpError> {
        if !outlet.is_open()? || self.take_out().await.is_err() {
            return Ok(Round::Rest);
        }
        // A store that fails is loud elsewhere.
        let Ok(posts) = self.oldest(limit).await else {
            return Ok(Round::Rest);
        };
        if posts.is_empty() {
            return Ok(if self.confirmed.is_empty() { Round::Rest } else { Round::More });
        }
        let published = outlet.publish(posts).await;
        self.did_well |= !published.confirmed.is_empty();
        self.ports.observer.observe(&Notice::OutcomesPublished { count: published.confirmed.len() as u64 });
        self.confirmed.extend(published.confirmed);
        // If that fails, the next round begins with it.
        let _ = self.take_out().await;
        published.ended.map(|()| Round::More)
    }

    /// Takes what is done with out of the drawer; many at a time, so that they share a commit.
    async fn take_out(&mut self) -> Result<(), StoreError> {
        let take_out = |key: &Vec<u8>| {
            let key = key.clone();
            self.order(Work::PutNote { drawer: Drawer::Outcomes, key, record: None })
        };
        let orders: Vec<_> = self.confirmed.iter().map(take_out).collect();
        for order in orders {
            order.await?;
        }
        self.know_waiting(self.waiting.saturating_sub(self.confirmed.len() as u64));
        self.confirmed.clear();
        Ok(())
    }

    /// The oldest ends, each as a message. What cannot be read is told, and goes out with what was confirmed.
    async fn oldest(&mut self, limit: usize) -> Result<Vec<Post>, StoreError> {
        let rung = self.ports.bell.ends.swap(0, Ordering::Relaxed);
        let notes = self.ports.store.notes(Drawer::Outcomes, None, limit)?;
        let found = notes.len() as u64;
        self.know_waiting(if notes.len() < limit { found } else { found.max(self.waiting + rung) });
        if notes.is_empty() {
            return Ok(Vec::new());
        }
        let mut posts = Vec::with_capacity(notes.len());
        for (index, note) in notes.into_iter().enumerate() {
            match JobEnd::read(&note) {
                Some(end) => posts.push(Post { key: note.key, body: self.tell(&end)?, end }),
                None => {
                    let error =
                        "the note of an end that was to be published makes no sense; it is taken out".to_owned();
                    self.ports.observer.observe(&Notice::RecordDamaged { error });
                    self.confirmed.push(note.key);
                }
            }
            if index % READ_AT_ONCE == 0 {
                yield_now().await;
            }
        }
        // What was read may be part of a commit that is not on disk yet: nothing is told before it is.
        self.order(Work::Fence).await?;
        Ok(posts)
    }

    fn tell(&self, end: &JobEnd) -> Result<Vec<u8>, StoreError> {
        let job = match self.ports.store.job(end.job) {
            // It is told by the store; that it ended is known all the same.
            Err(StoreError::Unreadable(_)) => None,
            found => found?,
        };
        Ok((self.ports.tell)(end, job.as_ref()))
    }

    fn order(&self, work: Work) -> Pending<'static, Result<Answer, StoreError>> {
        let clock = &self.ports.clock;
        self.ports.store.submit(Order { work, now: clock.now(), draw: clock.draw() })
    }

    fn know_waiting(&mut self, count: u64) {
        if self.waiting != count {
            self.waiting = count;
            self.ports.observer.observe(&Notice::OutcomesWaiting { count });
        }
    }
}

/// The most ends of a round: they wait for the broker's disk together, and are taken out in one commit.
const ROUND_MAX: usize = 256;
/// Reading a job takes some tens of microseconds; others want to run too.
const READ_AT_ONCE: usize = 16;
const COUNTED_AT_ONCE: usize = 1_000;
/// How often it looks although nobody rang, and sees whether the connection still stands.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for confirms.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
