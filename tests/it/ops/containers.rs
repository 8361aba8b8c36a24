//! Dockerfile and compose.yaml, as far as they can be judged without a container engine: by a linter and by the
//! specification; and what they name is there.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use passback::config::{Config, duration};
use serde_json::Value;

use super::files::{output, path, said_by, text, verifier};
use crate::service::{
    broker::Broker,
    delivery::signing_key,
    worker::{Worker, client, free_address, wait_for},
};

const DOCKERFILE: &str = "deploy/Dockerfile";

#[test]
fn the_dockerfile_passes_its_linter() {
    said_by(verifier("hadolint").arg("--no-color").arg(path(DOCKERFILE)));
    let dockerfile = text(DOCKERFILE);
    assert!(dockerfile.contains("cargo build --release --locked"));
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    assert!(!user.starts_with("0:") && !user.starts_with("root"), "{user}");
}

/// What the image is built from: the first words of each COPY from the project.
fn copied() -> Vec<String> {
    let dockerfile = text(DOCKERFILE);
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"));
    let words = lines.flat_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        words[..words.len() - 1].to_vec()
    });
    words.map(str::to_owned).collect()
}

#[test]
fn the_image_is_built_from_a_whole_package_and_nothing_else() {
    let (copied, ignored) = (copied(), text(".dockerignore"));
    assert!(ignored.contains("\n*\n"), "what is not named stays out");
    let let_in: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(sorted(&copied), sorted(&let_in), "what is let in is what is copied");
    let folder = tempfile::tempdir().expect("a folder");
    for name in &copied {
        let target = folder.path().join(name);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        said_by(Command::new("cp").arg("-r").arg(path(name)).arg(target));
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--locked", "--offline", "--format-version=1"]).current_dir(folder.path());
    let package = output(&mut cargo);
    assert!(package.status.success(), "{}", String::from_utf8_lossy(&package.stderr));
    for file in included() {
        let is_copied = copied.iter().any(|copied| file.starts_with(copied));
        assert!(is_copied, "the program includes {}, which is not in the image's build", file.display());
    }
}

fn sorted<T: AsRef<str>>(names: &[T]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    names
}

/// The files that the sources include outside of their tests, from the project's folder on.
fn included() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(path(&folder.display().to_string())).expect("a folder") {
            let file = folder.join(entry.expect("an entry").file_name());
            if path(&file.display().to_string()).is_dir() {
                folders.push(file);
            } else if let Ok(text) = fs::read_to_string(path(&file.display().to_string())) {
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let names =
                    ["include_str!(\"", "include_bytes!(\""].into_iter().flat_map(|how| code.split(how).skip(1));
                let names = names.map(|rest| rest.split('"').next().expect("a name"));
                found.extend(names.map(|name| plain(&folder.join(name))));
            }
        }
    }
    found
}

/// The path without its steps back.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_sees_whether_the_worker_lives() {
    let dockerfile = text(DOCKERFILE);
    let (_, check) = dockerfile.split_once("HEALTHCHECK ").expect("a health check");
    let command = check.split("CMD ").nth(1).and_then(|rest| rest.lines().next()).expect("a command");
    let words: Vec<String> = serde_json::from_str(command).unwrap_or_else(|error| panic!("{error}: {command}"));
    let mut worker = Worker::started("").await;
    let port = worker.url("").rsplit_once(':').expect("a port").1.to_owned();
    let look = || {
        let words: Vec<String> = words.iter().map(|word| word.replace("8080", &port)).collect();
        output(Command::new(&words[0]).args(&words[1..])).status.success()
    };
    assert!(look(), "{command}");
    worker.kill();
    assert!(!look(), "{command}");
}

fn compose() -> Value {
    let judge = path("tests/it/ops/manifests.py");
    let said = said_by(verifier("python").arg(judge).arg("compose").arg(path("deploy/compose.yaml")));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn compose_is_good_and_what_it_names_is_there() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    for needed in ["rabbitmq", "worker", "lms", "prometheus", "grafana"] {
        assert!(services.contains_key(needed), "{needed}");
    }
    for (name, service) in services {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().expect("a port").starts_with("127.0.0.1:"), "{name}: {port} is open to others");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().and_then(|volume| volume.split(':').next()).expect("a volume");
            let is_there = match source.strip_prefix('.') {
                Some(_) => path("deploy").join(source).is_file(),
                None => compose["volumes"].as_object().expect("volumes").contains_key(source),
            };
            assert!(is_there, "{name}: {source} is not there");
        }
    }
    let patience = services["worker"]["stop_grace_period"].as_str().expect("a span of time");
    let patience = duration::parse(patience).expect("a span of time");
    assert!(patience >= Config::default().delivery.drain + Duration::from_secs(10));
}

#[test]
fn compose_gives_grafana_every_dashboard_and_prometheus_the_rules() {
    let text = text("deploy/compose.yaml");
    for (name, _) in super::files::dashboards() {
        assert!(text.contains(&format!("- ../dashboards/{name}:/var/lib/grafana/dashboards/{name}:ro")), "{name}");
    }
    assert!(text.contains("- ../dashboards/alerts.yaml:/etc/prometheus/alerts.yaml:ro"));
    let mut promtool = Command::new("promtool");
    let config = tempfile::tempdir().expect("a folder");
    for (from, to) in [("deploy/compose/prometheus.yaml", "prometheus.yml"), ("dashboards/alerts.yaml", "alerts.yaml")]
    {
        fs::copy(path(from), config.path().join(to)).expect("a copy");
    }
    said_by(promtool.args(["check", "config", "prometheus.yml"]).current_dir(config.path()));
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The worker and the simulated LMS as compose starts them, but for their addresses, with the events that its head names:
/// a grade by LTI 1.1, one by AGS, and a flagged failure.
#[tokio::test(flavor = "multi_thread")]
async fn what_compose_starts_delivers_grades() {
    let lms = format!("http://{}", free_address());
    let at_home = |text: &str| text.replace("http://lms:8090", &lms);
    let config = at_home(&text("deploy/compose/passback.toml"))
        .replace("amqp://passback:demo-broker-password@rabbitmq:5672/%2f", &Broker::shared().own_vhost().1)
        .replace("/etc/passback/keys/demo.pem", &signing_key());
    let worker = Worker::started(&config).await;
    let compose = compose();
    let arguments = compose["services"]["lms"]["command"].as_array().expect("a command").iter().map(|argument| {
        let argument = at_home(argument.as_str().expect("a word")).replace("http://worker:8080", &worker.url(""));
        argument.replace("0.0.0.0:8090", lms.trim_start_matches("http://"))
    });
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    program.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let _lms = Running(program.spawn().expect("a simulated LMS"));
    let (client, token) = (client(), "demo-operator-token-demo-operator");
    let gradebook = format!("{lms}/_control/gradebook");
    wait_for("the LMS", async || client.get(&gradebook).send().await.ok()).await;

    let events =
        client.post(worker.url("/v1/events")).bearer_auth(token).header("content-type", "application/x-ndjson");
    let answer = events.body(at_home(&text("deploy/compose/events.ndjson"))).send().await.expect("an answer");
    assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
    wait_for("two grades and a flagged job", async || {
        let stats = client.get(worker.url("/api/v1/stats")).bearer_auth(token).send().await.ok()?;
        let jobs = &stats.json::<Value>().await.ok()?["jobs"];
        (jobs["delivered"] == 2 && jobs["flagged"] == 1).then_some(())
    })
    .await;
    wait_for("the consumer", async || (worker.get_open("/readyz").await.0 == 200).then_some(())).await;
}
