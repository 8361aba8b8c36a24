//! A configuration in a folder of its own, and the program that checks it.

use std::{fs, process::Output};

use passback::simulator::{Client, Consumer, Jwks, Options, SimulatedLms};
use serde_json::Value;
use tokio::process::Command;

use crate::service::{delivery::KEY, worker::LOCAL};

/// The secret that goes with [`KEY`]; nothing may ever print it.
pub(crate) const SECRET: &str = "sesame-open-1-and-shut";

/// A folder with a configuration.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
}

impl Scene {
    /// A configuration whose store is in the folder.
    pub(crate) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store").display().to_string();
        Self { folder }.with_store(&store, config)
    }

    /// One whose store is elsewhere. Unless the configuration says where, it listens at a port that the system chooses.
    pub(crate) fn with_store(self, store: &str, config: &str) -> Self {
        let listen = if config.contains("[http]") { "" } else { "[http]\nlisten = \"127.0.0.1:0\"\n" };
        self.write(&format!("[store]\npath = \"{store}\"\n{config}{listen}"));
        self
    }

    /// Puts another configuration in its place.
    pub(crate) fn write(&self, config: &str) {
        fs::write(self.folder.path().join("passback.toml"), config).expect("a configuration");
    }

    /// Checks it, and reads the document.
    pub(crate) async fn check(&self, arguments: &[&str]) -> Checked {
        self.check_by(Command::new(env!("CARGO_BIN_EXE_passback")), arguments).await
    }

    /// The same by way of another program, which gets the command line.
    pub(crate) async fn check_by(&self, mut program: Command, arguments: &[&str]) -> Checked {
        program.args(["check", "--json", "--config"]).arg(self.folder.path().join("passback.toml")).args(arguments);
        Checked::of(program.kill_on_drop(true).output().await.expect("the program starts"))
    }

    /// What a person reads.
    pub(crate) async fn text(&self) -> (Option<i32>, String) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
        program.args(["check", "--config"]).arg(self.folder.path().join("passback.toml"));
        let output = program.kill_on_drop(true).output().await.expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }
}

/// What a check has said.
pub(crate) struct Checked {
    pub(crate) code: Option<i32>,
    pub(crate) document: Value,
    pub(crate) stderr: String,
}

impl Checked {
    fn of(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).expect("text");
        let stderr = String::from_utf8(output.stderr).expect("text");
        for hidden in [SECRET, "guest:guest", "hush-hush", "PRIVATE KEY", "eyJ", "access_token"] {
            assert!(!stdout.contains(hidden) && !stderr.contains(hidden), "{hidden} is shown: {stdout}{stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        let document = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        let checked = Self { code: output.status.code(), document, stderr };
        let is_well = checked.all().iter().all(|finding| finding["status"] != "failed");
        assert_eq!(checked.document["ok"], is_well, "{:#}", checked.document);
        if checked.code != Some(2) {
            assert_eq!(checked.code, Some(i32::from(!is_well)), "{:#}", checked.document);
        }
        checked
    }

    pub(crate) fn all(&self) -> &[Value] {
        self.document["checks"].as_array().expect("a list")
    }

    /// The findings that are not well, each as `part step`.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let troubles = self.all().iter().filter(|finding| finding["status"] != "ok");
        let name = |finding: &Value| {
            ["part", "step", "status"].map(|name| finding[name].as_str().unwrap_or_default()).join(" ")
        };
        troubles.map(name).collect()
    }

    /// Just one thing is wrong, and it is named: its part, step and status, with words of what was seen and of the advice.
    #[track_caller]
    pub(crate) fn names_only(&self, trouble: &str, seen: &str, advice: &str) {
        assert_eq!(self.troubles(), [trouble], "{:#}", self.document);
        self.names(trouble, seen, advice);
    }

    /// The same, where other troubles follow from it.
    #[track_caller]
    pub(crate) fn names(&self, trouble: &str, seen: &str, advice: &str) {
        let is_it = |finding: &&Value| {
            let name = ["part", "step", "status"].map(|name| finding[name].as_str().unwrap_or_default()).join(" ");
            let says = |name: &str, words: &str| finding[name].as_str().unwrap_or_default().contains(words);
            name == trouble && says("seen", seen) && says("advice", advice)
        };
        assert!(self.all().iter().any(|finding| is_it(&finding)), "{trouble}: {seen}; {advice}\n{:#}", self.document);
    }

    /// A step went well, and said this.
    #[track_caller]
    pub(crate) fn is_well(&self, part: &str, step: &str, seen: &str) {
        let is_it = |finding: &&Value| {
            let says = finding["seen"].as_str().unwrap_or_default().contains(seen);
            finding["part"] == part && finding["step"] == step && finding["status"] == "ok" && says
        };
        assert!(self.all().iter().any(|finding| is_it(&finding)), "{part} {step}: {seen}\n{:#}", self.document);
    }
}

/// The public half of the tests' own key, as a set.
pub(crate) fn key_set(kid: &str) -> Value {
    let pem = fs::read_to_string(crate::service::delivery::signing_key()).expect("the key");
    let key = passback::domain::platform::SigningKey::new(kid, pem);
    passback::config::rsa::jwks([&key]).expect("a set")
}

/// A platform with one course `c`, that knows our consumer key and the client `tool-1` with our key `k1`.
pub(crate) async fn lms(options: Options) -> SimulatedLms {
    let mut options = Options {
        consumers: vec![Consumer::new(KEY, SECRET)],
        contexts: vec![("c".to_owned(), vec!["1".to_owned(), "2".to_owned()])],
        ..options
    };
    if options.clients.is_empty() {
        options.clients = vec![Client::new("tool-1", Jwks::Inline(key_set("k1")))];
    }
    SimulatedLms::start(options).await.expect("a platform")
}

/// The sections of keys and of a platform with this token endpoint.
pub(crate) fn registered(token_url: &str) -> String {
    format!(
        "[[lti_keys]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = {{ file = \"{}\" }}\n\
         [[platforms]]\nname = \"campus\"\nclient_id = \"tool-1\"\ntoken_url = \"{token_url}\"\n",
        crate::service::delivery::signing_key()
    )
}

/// The whole configuration for a platform.
pub(crate) fn settings(lms: &SimulatedLms) -> String {
    format!("{LOCAL}{}", registered(&lms.token_url()))
}
