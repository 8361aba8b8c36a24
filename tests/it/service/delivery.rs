//! The main job, from outside: events in over HTTP, grades in a gradebook, failures explained and replayed.

use std::collections::BTreeSet;

use passback::{
    domain::time::Timestamp,
    simulator::{Cell, Client, Consumer, Fault, FaultKind, Jwks, Options, Route, SimulatedLms},
};
use serde_json::{Value, json};

use super::worker::{LOCAL, QUICK, Worker, wait_for};

pub(crate) const KEY: &str = "key-1";
pub(crate) const SECRET: &str = "sesame-open-1";

/// A platform that knows our consumer key.
pub(crate) async fn lms() -> SimulatedLms {
    let consumers = vec![Consumer::new(KEY, SECRET)];
    SimulatedLms::start(Options { consumers, auto_columns: true, ..Options::default() }).await.expect("a platform")
}

/// The settings of a worker that knows the key and the platform.
pub(crate) fn settings(lms: &SimulatedLms, key: &str) -> String {
    format!(
        "{LOCAL}{QUICK}\
         [[lti_keys]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = {{ file = \"{key}\" }}\n\
         [[platforms]]\nname = \"campus\"\nclient_id = \"tool-1\"\ntoken_url = \"{}\"\n",
        lms.token_url()
    )
}

/// The tests' own RSA key, known to nobody else.
pub(crate) fn signing_key() -> String {
    format!("{}/tests/vectors/signing_key.pem", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn lti11(lms: &SimulatedLms, student: &str, score: u32) -> Value {
    json!({
        "session_id": format!("session-{student}"), "user_id": student, "activity_id": "quiz",
        "score": score, "max_score": 10,
        "lis_data": {
            "lis_outcome_service_url": lms.outcomes_url(),
            "lis_result_sourcedid": student, "oauth_consumer_key": KEY,
        },
    })
}

pub(crate) fn ags(lms: &SimulatedLms, student: &str, score: u32) -> Value {
    json!({
        "session_id": format!("session-{student}"), "score": score, "max_score": 10,
        "lis_data": {
            "lti_version": "1.3", "client_id": "tool-1", "user_id": student, "lineitem": lms.lineitem_url("c", "1"),
        },
    })
}

fn delegated(lms: &SimulatedLms, student: &str, score: u32) -> Value {
    json!({
        "session_id": format!("session-{student}"), "score": score, "max_score": 10,
        "lis_data": {
            "lti_version": "1.3", "grade_passback_url": lms.delegated_url(), "oauth_consumer_key": KEY,
            "user_id": student, "resource_link_id": "link",
        },
    })
}

fn register(worker: &Worker, lms: &SimulatedLms) {
    lms.add_client(Client::new("tool-1", Jwks::Url(worker.url("/.well-known/jwks.json")))).expect("a client");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_delivery_puts_the_grade_into_the_gradebook() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    register(&worker, &lms);
    let events = json!([lti11(&lms, "ann", 8), ags(&lms, "ben", 7), delegated(&lms, "cid", 6)]);
    let ids = worker.submit(&events).await;
    for id in &ids {
        let job = worker.job_in(id, "delivered").await;
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
        assert!(job["reason"].is_null() && job["delivered_at"].is_string(), "{job}");
    }
    let grade = |cell: &Cell| lms.grade(cell).map(|grade| grade.score / grade.maximum);
    assert_eq!(grade(&Cell::lti11("ann")), Some(0.8));
    assert_eq!(grade(&Cell::ags("c", "1", "ben")), Some(0.7));
    assert_eq!(grade(&Cell::delegated("link", "cid")), Some(0.6));
    assert!(lms.refusals().is_empty(), "{:?}", lms.refusals());
    let names: BTreeSet<String> = worker.get("/api/v1/jobs").await["jobs"]
        .as_array()
        .expect("jobs")
        .iter()
        .map(|job| job["platform"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["campus"], "one platform has one name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_found_or_made_once_for_a_class() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    register(&worker, &lms);
    let events: Vec<Value> = (0..20)
        .map(|student| {
            let mut event = ags(&lms, &format!("student-{student}"), 5);
            event["lis_data"]["lineitem"].take();
            event["lis_data"]["lineitems"] = lms.lineitems_url("class").into();
            event["activity_id"] = "essay".into();
            event
        })
        .collect();
    for id in worker.submit(&events.into()).await {
        worker.job_in(&id, "delivered").await;
    }
    assert_eq!(lms.line_items("class").len(), 1);
}

/// A platform that always fails gets exactly six attempts at the configured times, through two restarts; then the job
/// is flagged, and once the platform is mended a replay delivers it with its history.
#[tokio::test(flavor = "multi_thread")]
async fn six_attempts_at_their_times_through_two_restarts_then_flagged_then_replayed() {
    let lms = lms().await;
    lms.set_fault(Route::Lti11, Fault::status(500)).expect("a fault");
    let schedule = "[retry]\ninitial = \"1s\"\nmultiplier = 1.5\nmax = \"3s\"\njitter = 0.1\n";
    let config = settings(&lms, &signing_key()).replace(QUICK, schedule);
    let mut worker = Worker::started(&config).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    for attempts in [2, 4] {
        let path = format!("/api/v1/jobs/{id}");
        wait_for("the next attempt", async || {
            let job = worker.get(&path).await;
            (job["attempts"].as_array().map_or(0, Vec::len) >= attempts).then_some(())
        })
        .await;
        if attempts == 2 {
            worker.kill();
        } else {
            assert_eq!(worker.stop().await, Some(0));
        }
        worker.start().await;
    }
    let job = worker.job_in(&id, "flagged").await;
    assert_eq!((&job["reason"], job["next_attempt_at"].is_null()), (&json!("server_error"), true));
    assert!(job["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{job}");
    check_times(&job, &[1.0, 1.5, 2.25, 3.0, 3.0], 0.1);
    assert_eq!(lms.requests(Route::Lti11).faulted, 6);
    lms.clear_faults();
    let (status, replayed) = worker.post(&format!("/api/v1/jobs/{id}/replay"), &json!({})).await;
    assert_eq!((status, replayed["id"].as_str()), (200, Some(id.as_str())), "{replayed}");
    let job = worker.job_in(&id, "delivered").await;
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(7), "the history is kept");
    assert!(lms.grade(&Cell::lti11("ann")).is_some());
}

/// Between the end of an attempt and the start of the next lies what the policy says, within the jitter, and a little
/// more where the worker was down or busy.
fn check_times(job: &Value, waits: &[f64], jitter: f64) {
    let attempts = job["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), waits.len() + 1, "{job}");
    for (pair, wait) in attempts.windows(2).zip(waits) {
        let start =
            |attempt: &Value| Timestamp::parse(attempt["started_at"].as_str().expect("a time")).expect("a time");
        let took = pair[0]["duration_ms"].as_f64().expect("a duration") / 1_000.0;
        let waited = start(&pair[1]).since(start(&pair[0])).as_secs_f64() - took;
        assert!(waited >= wait * (1.0 - jitter) - 0.01, "waited {waited} s instead of {wait} s: {job}");
        assert!(waited <= wait * (1.0 + jitter) + 2.0, "waited {waited} s instead of {wait} s: {job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_configured_is_flagged_and_can_be_replayed_once_it_is() {
    let lms = lms().await;
    let whole = settings(&lms, &signing_key());
    let without_key = whole.replace(&format!("[[lti_keys]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n"), "");
    let worker = Worker::started(&without_key).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    let job = worker.job_in(&id, "flagged").await;
    assert_eq!((&job["reason"], job["attempts"].as_array().map(Vec::len)), (&json!("unknown_key"), Some(0)));
    let path = worker.folder().join("passback.toml");
    let config = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, config.replace(&without_key, &whole)).expect("a new configuration");
    worker.signal("HUP");
    wait_for("the keys to be read", async || worker.log().contains("read anew").then_some(())).await;
    let (status, count) = worker.post("/api/v1/replay", &json!({"filter": {}})).await;
    assert_eq!((status, count), (200, json!({"matched": 1, "replayed": 1, "superseded": 0})));
    worker.job_in(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_understood_and_an_unknown_student_is_rejected() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    register(&worker, &lms);
    lms.set_fault(Route::Scores, Fault::times(FaultKind::AcceptThenCut, 1)).expect("a fault");
    let id = worker.submit(&ags(&lms, "ben", 7)).await.remove(0);
    let job = worker.job_in(&id, "delivered").await;
    let outcomes: Vec<_> =
        job["attempts"].as_array().expect("attempts").iter().map(|attempt| attempt["outcome"].clone()).collect();
    assert_eq!(outcomes, ["connection", "delivered"], "{job}");
    lms.refuse_user("eve");
    let id = worker.submit(&ags(&lms, "eve", 7)).await.remove(0);
    let job = worker.job_in(&id, "flagged").await;
    assert_eq!((&job["reason"], job["attempts"].as_array().map(Vec::len)), (&json!("rejected"), Some(6)));
    let (status, _) = worker.post(&format!("/api/v1/jobs/{id}/discard"), &json!({})).await;
    assert_eq!(status, 200);
    let (status, problem) = worker.post(&format!("/api/v1/jobs/{id}/replay"), &json!({})).await;
    assert_eq!((status, problem["state"].as_str()), (409, Some("discarded")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_platform_is_held_and_its_jobs_lose_no_attempts() {
    let lms = lms().await;
    let healthy = self::lms().await;
    lms.set_fault(Route::Lti11, Fault::status(503)).expect("a fault");
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    let events: Vec<Value> = (0..40).map(|n| lti11(&lms, &format!("s{n}"), 5)).collect();
    let ids = worker.submit(&events.into()).await;
    wait_for("the platform to be held", async || {
        let platforms = worker.get("/api/v1/platforms").await;
        platforms["platforms"].as_array()?.iter().any(|platform| platform["state"] == "held").then_some(())
    })
    .await;
    let other = worker.submit(&lti11(&healthy, "zoe", 9)).await.remove(0);
    worker.job_in(&other, "delivered").await;
    let before = lms.requests(Route::Lti11).faulted;
    wait_for("some probes", async || (lms.requests(Route::Lti11).faulted >= before + 3).then_some(())).await;
    lms.clear_faults();
    for id in &ids {
        worker.job_in(id, "delivered").await;
    }
    let faulted = usize::try_from(lms.requests(Route::Lti11).faulted).expect("small");
    assert!(faulted < ids.len() + 20, "{faulted} requests to a platform that was down: its jobs did not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_platform_waits_over_a_restart_until_it_is_resumed() {
    let lms = lms().await;
    let mut worker = Worker::started(&settings(&lms, &signing_key())).await;
    let first = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    worker.job_in(&first, "delivered").await;
    let (status, platform) = worker.post("/api/v1/platforms/campus/pause", &json!({})).await;
    assert_eq!((status, platform["state"].as_str()), (200, Some("paused")), "{platform}");
    worker.kill();
    worker.start().await;
    let second = worker.submit(&lti11(&lms, "ben", 8)).await.remove(0);
    let platforms = worker.get("/api/v1/platforms").await;
    assert_eq!(platforms["platforms"][0]["state"], "paused", "{platforms}");
    assert_eq!(worker.get(&format!("/api/v1/jobs/{second}")).await["state"], "queued");
    worker.post("/api/v1/platforms/campus/resume", &json!({})).await;
    worker.job_in(&second, "delivered").await;
}
