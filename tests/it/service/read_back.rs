//! Grades read back: `POST /api/v1/jobs/{id}/verify` and `passback verify` against a platform, for grades that are there,
//! that somebody has changed, and that cannot be read; and a platform that says `processing`.

use std::process::Command;

use futures_util::future::join_all;
use passback::simulator::{
    Client, Consumer, Fault, FaultKind, Jwks, Likeness, Options, Route, SCOPE_LINEITEM, SCOPE_RESULT_READONLY,
    SCOPE_SCORE, SimulatedLms,
};
use serde_json::{Value, json};

use super::{
    delivery::{KEY, ags, lms, lti11, settings, signing_key},
    worker::{LOCAL, QUICK, Worker, free_address},
};
use crate::transport::{Authority, Server};

/// What no retry mends is flagged at once, so that a test need not wait for it.
const HASTY: &str = "[retry]\ninitial = \"200ms\"\nmultiplier = 1.5\nmax = \"1s\"\npermanent = \"flag\"\n";

/// A worker that the platform knows as `tool-1`, with these scopes.
async fn worker(lms: &SimulatedLms, config: &str, scopes: &[&str]) -> Worker {
    let worker = Worker::started(config).await;
    let known = Client::new("tool-1", Jwks::Url(worker.url("/.well-known/jwks.json")));
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    lms.add_client(Client { scopes, ..known }).expect("a client");
    worker
}

const ALL_SCOPES: &[&str] = &[SCOPE_SCORE, SCOPE_LINEITEM, SCOPE_RESULT_READONLY];

fn hasty(lms: &SimulatedLms) -> String {
    settings(lms, &signing_key()).replace(QUICK, HASTY)
}

/// An event for a column that has to be found or made.
fn sought(lms: &SimulatedLms, student: &str, score: u32) -> Value {
    let mut event = ags(lms, student, score);
    event["lis_data"]["lineitem"].take();
    event["lis_data"]["lineitems"] = lms.lineitems_url("class").into();
    event["activity_id"] = "essay".into();
    event
}

async fn end(worker: &Worker, event: &Value, state: &str) -> String {
    let id = worker.submit(event).await.remove(0);
    worker.job_in(&id, state).await;
    id
}

async fn verify(worker: &Worker, id: &str) -> Value {
    let (status, found) = worker.post(&format!("/api/v1/jobs/{id}/verify"), &json!({})).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["job"], id);
    assert!(found["checked_at"].is_string() && found["detail"].as_str().is_some_and(|told| told.ends_with('.')));
    found
}

fn check(found: &Value, result: &str, words: &str) {
    assert_eq!(found["result"], result, "{found}");
    assert!(found["detail"].as_str().is_some_and(|told| told.contains(words)), "{words}: {found}");
}

/// Why a grade cannot be read: the reason, and words of its explanation.
fn unread(found: &Value, reason: &str, words: &[&str]) {
    for words in words {
        check(found, "cannot_be_read", words);
    }
    assert_eq!((found["reason"].as_str(), found["there"].is_null()), (Some(reason), true), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_grade_is_there_until_somebody_changes_or_clears_it() {
    let lms = lms().await;
    let ours = worker(&lms, &settings(&lms, &signing_key()), ALL_SCOPES).await;
    // Somebody else writes into the same gradebook: to our worker, that is a teacher.
    let teacher = Worker::started(&settings(&lms, &signing_key())).await;
    for (event, sent) in [
        (
            lti11 as fn(&SimulatedLms, &str, u32) -> Value,
            json!({"operation": "replace", "score": 0.8, "max_score": 1.0}),
        ),
        (ags, json!({"operation": "replace", "score": 8.0, "max_score": 10.0})),
        (sought, json!({"operation": "replace", "score": 8.0, "max_score": 10.0})),
    ] {
        let id = end(&ours, &event(&lms, "ann", 8), "delivered").await;
        let found = verify(&ours, &id).await;
        check(&found, "same", "has the grade that was sent");
        assert_eq!((&found["sent"], found["reason"].is_null()), (&sent, true), "{found}");
        assert_eq!(found["there"]["score"], sent["score"], "{found}");

        let changed = end(&teacher, &event(&lms, "ann", 5), "delivered").await;
        check(&verify(&ours, &id).await, "different", "a teacher has changed it");
        check(&verify(&teacher, &changed).await, "same", "has the grade that was sent");

        let mut clearing = event(&lms, "ann", 0);
        clearing["operation"] = "delete".into();
        let cleared = end(&teacher, &clearing, "delivered").await;
        let found = verify(&ours, &id).await;
        check(&found, "nothing", "no grade");
        assert!(found["there"].is_null(), "{found}");
        let found = verify(&teacher, &cleared).await;
        check(&found, "same", "The grade was cleared, and the LMS has none.");
        assert_eq!(found["sent"], json!({"operation": "delete", "score": null, "max_score": null}));
    }
    assert_eq!(lms.line_items("class").len(), 1, "a look makes no column");
    assert!(lms.refusals().is_empty(), "{:?}", lms.refusals());
}

/// As each platform rounds, rescales and words it: a third of the points, which no gradebook keeps as it is.
#[tokio::test(flavor = "multi_thread")]
async fn each_platforms_own_way_to_show_a_grade_is_understood() {
    join_all(Likeness::ALL.map(a_third_is_there_until_it_is_changed_or_cleared)).await;
}

async fn a_third_is_there_until_it_is_changed_or_cleared(like: Likeness) {
    let consumers = vec![Consumer::new(KEY, "sesame-open-1")];
    let options = Options { consumers, auto_columns: true, like: Some(like), ..Options::default() };
    let lms = SimulatedLms::start(options).await.expect("a platform");
    let token_aud = lms.describe().token_aud;
    let config = format!("{}token_aud = \"{token_aud}\"\n", hasty(&lms));
    let worker = worker(&lms, &config, ALL_SCOPES).await;
    for event in [lti11 as fn(&SimulatedLms, &str, u32) -> Value, ags] {
        let mut third = event(&lms, "7", 1);
        third["max_score"] = 3.into();
        let id = end(&worker, &third, "delivered").await;
        let found = verify(&worker, &id).await;
        let lets_nothing_be_read = like == Likeness::OpenEdx && third["lis_data"]["lti_version"].is_null();
        if lets_nothing_be_read {
            unread(&found, "rejected", &["as Open edX does"]);
            continue;
        }
        assert_eq!(found["result"], "same", "{like:?}: {found}");
        // Half of it is not the same, and none of it neither.
        let mut half = event(&lms, "7", 1);
        half["max_score"] = 6.into();
        end(&worker, &half, "delivered").await;
        check(&verify(&worker, &id).await, "different", "of");
        let mut clearing = event(&lms, "7", 0);
        clearing["operation"] = "delete".into();
        let cleared = end(&worker, &clearing, "delivered").await;
        // Open edX takes a score without points, and keeps the grade that it has.
        let (of_the_grade, of_the_clearing) =
            if like == Likeness::OpenEdx { ("different", "different") } else { ("nothing", "same") };
        assert_eq!(verify(&worker, &id).await["result"], of_the_grade, "{like:?}");
        let found = verify(&worker, &cleared).await;
        assert_eq!(found["result"], of_the_clearing, "{like:?}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_ends_with_0_only_where_the_grade_is_there() {
    let lms = lms().await;
    let worker = worker(&lms, &settings(&lms, &signing_key()), ALL_SCOPES).await;
    let passback = |line: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passback"));
        let output = command.args(line).arg("--config").arg(worker.config_path()).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let older = end(&worker, &lti11(&lms, "ann", 8), "delivered").await;
    let (code, told, _) = passback(&["verify", &older]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("same") && told.contains("0.8 / 1"), "{told}");
    end(&worker, &lti11(&lms, "ann", 5), "delivered").await;
    let (code, told, error) = passback(&["verify", &older, "--json"]);
    let found: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, found["result"].as_str()), (Some(1), Some("different")), "{told}");
    assert!(error.contains("the LMS has another grade"), "{error}");
    let (code, _, error) = passback(&["verify", "01JD8Y3K5V7Q2W9XZB4N6M8P0R"]);
    assert!(code == Some(1) && error.contains("there is no job"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grade_that_cannot_be_read_is_explained() {
    let lms = lms().await;
    let worker = worker(&lms, &hasty(&lms), ALL_SCOPES).await;
    // Not enrolled: LTI 1.1 says so when it is asked, AGS has no result of such a student.
    lms.refuse_user("eve");
    let id = end(&worker, &lti11(&lms, "eve", 8), "flagged").await;
    unread(&verify(&worker, &id).await, "rejected", &["may not be enrolled", "User not found", "is flagged"]);
    let id = end(&worker, &ags(&lms, "eve", 8), "flagged").await;
    check(&verify(&worker, &id).await, "nothing", "no grade, and this job's is 8 of 10");
    // The launch did not grant what reading needs.
    let mut event = ags(&lms, "ben", 8);
    event["lis_data"]["scope"] = json!([SCOPE_SCORE]);
    let id = end(&worker, &event, "delivered").await;
    unread(
        &verify(&worker, &id).await,
        "token_refused",
        &["result.readonly", "did not grant the scope to read results"],
    );
    // Nothing to ask for, and nobody to ask.
    let mut event = ags(&lms, "cid", 8);
    for member in ["score", "max_score"] {
        event.as_object_mut().expect("an object").remove(member);
    }
    event["activity_progress"] = "Started".into();
    let id = end(&worker, &event, "delivered").await;
    check(&verify(&worker, &id).await, "cannot_be_read", "has no score");
    let delegated = json!({
        "session_id": "s", "score": 8, "max_score": 10,
        "lis_data": {"lti_version": "1.3", "grade_passback_url": lms.delegated_url(), "oauth_consumer_key": KEY, "user_id": "ann"},
    });
    let id = end(&worker, &delegated, "delivered").await;
    check(&verify(&worker, &id).await, "cannot_be_read", "no call that would read it back");
    // A platform that lets no grade be read, and one that is ill.
    let id = end(&worker, &lti11(&lms, "ann", 8), "delivered").await;
    let says = |code: u16, body: &str| FaultKind::Status { code, body: Some(body.to_owned()), retry_after: None };
    let unsupported = "<imsx_codeMajor>unsupported</imsx_codeMajor><imsx_description>No reading</imsx_description>";
    for (fault, reason, words) in [
        (says(200, unsupported), "rejected", &["Open edX", "No reading"][..]),
        (FaultKind::Html, "bad_response", &["none from which a grade can be read"]),
        (says(503, "Down"), "server_error", &["failed on its own side", "Down"]),
        (FaultKind::CutBefore, "connection", &["could not be reached"]),
    ] {
        lms.set_fault(Route::Lti11, Fault::times(fault, 1)).expect("a fault");
        unread(&verify(&worker, &id).await, reason, words);
    }
    check(&verify(&worker, &id).await, "same", "has the grade");
    let (status, problem) = worker.post("/api/v1/jobs/01JD8Y3K5V7Q2W9XZB4N6M8P0R/verify", &json!({})).await;
    assert_eq!((status, problem["status"].as_u64()), (404, Some(404)), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_a_teacher_deleted_is_named() {
    let (consumers, contexts) =
        (vec![Consumer::new(KEY, "sesame-open-1")], vec![("c".to_owned(), vec!["1".to_owned()])]);
    let contexts = contexts.into_iter().chain([("class".to_owned(), Vec::new())]).collect();
    let lms = SimulatedLms::start(Options { consumers, contexts, ..Options::default() }).await.expect("a platform");
    let worker = worker(&lms, &hasty(&lms), ALL_SCOPES).await;
    let known = end(&worker, &ags(&lms, "ann", 8), "delivered").await;
    let found_or_made = end(&worker, &sought(&lms, "ann", 8), "delivered").await;
    check(&verify(&worker, &found_or_made).await, "same", "has the grade");
    assert!(lms.delete_line_item("c", "1"));
    assert!(lms.delete_line_item("class", &lms.line_items("class")[0]));
    for id in [known, found_or_made] {
        unread(&verify(&worker, &id).await, "not_found", &["whether a teacher has deleted it", "no such line item"]);
    }
    assert!(lms.line_items("class").is_empty(), "a look makes no column");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_and_a_missing_scope_or_registration_are_named() {
    let lms = lms().await;
    let wrong = hasty(&lms).replace("sesame-open-1", "sesame-shut-1");
    let worker = worker(&lms, &wrong, &[SCOPE_SCORE]).await;
    let id = end(&worker, &lti11(&lms, "ann", 8), "flagged").await;
    unread(&verify(&worker, &id).await, "unauthorized", &["check its secret at both ends", "signature not valid"]);
    // The registration may write scores and not read them.
    let id = end(&worker, &ags(&lms, "ann", 8), "delivered").await;
    unread(&verify(&worker, &id).await, "token_refused", &["scope result.readonly", "scopes"]);
    // Nobody there knows this tool.
    let mut stranger = ags(&lms, "ann", 8);
    stranger["lis_data"]["client_id"] = "tool-2".into();
    let config = hasty(&lms).replace("\"tool-1\"", "\"tool-2\"");
    let other = Worker::started(&config).await;
    let id = end(&other, &stranger, "flagged").await;
    unread(&verify(&other, &id).await, "token_refused", &["does not know the client id tool-2", "not registered here"]);
    // And here nobody knows the platform, or the key.
    let mut nowhere = ags(&lms, "ann", 8);
    nowhere["lis_data"]["client_id"] = "tool-3".into();
    let id = end(&other, &nowhere, "flagged").await;
    unread(&verify(&other, &id).await, "unknown_platform", &["[[platforms]]", "tool-3"]);
    let mut keyless = lti11(&lms, "ann", 8);
    keyless["lis_data"]["oauth_consumer_key"] = "key-9".into();
    let id = end(&other, &keyless, "flagged").await;
    unread(&verify(&other, &id).await, "unknown_key", &["[[lti_keys]]", "key-9"]);
}

/// What stands between us and a platform stands between us and a look at it too, and is named the same way.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_on_the_way_to_the_platform_is_named() {
    let lms = lms().await;
    let known = |jwks| lms.add_client(Client::new("tool-1", jwks)).expect("a client");
    let flagged = async |config: &str, event: &Value| {
        let worker = Worker::started(config).await;
        let id = end(&worker, event, "flagged").await;
        verify(&worker, &id).await
    };
    let event = ags(&lms, "ann", 8);
    // Our key was rotated away, or the platform cannot fetch our keys.
    known(Jwks::Inline(json!({"keys": []})));
    unread(
        &flagged(&hasty(&lms), &event).await,
        "token_refused",
        &["knows no key that fits our signature", "no key of the tool is called"],
    );
    known(Jwks::Url(format!("http://{}/jwks.json", free_address())));
    unread(&flagged(&hasty(&lms), &event).await, "token_refused", &["could not fetch our public keys"]);
    // An audience that is not the platform's.
    let wrong_aud = format!("{}token_aud = \"https://x.example\"\n", hasty(&lms));
    let mut other = Worker::started(&wrong_aud).await;
    known(Jwks::Url(other.url("/.well-known/jwks.json")));
    let id = end(&other, &event, "flagged").await;
    unread(&verify(&other, &id).await, "token_refused", &["set token_aud", "aud"]);
    assert_eq!(other.stop().await, Some(0));
    // An address that this worker may not call.
    let shut_in = hasty(&lms).replace(LOCAL, "");
    unread(&flagged(&shut_in, &lti11(&lms, "ann", 8)).await, "blocked_destination", &["[egress]"]);
}

/// Certificates that have expired or are for another host, and a host that is nowhere: each is named in a sentence of
/// what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_or_a_host_that_is_wrong_is_named() {
    let ours = Authority::new("Ours");
    let flagged = async |url: &str| {
        let config = format!(
            "[egress]\nallow_private = true\nca_file = \"{}\"\n{HASTY}[[lti_keys]]\nkey = \"{KEY}\"\nsecret = \"s\"\n",
            ours.file.path().display()
        );
        let worker = Worker::started(&config).await;
        let event = json!({
            "session_id": "s", "score": 8, "max_score": 10,
            "lis_data": {"lis_outcome_service_url": url, "lis_result_sourcedid": "1", "oauth_consumer_key": KEY},
        });
        let id = end(&worker, &event, "flagged").await;
        verify(&worker, &id).await
    };
    for (acceptor, words) in [
        (ours.acceptor("localhost", 2021), &["has expired: its admins must renew it", "2021-01-01", "ask again"]),
        (ours.acceptor("other.example.edu", 2090), &["is for another name", "other.example.edu", "ask again"]),
    ] {
        let server = Server::start(move |stream| {
            let acceptor = acceptor.clone();
            async move { drop(acceptor.accept(stream).await) }
        })
        .await;
        let url = format!("https://localhost:{}/outcomes", server.address.port());
        unread(&flagged(&url).await, "tls", words);
    }
    let nowhere = flagged("https://lms.invalid/outcomes").await;
    unread(&nowhere, "connection", &["name cannot be resolved", "lms.invalid", "ask again"]);
}

/// Two minutes keep nobody from reading, as LTI 1.1 allows five and an AGS assertion is signed by the platform's own clock;
/// beyond that the clock is what is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_reads_grades_as_long_as_it_can_and_is_named_then() {
    for (clock_skew_ms, reads_lti11) in [(-120_000, true), (120_000, true), (-400_000, false), (400_000, false)] {
        let consumers = vec![Consumer::new(KEY, "sesame-open-1")];
        let options = Options { consumers, auto_columns: true, clock_skew_ms, ..Options::default() };
        let lms = SimulatedLms::start(options).await.expect("a platform");
        let worker = worker(&lms, &hasty(&lms), ALL_SCOPES).await;
        let mut event = ags(&lms, "ann", 8);
        event["occurred_at"] = "2026-01-01T00:00:00Z".into();
        let id = end(&worker, &event, "delivered").await;
        check(&verify(&worker, &id).await, "same", "has the grade that was sent");
        let id = end(&worker, &lti11(&lms, "ann", 8), if reads_lti11 { "delivered" } else { "flagged" }).await;
        let found = verify(&worker, &id).await;
        if reads_lti11 {
            check(&found, "same", "has the grade that was sent");
        } else {
            unread(
                &found,
                "unauthorized",
                &["of another time", "NTP, then ask again", "signature not valid (the platform's clock is"],
            );
        }
    }
    // More than an hour: nobody signs by such a clock.
    let lms =
        SimulatedLms::start(Options { clock_skew_ms: -4_000_000, ..Options::default() }).await.expect("a platform");
    let worker = worker(&lms, &hasty(&lms), ALL_SCOPES).await;
    let id = end(&worker, &ags(&lms, "ann", 8), "flagged").await;
    unread(&verify(&worker, &id).await, "token_refused", &["our assertion is not of this time", "NTP, then ask again"]);
}

/// Looks wait for no delivery and no delivery waits for them; and there is an end to how many are at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_few_look_at_once_at_a_paused_platform_too() {
    let lms = lms().await;
    let worker = worker(&lms, &settings(&lms, &signing_key()), ALL_SCOPES).await;
    let id = end(&worker, &lti11(&lms, "ann", 8), "delivered").await;
    let (status, _) = worker.post("/api/v1/platforms/campus/pause", &json!({})).await;
    assert_eq!(status, 200);
    check(&verify(&worker, &id).await, "same", "has the grade");

    let slow = FaultKind::Delay { ms: 5_000 };
    lms.set_fault(Route::Lti11, Fault::times(slow, 5)).expect("a fault");
    let path = format!("/api/v1/jobs/{id}/verify");
    let look = || worker.post(&path, &Value::Null);
    let (one, two, three, four, five) = tokio::join!(look(), look(), look(), look(), look());
    let (busy, seen): (Vec<_>, Vec<_>) = [one, two, three, four, five].into_iter().partition(|look| look.0 == 503);
    for (status, found) in &seen {
        assert_eq!(*status, 200, "{found}");
        check(found, "same", "has the grade");
    }
    assert_eq!((seen.len(), busy.len()), (4, 1), "{busy:?}");
    assert!(busy[0].1["detail"].as_str().is_some_and(|told| told.contains("4 grades are being verified")), "{busy:?}");
    lms.clear_faults();
    check(&verify(&worker, &id).await, "same", "has the grade");
}

#[tokio::test(flavor = "multi_thread")]
async fn processing_is_no_delivery_until_the_grade_is_there() {
    let lms = lms().await;
    let worker = worker(&lms, &settings(&lms, &signing_key()), ALL_SCOPES).await;
    let at_work = "<imsx_codeMajor>processing</imsx_codeMajor><imsx_description>In the queue</imsx_description>";
    let at_work = FaultKind::Status { code: 200, body: Some(at_work.to_owned()), retry_after: None };
    // Not there: it is sent again, and delivered when the platform has it.
    lms.set_fault(Route::Lti11, Fault::times(at_work.clone(), 1)).expect("a fault");
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    let job = worker.job_in(&id, "delivered").await;
    let attempts = job["attempts"].as_array().expect("attempts");
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().expect("a word")).collect();
    assert_eq!(outcomes, ["bad_response", "delivered"], "{job}");
    let words = attempts[0]["message"].as_str().expect("words");
    assert!(words.starts_with("In the queue (") && words.contains("there is none yet"), "{words}");
    // There: the platform was quicker than its word.
    lms.set_fault(Route::Lti11, Fault::times(at_work, 1)).expect("a fault");
    let mut again = lti11(&lms, "ann", 8);
    again["event_id"] = "again".into();
    let id = worker.submit(&again).await.remove(0);
    let job = worker.job_in(&id, "delivered").await;
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    assert!(lms.refusals().is_empty(), "each request has a nonce of its own: {:?}", lms.refusals());
}
