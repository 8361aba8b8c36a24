//! Sign-ins that fail: told in the log, slow, and never with what was tried; and the comparisons that decide, which take
//! the same time whatever is presented.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::service::worker::{LOCAL, Worker, client, wait_for};

const KEYS: &str = "[[tokens]]\nname = \"ops\"\ntoken = \"operator-token-1\"\nrole = \"operator\"\n\
                    [[lti_keys]]\nkey = \"key-1\"\nsecret = \"sesame-open-1\"\nhosts = [\"lms.example.edu\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_sign_in_is_told_without_what_was_tried() {
    let worker = Worker::started(&format!("{LOCAL}{KEYS}")).await;
    let begin = Instant::now();
    for guess in 0..8 {
        let request = client().get(worker.url("/api/v1/jobs")).bearer_auth(format!("hunter2-{guess}"));
        assert_eq!(request.send().await.expect("an answer").status(), 401);
        let request = client().post(worker.url("/lti/grade_passback")).basic_auth("hunter2", Some("hunter2-secret"));
        assert_eq!(request.body("{}").send().await.expect("an answer").status(), 401);
    }
    let took = begin.elapsed();
    assert!(took >= 16 * Duration::from_millis(250), "guessing is slow");
    // Who brings nothing is no guesser.
    assert_eq!(worker.get_open("/api/v1/jobs").await.0, 401);
    let log = worker.log();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "sign-in refused")
        .collect();
    let ways: Vec<&str> = lines.iter().filter_map(|line| line["way"].as_str()).collect();
    assert!(ways.contains(&"token") && ways.contains(&"lti_key"), "{log}");
    let most = 2 * (1 + usize::try_from(took.as_secs() / 10).expect("a few"));
    assert!(lines.len() <= most, "a storm of guesses is one line in ten seconds: {log}");
    assert!(lines.iter().all(|line| line["peer"] == "127.0.0.1" && line["level"] == "WARN"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_hosts_sends_no_grade_elsewhere_at_its_own_door() {
    let worker = Worker::started(&format!("{LOCAL}{KEYS}")).await;
    let post = async |member: &str, url: &str| {
        let body = json!({"client_id": "tool-1", "user_id": "ann", "resource_id": "r", member: url, "data": {"score": 1, "max_score": 1}});
        let request = client().post(worker.url("/lti/grade_passback")).basic_auth("key-1", Some("sesame-open-1"));
        let answer = request.json(&body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    for member in ["lineitem", "lineitems"] {
        let (status, problem) = post(member, "https://evil.example/1").await;
        assert!(status == 403 && problem.contains("hosts"), "{problem}");
        assert_eq!(post(member, "https://lms.example.edu/1").await.0, 204);
    }
    let jobs = client().get(worker.url("/api/v1/stats")).bearer_auth("operator-token-1");
    wait_for("two jobs, flagged because nobody registered the client", async || {
        let stats: Value = jobs.try_clone()?.send().await.ok()?.json().await.ok()?;
        (stats["jobs"]["flagged"] == 2).then_some(())
    })
    .await;
}

/// A body is room in memory, so nobody's is read before it is known who sends it.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_waited_for_before_its_sender_has_signed_in() {
    let worker = Worker::started(&format!("{LOCAL}{KEYS}")).await;
    let url = url::Url::parse(&worker.url("")).expect("a URL");
    let address = url.socket_addrs(|| None).expect("an address");
    for (path, sign_in) in [
        ("/v1/events", ""),
        ("/v1/events", "Authorization: Bearer wrong\r\n"),
        ("/api/v1/replay", "Authorization: Bearer wrong\r\n"),
        ("/lti/grade_passback", ""),
        ("/lti/grade_passback", "Authorization: Basic a2V5LTE6d3Jvbmc=\r\n"),
    ] {
        let mut stream = TcpStream::connect(&*address).await.expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n{sign_in}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("it is written");
        let mut answer = [0; 512];
        // Far less than the minute that a body may take.
        let read = timeout(Duration::from_secs(20), stream.read(&mut answer)).await.expect("an answer at once");
        let answer = String::from_utf8_lossy(&answer[..read.expect("a connection")]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
}

/// What reads a secret out of its wrapping, and so could compare it.
const EXPOSING: [&str; 4] = [".expose()", ".expose_secret()", ".expose_pem()", "authorization()"];

/// Lines that compare an exposed secret on purpose, with the reason.
const KNOWN: [(&str, &str); 2] = [
    // Two settings of one file, compared when it is loaded: nobody outside can present either.
    ("src/config/tokens.rs", "other.token.expose() == token.token.expose()"),
    // The scheme of a URL that the person at the command line has typed.
    ("src/surfaces/cli/submit.rs", "[\"amqp://\", \"amqps://\"]"),
];

#[test]
fn no_secret_is_compared_letter_by_letter() {
    let mut found = Vec::new();
    let mut exposed = 0;
    each_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |name, code| {
        for line in code.lines() {
            let Some(_) = EXPOSING.iter().find(|call| line.contains(*call)) else { continue };
            exposed += 1;
            let compares =
                [" == ", " != ", ".eq(", "assert_eq!", "starts_with("].iter().any(|sign| line.contains(sign));
            if compares && !KNOWN.iter().any(|(file, text)| name.ends_with(file) && line.contains(text)) {
                found.push(format!("{name}: {}", line.trim()));
            }
        }
    });
    assert!(found.is_empty(), "compare these in constant time (subtle):\n{}", found.join("\n"));
    assert!(exposed >= 10, "the test still sees where secrets are read: {exposed}");
    let access =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/access.rs")).expect("a file");
    let code = access.split("#[cfg(test)]").next().unwrap_or_default();
    assert!(code.matches("ct_eq(").count() >= 4 && !code.contains(" == "), "the one door compares digests with subtle");
}

/// Calls `look` with each source but those of the simulated LMS, which holds nobody's secrets, and without the tests in it.
fn each_source(folder: &Path, look: &mut impl FnMut(&str, &str)) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            if !entry.ends_with("simulator") {
                each_source(&entry, look);
            }
        } else {
            let text = fs::read_to_string(&entry).expect("readable");
            look(&entry.display().to_string(), text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        }
    }
}
