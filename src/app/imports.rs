//! An import into the store of a worker that runs. A store is made anew for an import, so the worker stands aside: it ends
//! as at a stop, the import is made, and it starts again in the same process.
//!
//! The file that is to be imported lies in the folder of the store. What an operator has asked for has a name there that
//! a start takes up: a kill at any moment either leaves it to the next start, or the import is whole.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use tracing::{error, info};

use super::commands::chain;
use crate::{
    adapters::{
        clock::SystemClock,
        store::import::{self as importing, ImportError, Imported, Wholeness},
    },
    config::Config,
    ports::Clock as _,
    surfaces::admin::import::{Importing, NotAccepted, Standing, Tally},
};

/// What a command puts into the folder of the store before it asks.
pub(super) const BROUGHT: &str = "import.brought";
/// What an operator has asked for.
const WHOLE: &str = "import.whole";
/// The same, of a file that may be taken without its end.
const PARTIAL: &str = "import.partial";

/// What is to be imported, and what came of the last import of this process.
pub(super) struct Imports {
    folder: PathBuf,
    standing: Mutex<Standing>,
    /// What was read at the last reload: after an import the worker goes by that.
    reloaded: Mutex<Option<Config>>,
    asked: Notify,
    /// Whether somebody would stop the service for an import.
    is_served: AtomicBool,
    /// Whether the process is to end.
    is_ending: AtomicBool,
}

impl Imports {
    pub(super) fn of(config: &Config) -> Self {
        let folder = config.store.path.clone();
        let (standing, reloaded) = (Mutex::default(), Mutex::default());
        let (is_served, is_ending) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { folder, standing, reloaded, asked: Notify::new(), is_served, is_ending }
    }

    /// The process is to end: an import that is being made is left to the next start.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// Whether the process is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Notes what a reload has read.
    pub(super) fn was_read(&self, config: &Config) {
        *self.reloaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(config.clone());
    }

    /// The configuration that the process was started with, with the keys, platforms and tokens of the last reload.
    pub(super) fn in_effect(&self, started: &Config) -> Config {
        let reloaded = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Config { lti, lti_keys, signing_keys, platforms, tokens, .. }) = reloaded else {
            return started.clone();
        };
        Config { lti, lti_keys, signing_keys, platforms, tokens, ..started.clone() }
    }

    /// Waits until an import is asked for. From now on one may be.
    pub(super) async fn asked(&self) {
        self.is_served.store(true, Ordering::Release);
        self.asked.notified().await;
    }

    /// Makes the import that was asked for, now or before a kill; there may be none. Nobody may have the store open.
    /// Blocks.
    pub(super) fn make(&self, config: &Config) {
        for (name, wholeness) in [(WHOLE, Wholeness::Needed), (PARTIAL, Wholeness::Waived)] {
            let path = self.folder.join(name);
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    self.told(Standing::Failed(format!("what was to be imported cannot be read: {error}")));
                    continue;
                }
            };
            *self.standing() = Standing::Running;
            info!("an import was asked for; nothing is taken in and no grade is sent until it is made");
            let scene = (config.rules(), SystemClock.now());
            let stop = || self.is_ending();
            let made = importing::import_unless(&stop, &self.folder, &mut file, wholeness, scene, &mut |_, _, _| {});
            // A store that does not open now is another's, or has to be mended first; then no service starts either.
            let is_over = !matches!(made, Err(ImportError::Open(_) | ImportError::Stopped));
            if let Err(error) = if is_over { remove(&self.folder, &path) } else { Ok(()) } {
                error!(path = %path.display(), %error, "what was imported cannot be removed: remove it by hand");
            }
            self.told(match made {
                Ok(made) => Standing::Done(tally(&made)),
                Err(ImportError::Stopped) => Standing::Waiting,
                Err(error) => Standing::Failed(chain(&error)),
            });
        }
    }

    fn told(&self, standing: Standing) {
        match &standing {
            Standing::Failed(why) => error!(error = why, "nothing was imported"),
            Standing::Done(Tally { imported, jobs, .. }) => info!(imported, jobs, "imported"),
            Standing::Waiting => info!("the import was broken off, and waits for the next start"),
            _ => {}
        }
        *self.standing() = standing;
    }

    /// Nothing panics while it is held.
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Importing for Imports {
    fn accept(&self, partial: bool) -> Result<(), NotAccepted> {
        let mut standing = self.standing();
        if !self.is_served.load(Ordering::Acquire) {
            return Err(NotAccepted::NotServed);
        }
        if matches!(*standing, Standing::Waiting | Standing::Running) {
            return Err(NotAccepted::UnderWay);
        }
        let name = if partial { PARTIAL } else { WHOLE };
        let accepted = fs::rename(self.folder.join(BROUGHT), self.folder.join(name)).and_then(|()| sync(&self.folder));
        accepted.map_err(|error| match error.kind() {
            ErrorKind::NotFound => NotAccepted::NothingThere(self.folder.join(BROUGHT)),
            _ => NotAccepted::Failed(error.to_string()),
        })?;
        *standing = Standing::Waiting;
        Ok(())
    }

    fn begin(&self) {
        self.asked.notify_one();
    }

    fn standing(&self) -> Standing {
        Imports::standing(self).clone()
    }
}

fn tally(made: &Imported) -> Tally {
    let Imported { jobs, known, repeated, in_all, unread } = *made;
    Tally { imported: jobs, already_there: known, event_already_there: repeated, jobs: in_all, unread }
}

fn remove(folder: &Path, path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_a_stop_breaks_off_is_left_to_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.store.path = folder.path().to_owned();
        let path = folder.path().join(PARTIAL);
        fs::write(&path, "{\"kind\":\"store\",\"format\":1,\"store_format\":1,\"version\":\"0\"}\n").expect("a write");
        let names =
            || fs::read_dir(folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect::<Vec<_>>();
        let told = Imports::of(&config);
        told.end();
        told.make(&config);
        assert!(matches!(*told.standing(), Standing::Waiting));
        assert_eq!(names(), [PARTIAL], "it waits, and nothing else is there");
        let next = Imports::of(&config);
        next.make(&config);
        let standing = next.standing().clone();
        assert!(matches!(standing, Standing::Done(_)) && !path.exists(), "{standing:?}");
    }
}
