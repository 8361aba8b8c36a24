//! Refused events on their way to the dead-letter queue, with the reason in their headers.
//!
//! The connection is one of its own, made when the first refused event comes: a broker in need of memory or disk stops
//! reading from connections that publish, and that must not hold up acknowledgements.

use std::{future::Future, time::Duration};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    AmqpError,
    connect::{Broker, step},
    topology::DEAD_LETTER_EXCHANGE,
};
use crate::domain::event::Refused;

/// The way to the dead-letter queue of one queue.
pub(super) struct DeadLetters {
    broker: Broker,
    queue: ShortString,
    open: Option<(Connection, Channel)>,
}

impl DeadLetters {
    pub(super) fn new(broker: Broker, queue: ShortString) -> Self {
        Self { broker, queue, open: None }
    }

    /// Publishes a refused event as it came, with the reason added. What comes back ends when the broker has it.
    pub(super) async fn publish(
        &mut self,
        body: &[u8],
        properties: &BasicProperties,
        refused: &Refused,
    ) -> Result<impl Future<Output = Result<(), AmqpError>> + Send + use<>, AmqpError> {
        let properties = with_reason(properties, refused, self.broker.user());
        let queue = self.queue.clone();
        let channel = self.channel().await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publishing = channel.basic_publish(DEAD_LETTER_EXCHANGE.into(), queue.clone(), options, body, properties);
        let confirm = step("take a refused event", publishing).await?;
        Ok(confirmed(confirm, queue))
    }

    async fn channel(&mut self) -> Result<&Channel, AmqpError> {
        if self.open.is_none() {
            let connection = self.broker.connect(&format!("passback: {} refused", self.queue)).await?;
            let channel = step("open a channel", connection.create_channel()).await?;
            step("confirm what is published", channel.confirm_select(ConfirmSelectOptions::default())).await?;
            self.open = Some((connection, channel));
        }
        Ok(&self.open.as_ref().expect("it was opened in the lines above").1)
    }
}

async fn confirmed(confirm: PublisherConfirm, queue: ShortString) -> Result<(), AmqpError> {
    const STEP: &str = "confirm a refused event";
    let confirmation = tokio::time::timeout(CONFIRM_LIMIT, confirm).await;
    let confirmation = confirmation.map_err(|_| AmqpError::OutOfTime { step: STEP, limit: CONFIRM_LIMIT })?;
    match confirmation.map_err(|cause| AmqpError::Step { step: STEP, cause })? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => {
            Err(AmqpError::DeadLetterUnroutable { exchange: DEAD_LETTER_EXCHANGE, queue: queue.to_string() })
        }
        Confirmation::Nack(_) | Confirmation::NotRequested => Err(AmqpError::DeadLetterRefused),
    }
}

/// The properties as they came, with the reason. Two of them cannot be kept in their place: RabbitMQ lets nobody
/// publish under another's user id, and an expiration would let the message vanish from the dead-letter queue too
/// (RabbitMQ's own dead-lettering drops it for that reason). Both move into a header.
fn with_reason(properties: &BasicProperties, refused: &Refused, user: &str) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    let mut kept = lasting(properties);
    match properties.user_id() {
        Some(id) if id.as_str() == user => kept = kept.with_user_id(id.clone()),
        Some(id) => insert(&mut headers, "x-passback-user-id", id.as_str()),
        None => {}
    }
    if let Some(expiration) = properties.expiration() {
        insert(&mut headers, "x-passback-expiration", expiration.as_str());
    }
    insert(&mut headers, "x-passback-error", cut(&refused.detail));
    insert(&mut headers, "x-passback-field", cut(&refused.field));
    kept.with_headers(headers)
}

/// A copy of all properties but the headers, the user id and the expiration; lapin has no way to take one away.
fn lasting(from: &BasicProperties) -> BasicProperties {
    let mut to = BasicProperties::default();
    macro_rules! keep {
        ($($field:ident with $set:ident),*) => {
            $(if let Some(value) = from.$field().clone() { to = to.$set(value); })*
        };
    }
    keep!(
        content_type with with_content_type,
        content_encoding with with_content_encoding,
        delivery_mode with with_delivery_mode,
        priority with with_priority,
        correlation_id with with_correlation_id,
        reply_to with with_reply_to,
        message_id with with_message_id,
        timestamp with with_timestamp,
        kind with with_type,
        app_id with with_app_id,
        cluster_id with with_cluster_id
    );
    to
}

fn insert(headers: &mut FieldTable, name: &str, value: &str) {
    headers.insert(name.into(), AMQPValue::LongString(value.into()));
}

/// Headers share one frame, so what we add stays small.
fn cut(text: &str) -> &str {
    let end = (0..=HEADER_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

const HEADER_BYTES_MAX: usize = 1_000;
/// A broker with a memory or disk alarm does not confirm until it is over.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_added_and_what_would_do_harm_is_moved() {
        let mut headers = FieldTable::default();
        insert(&mut headers, "trace", "abc");
        let came = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id("m-1".into())
            .with_type("session.completed".into())
            .with_timestamp(1_700_000_000)
            .with_headers(headers.clone());
        let refused = Refused { field: "score".to_owned(), detail: "é".repeat(600) };
        insert(&mut headers, "x-passback-error", &"é".repeat(500));
        insert(&mut headers, "x-passback-field", "score");
        assert_eq!(with_reason(&came, &refused, "guest"), came.clone().with_headers(headers.clone()));

        let harmful = came.clone().with_expiration("500".into()).with_user_id("ann".into());
        insert(&mut headers, "x-passback-user-id", "ann");
        insert(&mut headers, "x-passback-expiration", "500");
        assert_eq!(with_reason(&harmful, &refused, "guest"), came.clone().with_headers(headers));
        let own = came.with_user_id("guest".into());
        assert_eq!(with_reason(&own, &refused, "guest").user_id(), own.user_id());
    }
}
