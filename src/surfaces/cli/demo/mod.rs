//! `passback demo`: the main job, shown to somebody who has never seen it, and checked.
//!
//! A worker on a store in a temporary folder, three simulated platforms, 300 events through a real door. The demo only
//! uses what a user has: the door, the API, and each platform's gradebook. It ends well only if every cell of every
//! gradebook shows what was sent.

mod report;
mod scenario;

use std::{future::Future, path::Path, pin::Pin, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::{
    report::{Outcome, Report},
    scenario::{Addresses, CLIENT_ID, CONSUMER_KEY, CONTEXT, Scenario, Stage},
};
use super::{
    answers::{BulkNumbers, Job, JobPage, Stats},
    client::{Client, ClientError, Payload, Token},
    fault::CliError,
    lms::until_signal,
    output::Screen,
    submit::Publish,
};
use crate::simulator::{self, Consumer, Fault, Jwks, Options, Route, SimulatedLms};

/// How long the second platform stays down.
const DOWN_FOR: Duration = Duration::from_secs(6);
/// The longest that the demo waits for any one thing.
const PATIENCE: Duration = Duration::from_secs(50);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The secret that the demo's platforms share with the worker.
const SECRET: &str = "demo-secret";

/// What the demo's worker is made of; whoever starts it turns this into a configuration.
pub struct Plan<'a> {
    /// The folder of the store.
    pub store: &'a Path,
    /// Consumer key and secret of LTI 1.1.
    pub consumer: (&'static str, &'static str),
    /// Client id and token endpoint of LTI 1.3.
    pub client: (&'static str, String),
    /// Where a worker of the demo takes events from RabbitMQ.
    pub amqp: Option<&'a SecretString>,
    /// Names of the platforms, by the URL at which each listens.
    pub names: Vec<(&'static str, String)>,
    /// `[retry]`: the first wait, the factor and the longest wait; short enough to watch.
    pub retry: (Duration, f64, Duration),
}

/// A worker that has been started.
pub struct Worker<S> {
    /// Its address.
    pub url: url::Url,
    /// An operator's token.
    pub token: SecretString,
    /// The service, to be stopped.
    pub service: S,
}

/// Starts and stops the worker of the demo, and publishes for it: what the command line cannot do itself.
pub trait Stagehands {
    /// A running service.
    type Service;
    /// Publishes to the broker.
    type Publisher: Publish;

    /// Starts a worker.
    fn launch(&self, plan: &Plan<'_>) -> impl Future<Output = Result<Worker<Self::Service>, CliError>>;
    /// Stops it.
    fn stop(&self, service: Self::Service) -> impl Future<Output = Result<(), CliError>>;
    /// Connects to the broker and to the queue of the demo's worker.
    fn publisher(&self, url: &SecretString) -> impl Future<Output = Result<Self::Publisher, CliError>>;
    /// Removes what the demo left at the broker.
    fn clean_up(&self, url: &SecretString) -> impl Future<Output = ()>;
}

/// Runs the demo.
pub async fn run<H: Stagehands>(
    amqp: Option<&SecretString>,
    keep: bool,
    hands: &H,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let folder = tempfile::tempdir().map_err(|error| failed("a temporary folder cannot be made", &error))?;
    let cast = Cast::start().await?;
    let store = folder.path().join("store");
    let plan = cast.plan(&store, amqp);
    let worker = hands.launch(&plan).await?;
    let client = Client::new(worker.url.clone(), Token::Given(worker.token.clone()))?;
    cast.register(&worker.url)?;
    let result = Pin::from(Box::new(play(&cast, &client, amqp, hands, screen))).await;
    if keep {
        tell_where(&cast, &worker.url, &store, screen)?;
        until_signal().await;
    }
    let stopped = hands.stop(worker.service).await;
    cast.stop().await;
    if let Some(url) = amqp {
        hands.clean_up(url).await;
    }
    result.and(stopped)
}

/// The three platforms.
struct Cast {
    healthy: SimulatedLms,
    down: SimulatedLms,
    choosy: SimulatedLms,
}

impl Cast {
    async fn start() -> Result<Self, CliError> {
        let lti11 = || Options { consumers: vec![Consumer::new(CONSUMER_KEY, SECRET)], ..Options::default() };
        let lti13 =
            || Options { contexts: vec![(CONTEXT.to_owned(), vec!["quiz-1".to_owned()])], ..Options::default() };
        let start = async |options| {
            SimulatedLms::start(options).await.map_err(|error| failed("a platform cannot start", &error))
        };
        Ok(Self { healthy: start(lti11()).await?, down: start(lti13()).await?, choosy: start(lti11()).await? })
    }

    fn plan<'a>(&self, store: &'a Path, amqp: Option<&'a SecretString>) -> Plan<'a> {
        Plan {
            store,
            consumer: (CONSUMER_KEY, SECRET),
            client: (CLIENT_ID, self.down.token_url()),
            amqp,
            names: vec![
                ("healthy-college", self.healthy.base_url().to_owned()),
                ("sleepy-university", self.down.base_url().to_owned()),
                ("choosy-school", self.choosy.base_url().to_owned()),
            ],
            retry: (Duration::from_millis(500), 2.0, Duration::from_secs(4)),
        }
    }

    /// The LTI 1.3 platform learns where the worker's public keys are.
    fn register(&self, worker: &url::Url) -> Result<(), CliError> {
        let jwks = worker.join(".well-known/jwks.json").map_err(|error| failed("the worker's URL is odd", &error))?;
        let client = simulator::Client::new(CLIENT_ID, Jwks::Url(jwks.to_string()));
        self.down.add_client(client).map_err(|error| failed("the tool cannot be registered", &error))
    }

    fn of(&self, stage: Stage) -> &SimulatedLms {
        match stage {
            Stage::Healthy => &self.healthy,
            Stage::Down => &self.down,
            Stage::Choosy => &self.choosy,
        }
    }

    fn take_down(&self) -> Result<(), CliError> {
        for route in [Route::Token, Route::Scores] {
            let fault = Fault::status(503);
            self.down.set_fault(route, fault).map_err(|error| failed("a fault cannot be set", &error))?;
        }
        Ok(())
    }

    async fn stop(self) {
        for platform in [self.healthy, self.down, self.choosy] {
            platform.stop().await;
        }
    }
}

/// The play in three acts: send and watch, mend and replay, compare.
async fn play<H: Stagehands>(
    cast: &Cast,
    client: &Client,
    amqp: Option<&SecretString>,
    hands: &H,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let scenario = Scenario::new(&Addresses::of(&cast.healthy, &cast.down, &cast.choosy));
    scenario.refused.iter().for_each(|user| cast.choosy.refuse_user(user));
    cast.take_down()?;
    screen.line(report::OPENING)?;
    match amqp {
        Some(url) => send_by_broker(&scenario, hands, url).await?,
        None => send_by_http(&scenario, client).await?,
    }
    let total = scenario.events.len() as u64;
    let first = watch(client, total, Some(cast)).await?;
    let retries = retries(client).await?;
    screen.line(&report::first_act(&first, retries, &scenario))?;
    scenario.refused.iter().for_each(|user| cast.choosy.welcome_user(user));
    let body = json!({"filter": {"platform": "choosy-school"}}).to_string();
    let replayed: BulkNumbers = read(client, &client.post(&["api", "v1", "replay"], Payload::Json(body)).await?)?;
    let last = watch(client, total, None).await?;
    screen.line(&report::second_act(&replayed, &last))?;
    let wrong = compare(cast, &scenario);
    let outcome = Outcome { first: &first, last: &last, replayed: &replayed, wrong: &wrong };
    screen.line(&report::third_act(&scenario, &wrong))?;
    outcome.judge(&scenario).map_err(CliError::Failed)
}

async fn send_by_http(scenario: &Scenario, client: &Client) -> Result<(), CliError> {
    for events in scenario.events.chunks(50) {
        let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
        client.post(&["v1", "events"], Payload::Ndjson(lines.join("\n").into_bytes())).await?;
    }
    Ok(())
}

async fn send_by_broker<H: Stagehands>(scenario: &Scenario, hands: &H, url: &SecretString) -> Result<(), CliError> {
    let mut publisher = hands.publisher(url).await?;
    let bodies = scenario.events.iter().map(|event| event.to_string().into_bytes()).collect();
    publisher.publish(bodies).await.map_err(|error| CliError::Failed(error.to_string()))
}

/// Shows the progress until nothing is queued any more. With `cast`, the sleeping platform wakes up on the way.
async fn watch(client: &Client, total: u64, cast: Option<&Cast>) -> Result<Report, CliError> {
    let bar = progress_bar(total);
    let begin = Instant::now();
    let mut asleep = cast;
    loop {
        let report = look(client).await?;
        bar.set_position(report.ended());
        bar.set_message(report.line());
        if asleep.is_some() && begin.elapsed() >= DOWN_FOR {
            asleep.take().into_iter().for_each(|cast| cast.down.clear_faults());
        }
        if report.ended() >= total && report.queued == 0 {
            bar.finish_and_clear();
            return Ok(report);
        }
        if begin.elapsed() > PATIENCE {
            bar.abandon();
            return Err(CliError::Failed(format!(
                "after {} s there is still work left: {}",
                PATIENCE.as_secs(),
                report.line()
            )));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(client: &Client) -> Result<Report, CliError> {
    let stats: Stats = read(client, &client.get(&["api", "v1", "stats"], &[]).await?)?;
    let query = [("state", "flagged".to_owned()), ("limit", "1000".to_owned())];
    let flagged: JobPage = read(client, &client.get(&["api", "v1", "jobs"], &query).await?)?;
    let jobs = flagged.jobs.iter().map(|job| read(client, job.get())).collect::<Result<Vec<Job>, ClientError>>()?;
    Ok(Report::new(&stats, jobs))
}

/// How many retries were made, as the metrics count them.
async fn retries(client: &Client) -> Result<u64, CliError> {
    let metrics = client.get(&["metrics"], &[]).await?;
    let lines = metrics.lines().filter(|line| line.starts_with("passback_retries_total"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

fn read<T: serde::de::DeserializeOwned>(client: &Client, body: &str) -> Result<T, ClientError> {
    serde_json::from_str(body).map_err(|_| client.strange(body))
}

/// Every cell that does not show what was sent.
fn compare(cast: &Cast, scenario: &Scenario) -> Vec<String> {
    let wrong = scenario.expected.iter().filter_map(|((stage, cell), expected)| {
        let shown = cast.of(*stage).grade(cell).map(|grade| grade.score / grade.maximum);
        let right = shown.is_some_and(|shown| (shown - expected).abs() < 1e-9);
        (!right).then(|| format!("{stage:?}, {}: sent {expected}, shown {shown:?}", cell.user))
    });
    let mut wrong: Vec<String> = wrong.collect();
    wrong.sort();
    wrong
}

fn progress_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = "{elapsed:>4} [{bar:40}] {pos}/{len} grades settled  {msg}";
    // The template is fixed and well-formed; if it ever is not, the plain bar does.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn tell_where(cast: &Cast, worker: &url::Url, store: &Path, screen: &mut Screen) -> Result<(), CliError> {
    let platforms =
        [&cast.healthy, &cast.down, &cast.choosy].map(|lms| format!("{}/_control/gradebook", lms.base_url()));
    screen.line(&format!(
        "\nEverything stays up until Ctrl-C:\n  worker      {worker}\n  token       {}\n  gradebooks  {}\n\nTry: passback failures list --url {worker} --token \"$(cat {})\"",
        store.join("operator.token").display(),
        platforms.join("\n              "),
        store.join("operator.token").display(),
    ))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::Failed(format!("{what}: {error}"))
}
