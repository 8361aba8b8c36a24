//! What the store costs: jobs through their whole life, and a start with many that wait.
//!
//! ```text
//! cargo bench --bench store -- flow 100000       each job stored, started, delivered, in a steady stream
//! cargo bench --bench store -- drain 100000      all stored first, then delivered, then pruned
//! cargo bench --bench store -- churn 1000000     stored, delivered and pruned in turns: the file must not grow for ever
//! cargo bench --bench store -- wait 1000000      all stored; then the store is opened again and looked at
//! ```
//!
//! An argument after the number is the folder; without one it is a temporary one. The CPU time is that of all threads
//! but this one, so making the events does not count.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use passback::{
    adapters::store::{Options, Store},
    domain::{
        destination::Origin,
        event::{Door, GradeEvent},
        job::{IdempotencyKey, JobId},
        ledger::{Answer, Arrival, Order, Outcomes, Rules, Work},
        notice::{Notice, Source},
        outcome::{Finding, Verdict},
        retry::RetryPolicy,
        time::{Draw, Timestamp},
        transition::Trial,
    },
    ports::{Clock, JobStore, Observer, Pending, StoreError},
};

const PLATFORMS: u64 = 20;

struct StandingClock;

impl Clock for StandingClock {
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

struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &Notice) {}
}

fn main() {
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    let task = args.next().unwrap_or_else(|| "flow".into());
    let count = args.next().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = args.next().map_or_else(|| temporary.path().join("store"), PathBuf::from);
    match task.as_str() {
        "flow" => flow(&folder, count),
        "drain" => drain(&folder, count),
        "churn" => churn(&folder, count),
        _ => waiting(&folder, count),
    }
}

fn flow(folder: &Path, count: u64) {
    let bench = Bench::open(folder);
    let count = count / 3;
    for (turn, group) in (0..).zip([32, 128, 512]) {
        bench.measure(&format!("flow, {group} at a time"), count, || bench.stream(turn * count, count, group));
    }
    bench.prune(3 * count);
}

fn churn(folder: &Path, count: u64) {
    let bench = Bench::open(folder);
    let count = count / 10;
    for turn in 0..10 {
        bench.measure("flow, 128 at a time", count, || bench.stream(turn * count, count, 128));
        bench.prune(count);
    }
}

fn drain(folder: &Path, count: u64) {
    let bench = Bench::open(folder);
    bench.fill(count);
    bench.measure("drain, 256 at a time", count, || {
        let mut after = HashMap::new();
        loop {
            let mut due = Vec::new();
            for platform in 0..PLATFORMS {
                let origin = origin(platform);
                let last = after.get(&platform).copied();
                let page = bench.store.due(&origin, last, 13).expect("reading works");
                if let Some(last) = page.last() {
                    after.insert(platform, (last.due, last.id));
                }
                due.extend(page);
            }
            if due.is_empty() {
                return;
            }
            let starts: Vec<_> = due.iter().map(|entry| bench.submit(Work::Start { id: entry.id })).collect();
            let started = ids(starts);
            // They end one after the other, in groups as they come.
            for group in started.chunks(64) {
                ids(group.iter().map(|id| bench.submit(delivered(*id))).collect());
            }
        }
    });
    bench.prune(count);
}

fn waiting(folder: &Path, count: u64) {
    let bench = Bench::open(folder);
    if count > 0 {
        bench.fill(count);
    }
    let began = Instant::now();
    bench.store.close().expect("a clean end");
    drop(bench);
    println!("closed in {:?}", began.elapsed());
    if count > 0 {
        // In a process of its own, for its memory.
        let program = env::current_exe().expect("a path");
        let again = Command::new(program).args(["wait", "0"]).arg(folder).status().expect("it starts");
        assert!(again.success());
        return;
    }
    let bench = Bench::open(folder);
    let began = Instant::now();
    let census = bench.store.census();
    println!("census in {:?}: {} queued", began.elapsed(), census.by_state[0]);
    let began = Instant::now();
    let page = bench.store.due(&origin(0), None, 100).expect("reading works");
    println!("first page of {} due in {:?}", page.len(), began.elapsed());
    let began = Instant::now();
    let mut all = 0;
    for platform in 0..PLATFORMS {
        let mut after = None;
        loop {
            let page = bench.store.due(&origin(platform), after, 1_000).expect("reading works");
            all += page.len();
            match page.last() {
                Some(last) => after = Some((last.due, last.id)),
                None => break,
            }
        }
    }
    println!("all {all} due in {:?}; {}", began.elapsed(), memory());
    let mut before = None;
    let began = Instant::now();
    for _ in 0..20 {
        before = bench.store.list(&passback::ports::JobFilter::default(), before, 50).expect("reading works").next;
    }
    println!("20 pages of 50 in {:?}; {}", began.elapsed(), memory());
}

struct Bench {
    store: Store,
    folder: PathBuf,
}

impl Bench {
    fn open(folder: &Path) -> Self {
        let options = Options {
            path: folder.into(),
            rules: Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped },
            sink: Box::new(drop),
            observer: Arc::new(Nobody),
            clock: Arc::new(StandingClock),
            reserve_bytes: 0,
        };
        let began = Instant::now();
        let store = Store::open(options).expect("a store");
        println!("opened in {:?}; {}", began.elapsed(), memory());
        Self { store, folder: folder.into() }
    }

    fn fill(&self, count: u64) {
        self.measure("store, 128 at a time", count, || {
            for first in (0..count).step_by(128) {
                ids((first..(first + 128).min(count)).map(|number| self.submit(event(number))).collect());
            }
        });
    }

    /// A steady stream: in each group some are stored, those of the group before begin, and those before that end.
    fn stream(&self, first: u64, count: u64, group: u64) {
        let (mut stored, mut started) = (Vec::new(), Vec::new());
        let (mut next, end) = (first, first + count);
        while next < end || !stored.is_empty() || !started.is_empty() {
            let upto = (next + group).min(end);
            let events: Vec<_> = (next..upto).map(|number| self.submit(event(number))).collect();
            next = upto;
            let starts: Vec<_> = stored.drain(..).map(|id| self.submit(Work::Start { id })).collect();
            let ends: Vec<_> = started.drain(..).map(|id| self.submit(delivered(id))).collect();
            stored = ids(events);
            started = ids(starts);
            ids(ends);
        }
    }

    fn prune(&self, count: u64) {
        self.measure("prune, 200 at a time", count, || {
            loop {
                let prune = Work::Prune { ended_before: Timestamp::from_secs(2_000_000_000), limit: 200 };
                match wait(self.submit(prune)) {
                    Ok(Answer::Pruned { removed: 0, .. }) => return,
                    Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    fn submit(&self, work: Work) -> Pending<'static, Result<Answer, StoreError>> {
        let now = match &work {
            Work::Admit(arrival) => arrival.sent_at.unwrap_or_default(),
            _ => Timestamp::from_secs(1_800_000_000),
        };
        self.store.submit(Order { work, now, draw: Draw::MIDDLE })
    }

    fn measure(&self, what: &str, count: u64, work: impl FnOnce()) {
        let (began, cpu) = (Instant::now(), cpu_of_others());
        work();
        let (took, cpu) = (began.elapsed(), cpu_of_others().saturating_sub(cpu));
        let per_job = cpu.as_secs_f64() * 1e6 / u32::try_from(count.max(1)).map_or(f64::MAX, f64::from);
        let rate = f64::from(u32::try_from(count).unwrap_or(0)) / took.as_secs_f64();
        let size = fs::metadata(self.folder.join("db")).map_or(0, |file| file.len()) / 1_000_000;
        println!("{what:<24} {per_job:6.1} us CPU a job, {rate:8.0} jobs/s; file {size} MB; {}", memory());
    }
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

fn delivered(id: JobId) -> Work {
    let verdict = Verdict { http_status: Some(200), ..Verdict::without_reply(Finding::Accepted, "") };
    Work::Finish { id, verdict, trial: Trial::Regular }
}

fn event(number: u64) -> Work {
    let origin = origin(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
    let body = serde_json::json!({
        "session_id": format!("01f2c9a6-6a8e-4c58-9a53-{number:012}"),
        "event_id": format!("0b8c9f1e-77aa-4c58-8b7d-{number:012}"),
        "user_id": format!("user-{number}"),
        "activity_id": "activity-17",
        "activity_name": "Introduction to Statistics, week 7",
        "score": number % 11,
        "max_score": 10,
        "occurred_at": "2026-11-21T10:30:00Z",
        "comment": "-".repeat(500),
        "lis_data": {
            "lis_outcome_service_url": format!("{origin}/mod/lti/service.php"),
            "oauth_consumer_key": "learnosity_lti_key",
            "lis_result_sourcedid": format!("{{\"data\":{{\"userid\":\"{number}\"}},\"hash\":\"{}\"}}", "f".repeat(64)),
        },
    })
    .to_string();
    let event = GradeEvent::parse(body.as_bytes(), Door::Event).unwrap_or_else(|error| panic!("{error}: {body}"));
    let key = IdempotencyKey::of(event.event_id.as_deref(), None, body.as_bytes(), None);
    // Two thousand events a second.
    let sent_at = Some(Timestamp::from_micros(1_790_000_000_000_000 + i64::try_from(number).unwrap_or(0) * 500));
    let luck = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 16;
    let body = body.as_bytes().into();
    Work::Admit(Box::new(Arrival { event, body, door: Door::Event, source: Source::Amqp, key, sent_at, luck }))
}

fn origin(platform: u64) -> Origin {
    Origin::from_stored(&format!("https://lms{}.example.edu", platform % PLATFORMS))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// The CPU time of all threads but this one.
fn cpu_of_others() -> Duration {
    let own = std::process::id().to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("this is Linux").flatten();
    let others = tasks.filter(|task| task.file_name().to_string_lossy() != own);
    others.map(|task| cpu(&task.path().join("schedstat"))).sum()
}

fn cpu(path: &Path) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
    format!("resident {}, at most {}", line("VmRSS:"), line("VmHWM:"))
}
