//! What a configuration that was read anew has otherwise: keys, platforms and tokens by their names, never by a secret, and
//! the sections that wait for a restart.

use super::{Config, lti::Platform};

/// What is otherwise, in words such as `[[platforms]] moodle is new`; nothing where all is as it was.
pub fn changes(before: &Config, now: &Config) -> Vec<String> {
    let mut told = Vec::new();
    list(&mut told, "lti_keys", [&before.lti_keys, &now.lti_keys], |key| &key.key);
    list(&mut told, "signing_keys", [&before.signing_keys, &now.signing_keys], |key| &key.kid);
    list(&mut told, "platforms", [&before.platforms, &now.platforms], |platform: &Platform| &platform.name);
    list(&mut told, "tokens", [&before.tokens, &now.tokens], |token| &token.name);
    let signs = |config: &Config| config.signing_keys.first().map(|key| key.kid.clone());
    if let Some(kid) = signs(now).filter(|kid| Some(kid) != signs(before).as_ref()) {
        told.push(format!("[[signing_keys]] {kid} signs now"));
    }
    if before.lti.allow_unregistered != now.lti.allow_unregistered {
        told.push(format!("[lti] allow_unregistered is {}", now.lti.allow_unregistered));
    }
    // Port 0 is another one at each start.
    let listens_elsewhere = now.http.listen.port() != 0 && before.http.listen != now.http.listen;
    let waiting = [
        ("store", before.store != now.store),
        ("amqp", before.amqp != now.amqp),
        ("http", listens_elsewhere),
        ("delivery", before.delivery != now.delivery),
        ("retry", before.retry != now.retry),
        ("egress", before.egress != now.egress),
    ];
    let waiting = waiting.into_iter().filter(|(_, is_otherwise)| *is_otherwise);
    told.extend(waiting.map(|(section, _)| format!("[{section}] has changed, and waits for a restart")));
    told
}

/// The entries of a list, by their names.
fn list<T: PartialEq>(told: &mut Vec<String>, list: &str, [before, now]: [&[T]; 2], name: impl Fn(&T) -> &str) {
    for entry in now {
        match before.iter().find(|known| name(known) == name(entry)) {
            None => told.push(format!("[[{list}]] {} is new", name(entry))),
            Some(known) if known != entry => told.push(format!("[[{list}]] {} has changed", name(entry))),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|known| !now.iter().any(|entry| name(entry) == name(known)));
    told.extend(gone.map(|known| format!("[[{list}]] {} is gone", name(known))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        amqp::AmqpConfig,
        lti::{LtiKey, SigningKeyConfig},
        secret::{Secret, SecretUrl},
        tokens::{Role, Token},
    };

    #[test]
    fn what_has_changed_is_told_by_its_name_and_no_secret_is() {
        let key =
            |key: &str, secret: &str| LtiKey { key: key.to_owned(), secret: Secret::new(secret), hosts: Vec::new() };
        let signing = |kid: &str| SigningKeyConfig { kid: kid.to_owned(), private_key: Secret::new("hunter2") };
        let token = |role| Token { name: "ops".to_owned(), token: Secret::new("hunter2"), role };
        let before = Config {
            lti_keys: vec![key("a", "hunter2"), key("b", "hunter2")],
            signing_keys: vec![signing("1"), signing("2")],
            tokens: vec![token(Role::Viewer)],
            amqp: AmqpConfig {
                url: Some(SecretUrl::parse("amqp://passback:hunter2@broker.example.edu/").expect("a URL")),
                ..AmqpConfig::default()
            },
            ..Config::default()
        };
        assert_eq!(changes(&before, &before.clone()), Vec::<String>::new());
        let mut now = Config {
            lti_keys: vec![key("b", "hunter3"), key("c", "hunter2")],
            signing_keys: vec![signing("2"), signing("1")],
            tokens: vec![token(Role::Operator)],
            ..before.clone()
        };
        now.lti.allow_unregistered = true;
        now.retry.max_retries = 7;
        // What does not print is compared too.
        now.amqp.url = Some(SecretUrl::parse("amqp://passback:hunter3@broker.example.edu/").expect("a URL"));
        let expected = [
            "[[lti_keys]] b has changed",
            "[[lti_keys]] c is new",
            "[[lti_keys]] a is gone",
            "[[tokens]] ops has changed",
            "[[signing_keys]] 2 signs now",
            "[lti] allow_unregistered is true",
            "[amqp] has changed, and waits for a restart",
            "[retry] has changed, and waits for a restart",
        ];
        assert_eq!(changes(&before, &now), expected);
    }
}
