//! `POST /api/v1/replay` and `POST /api/v1/discard`: all flagged jobs that pass a filter, at once or in the background.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    domain::{
        audit::{Entry, Word},
        bulk::{Change, Task},
        ledger::Mode,
    },
    engine::{
        bulk::NotBegun,
        manage::{BulkCount, NotStored},
    },
    ports::JobFilter,
    problem::Problem,
};

use super::{
    Surface, bulk, not_stored,
    params::Filter,
    signed::{self, note_of},
};

/// The body of the call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    filter: Box<RawValue>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    background: bool,
    #[serde(default)]
    note: Option<String>,
}

/// What is asked for, understood.
struct Wish {
    change: Change,
    word: Word,
    /// The filter as it was given.
    written: Value,
    /// As the store takes it; none where nothing can pass.
    filter: Option<JobFilter>,
}

pub(super) async fn replay(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    change(&surface, Change::Replay, request).await
}

pub(super) async fn discard(State(surface): State<Surface>, request: Request) -> Result<Response, Problem> {
    change(&surface, Change::Discard, request).await
}

async fn change(surface: &Surface, change: Change, request: Request) -> Result<Response, Problem> {
    const WANTED: &str = r#"{"filter": {…}, "dry_run": false, "background": false, "note": "…"}"#;
    let (who, bytes) = signed::read(request).await?;
    let Body { filter, dry_run, background, note } = signed::parse(&bytes.unwrap_or_default(), WANTED)?;
    let filter: Filter =
        signed::parse(filter.get().as_bytes(), r#""filter": {…}, with the names of GET /api/v1/jobs"#)?;
    let word = signed::word(&who, note.as_deref())?;
    let written = filter.written()?;
    let wish = Wish { change, word, written, filter: filter.resolve(surface)? };
    match (dry_run, background) {
        (true, true) => {
            let detail = "dry_run and background do not go together: a dry run changes nothing and is soon done";
            Err(Problem::new(StatusCode::BAD_REQUEST, detail).with("parameter", "background"))
        }
        (true, false) => Ok(numbers(change, carry_out(surface, &wish, Mode::Rehearsal).await?)),
        (false, false) => Ok(numbers(change, in_earnest(surface, &wish).await?)),
        (false, true) => in_background(surface, wish).await,
    }
}

/// The audit log has the change before it begins, and at its end how many it were.
async fn in_earnest(surface: &Surface, wish: &Wish) -> Result<BulkCount, Problem> {
    let entry = Entry::new(surface.engine.now(), &wish.word, wish.change.action());
    let entry = Entry { filter: Some(wish.written.clone()), ..entry };
    let note = note_of(surface, entry.clone())?;
    let stored = |error: NotStored| not_stored(&error);
    surface.engine.write_down(note.clone()).await.map_err(stored)?;
    let count = carry_out(surface, wish, Mode::Earnest).await?;
    let record = Entry { count: Some(count.matched), ..entry }.record();
    surface.engine.write_down(crate::domain::drawer::Note { record, ..note }).await.map_err(stored)?;
    Ok(count)
}

async fn carry_out(surface: &Surface, wish: &Wish, mode: Mode) -> Result<BulkCount, Problem> {
    let Some(filter) = wish.filter.clone() else { return Ok(BulkCount::default()) };
    let count = match wish.change {
        Change::Replay => surface.engine.replay_many(filter, mode).await,
        Change::Discard => surface.engine.discard_many(filter, mode).await,
    };
    count.map_err(|error| not_stored(&error))
}

async fn in_background(surface: &Surface, wish: Wish) -> Result<Response, Problem> {
    let Wish { change, word, written, filter } = wish;
    // A name that nobody has is a selection without jobs.
    let origins = filter.map_or(Some(Vec::new()), |filter| filter.origins);
    let task = Task::new(change, word, written, origins, surface.engine.now());
    let id = surface.engine.begin(&task).await.map_err(|error| match error {
        NotBegun::Busy => Problem::new(StatusCode::CONFLICT, error.to_string()),
        NotBegun::TooLarge => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        NotBegun::Store(error) => not_stored(&error),
    })?;
    let place = format!("/api/v1/replays/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(bulk::view(id, &task))).into_response())
}

fn numbers(change: Change, count: BulkCount) -> Response {
    let BulkCount { matched, replayed, superseded, discarded } = count;
    let numbers = match change {
        Change::Replay => json!({"matched": matched, "replayed": replayed, "superseded": superseded}),
        Change::Discard => json!({"matched": matched, "discarded": discarded}),
    };
    Json(numbers).into_response()
}
