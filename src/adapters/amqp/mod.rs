//! Events from RabbitMQ, on lapin; the ends of jobs back to it; and the publisher that `submit` and `demo` use.
//!
//! One task per queue connects, declares, consumes, and starts anew with a growing pause whenever anything ends: a
//! connection cut, a queue deleted, a store that fails. lapin's own recovery stays off, so that there is one way to be
//! ready and it is the way of the first start. An event is acknowledged only after its job is on disk; a refused one
//! only after it stands in the dead-letter queue, confirmed. What is not acknowledged, the broker delivers again, and
//! the idempotency key makes that harmless. Facts leave as notices; nothing is logged here.

mod connect;
mod dead_letters;
mod health;
mod look;
mod outbox;
mod outlet;
mod publish;
mod session;
mod topology;

use std::{error::Error as _, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    connect::Broker,
    session::{Desk, Session},
    topology::Names,
};
pub use self::{
    health::AmqpHealth,
    look::{BrokerLook, NotLetIn, Presence, QueueLook, Trouble, look},
    outbox::{AmqpOutbox, Bell, OutboxOptions, OutboxPorts, Telling},
    publish::{Message, NotPublished, PublishError, Publisher},
};
use crate::{
    domain::{notice::Notice, time::Draw},
    ports::{Clock, Intake, Observer},
};

/// The section `[amqp]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub url: SecretString,
    /// The queues to consume.
    pub queues: Vec<String>,
    /// The exchange that the queues are bound to, if any.
    pub exchange: Option<String>,
    /// The key that they are bound with; without it, everything.
    pub routing_key: Option<String>,
    /// Deliveries of one queue that may be unacknowledged at a time. The back-pressure: there is no other queue.
    pub prefetch: u16,
    /// Whether a session begins with few events at a time where they come back from one before, which may have crashed
    /// at one of them.
    pub wary: bool,
    /// Whether queues, dead-letter queues, exchanges and bindings are declared.
    pub declare: bool,
    /// How long a stop waits for jobs that are on their way to the disk.
    pub drain: Duration,
}

impl Options {
    /// The defaults, at a URL.
    pub fn at(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            queues: vec!["passback.session-completed".to_owned()],
            exchange: None,
            routing_key: None,
            prefetch: 512,
            wary: true,
            declare: true,
            drain: Duration::from_secs(10),
        }
    }
}

/// What went wrong between us and the broker. No text holds the URL's password.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// The setting is no AMQP URL.
    #[error("[amqp] url must look like amqp://user:password@host:5672/%2f, or amqps://…")]
    Url,
    /// A name that AMQP cannot carry.
    #[error("[amqp] {setting} must have 1 to 255 bytes, and beside a queue there must be room for .dlq")]
    Name {
        /// The setting.
        setting: &'static str,
    },
    /// No queue is named.
    #[error("[amqp] queues names no queue")]
    NoQueues,
    /// The broker cannot be reached, or does not let us in.
    #[error("cannot connect to RabbitMQ at {place}")]
    Connect {
        /// Host and port.
        place: String,
        /// Why.
        #[source]
        cause: lapin::Error,
    },
    /// A step failed.
    #[error("RabbitMQ failed to {step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why.
        #[source]
        cause: lapin::Error,
    },
    /// A step took too long.
    #[error("RabbitMQ did not manage to {step} within {} s", limit.as_secs())]
    OutOfTime {
        /// The step.
        step: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The queue is there, but not as it would be declared.
    #[error(
        "the queue {queue} exists with other settings than passback declares; delete it, or set [amqp] declare = false \
         and give it a dead-letter exchange of your own"
    )]
    OtherQueue {
        /// The queue.
        queue: String,
        /// What the broker says.
        #[source]
        cause: lapin::Error,
    },
    /// The broker took the consumer away.
    #[error("RabbitMQ ended the consumer: the queue was deleted, or an acknowledgement took too long")]
    ConsumerEnded,
    /// The connection is gone, and nobody said so.
    #[error("the connection to RabbitMQ is gone")]
    Silent,
    /// A refused event found no dead-letter queue.
    #[error(
        "a refused event reached no queue through the exchange {exchange}; bind {queue}.dlq to it with the key {queue}"
    )]
    DeadLetterUnroutable {
        /// The dead-letter exchange.
        exchange: &'static str,
        /// The queue that the event came from.
        queue: String,
    },
    /// The broker did not take a refused event.
    #[error("RabbitMQ did not take a refused event into the dead-letter queue")]
    DeadLetterRefused,
    /// The broker did not take the end of a job.
    #[error("RabbitMQ refused an outcome; its own log says why")]
    OutcomeRefused,
    /// The store takes no events.
    #[error("the store takes no events")]
    Store(#[source] crate::ports::StoreError),
    /// The acknowledgement did not reach the broker.
    #[error("an acknowledgement did not reach RabbitMQ")]
    AckLost,
}

/// The way in from RabbitMQ.
pub struct AmqpIntake {
    desk: Arc<Desk>,
    sessions: Vec<Names>,
}

impl AmqpIntake {
    /// Checks the options; connects to nothing yet.
    pub fn new(
        options: Options,
        intake: Arc<dyn Intake>,
        observer: Arc<dyn Observer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AmqpError> {
        let broker = Broker::parse(&options.url)?;
        let sessions = Names::of(&options)?;
        let health = AmqpHealth::new(&options.queues);
        Ok(Self { desk: Arc::new(Desk { broker, options, intake, observer, clock, health }), sessions })
    }

    /// Says which queues have no consumer.
    pub fn health(&self) -> AmqpHealth {
        self.desk.health.clone()
    }

    /// Consumes until `drain`; then lets what is on its way to the disk arrive, acknowledges it, and returns.
    pub async fn run(self, drain: CancellationToken) {
        let mut tasks = JoinSet::new();
        for names in self.sessions {
            tasks.spawn(supervise(self.desk.clone(), names, drain.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// Keeps one queue consumed, for ever.
async fn supervise(desk: Arc<Desk>, names: Names, drain: CancellationToken) {
    let (mut failures, mut wary) = (0, desk.options.wary);
    loop {
        let began = desk.clock.now();
        let mut session = Session::new(&desk, &names, &drain, wary);
        let Err(error) = session.run().await else {
            return;
        };
        let did_well = session.has_settled() || desk.clock.now().since(began) >= STEADY;
        failures = if did_well { 1 } else { failures + 1 };
        wary = session.is_wary();
        desk.observer.observe(&Notice::AmqpLost { queue: names.queue.to_string(), error: in_full(&error) });
        if !rest(&desk, failures, &drain).await {
            return;
        }
    }
}

/// Waits before the next start, and as long as the store takes nothing: what would be consumed then would only go
/// back, and a quorum queue counts how often that happens. False when there is no next start.
async fn rest(desk: &Desk, mut failures: u32, drain: &CancellationToken) -> bool {
    loop {
        let pause = pause(failures, desk.clock.draw());
        tokio::select! {
            () = drain.cancelled() => return false,
            () = tokio::time::sleep(pause) => {}
        }
        if desk.intake.is_open() {
            return true;
        }
        failures = failures.saturating_add(1);
    }
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32, draw: Draw) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX).mul_f64(draw.factor(PAUSE_JITTER))
}

/// An error with its causes, each said once: lapin repeats the cause inside its own text.
fn in_full(error: &AmqpError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    // The client's name for what the broker's own words begin with.
    let twice = ["ACCESS", "NOT", "PRECONDITION", "RESOURCE"].into_iter().zip(["REFUSED", "FOUND", "FAILED", "LOCKED"]);
    twice.fold(text, |text, (one, two)| text.replace(&format!("{one}-{two}: {one}_{two}"), &format!("{one}_{two}")))
}

const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// However long the broker was away, events flow within seconds of its return.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Workers that lost the same broker shall not come back in step.
const PAUSE_JITTER: f64 = 0.3;
/// A session that held so long was a good one, even if no event came.
const STEADY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_some_seconds_and_is_never_in_step() {
        let check = |failures, millis: u64| {
            assert_eq!(pause(failures, Draw::MIDDLE), Duration::from_millis(millis), "after {failures}");
        };
        check(0, 200);
        check(1, 200);
        check(2, 400);
        check(5, 3_200);
        check(6, 5_000);
        check(u32::MAX, 5_000);
        assert!(pause(9, Draw::new(0.0)) < pause(9, Draw::new(1.0)));
    }

    #[test]
    fn a_cause_is_told_once() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused");
        let error = AmqpError::Connect { place: "localhost:5672".to_owned(), cause: io.into() };
        assert_eq!(in_full(&error), "cannot connect to RabbitMQ at localhost:5672: IO error: Connection refused");
    }
}
