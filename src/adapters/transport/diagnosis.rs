//! What a failed exchange means: the client's errors, three crates deep, as one fault and one plain sentence.
//!
//! The sentences name the host, never the path or the query: those may carry tickets.

use std::{error::Error, io, iter};

use rustls::{AlertDescription, CertificateError};

use super::guard::NoAddress;
use crate::lti::wire::TransportFault;

/// A fault, and the sentence that tells it.
pub(super) type Diagnosis = (TransportFault, String);

/// Finds out why the exchange with `host` failed.
pub(super) fn of_client(error: &reqwest::Error, host: &str) -> Diagnosis {
    let certain = causes(error).find_map(|cause| certain(cause, host));
    if let Some(diagnosis) = certain {
        return diagnosis;
    }
    if error.is_timeout() {
        let phase = if error.is_connect() { "could not be connected to" } else { "did not answer" };
        return (TransportFault::Timeout, format!("{host} {phase} in time"));
    }
    if error.is_dns() {
        return (TransportFault::Connection, unresolved(host, error));
    }
    let telling = causes(error).filter_map(|cause| plain(cause, host)).last();
    telling.unwrap_or_else(|| (TransportFault::Connection, format!("the exchange with {host} failed: {}", root(error))))
}

/// The diagnosis of a name without an address.
pub(super) fn of_name(error: &NoAddress, host: &str) -> Diagnosis {
    match error {
        NoAddress::Forbidden(why) => (TransportFault::Blocked, why.to_string()),
        NoAddress::Unresolved(cause) => (TransportFault::Connection, unresolved(host, cause)),
    }
}

fn unresolved(host: &str, error: &(dyn Error + 'static)) -> String {
    format!("the name {host} could not be resolved: {}", root(error))
}

/// An error and its causes, from the outside in. `source()` of an I/O error skips the error that it wraps, so that one
/// is asked for by name.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// Causes that settle the question wherever in the chain they stand.
fn certain(cause: &(dyn Error + 'static), host: &str) -> Option<Diagnosis> {
    if let Some(no_address) = cause.downcast_ref::<NoAddress>() {
        return Some(of_name(no_address, host));
    }
    cause.downcast_ref::<rustls::Error>().map(|error| (TransportFault::Tls, tls_words(error, host)))
}

/// Causes that tell something unless a deeper one tells more.
fn plain(cause: &(dyn Error + 'static), host: &str) -> Option<Diagnosis> {
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return hyper_words(error, host);
    }
    cause.downcast_ref::<io::Error>().and_then(|error| io_words(error, host))
}

fn hyper_words(error: &hyper::Error, host: &str) -> Option<Diagnosis> {
    if error.is_parse_too_large() {
        Some((TransportFault::TooLarge, format!("the headers of {host} are too large")))
    } else if error.is_parse() {
        Some((TransportFault::Unreadable, format!("what {host} sent is no HTTP: {error}")))
    } else if error.is_incomplete_message() {
        Some((TransportFault::Connection, format!("{host} closed the connection before the whole reply was there")))
    } else if error.is_canceled() || error.is_closed() {
        Some((TransportFault::Connection, format!("{host} closed the connection before the request was sent")))
    } else {
        None
    }
}

fn io_words(error: &io::Error, host: &str) -> Option<Diagnosis> {
    use io::ErrorKind as Kind;
    let (fault, words) = match error.kind() {
        Kind::ConnectionRefused => (TransportFault::Connection, format!("{host} refused the connection")),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
            (TransportFault::Connection, format!("{host} cut the connection"))
        }
        Kind::UnexpectedEof => (TransportFault::Connection, format!("{host} closed the connection before it was done")),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            (TransportFault::Connection, format!("there is no way to {host}: {error}"))
        }
        Kind::InvalidData | Kind::InvalidInput => {
            (TransportFault::Unreadable, format!("the body that {host} sent is broken: {error}"))
        }
        _ => return None,
    };
    Some((fault, words))
}

fn tls_words(error: &rustls::Error, host: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => certificate_words(fault, host),
        rustls::Error::InvalidMessage(_) => format!("{host} does not speak TLS on this port"),
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => {
            format!("{host} speaks no TLS version or cipher that is safe: {error}")
        }
        other => format!("the TLS handshake with {host} failed: {other}"),
    }
}

fn certificate_words(fault: &CertificateError, host: &str) -> String {
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of {host} has expired{}", on_day("on", *not_after))
        }
        CertificateError::Expired => format!("the certificate of {host} has expired"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate of {host} is not valid yet{}", on_day("before", *not_before))
        }
        CertificateError::NotValidYet => format!("the certificate of {host} is not valid yet"),
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<&str> = presented.iter().take(NAMES_SHOWN_MAX).map(|name| plain_name(name)).collect();
            format!("the certificate is not for {host}, but for another name: {}", names.join(", "))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate is not for {host}, but for another name")
        }
        CertificateError::UnknownIssuer => format!(
            "the certificate of {host} is from an unknown issuer ([egress] ca_file adds trusted roots; \
             a server may also have forgotten its intermediate certificate)"
        ),
        CertificateError::Revoked => format!("the certificate of {host} has been revoked"),
        other => format!("the certificate of {host} is not valid: {other}"),
    }
}

/// A certificate may bear hundreds of names.
const NAMES_SHOWN_MAX: usize = 3;

/// ` on 2026-11-21`; nothing for a time that no calendar knows.
fn on_day(word: &str, moment: rustls::pki_types::UnixTime) -> String {
    let secs = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    match time::OffsetDateTime::from_unix_timestamp(secs) {
        Ok(moment) => format!(" {word} {}", moment.date()),
        Err(_) => String::new(),
    }
}

/// rustls tells a name as `DnsName("lms.example.edu")`.
fn plain_name(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}
