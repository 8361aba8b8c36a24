//! `[store]`: where the jobs are kept, and for how long.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{Flaw, duration, must};

/// The embedded store.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The folder of the store, made if it is not there; the operator token of a worker without `[[tokens]]` lies in it
    /// too. A relative path begins at the working directory. Default `"data"`.
    pub path: PathBuf,
    /// How long `delivered`, `superseded` and `discarded` jobs are kept, and their idempotency keys with them; `flagged`
    /// ones stay for ever. A span of time. Default `"30d"`.
    #[serde(deserialize_with = "duration::read")]
    pub retain_delivered: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: "data".into(), retain_delivered: Duration::from_secs(30 * 86_400) }
    }
}

impl StoreConfig {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        must(!self.path.as_os_str().is_empty(), "store.path", "is empty: name the folder of the store")?;
        must(
            !self.retain_delivered.is_zero(),
            "store.retain_delivered",
            "must be more than 0s: idempotency keys are kept no longer than their jobs",
        )
    }
}
