//! LTI 1.1 Basic Outcomes (LTI 1.1.1, section 6): the POX envelopes of replaceResult, deleteResult and readResult, and
//! what their replies say.
//!
//! The reply is read with a lenient scan and no XML parser: Open edX repeats the sourcedid unescaped in a reply that
//! says success, Blackbaud's replies are malformed, Moodle calls them `text/html`. Only `imsx_codeMajor` decides.

use std::borrow::Cow;

use url::Url;

use super::{
    exchange::Standing,
    oauth1::Signer,
    wire::{Method, Request},
    words,
};
use crate::domain::{
    destination::OutcomeService,
    event::{GradeEvent, Operation},
    family::Family,
    outcome::FailureReason,
    platform::SharedSecret,
    time::Timestamp,
    verification::{Grade, Reading},
};

/// One grade, and the outcome service that it goes to.
pub(super) struct OutcomeErrand {
    service: OutcomeService,
    secret: SharedSecret,
    /// The normalised score; none clears the grade.
    score: Option<String>,
    /// What Canvas takes beyond the standard; a strict schema elsewhere may refuse it.
    extension: Option<CanvasExtension>,
}

struct CanvasExtension {
    /// Without it Canvas takes the time of the request, and a grade that had to wait makes the student late.
    submitted_at: Timestamp,
    comment: Option<String>,
}

impl OutcomeErrand {
    /// What is to be told. The submission time is that of the event, else when the session changed state.
    pub(super) fn new(
        service: OutcomeService,
        secret: SharedSecret,
        event: &GradeEvent,
        standing: Standing,
    ) -> Result<Self, FailureReason> {
        let score = match (event.operation, &event.score) {
            (Operation::Delete, _) => None,
            (Operation::Replace, Some(score)) => Some(score.normalised_text()),
            (Operation::Replace, None) => return Err(FailureReason::InvalidScore),
        };
        let is_canvas = Family::of(&event.destination).or(standing.shown) == Some(Family::Canvas);
        let extension = is_canvas.then(|| CanvasExtension {
            submitted_at: event.submitted_at.unwrap_or(standing.occurred_at),
            comment: event.comment.clone(),
        });
        Ok(Self { service, secret, score, extension })
    }

    /// What is only to be read.
    pub(super) fn reading(service: OutcomeService, secret: SharedSecret) -> Self {
        Self { service, secret, score: None, extension: None }
    }

    /// The signed request that writes or clears the grade, with a message identifier, nonce and timestamp of its own.
    pub(super) fn request(&self, now: Timestamp, luck: u128) -> Request {
        let (operation, result, details) = match &self.score {
            Some(score) => ("replaceResult", self.result(score), self.submission_details(now)),
            None => ("deleteResult", String::new(), String::new()),
        };
        self.signed(&self.envelope(operation, &result, &details, luck), now, luck)
    }

    /// The signed request that reads the grade.
    pub(super) fn read_request(&self, now: Timestamp, luck: u128) -> Request {
        self.signed(&self.envelope("readResult", "", "", luck), now, luck)
    }

    /// The address with as much of it as the platform counts to the signature: Open edX goes by the parameters of the
    /// header alone, others by those of the query as well.
    fn signed_url(&self) -> Cow<'_, Url> {
        let url = self.service.url.as_url();
        match Family::of_service(&self.service.url) {
            Some(Family::OpenEdx) if url.query().is_some() => {
                let mut without_query = url.clone();
                without_query.set_query(None);
                Cow::Owned(without_query)
            }
            _ => Cow::Borrowed(url),
        }
    }

    fn signed(&self, envelope: &str, now: Timestamp, luck: u128) -> Request {
        let body = envelope.as_bytes().to_vec();
        let signer = Signer { key: &self.service.consumer_key, secret: &self.secret, now, luck };
        let authorization = signer.authorization(&self.signed_url(), &body);
        Request {
            method: Method::Post,
            url: self.service.url.clone(),
            // Exactly this type: Canvas answers 415 to one with a charset.
            headers: vec![("content-type", "application/xml".to_owned()), ("authorization", authorization)],
            body,
        }
    }

    fn envelope(&self, operation: &str, result: &str, details: &str, luck: u128) -> String {
        let sourcedid = escape_xml(&self.service.sourcedid);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <imsx_POXEnvelopeRequest xmlns=\"http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0\">\
             <imsx_POXHeader><imsx_POXRequestHeaderInfo><imsx_version>V1.0</imsx_version>\
             <imsx_messageIdentifier>{luck:032x}</imsx_messageIdentifier>\
             </imsx_POXRequestHeaderInfo></imsx_POXHeader>\
             <imsx_POXBody><{operation}Request><resultRecord>\
             <sourcedGUID><sourcedId>{sourcedid}</sourcedId></sourcedGUID>{result}\
             </resultRecord>{details}</{operation}Request></imsx_POXBody></imsx_POXEnvelopeRequest>"
        )
    }

    fn result(&self, score: &str) -> String {
        let comment = self.extension.as_ref().and_then(|extension| extension.comment.as_deref());
        let comment = comment
            .map_or(String::new(), |comment| format!("<resultData><text>{}</text></resultData>", escape_xml(comment)));
        format!(
            "<result><resultScore><language>en</language><textString>{score}</textString></resultScore>\
             {comment}</result>"
        )
    }

    fn submission_details(&self, now: Timestamp) -> String {
        self.extension.as_ref().map_or(String::new(), |extension| {
            // Canvas refuses a time more than a minute ahead.
            let submitted_at = extension.submitted_at.min(now);
            format!("<submissionDetails><submittedAt>{submitted_at}</submittedAt></submissionDetails>")
        })
    }
}

/// Escapes a text for XML content and attributes. A carriage return would be read as a line feed, so it is a number.
pub(super) fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\r' => escaped.push_str("&#13;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `imsx_codeMajor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CodeMajor {
    /// Done.
    Success,
    /// Still at it.
    Processing,
    /// Understood and refused.
    Failure,
    /// Not something that this service does.
    Unsupported,
    /// A word that the standard does not know.
    Other(String),
}

/// What a POX reply says of itself (`imsx_statusInfo`). Its words are looked for when somebody asks: most replies say
/// success, and nobody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoxStatus<'a> {
    /// What it decided.
    pub(super) code: CodeMajor,
    text: Cow<'a, str>,
}

impl<'a> PoxStatus<'a> {
    /// Reads a reply; none where nothing in it looks like the status of one.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let code = match content(&text, "imsx_codeMajor")?.to_ascii_lowercase().as_str() {
            "" => return None,
            "success" => CodeMajor::Success,
            "processing" => CodeMajor::Processing,
            "failure" => CodeMajor::Failure,
            "unsupported" => CodeMajor::Unsupported,
            other => CodeMajor::Other(other.to_owned()),
        };
        Some(Self { code, text })
    }

    /// `imsx_description`, decoded, on one line.
    pub(super) fn description(&self) -> String {
        content(&self.text, "imsx_description").unwrap_or_default()
    }

    /// `ext_canvas_error_code`, where Canvas gives one.
    pub(super) fn canvas_code(&self) -> Option<String> {
        content(&self.text, "ext_canvas_error_code").filter(|code| !code.is_empty())
    }

    /// The platform's words: what it says of the failure, else its code.
    pub(super) fn words(&self) -> String {
        let code = match &self.code {
            CodeMajor::Success => "success",
            CodeMajor::Processing => "processing",
            CodeMajor::Failure => "failure",
            CodeMajor::Unsupported => "unsupported",
            CodeMajor::Other(other) => other,
        };
        let description = self.description();
        let words = if description.is_empty() { code } else { &description };
        match self.canvas_code() {
            Some(canvas) => format!("{words} [{canvas}]"),
            None => words.to_owned(),
        }
    }
}

/// What a readResult that succeeded says of the grade; the platform's text where that is no grade. Moodle and Canvas
/// leave it empty where nothing was graded, and Blackboard says "success" there.
pub(super) fn read_grade(body: &[u8]) -> Result<Reading, String> {
    let text = String::from_utf8_lossy(body);
    let Some(shown) = content(&text, "textString") else {
        // An answer without any result is one that has none; a status alone does not say what was looked at.
        return if content(&text, "readResultResponse").is_some() { Ok(Reading::Empty) } else { Err(String::new()) };
    };
    if shown.is_empty() || shown.eq_ignore_ascii_case("success") {
        return Ok(Reading::Empty);
    }
    let number = if shown.contains('.') { shown.clone() } else { shown.replace(',', ".") };
    let grade = number.parse().ok().and_then(|share| Grade::new(share, 1.0));
    grade.map(Reading::Grade).ok_or(shown)
}

/// The text of the first element with this local name, whatever its prefix: decoded, on one line. Ends at its own
/// closing tag, so markup inside, escaped or not, is part of the text.
fn content(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let end = rest.find(['>', '<']).unwrap_or(rest.len());
        let tag = &rest[..end];
        if !is_named(tag.trim_end_matches('/'), name) {
            continue;
        }
        if tag.ends_with('/') {
            return Some(String::new());
        }
        let inside = rest.get(end + 1..)?;
        let closed = closing_tag(inside, name).or_else(|| inside.find('<')).unwrap_or(inside.len());
        return Some(decode(&inside[..closed]));
    }
    None
}

/// Where `</prefix:name>` begins.
fn closing_tag(text: &str, name: &str) -> Option<usize> {
    text.match_indices("</").map(|(at, _)| at).find(|at| {
        let tag = &text[at + 2..];
        is_named(&tag[..tag.find(['>', '<']).unwrap_or(tag.len())], name)
    })
}

/// Whether a tag, without its brackets, has this local name.
fn is_named(tag: &str, name: &str) -> bool {
    let full = tag.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
    let local = full.rsplit_once(':').map_or(full, |(_, local)| local);
    local.eq_ignore_ascii_case(name)
}

fn decode(inside: &str) -> String {
    let trimmed = inside.trim();
    match trimmed.strip_prefix("<![CDATA[").and_then(|inner| inner.strip_suffix("]]>")) {
        Some(verbatim) => words::one_line(verbatim),
        None => words::one_line(&words::decode_entities(trimmed)),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::{destination::Destination, event::Door};
    use CodeMajor::{Failure, Other, Processing, Success, Unsupported};

    /// `tests/vectors/pox.json`.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vector {
        name: String,
        event: serde_json::Value,
        envelope: String,
    }

    #[test]
    fn the_envelopes_are_golden() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../tests/vectors/pox.json")).expect("vectors");
        for vector in vectors {
            let event = GradeEvent::parse(vector.event.to_string().as_bytes(), Door::Event).expect(&vector.name);
            let Destination::Lti11(service) = event.destination.clone() else { panic!("an LTI 1.1 event") };
            let occurred_at = event.occurred_at.expect("a time");
            let now = Timestamp::parse("2026-11-21T12:00:00Z").expect("a time");
            let errand = OutcomeErrand::new(service, SharedSecret::new("hush"), &event, Standing::first(occurred_at))
                .expect("an errand");
            let request = errand.request(now, 0xabc);
            assert_eq!(String::from_utf8(request.body).expect("text"), vector.envelope, "{}", vector.name);
            assert_eq!(request.headers[0], ("content-type", "application/xml".to_owned()));
            assert!(request.headers[1].1.starts_with("OAuth oauth_body_hash="));
        }
    }

    #[test]
    fn a_look_at_a_grade_is_signed_like_a_grade() {
        let json = br#"{"session_id":"s","score":1,"max_score":1,"lis_data":{"lis_outcome_service_url":"https://l/o","lis_result_sourcedid":"{\"a\":1}","oauth_consumer_key":"k"}}"#;
        let event = GradeEvent::parse(json, Door::Event).expect("an event");
        let Destination::Lti11(service) = event.destination else { panic!("an LTI 1.1 event") };
        let request =
            OutcomeErrand::reading(service, SharedSecret::new("hush")).read_request(Timestamp::default(), 0xabc);
        let body = String::from_utf8(request.body).expect("text");
        assert!(body.contains("<imsx_messageIdentifier>00000000000000000000000000000abc</imsx_messageIdentifier>"));
        assert!(body.contains(
            "<imsx_POXBody><readResultRequest><resultRecord><sourcedGUID><sourcedId>{&quot;a&quot;:1}</sourcedId>\
             </sourcedGUID></resultRecord></readResultRequest></imsx_POXBody>"
        ));
        assert_eq!(request.headers[0], ("content-type", "application/xml".to_owned()));
        assert!(request.headers[1].1.starts_with("OAuth oauth_body_hash="));
    }

    #[test]
    fn the_query_is_signed_but_for_open_edx() {
        let authorization = |url: &str| {
            let lis_data =
                format!(r#"{{"lis_outcome_service_url":"{url}","lis_result_sourcedid":"s","oauth_consumer_key":"k"}}"#);
            let json = format!(r#"{{"session_id":"s","score":1,"max_score":1,"lis_data":{lis_data}}}"#);
            let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json);
            let Destination::Lti11(service) = event.destination.clone() else { panic!("an LTI 1.1 event") };
            let now = Timestamp::from_secs(1_800_000_000);
            let errand = OutcomeErrand::new(service, SharedSecret::new("hush"), &event, Standing::first(now));
            let request = errand.expect("an errand").request(now, 1);
            assert_eq!(request.url.as_url().as_str(), url, "it goes where it was told to");
            request.headers[1].1.clone()
        };
        let moodle = "https://m/mod/lti/service.php";
        assert_ne!(authorization(moodle), authorization(&format!("{moodle}?a=1")));
        let open_edx = "https://e/courses/c/xblock/u/handler_noauth/outcome_service_handler";
        assert_eq!(authorization(open_edx), authorization(&format!("{open_edx}?a=1")));
    }

    #[test]
    fn a_reply_is_read_however_it_is_written() {
        let check = |body: &str, want: Option<(CodeMajor, &str, Option<&str>)>| {
            let got = PoxStatus::read(body.as_bytes());
            let got = got.as_ref().map(|s| (s.code.clone(), s.description(), s.canvas_code()));
            let want = want.map(|(code, words, canvas)| (code, words.to_owned(), canvas.map(str::to_owned)));
            assert_eq!(got, want, "{body}");
        };
        let full = "<?xml version=\"1.0\"?><imsx_POXEnvelopeResponse xmlns=\"u\"><imsx_POXHeader>\
            <imsx_POXResponseHeaderInfo><imsx_statusInfo>\n <imsx_codeMajor> Success </imsx_codeMajor>\
            <imsx_severity>status</imsx_severity><imsx_description>Result read &amp; done</imsx_description>\
            <imsx_messageRefIdentifier/></imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader>\
            <imsx_POXBody><replaceResultResponse/></imsx_POXBody></imsx_POXEnvelopeResponse>";
        check(full, Some((Success, "Result read & done", None)));
        check(
            "<ns2:imsx_codeMajor a='1'>failure</ns2:imsx_codeMajor><ns2:imsx_description/>\
             <ext_canvas_error_code>bad_score</ext_canvas_error_code>",
            Some((Failure, "", Some("bad_score"))),
        );
        check("<imsx_codeMajor><![CDATA[ processing ]]></imsx_codeMajor>", Some((Processing, "", None)));
        check("<IMSX_CODEMAJOR>UNSUPPORTED</IMSX_CODEMAJOR>", Some((Unsupported, "", None)));
        check("<imsx_codeMajor>maybe</imsx_codeMajor>", Some((Other("maybe".to_owned()), "", None)));
        // Open edX: the sourcedid stands unescaped in the description.
        check(
            "<imsx_codeMajor>success</imsx_codeMajor><imsx_description>Score for {\"a\":\"<b&c>\"} is 0.5\
             </imsx_description>",
            Some((Success, "Score for {\"a\":\"<b&c>\"} is 0.5", None)),
        );
        check("<imsx_codeMajor>success", Some((Success, "", None)));
        check("<imsx_codeMajor>success<x>", Some((Success, "", None)));
        check("<!-- <imsx_codeMajor>success</imsx_codeMajor> -->", None);
        check("<imsx_codeMajor/>", None);
        check("<imsx_codeMajor></imsx_codeMajor>", None);
        check("<imsx_codeMajor", None);
        check("<html><body>Log in</body></html>", None);
        check("", None);
        check("<<<>>></", None);
    }

    #[test]
    fn a_grade_is_read_from_whatever_a_platform_writes() {
        let grade = |share| Ok(Reading::Grade(Grade::new(share, 1.0).expect("a grade")));
        let check = |body: &str, want: Result<Reading, &str>| {
            assert_eq!(read_grade(body.as_bytes()), want.map_err(str::to_owned), "{body}");
        };
        let result = |text: &str| {
            format!(
                "<imsx_POXBody><readResultResponse><result><resultScore><language>en</language>\
                 <textString>{text}</textString></resultScore></result></readResultResponse></imsx_POXBody>"
            )
        };
        check(&result("0.85"), grade(0.85));
        check(&result(" 0.3333334\n"), grade(0.333_333_4));
        check(&result("0"), grade(0.0));
        check(&result("1.0"), grade(1.0));
        check(&result("0,5"), grade(0.5));
        check(&result("8.5e-1"), grade(0.85));
        // Nothing was graded: Moodle and Canvas; Blackboard; an answer without a result.
        check(&result(""), Ok(Reading::Empty));
        check("<readResultResponse><result><resultScore><textString/></resultScore>", Ok(Reading::Empty));
        check(&result("success"), Ok(Reading::Empty));
        check("<imsx_POXBody><readResultResponse/></imsx_POXBody>", Ok(Reading::Empty));
        // Malformed, as Blackbaud's: a tag that is never closed, one that is closed by another, a prefix that nobody made.
        check("<readResultResponse><result><resultScore><textString>0.5</resultScore>", grade(0.5));
        check("<readResultResponse><resultScore><language>en<textString>0.5", grade(0.5));
        check("<ns0:readResultResponse><ns0:textString>0.5</ns0:textString>", grade(0.5));
        // No number, and no answer to this question.
        check(&result("A+"), Err("A+"));
        check(&result("NaN"), Err("NaN"));
        check(&result("1e999"), Err("1e999"));
        check("<imsx_POXBody/>", Err(""));
        check("", Err(""));
    }

    #[test]
    fn without_a_score_there_is_nothing_to_send() {
        let json = br#"{"session_id":"s","score":1,"max_score":1,"lis_data":{"lis_outcome_service_url":"https://l/o","lis_result_sourcedid":"s-1","oauth_consumer_key":"k"}}"#;
        let mut event = GradeEvent::parse(json, Door::Event).expect("an event");
        event.score = None;
        let Destination::Lti11(service) = event.destination.clone() else { panic!("an LTI 1.1 event") };
        let errand =
            OutcomeErrand::new(service, SharedSecret::new("hush"), &event, Standing::first(Timestamp::default()));
        assert_eq!(errand.err(), Some(FailureReason::InvalidScore));
    }
}
