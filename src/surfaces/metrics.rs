//! Every metric, declared once with its help text: notices in, numbers out.
//!
//! Labels come from closed sets alone. Each bounded set is there at 0 from the start, because the first step of a
//! counter that appears with it is invisible to `increase()`. What counts per event holds its counter already and
//! looks nothing up but the platform. A scrape reads memory only.

mod platforms;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use self::platforms::Platforms;
use crate::{
    config::names::Labels,
    domain::{
        destination::Delivery,
        job::StateName,
        notice::{Loop, Notice, SignIn, Source},
        outcome::FailureReason,
    },
    ports::{Clock, Observer},
};

/// Declares the metrics: the field is the name after `passback_`, its doc comment is the help text.
macro_rules! families {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ty $(, labels $labels:expr)? $(, buckets $buckets:expr)?;)+) => {
        /// The metrics by name.
        struct Families { $($(#[doc = $help])+ $name: $kind,)+ }

        /// The names of all metrics of our own.
        pub const NAMES: &[&str] = &[$(concat!("passback_", stringify!($name)),)+];

        impl Families {
            fn register(registry: &Registry) -> prometheus::Result<Self> {
                $(let $name = <$kind>::declare(&Declaration {
                    $(labels: &$labels,)?
                    $(buckets: &$buckets,)?
                    ..Declaration::new(concat!("passback_", stringify!($name)), concat!($($help),+).trim())
                })?;
                registry.register(Box::new($name.clone()))?;)+
                Ok(Self { $($name,)+ })
            }
        }
    };
}

families! {
    /// Events that came in, by way and by what became of them (stored, duplicate, refused).
    events_total: IntCounterVec, labels ["source", "result"];
    /// Jobs in the store.
    jobs: IntGaugeVec, labels ["state"];
    /// Attempts that ended; the outcome is delivered, superseded or a failure reason.
    attempts_total: IntCounterVec, labels ["delivery", "platform", "outcome"];
    /// How long attempts took, all of their HTTP requests together.
    attempt_duration_seconds: HistogramVec, labels ["delivery", "platform"], buckets ATTEMPT_BUCKETS;
    /// From stored to delivered.
    delivery_latency_seconds: HistogramVec, labels ["delivery"], buckets LATENCY_BUCKETS;
    /// Retries that were scheduled.
    retries_total: IntCounterVec, labels ["delivery"];
    /// Jobs that were given up and wait for an admin.
    flagged_total: IntCounterVec, labels ["delivery", "platform", "reason"];
    /// Jobs that an admin had tried again.
    replayed_total: IntCounter;
    /// Age of the oldest job that could be attempted now; jobs that wait for a retry time or a held platform do not count.
    oldest_due_age_seconds: Gauge;
    /// Attempts under way, with those whose end is still on its way to the disk.
    inflight_attempts: IntGauge;
    /// 1 for the state that the platform is in (open, held, paused).
    platform_state: IntGaugeVec, labels ["platform", "state"];
    /// Tokens asked for; the outcome is granted or a failure reason.
    token_requests_total: IntCounterVec, labels ["platform", "outcome"];
    /// How long commits to the store took, their sync included.
    store_write_duration_seconds: Histogram, buckets STORE_BUCKETS;
    /// Size of the store on disk.
    store_size_bytes: IntGauge;
    /// 1 while the store takes writes; 0 also where it has said nothing for half a minute.
    store_healthy: IntGauge;
    /// 1 while every queue has its consumer; 0 also where AMQP is off.
    amqp_connected: IntGauge;
    /// Queues that are to be consumed; 0 where AMQP is off.
    amqp_queues: IntGauge;
    /// Times that a queue got its consumer back.
    amqp_reconnects_total: IntCounter;
    /// Acknowledgements that the broker did not get; it delivers those events again.
    acks_lost_total: IntCounter;
    /// Sign-ins that were refused, by way (with a bearer token, with an LTI key).
    sign_ins_refused_total: IntCounterVec, labels ["way"];
    /// Ends of jobs that were published to the outcomes exchange, and confirmed; a repeat counts again.
    outcomes_published_total: IntCounter;
    /// Ends of jobs that wait to be published; 0 also where no outcomes exchange is set.
    outcomes_waiting: IntGauge;
    /// When a loop last did its work, in Unix time; 0 before the first time.
    loop_last_success_timestamp_seconds: IntGaugeVec, labels ["loop"];
    /// 1, labelled with the version that runs.
    build_info: IntGaugeVec, labels ["version"];
}

const ATTEMPT_BUCKETS: [f64; 11] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Up to a day: a job may wait for a held platform.
const LATENCY_BUCKETS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 900.0, 7_200.0, 86_400.0];
const STORE_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is asked for at the moment of a scrape, because no notice carries it. All of it is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Jobs by state, in the order of [`StateName::ALL`].
    pub jobs: [u64; StateName::ALL.len()],
    /// Attempts under way.
    pub inflight_attempts: usize,
    /// Age of the oldest job that could be attempted now; zero without one.
    pub oldest_due_age: Duration,
    /// Whether the store takes writes, and answers.
    pub store_healthy: bool,
}

/// The metrics of one worker.
pub struct Metrics {
    registry: Registry,
    families: Families,
    counters: Counters,
    platforms: Platforms,
    queues: Mutex<Queues>,
    clock: Arc<dyn Clock>,
}

/// The series without a platform, found once.
struct Counters {
    /// By source, then stored, duplicate, refused.
    events: [[IntCounter; 3]; Source::ALL.len()],
    jobs: [IntGauge; StateName::ALL.len()],
    latency: [Histogram; Delivery::ALL.len()],
    retries: [IntCounter; Delivery::ALL.len()],
    sign_ins_refused: [IntCounter; SignIn::ALL.len()],
    loops: [IntGauge; Loop::ALL.len()],
}

/// Which queues have their consumer.
struct Queues {
    /// How many there are.
    wanted: usize,
    connected: HashSet<String>,
    /// Those that were connected before.
    known: HashSet<String>,
}

impl Metrics {
    /// All metrics at 0. `queues` is how many queues are consumed; none where AMQP is off.
    pub fn new(labels: Arc<Labels>, clock: Arc<dyn Clock>, queues: usize) -> Self {
        let registry = Registry::new();
        let families = Families::register(&registry).expect("each name is declared once, with valid labels");
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("no metric of ours is called process_…");
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        families.amqp_queues.set(signed(queues as u64));
        let counters = Counters::of(&families);
        let platforms = Platforms::new(labels, &families);
        let queues = Mutex::new(Queues { wanted: queues, connected: HashSet::new(), known: HashSet::new() });
        Self { registry, families, counters, platforms, queues, clock }
    }

    /// Goes by the names that the labels have now. The series under the old names stay as they are.
    pub fn reload(&self) {
        self.platforms.reload(&self.families);
    }

    /// The Prometheus text.
    pub fn render(&self, now: &Snapshot) -> String {
        for (gauge, count) in self.counters.jobs.iter().zip(now.jobs) {
            gauge.set(signed(count));
        }
        self.families.inflight_attempts.set(signed(now.inflight_attempts as u64));
        self.families.oldest_due_age_seconds.set(now.oldest_due_age.as_secs_f64());
        self.families.store_healthy.set(i64::from(now.store_healthy));
        let gathered = self.registry.gather();
        TextEncoder::new().encode_to_string(&gathered).unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn count_event(&self, source: Source, result: usize) {
        self.counters.events[source as usize][result].inc();
    }

    fn note_queue(&self, queue: &str, has_consumer: bool) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if has_consumer {
            let is_new = queues.connected.insert(queue.to_owned());
            if !queues.known.insert(queue.to_owned()) && is_new {
                self.families.amqp_reconnects_total.inc();
            }
        } else {
            queues.connected.remove(queue);
        }
        let all = queues.wanted > 0 && queues.connected.len() >= queues.wanted;
        self.families.amqp_connected.set(i64::from(all));
    }
}

/// The places in [`RESULTS`].
const STORED: usize = 0;
const DUPLICATE: usize = 1;
const REFUSED: usize = 2;
const RESULTS: [&str; 3] = ["stored", "duplicate", "refused"];

impl Observer for Metrics {
    fn observe(&self, notice: &Notice) {
        match notice {
            Notice::EventStored { source, .. } => self.count_event(*source, STORED),
            Notice::EventDuplicate { source, .. } => self.count_event(*source, DUPLICATE),
            Notice::EventRefused { source, .. } => self.count_event(*source, REFUSED),
            Notice::AttemptEnded { about, outcome, duration, .. } => {
                self.platforms.at(&about.origin, &self.families).attempt(about.delivery, *outcome, *duration);
            }
            Notice::RetryScheduled { about, .. } => self.counters.retries[about.delivery as usize].inc(),
            Notice::Delivered { about, latency } => {
                self.counters.latency[about.delivery as usize].observe(latency.as_secs_f64());
            }
            Notice::Flagged { about, reason, .. } => {
                self.platforms.at(&about.origin, &self.families).flagged(about.delivery, *reason);
            }
            Notice::Replayed { .. } => self.families.replayed_total.inc(),
            Notice::PlatformMet { origin, .. } => self.platforms.meet(origin, &self.families),
            Notice::Platform { origin, state, .. } => self.platforms.stands(origin, *state, &self.families),
            Notice::TokenRequested { origin, failure } => {
                let reason = failure.as_ref().map(|failure| failure.reason);
                self.platforms.at(origin, &self.families).token(reason);
            }
            Notice::StoreCommitted { duration, size_bytes, .. } => {
                self.families.store_write_duration_seconds.observe(duration.as_secs_f64());
                self.families.store_size_bytes.set(signed(*size_bytes));
            }
            Notice::AmqpConnected { queue } => self.note_queue(queue, true),
            Notice::AmqpLost { queue, .. } => self.note_queue(queue, false),
            Notice::AcksLost { count } => self.families.acks_lost_total.inc_by(*count),
            // A storm is told in few notices, each with the number of those before it that were not.
            Notice::SignInRefused { way, untold, .. } => {
                self.counters.sign_ins_refused[*way as usize].inc_by(untold.saturating_add(1));
            }
            Notice::OutcomesPublished { count } => self.families.outcomes_published_total.inc_by(*count),
            Notice::OutcomesWaiting { count } => self.families.outcomes_waiting.set(signed(*count)),
            Notice::Beat { of } => self.counters.loops[*of as usize].set(self.clock.now().as_secs()),
            // The census shows where jobs are; the snapshot, whether the store takes writes.
            Notice::Superseded { .. }
            | Notice::Discarded { .. }
            | Notice::Moved { .. }
            | Notice::PlatformRests { .. }
            | Notice::OutcomesConnected { .. }
            | Notice::OutcomesLost { .. }
            | Notice::ClockSetBack { .. }
            | Notice::StoreFailed { .. }
            | Notice::StoreMended
            | Notice::RecordDamaged { .. } => {}
        }
    }
}

impl Counters {
    fn of(families: &Families) -> Self {
        let Families { events_total, jobs, delivery_latency_seconds, retries_total, sign_ins_refused_total, .. } =
            families;
        let loops = &families.loop_last_success_timestamp_seconds;
        Self {
            events: Source::ALL
                .map(|source| RESULTS.map(|result| events_total.with_label_values(&[source.name(), result]))),
            jobs: StateName::ALL.map(|state| jobs.with_label_values(&[state.name()])),
            latency: Delivery::ALL.map(|delivery| delivery_latency_seconds.with_label_values(&[delivery.name()])),
            retries: Delivery::ALL.map(|delivery| retries_total.with_label_values(&[delivery.name()])),
            sign_ins_refused: SignIn::ALL.map(|way| sign_ins_refused_total.with_label_values(&[way.name()])),
            loops: Loop::ALL.map(|of| loops.with_label_values(&[of.name()])),
        }
    }
}

/// Gauges are signed; no count of ours comes near the difference.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The label values of outcomes: all reasons after the names that are no failure.
fn outcome_names<const N: usize>(successes: [&'static str; N]) -> Vec<&'static str> {
    successes.into_iter().chain(FailureReason::ALL.map(FailureReason::name)).collect()
}

/// What is written above of one metric.
struct Declaration {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
}

impl Declaration {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, labels: &[], buckets: &[] }
    }

    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.help).buckets(self.buckets.to_vec())
    }
}

/// A kind of metric, made from its declaration.
trait Declared: Collector + Clone + Sized {
    fn declare(it: &Declaration) -> prometheus::Result<Self>;
}

macro_rules! declared {
    ($($kind:ty = $made:expr;)+) => {$(
        impl Declared for $kind {
            fn declare(it: &Declaration) -> prometheus::Result<Self> {
                $made(it)
            }
        }
    )+};
}

declared! {
    IntCounter = |it: &Declaration| Self::with_opts(it.opts());
    IntGauge = |it: &Declaration| Self::with_opts(it.opts());
    Gauge = |it: &Declaration| Self::with_opts(it.opts());
    IntCounterVec = |it: &Declaration| Self::new(it.opts(), it.labels);
    IntGaugeVec = |it: &Declaration| Self::new(it.opts(), it.labels);
    Histogram = |it: &Declaration| Self::with_opts(it.histogram());
    HistogramVec = |it: &Declaration| Self::new(it.histogram(), it.labels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{lti::Platform, names::PlatformNames},
        domain::{
            destination::Origin,
            job::JobId,
            notice::{About, NoToken, PlatformState},
            outcome::AttemptOutcome,
            time::{Draw, Timestamp},
        },
    };

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_700_000_000)
        }

        fn draw(&self) -> Draw {
            Draw::MIDDLE
        }

        fn luck(&self) -> u128 {
            0
        }
    }

    fn names(names: &[(&str, &str)]) -> PlatformNames {
        let platform = |(name, origin): &(&str, &str)| Platform {
            name: (*name).to_owned(),
            issuer: None,
            client_id: None,
            deployment_id: None,
            token_url: None,
            token_aud: None,
            hosts: Vec::new(),
            origin: Some(Origin::from_stored(origin)),
        };
        PlatformNames::new(&names.iter().map(platform).collect::<Vec<_>>())
    }

    fn metrics(labels: &Arc<Labels>, queues: usize) -> Metrics {
        Metrics::new(labels.clone(), Arc::new(FixedClock), queues)
    }

    fn about(origin: &str) -> About {
        About {
            job: JobId::next(None, Timestamp::from_secs(1), 1),
            session: None,
            delivery: Delivery::Ags,
            origin: Origin::from_stored(origin),
        }
    }

    fn ended(origin: &str, outcome: AttemptOutcome) -> Notice {
        Notice::AttemptEnded {
            about: about(origin),
            outcome,
            duration: Duration::from_millis(30),
            http_status: Some(200),
            message: "".into(),
            tries: 1,
            counted: true,
        }
    }

    /// The value of a series in the text, by its name and labels as they are written.
    fn value(text: &str, series: &str) -> Option<f64> {
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    #[test]
    fn every_bounded_set_is_there_at_0_from_the_start() {
        let labels = Arc::new(Labels::new(names(&[("moodle", "https://moodle.example")])));
        let text = metrics(&labels, 1).render(&Snapshot::default());
        let zero = |series: &str| assert_eq!(value(&text, series), Some(0.0), "{series}");
        for source in ["amqp", "http", "lti"] {
            for result in ["stored", "duplicate", "refused"] {
                zero(&format!("passback_events_total{{result=\"{result}\",source=\"{source}\"}}"));
            }
        }
        for delivery in Delivery::ALL.map(Delivery::name) {
            zero(&format!("passback_retries_total{{delivery=\"{delivery}\"}}"));
            zero(&format!("passback_delivery_latency_seconds_count{{delivery=\"{delivery}\"}}"));
            zero(&format!("passback_attempt_duration_seconds_count{{delivery=\"{delivery}\",platform=\"moodle\"}}"));
            for outcome in outcome_names(["delivered", "superseded"]) {
                zero(&format!(
                    "passback_attempts_total{{delivery=\"{delivery}\",outcome=\"{outcome}\",platform=\"moodle\"}}"
                ));
            }
            for reason in FailureReason::ALL.map(FailureReason::name) {
                zero(&format!(
                    "passback_flagged_total{{delivery=\"{delivery}\",platform=\"moodle\",reason=\"{reason}\"}}"
                ));
            }
        }
        for outcome in outcome_names(["granted"]) {
            zero(&format!("passback_token_requests_total{{outcome=\"{outcome}\",platform=\"moodle\"}}"));
        }
        for way in SignIn::ALL.map(SignIn::name) {
            zero(&format!("passback_sign_ins_refused_total{{way=\"{way}\"}}"));
        }
        for state in StateName::ALL.map(StateName::name) {
            zero(&format!("passback_jobs{{state=\"{state}\"}}"));
        }
        for of in Loop::ALL.map(Loop::name) {
            zero(&format!("passback_loop_last_success_timestamp_seconds{{loop=\"{of}\"}}"));
        }
        for plain in
            ["replayed_total", "oldest_due_age_seconds", "inflight_attempts", "amqp_connected", "acks_lost_total"]
        {
            zero(&format!("passback_{plain}"));
        }
        assert_eq!(value(&text, "passback_platform_state{platform=\"moodle\",state=\"open\"}"), Some(1.0));
        zero("passback_platform_state{platform=\"moodle\",state=\"held\"}");
    }

    #[test]
    fn every_metric_of_the_contract_is_rendered_with_its_help() {
        let labels = Arc::new(Labels::new(names(&[("moodle", "https://moodle.example")])));
        let text = metrics(&labels, 0).render(&Snapshot::default());
        for name in NAMES {
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{name}");
        }
        assert_eq!(NAMES.len(), 24);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(value(&text, &format!("passback_build_info{{version=\"{version}\"}}")), Some(1.0));
        #[cfg(target_os = "linux")]
        assert!(value(&text, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 0.0));
    }

    #[test]
    fn notices_go_in_and_numbers_come_out() {
        let metrics = metrics(&Arc::default(), 0);
        let lms = "https://lms.example:8443";
        for notice in [
            Notice::EventStored { about: about(lms), source: Source::Amqp, state: StateName::Queued },
            Notice::EventDuplicate { job: about(lms).job, source: Source::Http },
            Notice::EventRefused {
                source: Source::Lti,
                message_id: None,
                event_id: None,
                field: "f".into(),
                detail: "d".into(),
            },
            ended(lms, AttemptOutcome::Failed(FailureReason::InvalidScore)),
            ended(lms, AttemptOutcome::Delivered),
            Notice::RetryScheduled { about: about(lms), due: Timestamp::from_secs(9) },
            Notice::Delivered { about: about(lms), latency: Duration::from_secs(3) },
            Notice::Flagged {
                about: about(lms),
                reason: FailureReason::Connection,
                words: "".into(),
                advice: "".into(),
            },
            Notice::Replayed { about: about(lms) },
            Notice::TokenRequested { origin: Origin::from_stored(lms), failure: None },
            Notice::TokenRequested {
                origin: Origin::from_stored(lms),
                failure: Some(NoToken { reason: FailureReason::TokenRefused, words: "".into() }),
            },
            Notice::StoreCommitted { duration: Duration::from_millis(2), changes: 3, size_bytes: 4096 },
            Notice::AcksLost { count: 7 },
            Notice::SignInRefused { way: SignIn::Token, peer: None, untold: 0 },
            Notice::SignInRefused { way: SignIn::Token, peer: None, untold: 40 },
            Notice::OutcomesPublished { count: 3 },
            Notice::OutcomesWaiting { count: 2 },
            Notice::Beat { of: Loop::Dispatch },
        ] {
            metrics.observe(&notice);
        }
        let snapshot = Snapshot {
            jobs: [5, 4, 3, 2, 1],
            inflight_attempts: 6,
            oldest_due_age: Duration::from_millis(1_500),
            store_healthy: true,
        };
        let text = metrics.render(&snapshot);
        let check = |series: &str, expected: f64| assert_eq!(value(&text, series), Some(expected), "{series}");
        check("passback_events_total{result=\"stored\",source=\"amqp\"}", 1.0);
        check("passback_events_total{result=\"duplicate\",source=\"http\"}", 1.0);
        check("passback_events_total{result=\"refused\",source=\"lti\"}", 1.0);
        let at = "delivery=\"lti13-ags\"";
        check(&format!("passback_attempts_total{{{at},outcome=\"delivered\",platform=\"lms.example:8443\"}}"), 1.0);
        check(&format!("passback_attempts_total{{{at},outcome=\"invalid_score\",platform=\"lms.example:8443\"}}"), 1.0);
        check(&format!("passback_attempts_total{{{at},outcome=\"timeout\",platform=\"lms.example:8443\"}}"), 0.0);
        check(&format!("passback_attempt_duration_seconds_count{{{at},platform=\"lms.example:8443\"}}"), 2.0);
        check(&format!("passback_flagged_total{{{at},platform=\"lms.example:8443\",reason=\"connection\"}}"), 1.0);
        check(&format!("passback_retries_total{{{at}}}"), 1.0);
        check(&format!("passback_delivery_latency_seconds_sum{{{at}}}"), 3.0);
        check("passback_token_requests_total{outcome=\"granted\",platform=\"lms.example:8443\"}", 1.0);
        check("passback_token_requests_total{outcome=\"token_refused\",platform=\"lms.example:8443\"}", 1.0);
        check("passback_replayed_total", 1.0);
        check("passback_store_write_duration_seconds_count", 1.0);
        check("passback_store_size_bytes", 4096.0);
        check("passback_store_healthy", 1.0);
        check("passback_acks_lost_total", 7.0);
        check("passback_sign_ins_refused_total{way=\"token\"}", 42.0);
        check("passback_amqp_queues", 0.0);
        check("passback_outcomes_published_total", 3.0);
        check("passback_outcomes_waiting", 2.0);
        check("passback_loop_last_success_timestamp_seconds{loop=\"dispatch\"}", 1_700_000_000.0);
        check("passback_jobs{state=\"queued\"}", 5.0);
        check("passback_jobs{state=\"discarded\"}", 1.0);
        check("passback_inflight_attempts", 6.0);
        check("passback_oldest_due_age_seconds", 1.5);
    }

    #[test]
    fn amqp_is_connected_when_every_queue_has_its_consumer() {
        let metrics = metrics(&Arc::default(), 2);
        let check = |notice: Option<(&str, bool)>, connected: f64, reconnects: f64| {
            match notice {
                Some((queue, true)) => metrics.observe(&Notice::AmqpConnected { queue: queue.into() }),
                Some((queue, false)) => metrics.observe(&Notice::AmqpLost { queue: queue.into(), error: "e".into() }),
                None => {}
            }
            let text = metrics.render(&Snapshot::default());
            assert_eq!(value(&text, "passback_amqp_queues"), Some(2.0));
            assert_eq!(value(&text, "passback_amqp_connected"), Some(connected), "{notice:?}");
            assert_eq!(value(&text, "passback_amqp_reconnects_total"), Some(reconnects), "{notice:?}");
        };
        check(None, 0.0, 0.0);
        check(Some(("a", false)), 0.0, 0.0);
        check(Some(("a", true)), 0.0, 0.0);
        check(Some(("b", true)), 1.0, 0.0);
        check(Some(("b", true)), 1.0, 0.0);
        check(Some(("a", false)), 0.0, 0.0);
        check(Some(("a", true)), 1.0, 1.0);
    }

    #[test]
    fn a_hundred_hosts_have_their_own_series_and_configured_platforms_always() {
        let labels = Arc::new(Labels::new(names(&[("late", "https://late.example")])));
        let metrics = metrics(&labels, 0);
        for host in 0..150 {
            metrics.observe(&ended(&format!("https://h{host}.example"), AttemptOutcome::Delivered));
        }
        metrics.observe(&ended("https://late.example", AttemptOutcome::Delivered));
        let delivered = |platform: &str| {
            let text = metrics.render(&Snapshot::default());
            let labels = format!("delivery=\"lti13-ags\",outcome=\"delivered\",platform=\"{platform}\"");
            value(&text, &format!("passback_attempts_total{{{labels}}}"))
        };
        assert_eq!(delivered("h99.example"), Some(1.0));
        assert_eq!(delivered("h100.example"), None);
        assert_eq!(delivered("other"), Some(50.0));
        assert_eq!(delivered("late"), Some(1.0));

        labels.reload(names(&[("new", "https://h120.example")]));
        metrics.reload();
        assert_eq!(delivered("new"), Some(0.0));
        metrics.observe(&ended("https://h120.example", AttemptOutcome::Delivered));
        assert_eq!((delivered("new"), delivered("other")), (Some(1.0), Some(50.0)));
    }

    #[test]
    fn a_platform_is_in_one_state_and_of_several_origins_the_worst_shows() {
        let labels = Arc::new(Labels::new(names(&[("two", "https://a.example"), ("x", "https://b.example")])));
        let metrics = metrics(&labels, 0);
        let check = |origin: &str, state: PlatformState, platform: &str, expected: [f64; 3]| {
            metrics.observe(&Notice::Platform { origin: Origin::from_stored(origin), state, why: "" });
            let text = metrics.render(&Snapshot::default());
            let shown = PlatformState::ALL.map(|state| {
                let series = format!("passback_platform_state{{platform=\"{platform}\",state=\"{}\"}}", state.name());
                value(&text, &series).expect("it is there")
            });
            assert_eq!(shown.map(|value| value > 0.5), expected.map(|value| value > 0.5), "{origin} {state:?}");
        };
        check("https://a.example", PlatformState::Held, "two", [0.0, 1.0, 0.0]);
        check("https://b.example", PlatformState::Paused, "x", [0.0, 0.0, 1.0]);
        check("https://host.example", PlatformState::Held, "host.example", [0.0, 1.0, 0.0]);
        check("https://host.example", PlatformState::Open, "host.example", [1.0, 0.0, 0.0]);
        labels.meet(&Origin::from_stored("https://host.example"), None);
        check("https://a.example", PlatformState::Open, "two", [1.0, 0.0, 0.0]);
    }
}
