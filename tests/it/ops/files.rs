//! The files of the project as the tests of this module read them, and the programs that judge them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A file or folder of the project.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the project.
pub(super) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs a program to its end. One that is not there is named, with what brings it.
pub(super) fn output(command: &mut Command) -> Output {
    let program = command.get_program().display().to_string();
    command
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started ({error}): run tests/run, which installs it"))
}

/// Runs a program that must succeed, and gives back all that it said.
pub(super) fn said_by(command: &mut Command) -> String {
    let output = output(command);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
    said
}

/// A program of those that `tests/run` installs beside Python, `python` itself among them.
pub(super) fn verifier(name: &str) -> Command {
    let python = std::env::var("PASSBACK_TEST_PYTHON").unwrap_or_else(|_| "target/verifiers/bin/python".to_owned());
    Command::new(Path::new(&python).with_file_name(name))
}

/// The dashboards by the names of their files.
pub(super) fn dashboards() -> Vec<(String, Value)> {
    let folder = fs::read_dir(path("dashboards")).expect("the folder of dashboards");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    let mut names: Vec<String> =
        names.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "json")).collect();
    names.sort();
    let read = |name: String| {
        let dashboard = serde_json::from_str(&text(&format!("dashboards/{name}")));
        let dashboard = dashboard.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, dashboard)
    };
    names.into_iter().map(read).collect()
}

/// The names of all alerts, as they stand in the rules.
pub(super) fn alerts() -> Vec<String> {
    let rules = text("dashboards/alerts.yaml");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}
