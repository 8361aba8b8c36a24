//! The real program as a child process: started from a configuration file, asked over HTTP, killed and started again.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

/// The longest wait for anything that a test expects.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something, and fails with `what` when it does not.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The settings that every worker of a test has: a local LMS may be called.
pub(crate) const LOCAL: &str = "[egress]\nallow_http = true\nallow_private = true\n";

/// A retry schedule short enough for a test.
pub(crate) const QUICK: &str = "[retry]\ninitial = \"200ms\"\nmultiplier = 1.5\nmax = \"1s\"\n";

/// A worker in a folder of its own.
pub(crate) struct Worker {
    folder: tempfile::TempDir,
    store: PathBuf,
    listen: SocketAddr,
    child: Option<Child>,
    client: reqwest::Client,
}

impl Worker {
    /// A worker that is not started yet. `config` is added to what it needs anyway.
    pub(crate) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        Self::at(folder, store, config)
    }

    /// The same, with its store in a folder that the test gives.
    pub(crate) fn with_store(store: &Path, config: &str) -> Self {
        Self::at(tempfile::tempdir().expect("a folder"), store.to_owned(), config)
    }

    fn at(folder: tempfile::TempDir, store: PathBuf, config: &str) -> Self {
        let listen = free_address();
        let text = format!("[store]\npath = \"{}\"\n[http]\nlisten = \"{listen}\"\n{config}", store.display());
        fs::write(folder.path().join("passback.toml"), text).expect("a configuration");
        Self { folder, store, listen, child: None, client: client() }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn started(config: &str) -> Self {
        let mut worker = Self::new(config);
        worker.start().await;
        worker
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.wait_until_it_answers().await;
    }

    pub(crate) async fn wait_until_it_answers(&self) {
        let url = self.url("/healthz");
        wait_for("the worker to answer", async || self.client.get(&url).send().await.ok()).await;
    }

    /// Starts it by way of another program, which gets its command line, and waits until it answers.
    pub(crate) async fn start_by(&mut self, program: Command) {
        self.spawn_as(program);
        self.wait_until_it_answers().await;
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits until it has ended, and gives back how. One that does not end is killed.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let status = wait_for("the worker to end", async || child.try_wait().expect("its state")).await;
        self.child = None;
        status
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(&mut self) {
        self.spawn_as(Command::new(env!("CARGO_BIN_EXE_passback")));
    }

    /// Starts it by another program, which gets its arguments, and does not wait.
    pub(crate) fn spawn_as(&mut self, mut program: Command) {
        program.args(["run", "--config"]).arg(self.config_path());
        self.spawn_bare(program);
    }

    /// Starts a program of the test's own in its place, which reads the configuration by itself.
    pub(crate) fn spawn_bare(&mut self, mut program: Command) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        let child = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
        self.child = Some(child);
    }

    /// Kills it, as a power cut or the kernel would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it has ended");
        }
    }

    /// Waits until it has been killed by something else, and says by which signal.
    pub(crate) async fn killed(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        wait_for("the worker to die", async || child.try_wait().expect("its state")).await.signal()
    }

    /// Asks it to stop, and says with which code it ended.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it has ended, and says with which code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        wait_for("the worker to stop", async || child.try_wait().expect("its state")).await.code()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// Stops it in the middle of what it does, and waits until no thread of it runs.
    pub(crate) async fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.as_ref().expect("it runs").id());
        let is_stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        wait_for("the worker to stand still", async || {
            fs::read_dir(&tasks).expect("its threads").flatten().all(is_stopped).then_some(())
        })
        .await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("passback.toml")
    }

    /// The folder of its store.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.path().join("worker.log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// The operator token that the worker made.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.store.join("operator.token")).expect("a token").trim().to_owned()
    }

    /// Reads from the API.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).bearer_auth(self.token()).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// Reads what needs no token.
    pub(crate) async fn get_open(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// Commands over the API.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).bearer_auth(self.token()).json(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// The same, with a worker that may not answer.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.sender().post(path, body).await
    }

    /// Somebody else who posts to it, whether it runs or not.
    pub(crate) fn sender(&self) -> Sender {
        Sender { listen: self.listen, store: self.store.clone(), client: self.client.clone() }
    }

    /// Posts an event, or several, that must be taken; the ids of their jobs.
    pub(crate) async fn submit(&self, events: &Value) -> Vec<String> {
        let (status, answer) = self.post("/v1/events", events).await;
        assert_eq!(status, 202, "{answer}");
        let events = answer["events"].as_array().expect("events");
        events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Counts of jobs by state, or none while it does not answer.
    pub(crate) async fn counts(&self) -> Option<Value> {
        let request = self.client.get(self.url("/api/v1/stats")).bearer_auth(self.token());
        let stats: Value = request.send().await.ok()?.json().await.ok()?;
        Some(stats["jobs"].clone())
    }

    /// Waits until a job is in a state, and returns it.
    pub(crate) async fn job_in(&self, id: &str, state: &str) -> Value {
        let path = format!("/api/v1/jobs/{id}");
        wait_for(&format!("job {id} to be {state}"), async || {
            let job = self.get(&path).await;
            (job["state"] == state).then_some(job)
        })
        .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the worker's log:\n{}", self.log());
        }
    }
}

/// Somebody who posts to a worker that may not be there.
pub(crate) struct Sender {
    listen: SocketAddr,
    store: PathBuf,
    client: reqwest::Client,
}

impl Sender {
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let token = fs::read_to_string(self.store.join("operator.token")).ok()?;
        let request = self.client.post(format!("http://{}{path}", self.listen)).bearer_auth(token.trim()).json(body);
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }
}

/// A client of the tests.
#[expect(clippy::disallowed_methods, reason = "the tests talk to the worker like any other program")]
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client")
}

/// A loopback address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}
