//! Assignment and Grade Services: line items and results (AGS 2.0, 3.1 and 3.3), and who may use what.
//!
//! Strict where some real platform is strict: exact media types, the word `Bearer` in exactly that spelling, the
//! query of a line item's address kept on everything below it. Scores are in `score.rs`.

use axum::http::header::{ACCEPT, AUTHORIZATION, LINK, LOCATION, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::gradebook::{Cell, CellState};
use super::lineitems::{LineItem, Listing};
use super::message::{Answer, Call, Reason};
use super::options::{SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY, SCOPE_RESULT_READONLY};
use super::platform::Platform;
use super::token::TokenRefusal;

const LINEITEM: &str = "application/vnd.ims.lis.v2.lineitem+json";
const CONTAINER: &str = "application/vnd.ims.lis.v2.lineitemcontainer+json";
const RESULTS: &str = "application/vnd.ims.lis.v2.resultcontainer+json";
/// A page is never larger, whatever `limit` says.
const LIMIT_MAX: usize = 1000;

/// Judges a request to a line item container.
pub(super) fn container(platform: &Platform, request: &Call, context: &str, now_ms: i64) -> Result<Answer, Answer> {
    match request.parts.method {
        Method::GET => list(platform, request, context, now_ms),
        Method::POST => create(platform, request, context, now_ms),
        _ => {
            let reason = format!("{} is not understood here, only GET and POST", request.parts.method);
            Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, reason))
        }
    }
}

/// Judges a request for one line item.
pub(super) fn line_item(
    platform: &Platform,
    request: &Call,
    context: &str,
    id: &str,
    now_ms: i64,
) -> Result<Answer, Answer> {
    if request.query().contains("/scores") || request.query().contains("/results") {
        let reason = "No handler found: the path goes on after the query; /scores belongs before it".to_owned();
        return Err(Answer::bad_request(reason));
    }
    request.expect_method(&Method::GET)?;
    authorize(platform, request, &[SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY], now_ms)?;
    expect_accept(request, &[LINEITEM, "*/*"])?;
    let item = find(platform, request, context, id)?;
    Ok(Answer::text(StatusCode::OK, LINEITEM, as_json(platform, context, &item).to_string()))
}

/// Judges a request for the results of a line item.
pub(super) fn results(
    platform: &Platform,
    request: &Call,
    context: &str,
    id: &str,
    now_ms: i64,
) -> Result<Answer, Answer> {
    request.expect_method(&Method::GET)?;
    authorize(platform, request, &[SCOPE_RESULT_READONLY], now_ms)?;
    expect_accept(request, &[RESULTS, "*/*"])?;
    find(platform, request, context, id)?;
    let user = request.parameter("user_id").map_err(Answer::bad_request)?;
    let cells = if let Some(user) = user {
        let cell = Cell::ags(context, id, &user);
        platform.gradebook.cell(&cell).map(|state| (cell, state)).into_iter().collect()
    } else {
        let column = Cell::ags(context, id, "");
        platform.gradebook.snapshot(|cell| cell.protocol == column.protocol && cell.column == column.column)
    };
    let address = platform.lineitem_url(context, id);
    let results: Vec<_> = cells.iter().filter_map(|(cell, state)| result(&address, cell, state)).collect();
    Ok(Answer::text(StatusCode::OK, RESULTS, Value::Array(results).to_string()))
}

/// Checks the bearer token and that it has one of these scopes.
pub(super) fn authorize(platform: &Platform, request: &Call, scopes: &[&str], now_ms: i64) -> Result<(), Answer> {
    let unauthorized = |reason: Reason| {
        Answer::error(StatusCode::UNAUTHORIZED, reason).with_header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
    };
    let header = request.header(&AUTHORIZATION).map_err(unauthorized)?;
    let token = header.strip_prefix("Bearer ");
    let token =
        token.ok_or_else(|| unauthorized("the Authorization header does not begin with `Bearer `".to_owned()))?;
    platform.tokens.check(token, scopes, now_ms).map_err(|refusal| match refusal {
        TokenRefusal::Dead => unauthorized(refusal.to_string()),
        TokenRefusal::Scope => Answer::error(StatusCode::FORBIDDEN, refusal.to_string()),
    })
}

/// The line item that an address names; its query must still be there.
pub(super) fn find(platform: &Platform, request: &Call, context: &str, id: &str) -> Result<LineItem, Answer> {
    if request.parameter("type_id").map_err(Answer::bad_request)?.as_deref() != Some("1") {
        return Err(Answer::bad_request("the query of the line item's address (type_id=1) was not kept".to_owned()));
    }
    platform.line_items.find(context, id).ok_or_else(|| not_found("there is no such line item"))
}

fn not_found(reason: &str) -> Answer {
    Answer::error(StatusCode::NOT_FOUND, reason.to_owned())
}

fn expect_accept(request: &Call, accepted: &[&str]) -> Result<(), Answer> {
    let not_acceptable = |reason| Answer::error(StatusCode::NOT_ACCEPTABLE, reason);
    let sent = request.header(&ACCEPT).map_err(not_acceptable)?;
    if accepted.contains(&sent) {
        return Ok(());
    }
    Err(not_acceptable(format!("Accept must be exactly {}, not {sent}", accepted[0])))
}

fn list(platform: &Platform, request: &Call, context: &str, now_ms: i64) -> Result<Answer, Answer> {
    authorize(platform, request, &[SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY], now_ms)?;
    expect_accept(request, &[CONTAINER])?;
    let listing = read_listing(request, platform.page_size).map_err(Answer::bad_request)?;
    let page = platform.line_items.list(context, &listing).ok_or_else(|| not_found("there is no such context"))?;
    let items = page.items.iter().map(|item| as_json(platform, context, item)).collect();
    let answer = Answer::text(StatusCode::OK, CONTAINER, Value::Array(items).to_string());
    let Some(next) = page.next else {
        return Ok(answer);
    };

    // The filters go on to the next page as they were sent; only the cursor is new.
    let kept = request.query().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("from="));
    let query: Vec<String> = kept.map(str::to_owned).chain([format!("from={next}")]).collect();
    let link = format!("<{}?{}>; rel=\"next\"", platform.lineitems_url(context), query.join("&"));
    Ok(answer.with_header(LINK, &link))
}

fn read_listing(request: &Call, page_size: usize) -> Result<Listing, Reason> {
    let number = |name: &str| -> Result<Option<u64>, Reason> {
        let Some(text) = request.parameter(name)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| format!("{name} is not a whole number"))
    };
    let limit = match number("limit")? {
        None => page_size,
        Some(0) => return Err("limit is 0, and must be at least 1".to_owned()),
        Some(limit) => usize::try_from(limit).unwrap_or(LIMIT_MAX),
    };
    Ok(Listing {
        resource_link_id: request.parameter("resource_link_id")?,
        resource_id: request.parameter("resource_id")?,
        tag: request.parameter("tag")?,
        limit: limit.clamp(1, LIMIT_MAX),
        from: number("from")?.unwrap_or_default(),
    })
}

fn create(platform: &Platform, request: &Call, context: &str, now_ms: i64) -> Result<Answer, Answer> {
    authorize(platform, request, &[SCOPE_LINEITEM], now_ms)?;
    request.expect_json_type(LINEITEM)?;
    let item = request.json_object().and_then(|body| read_line_item(&body)).map_err(Answer::bad_request)?;
    let item = platform.line_items.create(context, item).ok_or_else(|| not_found("there is no such context"))?;
    let address = platform.lineitem_url(context, &item.id);
    Ok(Answer::text(StatusCode::CREATED, LINEITEM, as_json(platform, context, &item).to_string())
        .with_header(LOCATION, &address))
}

fn read_line_item(body: &Map<String, Value>) -> Result<LineItem, Reason> {
    let text = |name: &str| match body.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is not a string, or empty")),
    };
    let score_maximum = body.get("scoreMaximum").and_then(Value::as_f64).filter(|maximum| *maximum > 0.0);
    Ok(LineItem {
        id: String::new(),
        label: text("label")?.filter(|label| !label.trim().is_empty()).ok_or("label is missing")?,
        score_maximum: score_maximum.ok_or("scoreMaximum is missing, or no number above 0")?,
        resource_link_id: text("resourceLinkId")?,
        resource_id: text("resourceId")?,
        tag: text("tag")?,
    })
}

fn as_json(platform: &Platform, context: &str, item: &LineItem) -> Value {
    let mut members = json!({
        "id": platform.lineitem_url(context, &item.id),
        "label": item.label,
        "scoreMaximum": item.score_maximum,
    });
    let optional = [("resourceLinkId", &item.resource_link_id), ("resourceId", &item.resource_id), ("tag", &item.tag)];
    for (name, value) in optional {
        if let Some(value) = value {
            members[name] = Value::from(value.as_str());
        }
    }
    members
}

/// A result (AGS 2.0, 3.3); a cleared cell has none.
fn result(line_item_url: &str, cell: &Cell, state: &CellState) -> Option<Value> {
    let grade = state.grade?;
    let comment = state.history.back().and_then(|accepted| accepted.comment.clone());
    Some(json!({
        "id": format!("{}/results/{}", line_item_url.split('?').next().unwrap_or_default(), cell.user),
        "scoreOf": line_item_url,
        "userId": cell.user,
        "resultScore": grade.score,
        "resultMaximum": grade.maximum,
        "comment": comment,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::options::SCOPE_SCORE;
    use super::super::testing::{NOW_MS, answer, call, platform, reason};
    use super::*;

    const SCORES: &str = "/lti13/c1/lineitems/a/lineitem/scores?type_id=1";
    const SCORE: &str = "application/vnd.ims.lis.v1.score+json";

    fn token(platform: &Platform, scopes: &[&str]) -> String {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        format!("Bearer {}", platform.tokens.give(scopes, NOW_MS).expect("randomness"))
    }

    fn score(given: f64, timestamp: &str) -> String {
        json!({"userId": "u", "timestamp": timestamp, "activityProgress": "Completed", "gradingProgress": "FullyGraded",
            "scoreGiven": given, "scoreMaximum": 10})
        .to_string()
    }

    #[tokio::test]
    async fn a_score_is_written_once_and_only_a_newer_one_wins() {
        let platform = platform();
        let token = token(&platform, &[SCOPE_SCORE, SCOPE_RESULT_READONLY]);
        let post = async |body: String| {
            let headers = [("authorization", token.as_str()), ("content-type", SCORE)];
            let answer = answer(&platform, &call("POST", SCORES, &headers, &body), NOW_MS).await;
            assert!(answer.status != StatusCode::OK || answer.body.is_empty());
            answer.status
        };
        assert_eq!(post(score(8.0, "2026-11-18T11:00:00.000Z")).await, StatusCode::OK);
        assert_eq!(post(score(8.0, "2026-11-18T11:00:00.000Z")).await, StatusCode::CONFLICT);
        assert_eq!(post(score(9.0, "2026-11-18T10:59:59.999Z")).await, StatusCode::CONFLICT);
        assert_eq!(post(score(9.5, "2026-11-18T11:00:00.001Z")).await, StatusCode::OK);
        assert_eq!(post(score(10.0, "2026-11-18T11:06:50Z")).await, StatusCode::BAD_REQUEST);

        let results = "/lti13/c1/lineitems/a/lineitem/results?type_id=1&user_id=u";
        let request = call("GET", results, &[("authorization", &token), ("accept", RESULTS)], "");
        let results: Value = serde_json::from_slice(&answer(&platform, &request, NOW_MS).await.body).expect("JSON");
        assert_eq!((&results[0]["resultScore"], &results[0]["resultMaximum"]), (&json!(9.5), &json!(10.0)));
    }

    #[tokio::test]
    async fn what_is_not_exactly_right_is_refused() {
        let platform = platform();
        let good = token(&platform, &[SCOPE_SCORE]);
        let check = async |url: &str, token: &str, media_type: &str, status: u16, words: &str| {
            let headers = [("authorization", token), ("content-type", media_type)];
            let body = score(8.0, "2026-11-18T11:00:00Z");
            let answer = answer(&platform, &call("POST", url, &headers, &body), NOW_MS).await;
            assert_eq!(answer.status.as_u16(), status, "{}", reason(&answer));
            assert!(reason(&answer).contains(words), "{words}: {}", reason(&answer));
        };
        check(SCORES, "Bearer x", SCORE, 401, "unknown or has expired").await;
        check(SCORES, &good.replace("Bearer", "bearer"), SCORE, 401, "does not begin").await;
        check(SCORES, &token(&platform, &[SCOPE_LINEITEM]), SCORE, 403, "scope").await;
        check(SCORES, &good, "application/json", 415, "content type").await;
        check(SCORES, &good, &format!("{SCORE} ;charset=utf-8"), 415, "content type").await;
        check("/lti13/c1/lineitems/a/lineitem?type_id=1/scores", &good, SCORE, 400, "/scores belongs before it").await;
        check("/lti13/c1/lineitems/a/lineitem/scores", &good, SCORE, 400, "was not kept").await;
        check("/lti13/c1/lineitems/z/lineitem/scores?type_id=1", &good, SCORE, 404, "no such line item").await;
        assert!(platform.gradebook.snapshot(|_| true).is_empty());
        check(SCORES, &good, &format!("{SCORE}; charset=utf-8"), 200, "").await;
    }

    #[tokio::test]
    async fn line_items_are_made_found_and_paged() {
        let platform = platform();
        let token = token(&platform, &[SCOPE_LINEITEM]);
        for label in ["one", "one", "two"] {
            let body = json!({"label": label, "scoreMaximum": 20, "resourceId": "r", "tag": "t&1"}).to_string();
            let headers = [("authorization", token.as_str()), ("content-type", LINEITEM)];
            let made = answer(&platform, &call("POST", "/lti13/c1/lineitems", &headers, &body), NOW_MS).await;
            assert_eq!(made.status, StatusCode::CREATED);
        }
        let headers = [("authorization", token.as_str()), ("accept", CONTAINER)];
        let mut url = format!("{}?limit=2&resource_id=r&tag=t%261", platform.lineitems_url("c1"));
        let mut labels = Vec::new();
        loop {
            let page = answer(&platform, &call("GET", &url, &headers, ""), NOW_MS).await;
            let items: Vec<Value> = serde_json::from_slice(&page.body).expect("JSON");
            labels.push(
                items.iter().map(|item| item["label"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>(),
            );
            let link = page.headers.iter().find(|(name, _)| name == LINK);
            let Some((_, link)) = link else { break };
            let link = link.to_str().expect("ASCII").strip_suffix(">; rel=\"next\"").expect("a next link");
            link.strip_prefix('<').expect("a next link").clone_into(&mut url);
        }
        assert_eq!(labels, [vec!["one", "one"], vec!["two"]]);

        let any = [("authorization", token.as_str()), ("accept", "*/*")];
        let refused = answer(&platform, &call("GET", "/lti13/c1/lineitems", &any, ""), NOW_MS).await;
        assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
        let item = answer(&platform, &call("GET", "/lti13/c1/lineitems/a/lineitem?type_id=1", &any, ""), NOW_MS).await;
        assert_eq!(item.status, StatusCode::OK);
    }
}
