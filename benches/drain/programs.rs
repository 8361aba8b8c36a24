//! The programs of the load run, each a process of its own, and what the kernel says of them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::events::{KEY, SECRET};

/// The kernel counts CPU time in hundredths of a second on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Longer than any of it takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// A program that is killed when it is not needed any more.
pub(super) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Program {
    /// The CPU time that it has used so far.
    pub(super) fn cpu(&self) -> Cpu {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("the program runs");
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let mut ticks = after_name.split(' ').skip(11).filter_map(|ticks| ticks.parse::<f64>().ok());
        let mut seconds = || ticks.next().unwrap_or_default() / TICKS_PER_SECOND;
        Cpu { user: seconds(), system: seconds() }
    }

    /// Its resident memory at its highest, in MiB.
    pub(super) fn peak_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("the program runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// CPU time, in seconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl Cpu {
    /// What was used since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub(super) fn seconds(self) -> f64 {
        self.user + self.system
    }
}

/// The simulated LMS, and its outcome service; `0.0.0.0` in that URL stands for any address of the loopback.
pub(super) fn start_lms() -> (Program, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_passback"))
        .args(["lms", "--listen", "0.0.0.0:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the simulated LMS");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its description");
    let description: Value = serde_json::from_str(&line).expect("JSON");
    let outcomes = description["outcomes_url"].as_str().expect("a URL").to_owned();
    (Program(child), outcomes)
}

/// The worker, with the default configuration but for what lets it call the loopback.
pub(super) struct Worker {
    pub(super) program: Program,
    listen: String,
    token: std::path::PathBuf,
    client: reqwest::Client,
}

impl Worker {
    /// Starts it on the store in `folder`. `more` is added to its configuration.
    #[expect(clippy::disallowed_methods, reason = "the load run talks to the worker like any other program")]
    pub(super) fn start(folder: &Path, more: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let store = folder.join("store");
        let config = format!(
            "[store]\npath = \"{}\"\n[http]\nlisten = \"{free}\"\n[egress]\nallow_http = true\nallow_private = true\n\
             [[lti_keys]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n{more}",
            store.display()
        );
        let path = folder.join("passback.toml");
        fs::write(&path, config).expect("a configuration");
        let log = fs::File::create(folder.join("log")).expect("a log");
        let command =
            Command::new(env!("CARGO_BIN_EXE_passback")).args(["run", "--config"]).arg(path).stderr(log).spawn();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let program = Program(command.expect("the worker"));
        Self { program, listen: free.to_string(), token: store.join("operator.token"), client }
    }

    /// Asks it; none while it does not answer, or not with success.
    pub(super) async fn get(&self, path: &str) -> Option<String> {
        let asked = self.client.get(format!("http://{}{path}", self.listen)).bearer_auth(self.token()).send().await;
        asked.ok()?.error_for_status().ok()?.text().await.ok()
    }

    /// Sends it events, or a wish, which it has to take; its answer.
    pub(super) async fn post(&self, path: &str, body: String) -> String {
        let kind = if path == "/v1/events" { "application/x-ndjson" } else { "application/json" };
        let url = format!("http://{}{path}", self.listen);
        let sent = self
            .client
            .post(url)
            .bearer_auth(self.token())
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .expect("it listens");
        let (status, answer) = (sent.status(), sent.text().await.unwrap_or_default());
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    fn token(&self) -> String {
        fs::read_to_string(&self.token).unwrap_or_default()
    }

    /// Waits until it says that it is ready.
    pub(super) async fn wait_until_ready(&self) {
        let begin = Instant::now();
        while self.get("/readyz").await.is_none() {
            assert!(begin.elapsed() < PATIENCE, "the worker does not get ready");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many jobs are in a state.
    pub(super) async fn wait_until(&self, state: &str, count: usize) {
        let begin = Instant::now();
        loop {
            let stats: Value =
                self.get("/api/v1/stats").await.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            if stats["jobs"][state].as_u64().is_some_and(|there| there >= count as u64) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the worker does not get done: {stats}");
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until one of its metrics is so high.
    pub(super) async fn wait_for(&self, name: &str, wanted: f64) {
        let begin = Instant::now();
        loop {
            let seen = self.metric(name).await;
            if seen >= wanted {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{name} comes to {seen} and not to {wanted}");
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// A number of its metrics.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await.unwrap_or_default();
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
    }
}

/// This very program in one of its bare roles (`bare`).
pub(super) struct Bare {
    pub(super) program: Program,
    says: BufReader<ChildStdout>,
}

impl Bare {
    /// Starts it, and waits until it has made its preparations.
    pub(super) fn start(args: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a path");
        let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("this program once more");
        let says = BufReader::new(child.stdout.take().expect("its output"));
        let mut bare = Self { program: Program(child), says };
        assert_eq!(bare.line(), "ready");
        bare
    }

    /// Lets it do its work; the seconds that it took.
    pub(super) fn work(&mut self) -> f64 {
        writeln!(self.program.0.stdin.as_mut().expect("its input"), "go").expect("it listens");
        self.line().parse().expect("seconds")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("it speaks");
        line.trim().to_owned()
    }
}
