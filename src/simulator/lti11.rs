//! The LTI 1.1 Basic Outcomes service: judges a POX message and writes, reads or clears a grade.
//!
//! As on Moodle every answer is HTTP 200 with XML, and `imsx_codeMajor` alone tells success from failure. As on
//! Moodle, too, the sender of a request that is not believed gets one of two fixed sentences; the exact reason
//! stands in the list of refusals.

use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, StatusCode};
use quick_xml::escape::escape;

use super::gradebook::{Accepted, Cell, Grade, Protocol};
use super::message::{Answer, Call, Reason};
use super::oauth_check::{OauthCheck, OauthRefusal, origin_of};
use super::platform::Platform;
use super::pox::{Message, Operation};

/// Judges one request.
pub(super) fn answer(platform: &Platform, request: &Call, now_ms: i64) -> Answer {
    let message = Message::read(&request.body);
    let reference = message.as_ref().map_or("", |message| &message.identifier);
    let operation = message.as_ref().map_or("", |message| message.operation_name());
    match judge(platform, request, message.as_ref(), now_ms) {
        Ok(done) => reply("success", &done.description, reference, operation, &done.body),
        Err(refused) => {
            reply(refused.code_major, &refused.description, reference, operation, "").refusing(refused.reason)
        }
    }
}

/// The failure that a fault asks for, as an answer to this request.
pub(super) fn failure(request: &Call, description: &str) -> Answer {
    let message = Message::read(&request.body);
    let (reference, operation) =
        message.as_ref().map_or(("", ""), |message| (&message.identifier, message.operation_name()));
    reply("failure", description, reference, operation, "")
}

struct Done {
    description: String,
    body: String,
}

struct Refused {
    code_major: &'static str,
    description: String,
    reason: Reason,
}

impl Refused {
    fn telling(reason: Reason) -> Self {
        Self { code_major: "failure", description: reason.clone(), reason }
    }

    fn hiding(description: &str, reason: Reason) -> Self {
        Self { code_major: "failure", description: description.to_owned(), reason }
    }
}

impl From<OauthRefusal> for Refused {
    fn from(refusal: OauthRefusal) -> Self {
        match refusal {
            OauthRefusal::NoOauth(reason) => Self::hiding("Missing or invalid consumer key or access token.", reason),
            OauthRefusal::NotValid(reason) => Self::hiding("Message signature not valid", reason),
        }
    }
}

fn judge(
    platform: &Platform,
    request: &Call,
    message: Result<&Message, &Reason>,
    now_ms: i64,
) -> Result<Done, Refused> {
    if request.parts.method != Method::POST {
        return Err(Refused::telling(format!("only POST is understood here, not {}", request.parts.method)));
    }
    let media_type = request.header(&CONTENT_TYPE).map_err(Refused::telling)?;
    if media_type != "application/xml" {
        return Err(Refused::telling(format!("Content-Type must be exactly application/xml, not {media_type}")));
    }
    let origin = match &platform.public_url {
        Some(url) => url.clone(),
        None => origin_of(request.header(&HOST).map_err(Refused::telling)?),
    };
    let check = OauthCheck { origin: &origin, consumers: &platform.consumers, nonces: &platform.nonces, now_ms };
    check.check(request)?;
    let message = message.map_err(|reason| Refused::telling(reason.clone()))?;
    carry_out(platform, request, message, now_ms)
}

fn carry_out(platform: &Platform, request: &Call, message: &Message, now_ms: i64) -> Result<Done, Refused> {
    let operation = message.operation.as_ref().map_err(|reason| Refused::telling(reason.clone()))?;
    let cell = |sourced_id: &str| {
        if platform.faults.refuses(sourced_id) {
            return Err(Refused::telling("User not found".to_owned()));
        }
        let column = request.parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        Ok(Cell { protocol: Protocol::Lti11, column, user: sourced_id.to_owned() })
    };
    let write = |cell, grade| {
        let accepted = Accepted { at_ms: now_ms, grade, timestamp_ms: None, comment: None };
        platform.gradebook.write(cell, accepted).map_err(|error| Refused::telling(error.to_string()))
    };
    match operation {
        Operation::Replace { sourced_id, score } => {
            write(cell(sourced_id)?, Some(Grade { score: *score, maximum: 1.0 }))?;
            Ok(Done { description: format!("Score is now {score}"), body: "<replaceResultResponse/>".to_owned() })
        }
        Operation::Delete { sourced_id } => {
            write(cell(sourced_id)?, None)?;
            Ok(Done { description: "Score deleted".to_owned(), body: "<deleteResultResponse/>".to_owned() })
        }
        Operation::Read { sourced_id } => {
            let grade = platform.gradebook.cell(&cell(sourced_id)?).and_then(|state| state.grade);
            let text = grade.map_or_else(String::new, |grade| grade.score.to_string());
            let body = format!(
                "<readResultResponse><result><resultScore><language>en</language>\
                 <textString>{text}</textString></resultScore></result></readResultResponse>"
            );
            Ok(Done { description: "Score read".to_owned(), body })
        }
        Operation::Unknown { name } => Err(Refused {
            code_major: "unsupported",
            description: format!("{name} is not supported"),
            reason: format!("{name} is not an operation of Basic Outcomes"),
        }),
    }
}

fn reply(code_major: &str, description: &str, reference: &str, operation: &str, body: &str) -> Answer {
    let severity = if code_major == "failure" { "error" } else { "status" };
    let (description, reference, operation) = (escape(description), escape(reference), escape(operation));
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <imsx_POXEnvelopeResponse xmlns=\"http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0\">\
         <imsx_POXHeader><imsx_POXResponseHeaderInfo><imsx_version>V1.0</imsx_version>\
         <imsx_messageIdentifier>re-{reference}</imsx_messageIdentifier><imsx_statusInfo>\
         <imsx_codeMajor>{code_major}</imsx_codeMajor><imsx_severity>{severity}</imsx_severity>\
         <imsx_description>{description}</imsx_description>\
         <imsx_messageRefIdentifier>{reference}</imsx_messageRefIdentifier>\
         <imsx_operationRefIdentifier>{operation}</imsx_operationRefIdentifier>\
         </imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader>\
         <imsx_POXBody>{body}</imsx_POXBody></imsx_POXEnvelopeResponse>"
    );
    Answer::text(StatusCode::OK, "application/xml", xml)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BASE, NOW_MS, answer, call, oauth_header, platform, reason, replace_result};
    use super::*;

    const NOW_S: i64 = NOW_MS / 1000;

    fn signed(path: &str, body: &str, nonce: &str) -> Call {
        let header = oauth_header(&format!("{BASE}{path}"), body, nonce, NOW_S);
        call("POST", path, &[("content-type", "application/xml"), ("authorization", &header)], body)
    }

    fn words(answer: &Answer) -> &str {
        std::str::from_utf8(&answer.body).expect("XML is UTF-8")
    }

    #[tokio::test]
    async fn a_good_message_writes_the_grade_and_its_replay_does_not() {
        let platform = platform();
        let message = signed("/lti11/outcomes", &replace_result("s:1", "0.85"), "n1");
        let first = answer(&platform, &message, NOW_MS).await;
        assert_eq!(reason(&first), "");
        assert!(words(&first).contains("<imsx_codeMajor>success</imsx_codeMajor>"));
        assert!(words(&first).contains("<imsx_messageRefIdentifier>m&amp;1</imsx_messageRefIdentifier>"));
        let replayed = answer(&platform, &message, NOW_MS + 1).await;
        assert_eq!((replayed.status, reason(&replayed)), (StatusCode::OK, "the nonce was used before"));
        assert!(words(&replayed).contains("<imsx_codeMajor>failure</imsx_codeMajor>"));
        assert!(words(&replayed).contains("<imsx_description>Message signature not valid<"));
        let state = platform.gradebook.cell(&Cell::lti11("s:1")).expect("written");
        assert_eq!((state.grade.map(|grade| grade.score), state.writes), (Some(0.85), 1));
    }

    #[tokio::test]
    async fn the_query_of_the_address_is_signed_and_names_another_cell() {
        let platform = platform();
        let path = "/lti11/outcomes?a%20b=1%2B2&course=7";
        let good = signed(path, &replace_result("s", "1"), "n1");
        assert_eq!(reason(&answer(&platform, &good, NOW_MS).await), "");
        let mut other = signed(path, &replace_result("s", "1"), "n2");
        other.parts.uri = "/lti11/outcomes?a%20b=1%2B2&course=8".parse().expect("an address");
        assert_eq!(reason(&answer(&platform, &other, NOW_MS).await), "oauth_signature is not right");
        let cells = platform.gradebook.snapshot(|_| true);
        assert_eq!(cells.iter().map(|(cell, _)| cell.column.as_str()).collect::<Vec<_>>(), [path]);
    }

    #[tokio::test]
    async fn what_was_tampered_with_is_refused() {
        let platform = platform();
        let path = "/lti11/outcomes";
        let body = replace_result("s", "0.5");
        let header = oauth_header(&format!("{BASE}{path}"), &body, "n", NOW_S);
        let xml = "application/xml";
        let cases = [
            (xml, header.clone(), replace_result("s", "0.6"), NOW_MS, "oauth_body_hash"),
            (xml, header.replace("oauth_nonce=\"n\"", "oauth_nonce=\"o\""), body.clone(), NOW_MS, "not right"),
            (xml, header.replace("\"key\"", "\"yek\""), body.clone(), NOW_MS, "not known"),
            (xml, header.replace("1.0", "2.0"), body.clone(), NOW_MS, "oauth_version"),
            (xml, header.replace("HMAC-SHA1", "HMAC-SHA256"), body.clone(), NOW_MS, "oauth_signature_method"),
            (xml, header.replace("oauth_body_hash", "body_hash"), body.clone(), NOW_MS, "oauth_body_hash is missing"),
            (xml, header.replace("OAuth ", "Basic "), body.clone(), NOW_MS, "does not begin"),
            (xml, header.clone(), body.clone(), NOW_MS + 301_000, "oauth_timestamp is -301 s off"),
            (xml, header.clone(), body.clone(), NOW_MS - 301_000, "oauth_timestamp is 301 s off"),
            ("application/xml; charset=utf-8", header.clone(), body.clone(), NOW_MS, "Content-Type"),
        ];
        for (media_type, header, body, now_ms, expected) in cases {
            let tampered = call("POST", path, &[("content-type", media_type), ("authorization", &header)], &body);
            let refused = answer(&platform, &tampered, now_ms).await;
            assert!(reason(&refused).contains(expected), "{expected}: {}", reason(&refused));
        }
        assert!(platform.gradebook.snapshot(|_| true).is_empty());
    }

    #[tokio::test]
    async fn grades_are_read_and_deleted_and_other_operations_unsupported() {
        let platform = platform();
        platform.faults.change_refused(|refused| {
            refused.insert("gone".to_owned());
        });
        let send = async |operation: &str, sourced_id: &str, nonce: &str| {
            let body = replace_result(sourced_id, "0.25").replace("replaceResult", operation);
            let answer = answer(&platform, &signed("/lti11/outcomes", &body, nonce), NOW_MS).await;
            words(&answer).to_owned()
        };
        assert!(send("readResult", "s", "1").await.contains("<textString></textString>"));
        assert!(send("replaceResult", "s", "2").await.contains("<replaceResultResponse/>"));
        assert!(send("readResult", "s", "3").await.contains("<textString>0.25</textString>"));
        assert!(send("deleteResult", "s", "4").await.contains("<deleteResultResponse/>"));
        assert!(send("readResult", "s", "5").await.contains("<textString></textString>"));
        assert!(send("growResult", "s", "6").await.contains("<imsx_codeMajor>unsupported<"));
        assert!(send("replaceResult", "gone", "7").await.contains("User not found"));
    }
}
