//! The transport against real sockets: small servers that answer well, badly, slowly, or not at all.
//!
//! Each server is a closure over one accepted connection. Where a test needs another name or address than the
//! loopback one, it brings its own name resolution; the egress rules hold for that as for the real one.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use passback::{
    adapters::transport::{EgressRules, HttpTransport, Lookup, Options, TransportSetupError},
    config::host::HostPattern,
    domain::destination::ServiceUrl,
    lti::wire::{Answer, Method, Reply, Request, TransportFailure, TransportFault, Written},
    ports::Transport,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// Long enough for anything that is to succeed.
const AMPLE: Duration = Duration::from_secs(20);
/// The limit of those that are to run out of time.
const SHORT: Duration = Duration::from_millis(300);

/// A server on the loopback address. It stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Serves each connection with `serve`.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// Reads one request on each connection, says `reply`, and closes.
    async fn saying(reply: impl Into<Vec<u8>>) -> Self {
        let reply: Arc<[u8]> = reply.into().into();
        Self::start(move |mut stream| {
            let reply = reply.clone();
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&reply).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/outcomes?ticket=hush", self.address.port())
    }

    fn http(&self) -> String {
        self.url("http", "127.0.0.1")
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads a request up to the end of its body, and gives back its text; empty when the client went away.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return String::new(),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn open_rules() -> EgressRules {
    EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() }
}

fn transport(egress: EgressRules) -> HttpTransport {
    HttpTransport::new(Options { egress, ..Options::default() }).expect("a transport")
}

/// Resolves every name to the same addresses.
fn leading_to(addresses: &[&str]) -> Lookup {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    Arc::new(move |_| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    })
}

fn transport_where(egress: EgressRules, addresses: &[&str]) -> HttpTransport {
    HttpTransport::with_lookup(Options { egress, ..Options::default() }, leading_to(addresses)).expect("a transport")
}

fn request(method: Method, url: &str, body: &str) -> Request {
    let url = ServiceUrl::parse(url).expect("a service URL");
    let headers = vec![("content-type", "application/xml".to_owned()), ("authorization", "Bearer hush".to_owned())];
    Request { method, url, headers, body: body.as_bytes().to_vec() }
}

async fn post(transport: &HttpTransport, url: &str, within: Duration) -> Answer {
    transport.send(request(Method::Post, url, "<grade/>"), within).await
}

/// The failure has this fault, at this point, with these words; and tells no secret.
#[track_caller]
fn check(answer: Answer, fault: TransportFault, written: Written, status: Option<u16>, words: &str) {
    let failure: TransportFailure = answer.expect_err("a failure");
    assert_eq!((failure.fault, failure.written, failure.status), (fault, written, status), "{failure}");
    assert!(failure.detail.contains(words), "{failure}: wanted {words:?}");
    assert!(!failure.detail.contains("hush") && !failure.detail.contains('?'), "{failure}");
}

async fn check_reply(reply: impl Into<Vec<u8>>, fault: TransportFault, status: Option<u16>, words: &str) {
    let server = Server::saying(reply).await;
    let answer = post(&transport(open_rules()), &server.http(), AMPLE).await;
    check(answer, fault, Written::Perhaps, status, words);
}

#[tokio::test]
async fn a_whole_reply_comes_back_as_it_is() {
    let server = Server::saying("HTTP/1.1 503 Busy\r\nDate: Sat, 21 Nov 2026 10:30:00 GMT\r\nRetry-After: 7\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 4\r\n\r\nbusy").await;
    let reply: Reply = post(&transport(open_rules()), &server.http(), AMPLE).await.expect("a reply");
    assert_eq!((reply.status, reply.body.as_slice()), (503, b"busy".as_slice()));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.header("date"), Some("Sat, 21 Nov 2026 10:30:00 GMT"));
    assert_eq!(reply.headers.iter().filter(|(name, _)| name == "x-a").count(), 2);
}

/// Moodle writes its `Link` so.
#[tokio::test]
async fn a_header_that_is_not_ascii_is_read() {
    let server = Server::saying(
        "HTTP/1.1 200 OK\r\nLink: <https://m/2>; rel=\u{201c}next\u{201d}\r\nContent-Length: 2\r\n\r\n[]",
    )
    .await;
    let reply: Reply = post(&transport(open_rules()), &server.http(), AMPLE).await.expect("a reply");
    assert_eq!(reply.header("link"), Some("<https://m/2>; rel=\u{201c}next\u{201d}"));
    let server = Server::saying(b"HTTP/1.1 200 OK\r\nX-Latin: caf\xe9\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let reply: Reply = post(&transport(open_rules()), &server.http(), AMPLE).await.expect("a reply");
    assert_eq!(reply.header("x-latin"), Some("caf\u{fffd}"));
}

#[tokio::test]
async fn a_request_says_who_sends_it_and_is_written_as_signed() {
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    let server = Server::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(read_request(&mut stream).await).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        }
    })
    .await;
    let transport = transport(open_rules());
    post(&transport, &server.http(), AMPLE).await.expect("a reply");
    let text = told.recv().await.expect("a request");
    assert!(text.starts_with("POST /outcomes?ticket=hush HTTP/1.1\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n<grade/>"), "{text}");
    let lines: Vec<String> = text.lines().map(str::to_ascii_lowercase).collect();
    let agent = format!("user-agent: passback/{}", env!("CARGO_PKG_VERSION"));
    for line in [&*agent, "content-length: 8", "content-type: application/xml", "authorization: bearer hush"] {
        assert!(lines.iter().any(|found| found == line), "{line} is not in {text}");
    }
    transport.send(request(Method::Get, &server.http(), ""), AMPLE).await.expect("a reply");
    let text = told.recv().await.expect("a request");
    assert!(text.starts_with("GET ") && !text.to_ascii_lowercase().contains("content-length"), "{text}");
    transport.send(request(Method::Post, &server.http(), ""), AMPLE).await.expect("a reply");
    let text = told.recv().await.expect("a request").to_ascii_lowercase();
    assert!(text.contains("content-length: 0\r\n"), "{text}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(|mut stream| async move {
        while !read_request(&mut stream).await.is_empty() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let transport = transport(open_rules());
    for _ in 0..20 {
        post(&transport, &server.http(), AMPLE).await.expect("a reply");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let location = target.http();
    let server =
        Server::saying(format!("HTTP/1.1 307 Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")).await;
    let reply = post(&transport(open_rules()), &server.http(), AMPLE).await.expect("a reply");
    assert_eq!((reply.status, reply.header("location")), (307, Some(&*location)));
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let answer = post(&transport(open_rules()), &url, AMPLE).await;
    check(answer, TransportFault::Connection, Written::No, None, "refused the connection");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_connection_fault() {
    let lookup: Lookup = Arc::new(|_| Box::pin(async { Err(io::Error::other("no such host")) }));
    let options = Options { egress: open_rules(), ..Options::default() };
    let transport = HttpTransport::with_lookup(options, lookup).expect("a transport");
    let answer = post(&transport, "http://lms.example.edu/?ticket=hush", AMPLE).await;
    check(answer, TransportFault::Connection, Written::No, None, "lms.example.edu could not be resolved: no such host");
}

#[tokio::test]
async fn a_connection_cut_before_the_reply_may_have_brought_the_request() {
    let reset = |stream: TcpStream| stream.set_zero_linger().expect("a socket option");
    let at_once = Server::start(move |stream| async move { reset(stream) }).await;
    let after_reading = Server::start(move |mut stream| async move {
        read_request(&mut stream).await;
        reset(stream);
    })
    .await;
    let transport = transport(open_rules());
    for server in [&at_once, &after_reading] {
        let failure = post(&transport, &server.http(), AMPLE).await.expect_err("a failure");
        assert_eq!((failure.fault, failure.status), (TransportFault::Connection, None), "{failure}");
    }
    let answer = post(&transport, &after_reading.http(), AMPLE).await;
    check(answer, TransportFault::Connection, Written::Perhaps, None, "cut the connection");
    check_reply("", TransportFault::Connection, None, "closed the connection").await;
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_a_failure() {
    let (tell, mut closed) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            answer_ok(&mut stream).await;
            drop(stream);
            let _ = tell.send(()).await;
        }
    })
    .await;
    let transport = transport(open_rules());
    for _ in 0..10 {
        post(&transport, &server.http(), AMPLE).await.expect("a reply");
        closed.recv().await.expect("the server has closed");
    }
    assert_eq!(server.connections(), 10);
}

#[tokio::test]
async fn half_a_reply_is_a_cut_connection_with_its_status() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<imsx_POXEnvelope";
    check_reply(half, TransportFault::Connection, Some(200), "closed the connection before").await;
    let half = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n<imsx";
    check_reply(half, TransportFault::Connection, Some(200), "closed the connection before").await;
    check_reply("HTTP/1.1 200 OK\r\nContent-Le", TransportFault::Connection, None, "closed the connection before")
        .await;
}

#[tokio::test]
async fn what_is_no_http_is_unreadable() {
    check_reply("SSH-2.0-OpenSSH_9.2\r\n\r\n", TransportFault::Unreadable, None, "no HTTP").await;
    check_reply("\0\u{1}\u{2}garbage\r\n\r\n", TransportFault::Unreadable, None, "no HTTP").await;
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n";
    check_reply(chunks, TransportFault::Unreadable, Some(200), "broken").await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n";
    check_reply(announced, TransportFault::TooLarge, Some(200), "256 KiB").await;
    let mut streamed = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    streamed.resize(10 << 20, b'x');
    check_reply(streamed, TransportFault::TooLarge, Some(200), "256 KiB").await;
    let headers = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    check_reply(headers, TransportFault::TooLarge, None, "headers").await;
    let mut fits = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 256 << 10).into_bytes();
    fits.resize(fits.len() + (256 << 10), b'x');
    let server = Server::saying(fits).await;
    let reply = post(&transport(open_rules()), &server.http(), AMPLE).await.expect("a reply");
    assert_eq!(reply.body.len(), 256 << 10);
}

#[tokio::test]
async fn the_limit_holds_to_the_last_byte_of_the_body() {
    let silent = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let dripping = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let transport = transport(open_rules());
    let answer = post(&transport, &silent.http(), SHORT).await;
    check(answer, TransportFault::Timeout, Written::Perhaps, None, "did not answer within 0.3 s");
    let answer = post(&transport, &dripping.http(), SHORT).await;
    check(answer, TransportFault::Timeout, Written::Perhaps, Some(200), "the whole reply was not there");
}

#[tokio::test]
async fn a_limit_that_ends_before_the_connection_stands_wrote_nothing() {
    let lookup: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let options = Options { egress: open_rules(), ..Options::default() };
    let transport = HttpTransport::with_lookup(options, lookup).expect("a transport");
    let answer = post(&transport, "http://lms.example.edu/?ticket=hush", SHORT).await;
    check(answer, TransportFault::Timeout, Written::No, None, "within 0.3 s");
    let lookup: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let options = Options { egress: open_rules(), timeout: SHORT, ..Options::default() };
    let transport = HttpTransport::with_lookup(options, lookup).expect("a transport");
    let answer = post(&transport, "http://lms.example.edu/?ticket=hush", AMPLE).await;
    check(answer, TransportFault::Timeout, Written::No, None, "in");
}

#[tokio::test]
async fn a_header_that_http_cannot_carry_is_not_sent() {
    let server = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let mut split = request(Method::Post, &server.http(), "x");
    split.headers.push(("x-token", "hush\r\nX-Evil: 1".to_owned()));
    let answer = transport(open_rules()).send(split, AMPLE).await;
    check(answer, TransportFault::Unreadable, Written::No, None, "x-token");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn forbidden_destinations_are_never_connected_to() {
    let server = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let no_private = EgressRules { allow_http: true, ..EgressRules::default() };
    let blocked = |answer, words| check(answer, TransportFault::Blocked, Written::No, None, words);
    for host in ["127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
        blocked(post(&transport(no_private.clone()), &server.url("http", host), AMPLE).await, "loopback");
    }
    let named = transport_where(no_private.clone(), &["127.0.0.1", "10.0.0.1"]);
    blocked(post(&named, &server.url("http", "lms.example.edu"), AMPLE).await, "lms.example.edu leads to");
    let metadata = transport_where(open_rules(), &["169.254.169.254"]);
    blocked(post(&metadata, &server.url("http", "lms.example.edu"), AMPLE).await, "metadata");
    let https_only = EgressRules { allow_private: true, ..EgressRules::default() };
    blocked(post(&transport(https_only), &server.http(), AMPLE).await, "allow_http");
    let allow_hosts = vec![HostPattern::parse("*.example.edu").expect("a pattern")];
    let listed = transport_where(EgressRules { allow_hosts, ..open_rules() }, &["127.0.0.1"]);
    blocked(post(&listed, &server.url("http", "lms.example.org"), AMPLE).await, "allow_hosts");
    assert_eq!(server.connections(), 0);
    post(&listed, &server.url("http", "lms.example.edu"), AMPLE).await.expect("a reply");
}

#[tokio::test]
async fn a_name_with_allowed_and_forbidden_addresses_uses_the_allowed_ones() {
    let server = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let mixed = transport_where(open_rules(), &["169.254.169.254", "0.0.0.0", "127.0.0.1"]);
    post(&mixed, &server.url("http", "lms.example.edu"), AMPLE).await.expect("a reply");
}

#[tokio::test]
async fn a_proxy_may_be_private_but_opens_no_private_destination() {
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    let proxy = Server::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(read_request(&mut stream).await).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
    })
    .await;
    let through = |addresses: &[&str]| {
        let proxy = format!("http://127.0.0.1:{}", proxy.address.port()).parse().ok();
        transport_where(EgressRules { allow_http: true, proxy, ..EgressRules::default() }, addresses)
    };
    post(&through(&["1.1.1.1"]), "http://lms.example.edu/?ticket=hush", AMPLE).await.expect("a reply");
    let seen = told.recv().await.expect("a request");
    assert!(seen.starts_with("POST http://lms.example.edu/"), "{seen}");
    for (addresses, url) in [
        (&["10.0.0.1"][..], "http://lms.example.edu/"),
        (&["1.1.1.1", "10.0.0.1"], "http://lms.example.edu/"),
        (&["1.1.1.1"], "http://10.0.0.1/"),
    ] {
        check(
            post(&through(addresses), url, AMPLE).await,
            TransportFault::Blocked,
            Written::No,
            None,
            "10.0.0.1 is a private",
        );
    }
    assert_eq!(proxy.connections(), 1);
}

/// A certificate authority of the test's own, in a file for `ca_file`.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: tempfile::NamedTempFile,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), issuer.pem()).expect("the file takes the certificate");
        Self { issuer, file }
    }

    /// An authority below this one, which nobody trusts by itself.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("an authority");
        Self { issuer, file: tempfile::NamedTempFile::new().expect("a file") }
    }

    /// A server with a certificate for `name` that expires with the year `expires`.
    async fn server(&self, name: &str, expires: i32) -> Server {
        let acceptor = self.acceptor(name, expires);
        Server::start(move |stream| serve_tls(acceptor.clone(), stream)).await
    }

    /// The TLS side of such a server.
    pub(crate) fn acceptor(&self, name: &str, expires: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        TlsAcceptor::from(Arc::new(config.expect("a TLS configuration")))
    }

    fn trusting(&self) -> HttpTransport {
        let rules =
            EgressRules { ca_file: Some(self.file.path().to_owned()), allow_private: true, ..EgressRules::default() };
        transport_where(rules, &["127.0.0.1"])
    }
}

fn serve_tls(acceptor: TlsAcceptor, stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Ok(mut stream) = acceptor.accept(stream).await {
            answer_ok(&mut stream).await;
        }
    })
}

async fn answer_ok(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    read_request(stream).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn a_bad_certificate_is_told_in_words() {
    let ours = Authority::new("Ours");
    let good = ours.server("lms.example.edu", 2090).await;
    let reply = post(&ours.trusting(), &good.url("https", "lms.example.edu"), AMPLE).await.expect("a reply");
    assert_eq!(reply.body, b"ok");

    let tls = |answer, words| check(answer, TransportFault::Tls, Written::No, None, words);
    let expired = ours.server("lms.example.edu", 2021).await;
    tls(post(&ours.trusting(), &expired.url("https", "lms.example.edu"), AMPLE).await, "has expired");
    tls(post(&ours.trusting(), &good.url("https", "other.example.edu"), AMPLE).await, "another name");
    let strangers = Authority::new("Theirs").trusting();
    tls(post(&strangers, &good.url("https", "lms.example.edu"), AMPLE).await, "unknown issuer");
    let plain = Server::start(|mut stream| async move {
        let mut hello = [0; 64];
        let _ = stream.read(&mut hello).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    tls(post(&ours.trusting(), &plain.url("https", "lms.example.edu"), AMPLE).await, "does not speak TLS");
    let closing = Server::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let answer = post(&ours.trusting(), &closing.url("https", "lms.example.edu"), AMPLE).await;
    check(answer, TransportFault::Connection, Written::No, None, "closed the connection");
}

#[test]
fn a_setting_that_cannot_work_is_refused_by_name() {
    let refused = |egress| HttpTransport::new(Options { egress, ..Options::default() }).err().expect("a refusal");
    let missing = EgressRules { ca_file: Some("/nowhere/roots.pem".into()), ..EgressRules::default() };
    assert!(matches!(refused(missing), TransportSetupError::CaFile { .. }));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let empty = EgressRules { ca_file: Some(file.path().to_owned()), ..EgressRules::default() };
    assert!(matches!(refused(empty), TransportSetupError::CaFormat { .. }));
    let socks = EgressRules { proxy: "socks5://user:hush@proxy.example:1080".parse().ok(), ..EgressRules::default() };
    assert!(!refused(socks).to_string().contains("hush"));
}
