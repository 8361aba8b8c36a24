//! Secrets stay in: after a full run with failures, no log line, answer, metric or store file holds one.

use std::{collections::BTreeMap, fs, path::Path};

use passback::simulator::{Client, Fault, FaultKind, Jwks, Route};
use serde_json::{Value, json};

use super::{
    delivery::{lms, lti11, settings},
    worker::{Worker, wait_for},
};

/// What must be seen nowhere.
const LTI_SECRET: &str = "sesame-open-1";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_token_signature_or_key_is_seen_anywhere() {
    let lms = lms().await;
    let key = format!("{}/tests/vectors/signing_key.pem", env!("CARGO_MANIFEST_DIR"));
    let mut worker = Worker::new(&settings(&lms, &key));
    worker.start().await;
    lms.add_client(Client::new("tool-1", Jwks::Url(worker.url("/.well-known/jwks.json")))).expect("a client");
    let ids = worker.submit(&events(&lms)).await;
    for id in &ids {
        worker.job_in(id, "delivered").await;
    }
    lms.set_fault(Route::Lti11, Fault::status(500)).expect("a fault");
    lms.set_fault(Route::Scores, Fault::always(FaultKind::Html)).expect("a fault");
    lms.set_fault(Route::Delegated, Fault::status(401)).expect("a fault");
    let mut failing = events(&lms);
    for event in failing.as_array_mut().expect("events") {
        event["score"] = 9.into();
    }
    let failed = worker.submit(&failing).await;
    for id in &failed {
        wait_for("an attempt that failed", async || {
            let job = worker.get(&format!("/api/v1/jobs/{id}")).await;
            job["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()).then_some(())
        })
        .await;
    }
    let mut seen = BTreeMap::new();
    for path in ["/api/v1/jobs", "/api/v1/stats", "/api/v1/platforms", "/metrics", "/.well-known/jwks.json", "/readyz"]
    {
        seen.insert(path.to_owned(), read(&worker, path).await.into_bytes());
    }
    for id in ids.iter().chain(&failed) {
        let path = format!("/api/v1/jobs/{id}");
        seen.insert(path.clone(), read(&worker, &path).await.into_bytes());
    }
    let operator = worker.token();
    assert_eq!(worker.stop().await, Some(0));
    seen.insert("log".to_owned(), worker.log().into_bytes());
    collect(&worker.folder().join("store"), &mut seen);
    let pem = fs::read_to_string(&key).expect("the key");
    let middle: String = pem.lines().skip(2).take(1).collect();
    for (place, bytes) in &seen {
        for (what, needle) in [
            ("the LTI secret", LTI_SECRET),
            ("the operator's token", operator.as_str()),
            ("the private key", middle.as_str()),
            ("a private key", "PRIVATE KEY"),
            ("an OAuth signature", "oauth_signature"),
            ("a bearer token", "Bearer "),
            ("a client assertion", "eyJ"),
            ("a Basic header", "Basic "),
        ] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{what} stands in {place}");
        }
    }
    assert!(seen.len() > 10 && seen.values().all(|bytes| !bytes.is_empty()), "there was something to look at");
}

async fn read(worker: &Worker, path: &str) -> String {
    let request = super::worker::client().get(worker.url(path)).bearer_auth(worker.token());
    request.send().await.expect("an answer").text().await.expect("a text")
}

fn events(lms: &passback::simulator::SimulatedLms) -> Value {
    let ags = json!({"session_id": "s-ags", "score": 8, "max_score": 10, "lis_data": {
        "lti_version": "1.3", "client_id": "tool-1", "user_id": "u", "lineitem": lms.lineitem_url("c", "1")}});
    let delegated = json!({"session_id": "s-delegated", "score": 8, "max_score": 10, "lis_data": {
        "lti_version": "1.3", "grade_passback_url": lms.delegated_url(), "oauth_consumer_key": "key-1", "user_id": "u"}});
    json!([lti11(lms, "ann", 8), ags, delegated])
}

/// The files of the store, but the operator's token, which is there on purpose and readable by its owner alone.
fn collect(folder: &Path, seen: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the store").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            collect(&entry, seen);
        } else if entry.ends_with("operator.token") {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&entry).expect("its mode").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "the operator's token is for its owner alone");
        } else {
            let bytes = fs::read(&entry).expect("readable");
            if !bytes.is_empty() {
                seen.insert(entry.display().to_string(), bytes);
            }
        }
    }
}
