//! The simulation: a small universe around the production domain, protocols and store layout. No async, no sockets, no
//! sleeping: a loop over a heap of future events, and one seed that decides all of it.
//!
//! ```text
//!   tests/campaign simulation 100000                                            many seeds, on all cores
//!   PASSBACK_SEED=7 cargo test --test it simulation::replay -- --nocapture      one seed, with its trace
//!   tests/campaign planted                                                      shows that it bites
//! ```

mod boundary;
mod broker;
mod bulk;
mod climate;
mod disk;
mod ends;
mod judge;
mod mood;
mod oracle;
mod outside;
mod plan;
mod platform;
mod process;
mod rules;
mod set_back;
mod talk;
mod times;
mod universe;
mod world;

use std::{
    env,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use self::{boundary::Boundary, outside::Stats};

/// The seeds of a normal run.
const SEEDS: u64 = 300;

/// Without clocks that go wrong and are set right again: another universe of the same seed, where it had them.
const CLOCKS_ARE_RIGHT: &str = "PASSBACK_CLOCKS_ARE_RIGHT";

fn are_clocks_right() -> bool {
    env::var_os(CLOCKS_ARE_RIGHT).is_some()
}

fn number_of(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a seed; a broken rule is told with the command that shows how it came about.
fn check(seed: u64) -> Result<Stats, String> {
    universe::run(seed, false, are_clocks_right()).map_err(|broken| {
        let clocks = if are_clocks_right() { format!(" {CLOCKS_ARE_RIGHT}=1") } else { String::new() };
        format!(
            "seed {seed} broke the rule `{}`: {}\n  replay it: PASSBACK_SEED={seed}{clocks} cargo test --test it \
             simulation::replay -- --nocapture",
            broken.rule, broken.words
        )
    })
}

/// Runs seeds on all cores, until one breaks a rule.
fn check_all(seeds: std::ops::Range<u64>) -> Result<Stats, String> {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new((Stats::default(), None::<(u64, String)>));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = check(seed);
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(stats) => sum.0.add(&stats),
                Err(words) => {
                    // The smallest seed that fails, so that two runs say the same.
                    next.store(seeds.end, Ordering::Relaxed);
                    if sum.1.as_ref().is_none_or(|(known, _)| seed < *known) {
                        sum.1 = Some((seed, words));
                    }
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let (stats, broken) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.map_or(Ok(stats), |(_, words)| Err(words))
}

fn show(seeds: u64, stats: &Stats) {
    #[expect(clippy::cast_precision_loss, reason = "figures for a person")]
    let each = |count: u64| count as f64 / seeds.max(1) as f64;
    println!(
        "{seeds} seeds: on average {:.1} events, {:.1} jobs, {:.1} attempts, {:.1} commits, {:.2} crashes, {:.2} stops, \
         {:.2} clocks set back, {:.1} steps of bulk changes, {:.2} holds, {:.1} redeliveries, {:.1} flagged, {:.0} steps, {:.1} hours",
        each(stats.events),
        each(stats.jobs),
        each(stats.attempts),
        each(stats.commits),
        each(stats.crashes_in_all()),
        each(stats.stops),
        each(stats.set_back),
        each(stats.bulk_steps),
        each(stats.holds),
        each(stats.redelivered),
        each(stats.flagged),
        each(stats.steps),
        each(stats.virtual_secs) / 3600.0,
    );
    for (boundary, count) in Boundary::ALL.into_iter().zip(stats.crashes) {
        println!("  {count:8} crashes at {boundary:?}");
    }
}

#[test]
fn some_hundreds_of_seeds_break_no_rule() {
    let stats = check_all(1..SEEDS + 1).unwrap_or_else(|words| panic!("{words}"));
    show(SEEDS, &stats);
    let calm: Vec<Boundary> =
        Boundary::ALL.into_iter().zip(stats.crashes).filter(|(_, count)| *count == 0).map(|(at, _)| at).collect();
    assert!(calm.is_empty(), "no worker ever died at {calm:?}: the simulation is too tame");
    assert!(stats.holds > 0 && stats.redelivered > 0 && stats.flagged > 0 && stats.stops > 0, "{stats:?}");
    assert!(stats.set_back > 0, "no clock was ever set back: {stats:?}");
    assert!(stats.bulk_steps > 0 && stats.bulk_resumed > 0, "no bulk change outlived a crash: {stats:?}");
}

/// A kept seed is never given up.
const KEPT: usize = 11;

/// Seeds that once found something, so that it stays found: each line is a seed, ` # ` and what it found.
fn kept_seeds(text: &str) -> Result<Vec<u64>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let seed = |(index, line): (usize, &str)| {
        let (seed, found) = line.split_once(" # ").unwrap_or((line, ""));
        let wrong = |what: &str| format!("seeds.txt, line {}: {what}: {line}", index + 1);
        if found.trim().is_empty() {
            return Err(wrong("nobody knows what it found; write it behind ` # `"));
        }
        seed.trim().parse().map_err(|_| wrong("no number"))
    };
    lines.map(seed).collect()
}

#[test]
fn the_kept_seeds_break_no_rule() {
    let kept = kept_seeds(include_str!("seeds.txt")).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(kept.len() >= KEPT, "seeds.txt has lost some of its seeds: {kept:?}");
    for seed in kept {
        let stats = check(seed).unwrap_or_else(|words| panic!("{words}"));
        assert!(stats.steps > 0, "seed {seed} was not run");
    }
}

#[test]
fn a_kept_seed_that_cannot_be_read_is_named() {
    assert_eq!(kept_seeds("# a head\n\n7 # one thing\n08 # another"), Ok(vec![7, 8]));
    let wrong = [("7", "line 1: nobody"), ("# a\nseven # b", "line 2: no number"), ("7 # ", "line 1: nobody")];
    for (text, place) in wrong {
        let told = kept_seeds(text).expect_err("a wrong line");
        assert!(told.contains(place), "{told}");
    }
}

#[test]
fn the_same_seed_has_the_same_trace() {
    for seed in 1..40 {
        let run = || check(seed).unwrap_or_else(|words| panic!("{words}"));
        let (one, other) = (run(), run());
        assert_eq!((one.steps, one.trace), (other.steps, other.trace), "seed {seed}");
    }
}

/// `PASSBACK_SEED`: shows the trace of one seed.
#[test]
fn replay() {
    let Some(seed) = number_of("PASSBACK_SEED") else {
        println!("nothing is replayed: PASSBACK_SEED names no seed");
        return;
    };
    match universe::run(seed, true, are_clocks_right()) {
        Ok(stats) => show(1, &stats),
        Err(broken) => panic!("seed {seed} broke the rule `{}`: {}", broken.rule, broken.words),
    }
}

/// `PASSBACK_SEEDS`: so many seeds, from `PASSBACK_FIRST_SEED` on.
#[test]
fn campaign() {
    let Some(seeds) = number_of("PASSBACK_SEEDS") else {
        println!("no campaign: PASSBACK_SEEDS names no number");
        return;
    };
    let first = number_of("PASSBACK_FIRST_SEED").unwrap_or(1);
    let stats = check_all(first..first + seeds).unwrap_or_else(|words| panic!("{words}"));
    show(seeds, &stats);
}
