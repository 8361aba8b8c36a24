//! One connection through which the ends of jobs are published, each persistent and confirmed. No queue need be bound:
//! whoever wants to know binds one, and what nobody wants to know is not kept.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::time::timeout;

use super::{
    AmqpError,
    connect::{Broker, close, step},
    outbox::OutboxOptions,
    publish::PERSISTENT,
    topology::{ensure_exchange, name},
};
use crate::domain::drawer::JobEnd;

/// The end of a job as a message.
pub(super) struct Post {
    /// Of its note.
    pub(super) key: Vec<u8>,
    /// What ended, and how.
    pub(super) end: JobEnd,
    /// JSON.
    pub(super) body: Vec<u8>,
}

/// What became of some messages.
pub(super) struct Published {
    /// The keys of those that the broker has confirmed.
    pub(super) confirmed: Vec<Vec<u8>>,
    /// Why not all were.
    pub(super) ended: Result<(), AmqpError>,
}

/// An open connection.
pub(super) struct Outlet {
    connection: Connection,
    channel: Channel,
    exchange: ShortString,
}

impl Outlet {
    /// Connects, and declares the exchange where the options say so.
    pub(super) async fn open(broker: &Broker, options: &OutboxOptions) -> Result<Self, AmqpError> {
        let exchange = name(&options.exchange, "outcomes_exchange")?;
        let connection = broker.connect("passback: outcomes").await?;
        let mut channel = step("open a channel", connection.create_channel()).await?;
        if options.declare {
            channel = ensure_exchange(&connection, channel, &exchange).await?;
        }
        step("confirm what is published", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel, exchange })
    }

    /// Whether it takes messages now: a broker in need of memory or disk does not. An error where it never will again.
    pub(super) fn is_open(&self) -> Result<bool, AmqpError> {
        let stands = self.connection.status().connected() && self.channel.status().connected();
        if stands { Ok(!self.connection.status().blocked()) } else { Err(AmqpError::Silent) }
    }

    /// Publishes in order, and waits for the confirms.
    pub(super) async fn publish(&self, posts: Vec<Post>) -> Published {
        let mut under_way = Vec::with_capacity(posts.len());
        let mut ended = Ok(());
        for Post { key, end, body } in posts {
            let route = format!("job.{}", end.state.name()).into();
            let options = BasicPublishOptions::default();
            let publishing = self.channel.basic_publish(self.exchange.clone(), route, options, &body, properties(&end));
            match step("take an outcome", publishing).await {
                Ok(confirm) => under_way.push((key, confirm)),
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        let mut confirmed = Vec::with_capacity(under_way.len());
        for (key, confirm) in under_way {
            // Where one was waited for in vain, nobody waits for the others; what is there counts.
            let limit = if ended.is_ok() { CONFIRM_LIMIT } else { Duration::ZERO };
            match self.confirmed(confirm, limit).await {
                Ok(()) => confirmed.push(key),
                Err(error) => ended = ended.and(Err(error)),
            }
        }
        Published { confirmed, ended }
    }

    async fn confirmed(&self, mut confirm: PublisherConfirm, limit: Duration) -> Result<(), AmqpError> {
        const STEP: &str = "confirm an outcome";
        loop {
            match timeout(limit, &mut confirm).await {
                Ok(Ok(Confirmation::Ack(_))) => return Ok(()),
                Ok(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => return Err(AmqpError::OutcomeRefused),
                Ok(Err(cause)) => return Err(AmqpError::Step { step: STEP, cause }),
                // It has said that it will be a while.
                Err(_) if !limit.is_zero() && self.is_open().is_ok_and(|takes_messages| !takes_messages) => {}
                Err(_) => return Err(AmqpError::OutOfTime { step: STEP, limit }),
            }
        }
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        close(self.connection).await;
    }
}

fn properties(end: &JobEnd) -> BasicProperties {
    let id = format!("{}-{}-{}", end.job, end.state.name(), end.number);
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.into());
    match u64::try_from(end.at.as_secs()) {
        Ok(secs) => properties.with_timestamp(secs),
        Err(_) => properties,
    }
}

/// Far more than a healthy broker needs; a quorum queue that elects a new leader may take seconds.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
