//! The broker's address, and a connection to it: with a heartbeat, without lapin's recovery, within a limit.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::TryFutureExt as _;
use lapin::{
    Connection, ConnectionProperties, ErrorKind,
    uri::{AMQPScheme, AMQPUri},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};

use super::AmqpError;

/// Where the broker is, and how to be let in. Has no `Debug`: the password is in here.
#[derive(Clone)]
pub(super) struct Broker {
    uri: AMQPUri,
    /// TCP, TLS and login together.
    limit: Duration,
    /// Whether it took the last connection and then said nothing. lapin cannot be called back from such a connection:
    /// its thread and its socket stay until the other side moves. So while this holds, we knock before we let lapin in.
    silent: Arc<AtomicBool>,
}

impl Broker {
    /// Reads `[amqp] url`.
    pub(super) fn parse(url: &SecretString) -> Result<Self, AmqpError> {
        // Their messages may repeat the URL, and with it the password.
        let parsed = Url::parse(url.expose_secret()).map_err(|_| AmqpError::Url)?;
        let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| AmqpError::Url)?;
        match parsed.host() {
            // lapin's reader takes an IPv6 address for no host at all, and then goes to localhost.
            Some(Host::Ipv6(address)) => uri.authority.host = address.to_string(),
            Some(_) => {}
            None => return Err(AmqpError::Url),
        }
        uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT_SECS));
        uri.query.connection_timeout = uri.query.connection_timeout.or(Some(CONNECT_TIMEOUT_MS));
        Ok(Self { uri, limit: CONNECT_LIMIT, silent: Arc::default() })
    }

    /// The user that the broker knows us as.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// Connects under a name that the broker's own pages show.
    pub(super) async fn connect(&self, name: &str) -> Result<Connection, AmqpError> {
        if self.silent.load(Ordering::Relaxed) {
            self.within_limit(self.knock()).await?;
            self.silent.store(false, Ordering::Relaxed);
        }
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let opening = Connection::connect_uri(self.uri.clone(), properties).map_err(told_of_another_protocol);
        let connected = self.within_limit(opening).await;
        if let Err(AmqpError::OutOfTime { .. }) = connected {
            self.silent.store(true, Ordering::Relaxed);
        }
        connected
    }

    /// Says the protocol header (AMQP 0-9-1, 4.2.2), and waits for the first byte of an answer. Over TLS it is enough
    /// that the port is open: there lapin's own time limit covers the silence.
    async fn knock(&self) -> lapin::Result<()> {
        let authority = &self.uri.authority;
        let mut stream = TcpStream::connect((&*authority.host, authority.port)).await?;
        if self.uri.scheme == AMQPScheme::AMQPS {
            return Ok(());
        }
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        let mut first = [0];
        match (stream.read(&mut first).await?, first) {
            (0, _) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            // A method frame, or the header of another version, which lapin tells of better.
            (_, [1 | b'A']) => Ok(()),
            _ => Err(io::Error::other(NO_AMQP).into()),
        }
    }

    async fn within_limit<T>(&self, opening: impl Future<Output = lapin::Result<T>>) -> Result<T, AmqpError> {
        match timeout(self.limit, opening).await {
            Ok(opened) => opened.map_err(|cause| AmqpError::Connect { place: self.place(), cause }),
            Err(_) => Err(AmqpError::OutOfTime { step: "open a connection", limit: self.limit }),
        }
    }

    /// The virtual host.
    pub(super) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }
}

/// lapin tells of its parser where something else than AMQP came.
fn told_of_another_protocol(error: lapin::Error) -> lapin::Error {
    if matches!(error.kind(), ErrorKind::ParsingError(_)) { io::Error::other(NO_AMQP).into() } else { error }
}

/// Takes a step with the broker, within the limit that holds for all of them.
pub(super) async fn step<T>(
    step: &'static str,
    taking: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match timeout(STEP_LIMIT, taking).await {
        Ok(taken) => taken.map_err(|cause| AmqpError::Step { step, cause }),
        Err(_) => Err(AmqpError::OutOfTime { step, limit: STEP_LIMIT }),
    }
}

/// Closes a connection politely, but does not wait long for the answer.
pub(super) async fn close(connection: Connection) {
    let closing = connection.close(REPLY_SUCCESS, "done".into());
    // If it fails, the connection is closed already; that is all that is wanted.
    let _ = timeout(CLOSE_LIMIT, closing).await;
}

/// What is said of a port at which another protocol is spoken.
const NO_AMQP: &str = "what answers there does not speak AMQP: the port is mostly 5672, or 5671 with amqps (15672 is the \
    management page)";

/// Both sides give up a connection that has been silent for about twice this.
const HEARTBEAT_SECS: u16 = 20;
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// More than a broker under load needs for a login.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Far more than a healthy broker needs; a broker that elects a new queue leader may take seconds.
const STEP_LIMIT: Duration = Duration::from_secs(30);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// AMQP 0-9-1, reply-success.
const REPLY_SUCCESS: u16 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_never_repeated() {
        let parse = |url: &str| Broker::parse(&SecretString::from(url));
        let check = |url: &str, place: &str, user: &str, vhost: &str| {
            let broker = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((&*broker.place(), broker.user(), &*broker.uri.vhost), (place, user, vhost), "{url}");
        };
        check("amqp://rabbit.example", "rabbit.example:5672", "guest", "/");
        check("amqp://ann:p%40ss@127.0.0.1:5673/%2f", "127.0.0.1:5673", "ann", "/");
        check("amqps://ann:x@[::1]/grades", "::1:5671", "ann", "grades");
        for url in
            ["", "hunter2", "http://ann:hunter2@rabbit.example", "amqp:hunter2", "amqp://a:hunter2@h?heartbeat=x"]
        {
            let error = parse(url).err().expect(url);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_silent_broker_keeps_one_connection_and_no_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut broker = Broker::parse(&format!("amqp://127.0.0.1:{port}").into()).expect("a broker");
        broker.limit = Duration::from_millis(100);
        for attempt in 0..4 {
            let error = broker.connect("test").await.expect_err("it says nothing");
            assert!(matches!(error, AmqpError::OutOfTime { .. }), "{error}");
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut heard = Vec::new();
            let given_up = timeout(Duration::from_millis(200), stream.read_to_end(&mut heard)).await.is_ok();
            assert_eq!(given_up, attempt > 0, "attempt {attempt}");
        }
    }
}
