//! `POST /api/v1/import` and `GET /api/v1/import`: a file that `passback import` has put into the folder of the store is
//! imported. The worker stands aside for it, and answers again when it is made.

use std::path::PathBuf;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    domain::{
        audit::{Action, Entry},
        time::Timestamp,
    },
    problem::Problem,
};

use super::{
    Surface, not_stored,
    signed::{note_of, parse, read, word},
};

/// Imports into the store of this worker.
pub trait Importing: Send + Sync {
    /// Notes that what lies in the folder of the store is to be imported. `partial` waives its end. It outlives a kill.
    fn accept(&self, partial: bool) -> Result<(), NotAccepted>;
    /// Lets what was accepted begin.
    fn begin(&self);
    /// How the last one stands.
    fn standing(&self) -> Standing;
}

/// How an import stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// There was none since the start of the process.
    #[default]
    Nothing,
    /// It was asked for; the worker stops.
    Waiting,
    /// It is made.
    Running,
    /// It is made, and this came of it.
    Done(Tally),
    /// Nothing was imported.
    Failed(String),
}

/// What an import came to, in jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// New in the store.
    pub imported: u64,
    /// There already, and left as they were.
    pub already_there: u64,
    /// Left out, as their event was there under another id.
    pub event_already_there: u64,
    /// In the store now.
    pub jobs: u64,
    /// Jobs and records that could not be read when the file was written.
    pub unread: u64,
}

/// Why no import begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Nobody would stop the worker for it.
    #[error("this worker takes no imports: stop it, and import then")]
    NotServed,
    /// There is one.
    #[error("an import is under way")]
    UnderWay,
    /// There is no file.
    #[error("there is no {0}; `passback import FILE` puts it there and asks")]
    NothingThere(PathBuf),
    /// The file cannot be moved.
    #[error("the file cannot be taken: {0}")]
    Failed(String),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    note: Option<String>,
}

pub(super) async fn begin(
    State(surface): State<Surface>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (who, body) = read(request).await?;
    let Wish { partial, note } = match body {
        Some(body) => parse(&body, r#"{"partial": false, "note": "…"} or nothing"#)?,
        None => Wish::default(),
    };
    let entry = Entry::new(Timestamp::default(), &word(&who, note.as_deref())?, Action::Import);
    let entry = note_of(&surface, entry)?;
    surface.imports.accept(partial).map_err(|why| Problem::new(StatusCode::CONFLICT, why.to_string()))?;
    // It was accepted, so it will be made, whether or not the log can be written.
    let noted = surface.engine.write_down(entry).await;
    surface.imports.begin();
    noted.map_err(|error| not_stored(&error))?;
    Ok((StatusCode::ACCEPTED, Json(view(&surface.imports.standing()))))
}

pub(super) async fn show(State(surface): State<Surface>) -> Json<Value> {
    Json(view(&surface.imports.standing()))
}

/// The names of all standings.
pub(super) const STANDINGS: [&str; 5] = ["none", "waiting", "running", "done", "failed"];

fn view(standing: &Standing) -> Value {
    let [none, waiting, running, done, failed] = STANDINGS;
    let (state, result, error) = match standing {
        Standing::Nothing => (none, None, None),
        Standing::Waiting => (waiting, None, None),
        Standing::Running => (running, None, None),
        Standing::Done(tally) => (done, Some(tally), None),
        Standing::Failed(why) => (failed, None, Some(why)),
    };
    json!({ "state": state, "result": result, "error": error })
}
