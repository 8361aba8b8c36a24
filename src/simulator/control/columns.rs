//! Columns as a teacher has them: listed, made, changed, deleted. What a tool may do with them is `ags.rs`'s business.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::lineitems::{LineItem, Origin};
use super::super::message::{Answer, Call, Reason};
use super::super::platform::{Platform, is_plain_name};

/// All columns of all contexts.
pub(super) fn list(platform: &Platform) -> Result<Answer, Answer> {
    let all = platform.line_items.all();
    let lines = all.iter().map(|(context, item)| Line::of(platform, context, item)).collect::<Vec<_>>();
    reply(StatusCode::OK, &lines)
}

/// Changes a column in what the body names, and makes it where there is none; so it does the context.
pub(super) fn put(platform: &Platform, request: &Call, context: &str, id: &str) -> Result<Answer, Answer> {
    if !is_plain_name(context) || !is_plain_name(id) {
        let reason = "a context or column id must be of letters, digits and .-_~ only".to_owned();
        return Err(Answer::bad_request(reason));
    }
    let change = ColumnChange::read(&request.body).map_err(Answer::bad_request)?;
    let (item, is_new) = platform.line_items.put(context, id, |item| change.apply(item));
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    reply(status, &[Line::of(platform, context, &item)])
}

/// Deletes a column. What it held stays in the gradebook.
pub(super) fn delete(platform: &Platform, context: &str, id: &str) -> Result<Answer, Answer> {
    if platform.line_items.remove(context, id) { list(platform) } else { Err(none(context, id)) }
}

/// There is no such column; what there is, and how one is made.
pub(super) fn none(context: &str, id: &str) -> Answer {
    let reason = format!(
        "there is no column {id} in {context}; GET /_control/columns lists them, and \
         PUT /_control/columns/{context}/{id} makes it"
    );
    Answer::error(StatusCode::NOT_FOUND, reason)
}

/// A column as it is listed.
#[derive(Serialize)]
struct Line<'a> {
    context: &'a str,
    id: &'a str,
    url: String,
    label: &'a str,
    maximum: f64,
    origin: Origin,
    resource_link_id: Option<&'a str>,
    resource_id: Option<&'a str>,
    tag: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(platform: &Platform, context: &'a str, item: &'a LineItem) -> Self {
        Self {
            context,
            id: &item.id,
            url: platform.lineitem_url(context, &item.id),
            label: &item.label,
            maximum: item.score_maximum,
            origin: item.origin,
            resource_link_id: item.resource_link_id.as_deref(),
            resource_id: item.resource_id.as_deref(),
            tag: item.tag.as_deref(),
        }
    }
}

fn reply(status: StatusCode, lines: &[Line<'_>]) -> Result<Answer, Answer> {
    let lines = serde_json::to_value(lines).map_err(|error| Answer::bad_request(error.to_string()))?;
    Ok(Answer::json(status, &json!({"columns": lines})))
}

/// The body of a PUT; it may be empty.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnChange {
    label: Option<String>,
    maximum: Option<f64>,
    origin: Option<Origin>,
    resource_link_id: Option<String>,
    resource_id: Option<String>,
    tag: Option<String>,
}

impl ColumnChange {
    fn read(body: &[u8]) -> Result<Self, Reason> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let written = |error| {
            format!("{error}; a column is written {{\"label\": \"Essay\", \"maximum\": 20, \"origin\": \"activity\"}}")
        };
        // By way of a value, so that what is no object is told apart from what lacks a member.
        let body: Value = serde_json::from_slice(body).map_err(written)?;
        let change: Self = serde_json::from_value(body).map_err(written)?;
        match change.maximum {
            Some(maximum) if maximum < 0.0 => Err("maximum must not be negative".to_owned()),
            _ => Ok(change),
        }
    }

    fn apply(self, item: &mut LineItem) {
        let Self { label, maximum, origin, resource_link_id, resource_id, tag } = self;
        item.label = label.unwrap_or_else(|| std::mem::take(&mut item.label));
        item.score_maximum = maximum.unwrap_or(item.score_maximum);
        item.origin = origin.unwrap_or(item.origin);
        item.resource_link_id = resource_link_id.or_else(|| item.resource_link_id.take());
        item.resource_id = resource_id.or_else(|| item.resource_id.take());
        item.tag = tag.or_else(|| item.tag.take());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{platform, send};
    use super::*;

    #[tokio::test]
    async fn a_teacher_makes_changes_and_deletes_a_column() {
        let platform = platform();
        let (status, made) = send(&platform, "PUT", "/_control/columns/c2/essay", r#"{"maximum": 20}"#).await;
        assert_eq!((status, &made["columns"][0]["origin"]), (201, &json!("activity")));
        assert_eq!(made["columns"][0]["url"], platform.lineitem_url("c2", "essay"));
        let (status, changed) = send(&platform, "PUT", "/_control/columns/c2/essay", r#"{"label": "Essay"}"#).await;
        let column = &changed["columns"][0];
        assert_eq!((status, &column["label"], &column["maximum"]), (200, &json!("Essay"), &json!(20.0)));
        let (_, all) = send(&platform, "GET", "/_control/columns", "").await;
        let ids: Vec<_> = all["columns"].as_array().into_iter().flatten().map(|column| &column["id"]).collect();
        assert_eq!(ids, ["a", "b", "essay"]);
        assert_eq!(send(&platform, "DELETE", "/_control/columns/c2/essay", "").await.0, 200);
        let (status, gone) = send(&platform, "DELETE", "/_control/columns/c2/essay", "").await;
        assert_eq!(status, 404);
        assert!(gone["reason"].as_str().is_some_and(|reason| reason.contains("PUT /_control/columns/c2/essay")));
        assert_eq!(send(&platform, "PUT", "/_control/columns/c2/essay", "").await.0, 201, "made anew");
    }

    #[tokio::test]
    async fn a_column_that_makes_no_sense_is_refused() {
        let platform = platform();
        let check = async |path: &str, body: &str, words: &str| {
            let (status, reply) = send(&platform, "PUT", path, body).await;
            let reason = reply["reason"].as_str().unwrap_or_default();
            assert!(status == 400 && reason.contains(words), "{words}: {status} {reason}");
        };
        check("/_control/columns/c1/%20", "", "letters").await;
        check("/_control/columns/c1/a", r#"{"maximum": -1}"#, "negative").await;
        check("/_control/columns/c1/a", r#"{"score": 1}"#, "a column is written").await;
        check("/_control/columns/c1/a", r#"{"origin": "mine"}"#, "another_tool").await;
        check("/_control/columns/c1/a", "[", "a column is written").await;
    }
}
