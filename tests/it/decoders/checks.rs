//! What must hold of each decoder, whatever bytes it is given: it ends, it does not panic, it does a bounded amount of
//! work, and what it accepts can be used. Shared by the property tests and by the fuzz targets, which include this file.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use passback::{
    adapters::store::{
        Thresholds,
        bookkeeper::Bookkeeper,
        disk::{Changes, Disk, Fault, Record, Scan, Value},
    },
    domain::{
        destination::{Delivery, Destination, Origin, ServiceUrl},
        event::{Door, EVENT_BYTES_MAX, GradeEvent},
        job::{IdempotencyKey, JobId, StateName},
        ledger::{Answer, Arrival, Mode, Order, Outcomes, Rules, Work},
        notice::Source,
        outcome::{FailureReason, Finding, Verdict},
        platform::{Registration, SharedSecret, SigningKey},
        retry::RetryPolicy,
        time::{Draw, Timestamp},
        transition::Trial,
        verification::{Comparison, Reading, Sent, detail},
    },
    lti::{
        access_token,
        exchange::{Credentials, Exchange, Standing, Step},
        wire::{Answer as Heard, Reply, Request},
    },
    ports::JobFilter,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What no message may repeat.
const SECRET: &str = "hush-sesame-4711";

/// An event at a door: refused with a field and a bounded sentence, or good for a job that can be sent.
pub(crate) fn event(bytes: &[u8], door: Door) {
    match GradeEvent::parse(bytes, door) {
        Err(refused) => {
            assert!(!refused.field.is_empty() && refused.detail.contains(&refused.field), "{refused:?}");
            assert!(refused.detail.len() <= 2 * EVENT_BYTES_MAX, "a sentence, not a book");
        }
        Ok(event) => {
            assert!(bytes.len() <= EVENT_BYTES_MAX);
            let text = std::str::from_utf8(bytes).expect("only text is accepted");
            serde_json::from_str::<serde::de::IgnoredAny>(text).expect("only JSON is accepted");
            if let Some(score) = &event.score {
                let (given, maximum) = (score.given().value(), score.maximum().value());
                assert!(given.is_finite() && given >= 0.0 && maximum.is_finite() && maximum > 0.0);
            }
            let again = GradeEvent::parse(bytes, door).expect("the same bytes are the same event");
            assert_eq!(again.destination.cell(None), event.destination.cell(None));
            send(&event);
        }
    }
}

fn credentials(event: &GradeEvent) -> Credentials {
    match &event.destination {
        Destination::Ags(target) => Credentials::Platform {
            registration: Registration {
                name: None,
                client_id: target.client_id.clone(),
                token_url: ServiceUrl::parse("https://lms.example.edu/token").expect("a URL"),
                token_audience: "https://lms.example.edu/token".to_owned(),
                deployment_id: None,
                ignored_claims: Vec::new(),
            },
            key: Arc::new(SigningKey::new("kid", "no key")),
        },
        _ => Credentials::Shared(SharedSecret::new(SECRET)),
    }
}

fn token(name: &str) -> access_token::AccessToken {
    let body = format!(r#"{{"access_token":"{name}"}}"#).into_bytes();
    access_token::read(&Ok(Reply { status: 200, headers: Vec::new(), body }), NOW).expect("a token")
}

/// Whatever was accepted makes a request that HTTP can carry, of a bounded size.
fn send(event: &GradeEvent) {
    let Ok(mut exchange) = Exchange::new(event, credentials(event), Standing::first(NOW)) else { return };
    for turn in 0..3 {
        match exchange.poll(NOW, turn) {
            Step::Send(request) => return check_request(&request),
            Step::Token(..) => exchange.handle_token(Ok(token("t1"))),
            Step::RecallColumn { .. } => exchange.handle_column(None),
            Step::RememberColumn { .. } => exchange.handle_remembered(),
            Step::Done(_) => return,
        }
    }
}

fn check_request(request: &Request) {
    for (name, value) in &request.headers {
        let fits = value.bytes().all(|byte| byte >= 0x20 && byte != 0x7f || byte == b'\t');
        assert!(fits, "the header {name} holds what HTTP cannot carry: {value:?}");
    }
    // XML escapes a byte to six at the most.
    assert!(request.body.len() <= 8 * EVENT_BYTES_MAX, "{} bytes", request.body.len());
}

/// What a platform answers, to each delivery. The bytes are a delivery's number, and replies as text, parted by a line of
/// three dashes: a status, headers, an empty line, a body. The last one is repeated.
pub(crate) fn lms_replies(bytes: &[u8]) {
    let Some((which, replies)) = bytes.split_first() else { return };
    let replies: Vec<Heard> = split(replies, b"\n---\n").into_iter().take(60).map(reply).collect();
    let lis_data = match which % 4 {
        0 => {
            r#""lis_outcome_service_url":"https://lms.example.edu/o","lis_result_sourcedid":"hush-sesame-4711-id","oauth_consumer_key":"key""#
        }
        1 => r#""lti_version":"1.3","grade_passback_url":"https://lms.example.edu/p","oauth_consumer_key":"key""#,
        2 => r#""lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"https://lms.example.edu/i/1""#,
        _ => {
            r#""lti_version":"1.3","client_id":"c","user_id":"u","lineitems":"https://lms.example.edu/i","tag":"t","resource_link_id":"r""#
        }
    };
    let json = format!(r#"{{"session_id":"s","score":8,"max_score":10,"lis_data":{{{lis_data}}}}}"#);
    let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect("a good event");
    let exchange = Exchange::new(&event, credentials(&event), Standing::first(NOW)).expect("an exchange");
    let (verdict, _) = converse(exchange, &replies);
    check_verdict(&verdict);
    // What was sent to this platform, and may come back from it.
    let sent_secret = which % 4 < 2;
    assert!(!(sent_secret && verdict.message.contains(SECRET)), "{:?}", verdict.message);
    let looked = read_back(&event, &replies);
    assert!(!(sent_secret && looked.contains(SECRET)), "{looked:?}");
    if let Some(Ok(first)) = replies.first() {
        token_reply(first);
    }
}

/// The most steps that a delivery can take: two searches of twenty pages, each with a second look, and some more.
const STEPS_MAX: u128 = 200;

/// The grade of an event, read from these replies: what an admin is told of it.
fn read_back(event: &GradeEvent, replies: &[Heard]) -> String {
    let Ok(inquiry) = Exchange::inquiry(event, credentials(event)) else {
        assert_eq!(event.destination.delivery(), Delivery::Delegated, "all others can be asked");
        return String::new();
    };
    let (verdict, reading) = converse(inquiry, replies);
    check_verdict(&verdict);
    assert!(!verdict.reply_lost, "no grade was sent");
    assert_eq!(verdict.finding == Finding::Accepted, reading.is_some());
    let sent = Sent::of(event);
    let unread = || Comparison::unread(&verdict, &event.destination);
    let comparison = reading.map_or_else(unread, |reading| Comparison::of(sent, reading));
    let told = detail(&comparison, sent, event, StateName::Delivered);
    assert!(told.len() < 2_000 && !told.chars().any(char::is_control), "{told:?}");
    told
}

/// Carries a conversation to its end: its verdict, and what it has read.
fn converse(mut exchange: Exchange, replies: &[Heard]) -> (Verdict, Option<Reading>) {
    let silence = Ok(Reply::default());
    let mut heard = replies.iter().chain(std::iter::repeat(replies.last().unwrap_or(&silence)));
    let mut remembered = None;
    for luck in 0..STEPS_MAX {
        match exchange.poll(NOW, luck) {
            Step::Send(request) => {
                check_request(&request);
                exchange.handle_reply(heard.next().expect("it has no end"), NOW);
            }
            Step::Token(..) => exchange.handle_token(Ok(token(&format!("t{luck}")))),
            Step::RecallColumn { .. } => exchange.handle_column(remembered.as_deref()),
            Step::RememberColumn { url, .. } => {
                assert!(url.as_ref().is_none_or(|url| url.starts_with("https://lms.example.edu/")), "{url:?}");
                remembered = url;
                exchange.handle_remembered();
            }
            Step::Done(verdict) => return (verdict, exchange.reading()),
        }
    }
    panic!("a delivery that never ends");
}

fn check_verdict(verdict: &Verdict) {
    assert!(verdict.message.chars().count() <= 300, "{} characters", verdict.message.chars().count());
    assert!(!verdict.message.chars().any(char::is_control), "{:?}", verdict.message);
}

/// A grant, or a verdict; and a token serves for a day at the most.
fn token_reply(reply: &Reply) {
    match access_token::read(&Ok(reply.clone()), NOW) {
        Ok(token) => assert!(token.serves_until() <= NOW + Duration::from_secs(86_400)),
        Err(verdict) => {
            check_verdict(&verdict);
            assert_ne!(verdict.finding, Finding::Accepted, "a token endpoint takes no grade");
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "answers come as the transport gives them")]
fn reply(text: &[u8]) -> Heard {
    let (head, body) = split_once(text, b"\n\n").unwrap_or((text, b""));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(200);
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Ok(Reply { status, headers: lines.filter_map(header).collect(), body: body.to_vec() })
}

fn split_once<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(by.len()).position(|window| window == by)?;
    Some((&bytes[..at], &bytes[at + by.len()..]))
}

fn split<'a>(mut bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = split_once(bytes, by) {
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}

/// A disk of plain memory.
#[derive(Clone, Default)]
struct Memory(Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Memory {
    fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Disk for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, Fault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned().map(Value::from))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let found = map.range(from.to_vec()..to.to_vec()).map(|(key, value)| held(key, value));
        Box::new(found.collect::<Vec<_>>().into_iter())
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Scan<'_> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = map.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Box::new(found.map(|(key, value)| held(key, value)).collect::<Vec<_>>().into_iter())
    }

    fn apply(&self, changes: Changes) -> Result<(), Fault> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => drop(map.remove(&key)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a scan gives what a disk gives")]
fn held(key: &[u8], value: &[u8]) -> Result<Record, Fault> {
    Ok((key.to_vec().into(), value.to_vec().into()))
}

/// So small that a few jobs make every kind of record.
const SMALL: Thresholds = Thresholds { part_jobs: 4, young_jobs: 6, run_marks: 8 };

fn rules() -> Rules {
    Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped }
}

/// Records of every kind, as a store writes them.
static SAMPLE: LazyLock<BTreeMap<Vec<u8>, Vec<u8>>> = LazyLock::new(|| {
    let disk = Memory::default();
    let mut keeper = Bookkeeper::open(Box::new(disk.clone()), rules(), &SMALL).expect("an empty store");
    let ids: Vec<JobId> = (0..30).map(|number| stored(&mut keeper, number)).collect();
    let mut now = NOW;
    for (number, id) in ids.iter().enumerate() {
        let words = "w".repeat(if number % 7 == 0 { 280 } else { 3 });
        let finding = match number % 5 {
            0 => Finding::Accepted,
            1 => Finding::Unsendable(FailureReason::UnknownKey),
            _ => Finding::Failed(FailureReason::ServerError),
        };
        for _ in 0..=number % 3 {
            now = now + Duration::from_secs(10_000);
            commit(&mut keeper, Work::Start { id: *id }, now);
            if number % 11 != 10 {
                let verdict = Verdict::without_reply(finding, words.clone());
                commit(&mut keeper, Work::Finish { id: *id, verdict, trial: Trial::Regular }, now);
            }
        }
    }
    for (key, length) in [(1, 30), (2, 20_000)] {
        commit(&mut keeper, Work::PutColumn { key: [key; 16], url: Some("u".repeat(length)) }, now);
    }
    let origin = Origin::from_stored("https://lms1.example.edu");
    commit(&mut keeper, Work::NotePlatform { origin, paused_since: Some(now), held_since: Some(now) }, now);
    disk.records()
});

fn stored(keeper: &mut Bookkeeper, number: usize) -> JobId {
    let body = format!(
        r#"{{"session_id":"s{number}","event_id":"e{number}","score":1,"max_score":2,"padding":"{}","lis_data":{{"lis_outcome_service_url":"https://lms{}.example.edu/o","lis_result_sourcedid":"c{}","oauth_consumer_key":"key"}}}}"#,
        "p".repeat(if number % 13 == 12 { 15_000 } else { number }),
        number % 3,
        number % 20,
    );
    let event = GradeEvent::parse(body.as_bytes(), Door::Event).expect("a good event");
    let key = IdempotencyKey::of(event.event_id.as_deref(), None, body.as_bytes(), None);
    let (body, luck) = (body.into_bytes().into(), number as u128);
    let arrival = Arrival { event, body, door: Door::Event, source: Source::Amqp, key, sent_at: None, luck };
    match commit(keeper, Work::Admit(Box::new(arrival)), NOW) {
        Some(Answer::Stored(id) | Answer::Duplicate(id)) => id,
        _ => JobId::from_bytes([0; 16]),
    }
}

/// What a damaged store makes of an order; none where it could not be carried out.
fn commit(keeper: &mut Bookkeeper, work: Work, now: Timestamp) -> Option<Answer> {
    let done = keeper.commit(vec![Order { work, now, draw: Draw::MIDDLE }]).ok()?;
    done.answers.into_iter().next()?.ok()
}

/// A store with damaged records: it opens or says why not; whatever can be read is read in a bounded number of steps; and
/// orders are carried out or refused. The bytes are a list of changes to a good store's records.
pub(crate) fn stored_records(mut bytes: &[u8]) {
    let mut records = SAMPLE.clone();
    for _ in 0..40 {
        let Some((change, rest)) = bytes.split_first_chunk::<5>() else { break };
        bytes = damage(&mut records, *change, rest);
    }
    let disk = Memory(Arc::new(RwLock::new(records)));
    let mut keeper = match Bookkeeper::open(Box::new(disk), rules(), &SMALL) {
        Ok(keeper) => keeper,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let ids = read_everything(&keeper);
    let later = NOW + Duration::from_secs(1_000_000);
    for id in keeper.cut_off().to_vec() {
        commit(&mut keeper, Work::Interrupt { id, reply_lost: true }, later);
    }
    for id in ids.into_iter().take(20) {
        commit(&mut keeper, Work::Start { id }, later);
        let verdict = Verdict::without_reply(Finding::Failed(FailureReason::Timeout), "words");
        commit(&mut keeper, Work::Finish { id, verdict, trial: Trial::Regular }, later);
        commit(&mut keeper, Work::Replay { id, mode: Mode::Earnest }, later);
    }
    for number in 20..40 {
        stored(&mut keeper, number);
    }
    commit(&mut keeper, Work::Prune { ended_before: later + Duration::from_secs(1), limit: 100 }, later);
    read_everything(&keeper);
}

/// Every way to read, to its end.
fn read_everything(keeper: &Bookkeeper) -> Vec<JobId> {
    let reader = keeper.reader();
    let mut ids = Vec::new();
    let mut before = None;
    for page in 0.. {
        assert!(page < 1_000, "a list that never ends");
        let Ok(listed) = reader.list(&JobFilter::default(), before, 10) else { break };
        ids.extend(listed.jobs.iter().map(|job| job.id));
        before = listed.next;
        if before.is_none() {
            break;
        }
    }
    for id in &ids {
        if let Ok(Some(job)) = reader.job(*id) {
            drop(job.event());
        }
    }
    for platform in reader.platforms() {
        let mut after = None;
        for page in 0.. {
            assert!(page < 1_000, "due entries that never end");
            let Ok(due) = reader.due(&platform.origin, after, 10) else { break };
            let Some(last) = due.last() else { break };
            assert!(after.is_none_or(|after| (last.due, last.id) > after), "in order");
            after = Some((last.due, last.id));
        }
    }
    for key in 0..4 {
        drop(reader.column([key; 16]));
    }
    reader.census();
    drop(keeper.check());
    ids
}

/// One change: which record, what, where, and with which bytes. Gives back the bytes that follow.
fn damage<'a>(records: &mut BTreeMap<Vec<u8>, Vec<u8>>, change: [u8; 5], rest: &'a [u8]) -> &'a [u8] {
    let [record, record_low, what, at, length] = change;
    let place = (usize::from(record) << 8 | usize::from(record_low)) % records.len().max(1);
    let Some((key, value)) = records.iter().nth(place).map(|(key, value)| (key.clone(), value.clone())) else {
        return rest;
    };
    let at = usize::from(at) * value.len().max(1) / 256;
    let (given, rest) = rest.split_at(usize::from(length).min(rest.len()));
    match what % 8 {
        // Other bytes at this place.
        0 => {
            let mut value = value;
            for (old, new) in value.iter_mut().skip(at).zip(given) {
                *old = *new;
            }
            records.insert(key, value);
        }
        1 => drop(records.insert(key, value[..at.min(value.len())].to_vec())),
        2 => drop(records.remove(&key)),
        3 => drop(records.insert(key, given.to_vec())),
        // A good form, and then anything.
        4 => drop(records.insert(key, [&[1], given].concat())),
        5 => drop(records.insert([&key[..key.len().min(1 + at % 24)], given].concat(), value)),
        6 => drop(records.insert(given.to_vec(), value)),
        _ => drop(records.insert(key, [&value[..at.min(value.len())], given, &value[at.min(value.len())..]].concat())),
    }
    rest
}

/// The number of records that a good store has: for the tests that damage each of them.
pub(crate) fn sample_size() -> usize {
    SAMPLE.len()
}
