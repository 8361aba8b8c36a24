//! What others on the machine can learn from the process and from its files.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::Command,
};

use passback::config::{Config, LoadOptions};
use serde_json::json;

use crate::{
    service::delivery::{lms, lti11, settings, signing_key},
    service::worker::{LOCAL, Worker},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_passback");

/// A shell that lets everything be seen, as a careless machine would, and becomes the worker.
fn careless(program: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask 000; ulimit -c unlimited; exec \"$0\" \"$@\"", program]);
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_dump() {
    let mut worker = Worker::new(LOCAL);
    worker.start_by(careless(PROGRAM)).await;
    let proc = PathBuf::from(format!("/proc/{}", worker.pid()));
    let limits = fs::read_to_string(proc.join("limits")).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
    worker.signal("ABRT");
    let ended = worker.end().await;
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
}

/// The kernel gives the files under /proc of a process that shut itself off to root, so nobody else of its own user can
/// read its memory or its environment, nor attach to it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_of_its_own_user_can_read_its_memory_or_environment() {
    const NOBODY: u32 = 65_534;
    let is_root = fs::metadata("/proc/self").expect("our process").uid() == 0;
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = Worker::new(LOCAL);
    if is_root {
        // As root everything is root's: the worker has to run as somebody else to show the difference.
        let copy = folder.path().join("passback");
        fs::copy(PROGRAM, &copy).expect("a copy that others can start");
        for path in [folder.path(), worker.folder()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        chown(worker.folder(), Some(NOBODY), Some(NOBODY)).expect("we are root");
        let mut program = Command::new(copy);
        program.uid(NOBODY).gid(NOBODY);
        worker.start_by(program).await;
    } else {
        worker.start().await;
    }
    let proc = PathBuf::from(format!("/proc/{}", worker.pid()));
    let status = fs::read_to_string(proc.join("status")).expect("its status");
    let runs_as = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line");
    assert!(!runs_as.split_whitespace().any(|uid| uid == "0"), "{runs_as}");
    for file in ["environ", "mem", "maps"] {
        assert_eq!(fs::metadata(proc.join(file)).expect(file).uid(), 0, "{file} is its user's to read");
    }
    // It can still see itself, so the process metrics are there.
    let (_, metrics) = worker.get_open("/metrics").await;
    for name in ["process_open_fds ", "process_resident_memory_bytes ", "process_max_fds "] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is not in the metrics");
    }
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_store_is_its_owners_alone() {
    let mut worker = Worker::new(LOCAL);
    worker.start_by(careless(PROGRAM)).await;
    worker
        .submit(&json!({"session_id": "s", "score": 1, "max_score": 1, "comment": "x".repeat(50_000), "lis_data": {
            "lis_outcome_service_url": "http://127.0.0.1:9/o", "lis_result_sourcedid": "x", "oauth_consumer_key": "k"}}))
        .await;
    assert_eq!(worker.stop().await, Some(0));
    let store = worker.folder().join("store");
    assert_eq!(fs::metadata(&store).expect("the store").permissions().mode() & 0o777, 0o700);
    assert!(private_files(&store) >= 4);
    // Files of an earlier day are shut as well, and named.
    fs::set_permissions(store.join("operator.token"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::set_permissions(store.join("db"), fs::Permissions::from_mode(0o666)).expect("it is ours");
    worker.start_by(careless(PROGRAM)).await;
    private_files(&store);
    for name in ["operator.token", "db"] {
        let path = store.join(name).display().to_string();
        assert!(worker.log().lines().any(|line| line.contains("WARN") && line.contains(&path)), "{}", worker.log());
    }
}

/// Checks every file below a folder, and counts them.
fn private_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            let found = fs::metadata(&path).expect("it is there");
            assert_eq!(found.permissions().mode() & 0o077, 0, "{} is open to others", path.display());
            if found.is_dir() { private_files(&path) } else { 1 }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_of_the_worker_holds_no_secret() {
    let lms = lms().await;
    let worker = Worker::started(&settings(&lms, &signing_key())).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    worker.job_in(&id, "delivered").await;
    let line = fs::read(format!("/proc/{}/cmdline", worker.pid())).expect("its command line");
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let config = worker.folder().join("passback.toml").display().to_string();
    assert_eq!(line.trim_end(), format!("{PROGRAM} run --config {config}"));
}

#[test]
fn a_configuration_full_of_secrets_prints_none_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("passback.toml");
    let pem = fs::read_to_string(signing_key()).expect("a key");
    let text = format!(
        "[amqp]\nurl = \"amqp://user:hunter2@rabbit/%2f?password=hunter2\"\n\
         [egress]\nproxy = \"http://user:hunter2@proxy.example:3128\"\n\
         [[lti_keys]]\nkey = \"key-1\"\nsecret = \"hunter2\"\n\
         [[tokens]]\nname = \"ops\"\ntoken = \"hunter2\"\nrole = \"operator\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = '''{pem}'''\n"
    );
    fs::write(&path, text).expect("it is written");
    let config = Config::load(LoadOptions { path: Some(path), env: std::iter::empty() }).expect("it is right");
    let shown = format!("{config:?} {config:#?}");
    let middle = pem.lines().nth(2).expect("a line of base64");
    assert!(shown.contains("key-1") && !shown.contains("hunter2") && !shown.contains(middle), "{shown}");
}
