//! HTTP to platforms, on reqwest: pooled, over TLS, within limits of time, size and address.
//!
//! It carries out one request and reads the whole reply. It follows no redirect, keeps no cookies, reads no proxy from
//! the environment, and repeats nothing that may have been read. It decides nothing about a reply: that is
//! `lti::classify`. HTTP/1.1 alone is spoken: there a connection carries one request, so "was it written?" has a plain
//! answer, and one slow reply holds up no other.

mod chain;
mod diagnosis;
mod egress;
mod guard;
mod outgoing;

use std::{fs, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{
    Certificate, Client, ClientBuilder, Proxy, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use url::{Host, Url};

pub use self::chain::Chain;
pub use self::egress::{EgressRules, Forbidden};
pub use self::guard::Lookup;
use self::{
    diagnosis::Diagnosis,
    guard::{Guard, system_lookup},
    outgoing::{Outgoing, Progress},
};
use crate::{
    lti::wire::{self, TransportFailure, TransportFault, Written},
    ports::{Pending, Transport},
};

/// How the transport is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it may call.
    pub egress: EgressRules,
    /// The most time that one exchange may take, whatever its caller allows.
    pub timeout: Duration,
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Connections kept open to a host while they have nothing to do.
    pub idle_per_host_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            egress: EgressRules::default(),
            timeout: Duration::from_secs(30),
            user_agent: concat!("passback/", env!("CARGO_PKG_VERSION")).to_owned(),
            idle_per_host_max: 16,
        }
    }
}

/// The transport cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportSetupError {
    /// The file of trusted roots.
    #[error("cannot read [egress] ca_file {}", path.display())]
    CaFile {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What stands in that file.
    #[error("[egress] ca_file {} holds no PEM certificates; it must have at least one BEGIN CERTIFICATE block", path.display())]
    CaFormat {
        /// Where it is.
        path: PathBuf,
    },
    /// The proxy. Its URL may hold a password, so it is not repeated.
    #[error("[egress] proxy must be an http:// or https:// URL with a host")]
    Proxy,
    /// The client.
    #[error(
        "cannot set up TLS; if this machine has no trusted certificates, install its package ca-certificates or set [egress] ca_file"
    )]
    Client(#[source] reqwest::Error),
}

/// The transport. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client,
    rules: Arc<EgressRules>,
    guard: Guard,
    timeout: Duration,
}

impl HttpTransport {
    /// Sets up the client, with names resolved by the operating system.
    pub fn new(options: Options) -> Result<Self, TransportSetupError> {
        Self::with_lookup(options, system_lookup())
    }

    /// Sets up the client with another way to resolve names. The egress rules hold for what it answers.
    pub fn with_lookup(options: Options, lookup: Lookup) -> Result<Self, TransportSetupError> {
        let rules = Arc::new(options.egress);
        let guard = Guard::new(rules.clone(), lookup);
        let roots = trusted_roots(&rules)?;
        let proxy = rules.proxy.as_ref().map(proxy).transpose()?;
        let build = |with_roots: fn(ClientBuilder, Vec<Certificate>) -> ClientBuilder| {
            let builder = client_builder(&options.user_agent, options.timeout, options.idle_per_host_max);
            let builder = with_roots(builder, roots.clone()).dns_resolver(guard.clone());
            proxy.clone().into_iter().fold(builder, ClientBuilder::proxy).build()
        };
        let client = match build(ClientBuilder::tls_certs_merge) {
            // A bare machine without any trusted roots can still talk to http:// platforms, where those are allowed.
            Err(_) if rules.allow_http => build(ClientBuilder::tls_certs_only),
            built => built,
        };
        let client = client.map_err(TransportSetupError::Client)?;
        Ok(Self { client, rules, guard, timeout: options.timeout })
    }

    /// What can be known of a destination before anything is sent.
    pub fn admit(&self, url: &Url) -> Result<(), Forbidden> {
        self.rules.admit_url(url)
    }

    /// The addresses of a URL's host, each with what the rules say of it. Nothing is connected to.
    pub async fn addresses(&self, url: &Url) -> io::Result<Vec<(IpAddr, Result<(), Forbidden>)>> {
        let addresses = match url.host() {
            Some(Host::Domain(name)) => self.guard.looked_up(name).await?,
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            None => Vec::new(),
        };
        Ok(addresses.into_iter().map(|address| (address, self.rules.admit_address(address))).collect())
    }

    /// The certificates that a server sends, where its issuer is unknown. Only allowed addresses are called, and nothing is
    /// sent; none behind a proxy.
    pub async fn chain(&self, url: &Url, within: Duration) -> Option<Chain> {
        if self.rules.proxy.is_some() || self.admit(url).is_err() || url.scheme() != "https" {
            return None;
        }
        let addresses = self.addresses(url).await.ok()?.into_iter();
        let allowed: Vec<IpAddr> =
            addresses.filter_map(|(address, judged)| judged.is_ok().then_some(address)).collect();
        chain::of_server(url.host_str()?, &allowed, url.port_or_known_default()?, within).await
    }

    async fn exchange(&self, request: wire::Request, progress: &Arc<Progress>) -> wire::Answer {
        let url = request.url.as_url().clone();
        let origin = request.url.origin();
        let host = origin.host();
        self.admit(&url).map_err(|Forbidden(why)| unsent((TransportFault::Blocked, why)))?;
        if let (Some(_), Some(Host::Domain(name))) = (&self.rules.proxy, url.host()) {
            let admitted = self.guard.admit_for_proxy(name).await;
            admitted.map_err(|error| unsent(diagnosis::of_name(&error, host)))?;
        }
        let headers = header_map(&request.headers).map_err(unsent)?;
        let builder = match request.method {
            wire::Method::Get => self.client.get(url),
            wire::Method::Post => self.client.post(url),
        };
        let body = (!request.body.is_empty()).then(|| Outgoing::new(request.body, progress.clone()));
        let builder = match body {
            Some(body) => builder.body(reqwest::Body::wrap(body)),
            None => {
                progress.note_written();
                // An empty POST says so: some servers answer 411 to one without a length.
                if request.method == wire::Method::Post { builder.header("content-length", "0") } else { builder }
            }
        };
        let sent = builder.headers(headers).send().await;
        let response = sent.map_err(|error| failed(&error, host, progress))?;
        progress.note_status(response.status().as_u16());
        read_reply(response, host, progress).await
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: wire::Request, within: Duration) -> Pending<'_, wire::Answer> {
        let limit = within.min(self.timeout);
        let progress = Arc::new(Progress::default());
        Box::pin(async move {
            let origin = request.url.origin();
            let exchange = tokio::time::timeout(limit, self.exchange(request, &progress)).await;
            exchange.unwrap_or_else(|_| Err(out_of_time(origin.host(), limit, &progress)))
        })
    }
}

fn client_builder(user_agent: &str, timeout: Duration, idle_per_host_max: usize) -> ClientBuilder {
    #[expect(clippy::disallowed_methods, reason = "this is where the platforms' client is built")]
    let builder = Client::builder();
    builder
        .user_agent(user_agent)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .pool_max_idle_per_host(idle_per_host_max)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
}

fn trusted_roots(rules: &EgressRules) -> Result<Vec<Certificate>, TransportSetupError> {
    let Some(path) = &rules.ca_file else {
        return Ok(Vec::new());
    };
    let pem = fs::read(path).map_err(|cause| TransportSetupError::CaFile { path: path.clone(), cause })?;
    let roots = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if roots.is_empty() { Err(TransportSetupError::CaFormat { path: path.clone() }) } else { Ok(roots) }
}

fn proxy(url: &Url) -> Result<Proxy, TransportSetupError> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(TransportSetupError::Proxy);
    }
    Proxy::all(url.clone()).map_err(|_| TransportSetupError::Proxy)
}

fn header_map(headers: &[(&'static str, String)]) -> Result<HeaderMap, Diagnosis> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, text) in headers {
        let unfit = || (TransportFault::Unreadable, format!("the header {name} holds what HTTP cannot carry"));
        let mut value = HeaderValue::from_str(text).map_err(|_| unfit())?;
        value.set_sensitive(*name == "authorization");
        map.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?, value);
    }
    Ok(map)
}

/// Reads the rest of a reply, up to the limit.
async fn read_reply(mut response: Response, host: &str, progress: &Progress) -> wire::Answer {
    let too_large = || TransportFailure {
        fault: TransportFault::TooLarge,
        written: Written::Perhaps,
        status: progress.status(),
        detail: format!("the reply of {host} is larger than {} KiB", BODY_BYTES_MAX / 1024),
    };
    if response.content_length().is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    // Not only ASCII: the quotes of Moodle's `Link` are curly.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut reply = wire::Reply { status: response.status().as_u16(), headers, body: Vec::new() };
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error, host, progress))? {
        if reply.body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        reply.body.extend_from_slice(&chunk);
    }
    Ok(reply)
}

fn unsent((fault, detail): Diagnosis) -> TransportFailure {
    TransportFailure { fault, written: Written::No, status: None, detail }
}

fn failed(error: &reqwest::Error, host: &str, progress: &Progress) -> TransportFailure {
    let (fault, detail) = diagnosis::of_client(error, host);
    let written = if error.is_connect() { Written::No } else { progress.written() };
    TransportFailure { fault, written, status: progress.status(), detail }
}

fn out_of_time(host: &str, limit: Duration, progress: &Progress) -> TransportFailure {
    let limit = limit.as_secs_f64();
    let detail = match progress.status() {
        Some(status) => format!("{host} answered {status}, but the whole reply was not there within {limit} s"),
        None => format!("{host} did not answer within {limit} s"),
    };
    TransportFailure { fault: TransportFault::Timeout, written: progress.written(), status: progress.status(), detail }
}

/// Name, connection and TLS handshake together. What takes longer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Shorter than the 5 s after which Apache closes an idle connection, so that a request is hardly ever written to one
/// that is just being closed: such a request gets no reply, and nobody knows whether it was read.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The largest body that is read. A page of line items is far below it; what is larger is no reply of a grade service.
const BODY_BYTES_MAX: usize = 256 * 1024;
