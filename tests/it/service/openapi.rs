//! The description of the API against the API: schemathesis makes requests out of `/openapi.json`, good and bad ones,
//! and holds each answer against what stands there.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    delivery::{lms, lti11, settings, signing_key},
    worker::Worker,
};

/// How long it may make requests.
const SECONDS: &str = "20";
/// Of how long it may take in all, with its start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_mismatch() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    let mut unknown = lti11(&lms, "ben", 7);
    unknown["lis_data"]["oauth_consumer_key"] = "nobody".into();
    let ids = worker.submit(&json!([lti11(&lms, "ann", 8), unknown])).await;
    worker.job_in(&ids[0], "delivered").await;
    worker.job_in(&ids[1], "flagged").await;
    assert_eq!(worker.post("/api/v1/platforms/campus/pause", &json!({"note": "why"})).await.0, 200);
    let (status, task) = worker.post("/api/v1/replay", &json!({"filter": {}, "background": true})).await;
    assert_eq!(status, 202, "{task}");

    let python = std::env::var("PASSBACK_TEST_PYTHON").unwrap_or_else(|_| "target/verifiers/bin/python".to_owned());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(&python).with_file_name("schemathesis");
    let config = worker.folder().join("schemathesis.toml");
    let mut text = include_str!("schemathesis.toml").to_owned();
    let task = task["id"].as_str().expect("an id");
    for (path, id) in [("jobs/{id}", &ids[0][..]), ("replays/{id}", task), ("replays/{id}/jobs", task)] {
        let id = format!("parameters = {{ \"path.id\" = \"{id}\" }}");
        text = format!("{text}\n[[operations]]\ninclude-path = \"/api/v1/{path}\"\n{id}\n");
    }
    fs::write(&config, text).expect("a file");
    let mut run = Command::new(&program);
    run.arg("--config-file")
        .arg(&config)
        .args(["run", &worker.url("/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {}", worker.token())])
        .args(["--max-time", SECONDS, "--phases", "examples,coverage,fuzzing", "--seed", "4711"])
        .args(["--continue-on-failure", "--generation-database", "none", "--no-color"])
        .current_dir(worker.folder());
    let running = tokio::task::spawn_blocking(move || run.output());
    let output = tokio::time::timeout(PATIENCE, running).await.expect("it ends in time").expect("it is waited for");
    let output = output.unwrap_or_else(|error| {
        panic!("{} cannot be started ({error}): run tests/run, which installs it", program.display())
    });
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    // With the two doors for events, and without the document itself.
    let calls = passback::surfaces::admin::calls().len() + 2 - 1;
    assert!(report.contains(&format!("Tested: {calls}")), "{report}");
}

/// Each call of the router stands in the document, and nothing else but the two doors for events.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_names_every_call_and_who_may_use_it() {
    let worker = Worker::started(super::worker::LOCAL).await;
    let (status, text) = worker.get_open("/openapi.json").await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let mut said = 0;
    for call in passback::surfaces::admin::calls() {
        let operation = &document["paths"][call.path][call.method.to_lowercase()];
        assert!(operation["summary"].is_string(), "{} {} is not said", call.method, call.path);
        let needs_token = operation["security"] != json!([]);
        assert_eq!(needs_token, call.needs.is_some(), "{} {}", call.method, call.path);
        said += 1;
    }
    let paths = document["paths"].as_object().expect("paths");
    let all: usize = paths.values().map(|methods| methods.as_object().expect("methods").len()).sum();
    assert_eq!(all, said + 2);
    let unnamed = worker.get("/api/v1/stats?colour=red").await;
    assert_eq!((&unnamed["status"], &unnamed["parameter"]), (&json!(400), &json!("colour")), "{unnamed}");
}
