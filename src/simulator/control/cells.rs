//! The gradebook as a teacher has it: cells read, changed, locked and emptied. A grade given here is no write of the
//! tool: it has no timestamp, is not counted, and does not stand in the history.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::gradebook::{Cell, CellState, Grade, Protocol};
use super::super::manners::TeachersGrade;
use super::super::message::{Answer, Call, Reason};
use super::super::platform::Platform;
use super::columns;

/// All cells, or those that the parameters `protocol`, `column` and `user` leave.
pub(super) fn list(platform: &Platform, request: &Call) -> Result<Answer, Answer> {
    let Named { protocol, column, user } = Named::read(request).map_err(Answer::bad_request)?;
    reply(platform.gradebook.snapshot(|cell| {
        protocol.is_none_or(|protocol| protocol == cell.protocol)
            && column.as_ref().is_none_or(|column| *column == cell.column)
            && user.as_ref().is_none_or(|user| *user == cell.user)
    }))
}

/// Changes the one cell that the parameters name, also one that nobody wrote so far.
pub(super) fn put(platform: &Platform, request: &Call) -> Result<Answer, Answer> {
    let cell = named(request)?;
    let change = CellChange::read(&request.body).map_err(Answer::bad_request)?;
    let column_maximum = match (cell.protocol, cell.column.split_once('/')) {
        (Protocol::Ags, Some((context, id))) => {
            let item = platform.line_items.find(context, id).ok_or_else(|| columns::none(context, id))?;
            item.score_maximum
        }
        (Protocol::Ags, None) => {
            let reason = format!("the column of an AGS cell is context/id, such as course-1/1, not {}", cell.column);
            return Err(Answer::bad_request(reason));
        }
        (Protocol::Lti11 | Protocol::Delegated, _) => 1.0,
    };
    let stays = platform.manners.site.teachers_grade.is == TeachersGrade::Stays;
    let state = platform.gradebook.edit(cell.clone(), |state| change.apply(state, column_maximum, stays));
    reply(vec![(cell, state)])
}

/// Empties the one cell that the parameters name: neither the tool's grade nor a teacher's is left. A lock stays.
pub(super) fn delete(platform: &Platform, request: &Call) -> Result<Answer, Answer> {
    let cell = named(request)?;
    if platform.gradebook.cell(&cell).is_none() {
        let reason = "nothing was ever in this cell; GET /_control/gradebook lists those in which there was".to_owned();
        return Err(Answer::error(StatusCode::NOT_FOUND, reason));
    }
    let state = platform.gradebook.edit(cell.clone(), |state| (state.grade, state.overridden) = (None, None));
    reply(vec![(cell, state)])
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    cell: Cell,
    #[serde(flatten)]
    state: CellState,
}

fn reply(cells: Vec<(Cell, CellState)>) -> Result<Answer, Answer> {
    let lines: Vec<_> = cells.into_iter().map(|(cell, state)| Line { cell, state }).collect();
    let cells = serde_json::to_value(lines).map_err(|error| Answer::bad_request(error.to_string()))?;
    Ok(Answer::json(StatusCode::OK, &json!({"cells": cells})))
}

/// What the parameters say.
struct Named {
    protocol: Option<Protocol>,
    column: Option<String>,
    user: Option<String>,
}

impl Named {
    fn read(request: &Call) -> Result<Self, Reason> {
        let protocol = request.parameter("protocol")?.map(|name| serde_json::from_value(Value::from(name)));
        let protocol = protocol.transpose().map_err(|error| format!("protocol: {error}"))?;
        Ok(Self { protocol, column: request.parameter("column")?, user: request.parameter("user")? })
    }
}

/// The cell of a change, which must be named in full.
fn named(request: &Call) -> Result<Cell, Answer> {
    match Named::read(request).map_err(Answer::bad_request)? {
        Named { protocol: Some(protocol), column: Some(column), user: Some(user) } => {
            Ok(Cell { protocol, column, user })
        }
        Named { protocol, column, user } => {
            let named = [("protocol", protocol.is_some()), ("column", column.is_some()), ("user", user.is_some())];
            let missing: Vec<_> = named.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
            let reason = format!(
                "the query must name one cell, and {} is missing; written ?protocol=ags&column=course-1/1&user=user-1, \
                 as GET /_control/gradebook shows them",
                missing.join(" and ")
            );
            Err(Answer::bad_request(reason))
        }
    }
}

/// The body of a PUT.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CellChange {
    score: Option<f64>,
    /// Without it: as it was, or that of the column.
    maximum: Option<f64>,
    locked: Option<bool>,
    /// `false` alone makes sense: it takes a teacher's grade from before the tool's.
    overridden: Option<bool>,
}

impl CellChange {
    fn read(body: &[u8]) -> Result<Self, Reason> {
        const WRITTEN: &str = "a change is written {\"score\": 5, \"maximum\": 10}, {\"locked\": true} or \
            {\"overridden\": false}";
        let change: Self = serde_json::from_slice(body).map_err(|error| format!("{error}; {WRITTEN}"))?;
        let wrong = match &change {
            Self { score: None, maximum: None, locked: None, overridden: None } => "nothing is to be changed",
            Self { score: None, maximum: Some(_), .. } => "maximum needs a score",
            Self { overridden: Some(true), .. } => "overridden can only be false; a score makes it true",
            Self { score: Some(score), .. } if *score < 0.0 => "score must not be negative",
            Self { maximum: Some(maximum), .. } if *maximum <= 0.0 => "maximum must be above 0",
            _ => return Ok(change),
        };
        Err(format!("{wrong}; {WRITTEN}"))
    }

    /// A platform where a teacher's grade stays keeps it before the tool's.
    fn apply(&self, state: &mut CellState, column_maximum: f64, stays: bool) {
        if self.overridden == Some(false) {
            state.overridden = None;
        }
        if let Some(score) = self.score {
            let before = state.shown().map(|grade| grade.maximum).filter(|maximum| *maximum > 0.0);
            let grade = Some(Grade { score, maximum: self.maximum.or(before).unwrap_or(column_maximum) });
            if stays {
                state.overridden = grade;
            } else {
                state.grade = grade;
            }
        }
        state.locked = self.locked.unwrap_or(state.locked);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::gradebook::Accepted;
    use super::super::super::manners::Likeness;
    use super::super::super::options::{SCOPE_RESULT_READONLY, SCOPE_SCORE};
    use super::super::super::testing::{BASE, NOW_MS, answer, call, platform, platform_like, send};
    use super::*;

    const CELL: &str = "/_control/gradebook?protocol=ags&column=c1/7&user=5";

    #[tokio::test]
    async fn cells_are_listed_and_chosen() {
        let platform = platform();
        for user in ["u", "v"] {
            let grade = Some(Grade { score: 1.0, maximum: 2.0 });
            let accepted = Accepted { at_ms: 1, grade, timestamp_ms: None, comment: None };
            platform.gradebook.write(Cell::ags("c", "1", user), accepted).expect("the first");
        }
        let (_, all) = send(&platform, "GET", "/_control/gradebook", "").await;
        assert_eq!(all["cells"].as_array().map(Vec::len), Some(2));
        let (_, one) = send(&platform, "GET", "/_control/gradebook?protocol=ags&column=c%2F1&user=v", "").await;
        assert_eq!((&one["cells"][0]["user"], &one["cells"][0]["grade"]["score"]), (&json!("v"), &json!(1.0)));
        assert_eq!(one["cells"].as_array().map(Vec::len), Some(1));
        assert_eq!(send(&platform, "GET", "/_control/gradebook?protocol=lti2", "").await.0, 400);
    }

    /// A platform with the column `c1/7`, and somebody who posts scores there and reads results.
    struct Course {
        platform: Platform,
        token: String,
    }

    impl Course {
        fn like(like: Likeness) -> Self {
            let platform = platform_like(Some(like));
            platform.line_items.put("c1", "7", |_| ());
            let scopes = vec![SCOPE_SCORE.to_owned(), SCOPE_RESULT_READONLY.to_owned()];
            let token = format!("Bearer {}", platform.tokens.give(scopes, NOW_MS).expect("randomness"));
            Self { platform, token }
        }

        async fn ask(&self, method: &str, below: &str, body: &str) -> Answer {
            let address = self.platform.lineitem_url("c1", "7").replace(BASE, "");
            let (path, query) = address.split_once('?').unwrap_or((&address, ""));
            let media = format!("application/vnd.ims.lis.{below}");
            let headers = [("authorization", self.token.as_str()), ("user-agent", "a test")];
            let headers = [headers[0], headers[1], ("content-type", &media), ("accept", &media)];
            let below = if below.starts_with("v1") { "scores" } else { "results" };
            answer(&self.platform, &call(method, &format!("{path}/{below}?{query}"), &headers, body), NOW_MS).await
        }

        async fn score(&self, given: f64, minute: u32) -> u16 {
            let score = json!({"userId": "5", "timestamp": format!("2026-11-18T10:{minute}:00Z"),
                "activityProgress": "Completed", "gradingProgress": "FullyGraded", "scoreGiven": given,
                "scoreMaximum": 100});
            self.ask("POST", "v1.score+json", &score.to_string()).await.status.as_u16()
        }

        async fn shown(&self) -> Option<f64> {
            let results: Value = serde_json::from_slice(&self.ask("GET", "v2.resultcontainer+json", "").await.body)
                .expect("results are JSON");
            results[0]["resultScore"].as_f64()
        }

        async fn teacher(&self, method: &str, body: &str) -> Value {
            let (status, reply) = send(&self.platform, method, CELL, body).await;
            assert_eq!(status, 200, "{reply}");
            reply["cells"][0].clone()
        }
    }

    #[tokio::test]
    async fn a_teachers_grade_is_replaced_by_the_next_or_stays_before_it() {
        let canvas = Course::like(Likeness::Canvas);
        assert_eq!(canvas.score(80.0, 10).await, 200);
        let cell = canvas.teacher("PUT", r#"{"score": 50}"#).await;
        assert_eq!((&cell["grade"], &cell["writes"]), (&json!({"score": 50.0, "maximum": 100.0}), &json!(1)));
        assert_eq!(canvas.shown().await, Some(50.0));
        assert_eq!((canvas.score(90.0, 11).await, canvas.shown().await), (200, Some(90.0)));

        let moodle = Course::like(Likeness::Moodle);
        assert_eq!(moodle.score(80.0, 10).await, 200);
        moodle.teacher("PUT", r#"{"score": 5, "maximum": 10}"#).await;
        assert_eq!((moodle.score(90.0, 11).await, moodle.shown().await), (200, Some(50.0)));
        let cell = moodle.teacher("PUT", r#"{"overridden": false}"#).await;
        assert_eq!((&cell["grade"]["score"], &cell["overridden"]), (&json!(90.0), &Value::Null));
        assert_eq!(moodle.shown().await, Some(90.0));
    }

    #[tokio::test]
    async fn a_locked_grade_is_not_written_and_an_emptied_one_is_gone() {
        for (like, refused) in [(Likeness::Moodle, 500), (Likeness::Sakai, 400), (Likeness::Brightspace, 422)] {
            let course = Course::like(like);
            assert_eq!(course.score(80.0, 10).await, 200, "{like}");
            assert_eq!(course.teacher("PUT", r#"{"locked": true}"#).await["locked"], true);
            assert_eq!((course.score(90.0, 11).await, course.shown().await), (refused, Some(80.0)), "{like}");
            course.teacher("PUT", r#"{"locked": false}"#).await;
            assert_eq!((course.score(90.0, 11).await, course.shown().await), (200, Some(90.0)), "{like}");
            assert_eq!(course.teacher("DELETE", "").await["grade"], Value::Null);
            assert_eq!(course.shown().await, None, "{like}");
        }
    }

    #[tokio::test]
    async fn a_change_that_makes_no_sense_is_refused_and_told_how_it_is_written() {
        let platform = platform();
        let check = async |method: &str, query: &str, body: &str, status: u16, words: &str| {
            let reply = send(&platform, method, &format!("/_control/gradebook?{query}"), body).await;
            let reason = reply.1["reason"].as_str().unwrap_or_default();
            assert!(reply.0 == status && reason.contains(words), "{words}: {} {reason}", reply.0);
        };
        let cell = "protocol=ags&column=c1/a&user=5";
        check("PUT", "column=c1/a", "{}", 400, "protocol and user is missing").await;
        check("PUT", cell, "{}", 400, "nothing is to be changed").await;
        check("PUT", cell, r#"{"grade": 5}"#, 400, r#"written {"score": 5"#).await;
        check("PUT", cell, r#"{"maximum": 5}"#, 400, "needs a score").await;
        check("PUT", cell, r#"{"score": -1}"#, 400, "negative").await;
        check("PUT", cell, r#"{"score": 1, "maximum": 0}"#, 400, "above 0").await;
        check("PUT", cell, r#"{"overridden": true}"#, 400, "only be false").await;
        check("PUT", "protocol=ags&column=c1/99&user=5", r#"{"score": 1}"#, 404, "no column 99 in c1").await;
        check("PUT", "protocol=ags&column=a&user=5", r#"{"score": 1}"#, 400, "context/id").await;
        check("DELETE", cell, "", 404, "nothing was ever").await;
        assert!(platform.gradebook.snapshot(|_| true).is_empty());
    }
}
