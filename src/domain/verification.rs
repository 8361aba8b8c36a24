//! Whether a gradebook has what was sent: the grade that was read back, held against that of the event.
//!
//! Platforms keep fewer digits than they are sent (Moodle: five behind the point, in single precision) and rescale to
//! the maximum of their own column, so shares of the maximum are compared and not points. Nothing here asks anybody.

use std::fmt;

use super::{
    advice,
    destination::{Delivery, Destination},
    event::{GradeEvent, GradingProgress, Operation},
    job::StateName,
    outcome::{FailureReason, Finding, Verdict},
};

/// How far two shares of a maximum may lie apart and still be one grade: the fifth digit behind the point of a column
/// that has a maximum of one.
const PRECISION: f64 = 1e-5;

/// A grade as it stands in a gradebook: finite numbers, and a maximum above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grade {
    score: f64,
    maximum: f64,
}

impl Grade {
    /// A grade of `score` out of `maximum`; none where these are no numbers of a gradebook.
    pub fn new(score: f64, maximum: f64) -> Option<Self> {
        (score.is_finite() && maximum.is_finite() && maximum > 0.0).then_some(Self { score, maximum })
    }

    /// The points.
    pub fn score(self) -> f64 {
        self.score
    }

    /// The points that could be had.
    pub fn maximum(self) -> f64 {
        self.maximum
    }

    fn share(self) -> f64 {
        self.score / self.maximum
    }

    /// Whether this is `sent` as a platform keeps it: rounded, rescaled, and cut at its maximum where it takes no more.
    fn is_kept_from(self, sent: Self) -> bool {
        let (there, sent) = (self.share(), sent.share());
        let is_near = |a: f64, b: f64| (a - b).abs() <= PRECISION * a.abs().max(b.abs()).max(1.0);
        is_near(there, sent) || (sent > 1.0 && is_near(there, 1.0))
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", Number(self.score), Number(self.maximum))
    }
}

/// A number in few letters.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size != 0.0 && !(1e-6..1e15).contains(&size) { write!(f, "{:e}", self.0) } else { self.0.fmt(f) }
    }
}

/// What an event wants to stand in its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sent {
    /// A grade, in the numbers that the platform is told.
    Grade(Grade),
    /// None: the grade was cleared.
    Cleared,
    /// The event has no score, only a state.
    StateOnly,
}

impl Sent {
    /// What is sent of an event. LTI 1.1 knows shares of one alone.
    pub fn of(event: &GradeEvent) -> Self {
        let Some(score) = event.score.as_ref().filter(|_| event.operation == Operation::Replace) else {
            return match event.operation {
                Operation::Delete => Self::Cleared,
                Operation::Replace => Self::StateOnly,
            };
        };
        let grade = match event.destination {
            Destination::Lti11(_) => score.normalised_text().parse().ok().and_then(|share| Grade::new(share, 1.0)),
            Destination::Delegated(_) | Destination::Ags(_) => {
                Grade::new(score.given().value(), score.maximum().value())
            }
        };
        grade.map_or(Self::StateOnly, Self::Grade)
    }
}

/// What a platform says that stands in a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// Nothing.
    Empty,
    /// This grade.
    Grade(Grade),
}

/// What a reading says of a job. A closed set.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// The cell is as the event wants it.
    Same,
    /// It holds another grade.
    Different {
        /// That one.
        there: Grade,
    },
    /// It holds nothing, and should.
    Nothing,
    /// Nobody knows.
    CannotBeRead {
        /// Why, in sentences.
        why: String,
    },
}

impl Comparison {
    /// Holds what was read against what was sent.
    pub fn of(sent: Sent, reading: Reading) -> Self {
        match (sent, reading) {
            (Sent::StateOnly, _) => Self::CannotBeRead { why: NO_SCORE.to_owned() },
            (Sent::Cleared, Reading::Empty) => Self::Same,
            (Sent::Grade(_), Reading::Empty) => Self::Nothing,
            (Sent::Grade(sent), Reading::Grade(there)) if there.is_kept_from(sent) => Self::Same,
            (_, Reading::Grade(there)) => Self::Different { there },
        }
    }

    /// What is known without asking the platform; nothing where it has to be asked.
    pub fn without_a_look(event: &GradeEvent) -> Option<Self> {
        let why = match (&event.destination, Sent::of(event)) {
            (Destination::Delegated(_), _) => DELEGATED,
            (_, Sent::StateOnly) => NO_SCORE,
            _ => return None,
        };
        Some(Self::CannotBeRead { why: why.to_owned() })
    }

    /// For a platform that did not show the grade of an event that goes to `destination`.
    pub fn unread(verdict: &Verdict, destination: &Destination) -> Self {
        let reason = match verdict.finding {
            Finding::Failed(reason) | Finding::Unsendable(reason) => reason,
            Finding::Accepted | Finding::NotNewer(_) => FailureReason::BadResponse,
        };
        let why = advice::for_a_look(reason, destination, verdict).unwrap_or_else(|| unread(reason).to_owned());
        let words = if verdict.message.is_empty() { String::new() } else { format!(" ({})", verdict.message) };
        Self::CannotBeRead { why: format!("{why}{words}.") }
    }

    /// The stable text name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different { .. } => "different",
            Self::Nothing => "nothing",
            Self::CannotBeRead { .. } => "cannot_be_read",
        }
    }

    /// What was found, in a sentence or two. `is_sent` says whether the job believes that the platform took its grade.
    fn sentence(&self, sent: Sent, delivery: Delivery, is_sent: bool) -> String {
        match (self, sent) {
            (Self::Same, Sent::Grade(sent)) if is_sent => format!("The LMS has the grade that was sent, {sent}."),
            (Self::Same, Sent::Grade(sent)) => format!("The LMS has the grade of this job, {sent}."),
            (Self::Same, _) if is_sent => "The grade was cleared, and the LMS has none.".to_owned(),
            (Self::Same, _) => "The grade was to be cleared, and the LMS has none.".to_owned(),
            (Self::Different { there }, Sent::Grade(sent)) if is_sent => format!(
                "The LMS has {there}, and {sent} was sent: a teacher has changed it, or another grade has come since."
            ),
            (Self::Different { there }, Sent::Grade(sent)) => format!("The LMS has {there}, and this job's is {sent}."),
            (Self::Different { there }, _) => format!(
                "The LMS has {there}, and the grade was to be cleared: a teacher has entered one, one has come \
                 since, or the platform keeps a grade when it is told to clear it, as Open edX does by AGS."
            ),
            (Self::Nothing, Sent::Grade(sent)) if is_sent => no_grade(sent, delivery),
            (Self::Nothing, Sent::Grade(sent)) => format!("The LMS has no grade, and this job's is {sent}."),
            (Self::Nothing, _) => "The LMS has no grade.".to_owned(),
            (Self::CannotBeRead { why }, _) => why.clone(),
        }
    }
}

/// Why there may be nothing where a grade was sent and taken.
fn no_grade(sent: Grade, delivery: Delivery) -> String {
    let not_enrolled = match delivery {
        Delivery::Lti11 => ", or the student is not enrolled (Moodle takes such grades by LTI 1.1 and keeps none)",
        Delivery::Ags | Delivery::Delegated => ", or the student is not enrolled any more",
    };
    let zero = if sent.score == 0.0 { "; and Open edX shows no grade of 0 points" } else { "" };
    format!("The LMS has no grade, and {sent} was sent: it was cleared since{not_enrolled}{zero}.")
}

const NO_SCORE: &str = "The event has no score, so there is no grade to compare.";

const DELEGATED: &str = "A delegated delivery hands the grade to the client's own endpoint, and there is no call that \
    would read it back: ask the LMS behind it.";

/// Why a grade could not be read, and what to do, where nothing more special is known: a sentence without its full stop.
const fn unread(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Connection => {
            "The platform could not be reached: check that its address is right and that it is up"
        }
        FailureReason::Timeout => "The platform did not answer in time: ask again when it is quick again",
        FailureReason::Tls => "No secure connection could be made: check the platform's certificate",
        FailureReason::BlockedDestination => {
            "The address is not one that this worker may call: check [egress] and the hosts of the LTI key"
        }
        FailureReason::Unauthorized => {
            "The platform does not accept our token for reading: check that the tool's registration there has the scope \
             result.readonly"
        }
        FailureReason::TokenRefused => {
            "There is no token to read grades with: check client_id and token_aud, that the platform can fetch our JWKS, \
             and that the registration there and the launch (lis_data.scope) have the scope result.readonly"
        }
        FailureReason::NotFound => "The gradebook column is not there: look whether a teacher has deleted it",
        FailureReason::Rejected => {
            "The platform refuses to have this grade read: the student may not be enrolled, the activity may be gone, \
             or it lets no grade be read at all, as Open edX does by LTI 1.1"
        }
        FailureReason::RateLimited => "The platform gets too many requests: ask again later",
        FailureReason::ServerError => "The platform failed on its own side: ask again later",
        FailureReason::BadResponse => "The answer was none from which a grade can be read: check the service URL",
        FailureReason::UnknownKey => {
            "There is no secret for this consumer key, or no signing key: add it to [[lti_keys]] or [[signing_keys]]"
        }
        FailureReason::UnknownPlatform => {
            "No registered platform fits this client_id, or more than one does: complete [[platforms]]"
        }
        FailureReason::InvalidScore => "The event cannot be read any more",
    }
}

/// What an admin reads: what was found, and what the job itself has to say to it.
pub fn detail(comparison: &Comparison, sent: Sent, event: &GradeEvent, state: StateName) -> String {
    let found = comparison.sentence(sent, event.destination.delivery(), state == StateName::Delivered);
    let is_final = event.grading_progress.is_none_or(|progress| progress == GradingProgress::FullyGraded);
    let progress = match (comparison, sent) {
        (Comparison::Nothing | Comparison::Different { .. }, Sent::Grade(_)) if !is_final => {
            " The event's grading_progress is not FullyGraded: most platforms keep no such grade."
        }
        _ => "",
    };
    let of_the_job = match state {
        StateName::Delivered => "",
        StateName::Queued => " The job is still queued: its grade may not have been sent yet.",
        StateName::Flagged => " The job is flagged: as far as it knows, the platform did not take its grade.",
        StateName::Superseded => " The job is superseded: a newer grade of this cell took its place.",
        StateName::Discarded => " The job was discarded: its grade was given up.",
    };
    format!("{found}{progress}{of_the_job}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Door;

    fn grade(score: f64, maximum: f64) -> Grade {
        Grade::new(score, maximum).expect("a grade")
    }

    /// As of a delivered job of an AGS platform.
    fn told(comparison: &Comparison, sent: Sent) -> String {
        comparison.sentence(sent, Delivery::Ags, true)
    }

    fn course() -> Destination {
        let json = r#"{"session_id":"s","score":8,"max_score":10,"lis_data":{"lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"https://l/1"}}"#;
        GradeEvent::parse(json.as_bytes(), Door::Event).expect(json).destination
    }

    #[test]
    fn a_grade_is_compared_as_a_platform_keeps_it() {
        let check = |sent: (f64, f64), there: (f64, f64), want: &str| {
            let sent = Sent::Grade(grade(sent.0, sent.1));
            let found = Comparison::of(sent, Reading::Grade(grade(there.0, there.1)));
            assert_eq!(found.name(), want, "{sent:?} {there:?}");
            assert!(told(&found, sent).ends_with('.'));
        };
        // Moodle: single precision, and five digits behind the point of the column's own points.
        check((0.333_333_333_333_333, 1.0), (0.333_333_4, 1.0), "same");
        check((1.0, 3.0), (33.333_33, 100.0), "same");
        check((0.333_333_333_333_333, 1.0), (0.333_33, 1.0), "same");
        // Rescaled to the column's own maximum.
        check((8.0, 10.0), (80.0, 100.0), "same");
        check((8.0, 10.0), (8.0, 100.0), "different");
        check((0.0, 10.0), (0.0, 100.0), "same");
        check((0.8, 1.0), (0.801, 1.0), "different");
        check((0.0, 1.0), (0.001, 1.0), "different");
        // Cut at the maximum, or not.
        check((11.0, 10.0), (10.0, 10.0), "same");
        check((11.0, 10.0), (11.0, 10.0), "same");
        check((11.0, 10.0), (9.0, 10.0), "different");
        check((10.0, 10.0), (11.0, 10.0), "different");
    }

    #[test]
    fn nothing_is_right_where_the_grade_was_cleared_and_nowhere_else() {
        let (sent, there) = (Sent::Grade(grade(8.0, 10.0)), Reading::Grade(grade(8.0, 10.0)));
        let check = |sent: Sent, reading: Reading, name: &str, words: &str| {
            let found = Comparison::of(sent, reading);
            assert_eq!(found.name(), name);
            assert!(told(&found, sent).contains(words), "{}", told(&found, sent));
        };
        check(sent, there, "same", "8 of 10");
        check(sent, Reading::Empty, "nothing", "no grade, and 8 of 10 was sent");
        check(Sent::Grade(grade(0.0, 10.0)), Reading::Empty, "nothing", "Open edX shows no grade of 0");
        check(Sent::Cleared, Reading::Empty, "same", "The grade was cleared");
        check(Sent::Cleared, there, "different", "8 of 10, and the grade was to be cleared");
        check(Sent::StateOnly, there, "cannot_be_read", "no score");
    }

    #[test]
    fn what_is_sent_is_told_in_the_numbers_of_the_delivery() {
        const LTI11: &str =
            r#""lis_outcome_service_url":"https://l/o","lis_result_sourcedid":"s","oauth_consumer_key":"k""#;
        const AGS: &str = r#""lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"https://l/1""#;
        let check = |members: &str, lis_data: &str, want: Sent| {
            let json = format!(r#"{{"session_id":"s",{members},"lis_data":{{{lis_data}}}}}"#);
            let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json);
            assert_eq!(Sent::of(&event), want, "{json}");
        };
        check(r#""score":8,"max_score":10"#, LTI11, Sent::Grade(grade(0.8, 1.0)));
        check(r#""score":12,"max_score":10"#, LTI11, Sent::Grade(grade(1.0, 1.0)));
        check(r#""score":12,"max_score":10"#, AGS, Sent::Grade(grade(12.0, 10.0)));
        check(r#""score":8,"max_score":10,"operation":"delete""#, AGS, Sent::Cleared);
        check(r#""operation":"delete""#, LTI11, Sent::Cleared);
        check(r#""activity_progress":"Started""#, AGS, Sent::StateOnly);
    }

    #[test]
    fn why_a_grade_cannot_be_read_is_said_with_the_platforms_words() {
        for reason in FailureReason::ALL {
            let verdict = Verdict::without_reply(Finding::Failed(reason), "its words");
            let found = Comparison::unread(&verdict, &course());
            let sentence = told(&found, Sent::Cleared);
            assert!(sentence.ends_with(" (its words).") && sentence.len() > 40, "{sentence}");
            assert_eq!(found.name(), "cannot_be_read");
        }
        let silent = Verdict::without_reply(Finding::Unsendable(FailureReason::UnknownKey), "");
        let found = Comparison::unread(&silent, &course());
        assert!(told(&found, Sent::Cleared).ends_with("add it to [[signing_keys]], reload, then ask again."));
    }

    #[test]
    fn what_the_job_knows_is_said_too() {
        let event = |members: &str| {
            let json = format!(
                r#"{{"session_id":"s","score":8,"max_score":10{members},"lis_data":{{"lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"https://l/1"}}}}"#
            );
            GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json)
        };
        let check = |members: &str, comparison: Comparison, state: StateName, words: &[&str]| {
            let event = event(members);
            let told = detail(&comparison, Sent::of(&event), &event, state);
            assert!(words.iter().all(|words| told.contains(words)), "{told}");
            assert_eq!(told.matches(". ").count() + 1, words.len(), "{told}");
        };
        check("", Comparison::Same, StateName::Delivered, &["8 of 10"]);
        check("", Comparison::Same, StateName::Flagged, &["8 of 10", "is flagged"]);
        check("", Comparison::Same, StateName::Queued, &["the grade of this job, 8 of 10", "still queued"]);
        check("", Comparison::Nothing, StateName::Delivered, &["cleared since"]);
        check("", Comparison::Nothing, StateName::Queued, &["no grade, and this job's is 8 of 10", "still queued"]);
        let other = Comparison::Different { there: grade(5.0, 10.0) };
        check("", other, StateName::Flagged, &["has 5 of 10, and this job's is 8 of 10", "is flagged"]);
        check("", Comparison::Nothing, StateName::Superseded, &["no grade", "superseded"]);
        check("", Comparison::Nothing, StateName::Discarded, &["no grade", "discarded"]);
        let pending = r#","grading_progress":"Pending""#;
        check(pending, Comparison::Nothing, StateName::Delivered, &["no grade", "not FullyGraded"]);
        check(pending, Comparison::Same, StateName::Delivered, &["8 of 10"]);
        assert_eq!(Comparison::without_a_look(&event("")), None);
    }

    #[test]
    fn what_cannot_be_known_is_not_asked_for() {
        let check = |json: &str, words: &str| {
            let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(json);
            let known = Comparison::without_a_look(&event).expect(json);
            assert_eq!(known.name(), "cannot_be_read");
            assert!(told(&known, Sent::of(&event)).contains(words));
        };
        check(
            r#"{"session_id":"s","score":8,"max_score":10,"lis_data":{"lti_version":"1.3","grade_passback_url":"https://c/p","oauth_consumer_key":"k"}}"#,
            "delegated",
        );
        check(
            r#"{"session_id":"s","activity_progress":"Started","lis_data":{"lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"https://l/1"}}"#,
            "no score",
        );
    }

    #[test]
    fn a_grade_is_told_in_few_letters() {
        assert_eq!(grade(0.1 + 0.2, 1.0).to_string(), "0.30000000000000004 of 1");
        assert_eq!(grade(1e300, 1e-300).to_string(), "1e300 of 1e-300");
        assert_eq!((Grade::new(f64::NAN, 1.0), Grade::new(1.0, 0.0)), (None, None));
    }
}
