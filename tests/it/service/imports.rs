//! `passback import` beside a worker that runs: it stands aside, and goes on with the jobs of both stores.

use std::fs;

use serde_json::{Value, json};

use super::{
    backup::{passback, path, words},
    delivery::{lms, lti11, settings, signing_key},
    worker::{LOCAL, Worker, client},
};

/// What a worker exports that has delivered a grade of `ann` and flagged one of `eve`.
async fn exported(lms: &passback::simulator::SimulatedLms) -> (Worker, [String; 2]) {
    lms.refuse_user("eve");
    let config = settings(lms, &signing_key()).replace("[retry]\n", "[retry]\npermanent = \"flag\"\n");
    let mut worker = Worker::started(&config).await;
    let ids: [String; 2] =
        worker.submit(&json!([lti11(lms, "ann", 8), lti11(lms, "eve", 7)])).await.try_into().expect("two");
    worker.job_in(&ids[0], "delivered").await;
    worker.job_in(&ids[1], "flagged").await;
    let file = worker.folder().join("jobs.ndjson");
    let done = passback(&worker, &["export", path(&file)]);
    assert!(done.status.success(), "{}", words(&done));
    assert_eq!(worker.stop().await, Some(0));
    (worker, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_runs_stands_aside_for_an_import_and_goes_on() {
    let lms = lms().await;
    let (old, [ann, eve]) = exported(&lms).await;
    let file = old.folder().join("jobs.ndjson");
    let config = settings(&lms, &signing_key()).replace("[retry]\n", "[retry]\npermanent = \"flag\"\n");
    let mut worker = Worker::started(&config).await;
    let own = worker.submit(&lti11(&lms, "ben", 5)).await.remove(0);
    worker.job_in(&own, "delivered").await;
    // A key that came by a reload is there afterwards too. And nothing is written through a link.
    let config = fs::read_to_string(worker.config_path()).expect("a text");
    fs::write(worker.config_path(), format!("{config}\n[[lti_keys]]\nkey = \"late\"\nsecret = \"s\"\n"))
        .expect("a write");
    assert_eq!(worker.post("/api/v1/reload", &json!({})).await.0, 200);
    let elsewhere = worker.folder().join("elsewhere");
    fs::write(&elsewhere, "as it was").expect("a write");
    std::os::unix::fs::symlink(&elsewhere, worker.store().join("import.brought")).expect("a link");
    let imported = passback(&worker, &["import", "--json", "--note", "the old machine", path(&file)]);
    assert!(imported.status.success(), "{}", words(&imported));
    let answer: Value = serde_json::from_slice(&imported.stdout).expect("JSON");
    assert_eq!((&answer["imported"], &answer["already_there"], &answer["jobs"]), (&json!(2), &json!(0), &json!(3)));
    assert_eq!(fs::read_to_string(&elsewhere).expect("a text"), "as it was");
    let mut late = lti11(&lms, "cid", 5);
    late["lis_data"]["oauth_consumer_key"] = "late".into();
    let late = worker.submit(&late).await.remove(0);
    let late = worker.job_in(&late, "flagged").await;
    assert_eq!(late["reason"], "unauthorized", "the key is known, and the LMS does not know it: {late}");
    // At the same address, in the same process, with all three; and an operator can act on them.
    worker.job_in(&ann, "delivered").await;
    worker.job_in(&own, "delivered").await;
    let flagged = worker.job_in(&eve, "flagged").await;
    assert_eq!(flagged["attempts"].as_array().map(Vec::len), Some(1), "{flagged}");
    lms.welcome_user("eve");
    let (status, _) = worker.post(&format!("/api/v1/jobs/{eve}/replay"), &json!({})).await;
    assert_eq!(status, 200);
    worker.job_in(&eve, "delivered").await;
    let audit = worker.get("/api/v1/audit").await;
    let entries = audit["entries"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| entry["action"] == "import").expect("it is in the audit log");
    assert_eq!(entry["note"], "the old machine", "{entry}");
    assert_eq!(worker.get("/api/v1/import").await["state"], "done");
    // What is there already is left alone, and what is wrong stops nobody.
    let again = passback(&worker, &["import", path(&file)]);
    assert!(again.status.success() && words(&again).contains("2 jobs were there already"), "{}", words(&again));
    let started = worker.get("/api/v1/import").await;
    fs::write(&file, "nonsense\n").expect("a write");
    let bad = passback(&worker, &["import", path(&file)]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(words(&bad).contains("nothing was imported") && words(&bad).contains("line 1"), "{}", words(&bad));
    assert_eq!(worker.get("/api/v1/import").await, started, "it was not even asked");
    assert_eq!(worker.stop().await, Some(0));
    let names: Vec<_> = fs::read_dir(worker.store()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    let left: Vec<_> = names.iter().filter(|name| name.to_string_lossy().starts_with("import.")).collect();
    assert_eq!(left, [&"import.brought"; 0], "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_a_kill_has_left_undone_is_made_at_the_next_start() {
    let lms = lms().await;
    let (old, [ann, _]) = exported(&lms).await;
    let mut worker = Worker::started(&settings(&lms, &signing_key())).await;
    let own = worker.submit(&lti11(&lms, "ben", 5)).await.remove(0);
    worker.job_in(&own, "delivered").await;
    worker.kill();
    // As it was accepted.
    fs::copy(old.folder().join("jobs.ndjson"), worker.store().join("import.whole")).expect("a copy");
    worker.start().await;
    worker.job_in(&ann, "delivered").await;
    worker.job_in(&own, "delivered").await;
    assert_eq!(worker.get("/api/v1/import").await["result"]["imported"], 2);
    assert!(!worker.store().join("import.whole").exists());
    // One that cannot be made keeps nobody from starting.
    assert_eq!(worker.stop().await, Some(0));
    fs::write(worker.store().join("import.whole"), "nonsense\n").expect("a write");
    worker.start().await;
    let told = worker.get("/api/v1/import").await;
    assert_eq!(told["state"], "failed", "{told}");
    assert!(told["error"].as_str().is_some_and(|why| why.contains("line 1")), "{told}");
    worker.job_in(&own, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_needs_an_operator_and_a_file() {
    let tokens = "[[tokens]]\nname = \"looks\"\ntoken = \"viewer-token\"\nrole = \"viewer\"\n\
        [[tokens]]\nname = \"ops\"\ntoken = \"operator-token\"\nrole = \"operator\"\n";
    let worker = Worker::started(&format!("{LOCAL}{tokens}")).await;
    let ask = async |token: &str, body: &'static str| {
        let request = client().post(worker.url("/api/v1/import")).bearer_auth(token);
        let answer = request.header("content-type", "application/json").body(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    assert_eq!(ask("viewer-token", "").await.0, 403);
    assert_eq!(ask("nobody", "").await.0, 401);
    assert_eq!(ask("operator-token", "{\"path\": \"/etc/passwd\"}").await.0, 400);
    let (status, words) = ask("operator-token", "{\"partial\": true}").await;
    assert!(status == 409 && words.contains("import.brought") && words.contains("passback import"), "{words}");
}
