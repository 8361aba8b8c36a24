//! Assignment and Grade Services: line items and results (AGS 2.0, 3.1 and 3.3), and who may use what.
//!
//! How strict it is about media types, the word `Bearer` and the query of a line item's address is a matter of the
//! platform's manners. Scores are in `score.rs`.

use axum::http::header::{ACCEPT, AUTHORIZATION, LINK, LOCATION, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::faults;
use super::gradebook::{Cell, CellState};
use super::lineitems::{LineItem, Listing, Origin};
use super::manners::{AcceptRule, Bearer, Deleting, Links, Maximum, MediaRule, Names, Numbered, Paging, ResultScale};
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
    match request.parts.method {
        Method::GET => read(platform, request, context, id, now_ms),
        Method::DELETE => delete(platform, request, context, id, now_ms),
        _ => {
            let reason = format!("{} is not understood here, only GET and DELETE", request.parts.method);
            Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, reason))
        }
    }
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
    expect_accept(platform, request, &[RESULTS, "*/*"])?;
    let item = find(platform, request, context, id)?;
    let user = request.parameter("user_id").map_err(Answer::bad_request)?;
    let cells = if let Some(user) = user {
        let cell = Cell::ags(context, id, &user);
        platform.gradebook.cell(&cell).map(|state| (cell, state)).into_iter().collect()
    } else {
        let column = Cell::ags(context, id, "");
        platform.gradebook.snapshot(|cell| cell.protocol == column.protocol && cell.column == column.column)
    };
    let address = platform.lineitem_url(context, id);
    let results: Vec<_> =
        cells.iter().filter_map(|(cell, state)| result(platform, &address, &item, cell, state)).collect();
    Ok(Answer::text(StatusCode::OK, RESULTS, Value::Array(results).to_string()))
}

/// Checks the bearer token and that it has one of these scopes.
pub(super) fn authorize(platform: &Platform, request: &Call, scopes: &[&str], now_ms: i64) -> Result<(), Answer> {
    let manners = &platform.manners.ags;
    let unauthorized = |reason: Reason| {
        Answer::error(faults::status(manners.dead_token.is), reason)
            .with_header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
    };
    let header = request.header(&AUTHORIZATION).map_err(unauthorized)?;
    let token = header.split_once(' ').filter(|(word, _)| match manners.bearer.is {
        Bearer::Exact => *word == "Bearer",
        Bearer::AnyCase => word.eq_ignore_ascii_case("Bearer"),
    });
    let (_, token) =
        token.ok_or_else(|| unauthorized("the Authorization header does not begin with `Bearer `".to_owned()))?;
    platform.tokens.check(token, scopes, now_ms).map_err(|refusal| match refusal {
        TokenRefusal::Dead => unauthorized(refusal.to_string()),
        TokenRefusal::Scope => Answer::error(faults::status(manners.missing_scope.is), refusal.to_string()),
    })
}

/// The line item that an address names; its query must still be there.
pub(super) fn find(platform: &Platform, request: &Call, context: &str, id: &str) -> Result<LineItem, Answer> {
    let (site, manners) = (&platform.manners.site, &platform.manners.ags);
    if let Some((name, value)) = site.addresses.is.line_item_query
        && request.parameter(name).map_err(Answer::bad_request)?.as_deref() != Some(value)
    {
        let reason = format!("the query of the line item's address ({name}={value}) was not kept");
        return Err(Answer::error(faults::status(manners.lost_query.is), reason));
    }
    if site.addresses.is.numbered == Numbered::Yes && id.parse::<u64>().is_err() {
        return Err(Answer::bad_request("the id of the line item is no number".to_owned()));
    }
    let item = platform.line_items.find(context, id).ok_or_else(|| gone(platform))?;
    if item.origin == Origin::AnotherTool {
        let reason = "the line item belongs to another tool".to_owned();
        return Err(Answer::error(faults::status(manners.foreign_item.is), reason));
    }
    Ok(item)
}

fn gone(platform: &Platform) -> Answer {
    Answer::error(faults::status(platform.manners.ags.gone.is), "there is no such line item".to_owned())
}

/// Checks for the media type of what is written.
pub(super) fn expect_media(platform: &Platform, request: &Call, media_type: &str) -> Result<(), Answer> {
    match platform.manners.ags.media.is {
        MediaRule::Ignored => Ok(()),
        MediaRule::Exactly(status) => request.expect_json_type(media_type).map_err(|mut refused| {
            refused.status = faults::status(status);
            refused
        }),
    }
}

fn not_found(reason: &str) -> Answer {
    Answer::error(StatusCode::NOT_FOUND, reason.to_owned())
}

/// Checks `Accept`. The first of `accepted` is the type of what is read.
fn expect_accept(platform: &Platform, request: &Call, accepted: &[&str]) -> Result<(), Answer> {
    let (status, takes_anything) = match platform.manners.ags.accept.is {
        AcceptRule::Ignored => return Ok(()),
        AcceptRule::OrAnything(status) => (status, true),
        AcceptRule::Exactly(status) => (status, false),
    };
    let not_acceptable = |reason| Answer::error(faults::status(status), reason);
    let sent = match request.header(&ACCEPT) {
        Err(_) if takes_anything => "*/*",
        sent => sent.map_err(not_acceptable)?,
    };
    if accepted.contains(&sent) || (takes_anything && sent == "*/*") {
        return Ok(());
    }
    Err(not_acceptable(format!("Accept must be exactly {}, not {sent}", accepted[0])))
}

fn read(platform: &Platform, request: &Call, context: &str, id: &str, now_ms: i64) -> Result<Answer, Answer> {
    authorize(platform, request, &[SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY], now_ms)?;
    expect_accept(platform, request, &[LINEITEM, "*/*"])?;
    let item = find(platform, request, context, id)?;
    Ok(Answer::text(StatusCode::OK, LINEITEM, as_json(platform, context, &item).to_string()))
}

/// Deletes a line item (AGS 2.0, 3.1). What it held stays in the gradebook, for whoever looks by the controls.
fn delete(platform: &Platform, request: &Call, context: &str, id: &str, now_ms: i64) -> Result<Answer, Answer> {
    authorize(platform, request, &[SCOPE_LINEITEM], now_ms)?;
    let item = find(platform, request, context, id)?;
    if let Deleting::NotCoupled(status) = platform.manners.ags.deleting.is
        && item.origin == Origin::Activity
    {
        let reason = "the line item is coupled to an assignment".to_owned();
        return Err(Answer::error(faults::status(status), reason));
    }
    // Somebody else may have been faster.
    if platform.line_items.remove(context, id) {
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    } else {
        Err(gone(platform))
    }
}

fn list(platform: &Platform, request: &Call, context: &str, now_ms: i64) -> Result<Answer, Answer> {
    authorize(platform, request, &[SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY], now_ms)?;
    expect_accept(platform, request, &[CONTAINER])?;
    let listing = read_listing(platform, request).map_err(Answer::bad_request)?;
    let page = platform.line_items.list(context, &listing).ok_or_else(|| not_found("there is no such context"))?;
    let items = page.items.iter().map(|item| as_json(platform, context, item)).collect();
    let answer = Answer::text(StatusCode::OK, CONTAINER, Value::Array(items).to_string());
    let Some(next) = page.next else {
        return Ok(answer);
    };

    // The filters go on to the next page as they were sent; only the cursor is new.
    let kept = request.query().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("from="));
    let query: Vec<String> = kept.map(str::to_owned).chain([format!("from={next}")]).collect();
    let container = platform.lineitems_url(context);
    let (container, query) = (container.split('?').next().unwrap_or_default(), query.join("&"));
    let link = match platform.manners.ags.links.is {
        Links::Plain => format!("<{container}?{query}>; rel=\"next\""),
        Links::Curly => format!("<{container}?{}>; rel=\u{201c}next\u{201d}", query.replace('&', "&amp;")),
    };
    Ok(answer.with_header(LINK, &link))
}

fn read_listing(platform: &Platform, request: &Call) -> Result<Listing, Reason> {
    let manners = &platform.manners.ags;
    let number = |name: &str| -> Result<Option<u64>, Reason> {
        let Some(text) = request.parameter(name)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| format!("{name} is not a whole number"))
    };
    let limit = match (manners.paging.is, number("limit")?) {
        (Paging::Never, _) | (Paging::OnlyWithLimit, None) => usize::MAX,
        (Paging::Always, None) => platform.page_size.clamp(1, LIMIT_MAX),
        (_, Some(0)) => return Err("limit is 0, and must be at least 1".to_owned()),
        (_, Some(limit)) => usize::try_from(limit).unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX),
    };
    // A filter that the platform does not know is as if it were not there.
    let filter = |name| if manners.filters.is.contains(&name) { request.parameter(name) } else { Ok(None) };
    Ok(Listing {
        resource_link_id: filter("resource_link_id")?,
        resource_id: filter("resource_id")?,
        tag: filter("tag")?,
        limit,
        from: number("from")?.unwrap_or_default(),
    })
}

fn create(platform: &Platform, request: &Call, context: &str, now_ms: i64) -> Result<Answer, Answer> {
    authorize(platform, request, &[SCOPE_LINEITEM], now_ms)?;
    expect_media(platform, request, LINEITEM)?;
    let item = request.json_object().and_then(|body| read_line_item(platform, &body)).map_err(Answer::bad_request)?;
    if item.resource_link_id.as_ref().is_some_and(|link| platform.is_foreign(link)) {
        let reason = "the resourceLinkId is not of this context".to_owned();
        return Err(Answer::error(faults::status(platform.manners.ags.foreign_link.is), reason));
    }
    let item = platform.line_items.create(context, item).ok_or_else(|| not_found("there is no such context"))?;
    let address = platform.lineitem_url(context, &item.id);
    let created = faults::status(platform.manners.ags.created.is);
    Ok(Answer::text(created, LINEITEM, as_json(platform, context, &item).to_string()).with_header(LOCATION, &address))
}

fn read_line_item(platform: &Platform, body: &Map<String, Value>) -> Result<LineItem, Reason> {
    let rules = &platform.manners.ags.new_item.is;
    let text = |name: &str| match body.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is not a string, or empty")),
    };
    let maximum = body.get("scoreMaximum").filter(|maximum| rules.maximum != Maximum::Whole || maximum.is_u64());
    let score_maximum = maximum.and_then(Value::as_f64).filter(|maximum| match rules.maximum {
        Maximum::ZeroToo => *maximum >= 0.0,
        Maximum::AboveZero | Maximum::Whole => *maximum > 0.0,
    });
    let item = LineItem {
        id: String::new(),
        label: text("label")?.filter(|label| !label.trim().is_empty()).ok_or("label is missing")?,
        score_maximum: score_maximum.ok_or("scoreMaximum is missing, or no number that it can be")?,
        resource_link_id: text("resourceLinkId")?,
        resource_id: text("resourceId")?,
        tag: text("tag")?,
        origin: Origin::Tool,
    };
    if item.label.chars().count() > rules.label_chars_max {
        return Err("label is too long".to_owned());
    }
    if item.tag.as_ref().is_some_and(|tag| tag.chars().count() > rules.tag_chars_max) {
        return Err("tag is too long".to_owned());
    }
    if rules.names == Names::OneNeeded && item.resource_id.is_none() && item.resource_link_id.is_none() {
        return Err("resourceId or resourceLinkId is needed".to_owned());
    }
    Ok(item)
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
fn result(platform: &Platform, line_item_url: &str, item: &LineItem, cell: &Cell, state: &CellState) -> Option<Value> {
    let grade = state.shown()?;
    let (score, maximum) = match platform.manners.ags.results.is {
        ResultScale::OfColumn if grade.maximum > 0.0 => {
            let share = platform.manners.site.precision.is.kept(grade.score / grade.maximum);
            (share * item.score_maximum, item.score_maximum)
        }
        _ => (grade.score, grade.maximum),
    };
    let comment = state.history.back().and_then(|accepted| accepted.comment.clone());
    Some(json!({
        "id": format!("{}/results/{}", line_item_url.split('?').next().unwrap_or_default(), cell.user),
        "scoreOf": line_item_url,
        "userId": cell.user,
        "resultScore": score,
        "resultMaximum": maximum,
        "comment": comment,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::manners::Likeness;
    use super::super::options::SCOPE_SCORE;
    use super::super::testing::{BASE, NOW_MS, answer, call, platform, platform_like, reason};
    use super::*;

    const SCORES: &str = "/lti13/c1/lineitems/a/lineitem/scores?type_id=1";
    const SCORE: &str = "application/vnd.ims.lis.v1.score+json";

    fn token(platform: &Platform, scopes: &[&str]) -> String {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        format!("Bearer {}", platform.tokens.give(scopes, NOW_MS).expect("randomness"))
    }

    /// The address of a line item of `c1`, without the host.
    fn path(platform: &Platform, id: &str) -> String {
        platform.lineitem_url("c1", id).replace(BASE, "")
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
    async fn a_line_item_is_deleted_once_and_a_coupled_one_not_everywhere() {
        let check = async |like: Option<Likeness>, coupled: u16, gone: u16| {
            let platform = platform_like(like);
            let token = token(&platform, &[SCOPE_LINEITEM]);
            platform.line_items.put("c1", "7", |item| item.origin = Origin::Activity);
            let mine = platform.line_items.create("c1", LineItem::default()).expect("the context is there").id;
            for (id, first) in [("7", coupled), (mine.as_str(), 204)] {
                let delete = async || {
                    let headers = [("authorization", token.as_str()), ("user-agent", "a test")];
                    let request = call("DELETE", &path(&platform, id), &headers, "");
                    answer(&platform, &request, NOW_MS).await.status.as_u16()
                };
                let again = if first == 204 { gone } else { first };
                assert_eq!((delete().await, delete().await), (first, again), "{like:?} {id}");
            }
        };
        check(None, 204, 404).await;
        check(Some(Likeness::Moodle), 204, 404).await;
        check(Some(Likeness::Canvas), 401, 404).await;
        check(Some(Likeness::Sakai), 204, 400).await;
    }

    #[tokio::test]
    async fn a_line_item_of_another_tool_is_neither_listed_nor_touched() {
        let check = async |like: Likeness, status: u16| {
            let platform = platform_like(Some(like));
            let token = token(&platform, &[SCOPE_LINEITEM, SCOPE_SCORE]);
            platform.line_items.put("c1", "7", |item| item.origin = Origin::AnotherTool);
            let headers = [("authorization", token.as_str()), ("user-agent", "a test")];
            let media = [headers[0], headers[1], ("content-type", SCORE)];
            let scores = path(&platform, "7").replace('?', "/scores?");
            let scores = if scores.contains("/scores") { scores } else { scores + "/scores" };
            let post = call("POST", &scores, &media, &score(8.0, "2026-11-18T11:00:00Z"));
            assert_eq!(answer(&platform, &post, NOW_MS).await.status.as_u16(), status, "{like}");
            let deleted = answer(&platform, &call("DELETE", &path(&platform, "7"), &headers, ""), NOW_MS).await;
            assert_eq!(deleted.status.as_u16(), status, "{like}");
            assert!(platform.gradebook.snapshot(|_| true).is_empty());
            let media = [headers[0], headers[1], ("accept", CONTAINER)];
            let container = platform.lineitems_url("c1").replace(BASE, "");
            let listed = answer(&platform, &call("GET", &container, &media, ""), NOW_MS).await;
            let listed: Vec<Value> = serde_json::from_slice(&listed.body).expect("JSON");
            assert_eq!(listed.len(), 2, "{like}: {listed:?}");
        };
        check(Likeness::Moodle, 403).await;
        check(Likeness::Canvas, 412).await;
        check(Likeness::OpenEdx, 404).await;
        check(Likeness::Sakai, 400).await;
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
