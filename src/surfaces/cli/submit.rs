//! `passback submit FILE|-`: events as NDJSON, batch by batch, to a worker by HTTP or to RabbitMQ.
//!
//! A worker takes a batch whole or not at all, so a wrong line keeps its batch out; the others go in. Anything but a
//! wrong line stops the command, and it says where to go on. The broker's client is not known here: see [`Publish`].

use std::{future::Future, io};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    fs::File,
    io::{AsyncBufRead, BufReader},
};

use super::{
    answers::Accepted,
    batches::{Batch, Batches},
    client::{Client, ClientError, Payload, Problem},
    connect::{ConnectArgs, FindLocal},
    fault::CliError,
    output::{Screen, counted, note, thousands},
};

/// The most wrong lines of one batch that are shown.
const COMPLAINTS_SHOWN: usize = 20;

/// `passback submit`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct SubmitArgs {
    /// A file with one event (a JSON object) a line, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    /// How many events go in together: a batch is stored whole or not at all
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Publish to this RabbitMQ instead, persistent and with confirms; what is wrong with an event is then seen in the
    /// dead-letter queue
    #[arg(long, value_name = "URL", help_heading = "RabbitMQ")]
    pub amqp: Option<SecretString>,
    /// The queue to publish to
    #[arg(
        long,
        value_name = "NAME",
        default_value = "passback.session-completed",
        requires = "amqp",
        conflicts_with = "exchange",
        help_heading = "RabbitMQ"
    )]
    pub queue: String,
    /// The exchange to publish to, instead of a queue
    #[arg(long, value_name = "NAME", requires = "amqp", help_heading = "RabbitMQ")]
    pub exchange: Option<String>,
    /// The routing key for the exchange
    #[arg(
        long,
        value_name = "KEY",
        default_value = "session.completed",
        requires = "exchange",
        help_heading = "RabbitMQ"
    )]
    pub routing_key: String,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

const EXAMPLES: &str = "Examples:
  passback submit events.ndjson
  jq -c '.[]' events.json | passback submit -
  passback submit events.ndjson --amqp amqp://guest:guest@127.0.0.1:5672/%2f
  passback submit events.ndjson --amqp amqp://… --exchange assessment --routing-key session.completed

An event that carries an event_id can be submitted again without harm: it is stored once. With --amqp the message_id is the
event_id, else a fresh one, so each event that is refused can be found in the dead-letter queue and in the worker's log.";

/// Where in a RabbitMQ events are to be published.
#[derive(Clone, Copy, Debug)]
pub struct BrokerTarget<'a> {
    /// The broker.
    pub url: &'a SecretString,
    /// The exchange; empty is the default one, which puts into the queue that the routing key names.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
}

impl SubmitArgs {
    /// Where to publish; none means by HTTP. A URL of another kind is [`CliError::Usage`].
    pub fn broker(&self) -> Result<Option<BrokerTarget<'_>>, CliError> {
        let Some(url) = &self.amqp else { return Ok(None) };
        // Clap would repeat a text that it refuses, and this one may hold a password.
        if !["amqp://", "amqps://"].iter().any(|scheme| url.expose_secret().starts_with(scheme)) {
            return Err(CliError::Usage("--amqp must be a URL that begins with amqp:// or amqps://".to_owned()));
        }
        let (exchange, routing_key) = match &self.exchange {
            Some(exchange) => (exchange.as_str(), self.routing_key.as_str()),
            None => ("", self.queue.as_str()),
        };
        Ok(Some(BrokerTarget { url, exchange, routing_key }))
    }
}

/// Publishes to a [`BrokerTarget`] with confirms. Implemented by whoever knows the broker's client.
pub trait Publish {
    /// Publishes these bodies in this order, persistent and mandatory, and returns when the broker has confirmed all.
    fn publish(&mut self, bodies: Vec<Vec<u8>>) -> impl Future<Output = Result<(), NotPublished>>;
}

/// The broker did not confirm all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotPublished {
    /// How many, counted from the first, it has confirmed.
    pub confirmed: usize,
    /// What went wrong, in words and without the URL's password.
    pub why: String,
}

/// Submits by HTTP.
pub async fn run(args: &SubmitArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let door = HttpDoor { client: args.connect.client(local)? };
    submit(args, door, screen).await
}

/// Submits through a broker.
pub async fn publish(args: &SubmitArgs, publisher: impl Publish, screen: &mut Screen) -> Result<(), CliError> {
    submit(args, BrokerDoor { publisher }, screen).await
}

/// A way in.
trait Door {
    async fn send(&mut self, batch: &Batch) -> Result<Verdict, Stopped>;
}

/// What became of a batch.
enum Verdict {
    Stored { fresh: u64, known: u64 },
    Refused(Problem),
}

/// It cannot go on.
struct Stopped {
    /// How many events of the batch, counted from the first, are in.
    done: usize,
    why: String,
}

struct HttpDoor {
    client: Client,
}

impl Door for HttpDoor {
    async fn send(&mut self, batch: &Batch) -> Result<Verdict, Stopped> {
        let stopped = |error: ClientError| Stopped { done: 0, why: error.to_string() };
        match self.client.post(&["v1", "events"], Payload::Ndjson(batch.to_ndjson())).await {
            Ok(body) => {
                let accepted: Accepted =
                    serde_json::from_str(&body).map_err(|_| stopped(self.client.strange(&body)))?;
                let known = accepted.events.iter().filter(|event| event.result == "duplicate").count() as u64;
                Ok(Verdict::Stored { fresh: accepted.events.len() as u64 - known, known })
            }
            Err(ClientError::Problem(problem)) if problem.status == 422 => Ok(Verdict::Refused(problem)),
            Err(error) => Err(stopped(error)),
        }
    }
}

struct BrokerDoor<P> {
    publisher: P,
}

impl<P: Publish> Door for BrokerDoor<P> {
    async fn send(&mut self, batch: &Batch) -> Result<Verdict, Stopped> {
        let bodies = batch.events.iter().map(|(_, event)| event.clone()).collect();
        match self.publisher.publish(bodies).await {
            Ok(()) => Ok(Verdict::Stored { fresh: batch.events.len() as u64, known: 0 }),
            Err(error) => Err(Stopped { done: error.confirmed, why: error.why }),
        }
    }
}

/// What was counted so far.
#[derive(Default)]
struct Counts {
    fresh: u64,
    known: u64,
    refused: u64,
}

async fn submit(args: &SubmitArgs, mut door: impl Door, screen: &mut Screen) -> Result<(), CliError> {
    let (reader, bytes) = open(&args.file).await?;
    let bar = progress_bar(bytes);
    let counts = send_all(&args.file, Batches::new(reader, args.batch as usize), &mut door, &bar).await;
    bar.finish_and_clear();
    let counts = counts?;
    screen.line(&summary(&counts, args.amqp.is_some()))?;
    match counts.refused {
        0 => Ok(()),
        refused => Err(CliError::Failed(format!(
            "{} not stored: mend the lines named above and submit them again with their batch",
            counted(refused, "event is", "events are"),
        ))),
    }
}

async fn send_all<R: AsyncBufRead + Unpin>(
    file: &str,
    mut batches: Batches<R>,
    door: &mut impl Door,
    bar: &ProgressBar,
) -> Result<Counts, CliError> {
    let mut counts = Counts::default();
    loop {
        let next = batches.next().await;
        let next = next.map_err(|error| CliError::Failed(format!("{file} cannot be read: {error}")))?;
        let Some(batch) = next else { return Ok(counts) };
        check_form(file, &batch)?;
        let verdict = if batch.too_long.is_empty() {
            door.send(&batch).await.map_err(|stopped| stopped_at(&batch, &stopped, &counts))?
        } else {
            Verdict::Refused(Problem::default())
        };
        match verdict {
            Verdict::Stored { fresh, known } => {
                counts.fresh += fresh;
                counts.known += known;
            }
            Verdict::Refused(problem) => {
                counts.refused += batch.len();
                bar.suspend(|| note(&complaints(&batch, &problem)));
            }
        }
        bar.set_position(batches.bytes());
        bar.set_message(counted(counts.fresh + counts.known, "event", "events"));
    }
}

/// The reader, and how many bytes it has where that is known.
async fn open(file: &str) -> Result<(Box<dyn AsyncBufRead + Unpin>, Option<u64>), CliError> {
    if file == "-" {
        return Ok((Box::new(BufReader::new(tokio::io::stdin())), None));
    }
    let wrong = |error: io::Error| CliError::Usage(format!("{file} cannot be read: {error}"));
    let opened = File::open(file).await.map_err(wrong)?;
    let about = opened.metadata().await.map_err(wrong)?;
    if about.is_dir() {
        return Err(CliError::Usage(format!("{file} is a folder: name a file, or - for standard input")));
    }
    Ok((Box::new(BufReader::new(opened)), about.is_file().then_some(about.len())))
}

/// On standard error; shows nothing where that is no terminal.
fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {percent}%  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    // A template that cannot be read would only look different.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// One event over many lines, or an array: each line would be refused with a reason that helps nobody.
fn check_form(file: &str, batch: &Batch) -> Result<(), CliError> {
    let text = match batch.events.first() {
        Some((_, text)) => text.as_slice(),
        None => return Ok(()),
    };
    let filter = match text {
        b"{" => ".",
        [b'[', ..] => ".[]",
        _ => return Ok(()),
    };
    let (name, argument) = if file == "-" { ("the input", String::new()) } else { (file, format!(" {file}")) };
    let hint = format!("`jq -c '{filter}'{argument} | passback submit -`");
    Err(CliError::Usage(format!("{name} must have each event on a line of its own; try {hint}")))
}

fn complaints(batch: &Batch, problem: &Problem) -> String {
    let (first, last) = batch.lines();
    let count = counted(batch.len(), "event", "events");
    let which = if batch.len() == 1 {
        format!("line {first} ({count}) is")
    } else {
        format!("lines {first} to {last} ({count}) are")
    };
    let mut text = vec![format!("{which} not stored: a batch goes in whole or not at all")];
    let mut wrong: Vec<String> =
        batch.too_long.iter().map(|line| format!("line {line}: is larger than 64 KiB")).collect();
    let line_of = |index: usize| batch.events.get(index).map(|(line, _)| *line);
    wrong.extend(problem.errors.iter().map(|item| match item.index.and_then(line_of) {
        Some(line) => format!("line {line}: {}", item.words()),
        None => item.to_string(),
    }));
    if wrong.is_empty() {
        wrong.push(problem.to_string());
    }
    text.extend(wrong.iter().take(COMPLAINTS_SHOWN).cloned());
    if wrong.len() > COMPLAINTS_SHOWN {
        text.push(format!("and {} more", thousands((wrong.len() - COMPLAINTS_SHOWN) as u64)));
    }
    text.join("\n  ")
}

fn stopped_at(batch: &Batch, stopped: &Stopped, counts: &Counts) -> CliError {
    let line = batch.events.get(stopped.done).map_or_else(|| batch.lines().1 + 1, |(line, _)| *line);
    let before = match (line, counts.refused) {
        (1, _) => "nothing is submitted".to_owned(),
        (_, 0) => format!("what stands before is submitted; go on with `tail -n +{line}`"),
        _ => format!("what stands before is submitted, but for what is named above; go on with `tail -n +{line}`"),
    };
    CliError::Failed(format!("stopped at line {line}: {}\n{before}", stopped.why))
}

fn summary(counts: &Counts, has_broker: bool) -> String {
    let total = counted(counts.fresh + counts.known + counts.refused, "event", "events");
    let fresh = thousands(counts.fresh);
    let taken = if has_broker {
        format!("{fresh} published and confirmed")
    } else {
        format!("{fresh} stored, {} known already", thousands(counts.known))
    };
    match counts.refused {
        0 => format!("{total}: {taken}"),
        refused => format!("{total}: {taken}, {} not stored", thousands(refused)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{
        super::testing::{self, Api, Seen, Written},
        *,
    };

    fn args(file: &Path, batch: u32, connect: ConnectArgs) -> SubmitArgs {
        SubmitArgs {
            file: file.display().to_string(),
            batch,
            amqp: None,
            queue: "q".to_owned(),
            exchange: None,
            routing_key: "k".to_owned(),
            connect,
        }
    }

    /// Like a worker: refuses what says "bad", knows what says "again", breaks at "broken".
    fn worker(request: &Seen) -> (u16, String) {
        let events: Vec<&str> = request.body.lines().collect();
        let bad = |word: &str| events.iter().position(|event| event.contains(word));
        if bad("broken").is_some() {
            return (503, r#"{"title": "Service Unavailable", "detail": "the store takes no writes"}"#.to_owned());
        }
        if let Some(index) = bad("bad") {
            let detail = "lis_data.client_id is missing";
            let item = serde_json::json!({ "index": index, "field": "lis_data.client_id", "detail": detail });
            return (422, serde_json::json!({ "title": "Unprocessable", "errors": [item] }).to_string());
        }
        let result = |event: &&str| serde_json::json!({ "id": "x", "result": if event.contains("again") { "duplicate" } else { "stored" } });
        let events: Vec<_> = events.iter().map(result).collect();
        (202, serde_json::json!({ "events": events }).to_string())
    }

    async fn check(text: &str, batch: u32, requests: usize, printed: &str, failure: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("events");
        fs::write(&file, text).expect("it is written");
        let api = Api::start(worker).await;
        let written = Written::default();
        let mut screen = written.screen(testing::program());
        let result = run(&args(&file, batch, api.connect()), &testing::nowhere, &mut screen).await;
        assert_eq!(written.text(), printed, "{text}");
        assert_eq!(api.seen().len(), requests, "{text}");
        match (result, failure) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{words}: {error}"),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }

    #[tokio::test]
    async fn events_go_in_by_batches_and_are_counted() {
        check("{}\n{}\n{}\n", 2, 2, "3 events: 3 stored, 0 known already\n", None).await;
        check("{\"again\":1}\n{}", 500, 1, "2 events: 1 stored, 1 known already\n", None).await;
        check("\n", 500, 0, "0 events: 0 stored, 0 known already\n", None).await;
    }

    #[tokio::test]
    async fn a_wrong_line_keeps_its_batch_out_and_no_other() {
        let text = "{}\n{}\n{}\n{\"bad\":1}\n{}\n";
        check(text, 2, 3, "5 events: 3 stored, 0 known already, 2 not stored\n", Some("2 events are not stored")).await;
        let long = format!("{{}}\n{}\n{{}}\n", "x".repeat(70_000));
        check(&long, 2, 1, "3 events: 1 stored, 0 known already, 2 not stored\n", Some("2 events are not stored"))
            .await;
    }

    #[tokio::test]
    async fn a_worker_that_cannot_go_on_is_told_with_the_line_to_begin_at() {
        let words =
            "stopped at line 3: the store takes no writes\nwhat stands before is submitted; go on with `tail -n +3`";
        check("{}\n{}\n{\"broken\":1}\n{}", 2, 2, "", Some(words)).await;
        check("{\"broken\":1}", 2, 1, "", Some("nothing is submitted")).await;
    }

    #[tokio::test]
    async fn json_that_is_not_by_lines_is_recognised() {
        check("[{}, {}]", 2, 0, "", Some("jq -c '.[]'")).await;
        check("{\n}\n", 2, 0, "", Some("jq -c '.'")).await;
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        let batch = Batch { events: vec![(7, b"{}".to_vec()), (9, b"{}".to_vec())], too_long: Vec::new() };
        let problem =
            r#"{"title": "Unprocessable", "errors": [{"index": 1, "field": "score", "detail": "is negative"}]}"#;
        let problem = serde_json::from_str(problem).expect("a problem");
        let expected = "\
lines 7 to 9 (2 events) are not stored: a batch goes in whole or not at all
  line 9: score: is negative";
        assert_eq!(complaints(&batch, &problem), expected);
        let batch = Batch { too_long: vec![8], ..batch };
        assert!(complaints(&batch, &Problem::default()).ends_with(
            "(3 events) are not stored: a batch goes in whole or not at all\n  line 8: is larger than 64 KiB"
        ));
    }

    #[tokio::test]
    async fn through_a_broker_a_batch_counts_once_it_is_confirmed() {
        struct Broker(Vec<usize>);
        impl Publish for Broker {
            async fn publish(&mut self, bodies: Vec<Vec<u8>>) -> Result<(), NotPublished> {
                self.0.push(bodies.len());
                match self.0.len() {
                    1 => Ok(()),
                    _ => Err(NotPublished { confirmed: 1, why: "the broker is gone".to_owned() }),
                }
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("events");
        fs::write(&file, "{}\n{}\n{}\n\n{}\n").expect("it is written");
        let target = args(&file, 2, ConnectArgs::default());
        let target = SubmitArgs { amqp: Some("amqp://u:hunter2@h".into()), ..target };
        let broker = target.broker().expect("a URL").expect("a broker");
        assert_eq!((broker.exchange, broker.routing_key), ("", "q"));
        let written = Written::default();
        let error = publish(&target, Broker(Vec::new()), &mut written.screen(testing::program())).await;
        let error = error.expect_err("the broker is gone");
        assert!(error.to_string().starts_with("stopped at line 5: the broker is gone"), "{error}");

        let wrong = SubmitArgs { amqp: Some("http://u:hunter2@h".into()), ..target };
        let error = wrong.broker().expect_err("no broker's URL");
        assert!(error.exit_code() == 2 && !error.to_string().contains("hunter2"), "{error}");
    }
}
