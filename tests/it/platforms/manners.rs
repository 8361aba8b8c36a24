//! What each simulated platform says, word for word where words matter: the replies on which the sender's table rests.
//! Asked by a visitor of the tests' own, since the real sender makes none of these mistakes; and by the real sender,
//! whose grades must be taken at the first try.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use passback::{
    adapters::clock::SystemClock,
    ports::Clock as _,
    simulator::{
        Cell, Fault, FaultKind, Likeness, Route, SCOPE_LINEITEM, SCOPE_RESULT_READONLY, SCOPE_SCORE, SimulatedLms,
        Trouble,
    },
};
use serde_json::{Value, json};

use super::campus::{CLIENT, COURSE, campus, event, known, outcome, sought, worker};
use crate::service::delivery::signing_key;

const CONTAINER: &str = "application/vnd.ims.lis.v2.lineitemcontainer+json";
const LINEITEM: &str = "application/vnd.ims.lis.v2.lineitem+json";
const SCORE: &str = "application/vnd.ims.lis.v1.score+json";
const AGENT: &str = "a visitor";

/// An answer, as far as it matters.
struct Said {
    status: u16,
    media_type: String,
    link: Vec<u8>,
    body: String,
}

impl Said {
    fn check(&self, status: u16, words: &str) -> &Self {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.body.contains(words), "{words}: {}", self.body);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

async fn said(request: reqwest::RequestBuilder) -> Said {
    let reply = request.send().await.expect("an answer");
    let header = |name: &str| reply.headers().get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    let (status, link) = (reply.status().as_u16(), header("link"));
    let media_type = String::from_utf8(header("content-type")).expect("a type");
    Said { status, media_type, link, body: reply.text().await.expect("a body") }
}

/// A client that shows a redirect as it is.
#[expect(clippy::disallowed_methods, reason = "the visitor is nobody's worker")]
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(20)).build().expect("a client")
}

/// Somebody who calls by hand.
struct Visitor {
    lms: SimulatedLms,
    http: reqwest::Client,
}

impl Visitor {
    async fn to(like: Likeness) -> Self {
        Self { lms: campus(like).await, http: client() }
    }

    /// A request for a token with these scopes, its claims and the name of its key changed.
    async fn ask_token(&self, scope: &str, kid: &str, changes: &Value) -> Said {
        let now = SystemClock.now().as_secs();
        let mut claims = json!({
            "iss": CLIENT, "sub": CLIENT, "aud": self.lms.token_audience(), "iat": now - 5, "exp": now + 60,
            "jti": format!("{scope}{kid}{changes}{}", self.lms.requests(Route::Token).total()),
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let pem = std::fs::read(signing_key()).expect("the tests' key");
        let key = EncodingKey::from_rsa_pem(&pem).expect("an RSA key");
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        let assertion = jsonwebtoken::encode(&header, &claims, &key).expect("an assertion");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
            ("scope", scope),
        ];
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(self.lms.token_url()).header("user-agent", AGENT);
        said(request.header("content-type", "application/x-www-form-urlencoded").body(form)).await
    }

    async fn token(&self, scopes: &[&str]) -> String {
        let grant = self.ask_token(&scopes.join(" "), "k1", &json!({})).await;
        grant.json()["access_token"].as_str().expect("a token").to_owned()
    }

    fn score_url(&self, column: &str) -> String {
        let url = self.lms.lineitem_url(COURSE, column);
        match url.split_once('?') {
            Some((path, query)) => format!("{path}/scores?{query}"),
            None => format!("{url}/scores"),
        }
    }

    fn post(&self, url: &str, token: &str, media_type: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.http.post(url).header("user-agent", AGENT).header("content-type", media_type);
        request.header("authorization", format!("Bearer {token}")).body(body.to_string())
    }

    async fn score(&self, token: &str, changes: &Value) -> Said {
        said(self.post(&self.score_url("1"), token, SCORE, &document(changes))).await
    }

    async fn make(&self, token: &str, changes: &Value) -> Said {
        let mut body = json!({"label": "New", "scoreMaximum": 10, "resourceId": "new"});
        merge(&mut body, changes);
        said(self.post(&self.lms.lineitems_url(COURSE), token, LINEITEM, &body)).await
    }

    async fn list(&self, token: &str, query: &str, accept: &str) -> Said {
        let url = self.lms.lineitems_url(COURSE);
        let url = format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' });
        let request = self.http.get(url).header("user-agent", AGENT).header("accept", accept);
        said(request.header("authorization", format!("Bearer {token}"))).await
    }

    fn grade(&self, user: &str) -> Option<f64> {
        self.lms.grade(&Cell::ags(COURSE, "1", user)).map(|grade| grade.score / grade.maximum)
    }
}

/// 8 of 10 for student 5, changed.
fn document(changes: &Value) -> Value {
    let mut document = json!({
        "userId": "5", "timestamp": "2026-01-01T00:00:00.000Z", "activityProgress": "Completed",
        "gradingProgress": "FullyGraded", "scoreGiven": 8, "scoreMaximum": 10,
    });
    merge(&mut document, changes);
    document
}

fn merge(document: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().expect("an object") {
        document[name] = value.clone();
    }
}

fn at(time: &str) -> Value {
    json!({"timestamp": format!("2026-01-01T{time}Z")})
}

/// The real sender's grades are taken at the first try, by every delivery, with the status that the platform has for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_sender_sends_is_taken_at_once_by_every_platform() {
    for like in Likeness::ALL {
        let lms = campus(like).await;
        let worker = worker(&lms).await;
        let events = json!([
            event(1, 80, &outcome(&lms, like, "{\"a\":\"<b>\"}")),
            event(2, 0, &outcome(&lms, like, "nothing")),
            event(3, 70, &known(&lms, "5", "1")),
            event(4, 60, &sought(&lms, "6", "2")),
            event(5, 50, &sought(&lms, "7", "new")),
        ]);
        let score_status = if like == Likeness::OpenEdx { 201 } else { 200 };
        let statuses = [200, 200, score_status, score_status, score_status];
        for (id, status) in worker.submit(&events).await.iter().zip(statuses) {
            let job = worker.job_in(id, "delivered").await;
            assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{like}: {job}");
            assert_eq!(job["attempts"][0]["http_status"], status, "{like}: {job}");
        }
        let share = |cell: &Cell| lms.grade(cell).map(|grade| grade.score / grade.maximum);
        assert_eq!(share(&lms.lti11_cell("{\"a\":\"<b>\"}")), Some(0.8), "{like}");
        assert_eq!(share(&lms.lti11_cell("nothing")), Some(0.0), "{like}");
        assert_eq!(share(&Cell::ags(COURSE, "2", "6")), Some(0.6), "{like}");
        assert!(lms.refusals().is_empty(), "{like}: {:?}", lms.refusals());
    }
}

#[tokio::test]
async fn moodle_orders_scores_by_the_second_and_answers_refusals_with_an_empty_list() {
    let moodle = Visitor::to(Likeness::Moodle).await;
    let token = moodle.token(&[SCOPE_SCORE]).await;
    assert_eq!(moodle.score(&token, &at("00:00:00.100")).await.check(200, "").body, "");
    moodle.score(&token, &at("00:00:00.600")).await.check(409, "[]");
    moodle.score(&token, &at("00:00:01.000")).await.check(200, "");
    let mut wiping = at("00:00:02");
    wiping["gradingProgress"] = "Pending".into();
    moodle.score(&token, &wiping).await.check(200, "");
    assert_eq!(moodle.grade("5"), None, "wiped");
    moodle.score(&token, &at("00:00:00")).await.check(200, "");
    moodle.score(&token, &json!({"timestamp": "2099-01-01T00:00:00Z"})).await.check(200, "");
    moodle.score(&token, &at("12:00:00")).await.check(409, "[]");

    moodle.lms.refuse("404", Trouble::Unknown);
    moodle.lms.refuse("500", Trouble::Locked);
    assert_eq!(moodle.score(&token, &json!({"userId": "404"})).await.check(400, "").body, "[]");
    assert_eq!(moodle.score(&token, &json!({"userId": "500"})).await.check(500, "").body, "[]");
    moodle.score(&token, &json!({"userId": "dr-no"})).await.check(502, "nginx");
    // With a line break in the request the status line is spoilt, and nothing is stored under a 200.
    let pretty = serde_json::to_string_pretty(&document(&json!({"userId": "404"}))).expect("JSON");
    let request = moodle.post(&moodle.score_url("1"), &token, SCORE, &json!({})).body(pretty);
    assert_eq!(said(request).await.check(200, "").body, "[]");
    assert_eq!(moodle.grade("404"), None);
}

#[tokio::test]
async fn moodle_is_exact_about_addresses_and_types_and_writes_strange_links() {
    let moodle = Visitor::to(Likeness::Moodle).await;
    let token = moodle.token(&[SCOPE_LINEITEM, SCOPE_SCORE]).await;
    let url = moodle.score_url("1");
    said(moodle.post(&url, &token, "application/json", &document(&json!({})))).await.check(400, "");
    let behind = format!("{}/scores", moodle.lms.lineitem_url(COURSE, "1"));
    said(moodle.post(&behind, &token, SCORE, &document(&json!({})))).await.check(400, "No handler found");
    let elsewhere = moodle.post(&url, &token, SCORE, &document(&json!({}))).header("host", "localhost");
    said(elsewhere).await.check(303, "<html");
    let spelt = moodle.http.post(&url).header("authorization", format!("bearer {token}"));
    said(spelt.header("content-type", SCORE).body(document(&json!({})).to_string())).await.check(401, "");
    for accept in ["*/*", "application/json", "application/json, */*"] {
        moodle.list(&token, "", accept).await.check(400, "");
    }
    assert_eq!(moodle.list(&token, "", CONTAINER).await.check(200, "").link, b"", "no pages unless asked for");
    let page = moodle.list(&token, "limit=1", CONTAINER).await;
    let link = String::from_utf8(page.link).expect("UTF-8");
    assert!(link.contains("&amp;from=") && link.ends_with("; rel=\u{201c}next\u{201d}"), "{link}");
    moodle.lms.disown_resource_link("elsewhere");
    moodle.make(&token, &json!({"resourceLinkId": "elsewhere"})).await.check(403, "reason");
    moodle.make(&token, &json!({"scoreMaximum": 0})).await.check(201, "lineitems/");
    let maintained = Fault::times(FaultKind::Maintenance, 1);
    moodle.lms.set_fault(Route::Scores, maintained).expect("a fault");
    moodle.score(&token, &json!({})).await.check(503, "maintenance");
}

#[tokio::test]
async fn moodle_gives_part_of_the_scopes_and_errors_that_are_no_json() {
    let moodle = Visitor::to(Likeness::Moodle).await;
    let grant = moodle.ask_token(&format!("{SCOPE_SCORE} https://x.example/y"), "k1", &json!({"aud": "any"})).await;
    assert!(grant.check(200, "Bearer").media_type.starts_with("text/html"));
    assert_eq!(grant.json()["scope"], SCOPE_SCORE);
    moodle.ask_token("https://x.example/y", "k1", &json!({})).await.check(400, "\"invalid_scope\"");
    let broken = moodle.ask_token(SCOPE_SCORE, "k9", &json!({})).await;
    broken.check(400, "\"\"kid\" invalid");
    serde_json::from_str::<Value>(&broken.body).expect_err("no JSON");
    moodle.ask_token(SCOPE_SCORE, "k1", &json!({"exp": 1})).await.check(400, "Expired token");
    moodle.ask_token(SCOPE_SCORE, "k1", &json!({"iat": 4_000_000_000_i64})).await.check(400, "iat prior");
    // No kept token serves after it was revoked, and a token without the scope is as good as none.
    let token = moodle.token(&[SCOPE_LINEITEM]).await;
    moodle.score(&token, &json!({})).await.check(401, "[]");
    moodle.lms.revoke_tokens();
    moodle.list(&token, "", CONTAINER).await.check(401, "reason");
}

#[tokio::test]
async fn canvas_counts_submissions_and_takes_the_same_time_twice() {
    let canvas = Visitor::to(Likeness::Canvas).await;
    let token = canvas.token(&[SCOPE_SCORE]).await;
    let submissions = || canvas.lms.cell(&Cell::ags(COURSE, "1", "5")).map_or(0, |state| state.submissions);
    canvas.score(&token, &json!({})).await.check(200, "\"resultUrl\":\"http");
    canvas.score(&token, &json!({})).await.check(200, "resultUrl");
    assert_eq!(submissions(), 2);
    let quiet = |more: Value| {
        let mut extension = json!({"new_submission": false});
        merge(&mut extension, &more);
        json!({"https://canvas.instructure.com/lti/submission": extension})
    };
    canvas.score(&token, &quiet(json!({}))).await.check(200, "");
    assert_eq!(submissions(), 2);
    let mut pending = quiet(json!({"preserve_score": true}));
    pending["gradingProgress"] = "Pending".into();
    canvas.score(&token, &pending).await.check(200, "");
    assert_eq!(canvas.grade("5"), Some(0.8), "preserved");
    canvas.score(&token, &json!({"gradingProgress": "Pending"})).await.check(200, "");
    assert_eq!(canvas.grade("5"), None);
    let older = json!({"timestamp": "2025-01-01T00:00:00Z"});
    canvas.score(&token, &older).await.check(400, "before last updated timestamp");
}

#[tokio::test]
async fn canvas_refuses_in_words() {
    let canvas = Visitor::to(Likeness::Canvas).await;
    let token = canvas.token(&[SCOPE_SCORE, SCOPE_LINEITEM]).await;
    canvas.lms.refuse("404", Trouble::NotEnrolled);
    canvas.lms.refuse("410", Trouble::CourseOver);
    canvas.score(&token, &json!({"userId": "404"})).await.check(422, "not a student");
    canvas.score(&token, &json!({"userId": "410"})).await.check(422, "This course has concluded");
    canvas.score(&token, &json!({"scoreGiven": -1})).await.check(422, "");
    canvas.score(&token, &json!({"scoreMaximum": 0})).await.check(422, "");
    canvas.lms.disown_resource_link("elsewhere");
    canvas.make(&token, &json!({"resourceLinkId": "elsewhere"})).await.check(404, "errors");
    let readonly = canvas.token(&[SCOPE_RESULT_READONLY]).await;
    canvas.score(&readonly, &json!({})).await.check(401, "Insufficient permissions");
    let nobody = canvas.http.post(canvas.score_url("1")).body("{}");
    said(nobody).await.check(403, "User-Agent");
    canvas.lms.set_fault(Route::Scores, Fault::times(FaultKind::RateLimit, 1)).expect("a fault");
    canvas.score(&token, &json!({})).await.check(403, "Rate Limit Exceeded");
    canvas.ask_token(&format!("{SCOPE_SCORE} https://x.example/y"), "k1", &json!({})).await.check(400, "invalid_scope");
    let url = canvas.lms.token_url();
    canvas.ask_token(SCOPE_SCORE, "k1", &json!({"aud": format!("{url}/")})).await.check(401, "the 'aud' is invalid");
    canvas.ask_token(SCOPE_SCORE, "k1", &json!({"aud": [url, "other"]})).await.check(200, "access_token");
    for _ in 0..10 {
        canvas.make(&token, &json!({})).await.check(201, "line_items");
    }
    let page = canvas.list(&token, "", "*/*").await;
    assert_eq!(page.json().as_array().map(Vec::len), Some(10));
    assert!(page.link.ends_with(b"; rel=\"next\""));
}

#[tokio::test]
async fn open_edx_echoes_drops_and_says_403() {
    let edx = Visitor::to(Likeness::OpenEdx).await;
    let grant = edx.ask_token(&format!("{SCOPE_SCORE} https://x.example/y"), "k1", &json!({})).await;
    assert_eq!((grant.check(200, "").json()["token_type"].as_str(), grant.status), (Some("bearer"), 200));
    assert_eq!(edx.ask_token("https://x.example/y", "k1", &json!({})).await.check(200, "").json()["scope"], "");
    edx.ask_token(SCOPE_SCORE, "k1", &json!({"exp": 1})).await.check(400, "unidentified_error");
    let token = edx.token(&[SCOPE_SCORE, SCOPE_LINEITEM]).await;
    edx.score(&token, &json!({})).await.check(201, "\"userId\"");
    edx.score(&token, &json!({})).await.check(400, "already exists for the provided timestamp");
    let older = json!({"timestamp": "2025-01-01T00:00:00Z"});
    edx.score(&token, &older).await.check(400, "updated to a later point in time");
    let mut zero = at("00:01:00");
    zero["scoreGiven"] = 0.into();
    edx.score(&token, &zero).await.check(201, "");
    assert_eq!(edx.grade("5"), Some(0.8), "0 is not published");
    edx.score("dead", &json!({})).await.check(403, "detail");
    edx.list(&token, "", "application/json").await.check(406, "");
    edx.list(&token, "", "*/*").await.check(200, "");
    let request = edx.post(&edx.score_url("1"), &token, "application/json", &document(&json!({})));
    said(request).await.check(415, "");
    edx.make(&token, &json!({"scoreMaximum": 7.5})).await.check(400, "");
    edx.make(&token, &json!({"resourceId": null})).await.check(400, "");
    edx.make(&token, &json!({"label": "x".repeat(101)})).await.check(400, "label");
    edx.make(&token, &json!({"tag": "x".repeat(51)})).await.check(400, "tag");
}

#[tokio::test]
async fn sakai_says_400_and_knows_no_resource_links() {
    let sakai = Visitor::to(Likeness::Sakai).await;
    let token = sakai.token(&[SCOPE_SCORE, SCOPE_LINEITEM]).await;
    sakai.ask_token(&format!("{SCOPE_SCORE} https://x.example/y"), "k1", &json!({})).await.check(400, "invalid_scope");
    assert_eq!(sakai.score(&token, &json!({})).await.check(200, "").body, "");
    let older = json!({"timestamp": "2025-01-01T00:00:00Z", "scoreGiven": 3});
    sakai.score(&token, &older).await.check(200, "");
    assert_eq!(sakai.grade("5"), Some(0.3), "what came last holds");
    sakai.score("dead", &json!({})).await.check(403, "");
    let scoreless = sakai.token(&[SCOPE_LINEITEM]).await;
    sakai.score(&scoreless, &json!({})).await.check(400, "");
    sakai.lms.refuse("404", Trouble::Unknown);
    sakai.score(&token, &json!({"userId": "404"})).await.check(400, "User does not belong to site");
    sakai.make(&token, &json!({"resourceLinkId": "link"})).await.check(200, "lineitems");
    let listed = sakai.list(&token, "resource_link_id=link", "*/*").await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "the filter is not known: {listed}");
    let listed = sakai.list(&token, "resource_id=new", "*/*").await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    said(sakai.post(&sakai.score_url("x"), &token, SCORE, &document(&json!({})))).await.check(400, "no number");
    sakai.lms.delete_line_item(COURSE, "1");
    sakai.score(&token, &json!({})).await.check(400, "line item");
}

#[tokio::test]
async fn brightspace_has_an_audience_of_its_own_and_three_answers_for_users() {
    let d2l = Visitor::to(Likeness::Brightspace).await;
    assert_ne!(d2l.lms.token_audience(), d2l.lms.token_url());
    d2l.ask_token(SCOPE_SCORE, "k1", &json!({"aud": d2l.lms.token_url()})).await.check(400, "'aud' is invalid");
    d2l.ask_token(SCOPE_SCORE, "k1", &json!({"aud": [d2l.lms.token_audience(), "x"]})).await.check(500, "");
    let token = d2l.token(&[SCOPE_SCORE]).await;
    let cases = [
        (Trouble::NotEnrolled, 403, "is not enrolled in the org unit"),
        (Trouble::Unknown, 404, "does not exist"),
        (Trouble::Locked, 422, "cannot be graded"),
    ];
    for (trouble, status, words) in cases {
        d2l.lms.refuse("5", trouble);
        d2l.score(&token, &json!({})).await.check(status, words);
    }
    d2l.lms.welcome_user("5");
    d2l.score(&token, &json!({})).await.check(200, "");
}

#[tokio::test]
async fn blackboard_wants_zones_and_whole_maxima() {
    let blackboard = Visitor::to(Likeness::Blackboard).await;
    let token = blackboard.token(&[SCOPE_SCORE, SCOPE_LINEITEM]).await;
    blackboard.score(&token, &json!({"timestamp": "2026-01-01T00:00:00"})).await.check(400, "zone");
    blackboard.lms.refuse("404", Trouble::Unknown);
    blackboard.score(&token, &json!({"userId": "404"})).await.check(400, "User could not be found");
    blackboard.make(&token, &json!({"scoreMaximum": 7.5})).await.check(400, "scoreMaximum");
    blackboard.make(&token, &json!({})).await.check(201, "/lineItems/");
    blackboard.score(&token, &json!({})).await.check(200, "");
}
