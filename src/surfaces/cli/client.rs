//! The one HTTP client of the command line: it speaks to a worker's API, and turns what goes wrong into a sentence
//! that says how to mend it.
//!
//! It follows no redirect and uses no proxy of the environment, since either would carry the token somewhere else.
//! Every wait and every body has a limit.

use std::{error::Error as _, fmt, io, time::Duration};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;

use super::{fault::CliError, output::printable};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take. A replay of many thousand jobs is the slowest of them.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a download may take in all, and how long the next piece of it.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer that is read: a page of a thousand jobs is below two megabytes, a job with its event below one.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of an answer that is no problem document is shown.
const EXCERPT_CHARS: usize = 120;

/// A worker's API, with the token that opens it.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Token,
}

/// Where the bearer token came from, which decides what is said when it is not accepted.
pub enum Token {
    /// Given with `--token` or `PASSBACK_TOKEN`.
    Given(SecretString),
    /// Found in the local worker's data folder.
    Found {
        /// What the file holds.
        token: SecretString,
        /// The file's path.
        path: String,
    },
    /// There is none; the text says where it was looked for.
    None(String),
}

/// What a request carries.
pub enum Payload {
    /// Nothing.
    Empty,
    /// One JSON document.
    Json(String),
    /// Events, one a line.
    Ndjson(Vec<u8>),
}

/// Why a worker could not be asked, or what it answered instead of what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No client could be made.
    #[error("no HTTP client could be made: {0}")]
    Setup(String),
    /// Nobody listens there.
    #[error("no worker answers at {0}: is `passback run` running? Use --url (or PASSBACK_URL) if it is elsewhere")]
    NoWorker(Url),
    /// There is no way there.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// The worker's address.
        url: Url,
        /// The innermost cause.
        cause: String,
    },
    /// The answer, or its end, did not come in time.
    #[error("{0} did not answer in time; what was asked may be carried out all the same")]
    Timeout(Url),
    /// The connection broke, or what came was no HTTP.
    #[error("the connection to {url} broke: {cause}; what was asked may be carried out all the same")]
    Broken {
        /// The worker's address.
        url: Url,
        /// The innermost cause.
        cause: String,
    },
    /// The answer is larger than any that a worker gives.
    #[error("the answer of {0} is larger than 64 MiB: is that a passback worker?")]
    TooLarge(Url),
    /// 401.
    #[error("the worker does not know who you are: {0}")]
    Unauthorized(String),
    /// 403.
    #[error("{0}: give a token with a higher role (a producer posts events, a viewer reads, an operator may do all)")]
    Forbidden(String),
    /// Any other refusal with a problem document (RFC 9457).
    #[error("{0}")]
    Problem(Problem),
    /// An answer that no worker gives.
    #[error("{url} answered {status}, which is no answer of a passback worker: {excerpt}")]
    Strange {
        /// The worker's address.
        url: Url,
        /// The status.
        status: StatusCode,
        /// The beginning of the body, or where a redirect points.
        excerpt: String,
    },
}

impl ClientError {
    /// Whether the command was at fault, in the worker's judgement.
    pub fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == 400)
    }

    /// Whether the worker, or a proxy before it, may answer soon: as while it starts anew.
    pub fn may_pass(&self) -> bool {
        let is_of_a_gateway = |status: u16| matches!(status, 502..=504);
        match self {
            Self::NoWorker(_) | Self::Unreachable { .. } | Self::Timeout(_) | Self::Broken { .. } => true,
            Self::Problem(problem) => is_of_a_gateway(problem.status),
            Self::Strange { status, .. } => is_of_a_gateway(status.as_u16()),
            Self::Setup(_) | Self::TooLarge(_) | Self::Unauthorized(_) | Self::Forbidden(_) => false,
        }
    }

    /// Whether asking about the next job would make sense: this one alone was refused.
    pub fn is_about_this_one_alone(&self) -> bool {
        matches!(self, Self::Problem(problem) if matches!(problem.status, 404 | 409))
    }
}

/// A problem document (RFC 9457) as a worker writes it. Members that it does not have are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// The kind of problem, in few words.
    pub title: Option<String>,
    /// What is wrong here.
    pub detail: Option<String>,
    /// The member or parameter that is wrong.
    pub field: Option<String>,
    /// Of a batch: each event that is wrong.
    pub errors: Vec<ProblemItem>,
}

/// One wrong event of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProblemItem {
    /// Its place, from 0.
    pub index: Option<usize>,
    /// The member that is wrong.
    pub field: Option<String>,
    /// What is wrong with it.
    pub detail: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.detail.as_deref().or(self.title.as_deref());
        f.write_str(&in_words(self.field.as_deref(), words.unwrap_or("the worker refused this without a reason")))?;
        match self.errors.as_slice() {
            [] => Ok(()),
            [first] => write!(f, "; {first}"),
            [first, rest @ ..] => write!(f, "; {first}; and {} more", rest.len()),
        }
    }
}

impl ProblemItem {
    /// What is wrong, without the place.
    pub fn words(&self) -> String {
        in_words(self.field.as_deref(), self.detail.as_deref().unwrap_or("refused without a reason"))
    }
}

impl fmt::Display for ProblemItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "event {index}: {}", self.words()),
            None => f.write_str(&self.words()),
        }
    }
}

/// Names the field, unless the words do so themselves.
fn in_words(field: Option<&str>, words: &str) -> String {
    match field {
        Some(field) if !words.contains(field) => printable(&format!("{field}: {words}")),
        _ => printable(words),
    }
}

impl Client {
    /// A client for the worker at `base`, which may have a path.
    #[expect(clippy::disallowed_methods, reason = "this file owns the command line's only HTTP client")]
    pub fn new(base: Url, token: Token) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("passback-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Setup(innermost(&error)))?;
        Ok(Self { http, base, token })
    }

    /// Reads; the answer's body as it came.
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<String, ClientError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.http.request(Method::GET, url)).await
    }

    /// Commands; the answer's body as it came.
    pub async fn post(&self, path: &[&str], payload: Payload) -> Result<String, ClientError> {
        self.answer(self.command(path, payload)).await
    }

    /// Commands, and hands the bytes of a long answer on as they come.
    pub async fn download(
        &self,
        path: &[&str],
        payload: Payload,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let request = self.command(path, payload).timeout(DOWNLOAD_TIMEOUT);
        let mut response = self.signed(request).send().await.map_err(|error| self.no_answer(&error))?;
        if !response.status().is_success() {
            return Err(self.read(response).await.err().unwrap_or_else(|| self.strange("")).into());
        }
        loop {
            let chunk = timeout(CHUNK_TIMEOUT, response.chunk()).await;
            let chunk = chunk.map_err(|_| ClientError::Timeout(self.base.clone()))?;
            match chunk.map_err(|error| self.no_answer(&error))? {
                Some(bytes) => take(&bytes)?,
                None => return Ok(()),
            }
        }
    }

    /// An answer that is not of the form that was asked for.
    pub fn strange(&self, body: &str) -> ClientError {
        ClientError::Strange { url: self.base.clone(), status: StatusCode::OK, excerpt: excerpt(body) }
    }

    fn command(&self, path: &[&str], payload: Payload) -> RequestBuilder {
        let request = self.http.request(Method::POST, self.url(path));
        match payload {
            Payload::Empty => request,
            Payload::Json(body) => request.header(header::CONTENT_TYPE, "application/json").body(body),
            Payload::Ndjson(body) => request.header(header::CONTENT_TYPE, "application/x-ndjson").body(body),
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http URL always has path segments; `connect` lets no other in.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn answer(&self, request: RequestBuilder) -> Result<String, ClientError> {
        let response = self.signed(request).send().await.map_err(|error| self.no_answer(&error))?;
        self.read(response).await
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Token::Given(token) | Token::Found { token, .. } => request.bearer_auth(token.expose_secret()),
            Token::None(_) => request,
        }
    }

    async fn read(&self, mut response: Response) -> Result<String, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::TooLarge(self.base.clone()));
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        if response.status().is_success() {
            return Ok(body);
        }
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        Err(self.refusal(response.status(), location, &body))
    }

    /// What a transport failure means.
    fn no_answer(&self, error: &reqwest::Error) -> ClientError {
        let (url, cause) = (self.base.clone(), innermost(error));
        if is_refused_connection(error) {
            ClientError::NoWorker(url)
        } else if error.is_connect() {
            ClientError::Unreachable { url, cause }
        } else if error.is_timeout() {
            ClientError::Timeout(url)
        } else {
            ClientError::Broken { url, cause }
        }
    }

    /// What an answer other than success means.
    fn refusal(&self, status: StatusCode, location: Option<&str>, body: &str) -> ClientError {
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::Unauthorized(self.token.advice());
        }
        let problem = serde_json::from_str::<Problem>(body).ok();
        match problem.filter(|problem| problem.title.is_some() || problem.detail.is_some()) {
            Some(problem) if status == StatusCode::FORBIDDEN => ClientError::Forbidden(problem.to_string()),
            Some(problem) => ClientError::Problem(Problem { status: status.as_u16(), ..problem }),
            None => {
                let excerpt = location.map_or_else(|| excerpt(body), |to| format!("it points to {}", printable(to)));
                ClientError::Strange { url: self.base.clone(), status, excerpt }
            }
        }
    }
}

impl Token {
    /// What to do when it is not accepted.
    fn advice(&self) -> String {
        match self {
            Self::Given(_) => "it has no such token; check --token or PASSBACK_TOKEN".to_owned(),
            Self::Found { path, .. } => {
                format!("the token in {path} is not the worker's; give its own with --token or PASSBACK_TOKEN")
            }
            Self::None(looked) => format!("give a token with --token or PASSBACK_TOKEN ({looked})"),
        }
    }
}

fn excerpt(body: &str) -> String {
    let words = printable(body);
    match words.char_indices().nth(EXCERPT_CHARS) {
        _ if words.is_empty() => "(an empty body)".to_owned(),
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// The last cause of a chain says what happened; those above it only say that something did.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    printable(&cause.to_string())
}

fn is_refused_connection(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(next) = cause {
        if next.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = next.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener, task::JoinSet};

    use super::{
        super::testing::{Api, nowhere},
        *,
    };

    async fn ask(answer: (u16, &'static str)) -> Result<String, ClientError> {
        let api = Api::start(move |_| (answer.0, answer.1.to_owned())).await;
        api.connect().client(&nowhere).expect("a client").get(&["api", "v1", "stats"], &[]).await
    }

    #[tokio::test]
    async fn an_answer_comes_back_as_it_came_and_the_token_goes_along() {
        let api = Api::start(|_| (200, "{ \"a\":1.0 }".to_owned())).await;
        let client = api.connect().client(&nowhere).expect("a client");
        let query = [("user_id", "a b&c".to_owned())];
        assert_eq!(client.get(&["api", "v1", "jobs", "a/b"], &query).await.expect("an answer"), "{ \"a\":1.0 }");
        client.post(&["v1", "events"], Payload::Ndjson(b"{}\n".to_vec())).await.expect("an answer");
        let seen = api.seen();
        assert_eq!(seen[0].line, "GET /api/v1/jobs/a%2Fb?user_id=a+b%26c");
        assert_eq!(seen[0].token.as_deref(), Some("Bearer s3cret-token"));
        let second = (seen[1].line.as_str(), seen[1].content_type.as_deref(), seen[1].body.as_str());
        assert_eq!(second, ("POST /v1/events", Some("application/x-ndjson"), "{}\n"));
    }

    #[tokio::test]
    async fn each_refusal_is_a_sentence_that_says_what_to_do() {
        let check = async |status, body, words: &str, wrong_usage| {
            let error = ask((status, body)).await.expect_err(words);
            assert!(error.to_string().contains(words), "{words}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert_eq!(error.is_wrong_usage(), wrong_usage, "{error}");
        };
        check(401, "", "check --token or PASSBACK_TOKEN", false).await;
        check(403, r#"{"title": "Forbidden", "detail": "viewer may not replay"}"#, "viewer may not replay", false)
            .await;
        check(403, r#"{"title": "Forbidden"}"#, "higher role", false).await;
        check(400, r#"{"detail": "must be one of", "field": "reason"}"#, "reason: must be one of", true).await;
        check(409, r#"{"detail": "job is delivered"}"#, "job is delivered", false).await;
        check(
            422,
            r#"{"detail": "bad", "errors": [{"index": 3, "field": "score", "detail": "is negative"}]}"#,
            "bad; event 3: score: is negative",
            false,
        )
        .await;
        check(404, "<h1>not\u{1b}[31m here</h1>", "no answer of a passback worker: <h1>not [31m here</h1>", false)
            .await;
        check(502, "", "(an empty body)", false).await;
    }

    #[tokio::test]
    async fn who_is_not_there_is_asked_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let base = Url::parse(&format!("http://{address}")).expect("a URL");
        let client = Client::new(base, Token::None("none".to_owned())).expect("a client");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            // Only a connection that was read from ends without a reset.
            let _ = stream.read(&mut [0; 1024]).await;
        });
        let broken = client.get(&["x"], &[]).await.expect_err("the connection is cut");
        assert!(matches!(broken, ClientError::Broken { .. }), "{broken}");
        tasks.join_next().await;
        let refused = client.get(&["x"], &[]).await.expect_err("nobody listens");
        let words = format!("no worker answers at http://{address}/: is `passback run` running?");
        assert!(refused.to_string().starts_with(&words), "{refused}");
    }
}
