//! What the demo sends: 300 events for three platforms, and what every gradebook must show in the end.
//!
//! A plain value, made without chance, so that two runs show the same.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::simulator::{Cell, SimulatedLms};

/// The consumer key of the two LTI 1.1 platforms.
pub(super) const CONSUMER_KEY: &str = "demo-key";
/// The client id at the LTI 1.3 platform.
pub(super) const CLIENT_ID: &str = "demo-tool";
/// The course at the LTI 1.3 platform.
pub(super) const CONTEXT: &str = "course-1";

/// Students at each platform; each finishes one assessment.
const STUDENTS: usize = 80;
/// The first so many of them finish it twice.
const TWICE: usize = 20;
/// Every so many a student is unknown to the third platform.
const REFUSED_EVERY: usize = 16;

/// One of the three platforms of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// LTI 1.1, in good health.
    Healthy,
    /// LTI 1.3 AGS, down for a while.
    Down,
    /// LTI 1.1, and some students are not enrolled.
    Choosy,
}

/// What is sent and what is expected.
pub(super) struct Scenario {
    /// The events, in the order of sending.
    pub(super) events: Vec<Value>,
    /// The grade that each cell must show in the end, as a part of one.
    pub(super) expected: HashMap<(Stage, Cell), f64>,
    /// Students that the third platform does not know at first.
    pub(super) refused: Vec<String>,
}

/// The addresses that the events name.
pub(super) struct Addresses {
    healthy: String,
    down: String,
    choosy: String,
}

impl Addresses {
    /// Those of three running platforms.
    pub(super) fn of(healthy: &SimulatedLms, down: &SimulatedLms, choosy: &SimulatedLms) -> Self {
        Self {
            healthy: healthy.outcomes_url(),
            down: down.lineitem_url(CONTEXT, "quiz-1"),
            choosy: choosy.outcomes_url(),
        }
    }
}

impl Scenario {
    /// The scenario for platforms at these addresses.
    pub(super) fn new(addresses: &Addresses) -> Self {
        let mut scenario = Self { events: Vec::new(), expected: HashMap::new(), refused: Vec::new() };
        for student in 0..STUDENTS {
            for stage in [Stage::Healthy, Stage::Down, Stage::Choosy] {
                scenario.finish(addresses, stage, student, 1);
                if student < TWICE {
                    scenario.finish(addresses, stage, student, 2);
                }
            }
        }
        scenario
    }

    /// A student finishes the assessment for the `time`-th time, each time a little better.
    fn finish(&mut self, addresses: &Addresses, stage: Stage, student: usize, time: usize) {
        let score = (student * 7) % 90 + 5 * (time - 1);
        let user = format!("student-{student:03}");
        let cell = match stage {
            Stage::Healthy | Stage::Choosy => Cell::lti11(&user),
            Stage::Down => Cell::ags(CONTEXT, "quiz-1", &user),
        };
        if stage == Stage::Choosy && time == 1 && student % REFUSED_EVERY == REFUSED_EVERY - 1 {
            self.refused.push(user.clone());
        }
        self.events.push(json!({
            "event_id": format!("{stage:?}-{user}-{time}"),
            "session_id": format!("session-{stage:?}-{student:03}-{time}"),
            "activity_id": "quiz-1",
            "user_id": user,
            "score": score,
            "max_score": 100,
            "lis_data": lis_data(addresses, stage, &user),
        }));
        self.expected.insert((stage, cell), points(score) / 100.0);
    }
}

fn lis_data(addresses: &Addresses, stage: Stage, user: &str) -> Value {
    let lti11 = |url: &str| {
        json!({
            "lis_outcome_service_url": url,
            "lis_result_sourcedid": user,
            "oauth_consumer_key": CONSUMER_KEY,
        })
    };
    match stage {
        Stage::Healthy => lti11(&addresses.healthy),
        Stage::Choosy => lti11(&addresses.choosy),
        Stage::Down => json!({
            "lti_version": "1.3",
            "client_id": CLIENT_ID,
            "user_id": user,
            "lineitem": addresses.down,
        }),
    }
}

/// Whole points as a number; they are below a hundred.
fn points(score: usize) -> f64 {
    u32::try_from(score).map_or(f64::MAX, f64::from)
}
