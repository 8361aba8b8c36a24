//! `passback backup`, `export` and `import` beside a worker under load: what was acknowledged before is in the copy, the
//! copy starts in the place of a store that is lost, and everything in it comes to its end.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use passback::simulator::{Fault, FaultKind, Route, SimulatedLms};
use serde_json::{Value, json};

use super::{
    delivery::{lms, lti11, settings, signing_key},
    oracle::{Books, Ledger, flaky_lms},
    worker::{LOCAL, Worker, wait_for},
};

pub(super) fn passback(worker: &Worker, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    program.args(arguments).arg("--config").arg(worker.config_path());
    program.output().expect("it runs")
}

pub(super) fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn path(path: &Path) -> &str {
    path.to_str().expect("a path")
}

async fn send(worker: &Worker, ledger: &mut Ledger, lms: &SimulatedLms, count: u32) {
    for _ in 0..count {
        let event = ledger.next(lms);
        worker.submit(&event).await;
        ledger.confirm(&event);
    }
}

/// Nothing is lost of what was acknowledged before the backup, whatever came after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_takes_the_place_of_a_store_that_is_lost() {
    let lms = flaky_lms().await;
    let mut worker = Worker::started(&settings(&lms, &signing_key())).await;
    let mut ledger = Ledger::default();
    send(&worker, &mut ledger, &lms, 300).await;
    let vouched = ledger.vouched();
    let folder = worker.folder().join("backups/first");
    fs::create_dir(worker.folder().join("backups")).expect("a folder");
    let command = tokio::task::spawn_blocking({
        let (config, folder) = (worker.config_path(), folder.clone());
        move || {
            let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
            program.arg("backup").arg(&folder).args(["--note", "nightly", "--json", "--config"]).arg(config);
            program.output().expect("it runs")
        }
    });
    while !command.is_finished() {
        send(&worker, &mut ledger, &lms, 10).await;
    }
    let output = command.await.expect("it was waited for");
    assert!(output.status.success(), "{}", words(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(answer["jobs"].as_u64() >= Some(300), "{answer}");
    let entry = &worker.get("/api/v1/audit").await["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["note"], &entry["who"]),
        (&json!("backup"), &json!("nightly"), &json!("operator"))
    );
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);
    let files: BTreeSet<_> = fs::read_dir(&folder).expect("a folder").flatten().map(|file| file.file_name()).collect();
    assert_eq!(files, ["conf", "db", "highwater"].map(Into::into).into(), "no token, and nothing half made");
    Books::copied(&folder).hold_all(&vouched).expect("all that was acknowledged before");
    let again = passback(&worker, &["backup", path(&folder)]);
    assert_eq!((again.status.code(), words(&again).contains("not empty")), (Some(2), true), "{}", words(&again));

    // The machine is lost; the backup takes its place.
    worker.kill();
    fs::remove_dir_all(worker.store()).expect("the store is lost");
    fs::rename(&folder, worker.store()).expect("the backup takes its place");
    lms.clear_faults();
    worker.start().await;
    wait_for("everything in the backup to come to an end", async || {
        let counts = worker.counts().await?;
        if counts["flagged"].as_u64()? > 0 {
            worker.post("/api/v1/replay", &json!({"filter": {}})).await;
        }
        (counts["queued"] == 0 && counts["flagged"] == 0).then_some(())
    })
    .await;
    assert_eq!(worker.stop().await, Some(0));
    let books = Books::copied(worker.store());
    books.hold_all(&vouched).expect("all that was acknowledged before the backup");
    let written = ledger.writes(&lms);
    let ended: Vec<_> = books.ends().collect();
    assert_eq!(ended.len(), books.len());
    assert!(!written.is_empty());
}

/// The attempt that is under way in the worker while the copy is taken counts in the copy as one that was made.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_under_way_counts_as_made_in_the_copy() {
    let lms = lms().await;
    let slow = Fault { kind: FaultKind::Delay { ms: 600_000 }, times: None, every: 1 };
    lms.set_faults(Route::Lti11, vec![slow]).expect("a fault");
    let mut worker = Worker::started(&settings(&lms, &signing_key())).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    wait_for("the attempt to be under way", async || {
        worker.get_open("/metrics").await.1.contains("\npassback_inflight_attempts 1\n").then_some(())
    })
    .await;
    let file = worker.folder().join("jobs.ndjson");
    let exported = passback(&worker, &["export", path(&file)]);
    assert!(exported.status.success(), "{}", words(&exported));
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).expect("a text");
    assert!(text.contains("\"place\":\"under_way\"") && text.contains(&id), "it is under way");
    worker.kill();
    fs::remove_dir_all(worker.store()).expect("the store is lost");
    lms.clear_faults();
    let imported = passback(&worker, &["import", path(&file)]);
    assert!(imported.status.success(), "{}", words(&imported));
    assert!(words(&imported).contains("1 job imported"), "{}", words(&imported));
    worker.start().await;
    let job = worker.job_in(&id, "delivered").await;
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(2), "{job}");
    // Again, of a stopped one: what is there already is left alone, and of a stopped store there is a backup too.
    assert_eq!(worker.stop().await, Some(0));
    let imported = passback(&worker, &["import", "--json", path(&file)]);
    let answer: Value = serde_json::from_slice(&imported.stdout).expect("JSON");
    assert_eq!((&answer["imported"], &answer["already_there"], &answer["jobs"]), (&json!(0), &json!(1), &json!(1)));
    let folder = worker.folder().join("stopped");
    let backup = passback(&worker, &["backup", path(&folder)]);
    assert!(backup.status.success() && folder.join("db").exists(), "{}", words(&backup));
    worker.start().await;
    assert_eq!(worker.job_in(&id, "delivered").await["attempts"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_leaves_nothing_behind_and_says_why() {
    let worker = Worker::new(LOCAL);
    let file = worker.folder().join("jobs.ndjson");
    for arguments in [&["export", path(&file)][..], &["backup", path(&file)]] {
        let failed = passback(&worker, arguments);
        assert_eq!(failed.status.code(), Some(1), "{}", words(&failed));
        assert!(words(&failed).contains("there is no store in"), "{}", words(&failed));
        assert!(!file.exists());
    }
    fs::write(&file, "{\"kind\":\"job\"}\nnonsense\n").expect("a write");
    let failed = passback(&worker, &["import", path(&file)]);
    assert_eq!(failed.status.code(), Some(1));
    for line in ["nothing was imported", "line 1: missing field", "line 2: is no JSON"] {
        assert!(words(&failed).contains(line), "{line}: {}", words(&failed));
    }
    assert!(!worker.store().exists());
    let misspelt = worker.folder().join("bakcups/1");
    let failed = passback(&worker, &["backup", path(&misspelt)]);
    assert_eq!((failed.status.code(), misspelt.exists()), (Some(2), false), "{}", words(&failed));
    assert!(words(&failed).contains("there is no folder") && words(&failed).contains("bakcups:"), "{}", words(&failed));
    assert!(!misspelt.parent().expect("a folder").exists());
    fs::write(&file, "{}\n").expect("a write");
    let failed = passback(&worker, &["export", path(&file)]);
    assert!(words(&failed).contains("is there already, and is not written over"), "{}", words(&failed));
    let failed = passback(&worker, &["backup", path(&worker.folder().join("b")), "--url", "http://127.0.0.1:9"]);
    assert_eq!((failed.status.code(), worker.folder().join("b").exists()), (Some(1), false), "{}", words(&failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_root_makes_is_for_whoever_owns_the_folder_above() {
    let worker = Worker::new(LOCAL);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(worker.folder(), Some(65_534), Some(65_534)).expect("root may");
    }
    let owner = |of: &std::path::Path| fs::metadata(of).expect("it is there").uid();
    let file = worker.folder().join("jobs.ndjson");
    fs::write(&file, "nonsense\n").expect("a write");
    assert_eq!(passback(&worker, &["import", "--partial", path(&file)]).status.code(), Some(1));
    assert!(!worker.store().exists(), "what fails leaves nothing");
    fs::write(&file, "{\"kind\":\"store\",\"format\":1,\"store_format\":1,\"version\":\"0\"}\n").expect("a write");
    let imported = passback(&worker, &["import", "--partial", path(&file)]);
    assert!(imported.status.success() && !words(&imported).contains("chown"), "{}", words(&imported));
    for name in ["", "db", "conf"] {
        assert_eq!(owner(&worker.store().join(name)), owner(worker.folder()), "{name}");
    }
}

/// Whoever may only look may not carry every student's grade away, and two at a time would hold the store up.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_needs_an_operator_and_there_is_one_at_a_time() {
    let tokens = "[[tokens]]\nname = \"looks\"\ntoken = \"viewer-token\"\nrole = \"viewer\"\n\
        [[tokens]]\nname = \"ops\"\ntoken = \"operator-token\"\nrole = \"operator\"\n";
    let worker = Worker::started(&format!("{LOCAL}{tokens}")).await;
    let client = super::worker::client();
    let ask = |token: &'static str| client.post(worker.url("/api/v1/backup")).bearer_auth(token).send();
    assert_eq!(ask("viewer-token").await.expect("an answer").status(), 403);
    assert_eq!(ask("nobody").await.expect("an answer").status(), 401);
    let answer = ask("operator-token").await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    let bytes = answer.bytes().await.expect("a copy");
    assert!(bytes.starts_with(b"{") && bytes.len() > 40);
    // Given up in the middle, it makes room.
    drop(ask("operator-token").await.expect("an answer"));
    wait_for("room for the next", async || {
        let answer = ask("operator-token").await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}
