//! The outbox over a store that is played: nothing is told before it is on disk, and a store that takes no writes does not
//! make it tell the same again and again.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use passback::{
    adapters::{
        amqp::{AmqpOutbox, Bell, OutboxOptions, OutboxPorts},
        clock::SystemClock,
    },
    domain::{
        destination::Origin,
        drawer::{Drawer, JobEnd, Note},
        job::{Job, JobId, StateName},
        ledger::{Answer, DueEntry, Order, PlatformRecord, Work},
        notice::Notice,
        time::Timestamp,
    },
    ports::{Census, JobFilter, JobPage, JobStore, Observer, Pending, StoreError},
};
use tokio_util::sync::CancellationToken;

use super::{
    broker::{Broker, unique},
    outcomes::Listener,
    worker::wait_for,
};

/// A drawer of notes, and no jobs.
#[derive(Default)]
struct Notes {
    lying: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    syncs: AtomicBool,
    takes_out: AtomicBool,
    fences: AtomicUsize,
    takings: AtomicUsize,
}

impl Notes {
    fn put(&self, note: Note) {
        self.lying.lock().expect("no panic").insert(note.key, note.record);
    }

    fn count(&self) -> usize {
        self.lying.lock().expect("no panic").len()
    }
}

impl JobStore for Notes {
    fn submit(&self, order: Order) -> Pending<'static, Result<Answer, StoreError>> {
        let done = match order.work {
            Work::Fence => {
                self.fences.fetch_add(1, Ordering::SeqCst);
                self.syncs.load(Ordering::SeqCst)
            }
            Work::PutNote { drawer: Drawer::Outcomes, key, record: None } => {
                self.takings.fetch_add(1, Ordering::SeqCst);
                let takes_out = self.takes_out.load(Ordering::SeqCst);
                if takes_out {
                    self.lying.lock().expect("no panic").remove(&key);
                }
                takes_out
            }
            _ => unreachable!("nothing else is asked of the store"),
        };
        Box::pin(ready(if done { Ok(Answer::Done) } else { Err(StoreError::Unavailable("the disk is full".into())) }))
    }

    fn notes(&self, _: Drawer, after: Option<&[u8]>, limit: usize) -> Result<Vec<Note>, StoreError> {
        let notes = self.lying.lock().expect("no panic");
        let behind = notes.iter().filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        Ok(behind.take(limit).map(|(key, record)| Note { key: key.clone(), record: record.clone() }).collect())
    }

    fn job(&self, _: JobId) -> Result<Option<Job>, StoreError> {
        Err(StoreError::Unreadable("a damaged record".into()))
    }

    fn note(&self, _: Drawer, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        unreachable!("not asked")
    }

    fn due(&self, _: &Origin, _: Option<(Timestamp, JobId)>, _: usize) -> Result<Vec<DueEntry>, StoreError> {
        unreachable!("not asked")
    }

    fn cut_off(&self) -> Vec<JobId> {
        unreachable!("not asked")
    }

    fn platforms(&self) -> Result<Vec<PlatformRecord>, StoreError> {
        unreachable!("not asked")
    }

    fn column(&self, _: [u8; 16]) -> Result<Option<String>, StoreError> {
        unreachable!("not asked")
    }

    fn list(&self, _: &JobFilter, _: Option<JobId>, _: usize) -> Result<JobPage, StoreError> {
        unreachable!("not asked")
    }

    fn census(&self) -> Census {
        unreachable!("not asked")
    }

    fn is_writable(&self) -> bool {
        unreachable!("not asked")
    }

    fn stuck_for(&self) -> Duration {
        unreachable!("not asked")
    }
}

/// Keeps what it hears.
#[derive(Default)]
struct Ear(Mutex<Vec<Notice>>);

impl Observer for Ear {
    fn observe(&self, notice: &Notice) {
        self.0.lock().expect("no panic").push(notice.clone());
    }
}

fn end(second: i64) -> JobEnd {
    let at = Timestamp::from_secs(1_800_000_000 + second);
    JobEnd { at, job: JobId::from_bytes([7; 16]), number: 1, state: StateName::Delivered }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_before_it_is_on_disk_nor_again_because_the_store_fails() {
    let (url, exchange) = (Broker::shared().url(), unique("exchange"));
    let listener = Listener::bound(&url, &exchange).await;
    let (store, ear) = (Arc::new(Notes::default()), Arc::new(Ear::default()));
    store.put(end(1).note());
    store.put(Note { key: vec![255], record: b"nonsense".to_vec() });
    let ports = OutboxPorts {
        store: store.clone(),
        tell: Arc::new(|end, job| format!("[\"{}\", {}]", end.at, job.is_some()).into_bytes()),
        bell: Arc::new(Bell::default()),
        observer: ear.clone(),
        clock: Arc::new(SystemClock),
    };
    let options = OutboxOptions { url: url.into(), exchange, declare: true };
    let outbox = AmqpOutbox::new(options, ports).expect("a good URL");
    let drain = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(outbox.run(drain.clone()));

    let reaches = async |what: &str, count: &AtomicUsize, times: usize| {
        wait_for(what, async || (count.load(Ordering::SeqCst) >= times).then_some(())).await;
    };
    reaches("the store to be asked whether all is on disk", &store.fences, 3).await;
    assert!(listener.drain().await.is_empty(), "the disk has not confirmed it");
    assert_eq!(store.takings.load(Ordering::SeqCst), 0, "nothing was published, nothing is taken out");

    store.syncs.store(true, Ordering::SeqCst);
    reaches("the note to be taken out in vain", &store.takings, 3).await;
    store.put(end(2).note());
    let told = listener.drain().await;
    assert_eq!(told.len(), 1, "once, although its note is still there: {told:?}");
    assert_eq!(told[0].body[1], false, "a job that cannot be read is no reason to be silent");

    store.takes_out.store(true, Ordering::SeqCst);
    wait_for("every note to be taken out", async || (store.count() == 0).then_some(())).await;
    let told = listener.drain().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].body[0], end(2).at.to_string());
    let damages =
        || ear.0.lock().expect("no panic").iter().filter(|n| matches!(n, Notice::RecordDamaged { .. })).count();
    assert_eq!(damages(), 1, "the nonsense is told of");
    drain.cancel();
    running.join_next().await.expect("it ran").expect("it ends");
}
