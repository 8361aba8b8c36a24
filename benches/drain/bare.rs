//! The two halves of the work with nothing between them: a consumer that only acknowledges, and a client that only
//! posts. Each says `ready` when its preparations are made, waits for a line, works, says how many seconds that took,
//! and stays until it is killed, so that the kernel's numbers can be read.

use std::{
    io::stdin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use passback::{
    adapters::clock::SystemClock,
    domain::{
        event::{Door, GradeEvent},
        platform::SharedSecret,
    },
    lti::{
        exchange::{Credentials, Exchange, Standing, Step},
        wire::Request,
    },
    ports::Clock as _,
};
use tokio::{task::JoinSet, time::Instant};

use super::events::{SECRET, event, outcomes_of};

/// `[amqp] prefetch`.
const PREFETCH: u16 = 512;
/// `[delivery] concurrency` and `per_platform`.
const CONCURRENCY: usize = 256;
const PER_PLATFORM: usize = 16;

/// Consumes so many messages and acknowledges them, as many at a time as are there.
pub(super) async fn consume(url: &str, queue: &str, count: usize) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.expect("a prefetch");
    let begin = begin();
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    let mut consumer = consuming.await.expect("a consumer");
    let mut taken = 0;
    while taken < count {
        let mut last = consumer.next().await.expect("a message").expect("a message");
        taken += 1;
        while let Some(Some(next)) = consumer.next().now_or_never() {
            last = next.expect("a message");
            taken += 1;
        }
        last.ack(BasicAckOptions { multiple: true }).await.expect("an acknowledgement");
    }
    end(begin).await;
}

/// Posts so many grades to the LMS, as many at a time as the worker would.
pub(super) async fn post(outcomes: &str, count: usize, platforms: usize) {
    let requests: Arc<[Request]> = (0..count).map(|number| request(number, outcomes, platforms)).collect();
    let client = client();
    let next = Arc::new(AtomicUsize::new(0));
    let begin = begin();
    let mut posting = JoinSet::new();
    for _ in 0..CONCURRENCY.min(PER_PLATFORM * platforms) {
        let (requests, client, next) = (Arc::clone(&requests), client.clone(), Arc::clone(&next));
        posting.spawn(async move {
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                send(&client, request).await;
            }
        });
    }
    posting.join_all().await;
    end(begin).await;
}

/// A client like the worker's.
#[expect(clippy::disallowed_methods, reason = "the load run measures a bare client")]
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().http1_only().tcp_nodelay(true);
    builder.pool_max_idle_per_host(PER_PLATFORM).timeout(Duration::from_secs(30)).build().expect("a client")
}

async fn send(client: &reqwest::Client, request: &Request) {
    let mut builder = client.post(request.url.as_url().clone()).body(request.body.clone());
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    let reply = builder.send().await.expect("a reply");
    let status = reply.status();
    let body = reply.bytes().await.expect("a body");
    assert!(status.is_success() && !body.is_empty(), "the LMS answered {status}");
}

/// The signed request that the worker would send.
fn request(number: usize, outcomes: &str, platforms: usize) -> Request {
    let text = event(number, &outcomes_of(number, outcomes, platforms));
    let event = GradeEvent::parse(text.as_bytes(), Door::Event).expect("a good event");
    let credentials = Credentials::Shared(SharedSecret::new(SECRET.to_owned()));
    let now = SystemClock.now();
    let mut exchange = Exchange::new(&event, credentials, Standing::first(now)).expect("it can be sent");
    match exchange.poll(now, SystemClock.luck()) {
        Step::Send(request) => request,
        step => panic!("not a request: {step:?}"),
    }
}

/// Says that all is ready, and waits for the word.
fn begin() -> Instant {
    println!("ready");
    stdin().read_line(&mut String::new()).expect("a word");
    Instant::now()
}

/// Says how long it took, and stays.
async fn end(begin: Instant) {
    println!("{}", begin.elapsed().as_secs_f64());
    std::future::pending::<()>().await;
}
