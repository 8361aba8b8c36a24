//! Finds the configuration, lays the environment over the file, reads and checks it.
//!
//! The file is `--config`, else `PASSBACK_CONFIG`, else `./passback.toml` if there is one, else none. A variable
//! `PASSBACK_AMQP__URL` is `[amqp] url`; a list is written as in TOML or with commas; `PASSBACK_TOKENS__0__NAME` is an
//! entry of a list of tables, `PASSBACK_TOKENS` the whole list as in TOML.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    Config, LISTS,
    fault::setting_name,
    reader::Reader,
    show::Shown,
    stand_ins::{Filled, fill_in},
    tree::{Node, Place, Value},
};

/// Where to look.
pub struct LoadOptions<E> {
    /// `--config`.
    pub path: Option<PathBuf>,
    /// The environment.
    pub env: E,
}

/// The environment of this process. Variables that are not UTF-8 are left out: no setting is.
pub fn process_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// The file is no TOML. Its text is not shown: it may hold a secret.
    #[error("{place}, column {column}: no valid TOML: {why}")]
    Syntax {
        /// The line.
        place: Place,
        /// From 1.
        column: usize,
        /// What the parser expected.
        why: String,
    },
    /// A setting is wrong.
    #[error("{place}: {what}")]
    Setting {
        /// Where it was written.
        place: Place,
        /// The setting, and what is wrong with it.
        what: String,
    },
}

/// Where a configuration was taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file; none where there is none.
    pub file: Option<PathBuf>,
    /// The sections that are set, in the order in which they stand.
    pub sections: Vec<String>,
    /// The variables of the environment that set something.
    pub variables: Vec<String>,
}

impl Config {
    /// Loads the configuration.
    pub fn load<E: Iterator<Item = (String, String)>>(options: LoadOptions<E>) -> Result<Self, ConfigError> {
        Self::load_and_tell(options).map(|(config, _)| config)
    }

    /// The same, and says where it was taken from.
    pub fn load_and_tell<E: Iterator<Item = (String, String)>>(
        options: LoadOptions<E>,
    ) -> Result<(Self, Sources), ConfigError> {
        let Shown { config, sources, .. } = Self::read(options, Absent::IsWrong)?;
        Ok((config, sources))
    }

    /// The same, to be shown alone: a secret need not be there, and where it is not, something else stands in for it.
    pub fn load_to_show<E: Iterator<Item = (String, String)>>(options: LoadOptions<E>) -> Result<Shown, ConfigError> {
        Self::read(options, Absent::IsMarked)
    }

    fn read<E: Iterator<Item = (String, String)>>(
        options: LoadOptions<E>,
        absent: Absent,
    ) -> Result<Shown, ConfigError> {
        let env: BTreeMap<String, String> = options.env.collect();
        let path = find_file(options.path, &env, Path::new("passback.toml"));
        let text = path.as_deref().map(read_file).transpose()?;
        let tree = tree(text.as_deref().zip(path.as_deref()), &env)?;
        let Filled { tree: filled, missing } = match absent {
            Absent::IsWrong => Filled { tree: tree.clone(), missing: BTreeMap::new() },
            Absent::IsMarked => fill_in(&tree, &env),
        };
        let config = Self::from_tree(&filled, &env)?;
        let sections = match &tree.value {
            Value::Table(members) => members.iter().map(|(key, _)| key.name.clone()).collect(),
            _ => Vec::new(),
        };
        let variables = env.into_keys().filter(|name| path_of(name).is_some()).collect();
        Ok(Shown { config, sources: Sources { file: path, sections, variables }, missing, tree })
    }

    /// Loads what finds the store and the worker of this machine, `[store]` and `[http]`. The other sections are left out
    /// unread: whoever looks after a worker need not hold its secrets.
    pub fn load_local<E: Iterator<Item = (String, String)>>(options: LoadOptions<E>) -> Result<Self, ConfigError> {
        let env: BTreeMap<String, String> = options.env.collect();
        let path = find_file(options.path, &env, Path::new("passback.toml"));
        let text = path.as_deref().map(read_file).transpose()?;
        let mut tree = tree(text.as_deref().zip(path.as_deref()), &env)?;
        leave_out(&mut tree);
        Self::from_tree(&tree, &env)
    }

    fn from_tree(tree: &Node, env: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let config = Self::deserialize(Reader { node: tree, env })
            .map_err(|fault| ConfigError::Setting { place: fault.place(), what: fault.to_string() })?;
        config.check().map_err(|flaw| {
            let path: Vec<&str> = flaw.setting.split('.').collect();
            let what = format!("{} {}", setting_name(&path), flaw.why);
            ConfigError::Setting { place: tree.place_of(&flaw.setting).clone(), what }
        })?;
        Ok(config)
    }
}

/// What a secret is that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    IsWrong,
    IsMarked,
}

/// What the file says, and what the environment says over it.
fn tree(file: Option<(&str, &Path)>, env: &BTreeMap<String, String>) -> Result<Node, ConfigError> {
    let mut tree = match file {
        Some((text, path)) => parse(text, path)?,
        None => Node::default(),
    };
    lay_over(&mut tree, env)?;
    Ok(tree)
}

/// Leaves out the sections that may hold or need a secret, or a file. What is no section at all stays, to be told.
fn leave_out(tree: &mut Node) {
    const LEFT_OUT: [&str; 4] = ["amqp", "delivery", "egress", "lti"];
    if let Value::Table(members) = &mut tree.value {
        members.retain(|(key, _)| !LEFT_OUT.contains(&key.name.as_str()) && !LISTS.contains(&key.name.as_str()));
    }
}

fn find_file(given: Option<PathBuf>, env: &BTreeMap<String, String>, usual: &Path) -> Option<PathBuf> {
    let named = || env.get("PASSBACK_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    given.or_else(named).or_else(|| usual.exists().then(|| usual.to_owned()))
}

/// The largest configuration, in bytes: enough for thousands of platforms.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX + 1), &mut text));
    let why = match read {
        Ok(_) if text.len() as u64 <= FILE_BYTES_MAX => return Ok(text),
        Ok(_) => format!("it is larger than {FILE_BYTES_MAX} bytes"),
        Err(error) => error.to_string(),
    };
    Err(ConfigError::Unreadable { path: path.to_owned(), why })
}

fn parse(text: &str, path: &Path) -> Result<Node, ConfigError> {
    let file: Arc<str> = path.display().to_string().into();
    Node::parse_file(text, &file).map_err(|error| ConfigError::Syntax {
        place: Place::File { file, line: error.line },
        column: error.column,
        why: error.why,
    })
}

/// Puts what the environment says over what the file says.
fn lay_over(tree: &mut Node, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let settings = env.iter().filter_map(|(name, value)| Some((path_of(name)?, name, value)));
    let mut settings: Vec<(Vec<String>, &String, &String)> = settings.collect();
    // Entries of a list come in the order of their numbers: 2 before 10.
    settings.sort_by_cached_key(|(path, ..)| {
        path.iter().map(|segment| (segment.parse::<usize>().ok(), segment.clone())).collect::<Vec<_>>()
    });
    for (path, name, value) in settings {
        let place = Place::Variable(name.as_str().into());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let leaf = Node { place: place.clone(), value: Value::Untyped(value.clone()) };
        if !tree.set(&path, leaf) {
            let what = format!("{} has no entry of this number, and it is not the next one", setting_name(&path[..1]));
            return Err(ConfigError::Setting { place, what });
        }
    }
    Ok(())
}

/// The setting that a variable is, if it is one: with `__`, or a whole list of tables. All others (`PASSBACK_URL`,
/// `PASSBACK_TOKEN`, …) are somebody else's.
fn path_of(variable: &str) -> Option<Vec<String>> {
    let name = variable.strip_prefix("PASSBACK_")?.to_lowercase();
    (name.contains("__") || LISTS.contains(&name.as_str())).then(|| name.split("__").map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::{rsa, tokens::Role},
        domain::{
            ledger::{Outcomes, Rules},
            retry::RetryPolicy,
        },
    };

    fn from_parts(file: Option<(&str, &Path)>, env: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
        Config::from_tree(&tree(file, env)?, env)
    }

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        from_parts(Some((text, Path::new("passback.toml"))), &env)
    }

    fn complaint(text: &str, env: &[(&str, &str)]) -> String {
        load(text, env).map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn without_a_file_all_is_as_the_contract_says() {
        let config = from_parts(None, &BTreeMap::new()).expect("the defaults");
        assert_eq!(config.store.path, Path::new("data"));
        assert_eq!(config.store.retain_delivered, Duration::from_secs(30 * 86_400));
        assert!(config.amqp.url.is_none() && config.amqp.declare && config.amqp.exchange.is_none());
        assert_eq!(
            (config.amqp.prefetch, config.amqp.queues.as_slice()),
            (512, &["passback.session-completed".to_owned()][..])
        );
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((config.delivery.concurrency, config.delivery.per_platform), (256, 16));
        assert_eq!(
            (config.delivery.timeout, config.delivery.drain),
            (Duration::from_secs(30), Duration::from_secs(25))
        );
        assert_eq!(
            config.rules(),
            Rules { retry: RetryPolicy::default(), supersede: true, outcomes: Outcomes::Dropped }
        );
        assert!(!config.egress.allow_http && !config.egress.allow_private && config.egress.allow_hosts.is_empty());
        assert!(!config.lti.allow_unregistered && config.tokens.is_empty() && config.platforms.is_empty());
    }

    #[test]
    fn outcomes_are_noted_where_they_can_be_published() {
        let check = |text: &str, outcomes: Outcomes, warnings: usize| {
            let config = load(text, &[]).expect(text);
            assert_eq!((config.rules().outcomes, config.warnings().len()), (outcomes, warnings), "{text}");
        };
        check("[amqp]\nurl = \"amqp://h\"\n", Outcomes::Dropped, 0);
        check("[amqp]\nurl = \"amqp://h\"\noutcomes_exchange = \"o\"\n", Outcomes::Noted, 0);
        check("[amqp]\noutcomes_exchange = \"o\"\n", Outcomes::Dropped, 1);
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let file =
            "[amqp]\nprefetch = 7\nqueues = [\"f\"]\n[[tokens]]\nname = \"ops\"\ntoken = \"t\"\nrole = \"viewer\"\n";
        let env = [
            ("PASSBACK_AMQP__PREFETCH", "9"),
            ("PASSBACK_AMQP__QUEUES", "a, b"),
            ("PASSBACK_AMQP__DECLARE", "false"),
            ("PASSBACK_AMQP__URL", "amqp://u:p@h/v"),
            ("PASSBACK_RETRY__JITTER", "0"),
            ("PASSBACK_RETRY__PERMANENT", "flag"),
            ("PASSBACK_RETRY__INITIAL", "1m30s"),
            ("PASSBACK_EGRESS__ALLOW_HOSTS", "[\"a.example\", \"*.b.example\"]"),
            ("PASSBACK_TOKENS__0__ROLE", "operator"),
            ("PASSBACK_TOKENS__1__NAME", "app"),
            ("PASSBACK_TOKENS__1__TOKEN__ENV", "APP_TOKEN"),
            ("PASSBACK_TOKENS__1__ROLE", "producer"),
            ("PASSBACK_LTI_KEYS", "[{ key = \"k\", secret = { env = \"APP_TOKEN\" } }]"),
            ("PASSBACK_HTTP__LISTEN", "localhost:0"),
            ("APP_TOKEN", "s3cret"),
            ("PASSBACK_CONFIG", "elsewhere"),
            ("PASSBACK_URL", "http://127.0.0.1"),
            ("PASSBACK_TOKEN", "x"),
        ];
        let config = load(file, &env).expect("it is right");
        assert_eq!((config.amqp.prefetch, config.amqp.declare), (9, false));
        assert_eq!(config.amqp.queues, ["a", "b"]);
        assert_eq!(config.amqp.url.map(|url| url.to_string()).as_deref(), Some("amqp://u:***@h/v"));
        assert_eq!(config.retry.policy().interval(1), Duration::from_secs(90));
        assert_eq!(config.egress.allow_hosts.len(), 2);
        let tokens: Vec<_> =
            config.tokens.iter().map(|token| (token.name.as_str(), token.token.expose(), token.role)).collect();
        assert_eq!(tokens, [("ops", "t", Role::Operator), ("app", "s3cret", Role::Producer)]);
        assert_eq!(config.lti_keys[0].secret.expose(), "s3cret");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:0");
        let off = load("[amqp]\nurl = \"amqp://h\"\n", &[("PASSBACK_AMQP__URL", "")]).expect("it is right");
        assert!(off.amqp.url.is_none());
    }

    #[test]
    fn whoever_looks_after_a_worker_need_not_hold_its_secrets() {
        let local = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("passback.toml");
            fs::write(&path, text).expect("a file");
            Config::load_local(LoadOptions { path: Some(path), env: std::iter::empty() })
        };
        let text = "[store]\npath = \"jobs\"\n[http]\nlisten = \"127.0.0.1:9\"\n[amqp]\nurl = { env = \"UNSET\" }\n\
            [egress]\nca_file = \"/no/such/file\"\n[[lti_keys]]\nkey = \"k\"\nsecret = { env = \"UNSET\" }\n\
            [[tokens]]\nname = \"ops\"\ntoken = { file = \"/no/such/file\" }\nrole = \"operator\"\n";
        assert!(complaint(text, &[]).contains("UNSET"), "the worker needs them");
        let config = local(text).expect("nothing of these is needed");
        assert_eq!((config.store.path.to_str(), config.http.listen.port()), (Some("jobs"), 9));
        assert!(local("[htpp]\n").is_err_and(|error| error.to_string().contains("did you mean `http`?")));
        assert!(local("[http]\nlisten = 1\n").is_err());
    }

    #[test]
    fn a_complaint_names_the_place_the_setting_and_the_mend() {
        let check = |text: &str, expected: &str| assert_eq!(complaint(text, &[]), expected);
        check(
            "\n[amqp]\nprefech = 1\n",
            "passback.toml line 3: unknown key `prefech` in [amqp]; did you mean `prefetch`?",
        );
        check("[ampq]\n", "passback.toml line 1: unknown key `ampq`; did you mean `amqp`?");
        check(
            "[[tokens]]\nname = \"a\"\nrolle = 1\n",
            "passback.toml line 3: unknown key `rolle` in [[tokens]]; did you mean `role`?",
        );
        check(
            "[amqp]\nprefetch = \"s\"\n",
            "passback.toml line 2: [amqp] prefetch must be a whole number from 0 to 65535",
        );
        check(
            "[amqp]\nprefetch = 70000\n",
            "passback.toml line 2: [amqp] prefetch must be a whole number from 0 to 65535",
        );
        check("[amqp]\ndeclare = 1\n", "passback.toml line 2: [amqp] declare must be true or false");
        check(
            "[amqp]\nurl = 1\n",
            "passback.toml line 2: [amqp] url must be text, { env = \"NAME\" } or { file = \"PATH\" }",
        );
        check("[amqp]\nurl = \"http://h\"\n", "passback.toml line 2: [amqp] url must begin with amqp:// or amqps://");
        check("[amqp]\nqueues = [\"a\",\n\"a\"]\n", "passback.toml line 3: [amqp] queues names a queue twice");
        check("amqp = 1\n", "passback.toml line 1: [amqp] must be a table");
        check("[tokens]\nname = \"a\"\n", "passback.toml line 1: [[tokens]] must be a list in [ ]");
        check("[retry]\njitter = 1.5\n", "passback.toml line 2: [retry] jitter must be from 0 to 1");
        check("[retry]\njitter = nan\n", "passback.toml line 2: [retry] jitter must be from 0 to 1");
        check(
            "[retry]\npermanent = \"never\"\n",
            "passback.toml line 2: [retry] permanent must be one of \"retry\", \"flag\"",
        );
        check(
            "[retry]\nmax = 30\n",
            "passback.toml line 2: [retry] max must be a number and its unit (ms, s, m, h, d) in quotes, such as \"30s\" or \"1h30m\"",
        );
        check("[[tokens]]\nname = \"a\"\nrole = \"viewer\"\n", "passback.toml line 1: [[tokens]] needs `token`");
        check(
            "[[lti_keys]]\nkey = \"k\"\nsecret = { env = \"NO_SUCH\" }\n",
            "passback.toml line 3: [[lti_keys]] secret is taken from the environment variable NO_SUCH, which is not set",
        );
        check(
            "[[lti_keys]]\nkey = \"k\"\nsecret = \"a\"\n[[lti_keys]]\nkey = \"k\"\nsecret = \"b\"\n",
            "passback.toml line 5: [[lti_keys]] key \"k\" stands twice",
        );
        check(
            "[[signing_keys]]\nkid = \"k1\"\nprivate_key = \"hunter2\"\n",
            "passback.toml line 3: [[signing_keys]] private_key of the key \"k1\" must be an RSA private key of 2048 bits \
             or more in PEM; make one with `passback keys generate`",
        );
        check(
            "[[platforms]]\nname = \"m\"\n",
            "passback.toml line 2: [[platforms]] name needs `client_id` (an LTI 1.3 registration) or `origin` (a name for \
             the platform there) beside it",
        );
        check(
            "[[platforms]]\nname = \"m\"\norigin = \"https://a.example/x\"\n",
            "passback.toml line 3: [[platforms]] origin must be scheme, host and port alone, such as https://lms.example.edu",
        );
    }

    #[test]
    fn every_value_that_cannot_work_is_refused() {
        let check = |text: &str, expected: &str| {
            let told = complaint(text, &[]);
            assert!(told.contains(expected), "{text}: {told}");
        };
        check("[store]\npath = \"\"\n", "[store] path");
        check("[store]\nretain_delivered = \"0s\"\n", "[store] retain_delivered");
        check("[amqp]\nprefetch = 0\n", "[amqp] prefetch");
        check("[amqp]\nqueues = []\n", "[amqp] queues");
        check("[amqp]\nexchange = \"\"\n", "[amqp] exchange");
        check("[http]\nlisten = \"8080\"\n", "[http] listen");
        check("[delivery]\nconcurrency = 0\n", "[delivery] concurrency");
        check("[delivery]\nper_platform = 0\n", "[delivery] per_platform");
        check("[delivery]\ntimeout = \"0s\"\n", "[delivery] timeout");
        check("[retry]\nmultiplier = 0.5\n", "[retry] multiplier");
        check("[retry]\ninitial = \"0s\"\n", "[retry] initial");
        check("[retry]\nmax_retries = 1000\n", "[retry] max_retries");
        check("[egress]\nallow_hosts = [\"https://x\"]\n", "[egress] allow_hosts must be host names");
        check("[egress]\nca_file = \"/no/such\"\n", "[egress] ca_file");
        check("[egress]\nproxy = \"socks5://x:1\"\n", "[egress] proxy");
        check("[[tokens]]\nname = \"a\"\ntoken = \"\"\nrole = \"viewer\"\n", "[[tokens]] token is empty");
        check("[[platforms]]\nname = \"m\"\nclient_id = \"c\"\n", "needs `token_url`");
        check(
            "[[platforms]]\nname = \"m\"\norigin = \"https://x\"\nissuer = \"i\"\n",
            "[[platforms]] issuer needs `client_id`",
        );
        let registration =
            |name: &str| format!("[[platforms]]\nname = \"{name}\"\nclient_id = \"c\"\ntoken_url = \"https://t\"\n");
        check(&format!("{}{}", registration("a"), registration("b")), "of \"a\": no event could tell them apart");
        check(&format!("{}{}", registration("a"), registration("a")), "[[platforms]] name \"a\" stands twice");
    }

    #[test]
    fn a_variable_that_is_no_setting_is_named() {
        let check = |name: &str, value: &str, expected: &str| assert_eq!(complaint("", &[(name, value)]), expected);
        check(
            "PASSBACK_AMQP__PREFECH",
            "1",
            "environment variable PASSBACK_AMQP__PREFECH: unknown key `prefech` in [amqp]; did you mean `prefetch`?",
        );
        check(
            "PASSBACK_AMPQ__URL",
            "x",
            "environment variable PASSBACK_AMPQ__URL: unknown key `ampq`; did you mean `amqp`?",
        );
        check(
            "PASSBACK_AMQP__PREFETCH",
            "hunter2",
            "environment variable PASSBACK_AMQP__PREFETCH: [amqp] prefetch must be a whole number from 0 to 65535",
        );
        check(
            "PASSBACK_TOKENS__5__NAME",
            "x",
            "environment variable PASSBACK_TOKENS__5__NAME: [[tokens]] has no entry of this number, and it is not the next one",
        );
    }

    #[test]
    fn a_broken_file_never_shows_what_stands_in_it() {
        let right = "[amqp]\nurl = \"amqp://u:hunter2@h\"\n[[lti_keys]]\nkey = \"k\"\nsecret = \"hunter2\"\n[[tokens]]\n\
                     name = \"t\"\ntoken = \"hunter2\"\nrole = \"viewer\"\n[[signing_keys]]\nkid = \"k\"\n\
                     private_key = '''hunter2'''\n";
        let whole = |text: &str| if text.contains("hunter2") { "shown" } else { "hidden" };
        for at in 0..=right.len() {
            for put in ["", "\"", "=", "\n", "[", "{", "\\", "1", "#", "'", "."] {
                let broken = format!("{}{put}{}", &right[..at], &right[at..]);
                let cut = format!("{}{put}", &right[..at]);
                for text in [broken, cut] {
                    let Err(error) = load(&text, &[]) else { continue };
                    assert_eq!(whole(&format!("{error} {error:?}")), "hidden", "{text}: {error}");
                }
            }
        }
        let syntax = complaint("[amqp]\nurl = \"hunter2\n", &[]);
        assert_eq!(syntax, "passback.toml line 2, column 15: no valid TOML: invalid basic string, expected `\"`");
    }

    #[test]
    fn secrets_are_found_and_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        let pem = rsa::generate_signing_key().expect("a key");
        fs::write(&path, secrecy::ExposeSecret::expose_secret(&pem)).expect("it is written");
        let text = format!(
            "[[lti_keys]]\nkey = \"k\"\nsecret = {{ env = \"LTI_SECRET\" }}\nhosts = [\"*.example.edu\"]\n\
             [[signing_keys]]\nkid = \"1\"\nprivate_key = {{ file = '{}' }}\n\
             [[tokens]]\nname = \"t\"\ntoken = \"hunter2\"\nrole = \"viewer\"\n",
            path.display()
        );
        let config = load(&text, &[("LTI_SECRET", "hunter2")]).expect("it is right");
        assert_eq!(config.lti_keys[0].secret.expose(), "hunter2");
        assert_eq!(config.signing_keys[0].signing_key().kid, "1");
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("PRIVATE KEY"), "{shown}");
    }

    #[test]
    fn the_file_is_the_given_one_else_the_named_one_else_the_usual_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let usual = folder.path().join("passback.toml");
        let named = BTreeMap::from([("PASSBACK_CONFIG".to_owned(), "named.toml".to_owned())]);
        let none = BTreeMap::new();
        assert_eq!(find_file(None, &none, &usual), None);
        fs::write(&usual, "").expect("it is written");
        assert_eq!(find_file(None, &none, &usual), Some(usual.clone()));
        assert_eq!(find_file(None, &named, &usual), Some("named.toml".into()));
        assert_eq!(find_file(Some("given.toml".into()), &named, &usual), Some("given.toml".into()));
        let missing = LoadOptions { path: Some("no/such.toml".into()), env: std::iter::empty() };
        let told = Config::load(missing).map(|_| ()).expect_err("it is not there").to_string();
        assert!(told.starts_with("cannot read the configuration no/such.toml: "), "{told}");
    }
    #[test]
    fn the_example_has_every_setting_and_its_defaults_are_the_defaults() {
        const EXAMPLE: &str = include_str!("../../deploy/passback.toml");
        let sections = [
            include_str!("store.rs"),
            include_str!("amqp.rs"),
            include_str!("http.rs"),
            include_str!("delivery.rs"),
            include_str!("retry.rs"),
            include_str!("egress.rs"),
            include_str!("lti.rs"),
            include_str!("tokens.rs"),
        ];
        let fields = sections.iter().flat_map(|source| source.lines()).filter_map(|line| line.strip_prefix("    pub "));
        let fields: Vec<&str> = fields.filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        assert!(fields.len() > 40, "{fields:?}");
        for field in fields.iter().filter(|field| !field.contains(' ')) {
            assert!(EXAMPLE.contains(&format!("\n#{field} = ")), "{field} is not in deploy/passback.toml");
        }

        let untouched = load(EXAMPLE, &[]).expect("it is right as it is");
        assert_eq!(format!("{untouched:?}"), format!("{:?}", Config::default()));

        let folder = tempfile::tempdir().expect("a folder");
        let pem = rsa::generate_signing_key().expect("a key");
        for name in ["ca.pem", "2026-11.pem"] {
            fs::write(folder.path().join(name), secrecy::ExposeSecret::expose_secret(&pem)).expect("it is written");
        }
        let is_setting =
            |line: &str| line.starts_with("#[") || line.split_once(" = ").is_some_and(|(key, _)| !key.contains("# "));
        let uncommented =
            EXAMPLE.lines().map(|line| if is_setting(line) { line.trim_start_matches('#') } else { line });
        let text = uncommented.collect::<Vec<_>>().join("\n");
        let text = text.replace("/etc/passback", &folder.path().to_string_lossy());
        let env = [("PASSBACK_AMQP_URL", "amqp://h"), ("LTI_SECRET", "s"), ("PASSBACK_OPS_TOKEN", "t")];
        let config = load(&text, &env).expect("it is right without its comments");
        assert_eq!((config.platforms.len(), config.tokens.len(), config.egress.allow_hosts.len()), (2, 1, 2));
        let same = |ours: &dyn std::fmt::Debug, default: &dyn std::fmt::Debug| {
            assert_eq!(format!("{ours:?}"), format!("{default:?}"));
        };
        let default = Config::default();
        same(&config.store, &default.store);
        same(&config.http, &default.http);
        same(&config.delivery, &default.delivery);
        same(&config.retry, &default.retry);
        assert_eq!((config.amqp.prefetch, config.amqp.queues), (default.amqp.prefetch, default.amqp.queues));
    }
}
