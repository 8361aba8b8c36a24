//! `[http]`: where the worker listens.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, de};

/// The HTTP door, the API, the page and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port, such as `"0.0.0.0:8080"` or `"[::]:8080"`; port 0 takes a free one. Default `"127.0.0.1:8080"`.
    #[serde(deserialize_with = "read_address")]
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

fn read_address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    let numeric = text.trim().strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address = numeric.as_deref().unwrap_or(text.trim()).parse();
    address
        .map_err(|_| de::Error::custom("must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\""))
}
