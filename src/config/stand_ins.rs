//! Stand-ins for secrets that are not there, so that a configuration can be shown where only the worker has them. They serve
//! for reading and checking the rest, and never leave this process.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::{
    LISTS, rsa, secret,
    tree::{Node, Value},
};

/// A tree in which no secret is missing.
pub(super) struct Filled {
    pub(super) tree: Node,
    /// The settings whose secrets are not there, and why, in few words.
    pub(super) missing: BTreeMap<String, String>,
}

/// Puts a stand-in where a secret is taken from somewhere and is not there.
pub(super) fn fill_in(tree: &Node, env: &BTreeMap<String, String>) -> Filled {
    let mut filled = Filled { tree: tree.clone(), missing: BTreeMap::new() };
    for list in LISTS {
        // One that a variable holds as a whole has entries only when it is opened.
        let whole = tree.find(list).and_then(Node::opened);
        if let Some(whole) = whole {
            filled.tree.set(&[list], whole);
        }
    }
    filled.put("amqp.url", env, || "amqp://not-set".to_owned());
    filled.put("egress.proxy", env, || "http://not-set".to_owned());
    let mut private_key = None;
    for index in 0.. {
        let entry = |list: &str| filled.tree.find(&format!("{list}.{index}")).is_some();
        if !LISTS.into_iter().any(entry) {
            break;
        }
        filled.put(&format!("lti_keys.{index}.secret"), env, || "not-set".to_owned());
        // No two tokens may be the same.
        filled.put(&format!("tokens.{index}.token"), env, || format!("not-set-{index}"));
        filled
            .put(&format!("signing_keys.{index}.private_key"), env, || private_key.get_or_insert_with(any_key).clone());
    }
    filled
}

impl Filled {
    fn put(&mut self, setting: &str, env: &BTreeMap<String, String>, stand_in: impl FnOnce() -> String) {
        let Some(node) = self.tree.find(setting) else { return };
        let Some(why) = secret::missing(node, env) else { return };
        let leaf = Node { place: node.place.clone(), value: Value::Text(stand_in()) };
        // It is there, so there is room for it.
        self.tree.set(&setting.split('.').collect::<Vec<_>>(), leaf);
        self.missing.insert(setting.to_owned(), why);
    }
}

/// A key like another. Where none can be made, the setting is told as wrong.
fn any_key() -> String {
    rsa::generate_signing_key().map(|key| key.expose_secret().to_owned()).unwrap_or_default()
}
