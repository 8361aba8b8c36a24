//! The log: notices in, one structured line per fact out; readable on a terminal, JSON elsewhere, to stderr.
//!
//! No secret, body, token or sourcedId gets here: notices carry none. What others wrote (a platform's words, a session
//! id) is cut, its control characters are escaped so that it can forge no line, and a password in a URL is masked.

use std::{
    borrow::Cow,
    io::{self, IsTerminal},
    sync::Arc,
};

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::FilterFn,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use crate::{
    config::names::Labels,
    domain::{
        notice::{About, NoToken, Notice, PlatformState},
        outcome::AttemptOutcome,
    },
    ports::Observer,
};

/// The target of every line of ours, which filters go by.
const TARGET: &str = "passback";
/// The longest text that somebody else wrote, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person, with colours.
    Coloured,
    /// For a person, without.
    Plain,
    /// For a program: one JSON object a line.
    Json,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How lines look.
    pub format: Format,
    /// What is logged, such as `info` or `passback=debug,warn`.
    pub filter: String,
}

impl LogOptions {
    /// Readable lines if stderr is a terminal, else JSON; or as `PASSBACK_LOG_FORMAT` (`text`, `json`) says. The filter is
    /// `PASSBACK_LOG`, else `RUST_LOG`, else `info`.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_terminal = io::stderr().is_terminal();
        let readable = if is_terminal && given("NO_COLOR").is_none() { Format::Coloured } else { Format::Plain };
        let format = match given("PASSBACK_LOG_FORMAT").as_deref() {
            Some("json") => Format::Json,
            Some("text") => readable,
            _ if is_terminal => readable,
            _ => Format::Json,
        };
        let filter = given("PASSBACK_LOG").or_else(|| given("RUST_LOG")).unwrap_or_else(|| "info".to_owned());
        Self { format, filter }
    }
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter makes no sense.
    #[error("the log filter (PASSBACK_LOG or RUST_LOG) must be like `info` or `passback=debug,warn`: {0}")]
    Filter(String),
    /// It has been set up before.
    #[error("the log is set up already")]
    Again,
}

/// Sets up the log of this process, to stderr.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let subscriber = subscriber(options, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Again)
}

/// What [`init`] sets up, for any writer.
fn subscriber<W>(options: &LogOptions, writer: W) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&options.filter).map_err(|error| LogError::Filter(error.to_string()))?;
    // A closed stderr is no reason to stop delivering: writing to it about that would panic.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = match options.format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        Format::Coloured => lines.with_ansi(true).boxed(),
        Format::Plain => lines.with_ansi(false).boxed(),
    };
    let discreet = FilterFn::new(is_discreet).with_max_level_hint(LevelFilter::TRACE);
    Ok(tracing_subscriber::registry().with(lines.with_filter(discreet)).with(filter))
}

/// The crates that we use are never heard beyond info, whatever the filter says: at trace some of them print whole
/// frames and headers, passwords included. lapin is not heard at all: what it calls an error (a passive declare, a
/// connection that is made again) is told by our own notices, in words.
fn is_discreet(line: &Metadata<'_>) -> bool {
    match line.target().split("::").next() {
        Some(TARGET) => true,
        Some("lapin") => false,
        _ => *line.level() <= Level::INFO,
    }
}

/// Logs notices.
pub struct LogObserver {
    labels: Arc<Labels>,
}

impl LogObserver {
    /// Logs under the platforms' public names.
    pub fn new(labels: Arc<Labels>) -> Self {
        Self { labels }
    }
}

/// One line about a job.
macro_rules! job_line {
    ($observer:ident, $level:ident, $about:ident, $text:literal $(, $field:ident = $value:expr)*) => {
        tracing::event!(
            target: TARGET,
            Level::$level,
            job = %$about.job,
            session = $about.session.as_deref().map(clean).as_deref(),
            platform = &*clean(&$observer.labels.label(&$about.origin)),
            delivery = $about.delivery.name(),
            $($field = $value,)*
            $text
        )
    };
}

/// One line about a platform.
macro_rules! platform_line {
    ($observer:ident, $level:ident, $origin:ident, $text:expr $(, $field:ident = $value:expr)*) => {
        tracing::event!(
            target: TARGET,
            Level::$level,
            platform = &*clean(&$observer.labels.label($origin)),
            $($field = $value,)*
            $text
        )
    };
}

impl Observer for LogObserver {
    fn observe(&self, notice: &Notice) {
        match notice {
            Notice::EventStored { about, source, state } => {
                job_line!(self, DEBUG, about, "event stored", source = source.name(), state = state.name());
            }
            Notice::EventDuplicate { job, source } => {
                tracing::debug!(target: TARGET, %job, source = source.name(), "event known already");
            }
            Notice::EventRefused { source, message_id, event_id, field, detail } => {
                let (field, detail) = (&*clean(field), &*clean(detail));
                let message_id = message_id.as_deref().map(clean);
                let event_id = event_id.as_deref().map(clean);
                let (message_id, event_id) = (message_id.as_deref(), event_id.as_deref());
                let source = source.name();
                tracing::warn!(target: TARGET, source, message_id, event_id, field, detail, "event refused");
            }
            Notice::SignInRefused { way, peer, untold } => {
                let peer = peer.map(|peer| peer.to_string());
                tracing::warn!(target: TARGET, way = way.name(), peer, untold, "sign-in refused");
            }
            Notice::AttemptEnded { about, .. } => self.attempt(about, notice),
            Notice::RetryScheduled { about, due } => {
                job_line!(self, INFO, about, "retry scheduled", due = &*due.to_string());
            }
            Notice::Delivered { about, latency } => {
                job_line!(self, INFO, about, "delivered", latency_ms = millis(*latency));
            }
            Notice::Flagged { about, reason, words, advice } => {
                let words = &*clean(words);
                job_line!(self, WARN, about, "flagged", reason = reason.name(), words = words, advice = &**advice);
            }
            Notice::Superseded { about } => job_line!(self, INFO, about, "superseded"),
            Notice::Discarded { about } => job_line!(self, INFO, about, "discarded"),
            Notice::Replayed { about } => job_line!(self, INFO, about, "replayed"),
            Notice::PlatformMet { origin, .. } => {
                platform_line!(self, DEBUG, origin, "platform met", origin = origin.as_str());
            }
            Notice::Platform { origin, state, why } => match state {
                PlatformState::Held => platform_line!(self, WARN, origin, "platform held", why = *why),
                PlatformState::Paused => platform_line!(self, INFO, origin, "platform paused", why = *why),
                PlatformState::Open => platform_line!(self, INFO, origin, "platform open", why = *why),
            },
            Notice::PlatformRests { origin, until } => {
                platform_line!(self, INFO, origin, "platform rests", until = &*until.to_string());
            }
            Notice::TokenRequested { origin, failure: None } => platform_line!(self, DEBUG, origin, "token granted"),
            Notice::TokenRequested { origin, failure: Some(NoToken { reason, words }) } => {
                platform_line!(self, INFO, origin, "no token", reason = reason.name(), message = &*clean(words));
            }
            Notice::StoreFailed { error } => {
                tracing::error!(target: TARGET, error = &*clean(error), "the store takes no writes; intake stops");
            }
            Notice::StoreMended => tracing::info!(target: TARGET, "the store takes writes again; intake goes on"),
            Notice::RecordDamaged { error } => {
                tracing::error!(target: TARGET, error = &*clean(error), "a record of the store cannot be read; the others can");
            }
            Notice::AmqpConnected { queue } => {
                tracing::info!(target: TARGET, queue = &*clean(queue), "queue connected");
            }
            Notice::AmqpLost { queue, error } => {
                tracing::warn!(target: TARGET, queue = &*clean(queue), error = &*clean(error), "queue lost; reconnecting");
            }
            Notice::AcksLost { count } => {
                tracing::warn!(target: TARGET, count, "acknowledgements lost; the broker delivers these events again");
            }
            Notice::OutcomesConnected { exchange } => {
                tracing::info!(target: TARGET, exchange = &*clean(exchange), "outcomes connected");
            }
            Notice::OutcomesLost { exchange, error } => {
                let (exchange, error) = (&*clean(exchange), &*clean(error));
                tracing::warn!(target: TARGET, exchange, error, "outcomes cannot be published; reconnecting");
            }
            Notice::ClockSetBack { by } => {
                tracing::warn!(target: TARGET, by_s = by.as_secs(), "the clock was set back; what waits is put forward");
            }
            // Counted, and too many to read.
            Notice::Moved { .. }
            | Notice::StoreCommitted { .. }
            | Notice::OutcomesPublished { .. }
            | Notice::OutcomesWaiting { .. }
            | Notice::Beat { .. } => {}
        }
    }
}

impl LogObserver {
    /// A success is told by the line of the delivery that follows; a failure has its own words.
    fn attempt(&self, about: &About, notice: &Notice) {
        let Notice::AttemptEnded { outcome, duration, http_status, message, tries, counted, .. } = notice else {
            return;
        };
        let (duration_ms, http_status, tries) = (millis(*duration), http_status.map(u64::from), u64::from(*tries));
        match outcome {
            AttemptOutcome::Failed(reason) => job_line!(
                self,
                INFO,
                about,
                "attempt failed",
                reason = reason.name(),
                http_status = http_status,
                duration_ms = duration_ms,
                tries = tries,
                counted = *counted,
                words = &*clean(message)
            ),
            AttemptOutcome::Delivered | AttemptOutcome::Superseded => job_line!(
                self,
                DEBUG,
                about,
                "attempt ended",
                outcome = outcome.name(),
                http_status = http_status,
                duration_ms = duration_ms,
                tries = tries
            ),
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A text that somebody else wrote, fit for a line: cut, without control characters, without a URL's password.
fn clean(text: &str) -> Cow<'_, str> {
    let is_long = text.len() > TEXT_CHARS_MAX;
    if !is_long && !text.contains("://") && !text.chars().any(is_unfit) {
        return Cow::Borrowed(text);
    }
    // Masked first: a cut could leave half of a password and none of the sign that it is one.
    let masked = without_passwords(text);
    let mut fit = String::with_capacity(masked.len().min(4 * TEXT_CHARS_MAX));
    for letter in masked.chars().take(TEXT_CHARS_MAX) {
        if is_unfit(letter) { fit.extend(letter.escape_unicode()) } else { fit.push(letter) }
    }
    if masked.chars().nth(TEXT_CHARS_MAX).is_some() {
        fit.push('…');
    }
    Cow::Owned(fit)
}

/// Control characters, line separators, and those that turn the direction of writing.
fn is_unfit(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `scheme://user:password@host` without its user and password.
fn without_passwords(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let ends = |letter: char| matches!(letter, '/' | '?' | '#') || letter.is_whitespace();
        let (authority, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => masked.extend(["***@", host]),
            None => masked.push_str(authority),
        }
        rest = tail;
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use super::*;
    use crate::domain::{
        destination::{Delivery, Origin},
        job::{JobId, StateName},
        notice::{Loop, Source},
        outcome::FailureReason,
        time::Timestamp,
    };

    /// A writer that remembers.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `tell` brings about.
    fn lines(format: Format, filter: &str, tell: impl FnOnce(&LogObserver)) -> Vec<String> {
        let paper = Paper::default();
        let writer = paper.clone();
        let options = LogOptions { format, filter: filter.to_owned() };
        let subscriber = subscriber(&options, move || writer.clone()).expect("the filter is right");
        tracing::subscriber::with_default(subscriber, || tell(&LogObserver::new(Arc::default())));
        let bytes = paper.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn about(session: &str) -> About {
        About {
            job: JobId::next(None, Timestamp::from_secs(1), 1),
            session: Some(session.into()),
            delivery: Delivery::Lti11,
            origin: Origin::from_stored("https://lms.example"),
        }
    }

    fn failed(session: &str, words: &str) -> Notice {
        Notice::AttemptEnded {
            about: about(session),
            outcome: AttemptOutcome::Failed(FailureReason::ServerError),
            duration: Duration::from_millis(12),
            http_status: Some(500),
            message: words.into(),
            tries: 2,
            counted: true,
        }
    }

    #[test]
    fn one_fact_is_one_line_with_the_job_on_it() {
        let check = |notice: Notice, level: &str, message: &str, fields: &[(&str, serde_json::Value)]| {
            let told = lines(Format::Json, "info", |observer| observer.observe(&notice));
            assert_eq!(told.len(), 1, "{notice:?}");
            let line: serde_json::Value = serde_json::from_str(&told[0]).expect("JSON");
            assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some(level), Some(message)));
            for (name, value) in fields {
                assert_eq!(&line[name], value, "{name} of {line}");
            }
        };
        let job = about("s").job.to_string();
        let whose = [
            ("job", job.into()),
            ("session", "s".into()),
            ("platform", "lms.example".into()),
            ("delivery", "lti11".into()),
        ];
        check(Notice::Delivered { about: about("s"), latency: Duration::from_secs(2) }, "INFO", "delivered", &whose);
        let flagged = Notice::Flagged {
            about: about("s"),
            reason: FailureReason::Timeout,
            words: "".into(),
            advice: "wait".into(),
        };
        check(flagged, "WARN", "flagged", &[("reason", "timeout".into()), ("advice", "wait".into())]);
        let fields = [
            ("reason", "server_error".into()),
            ("http_status", 500.into()),
            ("tries", 2.into()),
            ("words", "oh".into()),
        ];
        check(failed("s", "oh"), "INFO", "attempt failed", &fields);
        let refused = Notice::EventRefused {
            source: Source::Amqp,
            message_id: None,
            event_id: Some("e-1".into()),
            field: "score".into(),
            detail: "score is bad".into(),
        };
        let fields = [("source", "amqp".into()), ("event_id", "e-1".into()), ("field", "score".into())];
        check(refused, "WARN", "event refused", &fields);
        check(
            Notice::StoreFailed { error: "disk full".into() },
            "ERROR",
            "the store takes no writes; intake stops",
            &[],
        );
        check(Notice::StoreMended, "INFO", "the store takes writes again; intake goes on", &[]);
        let damaged = Notice::RecordDamaged { error: "it is cut short".into() };
        check(damaged, "ERROR", "a record of the store cannot be read; the others can", &[]);
        let due = Notice::RetryScheduled { about: about("s"), due: Timestamp::from_secs(0) };
        check(due, "INFO", "retry scheduled", &[("due", "1970-01-01T00:00:00.000Z".into())]);
        let lost = Notice::AmqpLost { queue: "q".into(), error: "amqp://u:hunter2@h/v refused".into() };
        check(lost, "WARN", "queue lost; reconnecting", &[("error", "amqp://***@h/v refused".into())]);
        let held = Notice::Platform {
            origin: Origin::from_stored("https://lms.example"),
            state: PlatformState::Held,
            why: "it fails",
        };
        check(held, "WARN", "platform held", &[("platform", "lms.example".into()), ("why", "it fails".into())]);
    }

    #[test]
    fn what_is_only_counted_is_not_logged() {
        let told = lines(Format::Json, "trace", |observer| {
            observer.observe(&Notice::Beat { of: Loop::Store });
            observer.observe(&Notice::Moved { from: None, to: Some(StateName::Queued) });
            observer.observe(&Notice::StoreCommitted { duration: Duration::ZERO, changes: 1, size_bytes: 1 });
        });
        assert!(told.is_empty(), "{told:?}");
        let stored = Notice::EventStored { about: about("s"), source: Source::Http, state: StateName::Queued };
        assert_eq!(lines(Format::Plain, "info", |observer| observer.observe(&stored)).len(), 0);
        assert_eq!(lines(Format::Plain, "debug", |observer| observer.observe(&stored)).len(), 1);
    }

    #[test]
    fn nobody_can_forge_a_line_or_fill_the_log() {
        let forged = "x\n2026-01-01 INFO passback: delivered\u{1b}[2J\u{202e}\u{85}";
        for format in [Format::Json, Format::Plain] {
            let told = lines(format, "info", |observer| observer.observe(&failed(forged, &"w".repeat(10_000))));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].len() < 1_000 && told[0].contains('…'), "{}", told[0]);
            assert!(!told[0].contains(['\u{1b}', '\u{202e}', '\u{85}']), "{}", told[0]);
        }
    }

    #[test]
    fn a_text_is_cut_escaped_and_masked() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text), expected);
        check("plain wörds", "plain wörds");
        check("a\tb", "a\\u{9}b");
        check("amqp://user:p@ss@host:5672/%2f and http://h/x@y", "amqp://***@host:5672/%2f and http://h/x@y");
        check(&"é".repeat(400), &format!("{}…", "é".repeat(300)));
        check(&format!("{}://u:hunter2@h", "x".repeat(290)), &format!("{}://***@h", "x".repeat(290)));
    }

    #[test]
    fn the_crates_below_are_never_heard_beyond_info() {
        let told = lines(Format::Plain, "trace", |_| {
            tracing::trace!(target: "hyper::frames", "password");
            tracing::info!(target: "hyper", "connected");
            tracing::error!(target: "lapin::channel", "the broker's words in our way of printing");
            tracing::trace!(target: "passback::engine", "ours");
            tracing::debug!(target: "passbacks", "not ours");
        });
        assert_eq!(told.len(), 2, "{told:?}");
        let broken = LogOptions { format: Format::Plain, filter: "=?".to_owned() };
        assert!(subscriber(&broken, io::sink).is_err());
    }

    #[test]
    fn the_environment_chooses_form_and_filter() {
        let options = |set: &[(&str, &str)]| {
            LogOptions::from_env(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(options(&[]).filter, "info");
        assert_eq!(options(&[("RUST_LOG", "warn"), ("PASSBACK_LOG", "debug")]).filter, "debug");
        assert_eq!(options(&[("RUST_LOG", "warn"), ("PASSBACK_LOG", "")]).filter, "warn");
        assert_eq!(options(&[("PASSBACK_LOG_FORMAT", "json")]).format, Format::Json);
        assert_eq!(options(&[("PASSBACK_LOG_FORMAT", "text"), ("NO_COLOR", "1")]).format, Format::Plain);
    }
}
