//! A real worker on a bad day, scraped by a real Prometheus with our rules: every expression of every panel and alert is
//! asked, none fails, and none is empty that should not be.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use passback::simulator::{Client, Fault, FaultKind, Jwks, Route, SimulatedLms};
use serde_json::{Value, json};

use super::{
    dashboards::panels,
    expressions::{selectors, with_variables},
    prometheus::Prometheus,
};
use crate::service::{
    broker::{Broker, unique},
    delivery::{ags, lms, lti11, settings, signing_key},
    worker::{Worker, wait_for},
};

/// What may find nothing in this run, and why. Everything else must find something.
const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("PassbackWorkerDown", "the worker is up"),
    ("PassbackCrashLoop", "it was started once"),
    ("PassbackLoopStopped", "its loops go round"),
    ("PassbackGradesLate", "the worker keeps up, and five minutes are more than the run has"),
    ("PassbackStalled", "no attempt hangs"),
    ("PassbackLatencyBudgetFast", "what is delivered here is delivered at once"),
    ("PassbackLatencyBudgetSlow", "what is delivered here is delivered at once"),
    ("PassbackFlaggedWaiting", "nothing was flagged an hour ago"),
    ("PassbackPlatformPaused", "nobody pauses a platform"),
    ("PassbackConsumerDown", "the broker is there"),
    ("PassbackConsumerFlaps", "the broker is there"),
    ("PassbackAcksLost", "the broker is there"),
    ("PassbackOutcomesWaiting", "the broker is there"),
    ("PassbackStoreUnhealthy", "the disk is well"),
    ("PassbackDiskLow", "nobody runs node_exporter or a kubelet"),
    ("PassbackStoreGrows", "the store is smaller than a gigabyte"),
    ("service.json: Alerts", "no alert holds for its time in so short a run"),
    ("service.json: Which alerts fire?", "no alert holds for its time in so short a run"),
    ("platform.json: Alerts", "no alert holds for its time in so short a run"),
    ("intake.json: Alerts", "no alert holds for its time in so short a run"),
    ("service.json: Starts of a worker", "the worker was started once, before the first scrape"),
    ("platform.json: Starts of a worker", "the worker was started once, before the first scrape"),
    ("intake.json: Starts of a worker", "the worker was started once, before the first scrape"),
    ("intake.json: How much of the disk is free?", "nobody runs node_exporter or a kubelet"),
];

/// Metrics that no worker has, and that are there only where somebody else is.
const OF_OTHERS: &[&str] = &["node_", "kubelet_", "ALERTS"];

/// How many bad seconds there are at least.
const ROUNDS: u32 = 8;
/// A rate needs some scrapes, and a busy machine may miss one.
const LOOKS: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_of_every_panel_and_alert_is_answered() {
    let day = BadDay::begin().await;
    let prometheus = Prometheus::watching(&day.worker.url("").replace("http://", "")).await;
    for round in 0..ROUNDS {
        day.have_a_bad_second(round).await;
    }
    day.replay_one().await;
    // The last figures have been scraped, and the rules have seen them: they need the sum of all refused sign-ins.
    let alert = "sum(increase(passback_sign_ins_refused_total[15m])) > 20 and on () \
                 sum(increase(passback_replayed_total[5m])) > 0 and on () passback_platform_state{state=\"held\"} == 1";
    wait_for("Prometheus to have seen all of it", async || {
        day.have_a_bad_second(ROUNDS).await;
        let found = prometheus.query(alert, now()).await.expect("an answer");
        (!found.is_empty()).then_some(())
    })
    .await;
    let mut wrong = Vec::new();
    for _ in 0..LOOKS {
        wrong = judge(&prometheus, now()).await;
        if wrong.is_empty() {
            return;
        }
        day.have_a_bad_second(ROUNDS).await;
    }
    panic!("{}", wrong.join("\n"));
}

/// Asks everything, and tells what is wrong with the answers.
async fn judge(prometheus: &Prometheus, at: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut questions: Vec<(String, String)> =
        panels().into_iter().map(|panel| (panel.place, with_variables(&panel.expression, "campus"))).collect();
    for rule in prometheus.rules().await {
        let name = rule["name"].as_str().expect("a name").to_owned();
        if rule["health"] != "ok" {
            wrong.push(format!("{name} cannot be evaluated: {}", rule["lastError"]));
        }
        questions.push((name, rule["query"].as_str().expect("an expression").to_owned()));
    }
    assert!(questions.len() > 90, "only {} questions", questions.len());
    let places: BTreeSet<&str> = questions.iter().map(|(place, _)| place.as_str()).collect();
    let gone = MAY_BE_EMPTY.iter().filter(|(place, _)| !places.contains(place));
    wrong.extend(gone.map(|(place, _)| format!("{place} may be empty, and is not there")));
    let mut known = BTreeSet::new();
    for (place, expression) in &questions {
        match prometheus.query(expression, at).await {
            Err(error) => wrong.push(format!("{place}: {error}: {expression}")),
            Ok(found) if found.is_empty() && MAY_BE_EMPTY.iter().all(|(known, _)| known != place) => {
                wrong.push(format!("{place} finds nothing: {expression}"));
            }
            Ok(_) => {}
        }
        known.extend(selectors(expression).into_iter().map(|selector| (selector, place)));
    }
    for (selector, place) in known {
        if OF_OTHERS.iter().any(|other| selector.starts_with(other)) {
            continue;
        }
        if prometheus.query(&selector, at).await.is_ok_and(|found| found.is_empty()) {
            wrong.push(format!("{place}: there is no {selector}"));
        }
    }
    wrong
}

fn now() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "the tests talk to Prometheus about the time of day")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// A worker, and what troubles it: one platform that is well and refuses a student, one that is down, one that gives no
/// tokens; a key that nobody knows, broken events, and somebody with a wrong token.
struct BadDay {
    worker: Worker,
    campus: SimulatedLms,
    down: SimulatedLms,
    closed: SimulatedLms,
}

impl BadDay {
    async fn begin() -> Self {
        let (campus, down, closed) = (lms().await, lms().await, lms().await);
        campus.refuse_user("eve");
        down.set_fault(Route::Lti11, Fault::status(503)).expect("a fault");
        closed.set_fault(Route::Token, Fault::status(400)).expect("a fault");
        let (_, broker) = Broker::shared().own_vhost();
        let config = format!(
            "{}\
             [[platforms]]\nname = \"down\"\norigin = \"{}\"\n\
             [[platforms]]\nname = \"closed\"\nclient_id = \"tool-2\"\ntoken_url = \"{}\"\n\
             [amqp]\nurl = \"{broker}\"\nqueues = [\"{}\"]\n",
            settings(&campus, &signing_key()),
            down.base_url(),
            closed.token_url(),
            unique("ops"),
        );
        let worker = Worker::started(&config).await;
        let keys = Jwks::Url(worker.url("/.well-known/jwks.json"));
        campus.add_client(Client::new("tool-1", keys)).expect("a client");
        wait_for("the consumer", async || (worker.get_open("/readyz").await.0 == 200).then_some(())).await;
        Self { worker, campus, down, closed }
    }

    /// Some of everything, and then a moment in which it is scraped.
    async fn have_a_bad_second(&self, round: u32) {
        let of = |who: &str| format!("{who}-{round}");
        let mut events = vec![lti11(&self.campus, "eve", round), ags(&self.campus, &of("ben"), 7)];
        events.extend((0..6).map(|n| lti11(&self.campus, &of(&format!("ann{n}")), 8)));
        events.extend((0..3).map(|n| lti11(&self.down, &of(&format!("cid{n}")), 8)));
        events.extend((0..6).map(|n| {
            let mut event = ags(&self.closed, &of(&format!("dora{n}")), 8);
            event["lis_data"]["client_id"] = "tool-2".into();
            event
        }));
        let stranger = |n: u32| {
            let mut event = lti11(&self.campus, &of(&format!("finn{n}")), 8);
            event["lis_data"]["oauth_consumer_key"] = "nobody's".into();
            event
        };
        events.extend((0..3).map(stranger));
        self.worker.submit(&events.into()).await;
        let twice = lti11(&self.campus, "ann0-0", 8);
        self.worker.submit(&twice).await;
        let (status, _) = self.worker.post("/v1/events", &json!({"session_id": "s", "score": -1})).await;
        assert_eq!(status, 422);
        self.knock().await;
        self.campus.revoke_tokens();
        if round == 2 {
            self.campus.set_fault(Route::Lti11, Fault::times(FaultKind::CutBefore, 3)).expect("a fault");
        }
        tokio::time::sleep(Duration::from_millis(900)).await;
    }

    /// Five at once with a wrong token.
    async fn knock(&self) {
        let client = crate::service::worker::client();
        let request = || client.get(self.worker.url("/api/v1/stats")).bearer_auth("wrong").send();
        let answers = tokio::join!(request(), request(), request(), request(), request());
        assert_eq!(answers.0.expect("an answer").status(), 401);
    }

    async fn replay_one(&self) {
        let flagged = wait_for("a flagged job", async || {
            let jobs = self.worker.get("/api/v1/jobs?state=flagged&limit=1").await;
            jobs["jobs"].as_array().and_then(|jobs| jobs.first().cloned())
        })
        .await;
        let id: &Value = &flagged["id"];
        let (status, _) =
            self.worker.post(&format!("/api/v1/jobs/{}/replay", id.as_str().expect("an id")), &json!({})).await;
        assert_eq!(status, 200, "{flagged}");
    }
}
