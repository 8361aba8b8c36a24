//! Which worker a command talks to, and with which token: as told, or else the one of this machine.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::{Host, Url};

use super::{
    client::{Client, Payload, Token},
    fault::CliError,
};

/// The longest token file that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The worker to talk to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Worker")]
pub struct ConnectArgs {
    /// The worker's address, such as `https://passback.example.edu`. Without it: the worker of this machine, at the
    /// configuration's `[http] listen`.
    #[arg(long, env = "PASSBACK_URL", value_name = "URL", hide_env_values = true)]
    pub url: Option<String>,
    /// The API token. Without it, for a worker of this machine: the operator token in its data folder. Better given by
    /// environment, where other users cannot see it.
    #[arg(long, env = "PASSBACK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<SecretString>,
}

/// How a worker is asked, and how its answer is shown.
#[derive(Args, Clone, Debug, Default)]
pub struct AskArgs {
    /// Print JSON, as the API answers it
    #[arg(long)]
    pub json: bool,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// The word that goes with a change.
#[derive(Args, Clone, Debug, Default)]
pub struct NoteArgs {
    /// Why, for the audit log: at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

impl NoteArgs {
    /// What a change carries that needs nothing else.
    pub fn payload(&self) -> Payload {
        self.note.as_ref().map_or(Payload::Empty, |note| Payload::Json(json!({ "note": note }).to_string()))
    }
}

/// The worker of this machine, as the configuration knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWorker {
    /// Its address.
    pub url: String,
    /// Where it keeps the operator token that it makes when none is configured.
    pub token_file: PathBuf,
}

impl LocalWorker {
    /// From `[http] listen` and `[store] path`. One that listens on all addresses is asked on the loopback.
    pub fn new(listen: SocketAddr, store: &Path) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let url = format!("http://{}", SocketAddr::new(ip, listen.port()));
        Self { url, token_file: store.join("operator.token") }
    }
}

/// Reads the configuration for the worker of this machine; called only when the command line does not say enough.
/// A wrong configuration is [`CliError::Usage`].
pub type FindLocal<'a> = &'a dyn Fn() -> Result<LocalWorker, CliError>;

impl ConnectArgs {
    /// Whether a worker is told by its address.
    pub fn names_a_worker(&self) -> bool {
        self.url.as_deref().is_some_and(|url| !url.trim().is_empty())
    }

    /// The client for the worker that is meant.
    ///
    /// The operator token of this machine goes to a worker of this machine alone: one told by `--url` gets it only
    /// on a loopback address or where the configuration names the same one.
    pub fn client(&self, local: FindLocal<'_>) -> Result<Client, CliError> {
        // A variable that is set to nothing counts as not set, as in most container set-ups.
        let url = self.url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let token = self.token.as_ref().filter(|token| !token.expose_secret().trim().is_empty());
        let (base, token) = match (url, token) {
            (Some(url), Some(token)) => (parse_url(url)?, given(token)?),
            (None, Some(token)) => (parse_url(&local()?.url)?, given(token)?),
            (None, None) => {
                let local = local()?;
                (parse_url(&local.url)?, found(&local.token_file)?)
            }
            (Some(url), None) => {
                let base = parse_url(url)?;
                let token = token_for(&base, local)?;
                (base, token)
            }
        };
        Ok(Client::new(base, token)?)
    }
}

fn token_for(base: &Url, local: FindLocal<'_>) -> Result<Token, CliError> {
    let is_loopback = match base.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    // A broken configuration must not hinder who asks a worker elsewhere.
    let same = |local: &LocalWorker| Url::parse(&local.url).is_ok_and(|url| url.origin() == base.origin());
    match local() {
        Ok(local) if is_loopback || same(&local) => found(&local.token_file),
        Err(error) if is_loopback => Err(error),
        _ => Ok(Token::None("a worker elsewhere does not get the token of this machine".to_owned())),
    }
}

fn parse_url(text: &str) -> Result<Url, CliError> {
    // The text may hold a password, so it is not repeated.
    let wrong = |why: &str| CliError::Usage(format!("the worker's URL {why}, such as http://127.0.0.1:8080"));
    let url = Url::parse(text).map_err(|_| wrong("is no URL; give one"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("must begin with http:// or https:// and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must be without user and password; give the token with --token"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must end before any ? or #"));
    }
    Ok(url)
}

fn given(token: &SecretString) -> Result<Token, CliError> {
    let text = token.expose_secret().trim();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Token::Given(text.into()))
    } else {
        Err(CliError::Usage("the token must be printable ASCII without spaces: it goes into a header".to_owned()))
    }
}

/// Reads the token file. That there is none is no error yet: the worker may not run, which says more.
fn found(path: &Path) -> Result<Token, CliError> {
    let path_shown = path.display().to_string();
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Token::None(format!(
            "there is no {path_shown}; if the worker has a configuration of its own, name it with --config"
        ))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Token::None(format!("{path_shown} cannot be read: {error}; run this as the user of the worker")))
        }
        Err(error) => Ok(Token::None(format!("{path_shown} cannot be read: {error}"))),
        Ok(_) => match given(&text.into()) {
            Ok(Token::Given(token)) => Ok(Token::Found { token, path: path_shown }),
            _ => Err(CliError::Usage(format!("{path_shown} holds no token; remove it and start the worker again"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::testing::Api, *};

    #[test]
    fn a_worker_that_listens_everywhere_is_asked_on_the_loopback() {
        let check = |listen: &str, url: &str| {
            let local = LocalWorker::new(listen.parse().expect(listen), Path::new("data"));
            assert_eq!((local.url.as_str(), local.token_file), (url, PathBuf::from("data/operator.token")));
        };
        check("127.0.0.1:8080", "http://127.0.0.1:8080");
        check("0.0.0.0:80", "http://127.0.0.1:80");
        check("[::]:8080", "http://[::1]:8080");
        check("10.1.2.3:8080", "http://10.1.2.3:8080");
    }

    #[tokio::test]
    async fn the_token_of_this_machine_is_found_and_goes_to_this_machine_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let token_file = folder.path().join("operator.token");
        fs::write(&token_file, "found-token\n").expect("it is written");
        let api = Api::start(|_| (401, String::new())).await;
        let local = || Ok(LocalWorker { url: api.url.clone(), token_file: token_file.clone() });
        let check = async |url: Option<&str>, token: Option<&str>, header: Option<&str>, words: &str| {
            let args = ConnectArgs { url: url.map(str::to_owned), token: token.map(Into::into) };
            let error = args.client(&local).expect("a client").get(&["x"], &[]).await.expect_err("401");
            assert_eq!(api.seen().last().expect("a request").token.as_deref(), header);
            assert!(error.to_string().contains(words), "{error}");
        };
        check(None, None, Some("Bearer found-token"), "operator.token is not the worker's").await;
        check(Some(&api.url), None, Some("Bearer found-token"), "operator.token").await;
        check(Some(""), Some(" "), Some("Bearer found-token"), "operator.token").await;
        check(None, Some("given-token"), Some("Bearer given-token"), "check --token").await;
        fs::remove_file(&token_file).expect("it was there");
        check(None, None, None, "give a token with --token or PASSBACK_TOKEN (there is no ").await;

        let elsewhere = Url::parse("https://passback.example.edu").expect("a URL");
        assert!(matches!(token_for(&elsewhere, &local), Ok(Token::None(_))));
        let broken = || Err(CliError::Usage("line 3: no TOML".to_owned()));
        assert!(matches!(token_for(&elsewhere, &broken), Ok(Token::None(_))));
        assert!(ConnectArgs::default().client(&broken).is_err_and(|error| error.exit_code() == 2));
    }

    #[test]
    fn a_wrong_url_or_token_is_wrong_usage_and_is_not_repeated() {
        let check = |url: &str, token: &str, words: &str| {
            let args = ConnectArgs { url: Some(url.to_owned()), token: Some(token.into()) };
            let error = args.client(&super::super::testing::nowhere).err().expect(url);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(words) && !error.to_string().contains("hunter2"), "{error}");
        };
        check("passback.example.edu", "t", "is no URL");
        check("ftp://passback.example.edu", "t", "http:// or https://");
        check("http://ops:hunter2@passback.example.edu", "t", "without user and password");
        check("http://passback.example.edu/?token=hunter2", "t", "before any ? or #");
        check("http://passback.example.edu", "hunter2 ü", "printable ASCII");
    }
}
