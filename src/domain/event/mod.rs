//! `GradeEvent`: the bytes of a session-completed event, parsed once into a value that cannot be wrong.
//!
//! Every refusal names the field and says how to mend it; it never repeats what stood in the field, which may be a
//! student's data. Members that we do not know are kept in the bytes and, in a delegated delivery, forwarded.

mod members;

use std::fmt;

use serde::{Deserialize, Serialize};

use self::members::Members;
use super::{
    destination::{AgsTarget, ClaimedRegistration, ClientEndpoint, Column, Destination, OutcomeService, WantedColumn},
    score::Score,
    time::Timestamp,
};

/// The largest event, in bytes. It bounds every stored record.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Through which door an event came; it decides how its bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// An event with `lis_data`: RabbitMQ, or `POST /v1/events`.
    Event,
    /// Learnosity's own POST to a `grade_passback_url`: the body is the `lis_data`.
    GradePassback,
}

/// What is to be done to the grade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// Write the score.
    #[default]
    Replace,
    /// Clear the grade.
    Delete,
}

/// AGS 2.0, `activityProgress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivityProgress {
    /// The user has not begun, or the tool has reset the activity.
    Initialized,
    /// The activity has been started.
    Started,
    /// Work is going on.
    InProgress,
    /// Handed in, and more may come.
    Submitted,
    /// Done.
    Completed,
}

/// AGS 2.0, `gradingProgress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradingProgress {
    /// The grade is final.
    FullyGraded,
    /// A final grade will come by itself.
    Pending,
    /// A person has to grade.
    PendingManual,
    /// Grading failed.
    Failed,
    /// Nothing to grade yet.
    NotReady,
}

/// A session changed state, and its grade has to go to a gradebook. Its `Debug` shows nobody's data.
#[derive(Clone)]
pub struct GradeEvent {
    /// The session at the assessment platform. Only a [`Door::GradePassback`] may come without.
    pub session_id: Option<String>,
    /// The assessment platform's activity.
    pub activity_id: Option<String>,
    /// The assessment platform's user.
    pub user_id: Option<String>,
    /// The idempotency key that the sender chose.
    pub event_id: Option<String>,
    /// When the session changed state.
    pub occurred_at: Option<Timestamp>,
    /// When the work began (AGS `submission`).
    pub started_at: Option<Timestamp>,
    /// When it was handed in (AGS `submission`).
    pub submitted_at: Option<Timestamp>,
    /// The score; without one an AGS event is a change of state.
    pub score: Option<Score>,
    /// A comment for the student.
    pub comment: Option<String>,
    /// AGS `activityProgress`, where the event gives it.
    pub activity_progress: Option<ActivityProgress>,
    /// AGS `gradingProgress`, where the event gives it.
    pub grading_progress: Option<GradingProgress>,
    /// Write or clear.
    pub operation: Operation,
    /// Where it goes.
    pub destination: Destination,
}

impl fmt::Debug for GradeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GradeEvent").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// An event that can never become a job, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// The field, such as `lis_data.client_id`; `event` for the whole.
    pub field: String,
    /// A sentence that contains the field and says what it must be.
    pub detail: String,
}

impl Refused {
    /// A member that stands twice is named by its sender, and goes from here into logs, headers and tables: so its name is
    /// cut, and what could steer a reader of those is escaped.
    fn new(field: impl AsRef<str>, why: impl fmt::Display) -> Self {
        let mut fit = String::new();
        for letter in field.as_ref().chars().take(FIELD_CHARS_MAX) {
            if is_plain(letter) { fit.push(letter) } else { fit.extend(letter.escape_unicode()) }
        }
        let detail = format!("{fit} {why}");
        Self { field: fit, detail }
    }
}

/// The longest name of a field that is told, in characters.
const FIELD_CHARS_MAX: usize = 100;

/// Neither a control character nor one that separates lines or turns the direction of writing.
fn is_plain(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The `event_id` of an event that need not be one, where it can be read: it names a refused one to its sender.
pub fn event_id_in(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= EVENT_BYTES_MAX)?;
    Members::read(text, "event", "").ok()?.text("event_id").ok()?
}

impl GradeEvent {
    /// Parses an event as it came through `door`.
    pub fn parse(bytes: &[u8], door: Door) -> Result<Self, Refused> {
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(Refused::new("event", format_args!("must be at most {EVENT_BYTES_MAX} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::new("event", "must be UTF-8"))?;
        let top = Members::read(text, "event", "")?;
        match door {
            Door::Event => {
                let lis_data = top.required("lis_data")?;
                let lis_data = Members::read(lis_data.get(), "lis_data", "lis_data.")?;
                Self::from_members(&top, &lis_data, door)
            }
            Door::GradePassback => {
                let lis_data = Members::read(text, "event", "")?;
                Self::from_members(&top, &lis_data, door)
            }
        }
    }

    fn from_members(top: &Members<'_>, lis_data: &Members<'_>, door: Door) -> Result<Self, Refused> {
        let session_id = match door {
            Door::Event => Some(top.required_text("session_id")?),
            Door::GradePassback => top.text("session_id")?,
        };
        let (score, cleared) = read_score(top)?;
        let operation =
            match top.word("operation", &[("replace", Operation::Replace), ("delete", Operation::Delete)])? {
                None if door == Door::GradePassback && cleared => Operation::Delete,
                given => given.unwrap_or_default(),
            };
        let activity_id = top.text("activity_id")?;
        let activity_name = top.text("activity_name")?;
        let destination = read_destination(lis_data, door, activity_id.as_deref(), activity_name.as_deref())?;
        let event = Self {
            session_id,
            user_id: top.text("user_id")?,
            event_id: top.text("event_id")?,
            occurred_at: top.time("occurred_at")?,
            started_at: top.time("started_at")?,
            submitted_at: top.time("submitted_at")?,
            score,
            comment: top.string("comment")?,
            activity_progress: top.word("activity_progress", &ACTIVITY_PROGRESS)?,
            grading_progress: top.word("grading_progress", &GRADING_PROGRESS)?,
            operation,
            destination,
            activity_id,
        };
        event.check_score(door)
    }

    /// LTI 1.1 and delegated deliveries have nothing to send without a score, except to clear the grade; and a grade
    /// passback without one can never become a grade.
    fn check_score(self, door: Door) -> Result<Self, Refused> {
        if self.operation == Operation::Delete || self.score.is_some() {
            return Ok(self);
        }
        if door == Door::GradePassback && self.activity_progress.is_none() && self.grading_progress.is_none() {
            return Err(Refused::new("data", "is missing: send \"data\": {\"score\": …, \"max_score\": …}"));
        }
        if !matches!(self.destination, Destination::Ags(_)) {
            return Err(Refused::new("score", "is missing: this delivery sends a score, with its max_score"));
        }
        Ok(self)
    }

    /// Whether this event writes or clears a grade; otherwise it only reports a change of state.
    pub fn bears_grade(&self) -> bool {
        self.score.is_some() || self.operation == Operation::Delete
    }
}

fn read_destination(
    lis_data: &Members<'_>,
    door: Door,
    activity_id: Option<&str>,
    activity_name: Option<&str>,
) -> Result<Destination, Refused> {
    if door == Door::GradePassback {
        return read_ags(lis_data, activity_id, activity_name).map(Destination::Ags);
    }
    match lis_data.text("lti_version")?.as_deref() {
        None | Some("1.1") => read_lti11(lis_data).map(Destination::Lti11),
        Some("1.3") if lis_data.find("grade_passback_url").is_some() => {
            read_delegated(lis_data).map(Destination::Delegated)
        }
        Some("1.3") => read_ags(lis_data, activity_id, activity_name).map(Destination::Ags),
        Some(_) => Err(lis_data.refuse("lti_version", "must be \"1.1\" or \"1.3\"")),
    }
}

fn read_lti11(lis_data: &Members<'_>) -> Result<OutcomeService, Refused> {
    Ok(OutcomeService {
        url: lis_data.required_url("lis_outcome_service_url")?,
        sourcedid: lis_data.required_text("lis_result_sourcedid")?,
        consumer_key: lis_data.required_text("oauth_consumer_key")?,
        tool_family: lis_data.text("tool_family")?,
    })
}

fn read_delegated(lis_data: &Members<'_>) -> Result<ClientEndpoint, Refused> {
    const OURS: [&str; 4] = ["lti_version", "grade_passback_url", "oauth_consumer_key", "data"];
    let consumer_key = lis_data.required_text("oauth_consumer_key")?;
    if consumer_key.contains(':') {
        return Err(lis_data.refuse("oauth_consumer_key", "must not contain a colon: it is the user of HTTP Basic"));
    }
    let forwarded = lis_data.entries.iter().filter(|(name, _)| !OURS.contains(&&**name));
    Ok(ClientEndpoint {
        url: lis_data.required_url("grade_passback_url")?,
        consumer_key,
        members: forwarded.map(|(name, value)| (name.clone().into_owned(), (*value).to_owned())).collect(),
    })
}

fn read_ags(
    lis_data: &Members<'_>,
    activity_id: Option<&str>,
    activity_name: Option<&str>,
) -> Result<AgsTarget, Refused> {
    Ok(AgsTarget {
        client_id: lis_data.required_text("client_id")?,
        user_id: lis_data.required_text("user_id")?,
        column: read_column(lis_data, activity_id, activity_name)?,
        claimed: ClaimedRegistration {
            issuer: lis_data.text("issuer")?,
            deployment_id: lis_data.text("deployment_id")?,
            token_url: lis_data.url("token_url")?,
            token_aud: lis_data.text("token_aud")?,
        },
        scopes: lis_data.scopes()?,
        tool_family: lis_data.text("tool_family")?,
    })
}

fn read_column(
    lis_data: &Members<'_>,
    activity_id: Option<&str>,
    activity_name: Option<&str>,
) -> Result<Column, Refused> {
    if let Some(url) = lis_data.url("lineitem")? {
        return Ok(Column::Known(url));
    }
    let Some(container) = lis_data.url("lineitems")? else {
        return Err(lis_data
            .refuse("lineitem", "is missing: name the line item here, or its container in `lineitems` beside it"));
    };
    let resource_id = lis_data.text("resource_id")?.or_else(|| activity_id.map(str::to_owned));
    let label = lis_data.text("label")?.or_else(|| activity_name.map(str::to_owned)).or_else(|| resource_id.clone());
    let wanted = WantedColumn {
        resource_link_id: lis_data.text("resource_link_id")?,
        tag: lis_data.text("tag")?,
        resource_id,
        grades_released: lis_data.flag("grades_released")?,
        label,
    };
    if wanted.resource_link_id.is_none() && wanted.resource_id.is_none() && wanted.tag.is_none() {
        return Err(lis_data.refuse(
            "resource_id",
            "is missing: with lineitems, one of resource_link_id, resource_id, tag or activity_id finds the column",
        ));
    }
    Ok(Column::Sought { container, wanted })
}

/// The score at the top, else the one in `data`; and whether `data` says in so many words that there is none.
fn read_score(top: &Members<'_>) -> Result<(Option<Score>, bool), Refused> {
    if top.find("score").is_some() || top.find("max_score").is_some() {
        return Ok((read_score_pair(top)?, false));
    }
    let Some(data) = top.find("data") else {
        return Ok((None, false));
    };
    let data = Members::read(data.get(), "data", "data.")?;
    let cleared = data.is_null("score") && data.is_null("max_score");
    Ok((read_score_pair(&data)?, cleared))
}

fn read_score_pair(members: &Members<'_>) -> Result<Option<Score>, Refused> {
    let given = members.points("score")?;
    let maximum = members.points("max_score")?;
    match (given, maximum) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(members.refuse("max_score", "is missing: a score needs its maximum")),
        (None, Some(_)) => Err(members.refuse("score", "is missing: a max_score needs its score")),
        (Some(given), Some(maximum)) => {
            Score::new(given, maximum).map(Some).map_err(|why| members.refuse("max_score", why))
        }
    }
}

const ACTIVITY_PROGRESS: [(&str, ActivityProgress); 5] = [
    ("Initialized", ActivityProgress::Initialized),
    ("Started", ActivityProgress::Started),
    ("InProgress", ActivityProgress::InProgress),
    ("Submitted", ActivityProgress::Submitted),
    ("Completed", ActivityProgress::Completed),
];

const GRADING_PROGRESS: [(&str, GradingProgress); 5] = [
    ("FullyGraded", GradingProgress::FullyGraded),
    ("Pending", GradingProgress::Pending),
    ("PendingManual", GradingProgress::PendingManual),
    ("Failed", GradingProgress::Failed),
    ("NotReady", GradingProgress::NotReady),
];

impl ActivityProgress {
    /// The word of the specification.
    pub fn word(self) -> &'static str {
        word_of(&ACTIVITY_PROGRESS, self)
    }
}

impl GradingProgress {
    /// The word of the specification.
    pub fn word(self) -> &'static str {
        word_of(&GRADING_PROGRESS, self)
    }
}

fn word_of<T: PartialEq + Copy>(words: &[(&'static str, T)], meaning: T) -> &'static str {
    words.iter().find(|(_, known)| *known == meaning).map_or("", |(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LTI11: &str = r#""lis_data":{"lis_outcome_service_url":"https://lms.example.edu/outcomes","lis_result_sourcedid":"s-1","oauth_consumer_key":"key"}"#;

    fn refused(json: &str) -> Refused {
        GradeEvent::parse(json.as_bytes(), Door::Event).expect_err(json)
    }

    #[test]
    fn an_event_of_each_delivery_is_read() {
        let check = |lis_data: &str, delivery: &str| {
            let json =
                format!(r#"{{"session_id":"s","activity_id":"a","score":8,"max_score":10,"lis_data":{lis_data}}}"#);
            let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json);
            assert_eq!(event.destination.delivery().name(), delivery);
        };
        let lti11 = r#""lis_outcome_service_url":"https://l/o","lis_result_sourcedid":"s","oauth_consumer_key":"k""#;
        check(&format!("{{{lti11}}}"), "lti11");
        check(&format!(r#"{{"lti_version":"1.1",{lti11}}}"#), "lti11");
        check(
            r#"{"lti_version":"1.3","grade_passback_url":"https://c/p","oauth_consumer_key":"k","x":[1]}"#,
            "lti13-delegated",
        );
        check(r#"{"lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"https://l/1"}"#, "lti13-ags");
        check(r#"{"lti_version":"1.3","client_id":"c","user_id":"u","lineitems":"https://l/"}"#, "lti13-ags");
    }

    #[test]
    fn a_refusal_names_the_field_and_never_quotes_it() {
        let check = |json: &str, field: &str| {
            let refused = refused(json);
            assert_eq!(refused.field, field, "{json}");
            assert!(refused.detail.contains(field) && !refused.detail.contains("hush"), "{}", refused.detail);
        };
        check("hush", "event");
        check("[]", "event");
        check(r#"{"session_id":hush}"#, "event");
        check(&format!(r#"{{"score":1,"max_score":1,{LTI11}}}"#), "session_id");
        check(&format!(r#"{{"session_id":7,"score":1,"max_score":1,{LTI11}}}"#), "session_id");
        check(&format!(r#"{{"session_id":" ","score":1,"max_score":1,{LTI11}}}"#), "session_id");
        check(&format!(r#"{{"session_id":"s","session_id":"t","score":1,"max_score":1,{LTI11}}}"#), "session_id");
        check(&format!(r#"{{"session_id":"s\u0001","score":1,"max_score":1,{LTI11}}}"#), "session_id");
        check(r#"{"session_id":"s","score":1,"max_score":1}"#, "lis_data");
        check(r#"{"session_id":"s","score":1,"max_score":1,"lis_data":"hush"}"#, "lis_data");
        check(r#"{"session_id":"s","score":1,"max_score":1,"lis_data":{}}"#, "lis_data.lis_outcome_service_url");
        check(&format!(r#"{{"session_id":"s",{LTI11}}}"#), "score");
        check(&format!(r#"{{"session_id":"s","score":-1,"max_score":1,{LTI11}}}"#), "score");
        check(&format!(r#"{{"session_id":"s","score":"hush","max_score":1,{LTI11}}}"#), "score");
        check(&format!(r#"{{"session_id":"s","score":1,{LTI11}}}"#), "max_score");
        check(&format!(r#"{{"session_id":"s","max_score":1,{LTI11}}}"#), "score");
        check(&format!(r#"{{"session_id":"s","score":1,"max_score":0,{LTI11}}}"#), "max_score");
        check(&format!(r#"{{"session_id":"s","data":{{"score":1}},{LTI11}}}"#), "data.max_score");
        check(&format!(r#"{{"session_id":"s","score":1,"max_score":1,"occurred_at":"hush",{LTI11}}}"#), "occurred_at");
        check(&format!(r#"{{"session_id":"s","score":1,"max_score":1,"operation":"hush",{LTI11}}}"#), "operation");
        let ags = |members: &str| {
            format!(r#"{{"session_id":"s","score":1,"max_score":1,"lis_data":{{"lti_version":"1.3",{members}}}}}"#)
        };
        check(&ags(r#""user_id":"u","lineitem":"https://l/1""#), "lis_data.client_id");
        check(&ags(r#""client_id":"c","lineitem":"https://l/1""#), "lis_data.user_id");
        check(&ags(r#""client_id":"c","user_id":"u""#), "lis_data.lineitem");
        check(&ags(r#""client_id":"c","user_id":"u","lineitem":"/1""#), "lis_data.lineitem");
        check(&ags(r#""client_id":"c","user_id":"u","lineitem":"ftp://l/hush""#), "lis_data.lineitem");
        check(&ags(r#""client_id":"c","user_id":"u","lineitems":"https://l/""#), "lis_data.resource_id");
        check(&ags(r#""client_id":"c","user_id":"u","lineitem":"https://l/1","scope":7"#), "lis_data.scope");
        check(&ags(r#""grade_passback_url":"https://c/p""#), "lis_data.oauth_consumer_key");
        check(r#"{"session_id":"s","score":1,"max_score":1,"lis_data":{"lti_version":1.3}}"#, "lis_data.lti_version");
        check(r#"{"session_id":"s","score":1,"max_score":1,"lis_data":{"lti_version":"2.0"}}"#, "lis_data.lti_version");
        check(&" ".repeat(EVENT_BYTES_MAX + 1), "event");
    }

    #[test]
    fn a_score_at_the_top_goes_before_data() {
        let json =
            format!(r#"{{"session_id":"s","score":1,"max_score":2,"data":{{"score":3,"max_score":4}},{LTI11}}}"#);
        let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect("an event");
        assert_eq!(event.score.expect("a score").given().as_json(), "1");
    }

    #[test]
    fn a_forwarded_member_keeps_its_text() {
        let json = r#"{"session_id":"s","data":{"score":8.50,"max_score":10},"lis_data":{"lti_version":"1.3","n": 1.10 ,"grade_passback_url":"https://c/p","oauth_consumer_key":"k","o":{"b":1,"a":2}}}"#;
        let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect("an event");
        let Destination::Delegated(endpoint) = event.destination else { panic!("a delegated delivery") };
        let members: Vec<_> = endpoint.members.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(members, [("n", "1.10"), ("o", r#"{"b":1,"a":2}"#)]);
    }

    #[test]
    fn a_grade_passback_needs_no_session_and_nulls_clear_the_grade() {
        let json = br#"{"client_id":"c","user_id":"u","lineitems":"https://l/","resource_id":"r","oauth_consumer_key":"k","data":{"score":null,"max_score":null}}"#;
        let event = GradeEvent::parse(json, Door::GradePassback).expect("an event");
        assert_eq!((event.session_id.is_none(), event.operation), (true, Operation::Delete));
    }
}
