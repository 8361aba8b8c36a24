//! The commands of an admin against a running worker, as a person at a terminal and as a program: whoever looks after it
//! holds none of its secrets.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::worker::{LOCAL, Worker, wait_for};

/// What the worker needs and an admin has not.
const SECRETS: &str = "[[lti_keys]]\nkey = \"k\"\nsecret = { env = \"PASSBACK_TEST_LTI_SECRET\" }\n";

async fn started() -> Worker {
    let mut worker = Worker::new(&format!("{LOCAL}{SECRETS}"));
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    program.env("PASSBACK_TEST_LTI_SECRET", "hunter2");
    worker.start_by(program).await;
    worker
}

fn program(worker: &Worker, arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    program.args(arguments).arg("--config").arg(worker.config_path()).env_remove("PASSBACK_TEST_LTI_SECRET");
    program
}

fn run(worker: &Worker, arguments: &[&str]) -> (String, String) {
    let output: Output = program(worker, arguments).output().expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {words}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), words)
}

fn json_of(worker: &Worker, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(worker, arguments).0).expect("JSON")
}

/// The same on a terminal of some columns.
fn on_a_terminal(worker: &Worker, columns: u16, by: &str, arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_passback");
    let line = format!("stty cols {columns}; {by} {program} {arguments} --config {}", worker.config_path().display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::null());
    let output = terminal.output().expect("script, of the package bsdutils");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

fn event(number: u32) -> Value {
    // Nobody knows the key, so it is flagged at once.
    json!({
        "session_id": format!("s-{number}"), "event_id": format!("e-{number}"), "score": 8, "max_score": 10,
        "lis_data": {
            "lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": format!("c-{number}"),
            "oauth_consumer_key": "nobody",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_without_the_secrets_sees_and_does_everything_at_the_terminal() {
    let worker = started().await;
    let missing = program(&worker, &["check"]).output().expect("it runs");
    assert_eq!(missing.status.code(), Some(2), "the worker's own commands need them");
    let ids = worker.submit(&(0..30).map(event).collect::<Vec<_>>().into()).await;
    wait_for("all to be flagged", async || (worker.counts().await?["flagged"] == 30).then_some(())).await;

    let groups = json_of(&worker, &["failures", "list", "--group", "--json"]);
    let group = &groups["groups"][0];
    assert_eq!(
        (&group["platform"], &group["reason"], &group["count"]),
        (&json!("lms.example.edu"), &json!("unknown_key"), &json!(30))
    );
    let (table, _) = run(&worker, &["failures", "list", "--group"]);
    assert!(table.lines().nth(1).expect("a line").contains("30  lms.example.edu  unknown_key  "), "{table}");

    let (said, _) = run(&worker, &["platforms", "pause", "lms.example.edu", "--note", "maintenance"]);
    assert_eq!(said, "lms.example.edu: paused, 0 queued\n");
    let platforms = json_of(&worker, &["platforms", "list", "--json"]);
    assert_eq!(platforms["platforms"][0]["state"], "paused");
    let (begun, _) = run(&worker, &["failures", "replay", "--session", "s-7", "--background"]);
    assert!(begun.starts_with("begun as "), "off a terminal its id is printed: {begun}");
    let (said, _) = run(&worker, &["platforms", "resume", "lms.example.edu"]);
    assert!(said.starts_with("lms.example.edu: open"), "{said}");
    // Their key is still unknown: who waits learns that, and not that they were queued again.
    let waited = program(&worker, &["failures", "replay", "--delivery", "lti11", "--background", "--wait"]).output();
    let waited = waited.expect("it runs");
    let (ended, words) = (String::from_utf8_lossy(&waited.stdout), String::from_utf8_lossy(&waited.stderr));
    assert!(ended.contains("29 jobs queued again") || ended.contains("30 jobs queued again"), "{ended}");
    assert!(waited.status.code() == Some(1) && words.contains("flagged again: see `passback failures list"), "{words}");
    names_that_nobody_has_are_told(&worker);
    let (listed, _) = run(&worker, &["replays"]);
    assert_eq!(listed.lines().filter(|line| line.contains("replay  done")).count(), 2, "{listed}");
    let id = listed.lines().nth(1).and_then(|line| line.split_whitespace().next()).expect("an id").to_owned();
    assert_eq!(json_of(&worker, &["replays", &id, "--json"])["state"], "done");
    let (jobs, _) = run(&worker, &["replays", &id, "--jobs"]);
    assert!(jobs.lines().count() >= 30 && jobs.contains("replayed"), "{jobs}");
    let (log, _) = run(&worker, &["audit", "--limit", "10"]);
    for what in ["resume", "replay", "pause", "session_id s-7", "delivery lti11", "maintenance"] {
        assert!(log.contains(what), "{what}: {log}");
    }
    assert_eq!(json_of(&worker, &["audit", "--limit", "2", "--json"])["entries"].as_array().map(Vec::len), Some(2));
    let (shown, _) = run(&worker, &["jobs", "show", &ids[0]]);
    assert!(shown.contains("Address  "), "{shown}");
    for columns in [60_u16, 100, 160] {
        for command in
            ["stats", "failures list", "jobs list", "audit", "replays", "platforms list", "failures list --group"]
        {
            let seen = on_a_terminal(&worker, columns, "", command);
            let plain = without_colours(&seen);
            assert!(seen.contains("\u{1b}["), "{command} has colours on a terminal: {seen:?}");
            let wide = plain.lines().find(|line| line.chars().count() > usize::from(columns));
            assert!(wide.is_none_or(|line| line.contains("--cursor")), "{columns}: {wide:?}");
        }
    }
    let (piped, _) = run(&worker, &["failures", "list"]);
    assert!(!piped.contains('\u{1b}'), "a pipe gets no colours");
}

/// A filter that finds nothing for ever does not look like good news.
fn names_that_nobody_has_are_told(worker: &Worker) {
    let check = |arguments: &[&str], code: i32| {
        let output = program(worker, arguments).output().expect("it runs");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        assert!(
            words.contains("no platform is called lms.example; there is lms.example.edu"),
            "{arguments:?}: {words}"
        );
    };
    for list in ["failures", "jobs"] {
        check(&[list, "list", "--platform", "lms.example"], 0);
        check(&[list, "list", "--platform", "lms.example", "--json"], 0);
    }
    for change in ["replay", "discard"] {
        for how in ["--dry-run", "--json", "--background"] {
            check(&["failures", change, "--platform", "lms.example", how], 2);
        }
    }
    for verb in ["pause", "resume", "check"] {
        check(&["platforms", verb, "lms.example"], 2);
    }
    let (_, words) = run(worker, &["failures", "list", "--platform", "lms.example.edu", "--user", "nobody"]);
    assert_eq!(words.trim(), "no flagged jobs", "it is known, and has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_anew_and_the_way_to_a_platform_is_tried_by_the_worker() {
    let platform = "[[platforms]]\nname = \"campus\"\norigin = \"http://127.0.0.1:9\"\n";
    let mut worker = Worker::new(&format!("{LOCAL}{platform}"));
    worker.start().await;
    let output = program(&worker, &["platforms", "check", "campus"]).output().expect("it runs");
    let (told, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.code() == Some(1) && words.contains("steps failed"), "{told}{words}");
    assert!(
        told.contains("failed   platform campus, connection: ") && told.contains("         → check host"),
        "{told}"
    );
    let json = program(&worker, &["platforms", "check", "campus", "--json"]).output().expect("it runs");
    let document: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((json.status.code(), &document["ok"]), (Some(1), &json!(false)));

    let path = worker.config_path();
    let right = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, right.replace("campus", "moodle")).expect("a write");
    let (told, words) = run(&worker, &["reload", "--note", "it has another name now"]);
    assert!(words.contains("were read anew"), "{words}");
    assert_eq!(told, "[[platforms]] moodle is new\n[[platforms]] campus is gone\n");
    assert_eq!(json_of(&worker, &["platforms", "list", "--json"])["platforms"][0]["name"], "moodle");
    std::fs::write(&path, format!("{right}[[lti_keys]]\nkye = 1\n")).expect("a write");
    let refused = program(&worker, &["reload", "--url", &worker.url(""), "--token", &worker.token()]).output();
    let refused = refused.expect("it runs");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(2) && words.contains("nothing has changed") && words.contains("kye"),
        "{words}"
    );
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once(|letter: char| letter.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_watched_until_ctrl_c_which_ends_well() {
    let worker = started().await;
    let mut child = program(&worker, &["stats", "--watch", "1"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let headings = output.lines().map(|line| line.expect("a line")).filter(|line| line.starts_with("JOBS ")).take(2);
    assert_eq!(headings.count(), 2, "one block after another");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number")).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    assert!(child.wait().expect("it ends").success());
    let seen = on_a_terminal(&worker, 100, "timeout --foreground --preserve-status -s INT 5", "stats --watch 1");
    let redrawn = seen.matches("\u{1b}[H\u{1b}[2J").count();
    assert!(redrawn >= 2, "it is drawn in the same place: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_shown_without_its_secrets() {
    let worker = started().await;
    let mut shown = program(&worker, &["config"]);
    let output = shown.env("PASSBACK_TEST_LTI_SECRET", "hunter2").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("hunter2"), "{text}");
    assert!(
        text.contains("secret = { env = \"PASSBACK_TEST_LTI_SECRET\" }") && text.contains("allow_http = true"),
        "{text}"
    );
    let missing = program(&worker, &["config"]).output().expect("it runs");
    let words = String::from_utf8_lossy(&missing.stderr).into_owned();
    let marked = String::from_utf8_lossy(&missing.stdout).into_owned();
    assert!(missing.status.success() && words.contains("1 secret is not here"), "{words}");
    assert!(marked.contains("(not set)") && marked.replace(" (not set)", "") == text, "{marked}");
    let (default, _) = run(&worker, &["config", "--default"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/passback.toml");
    assert_eq!(default, std::fs::read_to_string(file).expect("the file"));
}
