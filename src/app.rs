//! The composition root: configuration in, running service out. It decides nothing; it only knows everybody.

mod commands;
mod imports;
mod privacy;
mod reload;
mod seams;
mod store_commands;

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tracing::{error, warn};

use crate::{
    adapters::{
        amqp::{self, AmqpIntake, AmqpOutbox, Bell, OutboxOptions, OutboxPorts},
        clock::SystemClock,
        intake::http::{self as http_intake, Doors},
        secrets::ConfiguredRegistry,
        store::{
            self, Store,
            copying::{CopyError, Copying},
        },
        transport::{self, HttpTransport},
    },
    check::desk::Desk,
    config::{
        Config,
        access::Access,
        names::{Labels, PlatformNames},
        secret::Secret,
        tokens::{Role, Token},
    },
    domain::{
        audit::{Action, Entry, Word},
        dispatch::Limits,
    },
    engine::{self, Engine, EngineHandle, Inbox, World},
    ports::{Clock, Intake, JobStore as _, Observer, Porter, QueueHealth},
    shutdown::Tasks,
    surfaces::{
        admin::{self, Surface, backup, page::sessions::Sessions, server, view},
        audience::Audience,
        log::LogObserver,
        metrics::Metrics,
        recent::Recent,
        sign_ins::SignIns,
        token_health::TokenHealth,
    },
};

pub use self::{commands::execute, privacy::shut_off, seams::Seams};
use self::{imports::Imports, reload::Reloader};

/// A running service.
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    /// An operator's token for those on this machine.
    pub operator_token: Option<Secret>,
    tasks: Tasks,
    store: Arc<Store>,
    engine: EngineHandle,
    reloader: Arc<Reloader>,
    recent: Arc<Recent>,
    token_health: Arc<TokenHealth>,
    imports: Arc<Imports>,
}

impl Service {
    /// Starts everything that the configuration asks for.
    pub async fn launch(config: Config) -> anyhow::Result<Self> {
        Self::launch_with(config, &seams::Plain).await
    }

    /// The same, with something put in between its parts.
    pub async fn launch_with(config: Config, seams: &dyn Seams) -> anyhow::Result<Self> {
        let imports = Arc::new(Imports::of(&config));
        Self::launch_after(config, seams, imports).await
    }

    /// The same, where this is known of imports.
    async fn launch_after(mut config: Config, seams: &dyn Seams, imports: Arc<Imports>) -> anyhow::Result<Self> {
        let registry = Arc::new(ConfiguredRegistry::new(&config).context("[[signing_keys]] cannot be used")?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let labels = Arc::new(Labels::new(PlatformNames::new(&config.platforms)));
        let queues = if config.amqp.url.is_some() { config.amqp.queues.len() } else { 0 };
        let metrics = Arc::new(Metrics::new(Arc::clone(&labels), Arc::clone(&clock), queues));
        let log = Arc::new(LogObserver::new(Arc::clone(&labels)));
        let bell = Arc::new(Bell::default());
        let recent = Arc::new(Recent::new(Arc::clone(&labels), Arc::clone(&clock)));
        let token_health = Arc::new(TokenHealth::new(Arc::clone(&labels), Arc::clone(&clock)));
        let memory = [Arc::clone(&recent) as Arc<dyn Observer>, Arc::clone(&token_health) as _];
        let others = [Arc::clone(&metrics) as Arc<dyn Observer>, log, Arc::clone(&bell) as _];
        let observers: Vec<Arc<dyn Observer>> = others.into_iter().chain(memory).collect();
        let observer: Arc<dyn Observer> = Arc::new(Audience::new(Arc::clone(&labels), observers));
        let inbox = Inbox::new();
        // Where the store is yet to be made, an address that is taken leaves no empty one behind.
        let early = if config.store.path.exists() { None } else { Some(listen_at(&config).await?) };
        keep_to_oneself(&config.store.path);
        let store = Arc::new(Store::open(store::Options {
            path: config.store.path.clone(),
            rules: config.rules(),
            sink: inbox.report_sink(),
            observer: Arc::clone(&observer),
            clock: Arc::clone(&clock),
            reserve_bytes: store::RESERVE_BYTES,
        })?);
        // Only whoever holds the store may make a token in its folder.
        let operator_token = ensure_operator_token(&mut config)?;
        registry.reload(&config).context("[[signing_keys]] cannot be used")?;
        let access = Arc::new(Access::new(&config.tokens, &config.lti_keys));
        for known in store.platforms()? {
            labels.meet(&known.origin, known.client_id.as_deref());
        }
        let transport = HttpTransport::new(transport_options(&config))?;
        let world = World {
            store: seams.store(Arc::clone(&store) as _),
            transport: seams.transport(Arc::new(transport)),
            clock: Arc::clone(&clock),
            registry: Arc::clone(&registry) as _,
            observer: Arc::clone(&observer),
        };
        let ports = OutboxPorts {
            store: Arc::clone(&world.store),
            tell: telling(Arc::clone(&labels)),
            bell,
            observer: Arc::clone(&observer),
            clock: Arc::clone(&clock),
        };
        let outbox = outbox_options(&config).map(|options| AmqpOutbox::new(options, ports)).transpose()?;
        let engine = Engine::new(engine_options(&config), world, inbox);
        let listener = match early {
            Some(listener) => listener,
            None => listen_at(&config).await?,
        };
        let address = listener.local_addr()?;
        let tasks = Tasks::default();
        let desk = Arc::new(desk(&config, &registry, &clock)?);
        let reloader = Arc::new(Reloader::new(registry, access, labels, metrics, desk, config.clone()));
        let handle = engine.handle();
        let mut service =
            Self { address, operator_token, tasks, store, engine: handle, reloader, recent, token_health, imports };
        let intake = seams.intake(Arc::new(engine.handle()));
        let porter = Arc::new(SignIns::new(Arc::clone(&observer), Arc::clone(&clock)));
        let amqp = amqp_options(&config)
            .map(|options| AmqpIntake::new(options, Arc::clone(&intake), observer, clock))
            .transpose()?;
        service.start(engine, listener, intake, amqp, porter);
        service.start_outbox(outbox);
        Ok(service)
    }

    fn start(
        &mut self,
        engine: Engine,
        listener: TcpListener,
        intake: Arc<dyn Intake>,
        amqp: Option<AmqpIntake>,
        porter: Arc<dyn Porter>,
    ) {
        let handle = engine.handle();
        let health: Arc<dyn QueueHealth> = match &amqp {
            Some(amqp) => Arc::new(amqp.health()),
            None => Arc::new(NoQueues),
        };
        let router = self.router(&handle, intake, health, porter);
        let drain = self.tasks.drain();
        // Who watches a stop wants answers to its end; the doors for events are shut by then.
        let close = self.tasks.close();
        self.tasks.start_last("the HTTP server", async move {
            Ok(server::serve(listener, router, close, server::Limits::default()).await?)
        });
        self.tasks.start("the engine", {
            let drain = drain.clone();
            async move {
                engine.run(drain).await;
                Ok(())
            }
        });
        self.tasks.start("the bulk changes", {
            let (handle, drain) = (handle.clone(), drain.clone());
            async move {
                handle.run_bulk(drain).await;
                Ok(())
            }
        });
        self.tasks.start("the retention sweep", {
            let drain = drain.clone();
            async move {
                handle.run_retention(drain).await;
                Ok(())
            }
        });
        if let Some(amqp) = amqp {
            self.tasks.start("the RabbitMQ intake", async move {
                amqp.run(drain).await;
                Ok(())
            });
        }
    }

    fn start_outbox(&mut self, outbox: Option<AmqpOutbox>) {
        let drain = self.tasks.drain();
        if let Some(outbox) = outbox {
            self.tasks.start("the outcomes to RabbitMQ", async move {
                outbox.run(drain).await;
                Ok(())
            });
        }
    }

    fn router(
        &self,
        handle: &EngineHandle,
        intake: Arc<dyn Intake>,
        queues: Arc<dyn QueueHealth>,
        porter: Arc<dyn Porter>,
    ) -> Router {
        let Reloader { registry, access, labels, metrics, desk, .. } = &*self.reloader;
        let doors = Doors::new(intake, Arc::clone(access), Arc::clone(&porter), self.tasks.drain());
        let (registry, reloader) = (Arc::clone(registry), Arc::clone(&self.reloader));
        let surface = Surface {
            engine: handle.clone(),
            access: Arc::clone(access),
            sessions: Arc::new(Sessions::new(Arc::new(SystemClock))),
            porter,
            intake: queues,
            labels: Arc::clone(labels),
            metrics: Arc::clone(metrics),
            recent: Arc::clone(&self.recent),
            tokens: Arc::clone(&self.token_health),
            desk: Arc::clone(desk),
            jwks: Arc::new(move || registry.jwks()),
            reload: Arc::new(move || reloader.reload()),
            backup: copying(&self.store),
            imports: Arc::clone(&self.imports) as _,
            drain: self.tasks.drain(),
        };
        admin::router(&surface, http_intake::events_router(doors.clone()), http_intake::grade_passback_router(doors))
    }

    /// Says where the configuration is read from anew, at SIGHUP or at an operator's word.
    pub fn reload_from(&self, source: impl Fn() -> Result<Config, String> + Send + Sync + 'static) {
        self.reloader.read_from(source);
    }

    /// Reads keys, platforms and tokens anew, and tells what is otherwise. What is wrong changes nothing. The audit log has it
    /// as done by `who`.
    pub async fn reload(&self, who: &str) -> Result<Vec<String>, String> {
        let changes = self.reloader.reload()?;
        let entry = Entry::new(SystemClock.now(), &Word::of(who), Action::Reload);
        let noted = match self.engine.as_note(&entry) {
            Ok(note) => self.engine.write_down(note).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = noted {
            error!(%error, "what was read anew is in effect, but the audit log could not be told of it");
        }
        Ok(changes)
    }

    /// Waits until something fails, which nothing should.
    pub async fn failed(&mut self) -> anyhow::Error {
        self.tasks.failed().await
    }

    /// Takes nothing more in, lets attempts under way end, and closes the store.
    pub async fn stop(self) -> anyhow::Result<()> {
        let stopped = self.tasks.stop().await;
        self.store.close()?;
        stopped
    }
}

async fn listen_at(config: &Config) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(config.http.listen).await;
    bound.with_context(|| format!("cannot listen on {} ([http] listen)", config.http.listen))
}

/// Without `[amqp] url` no queue can be without a consumer.
struct NoQueues;

impl QueueHealth for NoQueues {
    fn queues_without_consumer(&self) -> Vec<String> {
        Vec::new()
    }
}

fn engine_options(config: &Config) -> engine::Options {
    let limits = Limits {
        total: config.delivery.concurrency,
        per_platform: config.delivery.per_platform,
        retry: config.retry.policy(),
    };
    engine::Options {
        limits,
        timeout: config.delivery.timeout,
        drain: config.delivery.drain,
        retain: config.store.retain_delivered,
    }
}

fn transport_options(config: &Config) -> transport::Options {
    let egress = transport::EgressRules {
        allow_http: config.egress.allow_http,
        allow_private: config.egress.allow_private,
        allow_hosts: config.egress.allow_hosts.clone(),
        ca_file: config.egress.ca_file.clone(),
        proxy: config.egress.proxy.as_ref().and_then(|url| url.expose().parse().ok()),
    };
    transport::Options {
        egress,
        timeout: config.delivery.timeout,
        idle_per_host_max: config.delivery.per_platform,
        ..transport::Options::default()
    }
}

/// Checks have connections of their own, each a new one: what they tell of names and certificates is true now.
fn desk(config: &Config, registry: &Arc<ConfiguredRegistry>, clock: &Arc<dyn Clock>) -> anyhow::Result<Desk> {
    let transport = HttpTransport::new(transport::Options { idle_per_host_max: 0, ..transport_options(config) })?;
    let (registry, clock) = (Arc::clone(registry), Arc::clone(clock));
    Ok(Desk::new(registry, transport, clock, config.delivery.timeout, config.platforms.clone()))
}

fn amqp_options(config: &Config) -> Option<amqp::Options> {
    let url = config.amqp.url.as_ref()?;
    let exchange = config.amqp.exchange.clone();
    Some(amqp::Options {
        queues: config.amqp.queues.clone(),
        routing_key: exchange.is_some().then(|| config.amqp.routing_key.clone()),
        exchange,
        prefetch: config.amqp.prefetch,
        declare: config.amqp.declare,
        ..amqp::Options::at(url.expose())
    })
}

fn outbox_options(config: &Config) -> Option<OutboxOptions> {
    let url = config.amqp.url.as_ref()?;
    let exchange = config.amqp.outcomes_exchange.clone()?;
    Some(OutboxOptions { url: url.expose().into(), exchange, declare: config.amqp.declare })
}

/// What the assessment platform is told of the end of a job: what the lists show.
fn telling(labels: Arc<Labels>) -> amqp::Telling {
    Arc::new(move |end, job| view::outcome(end, job, &labels))
}

/// Copies of the store, for whoever asks by the API.
fn copying(store: &Arc<Store>) -> backup::Begin {
    let store = Arc::clone(store);
    Arc::new(move || {
        let mut copying = Copying::of(&store).map_err(|error| match error {
            CopyError::UnderWay => backup::NoCopy::UnderWay(error.to_string()),
            _ => backup::NoCopy::Unavailable,
        })?;
        Ok(Box::new(move || copying.step().map_err(|error| error.to_string())) as backup::Steps)
    })
}

/// A folder that cannot be made or read is told by the store, which needs it too.
fn keep_to_oneself(folder: &Path) {
    for path in privacy::keep_to_oneself(folder).unwrap_or_default() {
        let path = path.display();
        warn!(%path, "others on this machine could read or change this; now only its owner can");
    }
}

/// The name of the token that is made where the configuration names none, and of its file.
const OPERATOR: &str = "operator";

/// With no `[[tokens]]` there is an operator's token in the folder of the store: made once, readable by its owner alone.
fn ensure_operator_token(config: &mut Config) -> anyhow::Result<Option<Secret>> {
    if !config.tokens.is_empty() {
        return Ok(None);
    }
    let path = config.store.path.join("operator.token");
    let text = read_or_make_token(&path).with_context(|| format!("cannot keep a token in {}", path.display()))?;
    let token = Secret::new(text);
    config.tokens.push(Token { name: OPERATOR.to_owned(), token: token.clone(), role: Role::Operator });
    Ok(Some(token))
}

fn read_or_make_token(path: &Path) -> anyhow::Result<String> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let token = format!("{:032x}{:032x}", SystemClock.luck(), SystemClock.luck());
            file.write_all(token.as_bytes())?;
            file.sync_all()?;
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let token = fs::read_to_string(path)?.trim().to_owned();
            anyhow::ensure!(token.len() >= 32, "it holds no token; delete the file to have a new one made");
            Ok(token)
        }
        Err(error) => Err(error.into()),
    }
}
