//! The page in Chromium, driven by `drive.py`: an admin signs in, finds a failure, reads why, replays what it filters and
//! sees it delivered. Each view is looked at in light and dark and at phone width, into `target/screenshots`.
//!
//! A violation of the page's policy, a request to anywhere else, an error of a script or an alert fails the test.

use std::{path::Path, time::Duration};

use passback::simulator::{Fault, FaultKind, Route, SimulatedLms};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use super::sessions::TOKENS;
use crate::service::{
    delivery::{ags, lms, lti11, settings, signing_key},
    worker::{QUICK, Worker, client, wait_for},
};

/// The whole look around, on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(240);

/// More than a page of the list holds.
const REFUSED: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_finds_reads_replays_and_sees_it_delivered() {
    let scene = Scene::begin().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var("PASSBACK_TEST_PYTHON").unwrap_or_else(|_| "target/verifiers/bin/python".to_owned());
    let mut command = Command::new(&python);
    command.arg(root.join("tests/it/page/drive.py")).arg(scene.worker.url("")).arg(root.join("target/screenshots"));
    let output = command.kill_on_drop(true).output();
    let output = timeout(WITHIN, output).await.expect("it ends in time");
    let output =
        output.unwrap_or_else(|error| panic!("{python} cannot be started ({error}): run tests/run, which installs it"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("all seen\n"), "{out}\n{err}");
    // What the page showed as delivered is in the gradebook.
    let delivered = scene.get("/api/v1/jobs?state=delivered&limit=1000").await;
    assert!(delivered["jobs"].as_array().expect("jobs").len() as u64 > REFUSED, "{out}");
}

/// One platform that refused many students for a while, one that is down, one that gives no tokens, one that is paused.
struct Scene {
    worker: Worker,
    platforms: [SimulatedLms; 4],
}

impl Scene {
    async fn begin() -> Self {
        let (campus, down, closed, calm) = (lms().await, lms().await, lms().await, lms().await);
        down.set_fault(Route::Lti11, Fault::status(503)).expect("a fault");
        closed.set_fault(Route::Token, Fault::status(400)).expect("a fault");
        let kind = FaultKind::Failure { description: "The user is not enrolled in this course".to_owned() };
        campus.set_fault(Route::Lti11, Fault::times(kind, REFUSED)).expect("a fault");
        let origin = |name: &str, lms: &SimulatedLms| {
            format!("[[platforms]]\nname = \"{name}\"\norigin = \"{}\"\n", lms.base_url())
        };
        let config = format!(
            "{}{TOKENS}{}{}[[platforms]]\nname = \"closed\"\nclient_id = \"tool-2\"\ntoken_url = \"{}\"\n",
            settings(&campus, &signing_key()).replace(QUICK, &format!("{QUICK}permanent = \"flag\"\n")),
            origin("night-school", &down),
            origin("academy", &calm),
            closed.token_url(),
        );
        let scene = Self { worker: Worker::started(&config).await, platforms: [campus, down, closed, calm] };
        scene.fill().await;
        scene
    }

    async fn fill(&self) {
        let [campus, down, closed, calm] = &self.platforms;
        let refused: Vec<Value> = (1..=REFUSED).map(|n| lti11(campus, &format!("student-{n:03}"), 8)).collect();
        self.submit(&refused.into()).await;
        self.wait_for("flagged", REFUSED).await;
        let mut hostile = ags(closed, "zoe", 9);
        hostile["user_id"] = "<img src=x onerror=alert(1)>".into();
        hostile["activity_id"] = "\"><script>alert(2)</script>".into();
        hostile["lis_data"]["client_id"] = "tool-2".into();
        hostile["lis_data"]["lis_result_sourcedid"] = "sourcedid-that-nobody-should-read-whole".into();
        let mut events = vec![hostile];
        events.extend((0..12).map(|n| lti11(calm, &format!("calm-{n}"), 7)));
        events.extend((0..9).map(|n| lti11(down, &format!("night-{n}"), 6)));
        self.submit(&events.into()).await;
        self.wait_for("flagged", REFUSED + 1).await;
        self.wait_for("delivered", 12).await;
        wait_for("the hold", async || {
            let platforms = self.get("/api/v1/platforms").await;
            platforms["platforms"].as_array()?.iter().any(|platform| platform["state"] == "held").then_some(())
        })
        .await;
        let pause = client().post(self.worker.url("/api/v1/platforms/academy/pause")).bearer_auth("operator-token-1");
        assert_eq!(pause.send().await.expect("an answer").status(), 200);
    }

    async fn submit(&self, events: &Value) {
        let request = client().post(self.worker.url("/v1/events")).bearer_auth("producer-token-1").json(events);
        assert_eq!(request.send().await.expect("an answer").status(), 202);
    }

    async fn get(&self, path: &str) -> Value {
        let request = client().get(self.worker.url(path)).bearer_auth("viewer-token-1");
        request.send().await.expect("an answer").json().await.unwrap_or(json!(null))
    }

    async fn wait_for(&self, state: &str, count: u64) {
        wait_for(&format!("{count} {state}"), async || {
            (self.get("/api/v1/stats").await["jobs"][state] == count).then_some(())
        })
        .await;
    }
}
