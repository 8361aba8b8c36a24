//! The LTI 1.1 Basic Outcomes service: judges a POX message and writes, reads or clears a grade.
//!
//! `imsx_codeMajor` tells success from failure; with which HTTP status and in which words is a matter of the platform's
//! manners. The exact reason of a refusal stands in the list of refusals, also where the sender is not told.

use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, StatusCode};
use quick_xml::escape::escape;

use super::faults;
use super::gradebook::{Accepted, Cell, Grade, Protocol};
use super::manners::{Distrust, Operations, OutcomeManners, RequestType, Said, SuccessWords};
use super::message::{Answer, Call, Reason};
use super::oauth_check::{OauthCheck, OauthRefusal, origin_of};
use super::platform::Platform;
use super::pox::{Message, Operation};

/// Judges one request.
pub(super) fn answer(platform: &Platform, request: &Call, now_ms: i64) -> Answer {
    let message = Message::read(&request.body);
    let envelope = Envelope::of(platform, message.as_ref());
    match judge(platform, request, message.as_ref(), now_ms) {
        Ok(done) => envelope.reply(&done),
        Err(Refused::Failure { code_major, words, code, reason }) => {
            envelope.refusal(code_major, &words, code).refusing(reason)
        }
        Err(Refused::Status { status, reason }) => {
            let words = reason.clone();
            Answer::text(faults::status(status), "text/plain; charset=utf-8", words).refusing(reason)
        }
    }
}

/// The failure that a fault asks for, as an answer to this request.
pub(super) fn failure(platform: &Platform, request: &Call, description: &str) -> Answer {
    let message = Message::read(&request.body);
    Envelope::of(platform, message.as_ref()).refusal("failure", description, None)
}

/// What a success says. Its description goes out as it is: what must be escaped is.
struct Done {
    description: String,
    body: String,
}

enum Refused {
    /// By `imsx_codeMajor`.
    Failure { code_major: &'static str, words: String, code: Option<&'static str>, reason: Reason },
    /// By an HTTP status, with plain words.
    Status { status: u16, reason: Reason },
}

impl Refused {
    fn telling(reason: Reason) -> Self {
        Self::Failure { code_major: "failure", words: reason.clone(), code: None, reason }
    }

    fn hiding(words: &str, reason: Reason) -> Self {
        Self::Failure { code_major: "failure", words: words.to_owned(), code: None, reason }
    }

    /// A request that is not believed, in the platform's way.
    fn distrusting(distrust: Distrust, refusal: OauthRefusal) -> Self {
        let (OauthRefusal::NoOauth(reason)
        | OauthRefusal::NotValid(reason)
        | OauthRefusal::Stale(reason)
        | OauthRefusal::Replayed(reason)) = &refusal;
        let reason = reason.clone();
        match (distrust, refusal) {
            (Distrust::Hidden { no_oauth, .. }, OauthRefusal::NoOauth(_)) => Self::hiding(no_oauth, reason),
            (Distrust::Hidden { not_valid, .. }, _) => Self::hiding(not_valid, reason),
            (Distrust::Told(before), _) => Self::hiding(&format!("{before}{reason}"), reason),
            (Distrust::Plain, OauthRefusal::Stale(_)) => {
                Self::Status { status: 401, reason: format!("Timestamp too old or too far in the future: {reason}") }
            }
            (Distrust::Plain, OauthRefusal::Replayed(_)) => {
                Self::Status { status: 401, reason: format!("Duplicate nonce detected: {reason}") }
            }
            (Distrust::Plain, _) => {
                Self::Status { status: 401, reason: format!("Invalid authorization header: {reason}") }
            }
        }
    }

    /// What a platform says where it does not write. No words of its own: the reason.
    fn saying(said: Said, reason: Reason) -> Self {
        match said {
            Said::Failure { words: "", code } => {
                Self::Failure { code_major: "failure", words: reason.clone(), code, reason }
            }
            Said::Failure { words, code } => {
                Self::Failure { code_major: "failure", words: words.to_owned(), code, reason }
            }
            Said::Crash | Said::Success => Self::Status { status: 500, reason },
        }
    }
}

fn judge(
    platform: &Platform,
    request: &Call,
    message: Result<&Message, &Reason>,
    now_ms: i64,
) -> Result<Done, Refused> {
    let manners = &platform.manners.outcomes;
    if request.parts.method != Method::POST {
        return Err(Refused::telling(format!("only POST is understood here, not {}", request.parts.method)));
    }
    check_type(manners.request_type.is, request)?;
    let origin = match &platform.public_url {
        Some(url) => url.clone(),
        None => origin_of(request.header(&HOST).map_err(Refused::telling)?),
    };
    let check = OauthCheck {
        origin: &origin,
        consumers: &platform.consumers,
        nonces: &platform.nonces,
        rules: &manners.oauth.is,
        now_ms,
    };
    check.check(request).map_err(|refusal| Refused::distrusting(manners.distrust.is, refusal))?;
    let message = message.map_err(|reason| Refused::telling(reason.clone()))?;
    carry_out(platform, request, message, now_ms)
}

fn check_type(rule: RequestType, request: &Call) -> Result<(), Refused> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let media_type = request.header(&CONTENT_TYPE).map_err(Refused::telling)?;
    let reason = || format!("Content-Type must be exactly application/xml, not {media_type}");
    match rule {
        RequestType::XmlElseFailure if media_type != "application/xml" => Err(Refused::telling(reason())),
        RequestType::XmlElse415 if media_type != "application/xml" => {
            Err(Refused::Status { status: 415, reason: reason() })
        }
        RequestType::AnyButForm if media_type.starts_with(FORM) => {
            Err(Refused::hiding("Message signature not valid", reason()))
        }
        _ => Ok(()),
    }
}

fn carry_out(platform: &Platform, request: &Call, message: &Message, now_ms: i64) -> Result<Done, Refused> {
    let manners = &platform.manners.outcomes;
    let operation = message.operation.as_ref();
    let operation = operation.map_err(|reason| Refused::saying(manners.bad_score.is, reason.clone()))?;
    let unsupported = |name: &str| Refused::Failure {
        code_major: "unsupported",
        words: format!("{name} is not supported"),
        code: None,
        reason: format!("{name} is not an operation of this service"),
    };
    let knows_all = manners.operations.is == Operations::All;
    match operation {
        Operation::Replace { sourced_id, score } => {
            let grade = Some(Grade { score: *score, maximum: 1.0 });
            let description = match manners.success.is {
                SuccessWords::Score => format!("Score is now {score}"),
                SuccessWords::SourcedidUnescaped => format!("Score for {sourced_id} is now {score}"),
            };
            write(platform, request, sourced_id, grade, now_ms)?;
            Ok(Done { description, body: "<replaceResultResponse/>".to_owned() })
        }
        Operation::Delete { sourced_id } if knows_all => {
            write(platform, request, sourced_id, None, now_ms)?;
            Ok(Done { description: "Score deleted".to_owned(), body: "<deleteResultResponse/>".to_owned() })
        }
        Operation::Read { sourced_id } if knows_all => read(platform, request, sourced_id),
        Operation::Delete { .. } => Err(unsupported("deleteResult")),
        Operation::Read { .. } => Err(unsupported("readResult")),
        Operation::Unknown { name } => Err(unsupported(name)),
    }
}

fn cell(request: &Call, sourced_id: &str) -> Cell {
    let column = request.parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    Cell { protocol: Protocol::Lti11, column, user: sourced_id.to_owned() }
}

fn write(
    platform: &Platform,
    request: &Call,
    sourced_id: &str,
    grade: Option<Grade>,
    now_ms: i64,
) -> Result<(), Refused> {
    let cell = cell(request, sourced_id);
    match platform.trouble_of(&cell).map(|trouble| platform.manners.outcomes.refused.is.of(trouble)) {
        Some(Said::Success) => return Ok(()),
        Some(said) => return Err(Refused::saying(said, "the sourcedid is refused".to_owned())),
        None => {}
    }
    let accepted = Accepted { at_ms: now_ms, grade, timestamp_ms: None, comment: None };
    platform.gradebook.write(cell, accepted).map_err(|error| Refused::telling(error.to_string()))
}

fn read(platform: &Platform, request: &Call, sourced_id: &str) -> Result<Done, Refused> {
    let manners = &platform.manners.outcomes;
    // What a teacher has locked can still be read.
    let said = platform.faults.trouble_of(sourced_id).map(|trouble| manners.refused.is.of(trouble));
    if let Some(said) = said.filter(|said| !matches!(said, Said::Success)) {
        return Err(Refused::saying(said, "the sourcedid is refused".to_owned()));
    }
    let grade = platform.gradebook.cell(&cell(request, sourced_id)).and_then(|state| state.shown());
    let precision = platform.manners.site.precision.is;
    let text = grade.map_or_else(|| manners.ungraded.is.to_owned(), |grade| precision.kept(grade.score).to_string());
    let body = format!(
        "<readResultResponse><result><resultScore><language>en</language>\
         <textString>{text}</textString></resultScore></result></readResultResponse>"
    );
    Ok(Done { description: "Score read".to_owned(), body })
}

/// What an answer repeats of the message, and how this platform dresses it.
struct Envelope<'a> {
    reference: &'a str,
    operation: &'a str,
    manners: &'a OutcomeManners,
}

impl<'a> Envelope<'a> {
    fn of(platform: &Platform, message: Result<&'a Message, &Reason>) -> Self {
        let (reference, operation) =
            message.map_or(("", ""), |message| (message.identifier.as_str(), message.operation_name()));
        Self { reference, operation, manners: &platform.manners.outcomes }
    }

    fn reply(&self, done: &Done) -> Answer {
        self.answer(StatusCode::OK, "success", &done.description, None, &done.body)
    }

    fn refusal(&self, code_major: &str, words: &str, code: Option<&str>) -> Answer {
        let status = faults::status(self.manners.refusal_status.is);
        self.answer(status, code_major, &escape(words), code, "")
    }

    fn answer(
        &self,
        status: StatusCode,
        code_major: &str,
        description: &str,
        code: Option<&str>,
        body: &str,
    ) -> Answer {
        let severity = if code_major == "failure" { "error" } else { "status" };
        let (reference, operation) = (escape(self.reference), escape(self.operation));
        let code =
            code.map_or_else(String::new, |code| format!("<ext_canvas_error_code>{code}</ext_canvas_error_code>"));
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <imsx_POXEnvelopeResponse xmlns=\"http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0\">\
             <imsx_POXHeader><imsx_POXResponseHeaderInfo><imsx_version>V1.0</imsx_version>\
             <imsx_messageIdentifier>re-{reference}</imsx_messageIdentifier><imsx_statusInfo>\
             <imsx_codeMajor>{code_major}</imsx_codeMajor><imsx_severity>{severity}</imsx_severity>\
             <imsx_description>{description}</imsx_description>\
             <imsx_messageRefIdentifier>{reference}</imsx_messageRefIdentifier>\
             <imsx_operationRefIdentifier>{operation}</imsx_operationRefIdentifier>{code}\
             </imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader>\
             <imsx_POXBody>{body}</imsx_POXBody></imsx_POXEnvelopeResponse>"
        );
        Answer::text(status, self.manners.reply_type.is, xml)
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Trouble;
    use super::super::manners::Likeness;
    use super::super::testing::{
        BASE, NOW_MS, answer, call, oauth_header, platform, platform_like, reason, replace_result,
    };
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
            refused.insert("gone".to_owned(), super::faults::Trouble::NotEnrolled);
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

    /// What a platform answers to this operation for this sourcedid: status and words.
    async fn asked(like: Likeness, operation: &str, sourced_id: &str, score: &str, now_ms: i64) -> (u16, String) {
        let platform = platform_like(Some(like));
        platform.faults.change_refused(|refused| {
            refused.insert("stranger".to_owned(), Trouble::NotEnrolled);
            refused.insert("locked".to_owned(), Trouble::Locked);
        });
        let path = format!("{}?a=1", platform.outcomes_path());
        let body = replace_result(sourced_id, score).replace("replaceResult", operation);
        // Open edX alone leaves the query out of what is signed.
        let signed = if like == Likeness::OpenEdx { platform.outcomes_path() } else { &path };
        let header = oauth_header(&format!("{BASE}{signed}"), &body, "n", NOW_S);
        let headers = [("content-type", "application/xml"), ("user-agent", "us"), ("authorization", &header)];
        let answer = answer(&platform, &call("POST", &path, &headers, &body), now_ms).await;
        (answer.status.as_u16(), words(&answer).to_owned())
    }

    #[tokio::test]
    async fn each_platform_refuses_a_stranger_in_its_own_way() {
        let check = async |like: Likeness, sourced_id: &str, status: u16, part: &str| {
            let (got, words) = asked(like, "replaceResult", sourced_id, "0.5", NOW_MS).await;
            assert_eq!(got, status, "{like}: {words}");
            assert!(words.contains(part), "{like}: {part}: {words}");
        };
        check(Likeness::Moodle, "stranger", 200, "<imsx_codeMajor>success<").await;
        check(Likeness::Moodle, "locked", 200, "failure</imsx_codeMajor>").await;
        check(Likeness::Moodle, "locked", 200, ">Grade replace response<").await;
        check(Likeness::Canvas, "stranger", 422, "<ext_canvas_error_code>user_not_in_course<").await;
        check(Likeness::OpenEdx, "stranger", 200, ">User not found.<").await;
        check(Likeness::Sakai, "stranger", 200, "<imsx_codeMajor>failure<").await;
        check(Likeness::Brightspace, "stranger", 200, "<imsx_codeMajor>failure<").await;
        check(Likeness::Blackboard, "stranger", 200, ">Incorrect sourcedId<").await;
        // Its success repeats the sourcedid unescaped.
        check(Likeness::OpenEdx, "a&lt;b", 200, "Score for a<b is now 0.5").await;
    }

    #[tokio::test]
    async fn each_platform_has_its_own_clock_and_operations() {
        let hour_later = NOW_MS + 3_600_000;
        let check = async |like: Likeness, operation: &str, score: &str, now_ms: i64, status: u16, part: &str| {
            let (got, words) = asked(like, operation, "s", score, now_ms).await;
            assert!(got == status && words.contains(part), "{like} {operation} {score}: {got} {words}");
        };
        let (replace, read) = ("replaceResult", "readResult");
        check(Likeness::Moodle, replace, "1", hour_later, 200, "Message signature not valid").await;
        check(Likeness::Moodle, replace, "1", NOW_MS - 86_400_000, 200, ">success<").await;
        check(Likeness::Canvas, replace, "1", hour_later, 200, ">success<").await;
        check(Likeness::Canvas, replace, "1", NOW_MS + 5_401_000, 401, "Timestamp too old").await;
        check(Likeness::OpenEdx, replace, "1", NOW_MS + 86_400_000, 200, ">success<").await;
        check(Likeness::OpenEdx, read, "1", NOW_MS, 200, ">unsupported<").await;
        check(Likeness::OpenEdx, replace, "0,5", NOW_MS, 500, "").await;
        check(Likeness::Canvas, replace, "1.5", NOW_MS, 422, ">bad_score<").await;
        check(Likeness::Moodle, replace, "1.5", NOW_MS, 200, "not between 0.0 and 1.0").await;
        check(Likeness::Moodle, read, "1", NOW_MS, 200, "<textString></textString>").await;
        check(Likeness::Blackboard, read, "1", NOW_MS, 200, "<textString>success</textString>").await;
        check(Likeness::Canvas, "growResult", "1", NOW_MS, 422, ">unsupported<").await;
    }
}
