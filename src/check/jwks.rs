//! Our own key set as platforms fetch it: whether it holds the configured keys.

use serde_json::Value;

use super::{Remark, Road, SERVED_LATER, Section, listed, reach};
use crate::{
    domain::destination::ServiceUrl,
    lti::{
        probe,
        wire::{Answer, TransportFault},
    },
};

/// Fetches the key set and compares.
pub(super) async fn section(road: Road<'_>, url: &ServiceUrl) -> Vec<Remark> {
    let mut section = Section::named("jwks", format!("{url:?}"));
    fetch(road, &mut section, url).await;
    section.done()
}

async fn fetch(road: Road<'_>, section: &mut Section, url: &ServiceUrl) {
    let answer = road.send(probe::page_request(url.clone())).await;
    if let Err(failure) = &answer
        && failure.fault == TransportFault::Blocked
    {
        let advice =
            "this machine does not call that address ([egress]): open the URL from the platform's network instead";
        section.warn("fetch", failure.detail.clone(), advice);
        return;
    }
    if let Err(failure) = &answer
        && failure.fault == TransportFault::Timeout
    {
        let advice =
            "a platform waits no longer for our keys: check what serves this address, and the firewalls between";
        section.fail("fetch", failure.detail.clone(), advice);
        return;
    }
    if is_closed(road, &answer, url).await && road.has_no_worker_yet() {
        let seen = answer.map_or_else(|failure| failure.detail, |reply| format!("HTTP {}", reply.status));
        section.warn("fetch", seen, SERVED_LATER);
        return;
    }
    let Some(reply) = reach::contact(road, section, &answer, url, "the JWKS URL").await else { return };
    let Some(published) = probe::published_keys(reply) else {
        let advice =
            "platforms need the key set there: have /.well-known/jwks.json of the worker served under this address";
        section.fail("fetch", format!("HTTP {} without a key set inside", reply.status), advice);
        return;
    };
    section.ok("fetch", format!("the keys {} are published", listed(&kids(&published))));
    compare(section, &ours(&road.registry.jwks()), &published);
}

/// Whether the way is right and ends at a closed door: that of the worker, or of a proxy before it.
async fn is_closed(road: Road<'_>, answer: &Answer, url: &ServiceUrl) -> bool {
    match answer {
        Ok(reply) => matches!(reply.status, 502..=504),
        Err(failure) if failure.fault == TransportFault::Connection => {
            road.transport.addresses(url.as_url()).await.is_ok_and(|addresses| !addresses.is_empty())
        }
        Err(_) => false,
    }
}

fn kids(keys: &[(String, String)]) -> Vec<&str> {
    keys.iter().map(|(kid, _)| kid.as_str()).collect()
}

/// The public halves of the configured keys: `kid` and modulus, the one that signs first.
fn ours(set: &Value) -> Vec<(String, String)> {
    let keys = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    keys.iter().map(|key| (text(key, "kid"), text(key, "n"))).collect()
}

/// Tells which of our keys are published.
fn compare(section: &mut Section, ours: &[(String, String)], published: &[(String, String)]) {
    if ours.is_empty() {
        let advice = "make a key with `passback keys generate`, and configure it";
        section.fail("keys", "there is no [[signing_keys]] entry to compare with", advice);
        return;
    }
    let published_as = |kid: &str| published.iter().find(|(known, _)| known == kid);
    let other: Vec<&str> = { ours.iter() }
        .filter(|(kid, n)| published_as(kid).is_some_and(|(_, known)| known != n))
        .map(|(kid, _)| kid.as_str())
        .collect();
    let missing: Vec<&str> =
        ours.iter().filter(|(kid, _)| published_as(kid).is_none()).map(|(kid, _)| kid.as_str()).collect();
    let reload = "send SIGHUP to the worker that serves it, and check that the address leads to that worker";
    if !other.is_empty() {
        let seen = format!("another key is published under the name {}", listed(&other));
        section.fail("keys", seen, format!("a platform would refuse what we sign: {reload}"));
    } else if missing.iter().any(|kid| ours.first().is_some_and(|(first, _)| first == kid)) {
        let seen = format!("the key {} is configured and not published", listed(&missing));
        section.fail("keys", seen, format!("a platform would refuse what we sign with it: {reload}"));
    } else if !missing.is_empty() {
        let seen = format!("the key {} is configured and not published", listed(&missing));
        section.warn("keys", seen, format!("it does not sign yet; before it does, {reload}"));
    } else {
        section.ok("keys", "all configured keys are published as they are");
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Mark, *};

    #[test]
    fn a_key_that_signs_must_be_published_and_others_should_be() {
        let keys = |names: &[&str]| {
            let key = |name: &&str| name.split_once('=').map(|(kid, n)| (kid.to_owned(), n.to_owned())).expect("a key");
            names.iter().map(key).collect::<Vec<_>>()
        };
        let check = |ours: &[&str], published: &[&str], status: Mark, words: &str| {
            let mut section = Section::new("jwks");
            compare(&mut section, &keys(ours), &keys(published));
            let remark = &section.remarks[0];
            assert!(remark.status == status && remark.seen.contains(words), "{ours:?} {published:?}: {remark:?}");
        };
        check(&["new=1", "old=2"], &["old=2", "new=1", "older=3"], Mark::Ok, "all");
        check(&["new=1", "old=2"], &["old=2"], Mark::Failed, "new is configured and not published");
        check(&["old=2", "new=1"], &["old=2"], Mark::Warning, "new is configured and not published");
        check(&["new=1"], &["new=9"], Mark::Failed, "another key");
        check(&[], &["new=9"], Mark::Failed, "no [[signing_keys]]");
    }
}
