//! Clients that take their time, or more than their share: the HTTP server lets none of them keep what others need.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use passback::{
    adapters::intake::http::{self, Doors},
    config::{access::Access, host::HostPattern, lti::LtiKey, secret::Secret},
    domain::{event::Refused, ledger::Arrival, notice::SignIn},
    ports::{Incoming, Intake, Pending, Porter, Receipt, StoreError},
    surfaces::admin::server::{self, Limits},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::service::worker::PATIENCE;

/// Short enough for a test, long enough for a busy machine to answer within.
const SOON: Duration = Duration::from_millis(2_500);

/// A server of this process. It stops when it is dropped.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            server::serve(listener, router, CancellationToken::new(), limits).await.expect("it serves");
        });
        Self { address, _tasks: tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// A connection from another address of this machine.
    async fn connect_from(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("an address of this machine");
        socket.connect(self.address).await.expect("a connection")
    }
}

/// A small answer at `/`, and one that is larger than what any system keeps for a reader at `/large`.
fn pages() -> Router {
    let large = || async { Body::from(vec![b'x'; 64 * 1024 * 1024]) };
    Router::new().route("/", get(|| async { "hello" })).route("/large", get(large))
}

fn strict() -> Limits {
    Limits { headers_within: SOON, reads_within: SOON, ..Limits::default() }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is written");
}

/// Whether an answer comes, before the connection ends.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("an answer, or the end");
    read.is_ok_and(|read| bytes[..read].starts_with(b"HTTP/1.1 200"))
}

/// Waits until the other side has closed; what it says before is given back.
async fn closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the connection is closed");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let server = Server::start(pages(), strict()).await;
    let begin = Instant::now();
    let mut silent = server.connect().await;
    let dripping = server.connect().await;
    let (mut reader, mut writer) = dripping.into_split();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for letter in b"GET / HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            sleep(SOON / 10).await;
            if writer.write_all(&[*letter]).await.is_err() {
                break;
            }
        }
    });
    closed(&mut silent).await;
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut said)).await.expect("a drip is no headers");
    assert!(begin.elapsed() >= SOON);
}

#[tokio::test]
async fn a_connection_that_is_kept_and_not_used_is_closed() {
    let server = Server::start(pages(), strict()).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        ask(&mut stream, "/").await;
        assert!(is_answered(&mut stream).await);
    }
    assert_eq!(closed(&mut stream).await, "");
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused_before_they_take_room() {
    let server = Server::start(pages(), strict()).await;
    let mut long = server.connect().await;
    let line = "x".repeat(2 * Limits::default().header_bytes_max);
    // Whether the rest can still be sent after the refusal is its own affair.
    let _ = long.write_all(format!("GET / HTTP/1.1\r\nX-Long: {line}\r\n\r\n").as_bytes()).await;
    let said = closed(&mut long).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    let mut many = server.connect().await;
    let lines = "A: b\r\n".repeat(200);
    let _ = many.write_all(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).await;
    assert!(closed(&mut many).await.starts_with("HTTP/1.1 431"), "so many headers nobody needs");
    let mut good = server.connect().await;
    ask(&mut good, "/").await;
    assert!(is_answered(&mut good).await);
}

#[tokio::test]
async fn answers_that_nobody_reads_give_their_place_back() {
    let server = Server::start(pages(), Limits { connections_of_one_max: 1, ..strict() }).await;
    let mut greedy = server.connect().await;
    ask(&mut greedy, "/large").await;
    let begin = Instant::now();
    loop {
        let mut next = server.connect().await;
        let _ = next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        if is_answered(&mut next).await {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "the place is never free again");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begin.elapsed() >= SOON / 2, "its reader was waited for");
    drop(greedy);
}

#[tokio::test]
async fn no_address_takes_all_the_places() {
    let limits = Limits { connections_max: 4, connections_of_one_max: 3, ..Limits::default() };
    let server = Server::start(pages(), limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        ask(&mut stream, "/").await;
        assert!(is_answered(&mut stream).await);
        held.push(stream);
    }
    assert_eq!(closed(&mut server.connect().await).await, "", "it has its share");
    let mut other = server.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await;
    ask(&mut other, "/").await;
    assert!(is_answered(&mut other).await, "there is a place for somebody else");
    // All four are taken now: the next one waits until one is free, and is served then.
    let mut waiting = server.connect_from(Ipv4Addr::new(127, 0, 0, 3)).await;
    ask(&mut waiting, "/").await;
    assert!(timeout(SOON / 3, waiting.read(&mut [0; 16])).await.is_err(), "there is no place");
    drop(held);
    assert!(is_answered(&mut waiting).await);
}

/// An engine that takes nothing in, and a porter who waits for nothing.
struct Nobody;

impl Intake for Nobody {
    fn read(&self, _: Incoming) -> Result<Box<Arrival>, Refused> {
        Err(Refused { field: "event".to_owned(), detail: "event is not wanted".to_owned() })
    }

    fn store(&self, _: Box<Arrival>) -> Pending<'static, Result<Receipt, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("there is none".into())) })
    }

    fn is_open(&self) -> bool {
        true
    }
}

impl Porter for Nobody {
    fn turn_away(&self, _: SignIn, _: Option<std::net::IpAddr>) -> Pending<'static, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up_at_both_doors() {
    let key = LtiKey { key: "key-1".to_owned(), secret: Secret::new("sesame"), hosts: Vec::<HostPattern>::new() };
    let access = Arc::new(Access::new(&[], &[key]));
    let doors =
        Doors::new(Arc::new(Nobody), access, Arc::new(Nobody), CancellationToken::new()).waiting_for_bodies(SOON);
    let router = http::events_router(doors.clone()).merge(http::grade_passback_router(doors));
    let server = Server::start(router, Limits::default()).await;
    for head in [
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":",
        "POST /lti/grade_passback HTTP/1.1\r\nHost: x\r\nAuthorization: Basic a2V5LTE6c2VzYW1l\r\nContent-Length: 100\r\n\r\n{",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.expect("it is written");
        let mut answer = vec![0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer").expect("a connection");
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}
