//! `passback check`: tries the whole way of a grade without writing one, and says in plain words what is wrong and how to
//! mend it. A running worker does the same for one platform at an operator's word: [`desk`].
//!
//! Each part of the configuration is a section; sections are tried side by side, a few at a time, and told in the order
//! in which they stand. Within a section a step that fails ends what hangs on it. What a reply means is decided in
//! functions without any waiting (`clock`, `refusal`, and those that take a look or a reply); the rest only asks.
//!
//! Nothing is changed anywhere: no grade, no column, no queue, no file. No lock of the store is held, so it can run beside
//! a worker. Every step has a limit in time, no secret comes into a remark, and nothing that a platform says can make it
//! panic.

mod broker;
mod clock;
mod columns;
mod configuration;
pub mod desk;
mod jwks;
mod keys;
mod listen;
mod outcome;
mod platform;
mod reach;
mod refusal;
pub mod signature;
mod store;

use std::{net::SocketAddr, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;

use self::signature::Past;
use crate::{
    adapters::{amqp, secrets::ConfiguredRegistry, transport::HttpTransport},
    config::{Config, Sources, lti::Platform},
    domain::{destination::ServiceUrl, outcome::Verdict, platform::Registration},
    lti::wire::{Answer, Request},
    ports::{Clock, Pending, Transport as _},
};

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it should be.
    Ok,
    /// Grades flow, or most of them; somebody should look.
    Warning,
    /// Grades do not flow this way.
    Failed,
}

impl Mark {
    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What was found in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// What was tried: `configuration`, `store`, `http`, `broker`, `keys`, `platform`, `jwks`, `line items`, `lti key`, `lti 1.1`.
    pub part: &'static str,
    /// Which one, where there are several.
    pub name: Option<String>,
    /// The step.
    pub step: &'static str,
    /// How it stands.
    pub status: Mark,
    /// What was seen.
    pub seen: String,
    /// What to do, in a sentence; none where nothing is to be done.
    pub advice: Option<String>,
}

/// All that was found: what `passback check --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Whether nothing failed.
    pub ok: bool,
    /// The remarks, in the order of the steps.
    pub checks: Vec<Remark>,
}

impl From<Vec<Remark>> for Findings {
    fn from(checks: Vec<Remark>) -> Self {
        Self { ok: checks.iter().all(|remark| remark.status != Mark::Failed), checks }
    }
}

/// What is tried.
pub struct Scene<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where it was taken from.
    pub sources: &'a Sources,
    /// Its keys and registrations.
    pub registry: &'a ConfiguredRegistry,
    /// The way to platforms; or why there is none.
    pub transport: Result<HttpTransport, String>,
    /// The broker, if there is one.
    pub broker: Option<amqp::Options>,
    /// The time, and chance.
    pub clock: &'a dyn Clock,
    /// What else is to be tried.
    pub wishes: Wishes,
}

impl Scene<'_> {
    /// Nothing is known of the grades that went to a platform. Where one is about to be read from it, that tells of the
    /// secret.
    fn past_of(&self, platform: &Platform) -> Option<Past> {
        let read = self.wishes.outcome.as_ref().filter(|wish| wish.sourcedid.is_some());
        let is_signed_for = read.is_some_and(|wish| platform.origin.as_ref() == Some(&wish.url.origin()));
        (!is_signed_for).then(Past::default)
    }
}

/// What is tried only if somebody asks for it.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Where platforms fetch our key set.
    pub jwks_url: Option<ServiceUrl>,
    /// The columns of courses, to be read with a token of a platform.
    pub columns: Option<ColumnsWish>,
    /// An LTI 1.1 outcome service.
    pub outcome: Option<OutcomeWish>,
    /// The platform that alone is tried, with what else is wished for; without it, the whole configuration.
    pub only: Option<String>,
}

/// Columns to read.
#[derive(Clone, Debug)]
pub struct ColumnsWish {
    /// The platform's name; may be left out where there is only one.
    pub platform: Option<String>,
    /// The line item containers.
    pub containers: Vec<ServiceUrl>,
}

/// An outcome service to try.
#[derive(Clone, Debug)]
pub struct OutcomeWish {
    /// `lis_outcome_service_url`.
    pub url: ServiceUrl,
    /// `oauth_consumer_key`.
    pub key: String,
    /// `lis_result_sourcedid`, whose grade is read.
    pub sourcedid: Option<String>,
}

/// Tries everything, and tells section by section in the order in which they stand.
pub fn remarks<'a>(scene: &'a Scene<'a>) -> impl Stream<Item = Vec<Remark>> + Send + 'a {
    stream::iter(sections(scene)).buffered(SECTIONS_AT_ONCE)
}

/// So many sections are tried side by side.
const SECTIONS_AT_ONCE: usize = 8;

/// No step takes longer, whatever the configuration allows: somebody waits for the answer.
const STEP_LIMIT: Duration = Duration::from_secs(15);

fn sections<'a>(scene: &'a Scene<'a>) -> Vec<Pending<'a, Vec<Remark>>> {
    let only = scene.wishes.only.as_deref();
    // Why nothing can be called stands among them.
    let mut sections = if only.is_none() || scene.transport.is_err() { of_this_machine(scene) } else { Vec::new() };
    let Ok(transport) = &scene.transport else { return sections };
    let road = Road {
        registry: scene.registry,
        platforms: &scene.config.platforms,
        transport,
        clock: scene.clock,
        patience: Patience::of(scene.config.delivery.timeout),
        listen: Some(scene.config.http.listen),
    };
    for platform in scene.config.platforms.iter().filter(|platform| only.is_none_or(|only| platform.name == only)) {
        sections.push(Box::pin(platform::section(road, platform, scene.past_of(platform))));
    }
    for (host, keys) in keys::hosts(&scene.config.lti_keys).into_iter().filter(|_| only.is_none()) {
        sections.push(Box::pin(reach::host_section(road, host, keys)));
    }
    if let Some(url) = &scene.wishes.jwks_url {
        sections.push(Box::pin(jwks::section(road, url)));
    }
    if let Some(wish) = &scene.wishes.columns {
        for container in &wish.containers {
            sections.push(Box::pin(columns::section(road, wish.platform.as_deref(), container)));
        }
    }
    if let Some(wish) = &scene.wishes.outcome {
        sections.push(Box::pin(outcome::section(road, wish)));
    }
    sections
}

/// What stands before any platform.
fn of_this_machine<'a>(scene: &'a Scene<'a>) -> Vec<Pending<'a, Vec<Remark>>> {
    vec![
        Box::pin(async { configuration::section(scene) }),
        Box::pin(store::section(&scene.config.store.path, scene.config.rules())),
        Box::pin(listen::section(scene.config.http.listen, &scene.config.store.path)),
        Box::pin(broker::section(scene.broker.as_ref(), scene.config.amqp.outcomes_exchange.as_deref())),
        Box::pin(async { keys::section(scene.config) }),
    ]
}

/// The way to platforms, as the worker would go it.
#[derive(Clone, Copy)]
struct Road<'a> {
    registry: &'a ConfiguredRegistry,
    platforms: &'a [Platform],
    transport: &'a HttpTransport,
    clock: &'a dyn Clock,
    patience: Patience,
    /// Where the worker will listen; none where it does already.
    listen: Option<SocketAddr>,
}

impl Road<'_> {
    async fn send(&self, request: Request) -> Answer {
        self.transport.send(request, self.patience.limit).await
    }

    /// Whether our key set cannot be fetched for the good reason that no worker runs yet.
    fn has_no_worker_yet(&self) -> bool {
        self.listen.is_some_and(listen::is_free)
    }
}

/// How long an answer is waited for, here and by the worker.
#[derive(Clone, Copy)]
struct Patience {
    limit: Duration,
    worker: Duration,
}

impl Patience {
    fn of(worker: Duration) -> Self {
        Self { limit: worker.min(STEP_LIMIT), worker }
    }

    /// Tells that nothing came in time. The worker may wait longer than we do: then grades may flow all the same.
    fn tell(self, section: &mut Section, step: &'static str, seen: &str, advice: impl Into<String>) {
        let Self { limit, worker } = self;
        if limit < worker {
            let slow = format!("slower than {} s: {seen}", limit.as_secs());
            let longer = format!(
                "the worker waits {} s ([delivery] timeout), so grades may flow all the same",
                worker.as_secs()
            );
            section.warn(step, slow, format!("{longer}; if nothing comes at all, {}", advice.into()));
        } else {
            section.fail(step, seen, advice);
        }
    }
}

/// The registrations that there are, with what they are called.
fn registrations(platforms: &[Platform]) -> impl Iterator<Item = (&Platform, Registration)> {
    platforms.iter().filter_map(|platform| Some((platform, platform.registration()?)))
}

/// What to do where our key set would be served by a worker that does not run yet.
const SERVED_LATER: &str = "nobody listens at [http] listen yet, and the key set is served once the worker runs: start it, and \
                            check again";

/// Gathers the remarks of a section.
struct Section {
    part: &'static str,
    name: Option<String>,
    remarks: Vec<Remark>,
}

impl Section {
    fn new(part: &'static str) -> Self {
        Self { part, name: None, remarks: Vec::new() }
    }

    fn named(part: &'static str, name: impl Into<String>) -> Self {
        Self { part, name: Some(name.into()), remarks: Vec::new() }
    }

    fn ok(&mut self, step: &'static str, seen: impl Into<String>) {
        self.add(step, Mark::Ok, seen.into(), None);
    }

    fn warn(&mut self, step: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.add(step, Mark::Warning, seen.into(), Some(advice.into()));
    }

    fn fail(&mut self, step: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.add(step, Mark::Failed, seen.into(), Some(advice.into()));
    }

    fn add(&mut self, step: &'static str, status: Mark, seen: String, advice: Option<String>) {
        self.remarks.push(Remark { part: self.part, name: self.name.clone(), step, status, seen, advice });
    }

    fn done(self) -> Vec<Remark> {
        self.remarks
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [before @ .., last] => {
            let before: Vec<&str> = before.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", before.join(", "), last.as_ref())
        }
    }
}

/// What a platform said, behind its status; where it said nothing, its words are the status.
fn told(verdict: &Verdict) -> String {
    match verdict.http_status {
        Some(status) if !verdict.message.starts_with("HTTP ") => format!("HTTP {status}: {}", verdict.message),
        _ => verdict.message.clone(),
    }
}

/// `1 column`, `2 columns`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
