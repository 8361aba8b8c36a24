//! `POST /api/v1/backup`: a copy of the store, as a stream of bytes that `passback backup` makes a store of. Who took one
//! stands in the audit log before the first byte goes out: it holds every student's grade.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::{
    domain::{
        audit::{Action, Entry},
        time::Timestamp,
    },
    problem::Problem,
};

use super::{
    Surface, not_stored,
    signed::{Signed, note_of},
};

/// The next bytes of a copy; none after the last. Blocks.
pub type Steps = Box<dyn FnMut() -> Result<Option<Vec<u8>>, String> + Send>;

/// Begins a copy.
pub type Begin = Arc<dyn Fn() -> Result<Steps, NoCopy> + Send + Sync>;

/// Why there is no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCopy {
    /// There is one already.
    UnderWay(String),
    /// The store cannot be read.
    Unavailable,
}

pub(super) async fn handle(State(surface): State<Surface>, Signed(word): Signed) -> Result<Response, Problem> {
    let steps = (surface.backup)().map_err(|refused| match refused {
        NoCopy::UnderWay(why) => Problem::new(StatusCode::CONFLICT, why),
        NoCopy::Unavailable => Problem::store_unavailable(),
    })?;
    let note = note_of(&surface, Entry::new(Timestamp::default(), &word, Action::Backup))?;
    surface.engine.write_down(note).await.map_err(|error| not_stored(&error))?;
    let pieces = stream::unfold(Some(steps), |steps| async move { next(steps?).await });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(pieces)).into_response())
}

/// The next piece. A copy that fails ends with words in the place of its end, so that its reader knows why.
async fn next(mut steps: Steps) -> Option<(Result<Vec<u8>, Infallible>, Option<Steps>)> {
    let stepped = tokio::task::spawn_blocking(move || {
        let step = steps();
        (steps, step)
    });
    match stepped.await {
        Ok((steps, Ok(Some(bytes)))) => Some((Ok(bytes), Some(steps))),
        Ok((_, Ok(None))) => None,
        Ok((_, Err(why))) => Some((Ok(broken_off(&why)), None)),
        Err(_) => Some((Ok(broken_off("the worker could not go on with it")), None)),
    }
}

fn broken_off(why: &str) -> Vec<u8> {
    let words = why.as_bytes();
    let len = u16::try_from(words.len()).unwrap_or(u16::MAX);
    [b"X", &len.to_be_bytes()[..], &words[..len.into()]].concat()
}
