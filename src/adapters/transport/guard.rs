//! The egress rules at the moment of connecting: names are resolved here, and only allowed addresses are handed on.
//!
//! The client connects to what this resolver returns and asks nobody else, so a name cannot point to one address while
//! it is checked and to another while it is used.

use std::{io, net::IpAddr, net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::egress::{EgressRules, Forbidden};
use crate::ports::Pending;

/// Turns a name into its addresses.
pub type Lookup = Arc<dyn Fn(String) -> Pending<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The resolver of the operating system.
pub(super) fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    })
}

/// Resolves names by the rules.
#[derive(Clone)]
pub(super) struct Guard {
    rules: Arc<EgressRules>,
    lookup: Lookup,
}

/// A name that gives no address to call.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAddress {
    /// The rules forbid what it stands for.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// It does not resolve.
    #[error("the name could not be resolved")]
    Unresolved(#[source] io::Error),
}

impl Guard {
    pub(super) fn new(rules: Arc<EgressRules>, lookup: Lookup) -> Self {
        Self { rules, lookup }
    }

    /// The addresses of a name that may be called.
    async fn allowed(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        let mut allowed = self.resolved(name).await?;
        let mut forbidden = None;
        allowed.retain(|address| match self.rules.admit_address(*address) {
            Ok(()) => true,
            Err(Forbidden(why)) => {
                forbidden = Some(why);
                false
            }
        });
        match forbidden {
            Some(why) if allowed.is_empty() => {
                Err(Forbidden(format!("{name} leads to a forbidden address: {why}")).into())
            }
            _ => Ok(allowed),
        }
    }

    /// For a request that a proxy will resolve again: every address that we see must be allowed, because the proxy
    /// may take any of them.
    pub(super) async fn admit_for_proxy(&self, name: &str) -> Result<(), NoAddress> {
        for address in self.resolved(name).await? {
            self.rules
                .admit_address(address)
                .map_err(|Forbidden(why)| Forbidden(format!("{name} leads to a forbidden address: {why}")))?;
        }
        Ok(())
    }

    async fn resolved(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        self.looked_up(name).await.map_err(NoAddress::Unresolved)
    }

    /// All addresses of a name, whatever the rules say.
    pub(super) async fn looked_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = (self.lookup)(name.to_owned()).await?;
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has no addresses"));
        }
        Ok(addresses)
    }

    /// With a proxy the client only ever resolves the proxy's own name, which the operator has chosen.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        if self.rules.proxy.is_some() { self.resolved(name).await } else { self.allowed(name).await }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str()).await?;
            // Port 0 stands for the port of the URL.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
