//! The registered clients and their public keys, given inline or fetched from the tool.
//!
//! A fetched set is kept, and goes on serving while the tool's server is away; an unknown `kid` has it fetched
//! again, as Moodle does. The fetch has limits on time and size, and no lock is held meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::assertion_check::PublicKey;
use super::locked;
use super::message::Reason;
use super::options::{Client, Jwks};

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_BYTES_MAX: usize = 256 * 1024;

/// The clients, by client id.
#[derive(Default)]
pub(super) struct Clients {
    by_id: Mutex<HashMap<String, Arc<Registered>>>,
}

/// A client with the keys that are known of it.
pub(super) struct Registered {
    pub(super) client: Client,
    keys: Mutex<Arc<[PublicKey]>>,
}

/// Why no key could be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKey {
    #[error("the tool's key set cannot be fetched: {0}")]
    Unreachable(Reason),
    #[error("no key of the tool is called {0:?}")]
    Unknown(String),
}

impl Clients {
    /// Adds or replaces a client. An inline key set is read at once.
    pub(super) fn add(&self, client: Client) -> Result<(), Reason> {
        let keys = match &client.jwks {
            Jwks::Inline(set) => PublicKey::read_set(set)?.into(),
            Jwks::Url(_) => Arc::default(),
        };
        let id = client.client_id.clone();
        locked(&self.by_id).insert(id, Arc::new(Registered { client, keys: Mutex::new(keys) }));
        Ok(())
    }

    pub(super) fn find(&self, client_id: &str) -> Option<Arc<Registered>> {
        locked(&self.by_id).get(client_id).cloned()
    }

    /// All client ids, in order.
    pub(super) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = locked(&self.by_id).keys().cloned().collect();
        ids.sort();
        ids
    }
}

impl Registered {
    /// The key of this name, fetched if need be.
    pub(super) async fn key(&self, kid: &str) -> Result<PublicKey, NoKey> {
        if let Some(key) = self.known_key(kid) {
            return Ok(key);
        }
        if let Jwks::Url(url) = &self.client.jwks {
            let fetched = fetch(url).await.map_err(NoKey::Unreachable)?;
            *locked(&self.keys) = fetched.into();
        }
        self.known_key(kid).ok_or_else(|| NoKey::Unknown(kid.to_owned()))
    }

    fn known_key(&self, kid: &str) -> Option<PublicKey> {
        locked(&self.keys).iter().find(|key| key.kid == kid).cloned()
    }
}

async fn fetch(url: &str) -> Result<Vec<PublicKey>, Reason> {
    let in_words = |error: reqwest::Error| error.without_url().to_string();
    let mut response = http_client().map_err(in_words)?.get(url).send().await.map_err(in_words)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("the tool answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(in_words)? {
        body.extend_from_slice(&chunk);
        if body.len() > FETCH_BYTES_MAX {
            return Err(format!("it is larger than {FETCH_BYTES_MAX} bytes"));
        }
    }
    let set: Value = serde_json::from_slice(&body).map_err(|error| format!("it is not JSON: {error}"))?;
    PublicKey::read_set(&set)
}

/// A plain client: no proxy, no redirects, a limit on the whole exchange. Key sets are fetched seldom, so none is kept.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulated LMS is the other side of the wire and shares no client with the worker"
)]
pub(super) fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(FETCH_TIMEOUT)
        .user_agent("passback-simulated-lms")
        .build()
}
