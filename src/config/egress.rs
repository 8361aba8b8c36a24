//! `[egress]`: what the worker may call.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Flaw, host::HostPattern, must, secret::SecretUrl};

/// The rules for every request to a platform, its token endpoint included.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// Whether `http://` may be called too; else https only. Default `false`.
    pub allow_http: bool,
    /// Whether loopback, private and link-local addresses may be called. Default `false`.
    pub allow_private: bool,
    /// The only hosts that may be called: names, or `*.example.edu` for all below one. Default `[]`: any public host.
    pub allow_hosts: Vec<HostPattern>,
    /// A PEM file of roots that are trusted beside those of the system. Default: none.
    pub ca_file: Option<PathBuf>,
    /// The proxy for all of these requests, such as `"http://proxy.example.edu:3128"`. The proxy variables of the
    /// environment are not used, and the address rules hold all the same. A secret, since it may hold a password.
    /// Default: none.
    pub proxy: Option<SecretUrl>,
}

impl EgressConfig {
    pub(super) fn check(&self) -> Result<(), Flaw> {
        let is_file = self.ca_file.as_ref().is_none_or(|path| path.is_file());
        must(is_file, "egress.ca_file", "names a file that is not there")?;
        let is_http = self.proxy.as_ref().is_none_or(|url| matches!(url.scheme(), "http" | "https"));
        must(is_http, "egress.proxy", "must begin with http:// or https://")
    }
}
