//! What the page tells of platforms, asked for as a program does: the check at a button, limits, tokens, and why a queued
//! grade waits.

use std::fs;

use passback::simulator::{Client, Fault, Jwks, Route, SimulatedLms};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::service::{
    delivery::{SECRET, ags, lms, lti11, settings, signing_key},
    worker::{Worker, wait_for},
};

/// A worker with a campus that knows its keys.
async fn worker(lms: &SimulatedLms) -> Worker {
    let worker = Worker::started(&settings(lms, &signing_key())).await;
    lms.add_client(Client::new("tool-1", Jwks::Url(worker.url("/.well-known/jwks.json")))).expect("a client");
    worker
}

async fn check(worker: &Worker, name: &str) -> (u16, Value) {
    worker.post(&format!("/api/v1/platforms/{name}/check"), &Value::Null).await
}

async fn platform(worker: &Worker, name: &str) -> Value {
    let all = worker.get("/api/v1/platforms").await;
    let mut all = all["platforms"].as_array().expect("platforms").iter();
    all.find(|platform| platform["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

/// The steps of a check with how they stand.
fn steps(found: &Value) -> Vec<String> {
    let told = |check: &Value| format!("{} {}", check["step"], check["status"]).replace('"', "");
    found["checks"].as_array().expect("checks").iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_platform_checked_from_where_the_worker_runs() {
    let (campus, other) = (lms().await, lms().await);
    let worker = worker(&campus).await;
    let (status, well) = check(&worker, "campus").await;
    assert_eq!((status, &well["ok"]), (200, &json!(true)), "{well}");
    assert_eq!(steps(&well), ["name ok", "clock ok", "token ok", "scope ok"], "{well}");
    assert_eq!(well["checks"][0]["name"], "campus");
    campus.set_fault(Route::Token, Fault::status(503)).expect("a fault");
    let (status, ill) = check(&worker, "campus").await;
    assert_eq!((status, &ill["ok"]), (200, &json!(false)), "{ill}");
    let failed = ill["checks"].as_array().expect("checks").iter().find(|check| check["status"] == "failed");
    let failed = failed.unwrap_or_else(|| panic!("{ill}"));
    assert!(failed["seen"].as_str().is_some_and(|seen| seen.contains("503")) && failed["advice"].is_string(), "{ill}");
    assert_eq!(check(&worker, "nobody").await.0, 404);
    // One that only its events name: the way there is tried.
    let id = worker.submit(&json!([lti11(&other, "ann", 8)])).await.remove(0);
    let name = worker.job_in(&id, "delivered").await["platform"].as_str().expect("a name").to_owned();
    let (status, reached) = check(&worker, &name).await;
    assert_eq!((status, steps(&reached)), (200, expected(["name ok", "reach ok", "signature ok"])), "{reached}");
}

fn expected<const N: usize>(steps: [&str; N]) -> Vec<String> {
    steps.map(str::to_owned).to_vec()
}

/// No check signs for a shared secret, so a wrong one is never well: first it was not tried, then a grade was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_whose_secret_is_wrong_is_not_called_well() {
    let campus = lms().await;
    let named = format!("[[platforms]]\nname = \"lab\"\norigin = \"{}\"\n", campus.base_url());
    let text = settings(&campus, &signing_key()).replace(&format!("secret = \"{SECRET}\""), "secret = \"another-one\"");
    let (text, _) = text.split_once("[[platforms]]").expect("a platform");
    let worker = Worker::started(&format!("{text}{named}")).await;
    let (_, untried) = check(&worker, "lab").await;
    assert_eq!(steps(&untried), expected(["name ok", "reach ok", "signature warning"]), "{untried}");
    assert!(untried.to_string().contains("the secret may be wrong"), "{untried}");
    let id = worker.submit(&json!([lti11(&campus, "ann", 8)])).await.remove(0);
    wait_for("a refusal", async || {
        (worker.get(&format!("/api/v1/jobs/{id}")).await["reason"] == "unauthorized").then_some(())
    })
    .await;
    let (_, refused) = check(&worker, "lab").await;
    assert_eq!(steps(&refused), expected(["name ok", "reach ok", "signature warning"]), "{refused}");
    let step = &refused["checks"][2];
    assert!(step["seen"].as_str().is_some_and(|seen| seen.contains("was refused: ")), "{step}");
    assert!(step["advice"].as_str().is_some_and(|advice| advice.contains("secret")), "{step}");
}

/// Two press the button, and the second one while the platform lets the first one wait.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_checks_at_once_the_second_is_told_to_wait_for_the_first() {
    let campus = lms().await;
    let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let token_url = format!("http://{}/token", door.local_addr().expect("an address"));
    let text = settings(&campus, &signing_key()).replace(&campus.token_url(), &token_url);
    let worker = Worker::started(&text).await;
    tokio::join!(
        async {
            let (status, found) = check(&worker, "campus").await;
            assert_eq!((status, &found["ok"]), (200, &json!(false)), "{found}");
        },
        async {
            let held = door.accept().await.expect("the first check");
            let (status, refused) = check(&worker, "campus").await;
            assert_eq!(status, 409, "{refused}");
            drop((held, door));
        }
    );
    assert_eq!(check(&worker, "campus").await.0, 200, "its place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_registered_while_the_worker_runs_can_be_checked() {
    let (campus, college) = (lms().await, lms().await);
    let worker = worker(&campus).await;
    assert_eq!(check(&worker, "college").await.0, 404);
    let text = fs::read_to_string(worker.config_path()).expect("a configuration");
    let entry = format!("[[platforms]]\nname = \"college\"\norigin = \"{}\"\n", college.base_url());
    fs::write(worker.config_path(), format!("{text}{entry}")).expect("it is written");
    let (status, said) = worker.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{said}");
    let (status, found) = check(&worker, "college").await;
    assert_eq!((status, &found["ok"]), (200, &json!(true)), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_tokens_of_a_platform_are_told() {
    let campus = lms().await;
    let worker = worker(&campus).await;
    let new = platform(&worker, "campus").await;
    assert_eq!(new["limits"], json!({"under_way": 0, "concurrency_now": 16, "concurrency": 16}));
    assert_eq!(new["tokens"], Value::Null, "none was asked for");
    let id = worker.submit(&json!([ags(&campus, "ann", 8)])).await.remove(0);
    worker.job_in(&id, "delivered").await;
    let granted = platform(&worker, "campus").await["tokens"].clone();
    assert!(granted["granted_at"].is_string() && granted["failed_at"].is_null(), "{granted}");
    // A token dies early, and none is given in its place.
    campus.revoke_tokens();
    campus.set_fault(Route::Token, Fault::status(400)).expect("a fault");
    worker.submit(&json!([ags(&campus, "ben", 8)])).await;
    let refused = wait_for("a refusal", async || {
        let tokens = platform(&worker, "campus").await["tokens"].clone();
        tokens["failed_at"].is_string().then_some(tokens)
    })
    .await;
    assert_eq!((&refused["reason"], &refused["granted_at"]), (&json!("token_refused"), &granted["granted_at"]));
    assert!(refused["error"].as_str().is_some_and(|error| !error.is_empty()), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_no_grade_has_gone_to_is_paused_by_its_name() {
    let campus = lms().await;
    let mut worker = worker(&campus).await;
    let order = async |worker: &Worker, what: &str| {
        let (status, view) = worker.post(&format!("/api/v1/platforms/campus/{what}"), &json!({})).await;
        assert_eq!(status, 200, "{view}");
        assert_eq!(platform(worker, "campus").await["state"], view["state"], "{view}");
        view
    };
    assert_eq!(worker.post("/api/v1/platforms/nobody/pause", &json!({})).await.0, 404);
    assert_eq!(order(&worker, "resume").await["state"], "open");
    let paused = order(&worker, "pause").await;
    assert_eq!((&paused["state"], &paused["limits"]["concurrency_now"]), (&json!("paused"), &json!(0)));
    assert!(paused["since"].is_string() && paused["origins"] == json!([]), "{paused}");
    // What comes after a kill goes nowhere either.
    worker.kill();
    worker.start().await;
    assert_eq!(platform(&worker, "campus").await["state"], "paused");
    let first = worker.submit(&json!([ags(&campus, "ann", 8)])).await.remove(0);
    wait_for("the pause to be told", async || {
        let job = worker.get(&format!("/api/v1/jobs/{first}")).await;
        (job["waits"]["why"] == "paused").then_some(())
    })
    .await;
    assert_eq!(platform(&worker, "campus").await["origins"], json!([campus.base_url()]));
    assert_eq!(campus.requests(Route::Token).total(), 0);
    assert_eq!(order(&worker, "resume").await["state"], "open");
    worker.job_in(&first, "delivered").await;
    worker.kill();
    worker.start().await;
    assert_eq!(platform(&worker, "campus").await["state"], "open");
    let audit = worker.get("/api/v1/audit").await;
    let actions = audit["entries"].as_array().expect("entries").iter().map(|entry| entry["action"].clone());
    assert_eq!(actions.collect::<Vec<_>>(), ["resume", "pause", "resume"], "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_grade_says_what_it_waits_for() {
    let campus = lms().await;
    let worker = worker(&campus).await;
    let job = async |id: &str| worker.get(&format!("/api/v1/jobs/{id}")).await;
    // Of a platform that no grade has gone to nobody knows where it stands.
    assert_eq!(platform(&worker, "campus").await["origins"], json!([]));
    let before = worker.submit(&json!([ags(&campus, "zoe", 8)])).await.remove(0);
    worker.job_in(&before, "delivered").await;
    assert_eq!(platform(&worker, "campus").await["origins"], json!([campus.base_url()]));
    assert_eq!(worker.post("/api/v1/platforms/campus/pause", &json!({})).await.0, 200);
    let first = worker.submit(&json!([ags(&campus, "ann", 8)])).await.remove(0);
    let paused = wait_for("the pause to be told", async || {
        Some(job(&first).await["waits"].clone()).filter(|waits| waits["why"] == "paused")
    })
    .await;
    assert!(paused["since"].is_string() && paused["until"].is_null(), "{paused}");
    assert_eq!(platform(&worker, "campus").await["limits"]["concurrency_now"], 0);
    campus.set_fault(Route::Scores, Fault::status(503)).expect("a fault");
    worker.submit(&(0..9).map(|n| ags(&campus, &format!("s{n}"), 7)).collect::<Vec<_>>().into()).await;
    assert_eq!(worker.post("/api/v1/platforms/campus/resume", &json!({})).await.0, 200);
    let held = wait_for("the hold to be told", async || {
        Some(job(&first).await["waits"].clone()).filter(|waits| waits["why"] == "held" && waits["until"].is_string())
    })
    .await;
    assert!(held["error"].as_str().is_some_and(|error| error.contains("503")), "{held}");
    campus.clear_faults();
    assert_eq!(worker.job_in(&first, "delivered").await["waits"], Value::Null);
}
