//! A look at the broker from outside, for `passback check`: whether it lets us in, and whether the queues are there and as
//! the worker wants them. Nothing is consumed, and nothing is made.
//!
//! A queue is looked for first (a passive declaration), on a channel of its own, since a miss costs the channel. Only one
//! that is there is then declared with the worker's own arguments, which changes nothing and is refused where they differ.

use std::{error::Error as _, io, time::Duration};

use lapin::{
    Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{FieldTable, ShortString},
};
use tokio::time::timeout;

use super::{
    AmqpError, Options,
    connect::{Broker, close, step},
    in_full,
    topology::{DEAD_LETTER_EXCHANGE, Names, is_soft},
};

/// What was seen at a broker that let us in.
#[derive(Clone, Debug)]
pub struct BrokerLook {
    /// Host and port.
    pub place: String,
    /// The virtual host.
    pub vhost: String,
    /// The user that we are there.
    pub user: String,
    /// The exchanges that the queues hang on, and the one for outcomes, each with what is there of it.
    pub exchanges: Vec<(String, Presence)>,
    /// The queues.
    pub queues: Vec<QueueLook>,
}

/// What was seen of one queue.
#[derive(Clone, Debug)]
pub struct QueueLook {
    /// Its name.
    pub name: String,
    /// Whether refused events go there.
    pub is_for_dead_letters: bool,
    /// What is there.
    pub presence: Presence,
}

/// What is there of a queue or an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    There {
        /// Messages that wait; 0 for an exchange.
        messages: u32,
        /// Who consumes; 0 for an exchange.
        consumers: u32,
    },
    /// It is there, and differs from what the worker would declare. With the broker's words.
    Different(String),
    /// It is not there.
    Missing,
    /// The broker does not let us look at it, or at anything. With its words.
    Closed(String),
}

/// Why the broker did not let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLetIn {
    /// What kind of trouble it is.
    pub trouble: Trouble,
    /// The whole chain of causes, without the password.
    pub words: String,
}

/// What kind of trouble there is with a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The setting itself.
    Setting,
    /// The name does not resolve.
    Name,
    /// Nobody listens, or the way is cut.
    Connection,
    /// It said nothing in time.
    Silence,
    /// The certificate, or no TLS at all.
    Tls,
    /// The user or the password.
    Login,
    /// The virtual host is not there, or closed to this user.
    Vhost,
    /// Something else.
    Other,
}

/// Looks at the broker, and at the exchange for outcomes where there is to be one, within a limit.
pub async fn look(options: &Options, outcomes: Option<&str>, within: Duration) -> Result<BrokerLook, NotLetIn> {
    match timeout(within, look_around(options, outcomes)).await {
        Ok(looked) => looked.map_err(|error| NotLetIn { trouble: trouble(&error), words: in_full(&error) }),
        Err(_) => {
            let words = format!("RabbitMQ did not answer within {} s", within.as_secs());
            Err(NotLetIn { trouble: Trouble::Silence, words })
        }
    }
}

async fn look_around(options: &Options, outcomes: Option<&str>) -> Result<BrokerLook, AmqpError> {
    let names = Names::of(options)?;
    let broker = Broker::parse(&options.url)?;
    let connection = broker.connect("passback: check").await?;
    let exchanges = [Some(DEAD_LETTER_EXCHANGE), options.exchange.as_deref(), outcomes];
    let mut seen = BrokerLook {
        place: broker.place(),
        vhost: broker.vhost().to_owned(),
        user: broker.user().to_owned(),
        exchanges: Vec::new(),
        queues: Vec::new(),
    };
    for exchange in exchanges.into_iter().flatten() {
        seen.exchanges.push((exchange.to_owned(), exchange_presence(&connection, exchange).await));
    }
    for names in &names {
        let own = (&names.queue, names.arguments(), false);
        let dead_letters = (&names.dead_letter_queue, Names::dead_letter_arguments(), true);
        for (name, arguments, is_for_dead_letters) in [own, dead_letters] {
            let arguments = options.declare.then_some(arguments);
            let presence = queue_presence(&connection, name, arguments).await;
            seen.queues.push(QueueLook { name: name.to_string(), is_for_dead_letters, presence });
        }
    }
    close(connection).await;
    Ok(seen)
}

/// Without arguments it is only asked whether the queue is there.
async fn queue_presence(connection: &Connection, name: &ShortString, arguments: Option<FieldTable>) -> Presence {
    let found = look_for_queue(connection, name, None).await;
    match (found, arguments) {
        (Ok(_), Some(arguments)) => match look_for_queue(connection, name, Some(arguments)).await {
            Ok(found) => found,
            Err(error) => absence(&error),
        },
        (Ok(found), None) => found,
        (Err(error), _) => absence(&error),
    }
}

async fn look_for_queue(
    connection: &Connection,
    name: &ShortString,
    arguments: Option<FieldTable>,
) -> Result<Presence, AmqpError> {
    let channel = step("open a channel", connection.create_channel()).await?;
    let options = QueueDeclareOptions { passive: arguments.is_none(), ..QueueDeclareOptions::durable() };
    let declared = channel.queue_declare(name.clone(), options, arguments.unwrap_or_default());
    let queue = step("look at a queue", declared).await?;
    Ok(Presence::There { messages: queue.message_count(), consumers: queue.consumer_count() })
}

async fn exchange_presence(connection: &Connection, name: &str) -> Presence {
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let looked = async {
        let channel = step("open a channel", connection.create_channel()).await?;
        // A passive declaration looks at the name alone.
        let declared = channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default());
        step("look at an exchange", declared).await
    };
    match looked.await {
        Ok(()) => Presence::There { messages: 0, consumers: 0 },
        Err(error) => absence(&error),
    }
}

fn absence(error: &AmqpError) -> Presence {
    match error {
        AmqpError::Step { cause, .. } if is_soft(cause, AMQPSoftError::NOTFOUND) => Presence::Missing,
        AmqpError::Step { cause, .. } if is_soft(cause, AMQPSoftError::PRECONDITIONFAILED) => {
            Presence::Different(cause.to_string())
        }
        other => Presence::Closed(in_full(other)),
    }
}

/// What kind of trouble an error is. The broker's own codes (AMQP 0-9-1, 1.2) come first, then what the way there says.
fn trouble(error: &AmqpError) -> Trouble {
    let cause = match error {
        AmqpError::Connect { cause, .. } | AmqpError::Step { cause, .. } => cause,
        AmqpError::OutOfTime { .. } => return Trouble::Silence,
        AmqpError::Url | AmqpError::Name { .. } | AmqpError::NoQueues => return Trouble::Setting,
        _ => return Trouble::Other,
    };
    match cause.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Trouble::Login,
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH) => Trouble::Vhost,
            _ => Trouble::Other,
        },
        ErrorKind::AuthProviderError(_) => Trouble::Login,
        ErrorKind::IOError(error) => of_io(error),
        _ => Trouble::Other,
    }
}

fn of_io(error: &io::Error) -> Trouble {
    // rustls and the resolver come wrapped in errors of their own, so their words are all that is left.
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = format!("{words} {next}");
        cause = next.source();
    }
    let words = words.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&["certificate", "tls", "handshake", "invalidcontenttype", "corrupt message"]) {
        Trouble::Tls
    } else if says(&["lookup", "name or service", "resolve", "no address", "nodename", "temporary failure in name"]) {
        Trouble::Name
    } else {
        Trouble::Connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_broker_tells_what_is_wrong() {
        let check = |words: &str, expected: Trouble| assert_eq!(of_io(&io::Error::other(words)), expected, "{words}");
        check("failed to lookup address information: Name or service not known", Trouble::Name);
        check("invalid peer certificate: UnknownIssuer", Trouble::Tls);
        check("received corrupt message of type InvalidContentType", Trouble::Tls);
        check("Connection refused (os error 111)", Trouble::Connection);
        check("unexpected end of file", Trouble::Connection);
    }

    #[tokio::test]
    async fn a_port_of_another_protocol_is_told_as_that() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("amqp://guest:hush-hush@{}/%2f", listener.local_addr().expect("an address"));
        let page = async {
            let (mut stream, _) = listener.accept().await.expect("somebody connects");
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
            // What came is read to its end: else the answer may be lost with the connection.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        let options = Options::at(url.as_str());
        let (looked, answered) = tokio::join!(look(&options, None, Duration::from_secs(20)), page);
        answered.expect("it was answered");
        let error = looked.expect_err("no broker");
        assert!(error.words.contains("does not speak AMQP") && error.words.contains("15672"), "{}", error.words);
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_told_without_the_password() {
        let options = Options::at("amqp://guest:hush-hush@127.0.0.1:1/%2f");
        let error = look(&options, None, Duration::from_secs(20)).await.expect_err("nobody listens");
        assert_eq!(error.trouble, Trouble::Connection, "{}", error.words);
        assert!(error.words.contains("127.0.0.1:1") && !error.words.contains("hush"), "{}", error.words);
        let wrong = look(&Options::at("http://guest:hush-hush@h"), None, Duration::from_secs(20)).await;
        assert_eq!(wrong.expect_err("no AMQP").trouble, Trouble::Setting);
    }
}
