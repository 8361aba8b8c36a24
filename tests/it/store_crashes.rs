//! Crashes of the store against a plain map: batches of random orders, each committed whole, cut off before it is
//! applied, before it is synced (and then lost or kept), or after the sync and before anybody was told. What is opened
//! afterwards is the map before the batch or after it, never anything between; and it is sound.

use std::collections::{BTreeMap, BTreeSet};

use passback::{
    adapters::store::bookkeeper::{Bookkeeper, Reader},
    domain::{
        job::{JobId, Place, StateName},
        ledger::{self, Answer, Report},
        time::Timestamp,
    },
    ports::JobFilter,
};
use proptest::prelude::*;

use crate::{
    store_common::{FaultyDisk, SMALL, Strike, rules},
    store_model::{Model, Step, answer_shown, order_of, origin, same, shown, steps},
};

/// Where a batch is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    At(Strike),
    /// After the sync, before anybody was told.
    BeforeTheAnswer,
}

const CUTS: [Cut; 4] = [
    Cut::At(Strike::AtApply),
    Cut::At(Strike::AtSync { kept: false }),
    Cut::At(Strike::AtSync { kept: true }),
    Cut::BeforeTheAnswer,
];

fn open(disk: &FaultyDisk) -> Bookkeeper {
    Bookkeeper::open(disk.open().expect("it opens"), rules(), &SMALL).expect("a sound store")
}

/// Everything that can be asked must have the map's answer.
fn compare(reader: &Reader, model: &Model, ids: &BTreeSet<JobId>) {
    for id in ids {
        same(&shown(reader.job(*id).expect("reading works").as_ref()), &shown(model.jobs.get(id)));
    }
    for which in 0..3 {
        let origin = origin(which);
        let due = reader.due(&origin, None, 1_000).expect("reading works");
        let due: Vec<_> = due.into_iter().map(|entry| (entry.due, entry.id, entry.cell)).collect();
        let entries = model.jobs.values().filter_map(ledger::due_entry).filter(|entry| entry.origin == origin);
        let expected: BTreeSet<_> = entries.map(|entry| (entry.due, entry.id, entry.cell)).collect();
        assert_eq!(due, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(reader.column([which; 16]).expect("reading works").as_ref(), model.columns.get(&[which; 16]));
    }
    let platforms = reader.platforms().into_iter().map(|known| (known.origin.clone(), known));
    assert_eq!(platforms.collect::<BTreeMap<_, _>>(), model.platforms);
    let count = |state| model.jobs.values().filter(|job| job.state_name() == state).count() as u64;
    assert_eq!(reader.census().by_state, StateName::ALL.map(count));
    let listed = reader.list(&JobFilter::default(), None, 10_000).expect("reading works").jobs;
    assert!(listed.iter().map(|job| job.id).eq(model.jobs.keys().rev().copied()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_that_is_cut_off_anywhere_is_there_as_a_whole_or_not_at_all(
        groups in steps(),
        cuts in prop::collection::vec(prop::option::weighted(0.35, 0..CUTS.len()), 16),
    ) {
        let disk = FaultyDisk::default();
        let mut bookkeeper = open(&disk);
        let (mut model, mut known, mut seen) = (Model::default(), Vec::new(), BTreeSet::new());
        let (mut now, mut luck) = (Timestamp::from_secs(1_790_000_000), 0);
        for (group, cut) in groups.iter().zip(cuts) {
            let (mut after, mut known_after) = (model.clone(), known.clone());
            let (mut orders, mut expected) = (Vec::new(), Vec::new());
            for (step, wait_s) in group {
                now = now + std::time::Duration::from_secs((*wait_s).into());
                luck += 1;
                let Some(order) = order_of(step, &known, now, luck) else { continue };
                let again = order_of(step, &known, now, luck).expect("the same order");
                orders.push(order);
                let answer = ledger::carry_out(&mut after, again, &rules(), &mut Report::default());
                let answer = answer.expect("a map never fails");
                if let Answer::Stored(id) = answer {
                    known_after.push(id);
                    seen.insert(id);
                }
                expected.push(answer_shown(&answer));
            }
            let cut = cut.map(|cut| CUTS[cut]);
            if let Some(Cut::At(strike)) = cut {
                disk.strike(strike);
            }
            let is_done = match bookkeeper.commit(orders) {
                Ok(commit) => {
                    for (answer, expected) in commit.answers.iter().zip(&expected) {
                        same(&answer_shown(answer.as_ref().expect("nothing is damaged")), expected);
                    }
                    true
                }
                Err(_) => matches!(cut, Some(Cut::At(Strike::AtSync { kept: true }))),
            };
            disk.forget_strike();
            if is_done {
                (model, known) = (after, known_after);
            }
            if cut.is_some() || group.iter().any(|(step, _)| matches!(step, Step::Reopen)) {
                drop(bookkeeper);
                bookkeeper = open(&disk);
                let is_under_way = |place| matches!(place, Place::UnderWay { .. });
                let under_way = model.jobs.values().filter(|job| job.queued().is_some_and(|it| is_under_way(it.place)));
                prop_assert!(under_way.map(|job| job.id).eq(bookkeeper.cut_off().iter().copied()));
            }
            compare(bookkeeper.reader(), &model, &seen);
            let report = bookkeeper.check().expect("reading works");
            prop_assert!(report.is_sound(), "{report:?}");
        }
    }
}
