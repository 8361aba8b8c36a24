//! The queues and exchanges that the worker needs, and how they are declared (CONTRACT, AMQP).
//!
//! The dead-letter queue comes before the queue that leads to it, so there is no moment in which a message could be
//! dead-lettered into nothing. Everything is durable; both queues are quorum queues.

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{AmqpError, Options, connect::step};

/// The exchange that refused events go through, to the queue beside their own.
pub(super) const DEAD_LETTER_EXCHANGE: &str = "passback.dlx";

/// The names around one queue, all short enough for AMQP.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) queue: ShortString,
    pub(super) dead_letter_queue: ShortString,
    /// The exchange that it is bound to, and the key.
    binding: Option<(ShortString, ShortString)>,
}

impl Names {
    /// The names for each queue of the options, each queue once.
    pub(super) fn of(options: &Options) -> Result<Vec<Self>, AmqpError> {
        let binding = match &options.exchange {
            Some(exchange) => Some((
                name(exchange, "exchange")?,
                name(options.routing_key.as_deref().unwrap_or(EVERYTHING), "routing_key")?,
            )),
            None => None,
        };
        let mut all: Vec<Self> = Vec::new();
        for queue in &options.queues {
            let queue_name = name(queue, "queues")?;
            let dead_letter_queue = name(&format!("{queue}.dlq"), "queues")?;
            if all.iter().all(|known| known.queue != queue_name) {
                all.push(Self { queue: queue_name, dead_letter_queue, binding: binding.clone() });
            }
        }
        if all.is_empty() { Err(AmqpError::NoQueues) } else { Ok(all) }
    }

    /// Where a sender publishes so that it gets here: the exchange and the key; without a key of its own, the default
    /// exchange, which goes straight to the queue.
    pub(super) fn route(&self, has_key: bool) -> (ShortString, ShortString) {
        match &self.binding {
            Some((exchange, key)) if has_key => (exchange.clone(), key.clone()),
            _ => (ShortString::default(), self.queue.clone()),
        }
    }

    /// Declares all of it. What is there already, as it should be, stays as it is.
    pub(super) async fn declare(&self, connection: &Connection) -> Result<(), AmqpError> {
        let mut channel = step("open a channel", connection.create_channel()).await?;
        let exchange = declare_exchange(&channel, DEAD_LETTER_EXCHANGE.into(), ExchangeKind::Direct);
        step("declare the dead-letter exchange", exchange).await?;
        self.declare_queue(&channel, &self.dead_letter_queue, Self::dead_letter_arguments()).await?;
        let bound = bind(&channel, &self.dead_letter_queue, DEAD_LETTER_EXCHANGE.into(), self.queue.clone());
        step("bind the dead-letter queue", bound).await?;
        self.declare_queue(&channel, &self.queue, self.arguments()).await?;
        if let Some((exchange, routing_key)) = &self.binding {
            channel = ensure_exchange(connection, channel, exchange).await?;
            let bound = bind(&channel, &self.queue, exchange.clone(), routing_key.clone());
            step("bind the queue", bound).await?;
        }
        step("close a channel", channel.close(200, "done".into())).await
    }

    /// What the queue is declared with.
    pub(super) fn arguments(&self) -> FieldTable {
        table([
            QUORUM,
            ("x-dead-letter-exchange", DEAD_LETTER_EXCHANGE),
            ("x-dead-letter-routing-key", self.queue.as_str()),
        ])
    }

    /// What its dead-letter queue is declared with.
    pub(super) fn dead_letter_arguments() -> FieldTable {
        table([QUORUM])
    }

    async fn declare_queue(
        &self,
        channel: &Channel,
        queue: &ShortString,
        arguments: FieldTable,
    ) -> Result<(), AmqpError> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = step("declare a queue", channel.queue_declare(queue.clone(), options, arguments)).await;
        declared.map(drop).map_err(|error| match error {
            AmqpError::Step { cause, .. } if is_soft(&cause, AMQPSoftError::PRECONDITIONFAILED) => {
                AmqpError::OtherQueue { queue: queue.to_string(), cause }
            }
            other => other,
        })
    }
}

/// Makes sure that an exchange is there. If it is, it may be of any type, so it is looked at before it is declared;
/// looking for one that is not there costs the channel.
pub(super) async fn ensure_exchange(
    connection: &Connection,
    channel: Channel,
    exchange: &ShortString,
) -> Result<Channel, AmqpError> {
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let look = channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default());
    match step("look at the exchange", look).await {
        Ok(()) => return Ok(channel),
        Err(AmqpError::Step { cause, .. }) if is_soft(&cause, AMQPSoftError::NOTFOUND) => {}
        Err(other) => return Err(other),
    }
    let channel = step("open a channel", connection.create_channel()).await?;
    step("declare the exchange", declare_exchange(&channel, exchange.clone(), ExchangeKind::Topic)).await?;
    Ok(channel)
}

async fn declare_exchange(channel: &Channel, exchange: ShortString, kind: ExchangeKind) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange, kind, options, FieldTable::default()).await
}

async fn bind(channel: &Channel, queue: &ShortString, exchange: ShortString, key: ShortString) -> lapin::Result<()> {
    channel.queue_bind(queue.clone(), exchange, key, QueueBindOptions::default(), FieldTable::default()).await
}

/// Whether the broker answered with this soft error, which closes the channel but not the connection.
pub(super) fn is_soft(error: &lapin::Error, wanted: AMQPSoftError) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => *error.kind() == AMQPErrorKind::Soft(wanted),
        _ => false,
    }
}

pub(super) fn name(text: &str, setting: &'static str) -> Result<ShortString, AmqpError> {
    if text.is_empty() {
        return Err(AmqpError::Name { setting });
    }
    ShortString::try_new(text).map_err(|_| AmqpError::Name { setting })
}

fn table<const N: usize>(entries: [(&str, &str); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), AMQPValue::LongString(value.into()));
    }
    table
}

const QUORUM: (&str, &str) = ("x-queue-type", "quorum");
/// The binding key of a topic exchange that lets all pass; other kinds of exchange do not look at it.
const EVERYTHING: &str = "#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_amqp_cannot_carry_are_refused_by_setting() {
        let check = |queues: &[&str], exchange: Option<&str>, fits: bool| {
            let queues = queues.iter().map(|&queue| queue.to_owned()).collect();
            let options = Options { queues, exchange: exchange.map(str::to_owned), ..Options::at("amqp://h") };
            assert_eq!(Names::of(&options).is_ok(), fits, "{options:?}");
        };
        let long = "q".repeat(252);
        check(&["a", "b"], Some("assessment"), true);
        check(&[&long[1..]], None, true);
        check(&[&long], None, false);
        check(&[""], None, false);
        check(&[], None, false);
        check(&["a"], Some(""), false);
    }

    #[test]
    fn a_queue_that_is_named_twice_is_consumed_once() {
        let options = Options { queues: vec!["a".to_owned(), "a".to_owned()], ..Options::at("amqp://h") };
        assert_eq!(Names::of(&options).expect("names").len(), 1);
    }
}
