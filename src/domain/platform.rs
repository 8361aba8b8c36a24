//! A platform's registration and the keys that it goes with, as the protocols need them. The secret parts are of
//! types that do not print.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::destination::ServiceUrl;

/// The secret that goes with an `oauth_consumer_key`.
#[derive(Clone)]
pub struct SharedSecret(SecretString);

impl SharedSecret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self(secret.into())
    }

    /// The secret, for the one who signs or checks with it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(hidden)")
    }
}

/// The tool's RSA key for client assertions, in PEM.
pub struct SigningKey {
    /// `kid`: the name under which the public half stands in the JWKS.
    pub kid: String,
    pem: SecretString,
}

impl SigningKey {
    /// A key named `kid`, from its PEM (PKCS #8 or PKCS #1).
    pub fn new(kid: impl Into<String>, pem: impl Into<SecretString>) -> Self {
        Self { kid: kid.into(), pem: pem.into() }
    }

    /// The PEM, for the one who signs with it.
    pub fn expose_pem(&self) -> &str {
        self.pem.expose_secret()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// How the tool is registered at a platform (LTI 1.3): what a token request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The platform's configured name; none for one that only the event knows.
    pub name: Option<String>,
    /// `client_id`.
    pub client_id: String,
    /// The token endpoint.
    pub token_url: ServiceUrl,
    /// The audience of the client assertion, one string.
    pub token_audience: String,
    /// The deployment, where known.
    pub deployment_id: Option<String>,
    /// What the event says differently, by the names of its members; it is not used, and the job says so.
    pub ignored_claims: Vec<&'static str>,
}
