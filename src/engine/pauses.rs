//! Pauses of platforms that no grade has gone to yet: where such a platform stands nobody knows, so its name is paused,
//! and each address that turns out to be its own is paused before the first grade can go there.
//!
//! The note of such a pause stays until the name is resumed, so a worker that dies in between forgets nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::{
        destination::Origin,
        drawer::{Drawer, Note},
        ledger::Work,
        time::Timestamp,
    },
    ports::StoreError,
};

use super::{
    EngineHandle, World,
    audit::{noted, put},
    manage::{NotStored, in_time},
};

/// Names that are read: far more than a configuration has.
const NAMES_MAX: usize = 10_000;

/// What the note of a paused name says.
#[derive(Serialize, Deserialize)]
struct Paused {
    name: String,
    since: Timestamp,
}

impl EngineHandle {
    /// Stops the deliveries of whatever will have this name, and has that on disk. `note` is for the audit log.
    pub async fn pause_name(&self, name: &str, note: Option<Note>) -> Result<(), NotStored> {
        let paused = Paused { name: name.to_owned(), since: self.now() };
        let record = serde_json::to_vec(&paused).expect("a name and a time are JSON");
        let work = put(Drawer::Paused, Note { key: key_of(name), record });
        in_time(self.shared.world.order(noted(work, note))).await.map(drop)
    }

    /// Lets them go on, and has that on disk. What is known of its addresses is resumed by itself.
    pub async fn resume_name(&self, name: &str, note: Option<Note>) -> Result<(), NotStored> {
        let work = Work::PutNote { drawer: Drawer::Paused, key: key_of(name), record: None };
        in_time(self.shared.world.order(noted(work, note))).await.map(drop)
    }

    /// The names that are paused, and since when.
    pub fn paused_names(&self) -> Result<BTreeMap<String, Timestamp>, StoreError> {
        let notes = self.shared.world.store.notes(Drawer::Paused, None, NAMES_MAX)?;
        let read = |note: &Note| serde_json::from_slice(&note.record).ok().map(|Paused { name, since }| (name, since));
        Ok(notes.iter().filter_map(read).collect())
    }
}

/// Whether the configured name of a platform is paused.
pub(super) fn is_paused(world: &World, origin: &Origin, client_id: Option<&str>) -> Result<bool, StoreError> {
    match world.registry.platform_name(origin, client_id) {
        Some(name) => world.store.note(Drawer::Paused, &key_of(&name)).map(|note| note.is_some()),
        None => Ok(false),
    }
}

/// Names may be longer than keys.
fn key_of(name: &str) -> Vec<u8> {
    Sha256::digest(name.as_bytes()).to_vec()
}
