//! A disk that fails the real worker in the middle of its work: the kernel answers `EIO` or `ENOSPC` to some of its
//! writes and syncs (strace puts that in). The worker says so, opens its store anew and goes on by itself; what it has
//! acknowledged is there, and every grade is delivered.

use std::{process::Command, sync::Arc};

use futures_util::future::join_all;

use super::{
    delivery::{settings, signing_key},
    load::Load,
    oracle::{bring_to_an_end, chance, flaky_lms},
    worker::{Worker, wait_for},
};

/// What fails, and what the worker then says of it. strace counts the calls of each thread for itself: the writer syncs, and sled has several that write.
const FAULTS: [(&str, &str); 4] = [
    // In a commit, and whatever is synced next.
    ("fdatasync:error=EIO:when=12..14", "os error 5"),
    ("pwrite64:error=EIO:when=9", "os error 5"),
    ("pwrite64:error=ENOSPC:when=30", "is full"),
    // Something like a cable that comes loose now and then.
    ("fdatasync:error=EIO:when=20+25", "os error 5"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_now_and_then_loses_nothing() {
    // Side by side: most of the time the store waits before it is opened anew.
    join_all(FAULTS.map(fail)).await;
}

async fn fail((fault, words): (&str, &str)) {
    let mut chance = chance();
    let lms = Arc::new(flaky_lms().await);
    let mut worker = Worker::new(&settings(&lms, &signing_key()));
    // With a start of its own the store is there: what fails is a store at work.
    worker.start().await;
    assert_eq!(worker.stop().await, Some(0));
    worker.start_by(failing(fault)).await;
    let load = Load::start(&worker, &lms);
    wait_for("the disk to fail", async || {
        load.run_for(&mut chance).await;
        let log = worker.log();
        let mut failures = log.lines().filter(|line| line.contains("the store takes no writes"));
        failures.any(|line| line.contains(words)).then_some(())
    })
    .await;
    let before = load.ledger().confirmed();
    wait_for("events to be taken again", async || {
        load.run_for(&mut chance).await;
        (load.ledger().confirmed() > before + 10).then_some(())
    })
    .await;
    load.pause();
    assert!(worker.log().contains("the store takes writes again"), "{fault}: it does not say that it goes on");
    let ledger = load.end().await;
    let books = bring_to_an_end(&mut worker, &lms, &ledger).await;
    println!("{fault}: {} events acknowledged; {books}", ledger.confirmed());
}

/// The worker, with some of its calls answered by an error.
fn failing(fault: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-q", "-o", "/dev/null", "--trace=fdatasync,pwrite64"]);
    strace.arg(format!("--inject={fault}")).arg("--").arg(env!("CARGO_BIN_EXE_passback"));
    strace
}
