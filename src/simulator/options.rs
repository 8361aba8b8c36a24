//! What a simulated LMS is started with, and how it describes itself to whoever must be configured to use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::manners::Likeness;

/// The scope that posts scores.
pub const SCOPE_SCORE: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/score";
/// The scope that reads and makes line items.
pub const SCOPE_LINEITEM: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem";
/// The scope that reads line items.
pub const SCOPE_LINEITEM_READONLY: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly";
/// The scope that reads results.
pub const SCOPE_RESULT_READONLY: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly";

/// How to start a simulated LMS.
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Scheme, host and port by which it is known from outside, if not those that it listens on.
    pub public_url: Option<String>,
    /// Who may use LTI 1.1 and delegated passback.
    pub consumers: Vec<Consumer>,
    /// Who may use LTI 1.3.
    pub clients: Vec<Client>,
    /// The contexts (courses), each with the ids of its line items. Letters, digits and `.-_~` only.
    pub contexts: Vec<(String, Vec<String>)>,
    /// Whether a context or a line item comes into being when its address is first used.
    pub auto_columns: bool,
    /// Line items on one page of a container, where the request sets no `limit`.
    pub page_size: usize,
    /// How long an access token lives, told and kept.
    pub token_life: Duration,
    /// How far its clock is ahead of the machine's, in milliseconds.
    pub clock_skew_ms: i64,
    /// How many refusals are kept for `refusals()`.
    pub refusals_max: usize,
    /// How many requests are taken within ten seconds, the controls apart; without, they are not counted.
    pub rate_limit: Option<usize>,
    /// Whose manners it has; without, it is a strict judge by the standards.
    pub like: Option<Likeness>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            public_url: None,
            consumers: Vec::new(),
            clients: Vec::new(),
            contexts: Vec::new(),
            auto_columns: false,
            page_size: 10,
            token_life: Duration::from_secs(3600),
            clock_skew_ms: 0,
            refusals_max: 256,
            rate_limit: None,
            like: None,
        }
    }
}

/// A consumer key and its secret.
#[derive(Clone)]
pub struct Consumer {
    /// `oauth_consumer_key`.
    pub key: String,
    /// The shared secret.
    pub secret: SecretString,
}

impl Consumer {
    /// A consumer from plain text.
    pub fn new(key: &str, secret: &str) -> Self {
        Self { key: key.to_owned(), secret: SecretString::from(secret) }
    }
}

/// An LTI 1.3 registration of a tool.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client id.
    pub client_id: String,
    /// The tool's public keys.
    pub jwks: Jwks,
    /// The scopes that it may be granted.
    pub scopes: Vec<String>,
    /// Its deployments; a `deployment_id` claim must name one of them, unless there are none.
    pub deployment_ids: Vec<String>,
}

impl Client {
    /// A client with all four AGS scopes and no deployments.
    pub fn new(client_id: &str, jwks: Jwks) -> Self {
        let scopes = [SCOPE_SCORE, SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY, SCOPE_RESULT_READONLY];
        Self {
            client_id: client_id.to_owned(),
            jwks,
            scopes: scopes.map(str::to_owned).to_vec(),
            deployment_ids: Vec::new(),
        }
    }
}

/// Where a tool's public keys come from.
#[derive(Clone, Debug)]
pub enum Jwks {
    /// The JSON Web Key Set itself.
    Inline(Value),
    /// Its address; fetched at need, and again when an assertion names an unknown `kid`.
    Url(String),
}

/// All that somebody needs to configure a sender for this LMS, secrets included: for printing on purpose only, so
/// it has no `Debug`.
#[derive(Clone, Serialize)]
pub struct Description {
    /// Whose manners it has, if anybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<Likeness>,
    /// Scheme, host and port; also the LTI 1.3 issuer.
    pub base_url: String,
    /// `lis_outcome_service_url`.
    pub outcomes_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// The audience of a client assertion.
    pub token_aud: String,
    /// `grade_passback_url`.
    pub delegated_url: String,
    /// Where faults, gradebook and counts are.
    pub control_url: String,
    /// The consumers with their secrets.
    pub consumers: Vec<DescribedConsumer>,
    /// The registered client ids.
    pub client_ids: Vec<String>,
    /// The contexts.
    pub contexts: Vec<DescribedContext>,
}

/// A consumer as it is printed.
#[derive(Clone, Serialize)]
pub struct DescribedConsumer {
    /// `oauth_consumer_key`.
    pub key: String,
    /// The shared secret.
    pub secret: String,
}

/// A context as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedContext {
    /// The context id.
    pub id: String,
    /// Its line item container.
    pub lineitems_url: String,
    /// Its line items.
    pub lineitem_urls: Vec<String>,
}
