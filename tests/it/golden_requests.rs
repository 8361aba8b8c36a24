//! Every request that goes to each LMS, to the byte: made by the product's own conversation for events as that LMS's
//! launches give them, and compared with the golden files in `tests/vectors/requests`. `PASSBACK_GOLDEN_REQUESTS=1` writes
//! them anew; read the difference before it is committed.
//!
//! Time and chance are fixed, so signatures are too. What a platform answers here is only what leads to the next request.

use std::{env, fmt::Write as _, fs, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use passback::{
    domain::{
        destination::{Destination, ServiceUrl},
        event::{Door, GradeEvent},
        platform::{Registration, SharedSecret, SigningKey},
        time::Timestamp,
    },
    lti::{
        access_token,
        exchange::{Credentials, Exchange, Standing, Step},
        wire::{Method, Reply, Request},
    },
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PEM: &str = include_str!("../vectors/signing_key.pem");

/// An LMS, with the addresses that its launches give.
struct Lms {
    name: &'static str,
    outcomes: &'static str,
    /// `lis_result_sourcedid`, as JSON.
    sourcedid: &'static str,
    tool_family: &'static str,
    lineitem: &'static str,
    lineitems: &'static str,
    token: &'static str,
    audience: &'static str,
}

const PLATFORMS: [Lms; 6] = [
    Lms {
        name: "moodle",
        outcomes: "https://moodle.example.edu/mod/lti/service.php",
        sourcedid: r#""{\"data\":{\"instanceid\":\"5\",\"userid\":\"7\",\"typeid\":\"2\",\"launchid\":99},\"hash\":\"b2f0\"}""#,
        tool_family: "moodle",
        lineitem: "https://moodle.example.edu/mod/lti/services.php/3/lineitems/5/lineitem?type_id=2",
        lineitems: "https://moodle.example.edu/mod/lti/services.php/3/lineitems?type_id=2",
        token: "https://moodle.example.edu/mod/lti/token.php",
        audience: "https://moodle.example.edu/mod/lti/token.php",
    },
    Lms {
        name: "canvas",
        outcomes: "https://canvas.example.edu/api/lti/v1/tools/7/grade_passback",
        sourcedid: r#""7-3-21-9-0a1b2c""#,
        tool_family: "canvas",
        lineitem: "https://canvas.example.edu/api/lti/courses/3/line_items/5",
        lineitems: "https://canvas.example.edu/api/lti/courses/3/line_items",
        token: "https://canvas.example.edu/login/oauth2/token",
        audience: "https://canvas.example.edu/login/oauth2/token",
    },
    Lms {
        name: "openedx",
        outcomes: "https://edx.example.edu/courses/course-v1:X+Y+Z/xblock/block-v1:X+Y+Z+type@lti_consumer+block@1/handler_noauth/outcome_service_handler",
        sourcedid: r#""course-v1%3AX%2BY%2BZ:edx.example.edu-1:ab12""#,
        tool_family: "openedx",
        lineitem: "https://edx.example.edu/api/lti_consumer/v1/lti/9/lti-ags/5",
        lineitems: "https://edx.example.edu/api/lti_consumer/v1/lti/9/lti-ags",
        token: "https://edx.example.edu/api/lti_consumer/v1/token/9",
        audience: "https://edx.example.edu/api/lti_consumer/v1/token/9",
    },
    Lms {
        name: "sakai",
        outcomes: "https://sakai.example.edu/imsblis/service/",
        sourcedid: r#""ab12:::site-1:::content:7""#,
        tool_family: "sakai",
        lineitem: "https://sakai.example.edu/imsblis/lti13/lineitems/site-1/5",
        lineitems: "https://sakai.example.edu/imsblis/lti13/lineitems/site-1",
        token: "https://sakai.example.edu/imsblis/lti13/token/7",
        audience: "https://sakai.example.edu/imsblis/lti13/token/7",
    },
    Lms {
        name: "brightspace",
        outcomes: "https://school.brightspace.com/d2l/le/lti/6605/Outcome",
        sourcedid: r#""6605-12-7""#,
        tool_family: "desire2learn",
        lineitem: "https://school.brightspace.com/d2l/api/lti/ags/2.0/deployment/1/orgunit/2/lineitems/5",
        lineitems: "https://school.brightspace.com/d2l/api/lti/ags/2.0/deployment/1/orgunit/2/lineitems",
        token: "https://auth.brightspace.com/core/connect/token",
        audience: "https://api.brightspace.com/auth/token",
    },
    Lms {
        name: "blackboard",
        outcomes: "https://learn.example.edu/webapps/gradebook/lti11grade",
        sourcedid: r#""bbgc7gi3""#,
        tool_family: "blackboard",
        lineitem: "https://learn.example.edu/learn/api/v1/lti/courses/_3_1/lineItems/_5_1",
        lineitems: "https://learn.example.edu/learn/api/v1/lti/courses/_3_1/lineItems",
        token: "https://developer.blackboard.com/api/v1/gateway/oauth2/jwttoken",
        audience: "https://developer.blackboard.com/api/v1/gateway/oauth2/jwttoken",
    },
];

const TOP: &str = r#""session_id":"session-1","activity_id":"activity-1","activity_name":"Week 1","score":8.5,"max_score":10,"comment":"well done","occurred_at":"2027-01-15T07:30:00Z","started_at":"2027-01-15T07:00:00Z","submitted_at":"2027-01-15T07:29:00Z""#;

/// The events, by what they ask for.
fn events(lms: &Lms) -> Vec<(String, String)> {
    let Lms { outcomes, sourcedid, tool_family, lineitem, lineitems, .. } = lms;
    let lti11 = format!(
        r#""lis_outcome_service_url":"{outcomes}","lis_result_sourcedid":{sourcedid},"oauth_consumer_key":"our-key","tool_family":"{tool_family}""#
    );
    let ags = |column: &str| {
        format!(r#""lti_version":"1.3","client_id":"our-client","user_id":"user-7","deployment_id":"1",{column}"#)
    };
    let known = ags(&format!(r#""lineitem":"{lineitem}""#));
    let sought = ags(&format!(r#""lineitems":"{lineitems}","resource_link_id":"link+1","tag":"t""#));
    let event = |top: &str, lis_data: &str| format!(r#"{{{top},"lis_data":{{{lis_data}}}}}"#);
    let delete = r#""session_id":"session-1","occurred_at":"2027-01-15T07:30:00Z","operation":"delete""#;
    let started = r#""session_id":"session-1","occurred_at":"2027-01-15T07:00:00Z","activity_progress":"Started","grading_progress":"NotReady""#;
    [
        ("LTI 1.1, a grade", event(TOP, &lti11)),
        ("LTI 1.1, a grade cleared", event(delete, &lti11)),
        ("AGS, a score in a known column", event(TOP, &known)),
        ("AGS, a score in a column that has to be made", event(TOP, &sought)),
        ("AGS, a change of state", event(started, &known)),
        ("AGS, a grade cleared", event(delete, &known)),
    ]
    .map(|(name, event)| (name.to_owned(), event))
    .to_vec()
}

const DELEGATED: &str = r#""lti_version":"1.3","grade_passback_url":"https://client.example.edu/grade_passback","oauth_consumer_key":"our-key","lineitems":"https://lms.example.edu/3/lineitems","client_id":"client","user_id":"user-7","weight":1.50"#;

fn exchange(json: &str, lms: Option<&Lms>) -> Exchange {
    let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(json);
    let credentials = match (&event.destination, lms) {
        (Destination::Ags(_), Some(lms)) => Credentials::Platform {
            registration: Registration {
                name: Some(lms.name.to_owned()),
                client_id: "our-client".to_owned(),
                token_url: ServiceUrl::parse(lms.token).expect("a URL"),
                token_audience: lms.audience.to_owned(),
                deployment_id: Some("1".to_owned()),
                ignored_claims: Vec::new(),
            },
            key: Arc::new(SigningKey::new("2026-11", PEM)),
        },
        _ => Credentials::Shared(SharedSecret::new("secret")),
    };
    let occurred_at = event.occurred_at.unwrap_or(NOW);
    Exchange::new(&event, credentials, Standing::first(occurred_at)).expect("an exchange")
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

/// All requests of a delivery, as text.
fn requests(mut exchange: Exchange, lms: Option<&Lms>) -> String {
    let mut text = String::new();
    for turn in 0_u128.. {
        match exchange.poll(NOW, 0x5eed_0000_0000_0000 + turn) {
            Step::Send(request) => {
                write(&mut text, &request);
                let made = lms.map_or_else(String::new, |lms| format!(r#"{{"id":"{}"}}"#, lms.lineitem));
                let answer = match (request.method, request.url.as_url().as_str().contains("ineitems")) {
                    (Method::Get, _) => reply(200, "[]"),
                    (Method::Post, _) if String::from_utf8_lossy(&request.body).starts_with("<?xml") => {
                        reply(200, "<imsx_codeMajor>success</imsx_codeMajor>")
                    }
                    (Method::Post, _) if String::from_utf8_lossy(&request.body).contains("\"label\"") => {
                        reply(201, &made)
                    }
                    (Method::Post, _) => reply(200, ""),
                };
                exchange.handle_reply(&Ok(answer), NOW);
            }
            Step::Token(request, _) => {
                write(&mut text, &request.assertion_request(NOW, 0x5eed).expect("an assertion"));
                let grant = reply(200, r#"{"access_token":"the-access-token","expires_in":3600}"#);
                exchange.handle_token(access_token::read(&Ok(grant), NOW));
            }
            Step::RecallColumn { .. } => exchange.handle_column(None),
            Step::RememberColumn { .. } => exchange.handle_remembered(),
            Step::Done(verdict) => {
                writeln!(text, "-> {:?}\n", verdict.finding).expect("a string takes all");
                return text;
            }
        }
    }
    unreachable!("a delivery ends")
}

/// A request as it goes over the wire. A client assertion is shown by its parts as well: nobody reads base64.
fn write(text: &mut String, request: &Request) {
    let method = if request.method == Method::Get { "GET" } else { "POST" };
    let body = String::from_utf8_lossy(&request.body);
    writeln!(text, "{method} {}", request.url.as_url()).expect("a string takes all");
    for (name, value) in &request.headers {
        writeln!(text, "{name}: {value}").expect("a string takes all");
    }
    if !body.is_empty() {
        writeln!(text, "\n{body}").expect("a string takes all");
    }
    if let Some((_, assertion)) = body.split_once("client_assertion=") {
        for part in assertion.split('.').take(2) {
            let json = URL_SAFE_NO_PAD.decode(part).expect("base64 of an assertion");
            writeln!(text, "# {}", String::from_utf8_lossy(&json)).expect("a string takes all");
        }
    }
    text.push('\n');
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/requests").join(format!("{name}.txt"));
    if env::var_os("PASSBACK_GOLDEN_REQUESTS").is_some() {
        fs::write(&path, text).expect("a golden file");
    }
    let golden = fs::read_to_string(&path).expect("a golden file");
    for (number, (found, wanted)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(found, wanted, "{name}, line {}", number + 1);
    }
    assert_eq!(text.len(), golden.len(), "{name}");
}

#[test]
fn each_delivery_to_each_platform_is_golden() {
    for lms in &PLATFORMS {
        let mut text = String::new();
        for (name, event) in events(lms) {
            writeln!(text, "## {name}\n").expect("a string takes all");
            text.push_str(&requests(exchange(&event, Some(lms)), Some(lms)));
        }
        check(lms.name, &text);
    }
    let mut text = String::new();
    for (name, top) in [
        ("delegated, a grade", r#""session_id":"session-1","score":8.50,"max_score":10"#),
        ("delegated, a grade cleared", r#""session_id":"session-1","operation":"delete""#),
    ] {
        writeln!(text, "## {name}\n").expect("a string takes all");
        text.push_str(&requests(exchange(&format!(r#"{{{top},"lis_data":{{{DELEGATED}}}}}"#), None), None));
    }
    check("delegated", &text);
}
