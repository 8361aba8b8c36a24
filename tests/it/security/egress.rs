//! Server-side request forgery: whoever writes an event, and whoever answers, can name addresses. None of them makes the
//! worker knock at its neighbours, however it is written and through whichever field it comes.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use passback::{
    adapters::transport::{EgressRules, HttpTransport, Lookup, Options},
    domain::{
        destination::{Destination, ServiceUrl},
        event::{Door, GradeEvent},
        outcome::{FailureReason, Finding, Verdict},
        platform::{Registration, SharedSecret, SigningKey},
        time::Timestamp,
    },
    lti::{
        access_token::{self, AccessToken},
        exchange::{Credentials, Exchange, Standing, Step},
        wire::{Method, Reply, Request, TransportFault, Written},
    },
    ports::Transport as _,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::service::worker::{Worker, wait_for};

/// Hosts as an attacker writes them: what may never be called, or not without `allow_private`, in every spelling that
/// a URL knows. `PORT` stands for a port at which somebody on this machine listens.
const HOSTS: &[&str] = &[
    // Loopback, by name and in the numbers of inet_aton.
    "localhost:PORT",
    "LOCALHOST:PORT",
    "127.0.0.1:PORT",
    "127.0.0.1.:PORT",
    "127.1:PORT",
    "127.0.1:PORT",
    "127.255.255.254",
    "2130706433:PORT",
    "0x7f000001:PORT",
    "0x7f.1:PORT",
    "0x7f.0x0.0x0.0x1:PORT",
    "017700000001:PORT",
    "0177.0.0.01:PORT",
    "0177.0x0.1:PORT",
    "127%2e0%2e0%2e1:PORT",
    "%31%32%37.0.0.1:PORT",
    // Other scripts' digits and stops, which are the same ones to a resolver.
    "１２７.０.０.１:PORT",
    "①②⑦.⓪.⓪.①:PORT",
    "127。0。0。1:PORT",
    "127．0．0．1:PORT",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏:PORT",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT",
    // IPv6: itself, mapped, translated, compatible, NAT64.
    "[::1]:PORT",
    "[0:0:0:0:0:0:0:1]:PORT",
    "[::ffff:127.0.0.1]:PORT",
    "[::ffff:7f00:1]:PORT",
    "[0:0:0:0:0:ffff:127.0.0.1]:PORT",
    "[::ffff:0:127.0.0.1]:PORT",
    "[::127.0.0.1]:PORT",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::10.0.0.1]",
    // This host.
    "0.0.0.0:PORT",
    "0:PORT",
    "0x0:PORT",
    "[::]:PORT",
    "[::ffff:0.0.0.0]:PORT",
    // Private, shared, link-local, benchmarks.
    "10.0.0.1",
    "0xa.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "0300.0250.1",
    "[::ffff:192.168.1.1]",
    "[64:ff9b::a00:1]",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.1.1",
    "198.18.0.1",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    // Metadata services.
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.169.253",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[fd00:c1::a9fe:a9fe]",
    "[fe80::a9fe:a9fe]",
    // Tunnels that end inside: 6to4, Teredo, ISATAP.
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2002:a9fe:a9fe::]",
    "[2001::1]",
    "[2001:0:53aa:64c:0:fbc:80ff:fffe]",
    "[2606:4700::5efe:10.0.0.1]",
    "192.88.99.1",
    // Multicast, broadcast, documentation, reserved.
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
    "[4000::1]",
];

/// Whole URLs that lead to this machine although they do not look like it.
const URLS: &[&str] = &[
    "http:127.0.0.1:PORT/",
    "http:/127.0.0.1:PORT/",
    "http:///127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http://127.0.0.1:PORT\\@lms.example.edu/",
    "http://127.0.0.1:PORT?@lms.example.edu/",
    "http://127.0.0.1:PORT#@lms.example.edu/",
    "HTTP://127.0.0.1:PORT/",
    " http://127.0.0.1:PORT/ ",
    "ht\ntp://127.0.\t0.1:PORT/",
];

/// All of them, as URLs.
fn forbidden(port: u16) -> Vec<String> {
    let hosts = HOSTS.iter().map(|host| format!("http://{host}/x"));
    let all = hosts.chain(URLS.iter().map(|url| (*url).to_owned()));
    all.map(|url| url.replace("PORT", &port.to_string())).collect()
}

/// Texts that are refused at the door, before anybody asks where they lead.
const NO_URLS: &[&str] = &[
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://lms.example.edu@127.0.0.1/",
    "http://lms.example.edu:443@127.0.0.1/",
    "http://@127.0.0.1:@169.254.169.254/",
    "http://256.256.256.256/",
    "http://127.0.0.1.1.1/",
    "http://0x7g.1/",
    "http://[::ffff:127.0.0.1/",
    "http://lms example.edu/",
    "http://",
    "//127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/",
    "ftp://127.0.0.1/",
    "unix:/var/run/docker.sock",
    "data:,x",
    "javascript:1",
];

/// The members of `lis_data` that hold a URL which the worker may call.
const FIELDS: [&str; 5] = ["lis_outcome_service_url", "grade_passback_url", "lineitem", "lineitems", "token_url"];

/// An event whose `field` is `url`; all others are as they should be.
fn event(field: &str, url: &str, number: usize) -> Value {
    let mut lis_data = match field {
        "lis_outcome_service_url" => {
            json!({"lis_result_sourcedid": format!("cell-{number}"), "oauth_consumer_key": "key-1"})
        }
        "grade_passback_url" => json!({"lti_version": "1.3", "oauth_consumer_key": "key-1"}),
        _ => json!({
            "lti_version": "1.3", "client_id": format!("client-{number}"), "user_id": "u", "resource_id": "r",
            "token_url": "http://198.51.100.1/token",
        }),
    };
    if field == "token_url" {
        lis_data["lineitem"] = format!("http://198.51.100.1/lineitems/{number}").into();
    }
    lis_data[field] = url.into();
    json!({"session_id": format!("s-{number}"), "score": 8, "max_score": 10, "lis_data": lis_data})
}

/// Somebody of this machine who must not be called.
struct Neighbour {
    port: u16,
    calls: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Neighbour {
    /// Answers each call with a redirect to itself, so that following one would be seen as well.
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let reply = format!(
                    "HTTP/1.1 {status} Elsewhere\r\nLocation: http://127.0.0.1:{port}/again\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                let _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        Self { port, calls, _tasks: tasks }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn key_file() -> String {
    format!("{}/tests/vectors/signing_key.pem", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_an_event_reaches_a_neighbour_in_any_spelling() {
    let neighbour = Neighbour::start(200).await;
    let config = format!(
        "[egress]\nallow_http = true\n[lti]\nallow_unregistered = true\n[[lti_keys]]\nkey = \"key-1\"\nsecret = \"sesame\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = {{ file = \"{}\" }}\n",
        key_file()
    );
    let worker = Worker::started(&config).await;
    // Those that are called before any other; a line item is only called with a token.
    let fields = ["lis_outcome_service_url", "grade_passback_url", "token_url"];
    let forms = forbidden(neighbour.port);
    let urls: Vec<(&str, &String)> =
        fields.iter().flat_map(|field| forms.iter().map(move |url| (*field, url))).collect();
    let events: Vec<Value> = urls.iter().enumerate().map(|(number, (field, url))| event(field, url, number)).collect();
    let ids = worker.submit(&events.into()).await;
    wait_for("every job to be flagged", async || {
        let counts = worker.counts().await?;
        (counts["flagged"] == ids.len()).then_some(())
    })
    .await;
    for (id, (field, url)) in ids.iter().zip(&urls) {
        let job = worker.get(&format!("/api/v1/jobs/{id}")).await;
        assert_eq!(job["reason"], "blocked_destination", "{field} = {url}: {job}");
        assert_eq!(job["attempts"], json!([]), "{field} = {url}: nothing was sent");
    }
    assert_eq!(neighbour.calls(), 0, "somebody was called");
    println!("{} forms of addresses in {} fields: all blocked, nobody was called", forms.len(), fields.len());
}

#[tokio::test]
async fn no_request_of_any_delivery_reaches_a_neighbour_in_any_spelling() {
    let neighbour = Neighbour::start(200).await;
    let rules = EgressRules { allow_http: true, ..EgressRules::default() };
    let strict = HttpTransport::new(Options { egress: rules, ..Options::default() }).expect("a transport");
    let forms = forbidden(neighbour.port);
    assert!(forms.len() >= 90);
    for field in FIELDS {
        for url in &forms {
            let failure = strict.send(first_request(field, url), AMPLE).await.expect_err(url);
            assert_eq!(
                (failure.fault, failure.written),
                (TransportFault::Blocked, Written::No),
                "{field} {url}: {failure}"
            );
        }
    }
    assert_eq!(neighbour.calls(), 0, "somebody was called");
}

/// The first request that goes to the URL in `field`.
fn first_request(field: &str, url: &str) -> Request {
    let (mut exchange, now) = (exchange(&event(field, url, 0)), Timestamp::from_secs(1_800_000_000));
    for luck in 0..10 {
        match exchange.poll(now, luck) {
            Step::Token(request, _) if field == "token_url" => {
                return request.assertion_request(now, luck).expect("an assertion");
            }
            Step::Token(..) => exchange.handle_token(token(now)),
            Step::RecallColumn { .. } => exchange.handle_column(None),
            Step::Send(request) => return request,
            other => panic!("{field} {url}: {other:?}"),
        }
    }
    panic!("{field} {url}: nothing is sent")
}

#[test]
fn what_is_no_service_url_is_refused_with_its_field() {
    for field in FIELDS {
        for url in NO_URLS {
            let body = event(field, url, 0).to_string();
            let refused = GradeEvent::parse(body.as_bytes(), Door::Event).expect_err(url);
            assert_eq!(refused.field, format!("lis_data.{field}"), "{url}");
            assert!(!refused.detail.contains(url), "{}", refused.detail);
        }
    }
    let long = format!("https://{}.example/", "a".repeat(250));
    let refused = GradeEvent::parse(event("lineitem", &long, 0).to_string().as_bytes(), Door::Event);
    assert_eq!(refused.expect_err("longer than any name").field, "lis_data.lineitem");
}

fn transport(lookup: Lookup, egress: EgressRules) -> HttpTransport {
    HttpTransport::with_lookup(Options { egress, ..Options::default() }, lookup).expect("a transport")
}

fn post(url: &str) -> Request {
    let url = ServiceUrl::parse(url).expect("a service URL");
    Request { method: Method::Post, url, headers: Vec::new(), body: b"<grade/>".to_vec() }
}

/// The limit of a request that succeeds or is refused at once.
const AMPLE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn no_name_leads_to_a_neighbour_whatever_it_resolves_to() {
    let mut tried = 0;
    for host in HOSTS {
        let url = ServiceUrl::parse(&format!("http://{}/", host.replace(":PORT", ""))).expect(host);
        let address: IpAddr = match url.as_url().host() {
            Some(url::Host::Ipv4(address)) => address.into(),
            Some(url::Host::Ipv6(address)) => address.into(),
            _ => IpAddr::from([127, 0, 0, 1]),
        };
        let lookup: Lookup = Arc::new(move |_| Box::pin(async move { Ok(vec![address]) }));
        let strict = transport(lookup, EgressRules { allow_http: true, ..EgressRules::default() });
        let failure = strict.send(post("http://lms.example.edu/"), AMPLE).await.expect_err(host);
        assert_eq!((failure.fault, failure.written), (TransportFault::Blocked, Written::No), "{host}: {failure}");
        tried += 1;
    }
    assert!(tried >= 40);
}

#[tokio::test]
async fn a_name_that_turns_after_it_was_checked_is_not_followed() {
    let neighbour = Neighbour::start(204).await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    // The first answer may be called by these rules, every later one may not.
    let lookup: Lookup = Arc::new(move |_| {
        let turned = count.fetch_add(1, Ordering::SeqCst) > 0;
        let address = if turned { [169, 254, 169, 254] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
    });
    let lax = EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() };
    let transport = transport(lookup, lax);
    let url = format!("http://lms.example.edu:{}/", neighbour.port);
    let reply = transport.send(post(&url), AMPLE).await.expect("what was checked is what is called");
    assert_eq!((reply.status, lookups.load(Ordering::SeqCst)), (204, 1), "one look decides and connects");
    let failure = transport.send(post(&url), AMPLE).await.expect_err("it has turned");
    assert_eq!(failure.fault, TransportFault::Blocked, "{failure}");
    assert_eq!((neighbour.calls(), lookups.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [300, 301, 302, 303, 305, 307, 308] {
        let neighbour = Neighbour::start(status).await;
        let lookup: Lookup = Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }));
        let lax = EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() };
        let url = format!("http://lms.example.edu:{}/", neighbour.port);
        let reply = transport(lookup, lax).send(post(&url), AMPLE).await.expect("a reply");
        assert_eq!((reply.status, neighbour.calls()), (status, 1));
    }
}

/// An exchange for an event, with whatever keys it needs.
fn exchange(event: &Value) -> Exchange {
    let event = GradeEvent::parse(event.to_string().as_bytes(), Door::Event).expect("an event");
    let credentials = match &event.destination {
        Destination::Ags(target) => {
            let token_url = target.claimed.token_url.clone().expect("each of ours has one");
            let registration = Registration {
                name: None,
                client_id: target.client_id.clone(),
                token_audience: token_url.as_url().to_string(),
                token_url,
                deployment_id: None,
                ignored_claims: Vec::new(),
            };
            let pem = std::fs::read_to_string(key_file()).expect("a key");
            Credentials::Platform { registration, key: Arc::new(SigningKey::new("k1", pem)) }
        }
        Destination::Lti11(_) | Destination::Delegated(_) => Credentials::Shared(SharedSecret::new("sesame")),
    };
    Exchange::new(&event, credentials, Standing::first(Timestamp::from_secs(1_800_000_000))).expect("an exchange")
}

fn token(now: Timestamp) -> Result<AccessToken, Verdict> {
    access_token::read(&Ok(reply("", r#"{"access_token":"t","expires_in":3600}"#)), now)
}

/// An AGS exchange that has its token and has asked for its column.
fn searching() -> Exchange {
    let now = Timestamp::from_secs(1_800_000_000);
    let mut exchange = exchange(&event("lineitems", "https://lms.example.edu/lineitems", 0));
    for luck in 0.. {
        match exchange.poll(now, luck) {
            Step::Token(..) => exchange.handle_token(token(now)),
            Step::RecallColumn { .. } => exchange.handle_column(None),
            Step::Send(_) => break,
            other => panic!("{other:?}"),
        }
    }
    exchange
}

fn reply(link: &str, body: &str) -> Reply {
    let headers = if link.is_empty() { Vec::new() } else { vec![("link".to_owned(), link.to_owned())] };
    Reply { status: 200, headers, body: body.as_bytes().to_vec() }
}

#[test]
fn no_answer_of_a_platform_leads_elsewhere_by_a_next_link_or_a_columns_id() {
    let others =
        ["lms.example.edu:8443", "lms.example.edu.evil.example", "evil.example", "lms.example.edu@evil.example"];
    for host in HOSTS.iter().chain(&others) {
        let host = host.replace("PORT", "8080");
        for scheme in ["http", "https"] {
            let next = reply(&format!("<{scheme}://{host}/items>; rel=\"next\""), "[]");
            let column = reply("", &format!(r#"[{{"id":"{scheme}://{host}/items/1","resourceId":"r"}}]"#));
            for answer in [next, column] {
                let mut exchange = searching();
                let now = Timestamp::from_secs(1_800_000_000);
                exchange.handle_reply(&Ok(answer), now);
                match exchange.poll(now, 99) {
                    Step::Done(verdict) => {
                        assert_eq!(verdict.finding, Finding::Failed(FailureReason::BadResponse), "{host}");
                    }
                    Step::Send(request) => {
                        assert_eq!(
                            request.url.origin().as_str(),
                            "https://lms.example.edu",
                            "{host}: our token goes there"
                        );
                    }
                    other => panic!("{host}: {other:?}"),
                }
            }
        }
    }
}
