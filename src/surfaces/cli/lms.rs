//! `passback lms`: the simulated LMS as a program of its own. It says how to reach it, and runs until it is told to
//! stop. What it can do is in `crate::simulator`; nothing is kept when it ends.

use std::{
    fs::File,
    future::Future,
    io::{self, Read as _},
    net::SocketAddr,
};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    fault::CliError,
    output::{Screen, facts},
};
use crate::simulator::{Client, Consumer, Description, Jwks, Likeness, Options, SimulatedLms};

/// The largest key set that is read, in bytes.
const JWKS_BYTES_MAX: u64 = 256 * 1024;

/// `passback lms`
#[derive(Args, Clone)]
#[command(after_long_help = EXAMPLES)]
pub struct LmsArgs {
    /// Where to listen; port 0 takes a free one. Whoever reaches it controls it, so best on the loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Scheme, host and port by which senders know it, if not those that it listens on
    #[arg(long, value_name = "URL", value_parser = origin)]
    pub public_url: Option<String>,
    /// The tool's public keys: an address, fetched at need, or a file
    #[arg(long, value_name = "URL|FILE", default_value = "http://127.0.0.1:8080/.well-known/jwks.json")]
    pub jwks: String,
    /// A client id for LTI 1.3; may be given several times
    #[arg(long = "client-id", value_name = "ID", default_value = "demo-client")]
    pub client_ids: Vec<String>,
    /// A consumer key and secret for LTI 1.1 and delegated passback; may be given several times
    #[arg(long = "consumer", value_name = "KEY=SECRET", default_value = "demo-key=demo-secret", value_parser = consumer)]
    pub consumers: Vec<Consumer>,
    /// A deployment id that assertions may name; may be given several times. Without it: any
    #[arg(long = "deployment-id", value_name = "ID")]
    pub deployment_ids: Vec<String>,
    /// A course with a gradebook column named 1; may be given several times. What nobody made is not found
    #[arg(long = "context", value_name = "ID", default_value = "course-1")]
    pub contexts: Vec<String>,
    /// Let every course and column come into being when it is first used
    #[arg(long)]
    pub auto_columns: bool,
    /// Take this many requests in ten seconds and turn the others away, as the platform does
    #[arg(long, value_name = "N")]
    pub rate_limit: Option<usize>,
    /// Answer like this platform: moodle, canvas, openedx, sakai, brightspace or blackboard. Without it: a strict judge
    /// by the standards
    #[arg(long, value_name = "PLATFORM")]
    pub like: Option<Likeness>,
    /// Print what a sender needs as one line of JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  passback lms
  passback lms --like moodle
  passback lms --listen 127.0.0.1:0 --json
  passback lms --jwks keys.json --client-id tool-1 --client-id tool-2
  passback lms --like canvas --rate-limit 20
  curl -X PUT http://127.0.0.1:8090/_control/faults -d '{\"routes\": {\"scores\": [{\"kind\": {\"status\": {\"code\": 503}}}]}}'
  curl -X PUT 'http://127.0.0.1:8090/_control/gradebook?protocol=ags&column=course-1/1&user=user-1' -d '{\"locked\": true}'
  curl -X DELETE http://127.0.0.1:8090/_control/columns/course-1/1
  curl http://127.0.0.1:8090/_control/gradebook

The routes are lti11, token, lineitems, scores and delegated; an empty list mends a route. Every call and every kind of
fault, each with an example, stands in docs/simulated-lms.md.";

fn origin(text: &str) -> Result<String, String> {
    let is_web = text.starts_with("http://") || text.starts_with("https://");
    if is_web {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("must begin with http:// or https://".to_owned())
    }
}

fn consumer(text: &str) -> Result<Consumer, String> {
    match text.split_once('=') {
        Some((key, secret)) if !key.is_empty() && !secret.is_empty() => Ok(Consumer::new(key, secret)),
        _ => Err("must be KEY=SECRET".to_owned()),
    }
}

impl std::fmt::Debug for LmsArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The consumers hold secrets.
        f.debug_struct("LmsArgs").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Serves until `stop`, for which `main` gives [`until_signal`].
pub async fn run(args: &LmsArgs, screen: &mut Screen, stop: impl Future<Output = ()>) -> Result<(), CliError> {
    let options = options(args)?;
    let lms = SimulatedLms::start(options).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => CliError::Usage(error.to_string()),
        _ => CliError::Failed(format!("{} cannot be listened on: {error}", args.listen)),
    })?;
    let description = lms.describe();
    let text = if args.json {
        let line = serde_json::to_string(&description);
        line.map_err(|error| CliError::Failed(format!("it cannot be described: {error}")))? + "\n"
    } else {
        introduction(&description, &args.jwks, screen)
    };
    // Who has read enough may close the pipe; the LMS goes on for those who use it.
    match screen.print(&text) {
        Ok(()) | Err(CliError::ClosedPipe) => {}
        Err(error) => return Err(error),
    }
    stop.await;
    lms.stop().await;
    Ok(())
}

/// Comes back at SIGINT or SIGTERM. It listens from the call on, not only once it is awaited: whoever reads the
/// addresses may send the signal at once.
pub fn until_signal() -> impl Future<Output = ()> {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let wait = async |signals: io::Result<Signal>| match signals {
        Ok(mut signals) => drop(signals.recv().await),
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    };
    async move {
        tokio::select! {
            () = wait(interrupt) => {}
            () = wait(terminate) => {}
        }
    }
}

fn options(args: &LmsArgs) -> Result<Options, CliError> {
    let jwks = key_set(&args.jwks)?;
    let client = |id: &String| Client { deployment_ids: args.deployment_ids.clone(), ..Client::new(id, jwks.clone()) };
    Ok(Options {
        listen: args.listen,
        public_url: args.public_url.clone(),
        consumers: args.consumers.clone(),
        clients: args.client_ids.iter().map(client).collect(),
        contexts: args.contexts.iter().map(|id| (id.clone(), vec!["1".to_owned()])).collect(),
        auto_columns: args.auto_columns,
        rate_limit: args.rate_limit,
        like: args.like,
        ..Options::default()
    })
}

fn key_set(place: &str) -> Result<Jwks, CliError> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(Jwks::Url(place.to_owned()));
    }
    let mut text = String::new();
    let read = File::open(place).and_then(|file| file.take(JWKS_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| CliError::Usage(format!("--jwks: {place} cannot be read: {error}")))?;
    let set: Result<Value, _> = serde_json::from_str(&text);
    set.map(Jwks::Inline).map_err(|error| CliError::Usage(format!("--jwks: {place} is no JSON: {error}")))
}

/// What a person needs: the addresses, and a configuration and an event to begin with.
fn introduction(lms: &Description, jwks: &str, screen: &Screen) -> String {
    let mut lines = vec![
        ("Issuer", lms.base_url.clone()),
        ("LTI 1.1", lms.outcomes_url.clone()),
        ("Delegated", lms.delegated_url.clone()),
        ("Token", lms.token_url.clone()),
    ];
    for context in &lms.contexts {
        lines.push(("Columns", context.lineitems_url.clone()));
        lines.extend(context.lineitem_urls.iter().map(|url| ("Column", url.clone())));
    }
    lines.extend(lms.consumers.iter().map(|consumer| ("Key", format!("{} = {}", consumer.key, consumer.secret))));
    lines.extend(lms.client_ids.iter().map(|id| ("Client id", id.clone())));
    lines.push(("Control", format!("{}/faults, /gradebook, /columns, /requests, /delegated", lms.control_url)));
    let manners = lms.like.map_or_else(String::new, manners);
    let facts = facts(screen.look, &lines);
    format!("A simulated LMS is running; Ctrl-C ends it.\n\n{facts}\n{manners}{}", beginnings(lms, jwks))
}

/// What it does like that platform, and how that is known.
fn manners(likeness: Likeness) -> String {
    let lines = likeness.lines();
    let lines: Vec<_> = lines.iter().map(|line| format!("  {:<9} {}", line.known.word(), line.says)).collect();
    format!(
        "Its manners are those of {likeness}: observed on a running one, read in its source, told by its vendor or its \
         users, or modelled by us.\n\n{}\n\n",
        lines.join("\n")
    )
}

/// A configuration of the worker for this LMS, an event for each protocol, and what a second LMS needs.
fn beginnings(lms: &Description, jwks: &str) -> String {
    let mut parts = vec!["Configure passback for it:\n\n[egress]\nallow_http = true\nallow_private = true".to_owned()];
    parts.extend(listening(jwks));
    parts.extend(lms.consumers.iter().map(|consumer| {
        format!("[[lti_keys]]\nkey = {}\nsecret = {}", quoted(&consumer.key), quoted(&consumer.secret))
    }));
    if !lms.client_ids.is_empty() {
        parts.push(SIGNING_KEY.to_owned());
    }
    parts.extend(lms.client_ids.iter().map(|id| platform(lms, id)));
    parts.push("And send it a grade, by LTI 1.1 and by LTI 1.3:".to_owned());
    let events = [outcome_event(lms), score_event(lms)];
    parts.extend(events.into_iter().flatten().map(|event| format!("echo '{event}' | passback submit -")));
    parts.push(SECOND.to_owned());
    format!("{}\n", parts.join("\n\n"))
}

const SIGNING_KEY: &str = "# LTI 1.3: made by `passback keys generate --kid demo --out keys/demo.pem`\n\
    [[signing_keys]]\nkid = \"demo\"\nprivate_key = { file = \"keys/demo.pem\" }";

const SECOND: &str = "A second LMS beside it needs an address and names of its own, by which passback tells them apart:\n\n\
    passback lms --listen 127.0.0.1:8091 --client-id demo-client-2 --consumer demo-key-2=demo-secret-2";

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Where the worker must listen for the LMS to find its keys; nothing to say where they come from a file.
fn listening(jwks: &str) -> Option<String> {
    let host = jwks.split_once("://")?.1.split('/').next()?;
    let told = format!("# The LMS fetches the worker's public keys from {jwks} (--jwks).");
    // An address behind a name or a proxy is not what the worker itself listens on.
    let Ok(address) = host.parse::<SocketAddr>() else { return Some(told) };
    Some(format!("{told}\n# So the worker must listen there:\n[http]\nlisten = \"{address}\""))
}

fn platform(lms: &Description, client_id: &str) -> String {
    let (name, id) = (quoted(&format!("simulated-{client_id}")), quoted(client_id));
    let (issuer, token_url) = (quoted(&lms.base_url), quoted(&lms.token_url));
    let audience = if lms.token_aud == lms.token_url {
        String::new()
    } else {
        format!("\ntoken_aud = {}", quoted(&lms.token_aud))
    };
    format!("[[platforms]]\nname = {name}\nissuer = {issuer}\nclient_id = {id}\ntoken_url = {token_url}{audience}")
}

fn outcome_event(lms: &Description) -> Option<Value> {
    let mut lis_data = serde_json::json!({
        "lis_outcome_service_url": lms.outcomes_url, "lis_result_sourcedid": "user-1",
        "oauth_consumer_key": lms.consumers.first()?.key,
    });
    if lms.like == Some(Likeness::Canvas) {
        // As its launches name it.
        lis_data["tool_family"] = "canvas".into();
    }
    Some(serde_json::json!({
        "session_id": "session-1", "user_id": "user-1", "score": 8, "max_score": 10, "lis_data": lis_data,
    }))
}

/// Its user is a number, since some platforms have no other users.
fn score_event(lms: &Description) -> Option<Value> {
    let lineitem = lms.contexts.first()?.lineitem_urls.first()?;
    Some(serde_json::json!({
        "session_id": "session-2", "user_id": "1001", "score": 8, "max_score": 10,
        "lis_data": {
            "lti_version": "1.3", "client_id": lms.client_ids.first()?, "user_id": "1001", "lineitem": lineitem,
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;
    use tokio::sync::oneshot;

    use super::{
        super::{
            Cli, Command,
            testing::{self, Written},
        },
        *,
    };

    fn args(line: &str) -> LmsArgs {
        match Cli::try_parse_from(["passback", "lms"].into_iter().chain(line.split_whitespace())).expect(line).command {
            Command::Lms(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// What it printed before it was told to stop.
    async fn printed(line: &str, written: &Written) -> String {
        let (stop, stopped) = oneshot::channel();
        let mut screen = written.screen(testing::person(80));
        let args = args(line);
        let running = run(&args, &mut screen, async {
            // It is printed before it waits.
            assert!(!written.text().is_empty());
            stop.send(()).expect("somebody waits");
        });
        running.await.expect("it runs");
        stopped.await.expect("it was told to stop");
        written.text()
    }

    #[tokio::test]
    async fn it_prints_what_a_sender_needs() {
        let text = printed("--listen 127.0.0.1:0", &Written::default()).await;
        for part in
            ["/lti11/outcomes", "/course-1/lineitems/1", "demo-key = demo-secret", "demo-client", "[[platforms]]"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let line = "--listen 127.0.0.1:0 --json --consumer k=s=1 --client-id a --client-id b --context c";
        let text = printed(line, &Written::default()).await;
        let json: Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!(json["consumers"], serde_json::json!([{ "key": "k", "secret": "s=1" }]));
        assert_eq!(json["client_ids"], serde_json::json!(["a", "b"]));
        assert_eq!((json["contexts"][0]["id"].as_str(), text.lines().count()), (Some("c"), 1));
    }

    #[tokio::test]
    async fn what_cannot_be_is_told_with_its_exit_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.json");
        fs::write(&file, "{").expect("it is written");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let check = async |line: String, words: &str, exit_code| {
            let written = Written::default();
            let failed = run(&args(&line), &mut written.screen(testing::program()), async {}).await;
            let error = failed.expect_err(&line);
            assert!(error.to_string().contains(words) && error.exit_code() == exit_code, "{error}");
        };
        check(format!("--jwks {}", file.display()), "is no JSON", 2).await;
        check("--jwks no/such/file".to_owned(), "cannot be read", 2).await;
        check("--listen 127.0.0.1:0 --context a/b".to_owned(), "a/b", 2).await;
        check(format!("--listen {}", taken.local_addr().expect("an address")), "cannot be listened on", 1).await;
    }

    #[tokio::test]
    async fn its_beginnings_are_a_configuration_and_an_event_for_each_protocol() {
        let text = printed("--listen 127.0.0.1:0", &Written::default()).await;
        let start = text.find("[egress]").expect("a configuration");
        let end = text.find("And send it").expect("an event");
        let configuration: toml::Table = text[start..end].parse().expect("TOML");
        assert_eq!(configuration["lti_keys"][0]["secret"].as_str(), Some("demo-secret"));
        assert_eq!(configuration["platforms"][0]["client_id"].as_str(), Some("demo-client"));
        assert_eq!(configuration["http"]["listen"].as_str(), Some("127.0.0.1:8080"), "where the keys are fetched");
        let key = configuration["signing_keys"][0]["private_key"]["file"].as_str().expect("a file");
        assert!(text.contains(&format!("passback keys generate --kid demo --out {key}")), "{text}");
        let events =
            text[end..].lines().filter_map(|line| line.strip_prefix("echo '")?.strip_suffix("' | passback submit -"));
        let events: Vec<Value> = events.map(|event| serde_json::from_str(event).expect("JSON")).collect();
        assert_eq!(events[0]["lis_data"]["oauth_consumer_key"], "demo-key");
        let line_item = events[1]["lis_data"]["lineitem"].as_str().expect("a column");
        assert!(line_item.ends_with("/course-1/lineitems/1/lineitem?type_id=1"), "{line_item}");
        let second = text.lines().find_map(|line| line.strip_prefix("passback lms ")).expect("a second LMS");
        assert_ne!(args(second).client_ids, args("").client_ids);

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.json");
        fs::write(&file, "{\"keys\": []}").expect("it is written");
        let text = printed(&format!("--listen 127.0.0.1:0 --jwks {}", file.display()), &Written::default()).await;
        assert!(!text.contains("[http]"), "{text}");
        let text = printed("--listen 127.0.0.1:0 --jwks https://tool.example/jwks", &Written::default()).await;
        assert!(text.contains("https://tool.example/jwks (--jwks)") && !text.contains("[http]"), "{text}");
    }

    #[test]
    fn columns_come_into_being_by_themselves_only_where_asked_for() {
        let made = |line: &str| options(&args(line)).map(|options| (options.auto_columns, options.rate_limit));
        assert_eq!(made("").expect("options"), (false, None));
        assert_eq!(made("--auto-columns --rate-limit 7").expect("options"), (true, Some(7)));
    }
}
