//! `passback export` from outside: of a running worker a copy is written, of a stopped one the store, and of a damaged
//! one what can be read.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::worker::{LOCAL, Worker};

fn export(worker: &Worker, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    program.arg("export").args(arguments).arg("--config").arg(worker.folder().join("passback.toml"));
    program.output().expect("it runs")
}

fn ids(lines: &[u8]) -> Vec<String> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<Value>(line).expect("a line of JSON"));
    let jobs = lines.filter(|line| line["kind"] == "job");
    jobs.map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_store_is_written_and_a_damaged_one_as_far_as_it_can_be_read() {
    let mut worker = Worker::started(LOCAL).await;
    let event = |number: u32| {
        json!({
            "session_id": format!("s-{number}"), "event_id": format!("e-{number}"), "score": 8, "max_score": 10,
            "lis_data": {
                "lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": format!("c-{number}"),
                "oauth_consumer_key": "nobody",
            },
        })
    };
    let mut known = worker.submit(&(0..30).map(event).collect::<Vec<_>>().into()).await;
    known.sort();
    let refused = export(&worker, &["--salvage"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), words.contains("stop that one first")), (Some(1), true), "{words}");
    let beside = export(&worker, &["-"]);
    assert_eq!((beside.status.code(), ids(&beside.stdout)), (Some(0), known.clone()), "a copy is written");
    assert_eq!(worker.stop().await, Some(0));
    let file = worker.folder().join("jobs.ndjson");
    let written = export(&worker, &[file.to_str().expect("a path")]);
    assert!(written.status.success(), "{written:?}");
    assert_eq!(ids(&fs::read(&file).expect("the file")), known);
    let again = export(&worker, &[file.to_str().expect("a path")]);
    assert_eq!(again.status.code(), Some(2), "a file is not written over");
    // sled refuses the whole store when its snapshot is damaged.
    worker.start().await;
    worker.kill();
    let store = worker.folder().join("store");
    let snapshots = fs::read_dir(&store).expect("the store").flatten().map(|entry| entry.path());
    for snapshot in snapshots.filter(|path| path.to_string_lossy().contains("/snap.")) {
        fs::write(snapshot, b"nonsense").expect("a write");
    }
    let refused = export(&worker, &[]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), words.contains("export --salvage")), (Some(1), true), "{words}");
    let salvaged = export(&worker, &["--salvage"]);
    let words = String::from_utf8_lossy(&salvaged.stderr).into_owned();
    assert_eq!((salvaged.status.code(), words.contains("written: 30 jobs")), (Some(0), true), "{words}");
    assert_eq!(ids(&salvaged.stdout), known);
}
