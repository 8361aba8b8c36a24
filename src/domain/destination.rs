//! Where a grade goes: an outcome service, a client's endpoint, or a line item; and the cell that it writes.
//!
//! A destination is parsed from `lis_data` once and cannot be incomplete. It holds no secret: keys are named,
//! never carried.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use url::{Position, Url};

/// The three deliveries, by their public names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// LTI 1.1 Basic Outcomes.
    #[serde(rename = "lti11")]
    Lti11,
    /// LTI 1.3, handed to the client's own endpoint (Learnosity's way).
    #[serde(rename = "lti13-delegated")]
    Delegated,
    /// LTI 1.3 Assignment and Grade Services.
    #[serde(rename = "lti13-ags")]
    Ags,
}

impl Delivery {
    /// All of them, for tables and label sets.
    pub const ALL: [Self; 3] = [Self::Lti11, Self::Delegated, Self::Ags];

    /// The stable text name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lti11 => "lti11",
            Self::Delegated => "lti13-delegated",
            Self::Ags => "lti13-ags",
        }
    }

    /// Reads a stable text name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|delivery| delivery.name() == name)
    }

    /// Whether a newer grade may take the place of an older one. A delegated delivery is also the session's
    /// acknowledgement, so each of them is made.
    pub const fn can_supersede(self) -> bool {
        !matches!(self, Self::Delegated)
    }
}

/// An absolute http or https URL without user name or password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(Url);

/// The longest name that DNS knows, with its last dot. A platform is remembered by its host for ever.
const HOST_BYTES_MAX: usize = 254;

/// Why a text is no usable service URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL at all, or a relative one.
    #[error("must be an absolute URL such as https://lms.example.edu/outcomes")]
    NotAUrl,
    /// `ftp:`, `file:` and the like.
    #[error("must begin with https:// (or http:// where that is allowed)")]
    Scheme,
    /// `https://user:password@…`.
    #[error("must not carry a user name or password")]
    Credentials,
}

impl ServiceUrl {
    /// Parses and checks a URL.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let url = Url::parse(text).map_err(|_| BadUrl::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUrl::Scheme);
        }
        if url.host_str().is_none_or(|host| host.len() > HOST_BYTES_MAX) {
            return Err(BadUrl::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Credentials);
        }
        Ok(Self(url))
    }

    /// The URL.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port: the platform behind this URL.
    pub fn origin(&self) -> Origin {
        // There is neither a user name nor a password, and the port is there only where it is not the scheme's own.
        Origin(self.0[..Position::AfterPort].into())
    }
}

impl fmt::Debug for ServiceUrl {
    /// The query may carry a ticket, so only the place is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..Position::AfterPath])
    }
}

/// A platform as the worker knows it: scheme, host and port, such as `https://lms.example.edu:8443`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Arc<str>);

impl Origin {
    /// From the text form, as it was stored. A text that is no URL is kept: it names no platform that answers.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, with `:port` where it is not the scheme's own.
    pub fn host(&self) -> &str {
        self.0.split_once("://").map_or(&*self.0, |(_, host)| host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One cell of a gradebook, as a digest of its full name. Jobs of one cell are put in order and go one at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GradeCell(pub [u8; 16]);

impl GradeCell {
    fn of(parts: &[&str]) -> Self {
        Self(digest16(parts.iter().map(|part| part.as_bytes())))
    }
}

impl fmt::Debug for GradeCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Half of the SHA-256 of the parts, each with its length before it so that no two lists are alike.
pub(crate) fn digest16<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let full = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

/// Where and how to deliver.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one is alive for each attempt; a box would cost more than it saves")]
pub enum Destination {
    /// LTI 1.1 Basic Outcomes.
    Lti11(OutcomeService),
    /// LTI 1.3 delegated.
    Delegated(ClientEndpoint),
    /// LTI 1.3 AGS.
    Ags(AgsTarget),
}

/// An LTI 1.1 outcome service and the cell in it.
#[derive(Clone)]
pub struct OutcomeService {
    /// `lis_outcome_service_url`.
    pub url: ServiceUrl,
    /// `lis_result_sourcedid`, opaque, exactly as the platform gave it.
    pub sourcedid: String,
    /// `oauth_consumer_key`, which names the shared secret.
    pub consumer_key: String,
    /// `tool_family`, such as `canvas`: what the platform says that it is.
    pub tool_family: Option<String>,
}

impl fmt::Debug for OutcomeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeService").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A client's own endpoint, and what is forwarded to it.
#[derive(Clone)]
pub struct ClientEndpoint {
    /// `grade_passback_url`.
    pub url: ServiceUrl,
    /// `oauth_consumer_key`, the Basic user.
    pub consumer_key: String,
    /// All members of `lis_data` as they came, but `lti_version`, `grade_passback_url`, `oauth_consumer_key` and `data`.
    pub members: Vec<(String, Box<RawValue>)>,
}

impl fmt::Debug for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEndpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An AGS column, or what finds it, and the user whose cell it is.
#[derive(Clone)]
pub struct AgsTarget {
    /// `client_id`, which finds the registration.
    pub client_id: String,
    /// `user_id`: the LTI `sub`.
    pub user_id: String,
    /// The column.
    pub column: Column,
    /// What the event says of the registration; believed only where the configuration allows it.
    pub claimed: ClaimedRegistration,
    /// `scope`: the scopes that the launch granted; `None` where the event does not say.
    pub scopes: Option<Vec<String>>,
    /// `tool_family`, such as `canvas`: what the platform says that it is.
    pub tool_family: Option<String>,
}

impl fmt::Debug for AgsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgsTarget").field("column", &self.column).finish_non_exhaustive()
    }
}

/// The registration as an event claims it to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedRegistration {
    /// `issuer`.
    pub issuer: Option<String>,
    /// `deployment_id`.
    pub deployment_id: Option<String>,
    /// `token_url`.
    pub token_url: Option<ServiceUrl>,
    /// `token_aud`.
    pub token_aud: Option<String>,
}

/// A gradebook column of AGS.
#[derive(Clone, Debug)]
pub enum Column {
    /// `lineitem`: the column itself.
    Known(ServiceUrl),
    /// `lineitems`: the container, and what finds or makes the column.
    Sought {
        /// The container's URL.
        container: ServiceUrl,
        /// What the column is recognised by.
        wanted: WantedColumn,
    },
}

/// What finds a column, and what it is called when it is made (AGS 2.0, line item service). At least one of the
/// three identifiers is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedColumn {
    /// `resource_link_id`: the LTI link that the column hangs on.
    pub resource_link_id: Option<String>,
    /// `resource_id`: the tool's own resource.
    pub resource_id: Option<String>,
    /// `tag`: what tells columns of one resource apart.
    pub tag: Option<String>,
    /// `label`: the name of the column when it is made.
    pub label: Option<String>,
    /// `grades_released`: whether students see the grades of the column when it is made; else the platform decides.
    pub grades_released: Option<bool>,
}

impl Column {
    /// The column's own URL, or that of its container.
    pub fn url(&self) -> &ServiceUrl {
        match self {
            Self::Known(url) => url,
            Self::Sought { container, .. } => container,
        }
    }
}

impl Destination {
    /// Which of the three deliveries this is.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Lti11(_) => Delivery::Lti11,
            Self::Delegated(_) => Delivery::Delegated,
            Self::Ags(_) => Delivery::Ags,
        }
    }

    /// The URL whose origin is the platform.
    pub fn service_url(&self) -> &ServiceUrl {
        match self {
            Self::Lti11(service) => &service.url,
            Self::Delegated(endpoint) => &endpoint.url,
            Self::Ags(target) => target.column.url(),
        }
    }

    /// The cell that is written. A delegated delivery names no cell, so there it is the session at that endpoint:
    /// its events go in order too.
    pub fn cell(&self, session_id: Option<&str>) -> GradeCell {
        match self {
            Self::Lti11(service) => GradeCell::of(&["lti11", service.url.as_url().as_str(), &service.sourcedid]),
            Self::Delegated(endpoint) => {
                GradeCell::of(&["delegated", endpoint.url.as_url().as_str(), session_id.unwrap_or_default()])
            }
            Self::Ags(target) => match &target.column {
                Column::Known(url) => GradeCell::of(&["ags", url.as_url().as_str(), &target.user_id]),
                Column::Sought { container, wanted } => GradeCell::of(&[
                    "ags-sought",
                    container.as_url().as_str(),
                    wanted.resource_link_id.as_deref().unwrap_or_default(),
                    wanted.resource_id.as_deref().unwrap_or_default(),
                    wanted.tag.as_deref().unwrap_or_default(),
                    &target.user_id,
                ]),
            },
        }
    }
}
