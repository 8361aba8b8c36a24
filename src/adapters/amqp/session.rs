//! One session with the broker about one queue, from the connection to whatever ends it.
//!
//! Reading and settling run side by side in one task. The reader hands each event to the store in the order of the
//! queue; the settler follows in the same order, waits until an event is on disk (or, if it was refused, in the
//! dead-letter queue), and acknowledges all that have become so in one go. An acknowledgement never overtakes one
//! before it: "all up to here" would otherwise cover what is not stored yet.

use std::{
    future::ready,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{StreamExt, poll};
use lapin::{
    Acker, Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    AmqpError, Options,
    connect::{Broker, close, step},
    dead_letters::DeadLetters,
    health::AmqpHealth,
    topology::Names,
};
use crate::{
    domain::{
        event::Door,
        notice::{Loop, Notice, Source},
        time::Timestamp,
    },
    ports::{Clock, Incoming, Intake, Observer, Pending},
};

/// What every session needs.
pub(super) struct Desk {
    pub(super) broker: Broker,
    pub(super) options: Options,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: AmqpHealth,
}

/// One session.
pub(super) struct Session<'a> {
    desk: &'a Desk,
    names: &'a Names,
    drain: &'a CancellationToken,
    /// Whether anything was acknowledged: then the next failure is the first of a new row.
    settled: AtomicBool,
    /// Whether it is still to begin warily: this life of the worker has had no event in its hands yet.
    wary: AtomicBool,
}

/// A delivery that waits for its turn to be acknowledged.
struct Held {
    acker: Acker,
    /// Ends when nothing can be lost any more: on disk, or in the dead-letter queue.
    safe: Pending<'static, Result<(), AmqpError>>,
}

/// Why no more is read, while what was read can still be settled.
enum Closing {
    /// The worker stops.
    Drained,
    /// The consumer is gone, but the channel is not.
    ConsumerEnded,
}

impl<'a> Session<'a> {
    pub(super) fn new(desk: &'a Desk, names: &'a Names, drain: &'a CancellationToken, wary: bool) -> Self {
        Self { desk, names, drain, settled: AtomicBool::new(false), wary: wary.into() }
    }

    /// Whether the next session is to begin warily.
    pub(super) fn is_wary(&self) -> bool {
        self.wary.load(Ordering::Relaxed)
    }

    /// Whether anything was acknowledged.
    pub(super) fn has_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Consumes until the worker stops (`Ok`) or something ends the session.
    pub(super) async fn run(&mut self) -> Result<(), AmqpError> {
        let (connection, channel, consumer) = tokio::select! {
            biased;
            () = self.drain.cancelled() => return Ok(()),
            opened = self.open() => opened?,
        };
        let queue = self.names.queue.as_str();
        self.desk.health.gained(queue);
        self.desk.observer.observe(&Notice::AmqpConnected { queue: queue.to_owned() });
        let ended = self.consume(&channel, consumer).await;
        self.desk.health.lost(queue);
        close(connection).await;
        ended
    }

    async fn open(&self) -> Result<(Connection, Channel, Consumer), AmqpError> {
        let queue = &self.names.queue;
        let connection = self.desk.broker.connect(&format!("passback: {queue}")).await?;
        if self.desk.options.declare {
            self.names.declare(&connection).await?;
        }
        let channel = step("open a channel", connection.create_channel()).await?;
        // The limit holds for consumers that come after it, so it comes first.
        let prefetch = self.desk.options.prefetch.max(1);
        step("limit the prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        if self.wary.swap(false, Ordering::Relaxed) {
            self.begin_warily(&channel).await?;
        }
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default());
        let consumer = step("start a consumer", consuming).await?;
        Ok((connection, channel, consumer))
    }

    /// Takes events that were in somebody's hands before in small groups: one, two, four, and so on, each of them
    /// settled before the next is asked for. Then a worker that crashes at an event has few others in its hands; a quorum
    /// queue counts how often an event comes back, and takes one out that came too often. Once in the life of a worker:
    /// one that lives on has not crashed, and an event that cannot be settled must not keep those behind it waiting.
    async fn begin_warily(&self, channel: &Channel) -> Result<(), AmqpError> {
        let mut dead_letters = DeadLetters::new(self.desk.broker.clone(), self.names.queue.clone());
        let enough = usize::from(self.desk.options.prefetch / WARY_LIVES).max(1);
        let mut group = 1;
        while group <= enough {
            let (hand_on, handed) = mpsc::channel(group);
            let mut came_back = 0;
            for _ in 0..group {
                let taking = channel.basic_get(self.names.queue.clone(), BasicGetOptions::default());
                let Some(message) = step("hand out an event", taking).await? else { break };
                came_back += usize::from(message.delivery.redelivered);
                let held = self.take_in(message.delivery, &mut dead_letters).await;
                hand_on.try_send(held).map_err(|_| AmqpError::Silent)?;
            }
            drop(hand_on);
            self.settle(handed).await?;
            if came_back < group {
                break;
            }
            group *= 2;
        }
        Ok(())
    }

    async fn consume(&self, channel: &Channel, mut consumer: Consumer) -> Result<(), AmqpError> {
        let (hand_on, handed) = mpsc::channel(usize::from(self.desk.options.prefetch.max(1)));
        let mut settling = pin!(self.settle(handed));
        let closing = tokio::select! {
            // While the reader lives, the settler ends only because something failed.
            ended = &mut settling => return match ended {
                Err(AmqpError::AckLost) => Err(cause_of_a_lost_ack(consumer).await),
                ended => ended,
            },
            closing = self.read(channel, &mut consumer, hand_on) => closing,
        };
        let limit = self.desk.options.drain;
        let settled = timeout(limit, settling).await;
        match closing {
            // What is not settled in time comes again after the next start, and does no harm.
            Ok(Closing::Drained) => Ok(()),
            Ok(Closing::ConsumerEnded) => settled.unwrap_or(Ok(())).and(Err(AmqpError::ConsumerEnded)),
            // The broker's own words come before "an acknowledgement was lost".
            Err(error @ AmqpError::Step { .. }) if matches!(settled, Ok(Err(AmqpError::AckLost))) => Err(error),
            // What the settler says comes first: the reader may only have noticed that it has given up.
            Err(error) => settled.unwrap_or(Ok(())).and(Err(error)),
        }
    }

    /// Reads deliveries and hands them on, in order.
    async fn read(
        &self,
        channel: &Channel,
        consumer: &mut Consumer,
        hand_on: mpsc::Sender<Held>,
    ) -> Result<Closing, AmqpError> {
        let mut dead_letters = DeadLetters::new(self.desk.broker.clone(), self.names.queue.clone());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.drain.cancelled() => {
                    let cancelling = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
                    // If it fails, the channel is gone, and the settler will say so.
                    let _ = timeout(CANCEL_LIMIT, cancelling).await;
                    return Ok(Closing::Drained);
                }
                delivery = consumer.next() => delivery,
                // A connection that ends should end the stream. If it once does not, this notices.
                _ = look.tick() => {
                    if channel.status().connected() {
                        self.desk.observer.observe(&Notice::Beat { of: Loop::Intake });
                        continue;
                    }
                    return Err(AmqpError::Silent);
                }
            };
            match delivery {
                None => return Ok(Closing::ConsumerEnded),
                Some(Err(cause)) => return Err(AmqpError::Step { step: "deliver", cause }),
                Some(Ok(delivery)) => {
                    let held = self.take_in(delivery, &mut dead_letters).await;
                    // There is room for all that the prefetch lets come; it is full only if the settler is gone.
                    hand_on.send(held).await.map_err(|_| AmqpError::Silent)?;
                }
            }
        }
    }

    /// Hands one event to the store; or, if it is refused, to the dead-letter queue.
    async fn take_in(&self, delivery: Delivery, dead_letters: &mut DeadLetters) -> Held {
        let Delivery { data, properties, acker, .. } = delivery;
        let body: Arc<[u8]> = data.into();
        let incoming = Incoming {
            body: body.clone(),
            door: Door::Event,
            source: Source::Amqp,
            // Some senders set an empty one on every event; that is none.
            message_id: properties.message_id().as_ref().map(ToString::to_string).filter(|id| !id.is_empty()),
            sent_at: properties.timestamp().and_then(|secs| i64::try_from(secs).ok()).map(Timestamp::from_secs),
            user: None,
        };
        let safe: Pending<'static, _> = match self.desk.intake.read(incoming) {
            Ok(arrival) => {
                let stored = self.desk.intake.store(arrival);
                Box::pin(async move { stored.await.map(drop).map_err(AmqpError::Store) })
            }
            Err(refused) => match dead_letters.publish(&body, &properties, &refused).await {
                Ok(confirmed) => Box::pin(confirmed),
                // It fails in its turn, after those before it are acknowledged.
                Err(error) => Box::pin(ready(Err(error))),
            },
        };
        Held { acker, safe }
    }

    /// Acknowledges in order, as many at a time as are safe by then.
    async fn settle(&self, mut handed: mpsc::Receiver<Held>) -> Result<(), AmqpError> {
        let mut waiting = None;
        loop {
            let first = match waiting.take() {
                Some(held) => Some(held),
                None => handed.recv().await,
            };
            let Some(Held { mut acker, safe }) = first else {
                return Ok(());
            };
            if let Err(error) = is_safe(safe, Instant::now() + SAFE_LIMIT).await {
                return Err(self.settle_the_rest(error, waiting, handed).await);
            }
            let mut count = 1;
            let mut failed = Ok(());
            while let Ok(mut next) = handed.try_recv() {
                match poll!(&mut next.safe) {
                    Poll::Ready(Ok(())) => {
                        acker = next.acker;
                        count += 1;
                    }
                    Poll::Ready(Err(error)) => {
                        failed = Err(error);
                        break;
                    }
                    Poll::Pending => {
                        waiting = Some(next);
                        break;
                    }
                }
            }
            self.acknowledge(&acker, count, Reach::UpTo).await?;
            if let Err(error) = failed {
                return Err(self.settle_the_rest(error, waiting, handed).await);
            }
        }
    }

    /// One event could not be made safe, and the session ends with `error`. Those that were handed on after it and are
    /// safe are acknowledged one by one, so that they do not come again with it, time after time. All of them together
    /// may take as long as one: a store that hangs must not keep the session for hours.
    async fn settle_the_rest(
        &self,
        error: AmqpError,
        waiting: Option<Held>,
        mut handed: mpsc::Receiver<Held>,
    ) -> AmqpError {
        handed.close();
        let deadline = Instant::now() + SAFE_LIMIT;
        let mut next = waiting;
        while let Some(Held { acker, safe }) = match next.take() {
            Some(held) => Some(held),
            None => handed.recv().await,
        } {
            let settled = match is_safe(safe, deadline).await {
                Ok(()) => self.acknowledge(&acker, 1, Reach::Alone).await,
                Err(_) => continue,
            };
            if settled.is_err() {
                break;
            }
        }
        error
    }

    /// Acknowledges this delivery alone or everything up to it, so many deliveries.
    async fn acknowledge(&self, acker: &Acker, count: u64, reach: Reach) -> Result<(), AmqpError> {
        let options = BasicAckOptions { multiple: reach == Reach::UpTo };
        let acked = timeout(ACK_LIMIT, acker.ack(options)).await;
        // `Ok(false)`: the channel is gone, and lapin sent nothing.
        if let Ok(Ok(true)) = acked {
            self.settled.store(true, Ordering::Relaxed);
            self.desk.observer.observe(&Notice::Beat { of: Loop::Intake });
            Ok(())
        } else {
            self.desk.observer.observe(&Notice::AcksLost { count });
            Err(AmqpError::AckLost)
        }
    }
}

/// What an acknowledgement is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This delivery and all before it.
    UpTo,
    /// This delivery.
    Alone,
}

/// Why an acknowledgement did not reach the broker: what it said when it closed the channel, if it said anything.
async fn cause_of_a_lost_ack(mut consumer: Consumer) -> AmqpError {
    let said = async {
        loop {
            match consumer.next().await {
                // These come again.
                Some(Ok(_)) => {}
                Some(Err(cause)) => return AmqpError::Step { step: "take an acknowledgement", cause },
                None => return AmqpError::AckLost,
            }
        }
    };
    timeout(CAUSE_LIMIT, said).await.unwrap_or(AmqpError::AckLost)
}

/// Waits until nothing of an event can be lost any more.
async fn is_safe(safe: Pending<'static, Result<(), AmqpError>>, deadline: Instant) -> Result<(), AmqpError> {
    let limit = AmqpError::OutOfTime { step: "see an event stored", limit: SAFE_LIMIT };
    timeout_at(deadline, safe).await.unwrap_or(Err(limit))
}

/// How often the reader makes sure that the channel still stands, and says that it lives.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A store that takes longer than this for a commit has failed, whatever it says later. Far below the half hour after
/// which the broker takes the delivery back by itself.
const SAFE_LIMIT: Duration = Duration::from_secs(120);
/// A wary start goes on until a life makes so much progress that in so many of them, one after another, each event of a
/// full prefetch is settled. Less than the 20 times that RabbitMQ 4 lets an event come back.
const WARY_LIVES: u16 = 15;
const ACK_LIMIT: Duration = Duration::from_secs(15);
/// What the broker has said is there already.
const CAUSE_LIMIT: Duration = Duration::from_millis(200);
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::{
        adapters::clock::SystemClock,
        domain::{event::Refused, ledger::Arrival},
        ports::{Receipt, StoreError},
    };

    /// Nobody is asked for anything, and nobody listens.
    struct Nobody;

    impl Intake for Nobody {
        fn read(&self, _: Incoming) -> Result<Box<Arrival>, Refused> {
            unreachable!("nothing is read")
        }

        fn store(&self, _: Box<Arrival>) -> Pending<'static, Result<Receipt, StoreError>> {
            unreachable!("nothing is stored")
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    impl Observer for Nobody {
        fn observe(&self, _: &Notice) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_keeps_a_session_no_longer_for_many_events_than_for_one() {
        let options = Options::at("amqp://guest:guest@127.0.0.1:1");
        let desk = Desk {
            broker: Broker::parse(&options.url).expect("a good URL"),
            health: AmqpHealth::new(&options.queues),
            options,
            intake: Arc::new(Nobody),
            observer: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
        };
        let names = Names::of(&desk.options).expect("good names");
        let drain = CancellationToken::new();
        let session = Session::new(&desk, &names[0], &drain, false);
        let held = |tag| {
            let delivery = Delivery::mock(tag, "".into(), "".into(), false, Vec::new());
            Held { acker: delivery.acker, safe: Box::pin(pending()) }
        };
        let (hand_on, handed) = mpsc::channel(9);
        for tag in 2..=9 {
            hand_on.try_send(held(tag)).expect("there is room");
        }
        let began = Instant::now();
        let error = session.settle_the_rest(AmqpError::Silent, Some(held(1)), handed).await;
        assert!(matches!(error, AmqpError::Silent), "{error}");
        assert_eq!(began.elapsed().as_secs(), SAFE_LIMIT.as_secs());
    }
}
