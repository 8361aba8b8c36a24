//! `[amqp]`: events from RabbitMQ, and outcomes back to it.

use serde::Deserialize;

use super::{Flaw, must, secret::SecretUrl};

/// RabbitMQ. Without `url` it is off.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AmqpConfig {
    /// The broker: `amqp://user:password@host:port/vhost`, or `amqps://`. The vhost `/` is written `%2f`. A secret, since
    /// it holds a password. Default: none, which is AMQP off.
    pub url: Option<SecretUrl>,
    /// The queues that are consumed. Each `Q` has its dead-letter queue `Q.dlq`. Default
    /// `["passback.session-completed"]`.
    pub queues: Vec<String>,
    /// The exchange of the assessment platform that the queues are bound to. Default: none, nothing is bound.
    pub exchange: Option<String>,
    /// The routing key of that binding. Default `"session.completed"`.
    pub routing_key: String,
    /// Events that the broker hands out ahead of their acknowledgement, for each queue; a commit to disk is shared by
    /// what is under way. From 1 to 65535. Default `512`.
    pub prefetch: u16,
    /// Whether the queues, their dead-letter exchange and queues and the binding are declared at each connection; with
    /// `false` they have to be there. Default `true`.
    pub declare: bool,
    /// The exchange to which each job that reaches an end is published, with the routing key `job.<state>`; declared as a
    /// durable topic exchange where it is missing. Ends from before it was set are not published. Default: none.
    pub outcomes_exchange: Option<String>,
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            url: None,
            queues: vec!["passback.session-completed".to_owned()],
            exchange: None,
            routing_key: "session.completed".to_owned(),
            prefetch: 512,
            declare: true,
            outcomes_exchange: None,
        }
    }
}

/// The longest name of a queue, an exchange or a routing key (AMQP 0-9-1, a short string), in bytes. A queue leaves
/// room for `.dlq`.
const NAME_BYTES_MAX: usize = 255;

impl AmqpConfig {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        if let Some(url) = &self.url {
            let is_amqp = matches!(url.scheme(), "amqp" | "amqps");
            must(is_amqp, "amqp.url", "must begin with amqp:// or amqps://")?;
        }
        must(!self.queues.is_empty(), "amqp.queues", "is empty: name at least one queue, or leave url out")?;
        for (index, queue) in self.queues.iter().enumerate() {
            let fits = !queue.is_empty() && queue.len() + ".dlq".len() <= NAME_BYTES_MAX;
            let setting = format!("amqp.queues.{index}");
            must(fits, &setting, "must hold names of 1 to 251 bytes")?;
            must(!self.queues[..index].contains(queue), &setting, "names a queue twice")?;
        }
        must(self.prefetch > 0, "amqp.prefetch", "must be at least 1: the broker reads 0 as without a limit")?;
        for (setting, name) in [("amqp.exchange", &self.exchange), ("amqp.outcomes_exchange", &self.outcomes_exchange)]
        {
            let fits = name.as_ref().is_none_or(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
            must(fits, setting, "must be a name of 1 to 255 bytes; leave it out to go without")?;
        }
        must(self.routing_key.len() <= NAME_BYTES_MAX, "amqp.routing_key", "must be at most 255 bytes")
    }
}
