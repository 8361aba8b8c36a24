//! The whole program under a clock that is set while it runs, forward and back (libfaketime). The platform's clock is
//! right, and it refuses signatures that are more than five minutes off.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use passback::simulator::{Cell, Client, Jwks};
use serde_json::{Value, json};

use super::{
    delivery::{ags, lms, lti11, settings, signing_key},
    power_cuts::aloud,
    worker::{QUICK, Worker, wait_for},
};

/// Debian's package `faketime`; `tests/run` installs it.
fn library() -> Option<PathBuf> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// A worker whose clock is off by as many seconds as stand in a file. The steady clock is left alone.
async fn start(worker: &mut Worker, library: &Path) -> impl Fn(i64) + use<> {
    let file = worker.folder().join("clock");
    let set = {
        let file = file.clone();
        move |seconds: i64| {
            // Renamed into its place, so that no reader sees half of it.
            let new = file.with_extension("new");
            std::fs::write(&new, format!("{seconds:+}\n")).expect("a file");
            std::fs::rename(&new, &file).expect("a file");
        }
    };
    set(0);
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    program.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &file).env("FAKETIME_NO_CACHE", "1");
    program.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    worker.spawn_as(program);
    worker.wait_until_it_answers().await;
    set
}

/// Waits for a job's attempt that was refused for its signature or its assertion.
async fn refused(worker: &Worker, id: &str, reason: &str) {
    let path = format!("/api/v1/jobs/{id}");
    wait_for(&format!("a try that is refused as {reason}"), async || {
        let job = worker.get(&path).await;
        (job["attempts"].as_array()?.last()?["outcome"] == reason).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_an_hour_keeps_nobody_waiting_for_one() {
    let Some(library) = library() else {
        aloud("the whole program under a clock that is set: there is no libfaketime (package faketime)");
        return;
    };
    let lms = lms().await;
    // Long enough that a try by chance is no explanation, short enough for a test.
    let schedule = "[retry]\ninitial = \"4s\"\nmultiplier = 1.0\nmax = \"4s\"\n";
    let mut worker = Worker::new(&settings(&lms, &signing_key()).replace(QUICK, schedule));
    let set = start(&mut worker, &library).await;
    lms.add_client(Client::new("tool-1", Jwks::Url(worker.url("/.well-known/jwks.json")))).expect("a client");
    let first = worker.submit(&json!([lti11(&lms, "ann", 8), ags(&lms, "ben", 7)])).await;
    for id in &first {
        worker.job_in(id, "delivered").await;
    }
    // An hour ahead: nothing that it signs is taken. Then it is put right, an hour back.
    set(3_600);
    let ahead = worker.submit(&lti11(&lms, "cid", 6)).await.remove(0);
    refused(&worker, &ahead, "unauthorized").await;
    set(0);
    let job = worker.job_in(&ahead, "delivered").await;
    wait_for("the log to say so", async || worker.log().contains("the clock was set back").then_some(())).await;
    assert!(attempts(&job) <= 4, "it kept to its schedule: {job}");
    // A newer grade of the same cell, with our clock an hour behind now: it is still the newer one.
    set(-3_600);
    let behind = worker.submit(&json!([lti11(&lms, "cid", 9), ags(&lms, "dot", 5)])).await;
    refused(&worker, &behind[0], "unauthorized").await;
    // The token from before would serve an hour longer by this clock; nobody knows that, so a new one is asked for.
    refused(&worker, &behind[1], "token_refused").await;
    set(0);
    for id in &behind {
        let job = worker.job_in(id, "delivered").await;
        assert!(attempts(&job) <= 4, "it kept to its schedule: {job}");
    }
    let grade = |cell: &Cell| lms.grade(cell).map(|grade| grade.score / grade.maximum);
    assert_eq!(grade(&Cell::lti11("cid")), Some(0.9), "the newest grade is there");
    assert_eq!(grade(&Cell::ags("c", "1", "dot")), Some(0.5));
    assert_eq!(worker.stop().await, Some(0));
}

fn attempts(job: &Value) -> usize {
    job["attempts"].as_array().map_or(0, Vec::len)
}
