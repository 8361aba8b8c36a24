//! The configuration itself: where it was taken from, what is allowed and hardly meant, and what `[egress]` would keep
//! from being called.

use super::{Remark, Scene, Section, counted, listed};
use crate::{
    config::{Config, lti::Platform, names::PlatformNames},
    domain::destination::{Origin, ServiceUrl},
};

/// Judges the configuration, which the loader has found right.
pub(super) fn section(scene: &Scene<'_>) -> Vec<Remark> {
    let mut section = Section::new("configuration");
    section.ok("file", told(scene));
    for warning in scene.config.warnings() {
        section.warn("setting", warning, "set both, or neither");
    }
    if let Err(error) = &scene.transport {
        section.fail("egress", error.clone(), "without it no platform can be called, and none was tried");
    }
    keys_beyond_reach(&mut section, scene.config);
    shared_origins(&mut section, &scene.config.platforms);
    if scene.config.platforms.is_empty() && scene.config.lti_keys.is_empty() {
        let advice = "name the LMSs in [[platforms]] and their consumer keys in [[lti_keys]]";
        section.warn("setting", "there is neither a platform nor a consumer key: every grade would be flagged", advice);
    }
    section.done()
}

fn told(scene: &Scene<'_>) -> String {
    let file = match &scene.sources.file {
        Some(file) => file.display().to_string(),
        None => "there is no file, the defaults are used".to_owned(),
    };
    let sections = match scene.sources.sections.as_slice() {
        [] => "no section is set".to_owned(),
        sections => format!("sections {}", listed(sections)),
    };
    let variables = match scene.sources.variables.len() {
        0 => String::new(),
        count => format!("; {} of the environment", counted(count, "variable")),
    };
    format!("{file}: {sections}{variables}")
}

/// Entries for one and the same site: a platform is known by its origin, so one of them never gets a job, a number or a
/// pause.
fn shared_origins(section: &mut Section, platforms: &[Platform]) {
    let names = PlatformNames::new(platforms);
    for (index, later) in platforms.iter().enumerate() {
        for earlier in &platforms[..index] {
            let Some(origin) = site_of_both(earlier, later) else { continue };
            let client_id = later.client_id.as_deref().or(earlier.client_id.as_deref());
            let Some(name) = names.configured_label(&origin, client_id) else { continue };
            let other = if **name == *later.name { &earlier.name } else { &later.name };
            let (origin, both) = (origin.as_str(), listed(&[&earlier.name, &later.name]));
            let seen = format!(
                "{both} stand at one origin, {origin}: what goes there counts as {name}, and {other} may stay without a grade \
                 for ever"
            );
            section.warn("platforms", seen, ONE_ENTRY);
        }
    }
}

const ONE_ENTRY: &str = "holds, pauses and numbers are those of an origin: where one entry only names it, take that one away, since a \
                         registration names LTI 1.1 there too; where both are registrations, know that they share all of it";

/// The origin of both. Many schools of one cloud share a token endpoint or an issuer, and each has an origin of its own:
/// so a registration is taken to stand there only if both are there, or an entry says so.
fn site_of_both(one: &Platform, other: &Platform) -> Option<Origin> {
    let says_so = one.origin.is_some() || other.origin.is_some();
    let here = sites(one);
    sites(other).into_iter().find(|origin| here.contains(origin) && (says_so || (is_whole(one) && is_whole(other))))
}

fn sites(platform: &Platform) -> Vec<Origin> {
    match &platform.origin {
        Some(origin) => vec![origin.clone()],
        None => platform.token_url.as_ref().map(ServiceUrl::origin).into_iter().chain(issuer(platform)).collect(),
    }
}

/// Whether issuer and token endpoint are at one place.
fn is_whole(platform: &Platform) -> bool {
    platform.token_url.as_ref().map(ServiceUrl::origin).is_some_and(|origin| issuer(platform) == Some(origin))
}

fn issuer(platform: &Platform) -> Option<Origin> {
    ServiceUrl::parse(platform.issuer.as_deref()?).ok().map(|url| url.origin())
}

/// Hosts that a key or a platform may be used for and that `[egress] allow_hosts` leaves out.
fn keys_beyond_reach(section: &mut Section, config: &Config) {
    let allowed = &config.egress.allow_hosts;
    let keys = config.lti_keys.iter().flat_map(|key| key.hosts.iter().map(|host| (host, "lti_keys", &key.key)));
    let platforms = config.platforms.iter();
    let platforms =
        platforms.flat_map(|platform| platform.hosts.iter().map(|host| (host, "platforms", &platform.name)));
    for (host, list, name) in keys.chain(platforms) {
        let host = host.to_string();
        let is_left_out = !allowed.is_empty()
            && !allowed
                .iter()
                .any(|pattern| pattern.matches(host.trim_start_matches("*.")) || pattern.to_string() == host);
        if is_left_out {
            let seen = format!("{host} (hosts of [[{list}]] {name}) is not among the [egress] allow_hosts");
            section.warn("egress", seen, "add it to allow_hosts, or take it from hosts");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(name: &str, origin: Option<&str>, client_id: Option<&str>, urls: [Option<&str>; 2]) -> Platform {
        let [issuer, token_url] = urls;
        Platform {
            name: name.to_owned(),
            issuer: issuer.map(str::to_owned),
            client_id: client_id.map(str::to_owned),
            deployment_id: None,
            token_url: token_url.map(|url| ServiceUrl::parse(url).expect("a URL")),
            token_aud: None,
            hosts: Vec::new(),
            origin: origin.map(Origin::from_stored),
        }
    }

    #[test]
    fn two_entries_of_one_site_are_named_and_those_of_one_cloud_are_not() {
        const SITE: &str = "https://lms.example.edu";
        const TOKEN: &str = "https://lms.example.edu/mod/lti/token.php";
        let check = |platforms: [Platform; 2], told: Option<&str>| {
            let mut section = Section::new("configuration");
            shared_origins(&mut section, &platforms);
            let seen: Vec<&str> = section.remarks.iter().map(|remark| remark.seen.as_str()).collect();
            assert_eq!(seen.len(), usize::from(told.is_some()), "{seen:?}");
            assert!(seen.first().is_none_or(|seen| seen.contains(told.unwrap_or_default())), "{seen:?}");
        };
        let named = || platform("moodle", Some(SITE), None, [None, None]);
        let registered = |name, client| platform(name, None, Some(client), [Some(SITE), Some(TOKEN)]);
        let told = "moodle and moodle13 stand at one origin, https://lms.example.edu: what goes there counts as moodle, and \
                    moodle13 may stay";
        check([named(), registered("moodle13", "a")], Some(told));
        check([registered("moodle13", "a"), named()], Some("counts as moodle, and moodle13 may"));
        check([registered("one", "a"), registered("two", "b")], Some("one and two stand at one origin"));
        let cloud = ["https://cloud.example", "https://sso.example/token"].map(Some);
        check([platform("a", None, Some("a"), cloud), platform("b", None, Some("b"), cloud)], None);
        let other = platform("canvas", Some("https://canvas.example.edu"), None, [None, None]);
        check([registered("moodle13", "a"), other], None);
    }
}
