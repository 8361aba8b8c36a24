//! LTI 1.3 delegated: a JSON POST with HTTP Basic to a client's own `grade_passback_url`, Learnosity's way.
//!
//! Everything that is forwarded stays as it came, in its order, numbers digit by digit: the client may have put
//! anything into its `lis_data`.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    json::Object,
    wire::{Method, Request},
};
use crate::domain::{
    destination::ClientEndpoint,
    event::{GradeEvent, Operation},
    outcome::FailureReason,
    platform::SharedSecret,
};

/// The request for an event.
pub(super) fn request(
    endpoint: &ClientEndpoint,
    secret: &SharedSecret,
    event: &GradeEvent,
) -> Result<Request, FailureReason> {
    let (score, max_score) = match (event.operation, &event.score) {
        (Operation::Delete, _) => ("null", "null"),
        (Operation::Replace, Some(score)) => (score.given().as_json(), score.maximum().as_json()),
        (Operation::Replace, None) => return Err(FailureReason::InvalidScore),
    };
    let data = Object::new().raw("score", score).raw("max_score", max_score).finish();
    let forwarded = endpoint.members.iter().fold(Object::new(), |body, (name, value)| body.raw(name, value.get()));
    let body = forwarded.text("oauth_consumer_key", &endpoint.consumer_key).raw("data", &data).finish();
    let basic = STANDARD.encode(format!("{}:{}", endpoint.consumer_key, secret.expose()));
    Ok(Request {
        method: Method::Post,
        url: endpoint.url.clone(),
        headers: vec![("content-type", "application/json".to_owned()), ("authorization", format!("Basic {basic}"))],
        body: body.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{destination::Destination, event::Door};

    #[test]
    fn members_and_numbers_go_as_they_came() {
        let check = |top: &str, lis_data: &str, want: &str| {
            let json = format!(
                r#"{{"session_id":"s",{top},"lis_data":{{"lti_version":"1.3","grade_passback_url":"https://c/p?t=1",{lis_data}}}}}"#
            );
            let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json);
            let Destination::Delegated(endpoint) = &event.destination else { panic!("a delegated delivery") };
            let request = request(endpoint, &SharedSecret::new("secret"), &event).expect("a request");
            assert_eq!(String::from_utf8(request.body).expect("text"), want);
            assert_eq!(request.headers[1], ("authorization", "Basic a2V5OnNlY3JldA==".to_owned()));
        };
        check(
            r#""score":8.50,"max_score":1e1"#,
            r#""z":{"b":1.10,"a":[2 , 3]},"oauth_consumer_key":"key","client_id":"c","data":{"old":1},"ö\"":null"#,
            r#"{"z":{"b":1.10,"a":[2 , 3]},"client_id":"c","ö\"":null,"oauth_consumer_key":"key","data":{"score":8.50,"max_score":1e1}}"#,
        );
        check(
            r#""operation":"delete""#,
            r#""oauth_consumer_key":"key""#,
            r#"{"oauth_consumer_key":"key","data":{"score":null,"max_score":null}}"#,
        );
    }
}
