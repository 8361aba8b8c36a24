//! The effective configuration as a file: every setting with its value and where it comes from. A secret is shown as its
//! source, or as `***` where it stands in the file or in a variable itself; so what is shown can be shown to anybody. Whoever
//! looks need not hold the secrets: one that is not there is marked.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use super::{
    Config,
    duration::format as span,
    load::Sources,
    retry::PermanentConfig,
    secret::SecretUrl,
    tree::{Node, Place, Value},
};

/// A configuration, with where each of its settings comes from.
pub struct Shown {
    /// What is effective.
    pub config: Config,
    /// Where it was taken from.
    pub sources: Sources,
    /// The settings whose secrets are not there, and why, in few words. In their places the configuration has something else.
    pub missing: BTreeMap<String, String>,
    pub(super) tree: Node,
}

impl Shown {
    /// As a file.
    pub fn text(&self) -> String {
        let Config { store, amqp, http, delivery, retry, egress, lti, .. } = &self.config;
        let mut page = Page { tree: &self.tree, missing: &self.missing, section: "", text: self.head() };
        page.section("store");
        page.set("path", &quoted(store.path.display()));
        page.set("retain_delivered", &quoted(span(store.retain_delivered)));
        page.section("amqp");
        page.secret_url("url", amqp.url.as_ref());
        page.set("queues", &list(&amqp.queues));
        page.maybe("exchange", amqp.exchange.as_ref().map(quoted));
        page.set("routing_key", &quoted(&amqp.routing_key));
        page.set("prefetch", &amqp.prefetch);
        page.set("declare", &amqp.declare);
        page.maybe("outcomes_exchange", amqp.outcomes_exchange.as_ref().map(quoted));
        page.section("http");
        page.set("listen", &quoted(http.listen));
        page.section("delivery");
        page.set("concurrency", &delivery.concurrency);
        page.set("per_platform", &delivery.per_platform);
        page.set("timeout", &quoted(span(delivery.timeout)));
        page.set("drain", &quoted(span(delivery.drain)));
        page.set("supersede", &delivery.supersede);
        page.section("retry");
        page.set("max_retries", &retry.max_retries);
        page.set("initial", &quoted(span(retry.initial)));
        page.set("multiplier", &format!("{:?}", retry.multiplier));
        page.set("max", &quoted(span(retry.max)));
        page.set("jitter", &format!("{:?}", retry.jitter));
        page.set("permanent", &if retry.permanent == PermanentConfig::Retry { "\"retry\"" } else { "\"flag\"" });
        page.set("hold", &quoted(span(retry.hold)));
        page.section("egress");
        page.set("allow_http", &egress.allow_http);
        page.set("allow_private", &egress.allow_private);
        page.set("allow_hosts", &list(&egress.allow_hosts));
        page.maybe("ca_file", egress.ca_file.as_ref().map(|path| quoted(path.display())));
        page.secret_url("proxy", egress.proxy.as_ref());
        page.section("lti");
        page.set("allow_unregistered", &lti.allow_unregistered);
        self.lists(&mut page);
        page.text
    }

    fn lists(&self, page: &mut Page<'_>) {
        let Config { lti_keys, signing_keys, platforms, tokens, .. } = &self.config;
        for (index, key) in lti_keys.iter().enumerate() {
            page.entry("lti_keys", index, |page| {
                page.set("key", &quoted(&key.key));
                page.secret("secret");
                page.set("hosts", &list(&key.hosts));
            });
        }
        for (index, key) in signing_keys.iter().enumerate() {
            page.entry("signing_keys", index, |page| {
                page.set("kid", &quoted(&key.kid));
                page.secret("private_key");
            });
        }
        for (index, platform) in platforms.iter().enumerate() {
            page.entry("platforms", index, |page| {
                page.set("name", &quoted(&platform.name));
                page.maybe("issuer", platform.issuer.as_ref().map(quoted));
                page.maybe("client_id", platform.client_id.as_ref().map(quoted));
                page.maybe("deployment_id", platform.deployment_id.as_ref().map(quoted));
                page.maybe("token_url", platform.token_url.as_ref().map(|url| quoted(url.as_url())));
                page.maybe("token_aud", platform.token_aud.as_ref().map(quoted));
                if platform.client_id.is_some() {
                    page.set("hosts", &list(&platform.hosts));
                }
                page.maybe("origin", platform.origin.as_ref().map(|origin| quoted(origin.as_str())));
            });
        }
        for (index, token) in tokens.iter().enumerate() {
            page.entry("tokens", index, |page| {
                page.set("name", &quoted(&token.name));
                page.secret("token");
                page.set("role", &quoted(token.role.name()));
            });
        }
    }

    fn head(&self) -> String {
        let Sources { file, variables, .. } = &self.sources;
        let file = file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
        let variables = if variables.is_empty() { String::new() } else { format!(", {}", variables.join(", ")) };
        let version = env!("CARGO_PKG_VERSION");
        format!("# The effective configuration of passback {version}, of {}\n", shown(&format!("{file}{variables}")))
    }
}

/// The page being written.
struct Page<'a> {
    tree: &'a Node,
    missing: &'a BTreeMap<String, String>,
    /// With the number of the entry, where it is a list.
    section: &'a str,
    text: String,
}

impl<'a> Page<'a> {
    fn section(&mut self, name: &'a str) {
        self.section = name;
        self.line(&format!("\n[{name}]"));
    }

    fn entry(&mut self, list: &str, index: usize, write: impl FnOnce(&mut Page<'_>)) {
        let section = format!("{list}.{index}");
        let text = std::mem::take(&mut self.text);
        let mut page = Page { tree: self.tree, missing: self.missing, section: &section, text };
        page.line(&format!("\n[[{list}]]"));
        write(&mut page);
        self.text = page.text;
    }

    fn set(&mut self, key: &str, value: &dyn Display) {
        let source = self.source(key);
        self.setting(&format!("{key} = {value}"), &source);
    }

    fn maybe(&mut self, key: &str, value: Option<String>) {
        match value {
            Some(value) => self.set(key, &value),
            None => self.setting(&format!("#{key} ="), "not set"),
        }
    }

    /// What is no reference is not shown.
    fn secret(&mut self, key: &str) {
        let value = self.reference(key).unwrap_or_else(|| "\"***\"".to_owned());
        self.set(key, &value);
    }

    fn secret_url(&mut self, key: &str, url: Option<&SecretUrl>) {
        let shown = url.map(|url| self.reference(key).unwrap_or_else(|| quoted(url)));
        self.maybe(key, shown);
    }

    /// `{ env = "NAME" }` or `{ file = "PATH" }`, where the secret is given so.
    fn reference(&self, key: &str) -> Option<String> {
        let node = self.tree.find(&format!("{}.{key}", self.section))?;
        let inline;
        let value = match &node.value {
            Value::Untyped(text) => {
                inline = Node::parse_inline(text, &node.place)?;
                &inline.value
            }
            value => value,
        };
        match value {
            Value::Table(members) => match members.as_slice() {
                [(kind, Node { value: Value::Text(of) | Value::Untyped(of), .. })] => {
                    Some(format!("{{ {} = {} }}", kind.name, quoted(of)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn source(&self, key: &str) -> String {
        let path = format!("{}.{key}", self.section);
        let missing = self.missing.get(&path).map_or_else(String::new, |why| format!(" ({why})"));
        self.place_of(&path) + &missing
    }

    fn place_of(&self, path: &str) -> String {
        match self.tree.find(path).map(|node| &node.place) {
            Some(Place::File { line, .. }) => format!("line {line}"),
            Some(Place::Variable(name)) => name.to_string(),
            // An entry of a list that a variable holds as a whole.
            Some(Place::Defaults) | None => match self.tree.place_of(path) {
                Place::Variable(name) if self.section.contains('.') => name.to_string(),
                _ => "default".to_owned(),
            },
        }
    }

    fn setting(&mut self, setting: &str, source: &str) {
        self.line(&format!("{setting:<46}  # {source}"));
    }

    fn line(&mut self, line: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "{}", line.trim_end());
    }
}

/// A text as TOML has it, on one line and without what could steer a terminal.
fn quoted(text: impl Display) -> String {
    let mut quoted = String::from("\"");
    for letter in text.to_string().chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() || is_unseen(letter) => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn list<T: Display>(entries: &[T]) -> String {
    let entries: Vec<String> = entries.iter().map(quoted).collect();
    format!("[{}]", entries.join(", "))
}

fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() || is_unseen(letter) { '?' } else { letter }).collect()
}

/// Marks that turn the direction of writing.
fn is_unseen(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::LoadOptions;

    fn shown_of(text: &str, env: &[(&str, &str)]) -> Shown {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passback.toml");
        std::fs::write(&path, text).expect("a file");
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load_to_show(LoadOptions { path: Some(path), env: env.into_iter() }).expect(text)
    }

    const SECRETS: &str = "[amqp]\nurl = \"amqp://u:hunter2@h/v?password=hunter2\"\nqueues = [\"a\\\"b\"]\n\
        [egress]\nproxy = \"http://u:hunter2@proxy\"\n\
        [[lti_keys]]\nkey = \"k\"\nsecret = \"hunter2\"\n\
        [[lti_keys]]\nkey = \"l\"\nsecret = { env = \"LTI_SECRET\" }\nhosts = [\"*.example.edu\"]\n\
        [[platforms]]\nname = \"canvas\"\norigin = \"https://canvas.example.edu\"\n\
        [[tokens]]\nname = \"ops\"\ntoken = \"hunter2-too\"\nrole = \"operator\"\n";

    #[test]
    fn no_secret_is_shown_and_each_setting_has_its_source() {
        let env = [
            ("LTI_SECRET", "hunter2-three"),
            ("PASSBACK_AMQP__PREFETCH", "7"),
            ("PASSBACK_TOKENS__1__NAME", "app"),
            ("PASSBACK_TOKENS__1__TOKEN", "hunter2-four"),
            ("PASSBACK_TOKENS__1__ROLE", "producer"),
        ];
        let text = shown_of(SECRETS, &env).text();
        assert!(!text.contains("hunter2"), "{text}");
        let has = |setting: &str, source: &str| {
            let line =
                text.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{setting}: {text}"));
            assert!(line.ends_with(&format!("# {source}")), "{line}");
        };
        has("url = \"amqp://u:***@h/v\"", "line 2");
        has("queues = [\"a\\\"b\"]", "line 3");
        has("prefetch = 7", "PASSBACK_AMQP__PREFETCH");
        has("listen = \"127.0.0.1:8080\"", "default");
        has("#exchange =", "not set");
        has("proxy = \"http://u:***@proxy/\"", "line 5");
        has("secret = \"***\"", "line 8");
        has("secret = { env = \"LTI_SECRET\" }", "line 11");
        has("hosts = [\"*.example.edu\"]", "line 12");
        has("token = \"***\"", "line 18");
        assert!(text.contains("# PASSBACK_TOKENS__1__TOKEN") && text.contains("PASSBACK_AMQP__PREFETCH, "), "{text}");
        let whole = [("PASSBACK_TOKENS", "[{ name = \"a\", token = \"hunter2\", role = \"viewer\" }]")];
        let text = shown_of("", &whole).text();
        assert!(!text.contains("hunter2") && text.contains("token = \"***\""), "{text}");
        let line = text.lines().find(|line| line.starts_with("token =")).expect("a line");
        assert!(line.ends_with("# PASSBACK_TOKENS"), "{line}");
    }

    #[test]
    fn a_secret_that_is_not_there_is_marked_and_what_is_wrong_is_refused() {
        let text = "[amqp]\nurl = { env = \"UNSET_URL\" }\n\
            [[lti_keys]]\nkey = \"k\"\nsecret = { env = \"UNSET\" }\n\
            [[signing_keys]]\nkid = \"1\"\nprivate_key = { file = \"/no/such/1.pem\" }\n\
            [[signing_keys]]\nkid = \"2\"\nprivate_key = { file = \"/no/such/2.pem\" }\n\
            [[tokens]]\nname = \"ops\"\ntoken = { env = \"UNSET\" }\nrole = \"operator\"\n\
            [[tokens]]\nname = \"app\"\ntoken = { env = \"UNSET\" }\nrole = \"producer\"\n";
        let shown = shown_of(text, &[("PASSBACK_EGRESS__PROXY", "{ env = \"UNSET_PROXY\" }")]);
        let text = shown.text();
        let has = |setting: &str, source: &str| {
            let is_it = |line: &str| line.starts_with(setting) && line.ends_with(&format!("# {source}"));
            assert!(text.lines().any(is_it), "{setting} {source}: {text}");
        };
        has("url = { env = \"UNSET_URL\" }", "line 2 (not set)");
        has("proxy = { env = \"UNSET_PROXY\" }", "PASSBACK_EGRESS__PROXY (not set)");
        has("secret = { env = \"UNSET\" }", "line 5 (not set)");
        has("private_key = { file = \"/no/such/1.pem\" }", "line 8 (not there)");
        has("private_key = { file = \"/no/such/2.pem\" }", "line 11 (not there)");
        has("token = { env = \"UNSET\" }", "line 18 (not set)");
        assert!(shown.missing.len() == 7 && !text.contains("not-set"), "{text}");
        let whole = [("PASSBACK_TOKENS", "[{ name = \"a\", token = { env = \"UNSET\" }, role = \"viewer\" }]")];
        assert!(shown_of("", &whole).text().contains("# PASSBACK_TOKENS (not set)"));
        let refused = |text: &str, words: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("passback.toml");
            std::fs::write(&path, text).expect("a file");
            let loaded = Config::load_to_show(LoadOptions { path: Some(path), env: std::iter::empty() });
            let error = loaded.err().expect(words).to_string();
            assert!(error.contains(words), "{error}");
        };
        let key = "[[lti_keys]]\nkey = \"k\"\nsecret = { env = \"UNSET\" }\n";
        refused(&format!("{key}{key}"), "[[lti_keys]] key \"k\" stands twice");
        refused(&format!("{key}host = 1\n"), "did you mean `hosts`?");
        refused("[[lti_keys]]\nkey = \"k\"\nsecret = { enw = \"UNSET\" }\n", "[[lti_keys]] secret must be text");
        refused("[[tokens]]\nname = \"a\"\ntoken = \"\"\nrole = \"viewer\"\n", "[[tokens]] token is empty");
    }

    #[test]
    fn what_is_shown_is_a_file_with_the_same_settings() {
        let env = [("LTI_SECRET", "s"), ("PASSBACK_RETRY__JITTER", "0"), ("PASSBACK_STORE__PATH", "a\u{7}b")];
        let first = shown_of(SECRETS, &env);
        let without_sources = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| line.split("  #").next().unwrap_or(line).trim_end().to_owned()).collect::<Vec<_>>()
        };
        let again = shown_of(&first.text(), &[("LTI_SECRET", "s")]);
        assert_eq!(without_sources(&first.text()), without_sources(&again.text()));
        assert_eq!(format!("{:?}", first.config), format!("{:?}", again.config));
    }
}
