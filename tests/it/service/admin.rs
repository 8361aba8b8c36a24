//! What admins do is noted, and survives: the audit log, bulk changes over a kill, the configuration read anew, and who
//! may do what.

use std::fs;

use passback::{config::tokens::Right, surfaces::admin};
use serde_json::{Value, json};

use super::{
    delivery::{lms, lti11, settings, signing_key},
    worker::{LOCAL, Worker, client, wait_for},
};

/// An event whose key nobody knows: flagged at once, with nothing sent.
fn doomed(lms: &passback::simulator::SimulatedLms, student: &str, activity: &str) -> Value {
    let mut event = lti11(lms, student, 8);
    event["activity_id"] = activity.into();
    event["lis_data"]["oauth_consumer_key"] = "nobody".into();
    event
}

async fn entries(worker: &Worker) -> Vec<Value> {
    worker.get("/api/v1/audit").await["entries"].as_array().expect("entries").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_and_why_is_noted_and_outlives_a_kill() {
    let lms = lms().await;
    let mut worker = Worker::started(&settings(&lms, &signing_key())).await;
    let ids = worker.submit(&json!([doomed(&lms, "ann", "quiz"), doomed(&lms, "ben", "quiz")])).await;
    for id in &ids {
        worker.job_in(id, "flagged").await;
    }
    let post = async |path: &str, body: Value| {
        let (status, answer) = worker.post(path, &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    post("/api/v1/platforms/campus/pause", json!({"note": "maintenance\ntonight"})).await;
    post(&format!("/api/v1/jobs/{}/replay", ids[0]), json!({"note": "the key is there now"})).await;
    post(&format!("/api/v1/jobs/{}/discard", ids[0]), json!({})).await;
    let (status, refused) = worker.post(&format!("/api/v1/jobs/{}/replay", ids[0]), &json!({})).await;
    assert_eq!(status, 409, "{refused}");
    let filter = json!({"reason": "unknown_key"});
    assert_eq!(post("/api/v1/replay", json!({"filter": filter, "dry_run": true})).await["matched"], 1);
    let would = post("/api/v1/discard", json!({"filter": filter, "dry_run": true})).await;
    assert_eq!(would, json!({"matched": 1, "discarded": 1}));
    let done = post("/api/v1/discard", json!({"filter": filter, "note": "course is over"})).await;
    assert_eq!(done, json!({"matched": 1, "discarded": 1}));
    post("/api/v1/platforms/campus/resume", json!({})).await;
    post("/api/v1/reload", json!({})).await;
    let seen = entries(&worker).await;
    let told: Vec<_> =
        seen.iter().map(|entry| (entry["action"].as_str().expect("a text"), entry["note"].as_str())).collect();
    let expected = [
        ("reload", None),
        ("resume", None),
        ("discard", Some("course is over")),
        ("discard", None),
        ("replay", Some("the key is there now")),
        ("pause", Some("maintenance\ntonight")),
    ];
    assert_eq!(told, expected, "what was refused or rehearsed was not done");
    assert!(seen.iter().all(|entry| entry["who"] == "operator" && entry["at"].is_string()), "{seen:?}");
    assert_eq!((&seen[2]["filter"], &seen[2]["count"], &seen[2]["job"]), (&filter, &json!(1), &Value::Null));
    assert_eq!((&seen[4]["job"], &seen[4]["count"]), (&json!(ids[0]), &json!(1)));
    assert_eq!(seen[5]["filter"], json!({"platform": "campus"}));
    let changes = worker.get(&format!("/api/v1/jobs/{}", ids[0])).await["changes"].clone();
    let change = |entry: &Value, action: &str, note: Option<&str>| json!({"at": entry["at"], "who": "operator", "action": action, "note": note, "bulk": null});
    let replayed = change(&seen[4], "replay", Some("the key is there now"));
    assert_eq!(
        changes,
        json!([replayed, change(&seen[3], "discard", None)]),
        "the job tells its own part, oldest first"
    );
    let other = worker.get(&format!("/api/v1/jobs/{}", ids[1])).await["changes"].clone();
    assert_eq!(other, json!([]), "and none of another's");
    worker.kill();
    worker.start().await;
    assert_eq!(entries(&worker).await, seen);
    let mut paged = Vec::new();
    let mut path = "/api/v1/audit?limit=4".to_owned();
    loop {
        let page = worker.get(&path).await;
        paged.extend(page["entries"].as_array().expect("entries").clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/audit?limit=4&cursor={next}");
    }
    assert_eq!(paged, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_noted_is_refused_by_name() {
    let worker = Worker::started(LOCAL).await;
    let long = "x".repeat(501);
    let check = async |path: &str, body: Value, named: &str| {
        let (status, problem) = worker.post(path, &body).await;
        assert_eq!(status, 400, "{path} {body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(named)), "{named}: {problem}");
    };
    let job = "/api/v1/jobs/01JD8Y3K5V7Q2W9XZB4N6M8P0R/replay";
    check(job, json!({"note": long}), "note").await;
    check(job, json!({"why": "x"}), "why").await;
    check("/api/v1/discard", json!({"filter": {}, "note": long}), "note").await;
    check("/api/v1/discard", json!({"filter": {"colour": "red"}}), "colour").await;
    check("/api/v1/discard", json!({}), "filter").await;
    check("/api/v1/discard", json!({"filter": [null, null, null, null, null, null, null, null]}), "object").await;
    check("/api/v1/replay", json!([{}]), "object").await;
    check("/api/v1/reload", json!([]), "object").await;
    check("/api/v1/replay", json!({"filter": {"user_id": "x".repeat(1_300)}}), "filter").await;
    check("/api/v1/replay", json!({"filter": {}, "dry_run": true, "background": true}), "background").await;
    for path in ["/api/v1/audit", "/api/v1/replays"] {
        for (query, named) in
            [("who=ops", "who"), ("limit=0", "limit"), ("cursor=x", "cursor"), ("state=done", "state")]
        {
            let problem = worker.get(&format!("{path}?{query}")).await;
            assert_eq!((&problem["status"], problem["parameter"].as_str()), (&json!(400), Some(named)), "{problem}");
        }
    }
    assert_eq!(worker.get("/api/v1/replays/01JD8Y3K5V7Q2W9XZB4N6M8P0R").await["status"], 404);
    assert!(entries(&worker).await.is_empty(), "nothing was done");
}

/// Replayed at a platform that is paused, a job stays queued, so it shows in the counts how many were.
#[tokio::test(flavor = "multi_thread")]
async fn a_background_replay_of_thousands_comes_to_a_true_end_across_a_kill() {
    const QUIZ: usize = 2_500;
    const ESSAY: usize = 500;
    let lms = lms().await;
    let mut worker = Worker::started(&settings(&lms, &signing_key())).await;
    let events: Vec<Value> = (0..QUIZ + ESSAY)
        .map(|student| doomed(&lms, &format!("s{student}"), if student % 6 == 5 { "essay" } else { "quiz" }))
        .collect();
    for some in events.chunks(1_000) {
        worker.submit(&json!(some)).await;
    }
    let counts = async |worker: &Worker, state: &str| worker.counts().await.and_then(|counts| counts[state].as_u64());
    let all = (QUIZ + ESSAY) as u64;
    wait_for("all to be flagged", async || (counts(&worker, "flagged").await == Some(all)).then_some(())).await;
    assert_eq!(worker.post("/api/v1/platforms/campus/pause", &json!({})).await.0, 200);
    let filter = json!({"activity_id": "quiz", "platform": "campus"});
    let wish = json!({"filter": filter, "background": true, "note": "the key is there now"});
    let (status, task) = worker.post("/api/v1/replay", &wish).await;
    assert_eq!((status, &task["state"], &task["filter"]), (202, &json!("running"), &filter), "{task}");
    let path = format!("/api/v1/replays/{}", task["id"].as_str().expect("an id"));
    let begun = wait_for("some to be replayed", async || {
        let task = worker.get(&path).await;
        task["matched"].as_u64().filter(|matched| *matched > 0)
    })
    .await;
    worker.kill();
    assert!(begun < QUIZ as u64, "it was killed before its end");
    worker.start().await;
    let task = wait_for("the replay to end", async || {
        let task = worker.get(&path).await;
        (task["state"] == "done").then_some(task)
    })
    .await;
    let number = |name: &str| task[name].as_u64().expect("a number");
    let numbers = ["total", "matched", "replayed", "superseded", "discarded", "skipped"].map(number);
    assert_eq!(numbers, [QUIZ as u64, QUIZ as u64, QUIZ as u64, 0, 0, 0], "{task}");
    assert!(task["ended_at"].is_string() && task["error"].is_null(), "{task}");
    let after = worker.counts().await.expect("counts");
    assert_eq!((&after["queued"], &after["flagged"]), (&json!(QUIZ), &json!(ESSAY)), "each is counted once: {after}");
    let stand = json!({"queued": QUIZ, "delivered": 0, "flagged": 0, "superseded": 0, "discarded": 0, "gone": 0});
    assert_eq!(task["now"], stand, "it is over, and its grades wait for the platform");
    assert_eq!(worker.get("/api/v1/replays").await["replays"], json!([task]));
    let mut told: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        // No divisor of a step, so that a page ends in the middle of one.
        let page = worker.get(&format!("{path}/jobs?limit=333{cursor}")).await;
        for entry in page["jobs"].as_array().expect("jobs") {
            assert_eq!((&entry["result"], &entry["job"]["state"]), (&json!("replayed"), &json!("queued")), "{entry}");
            assert_eq!((&entry["job"]["id"], &entry["job"]["activity_id"]), (&entry["id"], &json!("quiz")), "{entry}");
            told.push(entry["id"].as_str().expect("an id").to_owned());
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(told.len(), QUIZ, "each job is told of");
    assert!(told.is_sorted_by(|newer, older| newer > older), "once, newest first");
    let groups = worker.get("/api/v1/groups?state=flagged").await;
    let group = json!({
        "state": "flagged", "platform": "campus", "reason": "unknown_key", "count": ESSAY,
        "advice": passback::domain::outcome::FailureReason::UnknownKey.advice(),
    });
    assert_eq!(groups, json!({"groups": [group], "omitted": 0}));
    let entry = entries(&worker).await.remove(0);
    assert_eq!((&entry["action"], &entry["count"], &entry["filter"]), (&json!("replay"), &json!(QUIZ), &filter));
    assert_eq!(entry["bulk"], task["id"]);
    let changes = async |id: &str| worker.get(&format!("/api/v1/jobs/{id}")).await["changes"].clone();
    let change = json!({
        "at": entry["at"], "who": "operator", "action": "replay", "note": "the key is there now", "bulk": task["id"],
    });
    for id in [&told[0], &told[QUIZ / 2], &told[QUIZ - 1]] {
        assert_eq!(changes(id).await, json!([change]), "each of its jobs tells of it");
    }
    let left = worker.get("/api/v1/jobs?state=flagged&limit=1").await["jobs"][0]["id"].clone();
    assert_eq!(changes(left.as_str().expect("an id")).await, json!([]), "and no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_discard_of_a_platform_that_nobody_knows_ends_with_nothing_done() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    let id = worker.submit(&doomed(&lms, "ann", "quiz")).await.remove(0);
    worker.job_in(&id, "flagged").await;
    let end_of = async |filter: Value| {
        let (status, task) = worker.post("/api/v1/discard", &json!({"filter": filter, "background": true})).await;
        assert_eq!(status, 202, "{task}");
        let path = format!("/api/v1/replays/{}", task["id"].as_str().expect("an id"));
        wait_for("it to end", async || {
            let task = worker.get(&path).await;
            (task["state"] == "done").then_some(task)
        })
        .await
    };
    assert_eq!(end_of(json!({"platform": "nowhere"})).await["matched"], 0);
    let task = end_of(json!({})).await;
    assert_eq!((&task["action"], &task["matched"], &task["discarded"]), (&json!("discard"), &json!(1), &json!(1)));
    worker.job_in(&id, "discarded").await;
    assert_eq!((&task["now"]["discarded"], &task["now"]["flagged"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_read_anew_or_says_what_is_wrong() {
    let token =
        |name: &str, token: &str| format!("[[tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\nrole = \"operator\"\n");
    let worker = Worker::started(&format!("{LOCAL}{}", token("ops", "first-s3cret"))).await;
    let call = async |path: &str, token: &str| {
        let answer = client().post(worker.url(path)).bearer_auth(token).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    let text = fs::read_to_string(worker.config_path()).expect("a file");
    fs::write(worker.config_path(), format!("{text}[[tokens]]\nname = \"ops\"\ntoken = \"second-s3cret\nrole = 7\n"))
        .expect("a file");
    let (status, problem) = call("/api/v1/reload", "first-s3cret").await;
    assert_eq!(status, 422, "{problem}");
    let detail = problem["detail"].as_str().expect("a text");
    assert!(detail.contains("nothing has changed") && detail.contains("passback.toml"), "{detail}");
    assert!(!detail.contains("s3cret"), "{detail}");
    fs::write(worker.config_path(), format!("{text}{}", token("new", "second-s3cret"))).expect("a file");
    assert_eq!(call("/api/v1/reload", "second-s3cret").await.0, 401, "a broken file has changed nothing");
    let reloaded = json!({"status": "reloaded", "changes": ["[[tokens]] new is new"]});
    assert_eq!(call("/api/v1/reload", "first-s3cret").await, (200, reloaded));
    let waiting = fs::read_to_string(worker.config_path()).expect("a file") + "[delivery]\ntimeout = \"7s\"\n";
    fs::write(worker.config_path(), waiting).expect("a file");
    let reloaded = json!({"status": "reloaded", "changes": ["[delivery] has changed, and waits for a restart"]});
    for time in 1..=2 {
        assert_eq!(
            call("/api/v1/reload", "second-s3cret").await,
            (200, reloaded.clone()),
            "it still waits at time {time}"
        );
    }
    let audit = client().get(worker.url("/api/v1/audit")).bearer_auth("second-s3cret");
    let audit: Value = audit.send().await.expect("an answer").json().await.expect("JSON");
    let who: Vec<_> = audit["entries"].as_array().expect("entries").iter().map(|entry| entry["who"].clone()).collect();
    assert_eq!(who, ["new", "new", "ops"], "what was refused was not done");
}

/// Every call that there is, with a token of each role, and with none.
#[tokio::test(flavor = "multi_thread")]
async fn no_role_may_do_more_than_its_own() {
    const ROLES: [&str; 3] = ["producer", "viewer", "operator"];
    let tokens = ROLES.map(|role| format!("[[tokens]]\nname = \"{role}\"\ntoken = \"{role}-t\"\nrole = \"{role}\"\n"));
    let worker = Worker::started(&format!("{LOCAL}{}", tokens.concat())).await;
    let mut tried = 0;
    for call in admin::calls() {
        let path = call.path.replace("{id}", "01JD8Y3K5V7Q2W9XZB4N6M8P0R").replace("{name}", "nowhere");
        let status = async |token: Option<&str>| {
            let request = client().request(call.method.parse().expect("a method"), worker.url(&path));
            let request = match token {
                Some(role) => request.bearer_auth(format!("{role}-t")),
                None => request,
            };
            request.send().await.expect("an answer").status().as_u16()
        };
        let Some(right) = call.needs else {
            assert_eq!(status(None).await, 200, "{} {path} needs no token", call.method);
            continue;
        };
        tried += 1;
        assert_eq!(status(None).await, 401, "{} {path} without a token", call.method);
        assert_eq!(status(Some("nobody")).await, 401, "{} {path} with a wrong token", call.method);
        for role in ROLES {
            let may = role == "operator" || (role == "viewer" && right == Right::Read);
            let status = status(Some(role)).await;
            assert_eq!(status != 403 && status != 401, may, "{} {path} as {role}: {status}", call.method);
        }
    }
    assert!(tried >= 15, "only {tried} calls need a token");
}
