//! Power cuts under load: what the worker has acknowledged with a 202 is there afterwards, the store opens and is
//! consistent, and every grade that the platform had taken belongs to an attempt that the store knows of.
//!
//! Two ways, which see different mistakes. The disk: a loop device whose image is copied atomically while the worker
//! writes; the copy holds what had reached the device. The trace: the store's files rebuilt from the worker's system
//! calls, with nothing in them but what was synced, or with chance deciding about the rest, page by page. The first
//! needs root, a loop device and btrfs, and says so loudly where it has not; the second then does all the cuts.
//!
//! `tests/campaign power-cuts 100` makes 100 of each.

use std::{io::Write as _, process::Command, sync::Arc};

use tokio::time::Instant;

use super::{
    calls,
    cut_disk::{CutDisk, FileSystem},
    delivery::{settings, signing_key},
    load::Load,
    oracle::{Books, bring_to_an_end, chance, flaky_lms, times},
    synced::{Keep, Trace},
    worker::Worker,
};

/// How many cuts there are in a normal run, of each way.
const CUTS: u32 = 5;
/// How many there are in a campaign.
const CUTS_VARIABLE: &str = "PASSBACK_CUTS";
/// After so many cuts of a worker that goes on, one that it feels.
const CUTS_TO_A_BLACKOUT: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let cuts = times(CUTS_VARIABLE, CUTS);
    // XFS has its turn in a campaign.
    let turns = if cuts > CUTS { vec![FileSystem::Ext4, FileSystem::Xfs] } else { vec![FileSystem::Ext4] };
    let share = cuts / u32::try_from(turns.len()).expect("two");
    for file_system in turns {
        match CutDisk::prepare(file_system) {
            Ok(mut disk) => cut_the_disk(&mut disk, share).await,
            Err(why) => {
                aloud(&format!(
                    "power cuts on {file_system:?} ({why}); they are made from a trace of system calls instead"
                ));
                cut_the_trace(share).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_synced_is_enough() {
    cut_the_trace(times(CUTS_VARIABLE, CUTS)).await;
}

/// Says it where the test runner does not swallow it.
pub(crate) fn aloud(words: &str) {
    writeln!(std::io::stderr(), "\nNOT DONE HERE: {words}").expect("stderr is open");
}

async fn cut_the_disk(disk: &mut CutDisk, cuts: u32) {
    let begin = Instant::now();
    let mut chance = chance();
    let lms = Arc::new(flaky_lms().await);
    let mut worker = Worker::with_store(&disk.path().join("store"), &settings(&lms, &signing_key()));
    worker.start().await;
    let load = Load::start(&worker, &lms);
    let (mut books, mut blackouts) = (Books::default(), 0);
    for round in 1..=cuts {
        let is_blackout = round % CUTS_TO_A_BLACKOUT == 0;
        load.run_for(&mut chance).await;
        if is_blackout {
            worker.freeze().await;
        }
        // First what is known, then the cut: what happens in between is in nobody's books.
        let (acknowledged, before) = {
            let ledger = load.ledger();
            (ledger.vouched(), ledger.writes(&lms))
        };
        let cut = disk.cut();
        load.pause();
        let left = cut.mounted(|path| Books::read(&path.join("store")));
        let left = left.unwrap_or_else(|error| panic!("cut {round}: {error}"));
        left.hold_all(&acknowledged).unwrap_or_else(|what| panic!("cut {round}: {what}"));
        let after = load.ledger().writes(&lms);
        load.ledger().check(&left, &before, &after);
        left.follow(&books);
        books = left;
        if is_blackout {
            worker.kill();
            disk.go_on_with(&cut);
            worker.start().await;
            blackouts += 1;
        }
    }
    let ledger = load.end().await;
    let ended = bring_to_an_end(&mut worker, &lms, &ledger).await;
    ended.follow(&books);
    println!(
        "{cuts} power cuts on {:?}, {blackouts} of them blackouts that the worker started from again; {} events \
         acknowledged; {ended}; {} s",
        disk.file_system(),
        ledger.confirmed(),
        begin.elapsed().as_secs()
    );
}

async fn cut_the_trace(cuts: u32) {
    let begin = Instant::now();
    let mut chance = chance();
    let lms = Arc::new(flaky_lms().await);
    let mut worker = Worker::new(&settings(&lms, &signing_key()));
    let load = Load::start(&worker, &lms);
    let mut trace = Trace::begin(worker.store());
    let mut acknowledged = 0;
    // From nothing, and from what a kill has left.
    for (life, cuts) in [cuts.div_ceil(2), cuts / 2].into_iter().enumerate() {
        let path = worker.folder().join(format!("trace-{life}"));
        let mut strace = Command::new("strace");
        strace.args(calls::ARGUMENTS).arg("-o").arg(&path).arg("--").arg(env!("CARGO_BIN_EXE_passback"));
        worker.spawn_as(strace);
        worker.wait_until_it_answers().await;
        for _ in 0..10 {
            load.run_for(&mut chance).await;
        }
        load.pause();
        worker.kill();
        trace.read(&path).await;
        for number in 0..cuts {
            // Most of them right after an acknowledgement: then most is promised.
            let at = if number % 4 == 3 { trace.any_moment(&mut chance) } else { trace.after_an_ack(&mut chance) };
            for keep in [Keep::Synced, Keep::Some] {
                let rebuilt = trace.rebuilt(at, keep, &mut chance);
                let books =
                    Books::read(rebuilt.folder.path()).unwrap_or_else(|error| panic!("call {at}, {keep:?}: {error}"));
                books.hold_all(&rebuilt.acknowledged).unwrap_or_else(|what| panic!("call {at}, {keep:?}: {what}"));
                load.ledger().check(&books, &rebuilt.sent, &rebuilt.sent);
                acknowledged += rebuilt.acknowledged.len();
            }
        }
    }
    load.end().await;
    println!(
        "{cuts} power cuts in a trace, each with only what was synced and with some of the rest; {acknowledged} \
         acknowledgements looked for; {} s",
        begin.elapsed().as_secs()
    );
}
