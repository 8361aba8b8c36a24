//! A real Prometheus: scrapes one worker every second, with our rules, on a free loopback port and in a temporary folder.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::files;
use crate::service::worker::{client, free_address, wait_for};

/// A running Prometheus.
pub(super) struct Prometheus {
    folder: tempfile::TempDir,
    address: SocketAddr,
    child: Child,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one that scrapes `target`, host and port, and waits until it has.
    pub(super) async fn watching(target: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = files::path("dashboards/alerts.yaml");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n- job_name: passback\n  static_configs: [{{targets: [\"{target}\"]}}]\n",
            rules.display()
        );
        fs::write(folder.path().join("prometheus.yml"), config).expect("a configuration");
        let address = free_address();
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new("prometheus");
        command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=tsdb").current_dir(folder.path());
        command.arg(format!("--web.listen-address={address}")).arg("--log.level=warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus cannot be started ({error}): run tests/run, which installs it"));
        let prometheus = Self { folder, address, child, client: client() };
        wait_for("the first scrape", async || {
            let up = prometheus.ask("query", &[("query", "up == 1")]).await.ok()?;
            (!up["result"].as_array()?.is_empty()).then_some(())
        })
        .await;
        prometheus
    }

    /// What an expression gives at a time, in Unix seconds.
    pub(super) async fn query(&self, expression: &str, at: f64) -> Result<Vec<Value>, String> {
        let data = self.ask("query", &[("query", expression), ("time", &at.to_string())]).await?;
        let result = data["result"].as_array().ok_or_else(|| format!("no list: {data}"))?;
        Ok(result.clone())
    }

    /// All rules, recorded ones and alerts, each with its `health`.
    pub(super) async fn rules(&self) -> Vec<Value> {
        let data = self.ask("rules", &[]).await.expect("the rules");
        let groups = data["groups"].as_array().expect("groups");
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    async fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/{what}", self.address)).expect("a URL");
        url.query_pairs_mut().extend_pairs(parameters);
        let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].as_str().unwrap_or("no answer of Prometheus").to_owned()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("the log of Prometheus:\n{log}");
        }
    }
}
