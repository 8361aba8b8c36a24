//! The systemd unit, judged by systemd's own tools; it is not run, because that needs a machine that systemd runs.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use passback::config::{Config, load::LoadOptions};

use super::files::{output, path, said_by, text};
use crate::service::{
    delivery::{lms, lti11, settings, signing_key},
    worker::{Worker, wait_for},
};

const UNIT: &str = "deploy/passback.service";
/// systemd's own measure, in tenths, from 0 (shut off from everything) to 100. What is left is the network and the
/// clock's device.
const EXPOSURE_MAX: u32 = 15;

/// The unit with the program that was just built, in a folder of its own: systemd looks whether it is there.
fn installed() -> (tempfile::TempDir, String) {
    let unit = text(UNIT);
    let installed = unit.replace("/usr/local/bin/passback", env!("CARGO_BIN_EXE_passback"));
    assert_ne!(unit, installed, "the unit starts another program");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("passback.service");
    fs::write(&path, installed).expect("a unit");
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn the_unit_is_understood_whole() {
    let (_folder, unit) = installed();
    let said = said_by(Command::new("systemd-analyze").args(["--man=no", "verify", &unit]));
    assert!(said.is_empty(), "{said}");
}

#[test]
fn the_unit_shuts_the_worker_off_from_the_machine() {
    let (_folder, unit) = installed();
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let judged = output(Command::new("systemd-analyze").args(["security", "--offline=true", &threshold, &unit]));
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    let unit = text(UNIT);
    for needed in ["LimitCORE=0", "StateDirectoryMode=0700", "ExecReload=/bin/kill -HUP $MAINPID"] {
        assert!(unit.contains(&format!("\n{needed}\n")), "{needed}");
    }
    assert!(!unit.contains("ProcSubset=pid\n") || unit.contains("Not ProcSubset=pid"), "a metric needs /proc/stat");
}

#[test]
fn a_stop_has_more_time_than_the_drain() {
    let unit = text(UNIT);
    let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("a limit");
    let patience = Duration::from_secs(seconds.parse().expect("seconds"));
    assert!(patience >= Config::default().delivery.drain + Duration::from_secs(10), "{patience:?}");
}

#[test]
fn the_user_of_the_unit_is_made_by_the_file_beside_it() {
    let users = text("deploy/passback.sysusers");
    let user = users.lines().find_map(|line| line.strip_prefix("u ")?.split(' ').next()).expect("a user");
    for setting in ["User", "Group"] {
        assert!(text(UNIT).contains(&format!("\n{setting}={user}\n")), "{setting} is not {user}");
    }
}

/// The commands read the file and not the unit: what stood in the unit alone they would not know.
#[test]
fn the_steps_of_the_unit_put_the_store_where_the_commands_look() {
    let unit = text(UNIT);
    assert!(!unit.contains("\nEnvironment=PASSBACK_"), "a setting of the unit is hidden from the commands");
    let step = unit.lines().find_map(|line| line.strip_prefix("#   sed -i ")).expect("a step that names the store");
    let (script, file) = step.rsplit_once(' ').expect("a script and its file");
    assert!(unit.contains(&format!("\nExecStart=/usr/local/bin/passback run --config {file}\n")), "{file}");
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("passback.toml");
    fs::copy(path("deploy/passback.toml"), &config).expect("a copy");
    said_by(Command::new("sh").arg("-c").arg(format!("sed -i {script} {}", config.display())));
    let loaded = Config::load(LoadOptions { path: Some(config), env: std::iter::empty() }).expect("it is right");
    let state = unit.lines().find_map(|line| line.strip_prefix("StateDirectory=")).expect("a folder");
    assert_eq!(loaded.store.path, Path::new("/var/lib").join(state));
    assert!(text("docs/operations.md").contains(&format!("sudo -u passback passback --config {file}'")), "{file}");
}

/// The worker takes an event, delivers it, reads its files anew and stops; each system call that it makes on its way must
/// be one of those that the unit leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_makes_no_call_that_the_unit_forbids() {
    let unit = text(UNIT);
    let filters: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    let [allowed, denied] = filters[..] else { panic!("{filters:?}") };
    let (allowed, denied) = (calls_of(allowed), calls_of(denied.strip_prefix('~').expect("a denial")));
    let lms = lms().await;
    let mut worker = Worker::new(&settings(&lms, &signing_key()));
    let trace = worker.folder().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-e", "trace=all", "-e", "signal=none", "-o"]).arg(&trace);
    strace.arg("--").arg(env!("CARGO_BIN_EXE_passback"));
    worker.start_by(strace).await;
    let id = worker.submit(&lti11(&lms, "ann", 8)).await.remove(0);
    worker.job_in(&id, "delivered").await;
    worker.signal("HUP");
    wait_for("the keys to be read", async || worker.log().contains("read anew").then_some(())).await;
    assert_eq!(worker.stop().await, Some(0));
    let made = fs::read_to_string(&trace).expect("a trace");
    let made: BTreeSet<&str> = made.lines().filter_map(name_of_call).collect();
    assert!(made.contains("fdatasync") && made.len() > 30, "{made:?}");
    let forbidden: Vec<_> = made.iter().filter(|call| !allowed.contains(**call) || denied.contains(**call)).collect();
    assert!(forbidden.is_empty(), "the unit forbids {forbidden:?}");
}

/// The call that a line of strace tells of: a process id, then the name up to its arguments.
fn name_of_call(line: &str) -> Option<&str> {
    let (_, call) = line.split_once(' ')?;
    let name = call.trim_start().split('(').next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_name.then_some(name)
}

/// The system calls of a set, and of the sets in it.
fn calls_of(set: &str) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for line in said_by(Command::new("systemd-analyze").args(["syscall-filter", set])).lines().skip(1) {
        match line.trim() {
            inner if inner.starts_with('@') => calls.extend(calls_of(inner)),
            call if !call.starts_with('#') => drop(calls.insert(call.to_owned())),
            _ => {}
        }
    }
    calls
}
