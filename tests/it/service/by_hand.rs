//! "Ten minutes by hand" of the README, to the letter: its lines go to a shell, with other ports, another broker, and the
//! program that was built already.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;

use super::{
    broker::Broker,
    worker::{client, free_address, wait_for},
};

/// A shell that is fed line by line; whatever it has started ends with it.
struct Shell {
    child: Child,
    input: ChildStdin,
}

impl Shell {
    fn begin(folder: &Path) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_passback")).parent().expect("a folder").display().to_string();
        let mut child = Command::new("setsid")
            .args(["bash", "-eu", "-o", "pipefail"])
            .current_dir(folder)
            .env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::piped())
            .stdout(fs::File::create(folder.join("said.txt")).expect("a file"))
            .stderr(fs::File::create(folder.join("errors.txt")).expect("a file"))
            .spawn()
            .expect("a shell");
        let input = child.stdin.take().expect("it is piped");
        Self { child, input }
    }

    fn tell(&mut self, lines: &str) {
        self.input.write_all(lines.as_bytes()).and_then(|()| self.input.flush()).expect("the shell lives");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status());
        drop(self.child.wait());
    }
}

/// The shell blocks of the section.
fn blocks(readme: &str) -> Vec<&str> {
    let section =
        readme.split("\n## ").find(|section| section.starts_with("Ten minutes by hand")).expect("the section");
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_by_hand_end_with_two_grades() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README");
    let (ours, theirs) = (free_address().to_string(), free_address().to_string());
    let (_, broker) = Broker::shared().own_vhost();
    let here = |block: &str| {
        let block =
            block.replace("cargo build --release\n", "").replace("export PATH=\"$PWD/target/release:$PATH\"\n", "");
        let block = block.replace("amqp://guest:guest@127.0.0.1:5672/%2f", &broker).replace("127.0.0.1:8090", &theirs);
        let block = block.replace("passback lms ", &format!("passback lms --listen {theirs} "));
        block.replace("[store]\n", &format!("[http]\nlisten = \"{ours}\"\n\n[store]\n"))
    };
    let [first, second] = blocks(&readme)[..] else { panic!("two blocks") };
    assert!(first.contains("passback submit") && second.contains("passback reload"), "{first}{second}");
    let folder = tempfile::tempdir().expect("a folder");
    let mut shell = Shell::begin(folder.path());
    shell.tell(&here(first));
    let trial = folder.path().join("trial");
    let gradebook = async || {
        let answer = client().get(format!("http://{theirs}/_control/gradebook")).send().await.ok()?;
        answer.json::<Value>().await.ok()
    };
    let counts = async |delivered: u64, flagged: u64| {
        let token = fs::read_to_string(trial.join("store/operator.token")).ok()?;
        let request = client().get(format!("http://{ours}/api/v1/stats")).bearer_auth(token.trim());
        let jobs = request.send().await.ok()?.json::<Value>().await.ok()?["jobs"].take();
        (jobs["delivered"] == delivered && jobs["flagged"] == flagged).then_some(())
    };
    wait_for("a grade delivered and one flagged", async || counts(1, 1).await).await;
    // The last line ends what runs.
    let (replay, end) = second.split_at(second.find("kill $worker").expect("the end"));
    shell.tell(&here(replay));
    wait_for("both grades delivered", async || counts(2, 0).await).await;
    let shown = gradebook().await.expect("a gradebook").to_string();
    assert!(shown.contains("ann") && shown.contains("ben"), "{shown}");
    shell.tell(&format!("{end}wait\nexit\n"));
    wait_for("the shell to end well", async || shell.child.try_wait().expect("it can be asked")).await;
    // Pasted as a block, it shows what its comments say.
    let said = fs::read_to_string(folder.path().join("said.txt")).expect("a text");
    let counts = |state: &str| -> Vec<&str> {
        said.lines().filter_map(|line| line.strip_prefix(state)).map(str::trim).collect()
    };
    assert_eq!((counts("delivered "), counts("flagged ")), (vec!["1", "2"], vec!["1", "0"]), "{said}");
    let errors = fs::read_to_string(folder.path().join("errors.txt")).expect("a text");
    assert!(!errors.contains("error"), "{errors}");
}
