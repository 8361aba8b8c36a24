//! Asking: every call that reads, with filters that many, few or no jobs pass, and everything that the page is made of.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::programs::Worker;

/// How often each call is made.
const CALLS: usize = 40;
/// The page of a list that is asked for last.
const FAR_PAGE: usize = 50;
/// So many calls fill a page, or tell that there is no more.
const FILL_MAX: usize = 1_000;

/// Calls that are no lists of jobs.
const PLAIN: [&str; 11] = [
    "/api/v1/groups?state=flagged",
    "/api/v1/stats",
    "/api/v1/platforms",
    "/api/v1/recent",
    "/api/v1/replays",
    "/api/v1/audit",
    "/metrics",
    "/readyz",
    "/healthz",
    "/openapi.json",
    "/.well-known/jwks.json",
];

/// What lists of jobs are narrowed by: many, few, none; and what is common with what is rare.
const FILTERS: [&str; 34] = [
    "",
    "limit=1000",
    "state=queued",
    "state=delivered",
    "state=flagged",
    "state=superseded",
    "state=discarded",
    "platform=campus",
    "platform=lms3.example.edu",
    "platform=rare.example.edu",
    "platform=nowhere.example.edu",
    "reason=unauthorized",
    "reason=timeout",
    "reason=tls",
    "reason=blocked_destination",
    "state=flagged&platform=campus",
    "state=flagged&platform=lms3.example.edu&reason=timeout",
    "state=flagged&platform=rare.example.edu",
    "state=flagged&reason=tls",
    "delivery=lti11",
    "delivery=lti13-delegated",
    "state=flagged&delivery=lti13-ags",
    "user_id=student-4711",
    "user_id=rare-student",
    "user_id=nobody",
    "session_id=01f2c9a6-6a8e-4c58-9a53-000000001000",
    "session_id=none",
    "activity_id=exam",
    "activity_id=quiz-1717",
    "activity_id=rare-activity",
    "activity_id=none",
    "activity_id=exam&state=flagged&reason=tls",
    "activity_id=exam&user_id=rare-student",
    "state=delivered&user_id=student-4713",
];

/// Makes every call many times and prints how long it took.
pub(super) async fn ask_all(worker: &Worker) {
    println!("{:<72} median   p99  rows calls", "");
    for filter in FILTERS {
        ask_list(worker, filter).await;
    }
    for window in windows(worker).await {
        ask_list(worker, &window).await;
    }
    for filter in ["", "state=flagged", "activity_id=exam"] {
        let mut cursor = String::new();
        for _ in 0..FAR_PAGE {
            let page = page(worker, &format!("{filter}{cursor}")).await;
            cursor = page["next_cursor"].as_str().map_or(String::new(), |next| format!("&cursor={next}"));
        }
        ask_list(worker, &format!("{filter}{cursor}")).await;
    }
    let newest = page(worker, "state=flagged&limit=1").await;
    let job = format!("/api/v1/jobs/{}", newest["jobs"][0]["id"].as_str().expect("a flagged job"));
    let assets = assets(worker).await;
    for path in PLAIN.into_iter().chain([&job[..]]).chain(assets.iter().map(String::as_str)) {
        let (median, worst) = times(worker, path).await;
        show(path, median, worst, "");
    }
}

/// One day long ago, the last hour, and all but the last day.
async fn windows(worker: &Worker) -> Vec<String> {
    let newest = page(worker, "limit=1").await;
    let now = newest["jobs"][0]["created_at"].as_str().expect("a job");
    let now = passback::domain::time::Timestamp::parse(now).expect("a time");
    let ago = |days: u64| now.back(Duration::from_secs(days * 24 * 3_600)).to_string().replace('+', "%2B");
    let hour = now.back(Duration::from_secs(3_600)).to_string();
    vec![
        format!("since={hour}"),
        format!("until={}", ago(18)),
        format!("since={}&until={}&state=flagged&reason=timeout", ago(19), ago(18)),
        format!("until={}&user_id=student-4711", ago(10)),
    ]
}

async fn ask_list(worker: &Worker, filter: &str) {
    let (median, worst) = times(worker, &format!("/api/v1/jobs?{filter}")).await;
    let (mut rows, mut calls, mut cursor) = (0, 0, String::new());
    while calls < FILL_MAX {
        let page = page(worker, &format!("{filter}{cursor}")).await;
        rows += page["jobs"].as_array().map_or(0, Vec::len);
        calls += 1;
        match page["next_cursor"].as_str() {
            Some(next) if rows < 50 => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    show(&format!("/api/v1/jobs?{filter}"), median, worst, &format!("{rows:>6}{calls:>6}"));
}

async fn page(worker: &Worker, query: &str) -> Value {
    let path = format!("/api/v1/jobs?{}", query.trim_start_matches('&'));
    let text = worker.get(&path).await.unwrap_or_else(|| panic!("{path} is refused"));
    serde_json::from_str(&text).expect("JSON")
}

/// The median and the 99th percentile, in milliseconds.
async fn times(worker: &Worker, path: &str) -> (f64, f64) {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        worker.get(path).await.unwrap_or_else(|| panic!("{path} is refused"));
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    (times[CALLS / 2], times[CALLS * 99 / 100])
}

fn show(path: &str, median: f64, worst: f64, more: &str) {
    let path: String = path.chars().take(78).collect();
    println!("{path:<78}{median:>7.2}{worst:>7.2}{more}");
}

/// The page, and whatever it names.
async fn assets(worker: &Worker) -> Vec<String> {
    let mut found: BTreeSet<String> = ["/".to_owned(), "/assets/app.js".to_owned()].into();
    for from in ["/", "/assets/app.js"] {
        let text = worker.get(from).await.expect("the page");
        let named = text.split("\"/assets/").skip(1).chain(text.split("from \"./").skip(1));
        found.extend(named.filter_map(|rest| Some(format!("/assets/{}", rest.split('"').next()?))));
    }
    found.into_iter().collect()
}
