//! Text of others on its way through the whole program: out to platforms, into logs, answers, metrics, and onto terminals.
//! None of it adds a header, forges a line, steers a terminal, or shows a secret.

use std::{
    collections::BTreeSet,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use passback::domain::event::{Door, GradeEvent};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::service::worker::{LOCAL, Worker, client, wait_for};

/// What an event can hold in a text: everything that XML can carry. Line breaks, C1 controls, DEL, turned writing.
const NASTY: &str =
    "x\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\u{9b}31m\u{85}\u{7f}\u{2028}\u{202e}\"'><&%0d%0aX-Evil2:1";

/// What a platform can answer: everything.
const WORDS: &str =
    "no\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}\n\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2028}\u{0}";

/// A platform that refuses everything with [`WORDS`] and what it is told to add, and remembers what it was sent.
struct Platform {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Platform {
    async fn start(echo: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let words = format!("{WORDS} {echo}");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while !is_whole(&bytes) {
                    let mut piece = [0; 4096];
                    match stream.read(&mut piece).await {
                        Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let is_token = text.starts_with("POST /token");
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                let grant = json!({"access_token": "t0ken", "expires_in": 3600}).to_string();
                let (status, body) = if is_token { (200, grant.as_str()) } else { (400, words.as_str()) };
                let reply = format!(
                    "HTTP/1.1 {status} No\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        Self { url, heads, _tasks: tasks }
    }
}

/// Whether a request is there to the end of its body.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lengths =
        head.lines().filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= lengths.max().unwrap_or(0)
}

fn settings(platform: &Platform) -> String {
    let key = format!("{}/tests/vectors/signing_key.pem", env!("CARGO_MANIFEST_DIR"));
    format!(
        "{LOCAL}[retry]\npermanent = \"flag\"\n[lti]\nallow_unregistered = true\n\
         [[lti_keys]]\nkey = {key_name}\nsecret = \"sesame-open-1\"\n\
         [[lti_keys]]\nkey = \"another\"\nsecret = \"somebody-elses-secret\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = {{ file = \"{key}\" }}\n\
         [[platforms]]\nname = \"campus\"\norigin = \"{}\"\n",
        platform.url,
        key_name = json!(NASTY).to_string().replace('\u{7f}', "\\u007f"),
    )
}

/// Three deliveries with [`NASTY`] in every text.
fn events(platform: &Platform) -> Value {
    let (url, nasty) = (&platform.url, NASTY);
    let event = |lis_data: Value| {
        json!({
            "session_id": nasty, "user_id": nasty, "activity_id": nasty, "activity_name": nasty, "comment": nasty,
            "score": 8, "max_score": 10, nasty: nasty, "lis_data": lis_data,
        })
    };
    json!([
        event(json!({
            "lis_outcome_service_url": format!("{url}/outcomes?{nasty}"), "lis_result_sourcedid": nasty,
            "oauth_consumer_key": nasty, "tool_family": "canvas",
        })),
        event(json!({
            "lti_version": "1.3", "grade_passback_url": format!("{url}/{nasty}"),
            "oauth_consumer_key": "another", nasty: nasty,
        })),
        event(json!({
            "lti_version": "1.3", "client_id": nasty, "user_id": nasty, "lineitems": format!("{url}/items#{nasty}"),
            "resource_id": nasty, "tag": nasty, "label": nasty, "resource_link_id": nasty,
            "token_url": format!("{url}/token?{nasty}"), "token_aud": nasty, "issuer": nasty, "deployment_id": nasty,
        })),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_an_event_or_an_answer_forges_a_header_a_line_or_a_colour() {
    let platform = Platform::start("").await;
    let worker = Worker::started(&settings(&platform)).await;
    let ids = worker.submit(&events(&platform)).await;
    for id in &ids {
        worker.job_in(id, "flagged").await;
    }
    check_requests(&platform.heads.lock().unwrap_or_else(PoisonError::into_inner));
    // The log: one JSON object a line, none of them forged, nothing that steers.
    for line in worker.log().lines() {
        let line_json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_ne!(line_json["message"], "forged");
        check_text("the log", line);
    }
    let (_, metrics) = worker.get_open("/metrics").await;
    check_text("the metrics", &metrics);
    assert!(
        metrics
            .lines()
            .all(|line| line.starts_with("passback_") || line.starts_with("process_") || line.starts_with("# "))
    );
    let operator = worker.token();
    let url = worker.url("");
    let mut commands: Vec<Vec<&str>> = vec![vec!["failures", "list"], vec!["jobs", "list"], vec!["stats"]];
    commands.extend(ids.iter().map(|id| vec!["jobs", "show", id.as_str()]));
    for command in commands {
        for json in [false, true] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
            program.args(&command).args(["--url", &url, "--token", &operator]);
            let output = if json { program.arg("--json").output() } else { program.output() }.expect("it runs");
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            check_text(&format!("{command:?} json: {json}"), &String::from_utf8(output.stdout).expect("UTF-8"));
        }
    }
}

/// Every request is one, with the headers that we write and no other.
fn check_requests(requests: &[String]) {
    let known = ["accept", "authorization", "content-length", "content-type", "host", "user-agent"];
    let mut lines = BTreeSet::new();
    for request in requests {
        let head = request.split("\r\n\r\n").next().unwrap_or_default();
        let mut head = head.split("\r\n");
        let first = head.next().unwrap_or_default();
        assert!(first.ends_with(" HTTP/1.1") && first.split(' ').count() == 3, "{first}");
        lines.insert(first.split(['?', ' ']).nth(1).unwrap_or_default().to_owned());
        for line in head {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line} is no header"));
            assert!(known.contains(&name.to_ascii_lowercase().as_str()), "{line}");
            assert!(value.chars().all(|letter| (' '..='~').contains(&letter)), "{line}");
        }
    }
    assert!(lines.contains("/outcomes") && lines.contains("/token") && lines.contains("/items"), "{lines:?}");
}

/// Nothing that a terminal obeys but line breaks.
#[track_caller]
fn check_text(what: &str, text: &str) {
    let turns = |letter: char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let found = text.chars().find(|letter| turns(*letter) || (letter.is_control() && *letter != '\n'));
    assert_eq!(found, None, "{what}: {text:?}");
}

/// A platform that shows another one's secret, or one of our own tokens, is not quoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_in_a_platforms_words_is_hidden() {
    let config = "[[tokens]]\nname = \"ops\"\ntoken = \"operator-token-1\"\nrole = \"operator\"\n";
    let echo = "somebody-elses-secret and operator-token-1, sesame-open-1";
    let platform = Platform::start(echo).await;
    let worker = Worker::started(&format!("{}{config}", settings(&platform))).await;
    let operator = |request: reqwest::RequestBuilder| request.bearer_auth("operator-token-1");
    let post = operator(client().post(worker.url("/v1/events"))).json(&events(&platform));
    assert_eq!(post.send().await.expect("an answer").status(), 202);
    let list = client().get(worker.url("/api/v1/jobs?state=flagged"));
    let jobs = wait_for("three flagged jobs", async || {
        let list = operator(list.try_clone()?).send().await.ok()?.text().await.ok()?;
        (list.matches("\"flagged\"").count() == 3).then_some(list)
    })
    .await;
    assert!(jobs.contains("[hidden] and [hidden], [hidden]"), "{jobs}");
    let log = worker.log();
    for secret in ["somebody-elses-secret", "operator-token-1", "sesame-open-1"] {
        assert!(!jobs.contains(secret) && !log.contains(secret), "{secret} is shown");
    }
}

/// A member that stands twice is named by whoever sent it: in logs, problem documents, and headers of the dead-letter queue.
#[test]
fn a_field_that_its_sender_named_steers_nobody() {
    let name = format!("{NASTY}{}", "y".repeat(1_000));
    let member = json!(name).to_string();
    let event = format!("{{{member}: 1, {member}: 2}}");
    let refused = GradeEvent::parse(event.as_bytes(), Door::Event).expect_err("it stands twice");
    check_text("the field", &refused.field.replace('\n', "\r"));
    check_text("the detail", &refused.detail.replace('\n', "\r"));
    assert!(refused.detail.starts_with(&refused.field) && refused.field.len() < 500, "{}", refused.detail);
    assert!(refused.field.starts_with("x\\u{d}\\u{a}X-Evil"), "{}", refused.field);
}

/// `HTTP_PROXY` and its kin would send grades and signatures through whoever set them.
#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_is_taken_from_the_environment() {
    let platform = Platform::start("").await;
    let mut worker = Worker::new(&settings(&platform));
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        program.env(name, "http://127.0.0.1:9");
    }
    worker.start_by(program).await;
    let ids = worker.submit(&events(&platform)).await;
    for id in &ids {
        let job = worker.job_in(id, "flagged").await;
        assert_ne!(job["reason"], "connection", "it was called through the proxy: {job}");
    }
    assert!(platform.heads.lock().unwrap_or_else(PoisonError::into_inner).len() >= 3);
}
