//! `POST /api/v1/jobs/{id}/verify`: the grade of a job, read back from its platform. It makes the worker call an LMS, so
//! it is an operator's; it changes nothing.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
};
use serde::Serialize;

use crate::{
    domain::{
        outcome::FailureReason,
        time::Timestamp,
        verification::{Grade, Sent},
    },
    engine::verify::{NotVerified, Verification},
    problem::Problem,
};

use super::{
    Surface,
    segment::Segment,
    show_job::{no_such_job, read_id},
};

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct VerificationView {
    job: String,
    result: &'static str,
    sent: SentView,
    /// Null where nothing is there, or nothing could be read.
    there: Option<GradeView>,
    /// Why it could not be read.
    reason: Option<FailureReason>,
    detail: String,
    checked_at: Timestamp,
}

/// What was sent; no numbers where the grade was cleared, or the event had none.
#[derive(Debug, Serialize)]
struct SentView {
    operation: &'static str,
    score: Option<f64>,
    max_score: Option<f64>,
}

#[derive(Debug, Serialize)]
struct GradeView {
    score: f64,
    max_score: f64,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    Segment(id): Segment,
) -> Result<Json<VerificationView>, Problem> {
    match surface.engine.verify(read_id(&id)?).await {
        Ok(verification) => Ok(Json(view(verification))),
        Err(NotVerified::NoSuchJob(id)) => Err(no_such_job(id)),
        Err(NotVerified::Store(_)) => Err(Problem::store_unavailable()),
        Err(error @ NotVerified::NoEvent(_)) => Err(Problem::new(StatusCode::CONFLICT, error.to_string())),
        Err(error @ (NotVerified::Busy | NotVerified::Rests(_))) => {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            Err(problem.with_header(header::RETRY_AFTER, "5"))
        }
    }
}

fn view(verification: Verification) -> VerificationView {
    let Verification { job, sent, there, comparison, reason, detail, checked_at } = verification;
    let (operation, grade) = match sent {
        Sent::Grade(grade) => ("replace", Some(grade)),
        Sent::StateOnly => ("replace", None),
        Sent::Cleared => ("delete", None),
    };
    let sent = SentView { operation, score: grade.map(Grade::score), max_score: grade.map(Grade::maximum) };
    let there = there.map(|grade| GradeView { score: grade.score(), max_score: grade.maximum() });
    VerificationView { job: job.to_string(), result: comparison.name(), sent, there, reason, detail, checked_at }
}
