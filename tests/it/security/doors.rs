//! Who may call what, how large it may be, and what a browser is told: every call of the interface, taken from the list
//! that the router itself is made of.

use passback::{
    config::tokens::{Right, Role},
    surfaces::admin,
};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::service::worker::{LOCAL, Worker, client};

const TOKENS: &str = "[[tokens]]\nname = \"in\"\ntoken = \"producer-token-1\"\nrole = \"producer\"\n\
                      [[tokens]]\nname = \"eyes\"\ntoken = \"viewer-token-1\"\nrole = \"viewer\"\n\
                      [[tokens]]\nname = \"ops\"\ntoken = \"operator-token-1\"\nrole = \"operator\"\n\
                      [[lti_keys]]\nkey = \"key-1\"\nsecret = \"sesame-open-1\"\n";

/// A call with its path filled in, and what it needs.
type Call = (Method, String, Option<Right>);

/// Every call there is.
fn calls() -> Vec<Call> {
    let listed = admin::calls().into_iter().map(|call| {
        let path = call.path.replace("{id}", "01JD8Y3K5V7Q2W9XZB4N6M8P0R").replace("{name}", "nobody");
        assert!(!path.contains('{'), "{path}: fill it in");
        (call.method.parse().expect("a method"), path, call.needs)
    });
    listed.chain([(Method::POST, "/v1/events".to_owned(), Some(Right::Produce))]).collect()
}

async fn call(worker: &Worker, (method, path, _): &Call, token: Option<&str>) -> Response {
    let request = client().request(method.clone(), worker.url(path)).header("content-type", "application/json");
    let request = if *method == Method::POST { request.body(r#"{"filter": {}}"#) } else { request };
    let request = match token {
        Some(token) => request.header("authorization", token),
        None => request,
    };
    request.send().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_closed_to_everybody_but_those_who_may() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let roles = [
        (Role::Producer, "Bearer producer-token-1"),
        (Role::Viewer, "Bearer viewer-token-1"),
        (Role::Operator, "Bearer operator-token-1"),
    ];
    let mut checked = 0;
    for each in calls() {
        let (method, path, needs) = &each;
        let Some(right) = needs else {
            let status = call(&worker, &each, None).await.status();
            assert_eq!(status, 200, "{method} {path} needs no token");
            continue;
        };
        for wrong in [None, Some("Bearer wrong"), Some("Basic a2V5LTE6c2VzYW1lLW9wZW4tMQ=="), Some("operator-token-1")]
        {
            let answer = call(&worker, &each, wrong).await;
            assert_eq!(answer.status(), 401, "{method} {path} with {wrong:?}");
            assert!(answer.headers()["www-authenticate"].as_bytes().starts_with(b"Bearer"));
        }
        for (role, token) in roles {
            let status = call(&worker, &each, Some(token)).await.status();
            let may = !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            assert_eq!(may, role.may(*right), "{role:?}: {method} {path} is {status}");
            assert!(!status.is_server_error(), "{role:?}: {method} {path} is {status}");
            checked += 1;
        }
    }
    assert!(checked >= 30, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_a_browser_to_keep_its_hands_off() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let wrong_paths = [(Method::GET, "/nowhere".to_owned(), None), (Method::PUT, "/api/v1/jobs".to_owned(), None)];
    for each in calls().into_iter().chain(wrong_paths) {
        for token in [None, Some("Bearer operator-token-1")] {
            let answer = call(&worker, &each, token).await;
            let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
            let (method, path, _) = &each;
            assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{method} {path}");
            let kept = if path == "/.well-known/jwks.json" { "public, max-age=300" } else { "no-store" };
            assert_eq!(header("cache-control").as_deref(), Some(kept), "{method} {path}");
            let policy = header("content-security-policy").unwrap_or_default();
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
            let kind = header("content-type").unwrap_or_default();
            assert!(!kind.is_empty() && !kind.contains("html"), "{method} {path} is {kind}");
            for name in ["access-control-allow-origin", "access-control-allow-credentials", "set-cookie", "server"] {
                assert_eq!(header(name), None, "{method} {path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_can_do_nothing_with_what_a_browser_remembers() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let passback = |site: Option<&'static str>, kind: &'static str| {
        let request = client().post(worker.url("/lti/grade_passback")).basic_auth("key-1", Some("sesame-open-1"));
        let request = request.header("content-type", kind).header("origin", "https://evil.example").body("{}");
        let request = match site {
            Some(site) => request.header("sec-fetch-site", site),
            None => request,
        };
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    for kind in ["text/plain", "application/json", "application/x-www-form-urlencoded"] {
        assert_eq!(passback(Some("cross-site"), kind).await, 403, "{kind}");
        assert_eq!(passback(Some("same-site"), kind).await, 403, "{kind}");
        assert_eq!(passback(None, kind).await, 422, "a program says nothing of sites: {kind}");
    }
    let preflight = client().request(Method::OPTIONS, worker.url("/api/v1/replay"));
    let preflight = preflight.header("origin", "https://evil.example").header("access-control-request-method", "POST");
    let answer = preflight.send().await.expect("an answer");
    assert!(!answer.status().is_success() && !answer.headers().contains_key("access-control-allow-origin"));
    // What a form can send is no filter, whoever is signed in.
    let form = client().post(worker.url("/api/v1/replay")).bearer_auth("operator-token-1");
    let form = form.header("content-type", "text/plain").body(r#"{"filter": {}}"#);
    assert_eq!(form.send().await.expect("an answer").status(), 415);
}

/// Signed in as the path wants it.
fn signed_in(request: reqwest::RequestBuilder, path: &str) -> reqwest::RequestBuilder {
    if path.starts_with("/lti/") {
        request.basic_auth("key-1", Some("sesame-open-1"))
    } else {
        request.bearer_auth("operator-token-1")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_has_a_largest_size() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let post = async |path: &str, bytes: usize| {
        let request = client().post(worker.url(path)).header("content-type", "application/json");
        let request = signed_in(request, path);
        let body = format!("{{\"x\": \"{}\"}}", "x".repeat(bytes));
        request.body(body).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(post("/lti/grade_passback", 64 * 1024).await, 413);
    assert_eq!(post("/lti/grade_passback", 60 * 1024).await, 422);
    assert_eq!(post("/v1/events", 64 * 1024).await, 413);
    assert_eq!(post("/v1/events", 60 * 1024).await, 422);
    assert_eq!(post("/v1/events", 17 * 1024 * 1024).await, 413);
    assert_eq!(post("/api/v1/replay", 64 * 1024).await, 413);
    assert_eq!(post("/api/v1/replay", 10).await, 400);
    assert_eq!(post("/api/v1/platforms/nobody/pause", 64 * 1024).await, 413);
    assert_eq!(post("/api/v1/platforms/nobody/pause", 10).await, 400);
    // Bodies that nobody asked for are not read.
    assert_eq!(post("/api/v1/jobs/01JD8Y3K5V7Q2W9XZB4N6M8P0R/verify", 1024).await, 404);
}

/// Nested as deeply as fits, at every door: no stack is used up, and what is taken can be shown.
#[tokio::test(flavor = "multi_thread")]
async fn nesting_is_no_way_to_bring_the_worker_down() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let deep = |open: &str, close: &str, levels: usize| format!("{}{}", open.repeat(levels), close.repeat(levels));
    let post = async |path: &str, body: String| {
        let request = client().post(worker.url(path)).header("content-type", "application/json");
        let request = signed_in(request, path);
        request.body(body).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(post("/v1/events", "[".repeat(16 * 1024 * 1024)).await, 422);
    assert_eq!(post("/v1/events", deep("[", "]", 30_000)).await, 422);
    assert_eq!(post("/v1/events", deep("{\"a\":", "}", 9_000)).await, 422);
    assert_eq!(post("/lti/grade_passback", deep("{\"a\":", "}", 9_000)).await, 422);
    let key = format!("{{\"oauth_consumer_key\": {}}}", deep("[", "]", 30_000));
    assert_eq!(post("/lti/grade_passback", key).await, 403, "a key that cannot be read is another one");
    assert_eq!(post("/api/v1/replay", format!("{{\"filter\": {}}}", deep("[", "]", 8_000))).await, 400);
    let lis_data = json!({"lis_outcome_service_url": "http://127.0.0.1:9/o", "lis_result_sourcedid": "x", "oauth_consumer_key": "k"});
    let event = format!(
        r#"{{"session_id": "s", "score": 1, "max_score": 1, "extra": {}, "lis_data": {lis_data}}}"#,
        deep("[", "]", 30_000)
    );
    assert_eq!(post("/v1/events", event).await, 202);
    let jobs = client().get(worker.url("/api/v1/jobs")).bearer_auth("viewer-token-1").send().await.expect("an answer");
    let jobs: serde_json::Value = jobs.json().await.expect("JSON");
    let id = jobs["jobs"][0]["id"].as_str().expect("an id");
    for (command, shown) in [(vec!["jobs", "show", id], "session s"), (vec!["jobs", "show", id, "--json"], "[[[[")] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_passback"))
            .args(command)
            .args(["--url", &worker.url(""), "--token", "viewer-token-1"])
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(shown), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
