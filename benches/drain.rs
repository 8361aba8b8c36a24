//! The load run: events drained from a real quorum queue into a simulated LMS, three programs on the same machine.
//!
//! ```sh
//! cargo bench --bench drain                # 20,000 events for one platform
//! cargo bench --bench drain -- 60000       # so many events
//! cargo bench --bench drain -- 60000 16    # for so many platforms (addresses of the loopback, one simulated LMS)
//! ```
//!
//! It prints jobs per second from the start of the worker to the last delivery, and the worker's own CPU time a job as
//! the kernel counted it (`/proc/PID/stat`), resident memory at its highest, and events per sync.

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/it/service/broker.rs"]
mod broker;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use broker::Broker;
use passback::adapters::amqp::{Message, Options, Publisher};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const QUEUE: &str = "drain";
/// The kernel counts CPU time in hundredths of a second on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let events = numbers.next().unwrap_or(20_000);
    let platforms = numbers.next().unwrap_or(1).clamp(1, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(drain(events, platforms));
}

async fn drain(events: usize, platforms: usize) {
    let broker = Broker::start();
    let (lms, description) = start_lms();
    let folder = tempfile::tempdir().expect("a folder");
    publish(&broker, &description, events, platforms).await;
    let begin = Instant::now();
    let worker = start_worker(folder.path(), &broker.url());
    let listen = fs::read_to_string(folder.path().join("listen")).expect("an address");
    wait_until_delivered(&listen, folder.path(), events).await;
    let seconds = begin.elapsed().as_secs_f64();
    let micros = cpu_seconds(worker.0.id()) * 1e6 / as_float(events);
    let metrics = get(&format!("http://{listen}/metrics"), "").await;
    let syncs = number_of(&metrics, "passback_store_write_duration_seconds_count");
    println!(
        "{events} events for {platforms} platforms delivered in {seconds:.2} s: {:.0} jobs/s",
        as_float(events) / seconds
    );
    println!("worker: {micros:.0} us CPU a job, {} kB at most, {:.1} changes a sync", peak_kb(worker.0.id()), {
        // Each job is stored, started and finished: three changes.
        3.0 * as_float(events) / syncs.max(1.0)
    });
    println!("simulated LMS: {:.0} us CPU a job", cpu_seconds(lms.0.id()) * 1e6 / as_float(events));
}

/// A program that is killed when it is not needed any more.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start_lms() -> (Program, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_passback"))
        .args(["lms", "--listen", "0.0.0.0:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the simulated LMS");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its description");
    (Program(child), serde_json::from_str(&line).expect("JSON"))
}

fn start_worker(folder: &Path, amqp: &str) -> Program {
    let listen = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let config = format!(
        "[store]\npath = \"{}\"\n[http]\nlisten = \"{listen}\"\n[amqp]\nurl = \"{amqp}\"\nqueues = [\"{QUEUE}\"]\n\
         [egress]\nallow_http = true\nallow_private = true\n[[lti_keys]]\nkey = \"demo-key\"\nsecret = \"demo-secret\"\n",
        folder.join("store").display()
    );
    fs::write(folder.join("passback.toml"), config).expect("a configuration");
    fs::write(folder.join("listen"), listen.to_string()).expect("an address");
    let log = fs::File::create(folder.join("log")).expect("a log");
    let child = Command::new(env!("CARGO_BIN_EXE_passback"))
        .args(["run", "--config"])
        .arg(folder.join("passback.toml"))
        .stderr(log)
        .spawn()
        .expect("the worker");
    Program(child)
}

async fn publish(broker: &Broker, lms: &Value, events: usize, platforms: usize) {
    let options = Options { queues: vec![QUEUE.to_owned()], ..Options::at(broker.url()) };
    let publisher = Publisher::connect(&options).await.expect("a connection");
    let outcomes = lms["outcomes_url"].as_str().expect("a URL");
    let messages = (0..events).map(|number| {
        let event = json!({
            "event_id": format!("event-{number}"), "session_id": format!("session-{number}"),
            "user_id": format!("student-{number}"), "activity_id": "quiz-1",
            "score": number % 11, "max_score": 10, "occurred_at": "2026-11-21T10:30:00Z",
            "metadata": "x".repeat(600),
            "lis_data": {
                "lis_outcome_service_url": outcomes.replace("0.0.0.0", &format!("127.0.0.{}", 1 + number % platforms)),
                "lis_result_sourcedid": format!("course-1:quiz-1:student-{number}"), "oauth_consumer_key": "demo-key",
            },
        });
        Message { body: event.to_string().into_bytes(), ..Message::default() }
    });
    publisher.publish(messages).await.expect("all are confirmed");
    publisher.close().await;
}

async fn wait_until_delivered(listen: &str, folder: &Path, events: usize) {
    let begin = Instant::now();
    loop {
        let token = fs::read_to_string(folder.join("store/operator.token")).unwrap_or_default();
        let stats = get(&format!("http://{listen}/api/v1/stats"), &token).await;
        let stats: Value = serde_json::from_str(&stats).unwrap_or_default();
        if stats["jobs"]["delivered"].as_u64().is_some_and(|delivered| delivered >= events as u64) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(600), "the worker does not get done: {stats}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// An empty text while nobody answers.
#[expect(clippy::disallowed_methods, reason = "the load run talks to the worker like any other program")]
async fn get(url: &str, token: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    match client.get(url).bearer_auth(token).send().await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

fn number_of(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the program runs");
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

fn peak_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the program runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
