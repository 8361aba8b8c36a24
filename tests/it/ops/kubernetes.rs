//! The manifests for Kubernetes: good by its schemas, and fitting together, which no schema looks at.

use std::{fs, time::Duration};

use passback::config::Config;
use serde_json::Value;

use super::files::{path, said_by, text, verifier};

const FOLDER: &str = "deploy/kubernetes";
/// What extensions of Kubernetes read, whose schemas are not its own.
const UNJUDGED: [&str; 2] = ["Kustomization", "ServiceMonitor"];

/// All documents, after Kubernetes' schemas have judged them.
pub(super) fn manifests() -> Vec<Value> {
    let mut names: Vec<String> = fs::read_dir(path(FOLDER))
        .expect("the manifests")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    names.sort();
    let judge = path("tests/it/ops/manifests.py");
    let said = said_by(verifier("python").arg(judge).arg("kubernetes").args(names));
    let found: Vec<Value> = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let judge = |found: &Value| {
        let document = found["document"].clone();
        let kind = document["kind"].as_str().expect("a kind");
        assert_eq!(found["judged"] == true, !UNJUDGED.contains(&kind), "{found}");
        document
    };
    found.iter().map(judge).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// Whether all labels that are asked for are there.
fn selects(wanted: &Value, labels: &Value) -> bool {
    let wanted = wanted.as_object().expect("labels");
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}

#[test]
fn the_manifests_are_good_and_select_each_other() {
    let documents = manifests();
    let pod = &of_kind(&documents, "StatefulSet")["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    for kind in ["StatefulSet", "PodDisruptionBudget"] {
        assert!(selects(&of_kind(&documents, kind)["spec"]["selector"]["matchLabels"], labels), "{kind}");
    }
    assert!(selects(&of_kind(&documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels));
    let services: Vec<&Value> = documents.iter().filter(|document| document["kind"] == "Service").collect();
    assert!(services.iter().all(|service| selects(&service["spec"]["selector"], labels)));
    let headless = &of_kind(&documents, "StatefulSet")["spec"]["serviceName"];
    assert!(services.iter().any(|service| service["metadata"]["name"] == *headless));

    let monitor = &of_kind(&documents, "ServiceMonitor")["spec"];
    let watched: Vec<_> = services
        .iter()
        .filter(|service| selects(&monitor["selector"]["matchLabels"], &service["metadata"]["labels"]))
        .collect();
    assert_eq!(watched.len(), 1, "each worker is scraped once");
    assert!(selects(&serde_json::json!({"app.kubernetes.io/name": "passback"}), &watched[0]["metadata"]["labels"]));
    assert_eq!(monitor["jobLabel"], "app.kubernetes.io/name", "the alerts ask for the job passback");
    assert_eq!(monitor["endpoints"][0]["port"], watched[0]["spec"]["ports"][0]["name"]);
}

#[test]
fn the_pod_is_watched_stopped_and_shut_off_as_it_should_be() {
    let documents = manifests();
    let set = &of_kind(&documents, "StatefulSet")["spec"];
    let pod = &set["template"]["spec"];
    let container = &pod["containers"][0];
    for (probe, asked) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], asked);
    }
    let patience = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().expect("seconds"));
    assert!(patience >= Config::default().delivery.drain + Duration::from_secs(10), "{patience:?}");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    assert_eq!(pod["automountServiceAccountToken"], false);
    // The alert on full volumes knows them by this name.
    let claim = format!(
        "{}-{}",
        set["volumeClaimTemplates"][0]["metadata"]["name"].as_str().expect("a name"),
        "passback-[0-9]+"
    );
    assert!(text("dashboards/alerts.yaml").contains(&claim), "no alert knows {claim}");
    let secrets = pod["volumes"].as_array().expect("volumes").iter().find_map(|volume| volume["secret"].as_object());
    assert_eq!(secrets.expect("secrets by reference")["secretName"], "passback-secrets");
    assert!(documents.iter().all(|document| document["kind"] != "Secret"), "a secret has no place in the project");
}

#[test]
fn kustomize_takes_every_manifest() {
    let documents = manifests();
    let listed = of_kind(&documents, "Kustomization")["resources"].as_array().expect("resources").len();
    assert_eq!(listed, fs::read_dir(path(FOLDER)).expect("the manifests").count() - 1);
    for name in of_kind(&documents, "Kustomization")["resources"].as_array().expect("resources") {
        assert!(path(FOLDER).join(name.as_str().expect("a name")).exists(), "{name}");
    }
}
