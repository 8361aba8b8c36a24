//! `POST /api/v1/jobs/{id}/replay` and `…/discard`: one job, at an operator's word.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    domain::{
        audit::{Action, Entry, Word},
        drawer::Note,
        job::{Job, JobId},
        time::Timestamp,
    },
    engine::manage::NotDone,
    problem::Problem,
};

use super::{
    Surface, not_stored,
    segment::Segment,
    show_job::{no_such_job, read_id},
    signed::{Signed, note_of},
    view::{self, WholeJobView},
    waits,
};

pub(super) async fn replay(
    State(surface): State<Surface>,
    Segment(id): Segment,
    Signed(word): Signed,
) -> Result<Json<WholeJobView>, Problem> {
    let id = read_id(&id)?;
    let done = surface.engine.replay(id, Some(note(&surface, id, &word, Action::Replay)?)).await;
    answer(&surface, done, "replayed").await
}

pub(super) async fn discard(
    State(surface): State<Surface>,
    Segment(id): Segment,
    Signed(word): Signed,
) -> Result<Json<WholeJobView>, Problem> {
    let id = read_id(&id)?;
    let done = surface.engine.discard(id, Some(note(&surface, id, &word, Action::Discard)?)).await;
    answer(&surface, done, "discarded").await
}

fn note(surface: &Surface, id: JobId, word: &Word, action: Action) -> Result<Note, Problem> {
    note_of(surface, Entry::new(Timestamp::default(), word, action).about_job(id))
}

async fn answer(surface: &Surface, done: Result<Arc<Job>, NotDone>, verb: &str) -> Result<Json<WholeJobView>, Problem> {
    match done {
        Ok(job) => {
            // A loop that does not answer now holds nobody up.
            let picture = surface.engine.look().await.unwrap_or_default();
            Ok(Json(view::whole(&job, &surface.labels).waiting(waits::of(&job, &picture))))
        }
        Err(NotDone::NoSuchJob(id)) => Err(no_such_job(id)),
        Err(NotDone::Store(error)) => Err(not_stored(&error)),
        Err(NotDone::Refused(refused)) if refused.under_way => {
            let detail = format!("the job has an attempt under way: it can be {verb} when that has ended");
            Err(Problem::new(StatusCode::CONFLICT, detail).with("state", refused.state.name()))
        }
        Err(NotDone::Refused(refused)) => {
            let state = refused.state.name();
            let detail = format!("the job is {state}: only a flagged or a queued job can be {verb}");
            Err(Problem::new(StatusCode::CONFLICT, detail).with("state", state))
        }
    }
}
