//! Keys, platforms and tokens read anew, at SIGHUP or at an operator's word. What is wrong changes nothing.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;

use super::ensure_operator_token;
use crate::{
    adapters::secrets::ConfiguredRegistry,
    check::desk::Desk,
    config::{
        Config,
        access::Access,
        changes::changes,
        names::{Labels, PlatformNames},
    },
    surfaces::metrics::Metrics,
};

/// Who must know of it, and where the configuration is read from.
pub(super) struct Reloader {
    pub(super) registry: Arc<ConfiguredRegistry>,
    pub(super) access: Arc<Access>,
    pub(super) labels: Arc<Labels>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) desk: Arc<Desk>,
    /// What is in effect.
    known: Mutex<Config>,
    source: OnceLock<Source>,
}

type Source = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

impl Reloader {
    pub(super) fn new(
        registry: Arc<ConfiguredRegistry>,
        access: Arc<Access>,
        labels: Arc<Labels>,
        metrics: Arc<Metrics>,
        desk: Arc<Desk>,
        config: Config,
    ) -> Self {
        let (known, source) = (Mutex::new(config), OnceLock::new());
        Self { registry, access, labels, metrics, desk, known, source }
    }

    /// The first source stays.
    pub(super) fn read_from(&self, source: impl Fn() -> Result<Config, String> + Send + Sync + 'static) {
        drop(self.source.set(Box::new(source)));
    }

    /// What is otherwise now, in words. Blocks as long as the files do.
    pub(super) fn reload(&self) -> Result<Vec<String>, String> {
        let source =
            self.source.get().ok_or("this worker was not started from a configuration that can be read again")?;
        self.take(source()?).map_err(|error| format!("{error:#}"))
    }

    fn take(&self, mut config: Config) -> anyhow::Result<Vec<String>> {
        ensure_operator_token(&mut config)?;
        self.registry.reload(&config).context("[[signing_keys]] cannot be used")?;
        self.access.reload(&config.tokens, &config.lti_keys);
        self.labels.reload(PlatformNames::new(&config.platforms));
        self.metrics.reload();
        self.desk.reload(config.platforms.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let told = changes(&known, &config);
        // The rest waits for a restart, however often the file is read.
        let Config { lti_keys, signing_keys, platforms, tokens, .. } = config;
        let allow_unregistered = config.lti.allow_unregistered;
        *known = Config { lti_keys, signing_keys, platforms, tokens, ..std::mem::take(&mut *known) };
        known.lti.allow_unregistered = allow_unregistered;
        Ok(told)
    }
}
