//! Very many jobs that wait: what it costs to take them in, and how the worker starts with them after a crash.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{events::event, programs::Worker};

/// The platform that all wait for.
const URL: &str = "https://waiting.example.edu/outcomes";
const PLATFORM: &str = "[[platforms]]\nname = \"waiting\"\norigin = \"https://waiting.example.edu\"\n";
/// Events of one request, and requests at once.
const AT_ONCE: usize = 500;
/// The page, the metrics and the first sweep are yet to come when the worker is ready.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Fills a store with so many jobs, kills the worker, starts it again, and prints what that took.
pub(super) async fn run(jobs: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    println!("\n{jobs} jobs waiting for a paused platform");
    let mut worker = Worker::start(folder.path(), PLATFORM);
    worker.wait_until_ready().await;
    worker.post("/api/v1/platforms/waiting/pause", String::new()).await;
    let (begin, before) = (Instant::now(), worker.program.cpu());
    fill(&worker, jobs).await;
    let cpu = worker.program.cpu().since(before);
    let count = u32::try_from(jobs).map_or(f64::MAX, f64::from);
    println!(
        "  taken in over HTTP: {:.0} jobs/s, {:.1} us CPU a job ({:.1} user, {:.1} system), {:.1} MiB peak",
        count / begin.elapsed().as_secs_f64(),
        cpu.seconds() * 1e6 / count,
        cpu.user * 1e6 / count,
        cpu.system * 1e6 / count,
        worker.program.peak_mib()
    );
    worker.program.kill();
    drop(worker);

    let begin = Instant::now();
    let worker = Worker::start(folder.path(), PLATFORM);
    worker.wait_until_ready().await;
    let ready = begin.elapsed();
    let at_ready = worker.program.peak_mib();
    worker.wait_until("queued", jobs).await;
    sleep(AFTERWARDS).await;
    println!(
        "  started after kill -9: ready in {:.2} s, {at_ready:.1} MiB peak; {:.1} MiB, {:.2} s CPU {} s later",
        ready.as_secs_f64(),
        worker.program.peak_mib(),
        worker.program.cpu().seconds(),
        AFTERWARDS.as_secs()
    );
}

/// Two requests at a time keep the worker busy.
async fn fill(worker: &Worker, jobs: usize) {
    let post = |first: usize| async move {
        let lines: Vec<String> = (first..jobs.min(first + AT_ONCE)).map(|number| event(number, URL)).collect();
        if !lines.is_empty() {
            worker.post("/v1/events", lines.join("\n")).await;
        }
    };
    for first in (0..jobs).step_by(2 * AT_ONCE) {
        tokio::join!(post(first), post(first + AT_ONCE));
    }
    worker.wait_until("queued", jobs).await;
}
