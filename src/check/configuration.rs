//! The configuration itself: where it was taken from, what is allowed and hardly meant, and what `[egress]` would keep
//! from being called.

use super::{Remark, Scene, Section, counted, listed};
use crate::config::Config;

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
