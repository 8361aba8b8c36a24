//! Events to RabbitMQ, each confirmed: what `passback submit --amqp` and `passback demo --amqp` use.

use std::{collections::VecDeque, time::Duration};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
    types::ShortString,
};
use tokio::time::timeout;

use super::{
    AmqpError, Options,
    connect::{Broker, close, step},
    topology::Names,
};
use crate::domain::time::Timestamp;

/// An event to publish.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The event, as JSON.
    pub body: Vec<u8>,
    /// The AMQP `message_id`, at most 255 bytes.
    pub message_id: Option<String>,
    /// The AMQP `timestamp`, in whole seconds.
    pub sent_at: Option<Timestamp>,
}

/// Not all events were confirmed.
#[derive(Debug, thiserror::Error)]
#[error("only {confirmed} events were confirmed")]
pub struct PublishError {
    /// How many were confirmed, from the first on. Those that follow may have arrived or not; to publish them again
    /// does no harm as long as they carry an `event_id` or a `message_id`.
    pub confirmed: usize,
    /// Why.
    #[source]
    pub cause: NotPublished,
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// The broker.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// No queue takes it.
    #[error(
        "no queue takes what is published to the exchange {exchange:?} with the key {key:?}; a worker that has run once has declared it"
    )]
    Unroutable {
        /// The exchange; empty for the default one.
        exchange: String,
        /// The routing key.
        key: String,
    },
    /// The broker refused it.
    #[error("RabbitMQ refused an event; its own log says why")]
    Nack,
    /// The message id is too long.
    #[error("a message_id must have at most 255 bytes")]
    MessageId,
}

/// A connection that publishes to where the worker consumes.
pub struct Publisher {
    connection: Connection,
    channel: Channel,
    exchange: ShortString,
    key: ShortString,
}

impl Publisher {
    /// Connects; declares what the worker would, if `options.declare` says so. Events go through the exchange of the
    /// options if it has one with a routing key, else straight into the first queue.
    pub async fn connect(options: &Options) -> Result<Self, AmqpError> {
        let names = Names::of(options)?;
        let first = names.first().ok_or(AmqpError::NoQueues)?;
        let (exchange, key) = first.route(options.routing_key.is_some());
        let connection = Broker::parse(&options.url)?.connect("passback: publisher").await?;
        if options.declare {
            for names in &names {
                names.declare(&connection).await?;
            }
        }
        let channel = step("open a channel", connection.create_channel()).await?;
        step("confirm what is published", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel, exchange, key })
    }

    /// Publishes events, persistent, in order, with up to 1,024 of them waiting for their confirmation. Returns how
    /// many were confirmed: all of them.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Message>) -> Result<usize, PublishError> {
        let mut confirmed = 0;
        let published = self.publish_counting(messages, &mut confirmed).await;
        published.map(|()| confirmed).map_err(|cause| PublishError { confirmed, cause })
    }

    /// Deletes the queues of the options and their dead-letter queues, with all that is in them.
    pub async fn delete_queues(&self, options: &Options) -> Result<(), AmqpError> {
        for queue in options.queues.iter().flat_map(|queue| [queue.clone(), format!("{queue}.dlq")]) {
            let deleted = self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
            step("delete a queue", deleted).await?;
        }
        Ok(())
    }

    /// Closes the connection.
    pub async fn close(self) {
        close(self.connection).await;
    }

    async fn publish_counting(
        &self,
        messages: impl IntoIterator<Item = Message>,
        confirmed: &mut usize,
    ) -> Result<(), NotPublished> {
        let mut window: VecDeque<PublisherConfirm> = VecDeque::with_capacity(WINDOW);
        for message in messages {
            if window.len() == WINDOW
                && let Some(oldest) = window.pop_front()
            {
                self.confirm(oldest).await?;
                *confirmed += 1;
            }
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let (exchange, key) = (self.exchange.clone(), self.key.clone());
            let properties = properties(&message)?;
            let publishing = self.channel.basic_publish(exchange, key, options, &message.body, properties);
            window.push_back(step("take an event", publishing).await?);
        }
        for confirm in window {
            self.confirm(confirm).await?;
            *confirmed += 1;
        }
        Ok(())
    }

    async fn confirm(&self, confirm: PublisherConfirm) -> Result<(), NotPublished> {
        const STEP: &str = "confirm an event";
        let confirmation = timeout(CONFIRM_LIMIT, confirm).await;
        let confirmation = confirmation.map_err(|_| AmqpError::OutOfTime { step: STEP, limit: CONFIRM_LIMIT })?;
        match confirmation.map_err(|cause| AmqpError::Step { step: STEP, cause })? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => {
                let (exchange, key) = (self.exchange.to_string(), self.key.to_string());
                Err(NotPublished::Unroutable { exchange, key })
            }
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(NotPublished::Nack),
        }
    }
}

fn properties(message: &Message) -> Result<BasicProperties, NotPublished> {
    let mut properties =
        BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(PERSISTENT);
    if let Some(id) = &message.message_id {
        properties = properties.with_message_id(ShortString::try_new(&**id).map_err(|_| NotPublished::MessageId)?);
    }
    if let Some(secs) = message.sent_at.and_then(|at| u64::try_from(at.as_secs()).ok()) {
        properties = properties.with_timestamp(secs);
    }
    Ok(properties)
}

/// Measured: more brings nothing, and less waits for the broker's disk.
const WINDOW: usize = 1_024;
/// A broker with a memory or disk alarm does not confirm until it is over.
const CONFIRM_LIMIT: Duration = Duration::from_secs(60);
/// AMQP 0-9-1, `delivery-mode`: written to disk.
pub(super) const PERSISTENT: u8 = 2;
