//! The example configurations are read by the program's own reader. The commented default file has a test beside it.

use std::{collections::BTreeMap, fs};

use passback::config::{Config, load::LoadOptions};

use super::{
    files::{path, text},
    kubernetes::manifests,
};

/// Reads a configuration whose files of secrets lie in `secrets`, where the test puts a good one of each.
fn load(text: &str, secrets: &str) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().display().to_string();
    let text = text.replace(secrets, &here);
    let files = text.split("{ file = \"").skip(1).map(|rest| rest.split('"').next().expect("a path").to_owned());
    for file in files {
        let file = folder.path().join(file);
        let content = if file.extension().is_some_and(|kind| kind == "pem") {
            fs::read(path("tests/vectors/signing_key.pem")).expect("a key")
        } else if file.ends_with("amqp-url") {
            b"amqps://passback:secret@broker:5671/%2f".to_vec()
        } else {
            format!("a-secret-in-{}", file.display()).into_bytes()
        };
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, content).expect("a secret");
    }
    let config = folder.path().join("passback.toml");
    fs::write(&config, text.replace("{ file = \"keys/", &format!("{{ file = \"{here}/keys/")))
        .expect("a configuration");
    let names = ["AMQP_URL", "LTI_SECRET", "PASSBACK_PRODUCER_TOKEN", "PASSBACK_OPS_TOKEN"];
    let env: BTreeMap<String, String> =
        names.into_iter().map(|name| (name.to_owned(), format!("amqp://secret-of-{name}"))).collect();
    let loaded = Config::load(LoadOptions { path: Some(config), env: env.into_iter() });
    loaded.unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

#[test]
fn the_configuration_of_compose_is_read() {
    let config = load(&text("deploy/compose/passback.toml"), "/etc/passback/keys");
    assert_eq!((config.lti_keys.len(), config.platforms.len(), config.tokens.len()), (1, 1, 1));
    assert!(config.amqp.url.is_some() && config.egress.allow_http);
}

#[test]
fn the_configuration_of_kubernetes_is_read_and_its_secrets_are_those_of_the_secret() {
    let documents = manifests();
    let map = documents.iter().find(|document| document["kind"] == "ConfigMap").expect("a configuration");
    let toml = map["data"]["passback.toml"].as_str().expect("a text");
    let config = load(toml, "/etc/passback/secrets");
    assert_eq!((config.lti_keys.len(), config.platforms.len(), config.tokens.len()), (1, 1, 2));
    assert!(!toml.contains("secret = \"") && !toml.contains("token = \""), "a secret stands in the map");
    let how = text("deploy/kubernetes/kustomization.yaml");
    for secret in toml.split("/etc/passback/secrets/").skip(1) {
        let secret = secret.split('"').next().expect("a name");
        assert!(how.contains(&format!("--from-literal={secret}=")) || how.contains(&format!("--from-file={secret}")));
    }
}

#[test]
fn the_first_real_configuration_of_the_readme_is_read() {
    let readme = text("README.md");
    let (_, rest) = readme.split_once("```toml\n[store]").expect("a configuration");
    let toml = format!("[store]{}", rest.split("```").next().expect("its end"));
    let config = load(&toml, "/no/such/folder");
    assert_eq!((config.lti_keys.len(), config.signing_keys.len(), config.tokens.len()), (1, 1, 2));
}
