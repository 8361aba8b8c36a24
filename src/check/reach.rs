//! The way to a host: what the egress rules say, the name, and what the first contact shows of the connection and of TLS.

use std::net::IpAddr;

use tokio::time::timeout;

use super::{Patience, Remark, Road, Section, listed};
use crate::{
    adapters::transport::{Chain, Forbidden},
    domain::{
        cause::{TlsCause, Words},
        destination::ServiceUrl,
    },
    lti::{
        probe,
        wire::{Answer, Reply, TransportFailure, TransportFault, Written},
    },
};

/// So many addresses are shown.
const ADDRESSES_SHOWN_MAX: usize = 4;

/// A host that LTI keys name.
pub(super) async fn host_section(road: Road<'_>, host: String, keys: Vec<String>) -> Vec<Remark> {
    let mut section = Section::named("lti key", listed(&keys));
    match ServiceUrl::parse(&format!("https://{host}/")) {
        Ok(url) => visit_host(road, &mut section, &url).await,
        Err(error) => section.fail("host", format!("{host} {error}"), "correct hosts of [[lti_keys]]"),
    }
    section.done()
}

/// A host without scheme and port: most have the usual ones.
async fn visit_host(road: Road<'_>, section: &mut Section, url: &ServiceUrl) {
    if !is_on_the_way(road, section, url, KEY_HOSTS).await {
        return;
    }
    let answer = road.send(probe::page_request(url.clone())).await;
    let is_closed = answer
        .as_ref()
        .err()
        .filter(|failure| matches!(failure.fault, TransportFault::Connection | TransportFault::Timeout));
    if let Some(failure) = is_closed {
        let advice =
            "if the platform stands at another port, all may be well; else check the host, and the firewalls between";
        section.warn("connection", format!("{} (port 443)", failure.detail), advice);
    } else if let Some(reply) = contact(road, section, &answer, url, KEY_HOSTS).await {
        section.ok("reach", format!("{} answers (HTTP {})", url.origin().host(), reply.status));
    }
}

const KEY_HOSTS: &str = "hosts of [[lti_keys]]";

/// Goes to a host's front page: whatever it answers, it can be reached.
pub(super) async fn visit(road: Road<'_>, section: &mut Section, url: &ServiceUrl, setting: &str) {
    if !is_on_the_way(road, section, url, setting).await {
        return;
    }
    let answer = road.send(probe::page_request(front_page(url))).await;
    // A request without a body counts as written from the beginning, so a closed way looks like a slow answer.
    let road = Road { patience: Patience::of(road.patience.limit), ..road };
    if let Some(reply) = contact(road, section, &answer, url, setting).await {
        section.ok("reach", format!("{} answers (HTTP {})", url.origin().host(), reply.status));
    }
}

/// The root of a URL's host, which nobody minds being asked for.
fn front_page(url: &ServiceUrl) -> ServiceUrl {
    ServiceUrl::parse(&format!("{}/", url.origin().as_str())).unwrap_or_else(|_| url.clone())
}

/// Judges a URL by the egress rules and resolves its name. False where that is the end of the way.
pub(super) async fn is_on_the_way(road: Road<'_>, section: &mut Section, url: &ServiceUrl, setting: &str) -> bool {
    if let Err(Forbidden(why)) = road.transport.admit(url.as_url()) {
        section.fail("egress", why, format!("change [egress], or correct {setting}"));
        return false;
    }
    let origin = url.origin();
    let name = url.as_url().host_str().unwrap_or_default();
    let found = timeout(road.patience.limit, road.transport.addresses(url.as_url())).await;
    match found {
        Ok(Ok(addresses)) => tell_addresses(section, name, &addresses, setting),
        Ok(Err(error)) => {
            let advice = format!("check the spelling of {setting}, and that this machine's resolver knows the name");
            section.fail("name", format!("the name {name} could not be resolved: {error}"), advice);
            false
        }
        Err(_) => {
            let limit = road.patience.limit.as_secs();
            let seen = format!("the name {} was not resolved within {limit} s", origin.host());
            section.fail("name", seen, "check this machine's resolver (/etc/resolv.conf)");
            false
        }
    }
}

fn tell_addresses(
    section: &mut Section,
    name: &str,
    addresses: &[(IpAddr, Result<(), Forbidden>)],
    setting: &str,
) -> bool {
    let shown: Vec<String> =
        addresses.iter().take(ADDRESSES_SHOWN_MAX).map(|(address, _)| address.to_string()).collect();
    let more = addresses.len().saturating_sub(ADDRESSES_SHOWN_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let seen = match addresses {
        [(address, _)] if name.trim_matches(['[', ']']) == address.to_string() => format!("{address} is an address"),
        _ => format!("{name} is {}{more}", shown.join(", ")),
    };
    let mut forbidden = addresses.iter().filter_map(|(_, judged)| judged.as_ref().err());
    match forbidden.next() {
        None => {
            section.ok("name", seen);
            true
        }
        Some(Forbidden(why)) if addresses.iter().all(|(_, judged)| judged.is_err()) => {
            let advice = format!(
                "the worker calls no such address: if the platform really stands there, allow it in [egress]; else correct \
                 {setting}, or what the name resolves to"
            );
            section.fail("egress", format!("{seen}, and {why}"), advice);
            false
        }
        Some(Forbidden(why)) => {
            section.warn("egress", format!("{seen}, but {why}"), "the other addresses alone are used");
            true
        }
    }
}

/// What the first exchange shows of the connection; the reply, if there is one.
pub(super) async fn contact<'a>(
    road: Road<'_>,
    section: &mut Section,
    answer: &'a Answer,
    url: &ServiceUrl,
    setting: &str,
) -> Option<&'a Reply> {
    match answer {
        Ok(reply) => {
            if url.as_url().scheme() == "https" {
                section.ok("tls", format!("the certificate of {} is good", url.origin().host()));
            }
            Some(reply)
        }
        Err(failure) => {
            let is_unknown = failure.fault == TransportFault::Tls
                && TlsCause::of(&Words::of(&failure.detail)) == Some(TlsCause::UnknownIssuer);
            let chain = if is_unknown { road.transport.chain(url.as_url(), road.patience.limit).await } else { None };
            match chain {
                Some(chain) => unknown_issuer(section, url.origin().host(), &chain),
                None => tell_failure(road.patience, section, failure, setting),
            }
            None
        }
    }
}

/// What the certificates that a server sends tell of an issuer that nobody knows.
fn unknown_issuer(section: &mut Section, host: &str, chain: &Chain) {
    let issuer = &chain.issuer;
    let own_authority = "put the root certificate of that authority into a file and name it in [egress] ca_file";
    if chain.is_self_signed {
        let seen = format!("the certificate of {host} is self-signed, by \"{issuer}\": its issuer is unknown");
        section.fail(
            "tls",
            seen,
            "install one of an authority, or put it into a file and name that in [egress] ca_file",
        );
    } else if chain.certificates == 1 {
        let seen = format!(
            "{host} sends its own certificate alone, and its issuer \"{issuer}\" is unknown: an intermediate certificate is \
             missing"
        );
        let advice = format!(
            "the platform's admins have to install the whole chain, not the last certificate alone; if it is of an authority \
             of their own, {own_authority}"
        );
        section.fail("tls", seen, advice);
    } else {
        let seen = format!("the certificates of {host} lead to \"{issuer}\", an unknown issuer");
        section.fail("tls", seen, own_authority);
    }
}

/// Whether a request went out and nothing came in time.
pub(super) fn is_slow(failure: &TransportFailure) -> bool {
    failure.fault == TransportFault::Timeout && failure.written == Written::Perhaps
}

/// Tells of a connection that came to nothing.
fn tell_failure(patience: Patience, section: &mut Section, failure: &TransportFailure, setting: &str) {
    let (step, advice) = failed_contact(failure, setting);
    // An address that could not even be connected to in this time is no slow platform.
    if is_slow(failure) {
        patience.tell(section, step, &failure.detail, advice);
    } else {
        section.fail(step, failure.detail.clone(), advice);
    }
}

/// The step that failed, and what to do.
fn failed_contact(failure: &TransportFailure, setting: &str) -> (&'static str, String) {
    match failure.fault {
        TransportFault::Connection => (
            "connection",
            format!("check host and port of {setting}, that the platform is up, and the firewalls between"),
        ),
        TransportFault::Timeout => (
            "connection",
            "a firewall may drop what is sent there, or the platform is overloaded: try the same address from this machine \
             with another program"
                .to_owned(),
        ),
        TransportFault::Tls => ("tls", tls_advice(&failure.detail)),
        TransportFault::Blocked => ("egress", format!("change [egress], or correct {setting}")),
        TransportFault::TooLarge | TransportFault::Unreadable => {
            ("reply", format!("no LMS answers so: correct {setting}"))
        }
    }
}

/// What to do about TLS.
fn tls_advice(detail: &str) -> String {
    let advice = match TlsCause::of(&Words::of(detail)) {
        Some(TlsCause::Expired) => {
            "the platform's admins have to renew its certificate; if it is new, check this machine's clock"
        }
        Some(TlsCause::NotYetValid) => {
            "check this machine's clock; else the platform's admins have to install a certificate that is valid now"
        }
        Some(TlsCause::OtherName) => {
            "use the name that the certificate is for, or have the platform's admins get one for this name"
        }
        Some(TlsCause::UnknownIssuer) => {
            "if the platform has an authority of its own, put its root certificate into a file and name that in [egress] \
             ca_file; else the platform's admins have to install the intermediate certificate"
        }
        Some(TlsCause::NotSpoken) => "the port is one of plain HTTP: correct scheme or port",
        None => "ask the platform's admins to mend its TLS",
    };
    advice.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::Mark, *};

    #[test]
    fn what_is_slow_is_a_failure_only_where_the_worker_waits_no_longer() {
        let check =
            |fault: TransportFault, written: Written, worker_secs: u64, mark: Mark, seen: &str, advice: &str| {
                let mut section = Section::new("platform");
                let detail = "l did not answer in time".to_owned();
                let failure = TransportFailure { fault, written, status: None, detail };
                tell_failure(Patience::of(Duration::from_secs(worker_secs)), &mut section, &failure, "token_url");
                let remark = &section.remarks[0];
                let told = remark.advice.as_deref().unwrap_or_default();
                assert!(
                    remark.status == mark && remark.seen == seen && told.contains(advice),
                    "{worker_secs}: {remark:?}"
                );
            };
        let slow = "slower than 15 s: l did not answer in time";
        check(TransportFault::Timeout, Written::Perhaps, 30, Mark::Warning, slow, "the worker waits 30 s");
        check(TransportFault::Timeout, Written::Perhaps, 30, Mark::Warning, slow, "a firewall may drop");
        check(
            TransportFault::Timeout,
            Written::Perhaps,
            15,
            Mark::Failed,
            "l did not answer in time",
            "a firewall may drop",
        );
        check(
            TransportFault::Timeout,
            Written::Perhaps,
            1,
            Mark::Failed,
            "l did not answer in time",
            "a firewall may drop",
        );
        check(
            TransportFault::Timeout,
            Written::No,
            30,
            Mark::Failed,
            "l did not answer in time",
            "a firewall may drop",
        );
        check(
            TransportFault::Connection,
            Written::Perhaps,
            30,
            Mark::Failed,
            "l did not answer in time",
            "host and port of token_url",
        );
    }
}
