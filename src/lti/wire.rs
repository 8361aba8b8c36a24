//! HTTP as plain values: what a protocol wants sent, what came back, and how the sending can fail.
//!
//! The protocols build [`Request`]s and read [`Reply`]s; they never see a socket. A transport carries them out within
//! its limits and never follows a redirect.

use std::fmt;

use crate::domain::destination::ServiceUrl;

/// The methods that LTI needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// A request to a platform. Its `Debug` shows neither headers nor body: they carry signatures, tokens and grades.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: ServiceUrl,
    /// Header names in lower case, with their values; no line breaks.
    pub headers: Vec<(&'static str, String)>,
    /// The body, exactly as it is signed.
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}

/// A whole reply.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header names in lower case, with their values; what is no UTF-8 in them is replaced.
    pub headers: Vec<(String, String)>,
    /// The body, complete and within the transport's limit.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

/// How far a request came that got no whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It never left: the name, the connection or the handshake failed.
    No,
    /// It may have been read by the platform.
    Perhaps,
}

/// Why there is no whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The name could not be resolved, the connection was refused, reset or cut.
    Connection,
    /// A time limit ran out.
    Timeout,
    /// The certificate or the handshake.
    Tls,
    /// The egress rules forbid this address.
    Blocked,
    /// The body is larger than any reply of a grade service.
    TooLarge,
    /// What came is no HTTP, or its body is broken.
    Unreadable,
}

/// A request without a whole reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportFailure {
    /// Why.
    pub fault: TransportFault,
    /// Whether the platform may have read the request.
    pub written: Written,
    /// The status, where at least the head of the reply came.
    pub status: Option<u16>,
    /// The cause in words, without query strings or secrets.
    pub detail: String,
}

/// What a transport gives back.
pub type Answer = Result<Reply, TransportFailure>;
