//! The page in Chromium, driven by `drive.py`: an admin signs in, finds a failure, reads why, replays what it filters and
//! sees it delivered. Each view is looked at in light and dark and at phone width, into `target/screenshots`.
//!
//! A violation of the page's policy, a request to anywhere else, an error of a script, an alert, or anything that axe says
//! against a view fails the test.

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
const WITHIN: Duration = Duration::from_secs(400);

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
    scene.keeps_what_is_private().await;
}

/// A platform that shows it to whoever reads its words.
const SOURCEDID: &str = "sourcedid-that-nobody-should-read-whole";

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
        let told = format!("no result for {SOURCEDID} of key-1 with sesame-open-1");
        closed.set_fault(Route::Lti11, Fault::always(FaultKind::Failure { description: told })).expect("a fault");
        let long =
            "the-royal-and-ancient-academy-of-comparative-cybernetics-and-gradebook-science-of-upper-saxony-2026";
        let unmet = format!("[[platforms]]\nname = \"{long}\"\norigin = \"https://lms.invalid\"\n");
        let config = format!(
            "{}{TOKENS}{}{}{unmet}[[platforms]]\nname = \"closed\"\nclient_id = \"tool-2\"\ntoken_url = \"{}\"\n",
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
        let mut refused: Vec<Value> = (1..=REFUSED).map(|n| lti11(campus, &format!("student-{n:03}"), 8)).collect();
        for event in &mut refused {
            event["activity_name"] = "Quiz 2".into();
        }
        self.submit(&refused.into()).await;
        self.wait_for("flagged", REFUSED).await;
        let mut hostile = ags(closed, "zoe", 9);
        hostile["user_id"] = "<img src=x onerror=alert(1)>".into();
        hostile["activity_id"] = "\"><script>alert(2)</script>".into();
        hostile["lis_data"]["client_id"] = "tool-2".into();
        hostile["lis_data"]["lis_result_sourcedid"] = SOURCEDID.into();
        let mut told = lti11(closed, "yan", 9);
        told["lis_data"]["lis_result_sourcedid"] = SOURCEDID.into();
        let mut events = vec![told, hostile];
        events.extend((0..11).map(|n| lti11(calm, &format!("calm-{n}"), 7)));
        events.push(lti11(calm, &"an-id-that-is-a-whole-address-".repeat(4), 7));
        events.extend((0..9).map(|n| lti11(down, &format!("night-{n}"), 6)));
        self.submit(&events.into()).await;
        self.wait_for("flagged", REFUSED + 2).await;
        self.wait_for("delivered", 12).await;
        wait_for("the hold", async || {
            let platforms = self.get("/api/v1/platforms").await;
            platforms["platforms"].as_array()?.iter().any(|platform| platform["state"] == "held").then_some(())
        })
        .await;
        let pause = client().post(self.worker.url("/api/v1/platforms/academy/pause")).bearer_auth("operator-token-1");
        let pause = pause.json(&json!({"note": "upgrade tonight"}));
        assert_eq!(pause.send().await.expect("an answer").status(), 200);
    }

    /// A platform repeats to us what it was sent: nothing that the page is answered has it whole, but the event as it came.
    async fn keeps_what_is_private(&self) {
        let jobs = self.get("/api/v1/jobs?platform=closed").await;
        let jobs = jobs["jobs"].as_array().expect("jobs").clone();
        assert_eq!(jobs.len(), 2, "{jobs:?}");
        let mut answers = vec![Value::from(jobs.clone())];
        for path in ["jobs", "stats", "platforms", "groups", "replays", "audit", "recent"] {
            answers.push(self.get(&format!("/api/v1/{path}")).await);
        }
        for job in &jobs {
            let mut job = self.get(&format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"))).await;
            let event = job.as_object_mut().and_then(|job| job.remove("event")).unwrap_or_default();
            assert!(event.to_string().contains(SOURCEDID), "it was sent: {event}");
            answers.push(job);
        }
        let check = client().post(self.worker.url("/api/v1/platforms/closed/check")).bearer_auth("operator-token-1");
        answers.push(check.send().await.expect("an answer").json().await.expect("JSON"));
        let told = answers.iter().map(Value::to_string).collect::<Vec<_>>().concat();
        assert!(told.contains("no result for"), "the platform's words are there");
        for private in [SOURCEDID, "sesame-open-1", "operator-token-1", "viewer-token-1", "PRIVATE KEY"] {
            assert!(!told.contains(private), "{private}: {told}");
        }
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
