//! Who may call what, and the door that Learnosity's customers point their `grade_passback_url` at.

use passback::simulator::{Cell, Client, Fault, FaultKind, Jwks, Route};
use serde_json::{Value, json};

use super::{
    delivery::{lms, lti11, settings, signing_key},
    worker::{LOCAL, QUICK, Worker, client, wait_for},
};

const TOKENS: &str = "[[tokens]]\nname = \"in\"\ntoken = \"producer-token-1\"\nrole = \"producer\"\n\
                      [[tokens]]\nname = \"eyes\"\ntoken = \"viewer-token-1\"\nrole = \"viewer\"\n\
                      [[tokens]]\nname = \"ops\"\ntoken = \"operator-token-1\"\nrole = \"operator\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_nothing_more() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let call = async |method: &str, path: &str, token: Option<&str>| {
        let method = method.parse().expect("a method");
        let request = client().request(method, worker.url(path)).json(&json!({"filter": {}}));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().expect("text").to_owned());
        (answer.status().as_u16(), challenge)
    };
    let reads = ["/api/v1/jobs", "/api/v1/groups", "/api/v1/stats", "/api/v1/platforms"].map(|path| ("GET", path));
    let operations = [("POST", "/api/v1/replay")];
    let events = [("POST", "/v1/events")];
    for (method, path) in reads.into_iter().chain(operations).chain(events) {
        for token in [None, Some("wrong"), Some("")] {
            let (status, challenge) = call(method, path, token).await;
            assert_eq!(status, 401, "{method} {path} with {token:?}");
            assert!(challenge.is_some_and(|challenge| challenge.starts_with("Bearer")), "{method} {path}");
        }
    }
    let may = [
        ("producer-token-1", &reads[..], 403),
        ("producer-token-1", &operations[..], 403),
        ("producer-token-1", &events[..], 422),
        ("viewer-token-1", &reads[..], 200),
        ("viewer-token-1", &operations[..], 403),
        ("viewer-token-1", &events[..], 403),
        ("operator-token-1", &reads[..], 200),
        ("operator-token-1", &operations[..], 200),
        ("operator-token-1", &events[..], 422),
    ];
    for (token, calls, expected) in may {
        for (method, path) in calls {
            assert_eq!(call(method, path, Some(token)).await.0, expected, "{token}: {method} {path}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"] {
        assert_eq!(call("GET", path, None).await.0, 200, "{path} needs no token");
    }
    assert!(!worker.folder().join("store/operator.token").exists(), "with [[tokens]] none is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_states_reasons_and_cursors_are_named() {
    let worker = Worker::started(LOCAL).await;
    for (query, named) in [
        ("colour=red", "colour"),
        ("state=lost", "state"),
        ("platform=nowhere&state=lost", "state"),
        ("reason=tired", "reason"),
        ("delivery=pigeon", "delivery"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
        ("since=yesterday", "since"),
        ("state=queued&state=flagged", "state"),
    ] {
        let problem = worker.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!(
            (&problem["status"], problem["parameter"].as_str()),
            (&json!(400), Some(named)),
            "{query}: {problem}"
        );
    }
    for body in [json!({}), json!({"filter": {"colour": "red"}}), json!({"filter": {}, "dry": true}), json!([])] {
        let (status, problem) = worker.post("/api/v1/replay", &body).await;
        assert_eq!(status, 400, "{body}: {problem}");
    }
    let (status, problem) = worker.post("/api/v1/jobs/01JD8Y3K5V7Q2W9XZB4N6M8P0R/replay", &json!({})).await;
    assert_eq!(status, 404, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn learnositys_own_post_becomes_an_ags_grade() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    lms.add_client(Client::new("tool-1", Jwks::Url(worker.url("/.well-known/jwks.json")))).expect("a client");
    let body = json!({
        "oauth_consumer_key": "key-1", "client_id": "tool-1", "user_id": "ann", "resource_id": "essay",
        "lineitems": lms.lineitems_url("class"), "token_url": "https://evil.example/token",
        "data": {"score": 8, "max_score": 10},
    });
    let post = async |user: &str, secret: &str, body: &Value| {
        let request = client().post(worker.url("/lti/grade_passback")).basic_auth(user, Some(secret)).json(body);
        let answer = request.send().await.expect("an answer");
        let challenge = answer.headers().contains_key("www-authenticate");
        (answer.status().as_u16(), challenge, answer.text().await.expect("a text"))
    };
    assert_eq!(post("key-1", "wrong", &body).await.0, 401);
    let (status, challenge, _) = post("nobody", "sesame-open-1", &body).await;
    assert_eq!((status, challenge), (401, true));
    let mut other = body.clone();
    other["oauth_consumer_key"] = "key-2".into();
    assert_eq!(post("key-1", "sesame-open-1", &other).await.0, 403);
    for member in ["client_id", "data", "lineitems"] {
        let mut broken = body.clone();
        broken.as_object_mut().expect("an object").remove(member);
        let (status, _, problem) = post("key-1", "sesame-open-1", &broken).await;
        assert_eq!(status, 422, "without {member}: {problem}");
    }
    let (status, _, nothing) = post("key-1", "sesame-open-1", &body).await;
    assert_eq!((status, nothing.as_str()), (204, ""));
    let job = wait_for("the grade to be delivered", async || {
        let jobs = worker.get("/api/v1/jobs?state=delivered").await;
        jobs["jobs"].as_array()?.first().cloned()
    })
    .await;
    assert!(job["session_id"].is_null(), "{job}");
    let column = lms.line_items("class").remove(0);
    let grade = lms.grade(&Cell::ags("class", &column, "ann")).expect("a grade");
    assert!((grade.score / grade.maximum - 0.8).abs() < 1e-9);
    let mut unknown = body;
    unknown["client_id"] = "nobody".into();
    assert_eq!(post("key-1", "sesame-open-1", &unknown).await.0, 204);
    wait_for("a flagged job", async || {
        let jobs = worker.get("/api/v1/jobs?reason=unknown_platform").await;
        let error = jobs["jobs"].as_array()?.first()?["last_error"].as_str()?.to_owned();
        error.contains("nobody").then_some(())
    })
    .await;
}

/// SIGTERM: nothing more comes in, what is under way ends, and who watches gets answers to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_attempt_under_way_end() {
    let lms = lms().await;
    lms.set_fault(Route::Lti11, Fault::times(FaultKind::Delay { ms: 1_500 }, 1)).expect("a fault");
    let config = settings(&lms, &signing_key()).replace(QUICK, "");
    let mut worker = Worker::started(&config).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    wait_for("the attempt to be under way", async || {
        let (_, metrics) = worker.get_open("/metrics").await;
        metrics.contains("passback_inflight_attempts 1").then_some(())
    })
    .await;
    worker.signal("TERM");
    wait_for("the door to be shut", async || {
        let request = client().post(worker.url("/v1/events")).bearer_auth(worker.token()).json(&lti11(&lms, "ben", 8));
        (request.send().await.expect("an answer").status().as_u16() == 503).then_some(())
    })
    .await;
    assert_eq!(worker.get_open("/healthz").await.0, 200);
    assert_eq!(worker.get_open("/readyz").await.0, 503);
    assert_eq!(worker.ended().await, Some(0));
    worker.start().await;
    let job = worker.job_in(&id, "delivered").await;
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
}
