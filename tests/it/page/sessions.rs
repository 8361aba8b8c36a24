//! Signing in to the page: what the cookie is, what it opens, and what it opens to nobody but the page itself.

use std::{fs, time::Duration};

use passback::{config::tokens::Right, surfaces::admin};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::service::worker::{LOCAL, Worker, client, wait_for};

pub(super) const TOKENS: &str = "[[tokens]]\nname = \"in\"\ntoken = \"producer-token-1\"\nrole = \"producer\"\n\
                                 [[tokens]]\nname = \"eyes\"\ntoken = \"viewer-token-1\"\nrole = \"viewer\"\n\
                                 [[tokens]]\nname = \"ops\"\ntoken = \"operator-token-1\"\nrole = \"operator\"\n";

/// As the page sends it.
fn from_the_page(request: RequestBuilder, worker: &Worker) -> RequestBuilder {
    request.header("x-passback", "1").header("origin", worker.url(""))
}

async fn sign_in(worker: &Worker, token: &str) -> Response {
    let request = client().post(worker.url("/session")).json(&json!({"token": token}));
    from_the_page(request, worker).send().await.expect("an answer")
}

/// Signs in, and gives back the cookie as a browser sends it.
async fn cookie(worker: &Worker, token: &str) -> String {
    let answer = sign_in(worker, token).await;
    assert_eq!(answer.status(), 200);
    let given = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    given.split(';').next().expect("a pair").to_owned()
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stands_for_its_token_until_either_ends() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let answer = sign_in(&worker, " operator-token-1\n").await;
    let given = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
        assert!(given.contains(part), "{given}");
    }
    assert!(!given.contains("operator-token-1") && !given.contains("Secure"), "{given}");
    let who: Value = answer.json().await.expect("JSON");
    assert_eq!(who, json!({"name": "ops", "role": "operator"}));
    let (mine, other) = (cookie(&worker, "operator-token-1").await, cookie(&worker, "viewer-token-1").await);
    let get = |path: &str, cookie: &str| client().get(worker.url(path)).header("cookie", cookie);
    for path in ["/session", "/api/v1/stats", "/api/v1/jobs", "/api/v1/platforms", "/api/v1/recent"] {
        assert_eq!(status(get(path, &mine)).await, 200, "{path}");
        assert_eq!(status(get(path, "passback_session=0")).await, 401, "{path}");
    }
    let leave = client().delete(worker.url("/session")).header("cookie", &mine);
    let answer = from_the_page(leave, &worker).send().await.expect("an answer");
    assert!(answer.status() == 204 && answer.headers()["set-cookie"].to_str().expect("text").contains("Max-Age=0"));
    assert_eq!(status(get("/session", &mine)).await, 401);
    // A token that is taken away takes its sessions with it.
    assert_eq!(status(get("/session", &other)).await, 200);
    let text = fs::read_to_string(worker.config_path()).expect("a configuration");
    fs::write(worker.config_path(), text.replace("viewer-token-1", "viewer-token-2")).expect("it is written");
    worker.signal("HUP");
    wait_for("the session to end", async || (status(get("/session", &other)).await == 401).then_some(())).await;
    assert_eq!(status(get("/api/v1/jobs", &other)).await, 401);
}

/// A browser sends on and on what a proxy before the page has asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_holds_behind_a_proxy_with_a_password_of_its_own() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let mine = cookie(&worker, "operator-token-1").await;
    let ask = |cookie: &str, authorization: &str| {
        let request = client().get(worker.url("/api/v1/stats")).header("cookie", cookie);
        status(request.header("authorization", authorization))
    };
    let basic = "Basic b3BzOnMzY3JldA==";
    assert_eq!(ask(&mine, basic).await, 200);
    assert_eq!(ask("passback_session=0", basic).await, 401);
    assert_eq!(ask("theme=dark", basic).await, 401);
    // A token that is sent beside the cookie is what counts.
    assert_eq!(ask(&mine, "Bearer wrong").await, 401);
    assert_eq!(ask("passback_session=0", "bearer viewer-token-1").await, 200);
    let change = client().post(worker.url("/api/v1/reload")).header("cookie", &mine).header("authorization", basic);
    assert_eq!(status(change.try_clone().expect("no stream")).await, 403);
    assert_eq!(status(from_the_page(change, &worker)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_changes_nothing_but_from_the_page_itself() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let (operator, viewer) = (cookie(&worker, "operator-token-1").await, cookie(&worker, "viewer-token-1").await);
    let ours = worker.url("");
    let mut checked = 0;
    for call in admin::calls().into_iter().filter(|call| call.method != "GET") {
        let path = call.path.replace("{id}", "01JD8Y3K5V7Q2W9XZB4N6M8P0R").replace("{name}", "nobody");
        let send = |cookie: &str, headers: &[(&str, &str)]| {
            let method: Method = call.method.parse().expect("a method");
            let request = client().request(method, worker.url(&path)).header("cookie", cookie);
            let request = request.header("content-type", "application/json").body(r#"{"filter": {}, "dry_run": true}"#);
            status(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
        };
        let others = [
            &[][..],
            &[("x-passback", "1")],
            &[("origin", ours.as_str())],
            &[("x-passback", "1"), ("origin", "https://evil.example")],
            &[("x-passback", "1"), ("origin", "null")],
            &[("x-passback", "1"), ("sec-fetch-site", "same-site"), ("origin", ours.as_str())],
            &[("x-passback", "1"), ("sec-fetch-site", "cross-site")],
        ];
        for headers in others {
            assert_eq!(send(&operator, headers).await, 403, "{path} {headers:?}");
        }
        let own = [("x-passback", "1"), ("sec-fetch-site", "same-origin")];
        let found = send(&operator, &own).await;
        assert!(found != 401 && found != 403, "{path} is {found}");
        if call.needs == Some(Right::Operate) {
            assert_eq!(send(&viewer, &own).await, 403, "{path}");
        }
        checked += 1;
    }
    assert!(checked >= 6, "{checked}");
    // The page posts no events, so its cookie does not open their door.
    let event = client().post(worker.url("/v1/events")).header("cookie", &operator).json(&json!({}));
    assert_eq!(status(from_the_page(event, &worker)).await, 401);
    // Nobody is signed in or out from elsewhere.
    let request = || client().post(worker.url("/session")).json(&json!({"token": "operator-token-1"}));
    assert_eq!(status(request()).await, 403);
    assert_eq!(status(request().header("x-passback", "1").header("origin", "https://evil.example")).await, 403);
    assert_eq!(status(client().delete(worker.url("/session")).header("cookie", &operator)).await, 403);
    assert_eq!(status(client().get(worker.url("/session")).header("cookie", &operator)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_at_the_page_is_slow_counted_and_told_without_it() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let begin = Instant::now();
    let refused = sign_in(&worker, "hunter2").await;
    assert!(begin.elapsed() >= Duration::from_millis(250), "guessing is slow");
    assert!(refused.status() == 401 && !refused.headers().contains_key("set-cookie"));
    assert!(!refused.text().await.expect("a text").contains("hunter2"));
    let (_, metrics) = worker.get_open("/metrics").await;
    assert!(metrics.contains("passback_sign_ins_refused_total{way=\"token\"} 1"), "{metrics}");
    assert!(worker.log().contains("sign-in refused") && !worker.log().contains("hunter2"));
    let producer = sign_in(&worker, "producer-token-1").await;
    assert!(producer.status() == 403 && !producer.headers().contains_key("set-cookie"));
    let post =
        async |body: String| status(from_the_page(client().post(worker.url("/session")), &worker).body(body)).await;
    assert_eq!(post("token=operator-token-1".to_owned()).await, 400);
    assert_eq!(post(json!({"token": "x".repeat(5_000)}).to_string()).await, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_load_run_and_call_its_own_alone() {
    let worker = Worker::started(&format!("{LOCAL}{TOKENS}")).await;
    let get = |path: &str| client().get(worker.url(path));
    let page = get("/").send().await.expect("an answer");
    let header = |name: &str| page.headers()[name].to_str().expect("text").to_owned();
    let policy = header("content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split(';').any(|part| part.trim() == rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(
        (header("content-type"), header("x-content-type-options")),
        ("text/html; charset=utf-8".to_owned(), "nosniff".to_owned())
    );
    let text = page.text().await.expect("a text");
    let named: Vec<&str> = text.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.len() >= 3, "{named:?}");
    for name in named {
        let path = format!("/assets/{name}");
        let first = get(&path).send().await.expect("an answer");
        assert_eq!(first.status(), 200, "{path}");
        let tag = first.headers()["etag"].to_str().expect("text").to_owned();
        let again = get(&path).header("if-none-match", &tag).send().await.expect("an answer");
        assert_eq!((again.status().as_u16(), again.content_length().unwrap_or_default()), (304, 0), "{path}");
    }
    for path in ["/assets/", "/assets/nothing.js", "/assets/../Cargo.toml", "/index.html"] {
        assert_eq!(status(get(path)).await, 404, "{path}");
    }
}
