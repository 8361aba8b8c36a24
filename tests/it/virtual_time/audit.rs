//! The audit log in the long run: it keeps the newest entries, in the order in which they came, whatever the clock does.

use std::time::Duration;

use passback::domain::{
    audit::{Action, ENTRIES_MAX, Entry, Word},
    retry::RetryPolicy,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::universe::Universe;

const MORE: u64 = 700;

#[tokio::test(start_paused = true)]
async fn the_newest_ten_thousand_entries_are_kept_in_their_order() {
    let universe = Universe::started(RetryPolicy::default());
    let handle = universe.handle().clone();
    let all = ENTRIES_MAX as u64 + MORE;
    for number in 0..all {
        if number == all - 100 {
            universe.clock.set_by(-3_600);
        }
        let entry = Entry { count: Some(number), ..Entry::new(handle.now(), &Word::of("ops"), Action::Replay) };
        handle.write_down(handle.as_note(&entry).expect("the store answers")).await.expect("the store answers");
    }
    let numbers = || {
        let (mut numbers, mut before) = (Vec::new(), None);
        loop {
            let page = handle.audit(before, 999).expect("the store answers");
            numbers.extend(page.entries.iter().filter_map(|deed| deed.entry.count));
            let Some(next) = page.next else { return numbers };
            before = Some(next);
        }
    };
    assert!(numbers().into_iter().eq((0..all).rev()), "newest first, though the clock was set back");
    let drain = CancellationToken::new();
    let sweeps = drain.run_until_cancelled(handle.run_retention(drain.clone()));
    tokio::join!(sweeps, async {
        sleep(Duration::from_secs(61)).await;
        drain.cancel();
    });
    assert!(numbers().into_iter().eq((MORE..all).rev()), "the oldest are gone, and no other");
}
