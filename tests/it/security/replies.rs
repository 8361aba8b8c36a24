//! Hostile answers: XML with entities and document types, nesting without end, words that steer terminals or forge lines.
//! No entity is looked up, nothing is expanded, and what remains is one short line.

use std::{sync::Arc, time::Duration};

use passback::{
    domain::{
        destination::{Destination, ServiceUrl},
        event::{Door, GradeEvent},
        outcome::Verdict,
        platform::{Registration, SharedSecret, SigningKey},
        time::Timestamp,
    },
    lti::{
        access_token,
        exchange::{Credentials, Exchange, Standing, Step},
        wire::Reply,
    },
};
use serde_json::json;
use tokio::time::Instant;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The largest body that the transport hands on.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Far more than any of these should take, on any machine and without optimisation.
const AMPLE: Duration = Duration::from_secs(10);

fn reply(status: u16, body: &[u8]) -> Reply {
    Reply { status, headers: Vec::new(), body: body[..body.len().min(BODY_BYTES_MAX)].to_vec() }
}

fn exchange(lis_data: &serde_json::Value) -> Exchange {
    let event = json!({"session_id": "s", "score": 8, "max_score": 10, "lis_data": lis_data}).to_string();
    let event = GradeEvent::parse(event.as_bytes(), Door::Event).expect("an event");
    let credentials = match &event.destination {
        Destination::Ags(target) => {
            let token_url = ServiceUrl::parse("https://lms.example.edu/token").expect("a URL");
            let registration = Registration {
                name: None,
                client_id: target.client_id.clone(),
                token_audience: token_url.as_url().to_string(),
                token_url,
                deployment_id: None,
                ignored_claims: Vec::new(),
            };
            let pem = include_str!("../../vectors/signing_key.pem");
            Credentials::Platform { registration, key: Arc::new(SigningKey::new("k1", pem)) }
        }
        Destination::Lti11(_) | Destination::Delegated(_) => Credentials::Shared(SharedSecret::new("sesame-open-1")),
    };
    Exchange::new(&event, credentials, Standing::first(NOW)).expect("an exchange")
}

/// What a delivery makes of a reply to the first request after its token, if it is over then.
fn verdict(lis_data: &serde_json::Value, answer: &Reply) -> Option<Verdict> {
    let mut exchange = exchange(lis_data);
    let mut answered = false;
    for luck in 0..20 {
        match exchange.poll(NOW, luck) {
            Step::Token(..) => {
                let token = reply(200, br#"{"access_token":"t","expires_in":3600}"#);
                exchange.handle_token(access_token::read(&Ok(token), NOW));
            }
            Step::RecallColumn { .. } => exchange.handle_column(None),
            Step::Send(_) if answered => return None,
            Step::Send(_) => {
                exchange.handle_reply(&Ok(answer.clone()), NOW);
                answered = true;
            }
            Step::RememberColumn { .. } => exchange.handle_remembered(),
            Step::Done(verdict) => return Some(verdict),
        }
    }
    panic!("it never ends")
}

/// The verdicts of all that reads replies: three deliveries, the search for a column, and the token endpoint.
fn verdicts(status: u16, body: &[u8]) -> Vec<Verdict> {
    let answer = reply(status, body);
    let deliveries = [
        json!({"lis_outcome_service_url": "https://l/o", "lis_result_sourcedid": "cell", "oauth_consumer_key": "k"}),
        json!({"lti_version": "1.3", "grade_passback_url": "https://l/p", "oauth_consumer_key": "k"}),
        json!({"lti_version": "1.3", "client_id": "c", "user_id": "u", "lineitem": "https://l/1"}),
        json!({"lti_version": "1.3", "client_id": "c", "user_id": "u", "lineitems": "https://l/", "resource_id": "r"}),
    ];
    let read = deliveries.iter().filter_map(|lis_data| verdict(lis_data, &answer));
    read.chain(access_token::read(&Ok(answer.clone()), NOW).err()).collect()
}

/// One line, short, and nothing in it that a terminal obeys or that turns the direction of writing.
#[track_caller]
fn check_words(words: &str) {
    assert!(words.chars().count() <= 300, "{words}");
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!words.chars().any(steers), "{words:?}");
}

fn envelope(code: &str, description: &str) -> String {
    format!("<imsx_codeMajor>{code}</imsx_codeMajor><imsx_description>{description}</imsx_description>")
}

#[test]
fn no_entity_is_expanded_and_none_is_looked_up() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "treasure of the machine").expect("it is written");
    let path = secret.path().display();
    let mut laughs = String::from("<!DOCTYPE x [<!ENTITY l0 \"treasure\">");
    for level in 1..10 {
        let inner = format!("&l{};", level - 1).repeat(10);
        laughs.extend(["<!ENTITY l", &level.to_string(), " \"", &inner, "\">"]);
    }
    laughs.push_str("]>");
    let external = format!("<!DOCTYPE x [<!ENTITY e SYSTEM \"file://{path}\">]>");
    let parameter =
        format!("<!DOCTYPE x [<!ENTITY % p SYSTEM \"http://127.0.0.1:9/x.dtd\"> %p; <!ENTITY % q \"file://{path}\">]>");
    for (prologue, entity) in [(laughs, "&l9;"), (external, "&e;"), (parameter, "%q;")] {
        for status in [200, 400, 500] {
            let body = format!("<?xml version=\"1.0\"?>{prologue}<x>{}</x>", envelope("failure", entity));
            for verdict in verdicts(status, body.as_bytes()) {
                check_words(&verdict.message);
                assert!(!verdict.message.contains("treasure of"), "{}", verdict.message);
            }
            let lti11 = &verdicts(status, body.as_bytes())[0];
            assert!(lti11.message.contains(entity), "it stays what it is: {}", lti11.message);
        }
    }
    // A document type that hides a success in an entity is no success.
    let hidden = format!("<!DOCTYPE x [<!ENTITY s \"{}\">]><x>&s;</x>", "success");
    assert!(verdicts(200, hidden.as_bytes()).iter().all(|verdict| !verdict.message.is_empty()));
}

#[test]
fn nesting_and_repetition_take_neither_stack_nor_time() {
    let pieces = [
        "<a>",
        "<",
        "</",
        "<!--",
        "<![CDATA[",
        "]]>",
        "<?x",
        "<!DOCTYPE x [",
        "&",
        "&#",
        "&amp;",
        "<script>",
        "<script></script>",
        "<imsx_codeMajor>",
        "<imsx_codeMajor><imsx_description>",
        "[",
        "{\"a\":",
        "[{\"id\":",
        "\"",
        "\\",
        "eyJ",
        "Bearer ",
        "sesame",
        "\u{0}",
        "\u{202e}",
        "\u{feff}",
        "{",
        "[[],",
    ];
    for piece in pieces {
        let body = piece.repeat(BODY_BYTES_MAX / piece.len());
        for status in [200, 401, 404, 422] {
            let begin = Instant::now();
            for verdict in verdicts(status, body.as_bytes()) {
                check_words(&verdict.message);
            }
            assert!(begin.elapsed() < AMPLE, "{piece:?} takes {:?}", begin.elapsed());
        }
    }
}

#[test]
fn the_words_of_a_platform_forge_no_line_and_steer_no_terminal() {
    let nasty = "fine\r\n\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{85}\u{2028}\u{2029}\u{202e}drowssap\u{2066}\u{0}\u{7f}{\"level\":\"ERROR\"}";
    let in_json = json!({"message": nasty, "error": "x", "error_description": nasty}).to_string();
    let in_xml = envelope("failure", &format!("{nasty} &#27;[31m &#x9b;1m &#10;&#13; &#8238;"));
    let in_html = format!("<html><body>{nasty}&#27;[31m</body></html>");
    for body in [nasty, &in_json, &in_xml, &in_html] {
        for status in [200, 302, 400, 403, 500] {
            for verdict in verdicts(status, body.as_bytes()) {
                check_words(&verdict.message);
            }
        }
    }
}

#[test]
fn a_token_that_is_no_header_is_no_token() {
    let long = "x".repeat(20_000);
    for token in ["a\r\nX-Evil: 1", "a b", "", "tok\u{e9}n", "\u{0}", long.as_str()] {
        let grant = json!({"access_token": token, "expires_in": 3600}).to_string();
        assert!(access_token::read(&Ok(reply(200, grant.as_bytes())), NOW).is_err(), "{token:.40}");
    }
    let scope = json!({"access_token": "t", "scope": long}).to_string();
    assert!(access_token::read(&Ok(reply(200, scope.as_bytes())), NOW).is_ok(), "an odd scope is no reason to fail");
}
