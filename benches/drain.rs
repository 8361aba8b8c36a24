//! The load run: events drained from a real quorum queue into a simulated LMS, all programs on the same machine; and
//! the start of a worker that has very many jobs waiting.
//!
//! ```sh
//! cargo bench --bench drain                      # all of it: some four minutes
//! cargo bench --bench drain -- 60000             # so many events drained, for one platform
//! cargo bench --bench drain -- 60000 16          # for so many platforms (addresses of the loopback, one LMS)
//! cargo bench --bench drain -- 60000 16 outcomes # with the end of each job published to an exchange
//! cargo bench --bench drain -- waiting 1000000   # so many jobs waiting for a paused platform
//! ```
//!
//! Draining prints a line for each of four programs: the worker with its default configuration, from its start to the
//! last delivery; a consumer that only acknowledges (lapin, the same messages from a queue of the same type, the same
//! prefetch, acknowledged in bulk); a client that only posts (reqwest, the same requests, signed beforehand, to the same
//! LMS, as many at a time); and the LMS while the worker ran. The two in the middle are what the work costs without
//! keeping anything, so the ratio says more than a figure of one machine: CPU of the worker to CPU of both together.
//!
//! Waiting fills a store over HTTP for a platform that is paused, kills the worker with SIGKILL, starts it again, and
//! prints the CPU time a job to take in, the time from the start to `/readyz`, and the memory.
//!
//! CPU time is user and system of the process as the kernel counted it (`/proc/PID/stat`); memory is `VmHWM`. A change is
//! one of the three that each job makes in the store (stored, started, ended); events and changes are shown per sync.

#[path = "drain/bare.rs"]
mod bare;
#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/it/service/broker.rs"]
mod broker;
#[path = "drain/draining.rs"]
mod draining;
#[path = "drain/events.rs"]
mod events;
#[path = "drain/programs.rs"]
mod programs;
#[path = "drain/waiting.rs"]
mod waiting;

use mimalloc::MiMalloc;

/// The worker's own, so that the bare programs are measured alike.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["consume", url, queue, count] => in_many_threads(bare::consume(url, queue, number(count))),
        ["post", outcomes, count, platforms] => {
            in_many_threads(bare::post(outcomes, number(count), number(platforms)));
        }
        ["waiting", jobs] => in_one_thread(waiting::run(number(jobs))),
        [] => in_one_thread(async {
            draining::run(60_000, 1, "").await;
            draining::run(60_000, 16, "").await;
            draining::run(60_000, 16, draining::OUTCOMES).await;
            waiting::run(100_000).await;
            waiting::run(1_000_000).await;
        }),
        [events] => in_one_thread(draining::run(number(events), 1, "")),
        [events, platforms] => in_one_thread(draining::run(number(events), number(platforms), "")),
        [events, platforms, "outcomes"] => {
            in_one_thread(draining::run(number(events), number(platforms), draining::OUTCOMES));
        }
        _ => panic!("give nothing, EVENTS, EVENTS PLATFORMS, EVENTS PLATFORMS outcomes, or `waiting` JOBS"),
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// Who only starts and looks should take little of what is measured.
fn in_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work);
}

/// The runtime that the worker has.
fn in_many_threads(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work);
}
