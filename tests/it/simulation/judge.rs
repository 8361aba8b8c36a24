//! How a platform reads what it is sent, by each of the protocols, and what it answers where it is well.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use passback::{
    domain::{job::JobId, time::Timestamp},
    lti::wire::{Answer, Method, Reply, Request},
};
use serde_json::{Value, json};

use super::{
    mood::reply,
    plan::{Grade, origin},
    platform::{Entry, Heard, Kind, NotNewerWords, Platform, pox},
};

/// The most that the clocks may differ.
const SKEW_SECS_MAX: i64 = 300;

impl Platform {
    /// What a platform that is well answers, and the grade that it heard.
    pub(super) fn serve(&mut self, request: &Request, job: JobId, now: Timestamp) -> (Answer, Option<Heard>) {
        let path = request.url.as_url().path().to_owned();
        match (self.kind, path.as_str()) {
            (Kind::Lti11, "/outcomes") => self.outcome(request, job, now),
            (Kind::Delegated, "/passback") => self.passback(request, job),
            (_, "/token") => (self.grant(request, now), None),
            (_, "/items") if request.method == Method::Get => (self.list(request, now), None),
            (_, "/items") => (self.make(request, now), None),
            _ => match column_of(request) {
                Some(column) => self.score(column, request, job, now),
                None => (reply(404, "no such page"), None),
            },
        }
    }

    fn outcome(&mut self, request: &Request, job: JobId, now: Timestamp) -> (Answer, Option<Heard>) {
        let header = header(request, "authorization");
        let field = |name: &str| between(header, &format!("{name}=\""), "\"").unwrap_or_default();
        let body = String::from_utf8_lossy(&request.body);
        let Some(cell) = between(&body, "<sourcedId>", "</sourcedId>") else {
            return (pox("failure", "no sourcedid"), None);
        };
        let grade = match between(&body, "<textString>", "</textString>").map(str::parse) {
            Some(Ok(part)) if body.contains("<replaceResultRequest>") => Some(Grade::Points(part, 1.0)),
            None if body.contains("<deleteResultRequest>") => Some(Grade::Cleared),
            None if body.contains("<readResultRequest>") => None,
            _ => return (pox("unsupported", "what is this"), None),
        };
        let mut heard = grade.map(|grade| Heard { cell: cell.to_owned(), grade, timestamp: None, applied: false });
        let sent: i64 = field("oauth_timestamp").parse().unwrap_or(0);
        if field("oauth_consumer_key") != format!("key-{}", self.number) {
            return (pox("failure", "Invalid consumer key"), heard);
        }
        if (sent - now.as_secs()).abs() > SKEW_SECS_MAX {
            return (pox("failure", "Timestamp too old"), heard);
        }
        if !self.nonces.insert(field("oauth_nonce").to_owned()) {
            return (pox("failure", "Duplicate nonce detected"), heard);
        }
        match &mut heard {
            Some(heard) => self.write(heard, job),
            None => return (self.shown(cell), None),
        }
        (pox("success", "done"), heard)
    }

    /// What a readResult answers.
    fn shown(&self, cell: &str) -> Answer {
        let text = match self.book.get(cell).map(|entry| entry.grade) {
            Some(Grade::Points(given, maximum)) => (given / maximum).to_string(),
            _ => String::new(),
        };
        let result = format!("<readResultResponse><textString>{text}</textString></readResultResponse>");
        reply(200, &format!("<imsx_codeMajor>success</imsx_codeMajor>{result}"))
    }

    fn passback(&mut self, request: &Request, job: JobId) -> (Answer, Option<Heard>) {
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return (reply(400, "no JSON"), None);
        };
        let (score, maximum) = (&body["data"]["score"], &body["data"]["max_score"]);
        let grade = match (score.as_f64(), maximum.as_f64()) {
            (Some(score), Some(maximum)) => Grade::Points(score, maximum),
            _ if score.is_null() && maximum.is_null() => Grade::Cleared,
            _ => return (reply(400, "no score"), None),
        };
        let cell = body["session"].as_str().unwrap_or_default().to_owned();
        let mut heard = Heard { cell, grade, timestamp: None, applied: false };
        if !header(request, "authorization").starts_with("Basic ") {
            return (reply(401, ""), Some(heard));
        }
        self.write(&mut heard, job);
        (reply(204, ""), Some(heard))
    }

    fn grant(&mut self, request: &Request, now: Timestamp) -> Answer {
        let form = String::from_utf8_lossy(&request.body);
        let claims = between(&form, "client_assertion=", "&").and_then(|assertion| assertion.split('.').nth(1));
        let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok()).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
        let (made, ends) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
        let is_ours = claims["iss"] == format!("client-{}", self.number) && claims["sub"] == claims["iss"];
        let is_for_us = claims["aud"] == format!("{}/token", origin(self.number));
        let is_new = self.nonces.insert(claims["jti"].as_str().unwrap_or_default().to_owned());
        if !is_ours || !is_for_us || !is_new || made > now.as_secs() + SKEW_SECS_MAX || ends < now.as_secs() {
            return reply(400, r#"{"error":"invalid_grant"}"#);
        }
        self.serial += 1;
        let token = format!("token-{}-{}", self.number, self.serial);
        let life = self.flavour.token_life_secs;
        self.tokens.insert(token.clone(), now + Duration::from_secs(life));
        reply(200, &json!({"access_token": token, "expires_in": life, "token_type": "Bearer"}).to_string())
    }

    fn knows_token(&self, request: &Request, now: Timestamp) -> bool {
        let token = header(request, "authorization").strip_prefix("Bearer ").unwrap_or_default();
        self.tokens.get(token).is_some_and(|ends| *ends > now)
    }

    fn list(&mut self, request: &Request, now: Timestamp) -> Answer {
        if !self.knows_token(request, now) {
            return reply(401, "");
        }
        let url = request.url.as_url();
        let param = |name: &str| url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.to_string());
        let from: usize = param("from").and_then(|from| from.parse().ok()).unwrap_or(0);
        // Not every platform knows the filter, so this one does not.
        let page = self.flavour.page_items;
        let items = self.columns.iter().skip(from).take(page);
        let items: Vec<Value> = items.map(|(id, resource)| self.item(*id, resource)).collect();
        let mut headers = Vec::new();
        if from + page < self.columns.len() {
            headers.push(("link".to_owned(), format!("</items?from={}>; rel=\"next\"", from + page)));
        }
        Ok(Reply { status: 200, headers, body: Value::from(items).to_string().into() })
    }

    fn make(&mut self, request: &Request, now: Timestamp) -> Answer {
        if !self.knows_token(request, now) {
            return reply(401, "");
        }
        let column: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let Some(resource) = column["resourceId"].as_str() else {
            return reply(400, "a column needs a resource");
        };
        self.serial += 1;
        self.columns.insert(self.serial, resource.to_owned());
        reply(201, &self.item(self.serial, resource).to_string())
    }

    fn item(&self, id: u64, resource: &str) -> Value {
        json!({"id": format!("{}/items/{id}", origin(self.number)), "resourceId": resource, "label": "Quiz"})
    }

    fn score(&mut self, column: u64, request: &Request, job: JobId, now: Timestamp) -> (Answer, Option<Heard>) {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let user = body["userId"].as_str().unwrap_or_default();
        let resource = match self.kind {
            Kind::AgsKnown if !self.hidden.contains(&column) => Some(column.to_string()),
            Kind::AgsSought => self.columns.get(&column).cloned(),
            _ => None,
        };
        let grade = match (body["scoreGiven"].as_f64(), body["scoreMaximum"].as_f64()) {
            (Some(given), Some(maximum)) => Grade::Points(given, maximum),
            _ if body["activityProgress"] == "Initialized" => Grade::Cleared,
            _ => Grade::StateOnly,
        };
        let timestamp = body["timestamp"].as_str().and_then(|text| Timestamp::parse(text).ok());
        let Some(resource) = resource else {
            return (reply(404, "the line item is gone"), None);
        };
        let mut heard = Heard { cell: format!("{resource} {user}"), grade, timestamp, applied: false };
        if !self.knows_token(request, now) {
            return (reply(401, ""), Some(heard));
        }
        let Some(timestamp) = timestamp else {
            return (reply(400, "a score needs a timestamp"), Some(heard));
        };
        if timestamp > now + Duration::from_secs(SKEW_SECS_MAX.unsigned_abs()) {
            return (reply(400, "a timestamp in the future"), Some(heard));
        }
        let known = self.book.get(&heard.cell).and_then(|entry| entry.timestamp);
        if let (Some(words), Some(known)) = (self.flavour.not_newer, known.filter(|known| timestamp <= *known)) {
            return (not_newer(words, timestamp == known), Some(heard));
        }
        self.write(&mut heard, job);
        (reply(200, ""), Some(heard))
    }

    fn write(&mut self, heard: &mut Heard, job: JobId) {
        heard.applied = true;
        let known = self.book.get(&heard.cell);
        let (grade, by) = match (heard.grade, known) {
            // A change of state leaves the grade as it is.
            (Grade::StateOnly, Some(known)) => (known.grade, known.by),
            (Grade::StateOnly, None) => (Grade::StateOnly, None),
            (grade, _) => (grade, Some(job)),
        };
        let state_since = heard.grade == Grade::StateOnly && known.is_some();
        self.book.insert(heard.cell.clone(), Entry { grade, timestamp: heard.timestamp, by, state_since });
    }
}

fn not_newer(words: NotNewerWords, is_same: bool) -> Answer {
    match words {
        NotNewerWords::Status409 => reply(409, "a newer score is here"),
        NotNewerWords::Canvas => reply(400, "the timestamp is before last updated timestamp"),
        NotNewerWords::OpenEdx if is_same => reply(400, "a score already exists for the provided timestamp"),
        NotNewerWords::OpenEdx => reply(400, "the score was updated to a later point in time"),
    }
}

/// The cell that a readResult names.
pub(super) fn cell_read(request: &Request) -> Option<String> {
    let body = String::from_utf8_lossy(&request.body);
    body.contains("<readResultRequest>").then(|| between(&body, "<sourcedId>", "</sourcedId>").map(str::to_owned))?
}

/// The column of a score request.
pub(super) fn column_of(request: &Request) -> Option<u64> {
    request.url.as_url().path().strip_prefix("/items/")?.strip_suffix("/scores")?.parse().ok()
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
