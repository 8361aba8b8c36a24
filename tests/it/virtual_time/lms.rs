//! Platforms with moods, behind the transport's port. Each keeps a log of what it was asked, when, and beside how many
//! other requests; its own clock is always right.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use passback::{
    lti::wire::{Answer, Reply, Request, TransportFailure, TransportFault, Written},
    ports::{Pending, Transport},
};
use tokio::time::{Instant, sleep};

/// How a platform takes requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    /// It takes every grade.
    Well,
    /// It refuses connections.
    Refuses,
    /// It takes connections and says nothing.
    Silent,
    /// It answers with this status.
    Says(u16),
    /// 429, with `Retry-After` or without.
    Limits(Option<u32>),
}

/// One request as a platform saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it came, since the beginning of the universe.
    pub(crate) at: Duration,
    /// How many requests were at work then, this one included.
    pub(crate) at_work: usize,
    /// How many requests it had answered well since its mood changed.
    pub(crate) successes: usize,
    /// Whether a token was asked for.
    pub(crate) is_token: bool,
    /// `oauth_timestamp`, in seconds.
    pub(crate) signed_at: Option<i64>,
    /// How old the access token is.
    pub(crate) token_age: Option<Duration>,
    /// The body.
    pub(crate) body: String,
}

struct Platform {
    mood: Mood,
    latency: Duration,
    at_work: usize,
    successes: usize,
    seen: Vec<Seen>,
}

/// All platforms. One that nobody spoke of is well, and takes 50 ms.
pub(crate) struct Platforms {
    born: Instant,
    by_host: Mutex<BTreeMap<String, Platform>>,
}

/// The life of every access token, as the grant says.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// The usual time that an answer takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(50);

impl Platforms {
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), by_host: Mutex::default() }
    }

    /// Changes a platform's mood.
    pub(crate) fn set(&self, host: &str, mood: Mood, latency: Duration) {
        self.at(host, |platform| {
            platform.mood = mood;
            platform.latency = latency;
            platform.successes = 0;
        });
    }

    /// What a platform was asked.
    pub(crate) fn seen(&self, host: &str) -> Vec<Seen> {
        self.at(host, |platform| platform.seen.clone())
    }

    fn platforms(&self) -> MutexGuard<'_, BTreeMap<String, Platform>> {
        self.by_host.lock().expect("no panic")
    }

    fn at<T>(&self, host: &str, act: impl FnOnce(&mut Platform) -> T) -> T {
        let well = || Platform { mood: Mood::Well, latency: LATENCY, at_work: 0, successes: 0, seen: Vec::new() };
        act(self.platforms().entry(host.to_owned()).or_insert_with(well))
    }

    fn take(&self, host: &str, request: &Request) -> (Mood, Duration) {
        let at = self.born.elapsed();
        let header = request.headers.iter().find(|(name, _)| *name == "authorization").map(|(_, value)| value.clone());
        let signed_at = header
            .as_deref()
            .and_then(|header| header.split_once("oauth_timestamp=\"")?.1.split_once('"')?.0.parse().ok());
        let granted = header.as_deref().and_then(|header| header.strip_prefix("Bearer t")?.parse().ok());
        self.at(host, |platform| {
            platform.at_work += 1;
            platform.seen.push(Seen {
                at,
                at_work: platform.at_work,
                successes: platform.successes,
                is_token: request.url.as_url().path() == "/token",
                signed_at,
                token_age: granted.map(|granted| at.saturating_sub(Duration::from_millis(granted))),
                body: String::from_utf8_lossy(&request.body).into_owned(),
            });
            (platform.mood, platform.latency)
        })
    }

    /// The answer of a platform that is well. A token carries the moment of its grant, and dies in time.
    fn good_answer(&self, request: &Request, at_work: &AtWork<'_>) -> Reply {
        let age = self.at(at_work.host, |platform| {
            platform.successes += 1;
            platform.seen.last().and_then(|seen| seen.token_age)
        });
        let body = match request.url.as_url().path() {
            "/token" => format!(
                "{{\"access_token\":\"t{}\",\"expires_in\":{}}}",
                self.born.elapsed().as_millis(),
                TOKEN_LIFE.as_secs()
            ),
            "/outcomes" => "<imsx_codeMajor>success</imsx_codeMajor>".to_owned(),
            _ => String::new(),
        };
        let status = if age.is_some_and(|age| age > TOKEN_LIFE) { 401 } else { 200 };
        Reply { status, headers: Vec::new(), body: body.into_bytes() }
    }
}

/// A request at work, also one that is cut off.
struct AtWork<'a> {
    platforms: &'a Platforms,
    host: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.platforms.at(self.host, |platform| platform.at_work -= 1);
    }
}

impl Transport for Platforms {
    fn send(&self, request: Request, within: Duration) -> Pending<'_, Answer> {
        Box::pin(async move {
            let host = request.url.as_url().host_str().unwrap_or_default().to_owned();
            let (mood, latency) = self.take(&host, &request);
            let at_work = AtWork { platforms: self, host: &host };
            sleep(if mood == Mood::Silent { within } else { latency.min(within) }).await;
            let failed = |fault, written, words: &str| {
                Err(TransportFailure { fault, written, status: None, detail: format!("{host} {words}") })
            };
            let plain = |status, headers| Ok(Reply { status, headers, body: Vec::new() });
            match mood {
                Mood::Refuses => failed(TransportFault::Connection, Written::No, "refused the connection"),
                Mood::Silent => failed(TransportFault::Timeout, Written::Perhaps, "did not answer"),
                _ if latency > within => failed(TransportFault::Timeout, Written::Perhaps, "did not answer"),
                Mood::Well => Ok(self.good_answer(&request, &at_work)),
                Mood::Says(status) => plain(status, Vec::new()),
                Mood::Limits(seconds) => {
                    let asked = seconds.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
                    plain(429, asked.into_iter().collect())
                }
            }
        })
    }
}
