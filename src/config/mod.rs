//! The configuration: one TOML file, and any value also by environment. One struct per section; the doc comment of a
//! field is its reference (meaning, unit, default).
//!
//! What is loaded is right: every value was checked, every secret found. What is wrong is told with its place, its
//! setting and how to mend it, and without the content of the line, which may hold a secret.

pub mod access;
pub mod amqp;
pub mod changes;
pub mod delivery;
pub mod duration;
pub mod egress;
mod fault;
pub mod host;
pub mod http;
pub mod load;
pub mod lti;
pub mod names;
mod reader;
pub mod retry;
pub mod rsa;
pub mod secret;
pub mod show;
mod stand_ins;
pub mod store;
pub mod tokens;
mod tree;

use serde::Deserialize;

pub(crate) use self::fault::edits;
use self::{
    amqp::AmqpConfig,
    delivery::DeliveryConfig,
    egress::EgressConfig,
    http::HttpConfig,
    lti::{LtiConfig, LtiKey, Platform, SigningKeyConfig},
    retry::RetryConfig,
    store::StoreConfig,
    tokens::Token,
};
pub use self::{
    load::{ConfigError, LoadOptions, Sources},
    tree::Place,
};
use crate::domain::ledger::{Outcomes, Rules};

/// The whole configuration. The default is that of a worker without a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the jobs are kept.
    pub store: StoreConfig,
    /// RabbitMQ.
    pub amqp: AmqpConfig,
    /// Where the worker listens.
    pub http: HttpConfig,
    /// Attempts and their limits.
    pub delivery: DeliveryConfig,
    /// The retry schedule.
    pub retry: RetryConfig,
    /// What the worker may call.
    pub egress: EgressConfig,
    /// What holds for every LTI 1.3 registration.
    pub lti: LtiConfig,
    /// Consumer keys and secrets. Read anew at SIGHUP.
    pub lti_keys: Vec<LtiKey>,
    /// The tool's RSA keys. Read anew at SIGHUP.
    pub signing_keys: Vec<SigningKeyConfig>,
    /// Registrations and names. Read anew at SIGHUP.
    pub platforms: Vec<Platform>,
    /// Who may use the API. Read anew at SIGHUP.
    pub tokens: Vec<Token>,
}

/// The sections that are lists of tables.
const LISTS: [&str; 4] = ["lti_keys", "signing_keys", "platforms", "tokens"];

impl Config {
    /// What the ledger decides by.
    pub fn rules(&self) -> Rules {
        let is_told = self.amqp.url.is_some() && self.amqp.outcomes_exchange.is_some();
        let outcomes = if is_told { Outcomes::Noted } else { Outcomes::Dropped };
        Rules { retry: self.retry.policy(), supersede: self.delivery.supersede, outcomes }
    }

    /// What is allowed and yet hardly what was meant, each in a sentence.
    pub fn warnings(&self) -> Vec<&'static str> {
        let is_deaf = self.amqp.url.is_none() && self.amqp.outcomes_exchange.is_some();
        let is_deaf = is_deaf.then_some("[amqp] outcomes_exchange is set, but url is not: no outcome is published");
        is_deaf.into_iter().collect()
    }

    /// What no single value shows: ranges, names that stand twice, entries that cannot work.
    fn check(&self) -> Result<(), Flaw> {
        self.store.check()?;
        self.amqp.check()?;
        self.delivery.check()?;
        self.retry.check()?;
        self.egress.check()?;
        lti::check_lti_keys(&self.lti_keys)?;
        lti::check_signing_keys(&self.signing_keys)?;
        lti::check_platforms(&self.platforms)?;
        tokens::check(&self.tokens)
    }
}

/// A setting that cannot work, and why.
#[derive(Debug)]
struct Flaw {
    /// Names and numbers with dots between them.
    setting: String,
    /// What follows the setting's name in a sentence.
    why: String,
}

impl Flaw {
    fn new(setting: impl Into<String>, why: impl Into<String>) -> Self {
        Self { setting: setting.into(), why: why.into() }
    }
}

fn must(holds: bool, setting: &str, why: &str) -> Result<(), Flaw> {
    if holds { Ok(()) } else { Err(Flaw::new(setting, why)) }
}

/// Entries of a list are told apart by a name.
fn must_be_unique<T>(entries: &[T], list: &str, key: &str, name: impl Fn(&T) -> Option<&str>) -> Result<(), Flaw> {
    for (index, entry) in entries.iter().enumerate() {
        let is_new = name(entry).is_none() || !entries[..index].iter().any(|other| name(other) == name(entry));
        let why = format!("\"{}\" stands twice", name(entry).unwrap_or_default().escape_debug());
        must(is_new, &format!("{list}.{index}.{key}"), &why)?;
    }
    Ok(())
}
