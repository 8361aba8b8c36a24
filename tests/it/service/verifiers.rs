//! Our requests, judged by verifiers that are not ours: oauthlib for LTI 1.1, PyJWT for client assertions, Python's own
//! base64 and json for the rest. `verify.py` is a small platform made of them alone.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::worker::{LOCAL, QUICK, Worker};

/// The Python platform.
struct Platform {
    child: Child,
    url: String,
}

impl Platform {
    fn start() -> Self {
        let python = std::env::var("PASSBACK_TEST_PYTHON").unwrap_or_else(|_| "target/verifiers/bin/python".to_owned());
        let script = format!("{}/tests/it/service/verify.py", env!("CARGO_MANIFEST_DIR"));
        let mut child =
            Command::new(&python).arg(script).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("{python} cannot be started ({error}): run tests/run, which installs it")
            });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
        Self { child, url: line.trim().to_owned() }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oauthlib_and_pyjwt_accept_all_three_deliveries() {
    let platform = Platform::start();
    let url = &platform.url;
    let key = format!("{}/tests/vectors/signing_key.pem", env!("CARGO_MANIFEST_DIR"));
    let config = format!(
        "{LOCAL}{QUICK}[[lti_keys]]\nkey = \"consumer key/1\"\nsecret = \"s&cret=ü\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = {{ file = \"{key}\" }}\n\
         [[platforms]]\nname = \"python\"\nclient_id = \"tool-1\"\ndeployment_id = \"7\"\ntoken_url = \"{url}/token\"\n"
    );
    let worker = Worker::started(&config).await;
    let client = super::worker::client();
    let jwks = worker.url("/.well-known/jwks.json");
    client.put(format!("{url}/jwks")).body(jwks).send().await.expect("the platform learns our keys");
    let event = |session: &str, lis_data: Value| json!({"session_id": session, "score": 8, "max_score": 10, "comment": "Well done, Zoë", "lis_data": lis_data});
    let sourcedid = "{\"data\":{\"instanceid\":\"1\"},\"hash\":\"a<b>&'c\"}";
    let ids = worker
        .submit(&json!([
            event(
                "lti11",
                json!({
                    "lis_outcome_service_url": format!("{url}/outcomes?b=2&a=1&a=%C3%BC%20x"),
                    "lis_result_sourcedid": sourcedid, "oauth_consumer_key": "consumer key/1",
                })
            ),
            event(
                "delegated",
                json!({
                    "lti_version": "1.3", "grade_passback_url": format!("{url}/delegated"),
                    "oauth_consumer_key": "consumer key/1", "extra": {"kept": [1, 2.50]},
                })
            ),
            event(
                "ags",
                json!({
                    "lti_version": "1.3", "client_id": "tool-1", "user_id": "user-1", "deployment_id": "7",
                    "lineitem": format!("{url}/lineitem?type_id=1"),
                })
            ),
        ]))
        .await;
    for id in &ids {
        let job = worker.job_in(id, "delivered").await;
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    }
    let seen: Value =
        client.get(format!("{url}/seen")).send().await.expect("an answer").json().await.expect("what it has seen");
    assert_eq!(seen["lti11"], json!({"sourcedid": sourcedid, "score": "0.8"}), "{seen}");
    assert_eq!(seen["delegated"]["data"], json!({"score": 8, "max_score": 10}), "{seen}");
    assert_eq!(seen["delegated"]["extra"], json!({"kept": [1, 2.5]}), "{seen}");
    assert_eq!(seen["ags"]["userId"], "user-1", "{seen}");
    assert_eq!((&seen["ags"]["scoreGiven"], &seen["ags"]["scoreMaximum"]), (&json!(8), &json!(10)), "{seen}");
    assert_eq!(seen["ags"]["comment"], "Well done, Zoë", "{seen}");
}
