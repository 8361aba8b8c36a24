//! The admin API and the page with a million jobs in the store: how long each call takes, and a bulk replay of
//! 50,000 jobs over a kill -9.
//!
//! ```sh
//! cargo bench --bench admin                     # a million jobs, a hundred thousand of them flagged: some five minutes
//! cargo bench --bench admin -- 100000           # so many jobs
//! cargo bench --bench admin -- 1000000 FOLDER   # with the store in FOLDER, which is filled if it is empty, and kept
//! ```
//!
//! The store is filled by the ledger itself ([`filling`] says with what), then the real worker is started on it. Each call
//! is made [`CALLS`](asking) times, one after the other, over one connection: with nothing else to do, and while grades
//! are delivered. `rows` is what the first page of 50 brings, `calls` how many calls it takes to fill the page or to know
//! that there is no more: a page may be short. In the end the unauthorized half of the flagged jobs is replayed in the
//! background, with a kill -9 in its middle, and every number is compared.

#[path = "admin/asking.rs"]
mod asking;
#[expect(dead_code, reason = "shared with the load run, which needs more of it")]
#[path = "drain/events.rs"]
mod events;
#[path = "admin/filling.rs"]
mod filling;
#[expect(dead_code, reason = "shared with the load run, which needs more of it")]
#[path = "drain/programs.rs"]
mod programs;
#[path = "admin/replaying.rs"]
mod replaying;

use std::path::PathBuf;

use mimalloc::MiMalloc;

use self::{
    filling::Lms,
    programs::{Worker, start_lms},
};

/// The worker's own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let jobs = args.next().map_or(1_000_000, |jobs| jobs.parse().expect("a number of jobs"));
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = args.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(jobs, folder));
}

async fn run(jobs: u64, folder: PathBuf) {
    let (_lms, outcomes) = start_lms();
    let lms = Lms::at(&outcomes);
    if !folder.join("store/db").exists() {
        let (into, filled_by) = (folder.join("store"), lms.clone());
        let filling = tokio::task::spawn_blocking(move || filling::fill(&into, jobs, &filled_by));
        filling.await.expect("the store is filled");
    }
    let began = tokio::time::Instant::now();
    let mut worker = Worker::start(&folder, &lms.settings());
    worker.wait_until_ready().await;
    println!("{jobs} jobs: ready in {:.2} s, {:.0} MiB peak", began.elapsed().as_secs_f64(), worker.program.peak_mib());
    println!("\nwith nothing else to do");
    asking::ask_all(&worker).await;
    println!("{:.0} MiB peak", worker.program.peak_mib());
    println!("\nwhile grades are delivered");
    tokio::select! {
        () = asking::ask_all(&worker) => {}
        () = replaying::keep_busy(&worker, &lms) => {}
    }
    println!("{:.0} MiB peak", worker.program.peak_mib());
    replaying::replay(&mut worker, &folder, &lms).await;
}
