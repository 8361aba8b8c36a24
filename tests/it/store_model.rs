//! The store against a plain map: the same orders, carried out by the same ledger on both, with the store closed and
//! opened again in between. After each commit, everything that can be asked must have the same answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use passback::{
    adapters::store::Store,
    domain::{
        destination::{GradeCell, Origin},
        drawer::Drawer,
        job::{IdempotencyKey, Job, JobId, Place, StateName},
        ledger::{
            self, Answer, Books, CellEntry, DueEntry, Ended, Mode, Order, Outcomes, PlatformRecord, Report, Rules, Work,
        },
        outcome::{FailureReason, Finding, NotNewer, RetryAfter, Verdict},
        time::{Draw, Timestamp},
        transition::Trial,
    },
    ports::{JobFilter, JobStore, PlatformCount},
};
use proptest::{prelude::*, sample::Index};
use serde_json::json;

use crate::store_common::{
    Ears, SMALL, admit, assert_no_blobs, carry_out, lti11_event, open, open_with, order, rules, wait,
};

/// The truth, kept the plainest way there is.
#[derive(Clone, Default)]
pub(crate) struct Model {
    last_id: Option<JobId>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) platforms: BTreeMap<Origin, PlatformRecord>,
    pub(crate) columns: BTreeMap<[u8; 16], String>,
    pub(crate) notes: BTreeMap<(Drawer, Vec<u8>), Vec<u8>>,
    /// Jobs that the ledger has read.
    reads: usize,
}

impl Books for Model {
    type Error = Infallible;

    fn last_id(&self) -> Option<JobId> {
        self.last_id
    }

    fn job(&mut self, id: JobId) -> Result<Option<Arc<Job>>, Infallible> {
        self.reads += 1;
        Ok(self.jobs.get(&id).cloned().map(Arc::new))
    }

    fn job_of_key(&mut self, key: &IdempotencyKey) -> Result<Option<JobId>, Infallible> {
        Ok(self.jobs.values().find(|job| job.key == *key).map(|job| job.id))
    }

    fn cell(&mut self, cell: GradeCell) -> Result<Arc<Vec<CellEntry>>, Infallible> {
        let entries: BTreeSet<_> = self.jobs.values().filter(|job| job.cell == cell).map(CellEntry::of).collect();
        Ok(Arc::new(entries.into_iter().collect()))
    }

    fn put(&mut self, job: Arc<Job>) {
        self.last_id = self.last_id.max(Some(job.id));
        self.jobs.insert(job.id, Job::clone(&job));
    }

    fn remove(&mut self, job: &Job) {
        self.jobs.remove(&job.id);
    }

    fn platform(&mut self, origin: &Origin) -> Result<Option<PlatformRecord>, Infallible> {
        Ok(self.platforms.get(origin).cloned())
    }

    fn put_platform(&mut self, platform: PlatformRecord) {
        self.platforms.insert(platform.origin.clone(), platform);
    }

    fn put_column(&mut self, key: [u8; 16], url: Option<&str>) {
        match url {
            Some(url) => drop(self.columns.insert(key, url.into())),
            None => drop(self.columns.remove(&key)),
        }
    }

    fn put_note(&mut self, drawer: Drawer, key: &[u8], record: Option<&[u8]>) {
        match record {
            Some(record) => drop(self.notes.insert((drawer, key.to_vec()), record.to_vec())),
            None => drop(self.notes.remove(&(drawer, key.to_vec()))),
        }
    }

    fn ended_before(&mut self, moment: Timestamp, limit: usize) -> Result<Ended, Infallible> {
        let kept = |job: &&Job| matches!(job.state_name(), StateName::Queued | StateName::Flagged);
        let old = self.jobs.values().filter(|job| !kept(job) && job.ended_at.is_some_and(|at| at < moment));
        let jobs: Vec<JobId> = old.take(limit).map(|job| job.id).collect();
        Ok(Ended { more: jobs.len() >= limit, jobs })
    }
}

/// What a test does. Jobs are named by their place among those that were ever stored.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Admit { kind: u8, cell: u8, event_id: Option<u8>, age: u16, score: Option<u8> },
    Start(Index),
    Finish { job: Index, finding: Finding, reply_lost: bool, probe: bool, retry_after: Option<u64>, words: u16 },
    Interrupt(Index),
    Replay(Index),
    Discard(Index),
    Platform { which: u8, paused: bool },
    Column { which: u8, length: Option<u16> },
    Note { which: u8, length: Option<u16> },
    Prune,
    Reopen,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Vec<(Step, u32)>>> {
    let finding = prop_oneof![
        3 => Just(Finding::Accepted),
        1 => Just(Finding::NotNewer(NotNewer::Older)),
        1 => Just(Finding::NotNewer(NotNewer::AlreadyExists)),
        6 => prop::sample::select(&FailureReason::ALL[..]).prop_map(Finding::Failed),
        1 => Just(Finding::Unsendable(FailureReason::UnknownKey)),
    ];
    let admit =
        (0..3_u8, 0..4_u8, prop::option::weighted(0.5, 0..12_u8), 0..600_u16, prop::option::weighted(0.8, 0..4_u8));
    let finish = (
        any::<Index>(),
        finding,
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::option::of(0..90_000_u64),
        0..400_u16,
    );
    let step = prop_oneof![
        8 => admit.prop_map(|(kind, cell, event_id, age, score)| Step::Admit { kind, cell, event_id, age, score }),
        8 => any::<Index>().prop_map(Step::Start),
        8 => finish.prop_map(|(job, finding, reply_lost, probe, retry_after, words)| {
            Step::Finish { job, finding, reply_lost, probe, retry_after, words }
        }),
        1 => any::<Index>().prop_map(Step::Interrupt),
        2 => any::<Index>().prop_map(Step::Replay),
        1 => any::<Index>().prop_map(Step::Discard),
        1 => (0..3_u8, any::<bool>()).prop_map(|(which, paused)| Step::Platform { which, paused }),
        1 => (0..3_u8, prop::option::of(0..20_000_u16)).prop_map(|(which, length)| Step::Column { which, length }),
        2 => (0..6_u8, prop::option::weighted(0.7, 0..4_096_u16)).prop_map(|(which, length)| Step::Note { which, length }),
        1 => Just(Step::Prune),
        1 => Just(Step::Reopen),
    ];
    // Orders of one group are submitted without waiting, so that they share a commit where they can.
    let wait_s = prop_oneof![4 => 0..3_u32, 1 => 0..40_000_u32];
    prop::collection::vec(prop::collection::vec((step, wait_s), 1..8), 1..16)
}

/// The order of a step; none for those that are no order. Made anew for each of the two that carry it out.
pub(crate) fn order_of(step: &Step, ids: &[JobId], now: Timestamp, luck: u128) -> Option<Order> {
    let id = |index: &Index| (!ids.is_empty()).then(|| *index.get(ids));
    let work = match step {
        Step::Admit { kind, cell, event_id, age, score } => {
            admit(&event(*kind, *cell, *event_id, now, *age, *score), luck)
        }
        Step::Start(job) => Work::Start { id: id(job)? },
        Step::Finish { job, finding, reply_lost, probe, retry_after, words } => Work::Finish {
            id: id(job)?,
            verdict: Verdict {
                finding: *finding,
                http_status: (!reply_lost).then_some(500),
                message: "ä".repeat((*words).into()),
                retry_after: retry_after.map(RetryAfter::Seconds),
                reply_lost: *reply_lost,
                column_remade: *words % 2 == 1,
                grade_answered: *words % 3 == 1,
            },
            trial: if *probe { Trial::Probe } else { Trial::Regular },
        },
        Step::Interrupt(job) => Work::Interrupt { id: id(job)?, reply_lost: true },
        Step::Replay(job) => Work::Replay { id: id(job)?, mode: Mode::Earnest },
        Step::Discard(job) => Work::Discard { id: id(job)? },
        Step::Platform { which, paused } => {
            Work::NotePlatform { origin: origin(*which), paused_since: paused.then_some(now), held_since: None }
        }
        Step::Column { which, length } => {
            Work::PutColumn { key: [*which; 16], url: length.map(|length| "u".repeat(length.into())) }
        }
        Step::Note { which, length } => Work::PutNote {
            drawer: Drawer::ALL[usize::from(*which) % Drawer::ALL.len()],
            key: vec![*which; 1 + usize::from(*which)],
            record: length.map(|length| vec![*which; length.into()]),
        },
        Step::Prune => Work::Prune { ended_before: Timestamp::from_secs(now.as_secs() - 3_600), limit: 10_000 },
        Step::Reopen => return None,
    };
    Some(Order { work, now, draw: Draw::new(0.3) })
}

fn event(kind: u8, cell: u8, event_id: Option<u8>, now: Timestamp, age: u16, score: Option<u8>) -> String {
    let host = origin(cell % 3);
    let lis_data = match kind {
        0 => json!({
            "lis_outcome_service_url": format!("{host}/outcomes"),
            "lis_result_sourcedid": format!("student-{cell}"),
            "oauth_consumer_key": "key",
        }),
        1 => json!({
            "lti_version": "1.3",
            "grade_passback_url": format!("{host}/endpoint"),
            "oauth_consumer_key": "key",
        }),
        _ => json!({
            "lti_version": "1.3",
            "client_id": "client",
            "user_id": format!("user-{cell}"),
            "lineitem": format!("{host}/lineitems/1"),
        }),
    };
    let mut event = json!({
        "session_id": format!("session-{cell}"),
        "user_id": format!("user-{}", cell % 3),
        "activity_id": format!("activity-{}", cell % 2),
        "occurred_at": Timestamp::from_secs(now.as_secs() - i64::from(age)).to_string(),
        "lis_data": lis_data,
    });
    if let Some(event_id) = event_id {
        event["event_id"] = json!(format!("event-{event_id}"));
    }
    if let Some(score) = score.or_else(|| (kind < 2).then_some(1)) {
        event["score"] = json!(score);
        event["max_score"] = json!(10);
    }
    event.to_string()
}

pub(crate) fn origin(which: u8) -> Origin {
    Origin::from_stored(&format!("https://lms{which}.example.edu"))
}

/// A store and its model, side by side.
struct Pair {
    folder: tempfile::TempDir,
    store: Option<(Store, Arc<Ears>)>,
    model: Model,
    ids: Vec<JobId>,
    rules: Rules,
    luck: u128,
}

impl Pair {
    fn new(rules: Rules) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open_with(folder.path(), rules, SMALL).expect("a new store");
        Self { folder, store: Some(store), model: Model::default(), ids: Vec::new(), rules, luck: 0 }
    }

    fn store(&self) -> &Store {
        &self.store.as_ref().expect("it is closed only to be opened again").0
    }

    fn reopen(&mut self) {
        let (store, _) = self.store.take().expect("it is open");
        store.close().expect("a clean end");
        drop(store);
        self.store = Some(open_with(self.folder.path(), self.rules, SMALL).expect("the same store"));
        let under_way = |job: &&Job| matches!(job.queued().map(|queued| queued.place), Some(Place::UnderWay { .. }));
        let cut_off: Vec<JobId> = self.model.jobs.values().filter(under_way).map(|job| job.id).collect();
        assert_eq!(self.store().cut_off(), cut_off);
    }

    /// Carries out a group of steps on both, and compares what was answered and reported.
    fn run(&mut self, group: &[(Step, u32)], now: &mut Timestamp) {
        let mut pending = Vec::new();
        let mut expected = Vec::new();
        let mut report = Report::default();
        for (step, wait_s) in group {
            *now = *now + std::time::Duration::from_secs((*wait_s).into());
            self.luck += 1;
            let Some(order) = order_of(step, &self.ids, *now, self.luck) else {
                continue;
            };
            pending.push(self.store().submit(order));
            let again = order_of(step, &self.ids, *now, self.luck).expect("the same order");
            let answer =
                ledger::carry_out(&mut self.model, again, &self.rules, &mut report).expect("a map never fails");
            if let Answer::Stored(id) = answer {
                self.ids.push(id);
            }
            expected.push(answer_shown(&answer));
        }
        for (pending, expected) in pending.into_iter().zip(expected) {
            same(&answer_shown(&wait(pending).expect("the store takes orders")), &expected);
        }
        let (_, ears) = self.store.as_ref().expect("it is open");
        let told: Vec<Report> = std::mem::take(&mut *ears.reports.lock().expect("no panic"));
        assert_eq!(
            told.iter().flat_map(|told| &told.notices).collect::<Vec<_>>(),
            report.notices.iter().collect::<Vec<_>>()
        );
        assert_eq!(
            told.iter().flat_map(|told| &told.queued).collect::<Vec<_>>(),
            report.queued.iter().collect::<Vec<_>>()
        );
    }

    /// Everything that can be asked must have the model's answer.
    fn compare(&self) {
        let store = self.store();
        for id in &self.ids {
            let job = store.job(*id).expect("reading works");
            same(&shown(job.as_ref()), &shown(self.model.jobs.get(id)));
        }
        let states = store.states(&self.ids).expect("reading works");
        assert!(states.into_iter().eq(self.ids.iter().map(|id| Some(self.model.jobs.get(id)?.state_name()))));
        for which in 0..3 {
            assert_eq!(all_due(store, &origin(which)), self.due(&origin(which)));
            let key = [which; 16];
            assert_eq!(store.column(key).expect("reading works").as_ref(), self.model.columns.get(&key));
        }
        for drawer in Drawer::ALL {
            let expected: Vec<_> = self.model.notes.iter().filter(|((known, _), _)| *known == drawer).collect();
            let mut after: Option<Vec<u8>> = None;
            for ((_, key), record) in expected {
                // One at a time, so that each is found from the one before.
                let note = store.notes(drawer, after.as_deref(), 1).expect("reading works").pop().expect("a note");
                assert_eq!((&note.key, &note.record), (key, record));
                assert_eq!(store.note(drawer, key).expect("reading works").as_ref(), Some(record));
                after = Some(key.clone());
            }
            assert_eq!(store.notes(drawer, after.as_deref(), 10).expect("reading works"), []);
        }
        let platforms: BTreeMap<_, _> =
            store.platforms().expect("reading works").into_iter().map(|known| (known.origin.clone(), known)).collect();
        assert_eq!(platforms, self.model.platforms);
        self.compare_census();
        for state in [None, Some(StateName::Queued), Some(StateName::Flagged), Some(StateName::Delivered)] {
            self.compare_list(&JobFilter { state, ..JobFilter::default() });
        }
        if let Some(job) = self.model.jobs.values().nth(self.model.jobs.len() / 2) {
            let since = Some(job.created_at);
            self.compare_list(&JobFilter { since, origins: Some(vec![job.origin.clone()]), ..JobFilter::default() });
            self.compare_list(&JobFilter { until: since, reason: job.reason, ..JobFilter::default() });
            self.compare_list(&JobFilter { delivery: Some(job.delivery), ..JobFilter::default() });
            let (session_id, origins) = (job.session_id.as_deref().map(str::to_owned), Some(vec![job.origin.clone()]));
            self.compare_list(&JobFilter { session_id, ..JobFilter::default() });
            let state = Some(job.state_name());
            self.compare_list(&JobFilter { state, origins, reason: job.reason, ..JobFilter::default() });
            let (user_id, activity_id) = (Some("user-1".to_owned()), Some("activity-1".to_owned()));
            self.compare_list(&JobFilter { user_id: user_id.clone(), ..JobFilter::default() });
            self.compare_list(&JobFilter { state, user_id, activity_id, until: since, ..JobFilter::default() });
        }
    }

    fn due(&self, origin: &Origin) -> Vec<(Timestamp, JobId, GradeCell)> {
        let entries = self.model.jobs.values().filter_map(ledger::due_entry).filter(|entry| entry.origin == *origin);
        let sorted: BTreeSet<_> = entries.map(|entry| (entry.due, entry.id, entry.cell)).collect();
        sorted.into_iter().collect()
    }

    fn compare_census(&self) {
        let census = self.store().census();
        let count = |state| self.model.jobs.values().filter(|job| job.state_name() == state).count() as u64;
        assert_eq!(census.by_state, StateName::ALL.map(count));
        for (origin, counts) in &census.by_platform {
            let jobs = || self.model.jobs.values().filter(|job| job.origin == *origin);
            assert_eq!(counts.queued, jobs().filter(|job| job.state_name() == StateName::Queued).count() as u64);
            let flagged = || jobs().filter(|job| job.state_name() == StateName::Flagged);
            assert_eq!(counts.flagged, flagged().count() as u64);
            for reason in FailureReason::ALL {
                assert_eq!(
                    counts.flagged_for(reason),
                    flagged().filter(|job| job.reason == Some(reason)).count() as u64
                );
            }
        }
        let total =
            |of: fn(&PlatformCount) -> u64| census.by_platform.iter().map(|(_, counts)| of(counts)).sum::<u64>();
        assert_eq!((total(|of| of.queued), total(|of| of.flagged)), (census.by_state[0], count(StateName::Flagged)));
    }

    fn compare_list(&self, filter: &JobFilter) {
        let listed = all_listed(self.store(), filter);
        let expected: Vec<JobId> =
            self.model.jobs.values().rev().filter(|job| filter.admits(job)).map(|job| job.id).collect();
        assert_eq!(listed, expected, "{filter:?}");
    }
}

/// A job with all of its fields. A new field does not compile until it is compared too.
pub(crate) fn shown(job: Option<&Job>) -> String {
    let Some(job) = job else {
        return String::new();
    };
    let Job {
        id,
        door,
        body,
        // Made from the body again.
        parsed: _,
        delivery,
        origin,
        cell,
        key,
        bears_grade,
        session_id,
        occurred_at,
        created_at,
        updated_at,
        state,
        attempts,
        attempts_omitted,
        tries,
        ags_timestamp,
        reason,
        hint,
        ended_at,
        ends,
    } = job;
    let event = (id, door, delivery, origin, cell.0, key, bears_grade, session_id, occurred_at, created_at);
    let state = (updated_at, state, attempts_omitted, tries, ags_timestamp, reason, hint, ended_at, ends);
    format!("{event:?} {state:?} {attempts:?} {}", String::from_utf8_lossy(body))
}

pub(crate) fn answer_shown(answer: &Answer) -> String {
    match answer {
        Answer::Job(job) => shown(Some(job)),
        other => format!("{other:?}"),
    }
}

/// Compares long texts, and shows the place where they part.
pub(crate) fn same(found: &str, expected: &str) {
    let place = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        String::from_utf8_lossy(text.as_bytes().split_at(place.saturating_sub(40)).1)
            .chars()
            .take(160)
            .collect::<String>()
    };
    assert!(found == expected, "found …{}…, expected …{}…", around(found), around(expected));
}

/// Reads a platform's due entries in pages of three.
fn all_due(store: &Store, origin: &Origin) -> Vec<(Timestamp, JobId, GradeCell)> {
    let mut all: Vec<DueEntry> = Vec::new();
    loop {
        let after = all.last().map(|last| (last.due, last.id));
        let page = store.due(origin, after, 3).expect("reading works");
        assert!(page.len() <= 3 && page.iter().all(|entry| entry.origin == *origin));
        if page.is_empty() {
            return all.into_iter().map(|entry| (entry.due, entry.id, entry.cell)).collect();
        }
        all.extend(page);
    }
}

/// Reads a list in pages of four.
fn all_listed(store: &Store, filter: &JobFilter) -> Vec<JobId> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = store.list(filter, before, 4).expect("reading works");
        assert!(page.jobs.len() <= 4);
        all.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
        if before.is_none() {
            return all;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_plain_map_does(groups in steps(), supersede in any::<bool>(), noted in any::<bool>()) {
        let outcomes = if noted { Outcomes::Noted } else { Outcomes::Dropped };
        let mut pair = Pair::new(Rules { supersede, outcomes, ..rules() });
        let mut now = Timestamp::from_secs(1_790_000_000);
        for group in &groups {
            pair.run(group, &mut now);
            pair.compare();
            if group.iter().any(|(step, _)| matches!(step, Step::Reopen)) {
                pair.reopen();
                pair.compare();
            }
        }
        let report = pair.store().check().expect("reading works");
        prop_assert!(report.is_sound(), "{report:?}");
        assert_no_blobs(pair.folder.path());
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

fn stored(answer: &Answer) -> JobId {
    match answer {
        Answer::Stored(id) => *id,
        other => panic!("not stored: {other:?}"),
    }
}

#[test]
fn the_largest_jobs_stay_out_of_the_blobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = open(folder.path(), rules()).expect("a new store");
    let mut now = NOW;
    let ids: Vec<JobId> =
        (0..40).map(|student| stored(&carry_out(&store, admit(&lti11_event(student, 65_536), 1), now))).collect();
    for round in 0..100 {
        let orders = ids.iter().flat_map(|id| {
            let verdict = Verdict {
                http_status: Some(503),
                message: format!("{round} {}", "z".repeat(297)),
                ..Verdict::without_reply(Finding::Failed(FailureReason::ServerError), "")
            };
            let finish = Work::Finish { id: *id, verdict, trial: Trial::Probe };
            [store.submit(order(Work::Start { id: *id }, now)), store.submit(order(finish, now))]
        });
        orders.collect::<Vec<_>>().into_iter().for_each(|answer| drop(wait(answer).expect("a write")));
        now = now + std::time::Duration::from_secs(1);
        if round % 30 == 29 {
            assert_no_blobs(folder.path());
            drop(store);
            store = open(folder.path(), rules()).expect("the same store").0;
        }
    }
    assert_no_blobs(folder.path());
    assert!(store.check().expect("reading works").is_sound());
    drop(store);
    let (store, _) = open(folder.path(), rules()).expect("the same store");
    let job = store.job(ids[0]).expect("reading works").expect("the job");
    assert_eq!((job.attempts.len(), job.body.len()), (100, 65_536));
    assert!(job.attempts[99].message.starts_with("99 "));
    // They go in a mixed order and a few at a time, so that sled has sparse nodes to merge with full ones.
    let mut pruned = 0;
    for turn in 0..ids.len() {
        carry_out(&store, Work::Discard { id: ids[turn * 7 % ids.len()] }, NOW);
        match carry_out(&store, Work::Prune { ended_before: now, limit: 1 + turn % 3 }, now) {
            Answer::Pruned { removed, .. } => pruned += removed,
            other => panic!("not pruned: {other:?}"),
        }
        assert_no_blobs(folder.path());
    }
    assert_eq!(pruned, ids.len());
    assert!(store.check().expect("reading works").is_sound());
}

#[test]
fn old_jobs_go_in_small_steps_and_those_that_must_stay_hide_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a new store");
    for student in 0..30 {
        let id = stored(&carry_out(&store, admit(&lti11_event(student, 0), 1), NOW));
        carry_out(&store, Work::Discard { id }, NOW);
    }
    let later = NOW + std::time::Duration::from_secs(10);
    let mut pruned = 0;
    for _ in 0..10 {
        match carry_out(&store, Work::Prune { ended_before: later, limit: 7 }, later) {
            Answer::Pruned { removed, .. } if removed <= 7 => pruned += removed,
            other => panic!("not pruned in small steps: {other:?}"),
        }
    }
    assert_eq!((pruned, store.census().by_state), (30, [0; 5]));
    assert!(store.check().expect("reading works").is_sound());
    // The keys are gone with their jobs.
    stored(&carry_out(&store, admit(&lti11_event(3, 0), 1), later));
}

#[test]
fn readers_see_whole_jobs_while_the_writer_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open_with(folder.path(), rules(), SMALL).expect("a new store");
    let done = AtomicBool::new(false);
    let words = "w".repeat(7_000);
    std::thread::scope(|scope| {
        let read = || {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                for job in store.list(&JobFilter::default(), None, 20).expect("reading works").jobs {
                    let again = store.job(job.id).expect("reading works");
                    assert!(again.is_none_or(|again| again.updated_at >= job.updated_at && again.body == job.body));
                    assert!(job.attempts.iter().all(|attempt| *attempt.message == *words));
                }
                all_due(&store, &Origin::from_stored("https://lms.example.edu"));
                looks += 1;
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for student in 0..60 {
            let id = stored(&carry_out(&store, admit(&lti11_event(student, 9_000), 1), NOW));
            carry_out(&store, Work::Start { id }, NOW);
            let verdict = Verdict::without_reply(Finding::Failed(FailureReason::Timeout), words.clone());
            carry_out(&store, Work::Finish { id, verdict, trial: Trial::Regular }, NOW);
            carry_out(&store, Work::Discard { id }, NOW);
            let later = NOW + std::time::Duration::from_secs(1);
            carry_out(&store, Work::Prune { ended_before: later, limit: usize::from(student > 30) }, NOW);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("no reader fails");
        }
    });
    assert!(store.check().expect("reading works").is_sound());
}

#[test]
fn a_list_of_flagged_jobs_does_not_walk_over_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path(), rules()).expect("a new store");
    let orders: Vec<_> =
        (0..6_000).map(|student| store.submit(order(admit(&lti11_event(student, 0), 1), NOW))).collect();
    let ids: Vec<JobId> = orders.into_iter().map(|answer| stored(&wait(answer).expect("a write"))).collect();
    carry_out(&store, Work::Start { id: ids[0] }, NOW);
    let verdict = Verdict::without_reply(Finding::Unsendable(FailureReason::UnknownKey), "");
    carry_out(&store, Work::Finish { id: ids[0], verdict, trial: Trial::Regular }, NOW);
    let flagged = JobFilter { state: Some(StateName::Flagged), ..JobFilter::default() };
    let page = store.list(&flagged, None, 10).expect("reading works");
    assert_eq!((page.jobs.len(), page.next), (1, None));
    // What is rare is found at once as well, and what is nowhere is known to be.
    let rare = JobFilter { reason: Some(FailureReason::UnknownKey), ..JobFilter::default() };
    let page = store.list(&rare, None, 10).expect("reading works");
    assert_eq!((page.jobs.len(), page.next), (1, None));
    let nobody = JobFilter { user_id: Some("nobody".to_owned()), ..JobFilter::default() };
    let page = store.list(&nobody, None, 10).expect("reading works");
    assert_eq!((page.jobs.len(), page.next), (0, None));
    assert_eq!(all_listed(&store, &rare), [ids[0]]);
}

#[test]
fn a_cell_with_many_jobs_is_not_read_for_each_change_of_one() {
    let mut model = Model::default();
    let reads: Vec<usize> = (0..200)
        .map(|number| {
            let now = Timestamp::from_secs(1_790_000_000 + 10 * number);
            let body = lti11_event(1, 0).replace("\"event-1\"", &format!("\"event-{number}\""));
            let mut work = |work| {
                let done = ledger::carry_out(&mut model, order(work, now), &rules(), &mut Report::default());
                done.expect("a map never fails")
            };
            let Answer::Stored(id) = work(admit(&body, 1)) else { panic!("an event of its own") };
            assert!(matches!(work(Work::Start { id }), Answer::Job(_)));
            let verdict = Verdict::without_reply(Finding::Accepted, "");
            assert!(matches!(work(Work::Finish { id, verdict, trial: Trial::Regular }), Answer::Job(_)));
            std::mem::take(&mut model.reads)
        })
        .collect();
    assert_eq!(reads, [2; 200], "start and end read their own job");
}
