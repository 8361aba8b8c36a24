//! Reads a POX request of LTI 1.1 Basic Outcomes strictly: namespace, order-free but exactly one of each element,
//! a plain decimal score.
//!
//! The message is read into a small tree first, which the size limit of a request bounds. No document type and no
//! entities but the five of XML. Extensions inside `result` are let through unread.

use quick_xml::NsReader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};

use super::message::Reason;

const NAMESPACE: &str = "http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0";
/// Deeper than any extension goes.
const DEPTH_MAX: usize = 24;

/// A message whose header is good. Its operation may not be: then a reply can still name the message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) identifier: String,
    pub(super) operation: Result<Operation, Reason>,
    operation_name: String,
}

/// What a message asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Operation {
    Replace { sourced_id: String, score: f64 },
    Read { sourced_id: String },
    Delete { sourced_id: String },
    Unknown { name: String },
}

impl Message {
    pub(super) fn read(body: &[u8]) -> Result<Self, Reason> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
        let root = Node::read(text)?;
        if root.name != "imsx_POXEnvelopeRequest" {
            return Err(format!("the root element is {}, not imsx_POXEnvelopeRequest", root.name));
        }
        let info = root.child("imsx_POXHeader")?.child("imsx_POXRequestHeaderInfo")?;
        let version = info.child("imsx_version")?.text.as_str();
        if version != "V1.0" {
            return Err(format!("imsx_version is {version}, not V1.0"));
        }
        let identifier = info.child("imsx_messageIdentifier")?.filled_text()?.to_owned();
        let [request] = root.child("imsx_POXBody")?.children.as_slice() else {
            return Err("imsx_POXBody does not hold exactly one request".to_owned());
        };
        let operation_name = request.name.strip_suffix("Request").unwrap_or(&request.name).to_owned();
        Ok(Self { identifier, operation: Operation::read(request), operation_name })
    }

    /// `replaceResult`, say.
    pub(super) fn operation_name(&self) -> &str {
        &self.operation_name
    }
}

impl Operation {
    fn read(request: &Node) -> Result<Self, Reason> {
        let record = || request.child("resultRecord");
        let sourced_id =
            || Ok::<_, Reason>(record()?.child("sourcedGUID")?.child("sourcedId")?.filled_text()?.to_owned());
        match request.name.as_str() {
            "replaceResultRequest" => {
                let score = record()?.child("result")?.child("resultScore")?;
                let language = score.child("language")?.text.as_str();
                if language != "en" {
                    return Err(format!("the language of the score is {language:?}, and must be en"));
                }
                let score = score_of(&score.child("textString")?.text)?;
                Ok(Self::Replace { sourced_id: sourced_id()?, score })
            }
            "readResultRequest" => Ok(Self::Read { sourced_id: sourced_id()? }),
            "deleteResultRequest" => Ok(Self::Delete { sourced_id: sourced_id()? }),
            name => Ok(Self::Unknown { name: name.to_owned() }),
        }
    }
}

/// A plain decimal from 0.0 to 1.0: digits, at most one point with digits on both sides, nothing else.
fn score_of(text: &str) -> Result<f64, Reason> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > 32 || !digits(whole) || !digits(fraction) {
        return Err("Score must be numeric: a plain decimal with a point".to_owned());
    }
    let score: f64 = text.parse().map_err(|_| "Score must be numeric")?;
    if score > 1.0 {
        return Err("Score not between 0.0 and 1.0".to_owned());
    }
    Ok(score)
}

#[derive(Debug, Default)]
struct Node {
    name: String,
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn read(text: &str) -> Result<Self, Reason> {
        if text.chars().any(is_forbidden) {
            return Err("the XML holds a character that XML cannot carry".to_owned());
        }
        let mut reader = NsReader::from_str(text);
        // The bottom of the stack stands for the document; its one child will be the root.
        let mut stack = vec![Self::default()];
        loop {
            let (namespace, event) = reader.read_resolved_event().map_err(|error| format!("not XML: {error}"))?;
            let is_ours = namespace == ResolveResult::Bound(Namespace(NAMESPACE));
            let top = stack.last_mut().ok_or("an element too many is closed")?;
            match event {
                Event::Start(start) => {
                    stack.push(Self::named(start.local_name().into_inner(), is_ours)?);
                }
                Event::Empty(start) => top.children.push(Self::named(start.local_name().into_inner(), is_ours)?),
                Event::End(_) => close(&mut stack)?,
                Event::Text(piece) => top.text.push_str(&piece.xml10_content()),
                Event::CData(piece) => top.text.push_str(&piece.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|error| format!("not XML: {error}"))?;
                    match (character, resolve_xml_entity(&reference)) {
                        (Some(character), _) if !is_forbidden(character) => {
                            top.text.push(character);
                        }
                        (None, Some(replacement)) => top.text.push_str(replacement),
                        _ => return Err(format!("&{}; is not an entity of XML", &*reference)),
                    }
                }
                Event::DocType(_) => return Err("a document type is not welcome here".to_owned()),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => return Self::root_of(stack),
            }
            if stack.len() > DEPTH_MAX {
                return Err("the XML is nested too deeply".to_owned());
            }
        }
    }

    fn named(name: &str, is_ours: bool) -> Result<Self, Reason> {
        if is_ours {
            Ok(Self { name: name.to_owned(), ..Self::default() })
        } else {
            Err(format!("{name} is not in the namespace {NAMESPACE}"))
        }
    }

    fn root_of(stack: Vec<Self>) -> Result<Self, Reason> {
        let mut open = stack.into_iter();
        let (Some(mut document), None) = (open.next(), open.next()) else {
            return Err("the XML ends before its last element is closed".to_owned());
        };
        match (document.children.pop(), document.children.is_empty(), document.text.trim().is_empty()) {
            (Some(root), true, true) => Ok(root),
            _ => Err("the XML is not one single root element".to_owned()),
        }
    }

    /// The child of this name, of which there must be exactly one.
    fn child(&self, name: &str) -> Result<&Self, Reason> {
        let mut named = self.children.iter().filter(|child| child.name == name);
        match (named.next(), named.next()) {
            (Some(child), None) => Ok(child),
            (None, _) => Err(format!("{} has no {name}", self.name)),
            (Some(_), Some(_)) => Err(format!("{} has more than one {name}", self.name)),
        }
    }

    fn filled_text(&self) -> Result<&str, Reason> {
        if self.text.is_empty() { Err(format!("{} is empty", self.name)) } else { Ok(&self.text) }
    }
}

fn close(stack: &mut Vec<Node>) -> Result<(), Reason> {
    let closed = stack.pop().ok_or("an element too many is closed")?;
    let parent = stack.last_mut().ok_or("an element too many is closed")?;
    parent.children.push(closed);
    Ok(())
}

fn is_forbidden(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(request: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><imsx_POXEnvelopeRequest xmlns=\"{NAMESPACE}\"><imsx_POXHeader>\
             <imsx_POXRequestHeaderInfo><imsx_version>V1.0</imsx_version>\
             <imsx_messageIdentifier>m1</imsx_messageIdentifier></imsx_POXRequestHeaderInfo></imsx_POXHeader>\
             <imsx_POXBody>{request}</imsx_POXBody></imsx_POXEnvelopeRequest>"
        )
    }

    fn replace(sourced_id: &str, score: &str) -> String {
        envelope(&format!(
            "<replaceResultRequest><resultRecord><sourcedGUID><sourcedId>{sourced_id}</sourcedId></sourcedGUID>\
             <result><resultScore><language>en</language><textString>{score}</textString></resultScore>\
             <resultData><text>x</text></resultData></result></resultRecord></replaceResultRequest>"
        ))
    }

    #[test]
    fn the_operations_are_read() {
        let check = |xml: String, expected: Operation| {
            let message = Message::read(xml.as_bytes()).expect("a good header");
            assert_eq!((message.identifier.as_str(), message.operation), ("m1", Ok(expected)));
        };
        let sourced_id = "{\"a\":\"é<\"}".to_owned();
        check(replace("{&quot;a&#34;:\"é&lt;\"}", "0.85"), Operation::Replace { sourced_id, score: 0.85 });
        let plain = || "s".to_owned();
        let record = "<resultRecord><sourcedGUID><sourcedId>s</sourcedId></sourcedGUID></resultRecord>";
        let request = |name: &str| envelope(&format!("<{name}>{record}</{name}>"));
        check(request("readResultRequest"), Operation::Read { sourced_id: plain() });
        check(request("deleteResultRequest"), Operation::Delete { sourced_id: plain() });
        check(request("growResultRequest"), Operation::Unknown { name: "growResultRequest".to_owned() });
    }

    #[test]
    fn a_score_is_a_plain_decimal_from_0_to_1() {
        for good in ["0", "1", "0.0", "1.0", "0.333333333333333", "1.000"] {
            score_of(good).expect(good);
        }
        for bad in ["", "1.1", "1.0000001", "-0.1", "+1", ".5", "1.", "8.5e-1", " 0.5", "0,5", "NaN", "0.5.1"] {
            score_of(bad).expect_err(bad);
        }
    }

    #[test]
    fn malformed_messages_are_refused() {
        let check = |xml: &str, words: &str| {
            let reason = match Message::read(xml.as_bytes()) {
                Err(reason) => reason,
                Ok(message) => message.operation.expect_err("malformed"),
            };
            assert!(reason.contains(words), "{reason}");
        };
        let good = replace("s", "0.5");
        check(&good.replace("ltiv1p1", "ltiv9"), "namespace");
        check(&good.replace("V1.0", "V2.0"), "imsx_version");
        check(&good.replace(">m1<", "><"), "imsx_messageIdentifier is empty");
        check(&good.replace(">s<", "><"), "sourcedId is empty");
        check(&good.replace(">en<", ">de<"), "language");
        check(&good.replace("0.5", "&foo;"), "entity");
        check(&good.replace("0.5", "&#1;"), "entity");
        check(&good.replace("</imsx_POXEnvelopeRequest>", ""), "ends before");
        check(&good.replace("</result>", "</other>"), "not XML");
        check(&format!("{good}<more/>"), "namespace");
        check(
            &good.replace("<sourcedId>s</sourcedId>", "<sourcedId>s</sourcedId><sourcedId>t</sourcedId>"),
            "more than one",
        );
        check(&envelope(""), "exactly one request");
        check("<!DOCTYPE x><x/>", "document type");
        check("", "single root");
    }
}
