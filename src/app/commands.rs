//! The command line carried out: each subcommand gets what it needs from the rest of the house.

use std::{path::Path, pin::pin, process::ExitCode, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use tracing::{error, info, warn};
use url::Url;

use super::{Service, imports::Imports, seams::Plain, store_commands};
use crate::{
    adapters::{
        amqp::{self, Message, Publisher},
        clock::SystemClock,
        secrets::ConfiguredRegistry,
        transport::HttpTransport,
    },
    config::{
        Config,
        http::HttpConfig,
        load,
        lti::{LtiKey, Platform, SigningKeyConfig},
        rsa,
        secret::{Secret, SecretUrl},
    },
    domain::{
        destination::{Origin, ServiceUrl},
        event::event_id_in,
    },
    ports::Clock as _,
    shutdown::{Asked, Signals},
    surfaces::{
        cli::{
            self, Cli, CliError, Command, LocalWorker, Screen, audit, check, config, demo, failures, jobs, keys, lms,
            manual, platforms, reload as reread, replays, stats,
            submit::{self, BrokerTarget, NotPublished, Publish},
            verify,
        },
        log,
    },
};

/// Does what the command line asks for.
pub async fn execute(cli: Cli) -> ExitCode {
    let mut screen = Screen::stdout(SystemClock.now());
    cli::finish(&carry_out(&cli, &mut screen).await)
}

async fn carry_out(cli: &Cli, screen: &mut Screen) -> Result<(), CliError> {
    let path = cli.config.as_deref();
    let local = || {
        let config = load_local(path)?;
        Ok(LocalWorker::new(config.http.listen, &config.store.path))
    };
    match &cli.command {
        Command::Run(_) => run(path).await,
        Command::Demo(args) => demo::run(args.amqp.as_ref(), args.keep, &Stage, screen).await,
        Command::Submit(args) => match args.broker()? {
            Some(target) => submit::publish(args, Broker::connect(target).await?, screen).await,
            None => submit::run(args, &local, screen).await,
        },
        Command::Failures(command) => failures::run(command, &local, screen).await,
        Command::Jobs(command) => jobs::run(command, &local, screen).await,
        Command::Verify(args) => verify::run(args, &local, screen).await,
        Command::Stats(args) => stats::run(args, &local, screen).await,
        Command::Platforms(command) => platforms::run(command, &local, screen).await,
        Command::Replays(args) => replays::run(args, &local, screen).await,
        Command::Audit(args) => audit::run(args, &local, screen).await,
        Command::Reload(args) => reread::run(args, &local, screen).await,
        Command::Completions(args) => manual::completions(args, screen),
        Command::Man(args) => manual::man(args, screen),
        Command::Export(args) => store_commands::export(args, path, &local).await,
        Command::Import(args) => store_commands::import(args, path, &local, screen).await,
        Command::Backup(args) => store_commands::backup(args, path, &local, screen).await,
        Command::Keys(keys::Command::Generate(args)) => {
            let key = rsa::generate_signing_key().map_err(|error| failed(&error))?;
            keys::generate(args, &key, screen)
        }
        Command::Keys(keys::Command::Jwks) => {
            let config = load_config(path)?;
            let signing_keys: Vec<_> = config.signing_keys.iter().map(SigningKeyConfig::signing_key).collect();
            keys::jwks(&rsa::jwks(&signing_keys).map_err(|error| CliError::Usage(error.to_string()))?, screen)
        }
        Command::Config(args) => config::run(args, || effective(path), screen),
        Command::Check(args) => check(args, path, screen).await,
        Command::Lms(args) => lms::run(args, screen, lms::until_signal()).await,
    }
}

/// `passback check`: of what the worker would use.
async fn check(args: &check::CheckArgs, path: Option<&Path>, screen: &mut Screen) -> Result<(), CliError> {
    let (config, sources) = match Config::load_and_tell(load_options(path)) {
        Ok(loaded) => loaded,
        Err(error) => return check::unusable(args, CliError::Usage(error.to_string()), screen),
    };
    let registry = match ConfiguredRegistry::new(&config) {
        Ok(registry) => registry,
        Err(error) => return check::unusable(args, CliError::Usage(chain(&error)), screen),
    };
    let wishes = args.wishes(std::io::stdin().lock())?;
    let names: Vec<&str> = config.platforms.iter().map(|platform| platform.name.as_str()).collect();
    if let Some(name) = wishes.only.as_deref().filter(|only| !names.contains(only)) {
        let there =
            if names.is_empty() { "none is configured".to_owned() } else { format!("there is {}", names.join(", ")) };
        return check::unusable(
            args,
            CliError::Usage(format!("no [[platforms]] entry is called {name}; {there}")),
            screen,
        );
    }
    let scene = crate::check::Scene {
        transport: HttpTransport::new(super::transport_options(&config)).map_err(|error| chain(&error)),
        broker: super::amqp_options(&config),
        config: &config,
        sources: &sources,
        registry: &registry,
        clock: &SystemClock,
        wishes,
    };
    check::run(args, crate::check::remarks(&scene), screen).await
}

pub(super) fn load_config(path: Option<&Path>) -> Result<Config, CliError> {
    Config::load(load_options(path)).map_err(|error| CliError::Usage(error.to_string()))
}

/// What those need that talk to the worker of this machine or to its store: no secret, so none has to be there.
pub(super) fn load_local(path: Option<&Path>) -> Result<Config, CliError> {
    Config::load_local(load_options(path)).map_err(|error| CliError::Usage(error.to_string()))
}

/// `passback config`: what the worker would run with.
fn effective(path: Option<&Path>) -> Result<config::Effective, CliError> {
    let shown = Config::load_to_show(load_options(path)).map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(config::Effective { text: shown.text(), missing: shown.missing.len() })
}

fn load_options(path: Option<&Path>) -> load::LoadOptions<impl Iterator<Item = (String, String)>> {
    load::LoadOptions { path: path.map(Path::to_owned), env: load::process_env() }
}

/// `passback run`: until SIGTERM or SIGINT, or until something fails.
async fn run(path: Option<&Path>) -> Result<(), CliError> {
    let options = log::LogOptions::from_env(|name| std::env::var(name).ok());
    log::init(&options).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut signals = Signals::listen().map_err(|error| failed(&error))?;
    let config = load_config(path)?;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let store = config.store.path.display().to_string();
    let imports = Arc::new(Imports::of(&config));
    let Some(mut service) = start_unless_stopped(&config, path, &imports, &mut signals).await? else { return Ok(()) };
    info!(address = %service.address, store, version = env!("CARGO_PKG_VERSION"), "passback runs");
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break,
                Asked::Reload => reload(&service).await,
            },
            () = imports.asked() => {
                info!("passback stands aside for an import: attempts under way are let end");
                // It answers at the address that it had, also where the system chose its port.
                let listen = service.address;
                service.stop().await.map_err(|error| CliError::Failed(format!("{error:#}")))?;
                let config = Config { http: HttpConfig { listen }, ..imports.in_effect(&config) };
                let started = start_unless_stopped(&config, path, &imports, &mut signals).await?;
                service = if let Some(service) = started { service } else { return Ok(()) };
                info!(address = %service.address, store, "passback runs again");
            }
            error = service.failed() => {
                error!(error = format!("{error:#}"), "passback stops because a part of it failed");
                // What else goes wrong on the way out follows from it.
                drop(service.stop().await);
                return Err(CliError::Failed(format!("{error:#}")));
            }
        }
    }
    end(service, &mut signals).await
}

/// Lets everything come to its end, unless a signal asks for it a second time.
async fn end(service: Service, signals: &mut Signals) -> Result<(), CliError> {
    info!("passback stops: nothing more is taken in, attempts under way are let end");
    tokio::select! {
        stopped = service.stop() => stopped.map_err(|error| CliError::Failed(format!("{error:#}")))?,
        // What is under way counts as cut off at the next start, as after a kill; nothing is lost.
        () = stop_again(signals) => warn!("passback stops at once, as asked a second time"),
    }
    info!("passback has stopped");
    Ok(())
}

/// Starts the service, unless a signal asks for the end meanwhile: an import that is being made is then left to the next
/// start, and there is no service.
async fn start_unless_stopped(
    config: &Config,
    path: Option<&Path>,
    imports: &Arc<Imports>,
    signals: &mut Signals,
) -> Result<Option<Service>, CliError> {
    let mut starting = pin!(start(config, path, imports));
    let mut is_to_reload = false;
    let started = loop {
        tokio::select! {
            started = &mut starting => break started?,
            asked = signals.next() => match asked {
                Asked::Stop => imports.end(),
                Asked::Reload => is_to_reload = true,
            },
        }
    };
    match started {
        Some(service) if imports.is_ending() => {
            end(service, signals).await?;
            Ok(None)
        }
        Some(service) => {
            if is_to_reload {
                reload(&service).await;
            }
            Ok(Some(service))
        }
        None => {
            info!("passback has stopped");
            Ok(None)
        }
    }
}

/// Starts the service; before it, the import that was asked for. What a kill has left undone is taken up so. None where the
/// process is to end.
async fn start(config: &Config, path: Option<&Path>, imports: &Arc<Imports>) -> Result<Option<Service>, CliError> {
    let making = {
        let (imports, config) = (Arc::clone(imports), config.clone());
        move || imports.make(&config)
    };
    tokio::task::spawn_blocking(making).await.map_err(|error| failed(&error))?;
    if imports.is_ending() {
        return Ok(None);
    }
    let launched = Service::launch_after(config.clone(), &Plain, Arc::clone(imports)).await;
    let service = launched.map_err(|error| CliError::Failed(format!("{error:#}")))?;
    let source = path.map(Path::to_owned);
    let imports = Arc::clone(imports);
    service.reload_from(move || {
        let config = load_config(source.as_deref()).map_err(|error| error.to_string())?;
        imports.was_read(&config);
        Ok(config)
    });
    Ok(Some(service))
}

/// Waits for a second word to stop; whoever says it does not want to wait for the drain.
async fn stop_again(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

async fn reload(service: &Service) {
    match service.reload("SIGHUP").await {
        Ok(changes) => {
            let changes = if changes.is_empty() { "none".to_owned() } else { changes.join(", ") };
            info!(changes, "keys, platforms and tokens were read anew; all other settings are read at a start alone");
        }
        Err(error) => error!(error, "the configuration was not read anew: nothing has changed"),
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> CliError {
    CliError::Failed(chain(error))
}

/// An error with all of its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    // Some libraries repeat the cause in their own words already.
    causes.fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// The broker, for `submit --amqp` and `demo --amqp`.
struct Broker(Publisher);

impl Broker {
    async fn connect(target: BrokerTarget<'_>) -> Result<Self, CliError> {
        let by_exchange = !target.exchange.is_empty();
        let options = amqp::Options {
            queues: vec![target.routing_key.to_owned()],
            exchange: by_exchange.then(|| target.exchange.to_owned()),
            routing_key: by_exchange.then(|| target.routing_key.to_owned()),
            declare: false,
            ..amqp::Options::at(target.url.clone())
        };
        Publisher::connect(&options).await.map(Self).map_err(|error| failed(&error))
    }
}

impl Publish for Broker {
    async fn publish(&mut self, bodies: Vec<Vec<u8>>) -> Result<(), NotPublished> {
        let messages =
            bodies.into_iter().map(|body| Message { message_id: Some(message_id(&body)), body, ..Message::default() });
        match self.0.publish(messages).await {
            Ok(_) => Ok(()),
            Err(error) => Err(NotPublished { confirmed: error.confirmed, why: chain(&error) }),
        }
    }
}

/// What a refused event is found by in the dead-letter queue, and named by in the log: its own `event_id`, else a fresh one.
fn message_id(body: &[u8]) -> String {
    let given = event_id_in(body).filter(|id| (1..=MESSAGE_ID_BYTES_MAX).contains(&id.len()));
    given.unwrap_or_else(|| format!("submit-{:032x}", SystemClock.luck()))
}

/// AMQP's short strings end there.
const MESSAGE_ID_BYTES_MAX: usize = 255;

/// The stagehands of the demo.
struct Stage;

/// Where the demo's worker takes events from RabbitMQ. It is removed at the end.
const DEMO_QUEUE: &str = "passback.demo";

impl demo::Stagehands for Stage {
    type Service = Service;
    type Publisher = Broker;

    async fn launch(&self, plan: &demo::Plan<'_>) -> Result<demo::Worker<Service>, CliError> {
        let config = demo_config(plan)?;
        let service = Service::launch(config).await.map_err(|error| CliError::Failed(format!("{error:#}")))?;
        let token = service.operator_token.as_ref().map(|token| SecretString::from(token.expose())).unwrap_or_default();
        let url = Url::parse(&format!("http://{}", service.address)).map_err(|error| failed(&error))?;
        Ok(demo::Worker { url, token, service })
    }

    async fn stop(&self, service: Service) -> Result<(), CliError> {
        service.stop().await.map_err(|error| CliError::Failed(format!("{error:#}")))
    }

    async fn publisher(&self, url: &SecretString) -> Result<Broker, CliError> {
        Publisher::connect(&demo_broker(url)).await.map(Broker).map_err(|error| failed(&error))
    }

    async fn clean_up(&self, url: &SecretString) {
        if let Ok(publisher) = Publisher::connect(&demo_broker(url)).await {
            // A queue that stays behind holds nothing; the next demo takes it over.
            drop(publisher.delete_queues(&demo_broker(url)).await);
            publisher.close().await;
        }
    }
}

fn demo_broker(url: &SecretString) -> amqp::Options {
    amqp::Options { queues: vec![DEMO_QUEUE.to_owned()], ..amqp::Options::at(url.clone()) }
}

fn demo_config(plan: &demo::Plan<'_>) -> Result<Config, CliError> {
    let mut config = Config::default();
    plan.store.clone_into(&mut config.store.path);
    config.http.listen.set_port(0);
    config.egress.allow_http = true;
    config.egress.allow_private = true;
    (config.retry.initial, config.retry.multiplier, config.retry.max) = plan.retry;
    let (key, secret) = plan.consumer;
    config.lti_keys = vec![LtiKey { key: key.to_owned(), secret: Secret::new(secret), hosts: Vec::new() }];
    let private_key = rsa::generate_signing_key().map_err(|error| failed(&error))?;
    let private_key = Secret::new(private_key.expose_secret());
    config.signing_keys = vec![SigningKeyConfig { kid: "demo".to_owned(), private_key }];
    let token_url = ServiceUrl::parse(&plan.client.1).map_err(|error| failed(&error))?;
    config.platforms = plan.names.iter().map(|(name, url)| demo_platform(name, url, plan, &token_url)).collect();
    if let Some(url) = plan.amqp {
        config.amqp.url =
            Some(SecretUrl::parse(url.expose_secret()).map_err(|error| CliError::Usage(error.to_string()))?);
        config.amqp.queues = vec![DEMO_QUEUE.to_owned()];
    }
    Ok(config)
}

/// The platform at the token endpoint is the registered one; the others are only named.
fn demo_platform(name: &str, url: &str, plan: &demo::Plan<'_>, token_url: &ServiceUrl) -> Platform {
    let origin = Origin::from_stored(url);
    let is_registered = token_url.origin() == origin;
    Platform {
        name: name.to_owned(),
        issuer: None,
        client_id: is_registered.then(|| plan.client.0.to_owned()),
        deployment_id: None,
        token_url: is_registered.then(|| token_url.clone()),
        token_aud: None,
        hosts: Vec::new(),
        origin: Some(origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_to_the_broker_under_its_own_name_or_a_fresh_one() {
        assert_eq!(message_id(br#"{"event_id": "e-1", "score": -1}"#), "e-1", "what is refused has a name too");
        let fresh = message_id(br#"{"session_id": "s"}"#);
        assert!(fresh.starts_with("submit-") && fresh != message_id(br#"{"session_id": "s"}"#), "{fresh}");
        assert!(message_id(b"no JSON").starts_with("submit-"));
        assert!(message_id(format!(r#"{{"event_id": "{}"}}"#, "x".repeat(256)).as_bytes()).starts_with("submit-"));
    }
}
