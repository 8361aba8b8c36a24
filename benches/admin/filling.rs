//! A store as an assessment platform leaves it after twenty days: of a thousand jobs a hundred are flagged, two hundred
//! wait for paused platforms, the others have ended. Half of the flagged jobs were refused as unauthorized by the
//! simulated LMS, which would take them now; the others failed in all ways at sixteen platforms that are not there.
//!
//! What is rare is in the store but a few times, among its oldest jobs, where a list comes last.

use std::{path::Path, sync::Arc, time::Duration};

use passback::{
    adapters::store::{Options, Store},
    domain::{
        destination::Origin,
        event::{Door, GradeEvent},
        job::{IdempotencyKey, JobId},
        ledger::{Answer, Arrival, Order, Outcomes, Rules, Work},
        notice::{Notice, Source},
        outcome::{FailureReason, Finding, NotNewer, Verdict},
        retry::RetryPolicy,
        time::{Draw, Timestamp},
        transition::Trial,
    },
    ports::{Clock, JobStore, Observer, Pending, StoreError},
};
use serde_json::{Value, json};

use super::events::{KEY, SECRET};

/// Jobs were stored from so long ago on until now.
const SPAN: Duration = Duration::from_secs(20 * 24 * 3_600);
/// Orders that the store has at once.
const AT_ONCE: u64 = 256;
/// Jobs of other platforms go to so many.
const PLATFORMS: u64 = 16;

/// The simulated LMS.
#[derive(Clone)]
pub(super) struct Lms {
    pub(super) outcomes: String,
}

impl Lms {
    /// At the URL that it told.
    pub(super) fn at(outcomes: &str) -> Self {
        Self { outcomes: outcomes.replace("0.0.0.0", "127.0.0.1") }
    }

    /// The worker's settings beside those that it has anyway.
    pub(super) fn settings(&self) -> String {
        let end = self.outcomes.match_indices('/').nth(2).map_or(self.outcomes.len(), |(end, _)| end);
        let origin = &self.outcomes[..end];
        format!(
            "[[platforms]]\nname = \"campus\"\norigin = \"{origin}\"\n[[lti_keys]]\nkey = \"other\"\nsecret = \"{SECRET}\"\n"
        )
    }
}

/// What becomes of a job.
enum Fate {
    Flagged(FailureReason),
    Waiting,
    Delivered,
    Superseded,
    Discarded,
}

fn fate(number: u64) -> Fate {
    match number % 100 {
        3 | 13 | 23 | 33 | 43 => Fate::Flagged(FailureReason::Unauthorized),
        53 | 63 | 73 | 83 | 93 => Fate::Flagged(other_reason(number)),
        7 | 8 | 17 | 18 | 27 | 28 | 37 | 38 | 47 | 48 | 57 | 58 | 67 | 68 | 77 | 78 | 87 | 88 | 97 | 98 => {
            Fate::Waiting
        }
        5 => Fate::Superseded,
        15 => Fate::Discarded,
        _ => Fate::Delivered,
    }
}

fn other_reason(number: u64) -> FailureReason {
    match number {
        ..1_000 => FailureReason::Tls,
        _ => [
            FailureReason::NotFound,
            FailureReason::Rejected,
            FailureReason::Timeout,
            FailureReason::ServerError,
            FailureReason::BadResponse,
        ][usize::try_from(number / 100 % 5).unwrap_or(0)],
    }
}

/// Fills a store and closes it.
pub(super) fn fill(folder: &Path, jobs: u64, lms: &Lms) {
    let options = Options {
        path: folder.into(),
        rules: Rules {
            retry: RetryPolicy { max_retries: 1, ..RetryPolicy::default() },
            supersede: true,
            outcomes: Outcomes::Dropped,
        },
        sink: Box::new(drop),
        observer: Arc::new(Nobody),
        clock: Arc::new(Nobody),
        reserve_bytes: 0,
    };
    let store = Store::open(options).expect("a new store");
    let began = tokio::time::Instant::now();
    let now = passback::adapters::clock::SystemClock.now();
    let step = SPAN / u32::try_from(jobs).expect("some millions");
    let at = |number: u64| now.back(SPAN) + step * u32::try_from(number).expect("some millions");
    for first in (0..jobs).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
        let numbers = first..(first + AT_ONCE).min(jobs);
        let submit = |work, number, round| {
            // By the next round every job is due.
            let now = at(number) + Duration::from_secs(3_600) * round;
            store.submit(Order { work, now, draw: Draw::MIDDLE })
        };
        let arrivals = numbers.clone().map(|number| submit(admit(number, at(number), lms), number, 0));
        let stored = ids(arrivals.collect());
        for round in 0..2 {
            let each = numbers.clone().zip(&stored);
            let works =
                each.flat_map(|(number, id)| works(&fate(number), *id, number, round).map(move |work| (work, number)));
            ids(works.map(|(work, number)| submit(work, number, round)).collect());
        }
    }
    for number in 0..4 {
        let origin = Origin::from_stored(&format!("https://paused{number}.example.edu"));
        wait(store.submit(Order {
            work: Work::NotePlatform { origin, paused_since: Some(now), held_since: None },
            now,
            draw: Draw::MIDDLE,
        }))
        .expect("it is paused");
    }
    store.close().expect("a clean end");
    println!("filled with {jobs} jobs in {:.0} s", began.elapsed().as_secs_f64());
}

/// What is done with a job in a round.
fn works(fate: &Fate, id: JobId, number: u64, round: u32) -> impl Iterator<Item = Work> + use<> {
    let [first, second] = match (fate, round) {
        (Fate::Flagged(reason), _) => [Some(Work::Start { id }), Some(end(Finding::Failed(*reason), id, number))],
        (Fate::Delivered, 0) => [Some(Work::Start { id }), Some(end(Finding::Accepted, id, number))],
        (Fate::Superseded, 0) => [Some(Work::Start { id }), Some(end(Finding::NotNewer(NotNewer::Older), id, number))],
        (Fate::Discarded, 0) => [Some(Work::Discard { id }), None],
        _ => [None, None],
    };
    first.into_iter().chain(second)
}

fn end(finding: Finding, id: JobId, number: u64) -> Work {
    let words = match finding {
        Finding::Failed(_) => {
            format!("the platform said no in as many words as such platforms have, this time with the number {number}")
        }
        _ => String::new(),
    };
    let verdict = Verdict { http_status: Some(500), ..Verdict::without_reply(finding, words) };
    Work::Finish { id, verdict, trial: Trial::Regular }
}

fn admit(number: u64, at: Timestamp, lms: &Lms) -> Work {
    let host = match fate(number) {
        Fate::Waiting => format!("https://paused{}.example.edu", number % 4),
        _ if number == 3_001 => "https://rare.example.edu".to_owned(),
        _ => format!("https://lms{}.example.edu", number / 100 % PLATFORMS),
    };
    let outcomes = match fate(number) {
        Fate::Flagged(FailureReason::Unauthorized) => lms.outcomes.clone(),
        _ => format!("{host}/outcomes"),
    };
    let user = format!("student-{}", number % 50_000);
    let lis_data = match number % 1_000 {
        1 => json!({"lti_version": "1.3", "grade_passback_url": format!("{host}/endpoint"), "oauth_consumer_key": KEY}),
        10 | 20 | 30 | 40 => {
            json!({"lti_version": "1.3", "client_id": "client", "user_id": user, "lineitem": format!("{host}/line/{number}")})
        }
        _ => json!({
            "lis_outcome_service_url": outcomes, "lis_result_sourcedid": format!("course-1:quiz-{number}:{user}"),
            "oauth_consumer_key": KEY,
        }),
    };
    let activity = match number {
        1_001 => "rare-activity".to_owned(),
        _ if number.is_multiple_of(3) => "exam".to_owned(),
        _ => format!("quiz-{}", number % 2_000),
    };
    let body = json!({
        "event_id": format!("0b8c9f1e-77aa-4c58-8b7d-{number:012}"),
        "session_id": format!("01f2c9a6-6a8e-4c58-9a53-{number:012}"),
        "user_id": if number == 1_000 { "rare-student".to_owned() } else { user },
        "activity_id": activity, "score": number % 11, "max_score": 10, "comment": "-".repeat(500), "lis_data": lis_data,
    });
    arrival(&body, number, at)
}

fn arrival(body: &Value, number: u64, at: Timestamp) -> Work {
    let body = body.to_string();
    let event = GradeEvent::parse(body.as_bytes(), Door::Event).unwrap_or_else(|error| panic!("{error}: {body}"));
    let key = IdempotencyKey::of(event.event_id.as_deref(), None, body.as_bytes(), None);
    let luck = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 16;
    let body = body.as_bytes().into();
    let sent_at = Some(at);
    Work::Admit(Box::new(Arrival { event, body, door: Door::Event, source: Source::Amqp, key, sent_at, luck }))
}

/// The jobs that the answers speak of.
fn ids(pending: Vec<Pending<'static, Result<Answer, StoreError>>>) -> Vec<JobId> {
    let id = |answer| match answer {
        Ok(Answer::Stored(id)) => id,
        Ok(Answer::Job(job)) => job.id,
        other => panic!("{other:?}"),
    };
    pending.into_iter().map(|answer| id(wait(answer))).collect()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

struct Nobody;

impl Clock for Nobody {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }

    fn draw(&self) -> Draw {
        Draw::MIDDLE
    }

    fn luck(&self) -> u128 {
        0
    }
}

impl Observer for Nobody {
    fn observe(&self, _: &Notice) {}
}
