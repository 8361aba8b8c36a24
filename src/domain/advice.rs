//! Advice: one sentence for an admin who looks at a failed job, as special as what was seen allows.
//!
//! The rows are tried in order and the first that fits speaks; where none does, the reason's own sentence stands
//! ([`FailureReason::advice`]). Rows look at the words that the platform left in the history, so advice can become better
//! without a job being tried again. A sentence names keys and platforms, never a secret or a student.

use std::borrow::Cow;

use super::{
    cause::{Clocks, TlsCause, TokenCause, Words, speaks_of_unsupported},
    destination::{Delivery, Destination},
    event::GradeEvent,
    family::Family,
    job::{Attempt, Job, JobState},
    outcome::{FailureReason, Verdict, shown_name},
};

/// What is said of a superseded job.
const SUPERSEDED: &str = "Nothing to do: a newer grade of the same gradebook cell took its place.";

/// The advice for a job, while there is something to mend; and why nothing is to be done where a grade was not sent.
/// `event` is the job's own.
pub fn advice(job: &Job, event: Option<&GradeEvent>) -> Option<Cow<'static, str>> {
    match job.state {
        JobState::Superseded => return Some(SUPERSEDED.into()),
        JobState::Delivered | JobState::Discarded => return None,
        JobState::Queued(_) | JobState::Flagged => {}
    }
    if let Some(hint) = job.hint {
        return Some(hint.advice().into());
    }
    let reason = job.reason?;
    let last = job.attempts.last().filter(|_| !reason.is_known_before_sending());
    Some(sentence(reason, job.delivery, last, event.map(|event| &event.destination)))
}

fn sentence(
    reason: FailureReason,
    delivery: Delivery,
    last: Option<&Attempt>,
    destination: Option<&Destination>,
) -> Cow<'static, str> {
    let seen = Seen {
        reason,
        delivery,
        family: destination.and_then(Family::of),
        status: last.and_then(|attempt| attempt.http_status),
        answering: last.map(Answering::of),
        words: Words::of(last.map_or("", |attempt| &attempt.message)),
    };
    special(&seen, destination).unwrap_or_else(|| reason.advice().into())
}

/// The advice for a grade that could not be read back, without its full stop, where what stood in the way is the same for
/// a look as for a delivery: the connection, the token, the signature, our own configuration. None where nothing special is
/// known of it.
pub fn for_a_look(reason: FailureReason, destination: &Destination, verdict: &Verdict) -> Option<String> {
    let words = Words::of(&verdict.message);
    let is_the_same = match reason {
        FailureReason::Tls | FailureReason::Connection | FailureReason::UnknownKey | FailureReason::UnknownPlatform => {
            true
        }
        FailureReason::Unauthorized => matches!(destination, Destination::Lti11(_)),
        // Reading takes a scope of its own.
        FailureReason::TokenRefused => !Says::Token(TokenCause::Scope).fits(&words) && !words.say(&["lis_data scope"]),
        _ => false,
    };
    let seen = Seen {
        reason,
        delivery: destination.delivery(),
        family: Family::of(destination),
        status: verdict.http_status,
        answering: None,
        words,
    };
    let advice = is_the_same.then(|| special(&seen, Some(destination)))??;
    Some(
        advice
            .strip_suffix(AND_THEN)
            .map_or_else(|| advice.trim_end_matches('.').to_owned(), |mend| format!("{mend}then ask again")),
    )
}

/// How a sentence ends that mends what a replay needs.
const AND_THEN: &str = "then replay.";

/// The first row that fits.
fn special(seen: &Seen, destination: Option<&Destination>) -> Option<Cow<'static, str>> {
    let row = ROWS.iter().find(|row| row.fits(seen))?;
    let key = destination.map(|destination| match destination {
        Destination::Lti11(service) => shown_name(&service.consumer_key),
        Destination::Delegated(endpoint) => shown_name(&endpoint.consumer_key),
        Destination::Ags(target) => shown_name(&target.client_id),
    });
    Some(row.fill(seen.family, key.as_deref()))
}

/// What is known of a failure.
struct Seen {
    reason: FailureReason,
    delivery: Delivery,
    family: Option<Family>,
    status: Option<u16>,
    answering: Option<Answering>,
    /// The last attempt's words.
    words: Words,
}

/// Which request the reply that decided was an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    /// The one with the grade.
    Grade,
    /// One before it: for a token, or to find or make the column.
    Before,
    /// None: the grade was sent, and no whole answer came.
    Lost,
}

impl Answering {
    fn of(attempt: &Attempt) -> Self {
        match (attempt.grade_answered, attempt.reply_lost) {
            (true, _) => Self::Grade,
            (false, true) => Self::Lost,
            (false, false) => Self::Before,
        }
    }
}

/// One sentence, and when it fits. A member that is none, or empty, fits everything.
struct Row {
    reason: FailureReason,
    delivery: Option<Delivery>,
    family: Option<Family>,
    status: Option<u16>,
    answering: Option<Answering>,
    says: Says,
    /// `{lms}` becomes the platform's family, `{key}` the consumer key or the client id.
    sentence: &'static str,
}

/// What the words have to say.
enum Says {
    /// Whatever they like.
    Anything,
    /// Nothing: an empty answer, `[]`, the bare status.
    Nothing,
    /// One of these, written as [`Words::say`] takes them.
    OneOf(&'static [&'static str]),
    /// That the token was refused for this.
    Token(TokenCause),
    /// That there is no secure connection because of this.
    Tls(TlsCause),
    /// That the operation is not known.
    Unsupported,
}

impl Says {
    fn fits(&self, words: &Words) -> bool {
        match self {
            Self::Anything => true,
            Self::Nothing => words.are_none() || words.say(&["without a word"]),
            Self::OneOf(phrases) => words.say(phrases),
            Self::Token(cause) => TokenCause::of(words, clocks(words)) == Some(*cause),
            Self::Tls(cause) => TlsCause::of(words) == Some(*cause),
            Self::Unsupported => speaks_of_unsupported(words),
        }
    }
}

/// The clocks were measured as the refusal came in: a difference stands behind the platform's words.
fn clocks(words: &Words) -> Clocks {
    if words.say(&[CLOCKS_APART]) { Clocks::MayBeApart } else { Clocks::Agree }
}

/// What stands behind the words of a platform whose clock was measured, and is not ours.
const CLOCKS_APART: &str = "the platform s clock is";

impl Row {
    const fn of(reason: FailureReason, sentence: &'static str) -> Self {
        Self { reason, delivery: None, family: None, status: None, answering: None, says: Says::Anything, sentence }
    }

    const fn by(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    const fn at(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    const fn with(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    const fn answering(mut self, request: Answering) -> Self {
        self.answering = Some(request);
        self
    }

    const fn says(self, phrases: &'static [&'static str]) -> Self {
        self.telling(Says::OneOf(phrases))
    }

    const fn telling(mut self, says: Says) -> Self {
        self.says = says;
        self
    }

    fn fits(&self, seen: &Seen) -> bool {
        self.reason == seen.reason
            && self.delivery.is_none_or(|delivery| delivery == seen.delivery)
            && (self.family.is_none() || self.family == seen.family)
            && (self.status.is_none() || self.status == seen.status)
            && (self.answering.is_none() || self.answering == seen.answering)
            && self.says.fits(&seen.words)
    }

    fn fill(&self, family: Option<Family>, key: Option<&str>) -> Cow<'static, str> {
        if !self.sentence.contains('{') {
            return self.sentence.into();
        }
        let lms = family.map_or("the platform", Family::name);
        let filled = self.sentence.replace("{lms}", lms).replace("{key}", key.unwrap_or("of this job"));
        // A sentence that begins with "the platform" begins with a capital all the same.
        let mut letters = filled.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect()).into()
    }
}

const USER: &[&str] = &[
    "user_not_in_course",
    "user not found",
    "user does not belong",
    "user does not exist",
    "user could not be found",
    "user in requested score",
    "not a student",
    "not enrolled",
    "no such user",
    "unknown user",
];
const COURSE: &[&str] = &["course_invalid", "course_not_available", "course", "context", "has concluded", "org unit"];
/// Of an LTI 1.1 request that is not believed.
const SIGNATURE: &[&str] = &["signature", "consumer key", "consumer_key", "oauth", "authorization header"];

/// The rows of one reason stand together, the more special first.
#[rustfmt::skip]
static ROWS: &[Row] = {
    use Answering::{Before, Grade, Lost};
    use Delivery::{Ags, Delegated, Lti11};
    use Family::{Blackboard, Canvas, Moodle, OpenEdx};
    use FailureReason as R;
    &[
        // Who we are: LTI 1.1 signatures, the tokens of AGS, HTTP Basic of a delegated POST.
        Row::of(R::Unauthorized, "{lms} takes our timestamp for one of another time: set the clocks of this machine and of the platform by NTP, then replay.").by(Lti11).says(&["timestamp", "too old", "expired", CLOCKS_APART]),
        Row::of(R::Unauthorized, "{lms} says that it saw this request before: look for a proxy on the way that repeats requests, then replay.").by(Lti11).says(&["nonce"]),
        Row::of(R::Unauthorized, "Moodle says that the signature is not valid: check the secret of key {key} at both ends, and that the outcome URL is exactly the one that Moodle gave, https and port included (a wrong sslproxy setting of Moodle does the same), then replay.").by(Lti11).at(Moodle).says(SIGNATURE),
        Row::of(R::Unauthorized, "Canvas does not accept key {key} or its secret: compare both with the app's configuration in Canvas, then replay.").by(Lti11).at(Canvas).says(SIGNATURE),
        Row::of(R::Unauthorized, "Open edX does not accept the signature: compare key {key} and its secret with the course's lti_passports, then replay.").by(Lti11).at(OpenEdx).says(SIGNATURE),
        Row::of(R::Unauthorized, "{lms} does not accept the signature of key {key}: check its secret at both ends, and that the outcome URL is exactly the one that the platform gave, port included, then replay.").by(Lti11).says(SIGNATURE),
        Row::of(R::Unauthorized, "{lms}, or a proxy before it, turns us away without a word about the signature: let its admins check that the outcome service is on and that nothing refuses this worker, and compare the secret of key {key}, then replay.").by(Lti11),
        Row::of(R::Unauthorized, "{lms} says that the student is not in this course: enrol them there and replay, or discard the job.").by(Ags).says(USER),
        Row::of(R::Unauthorized, "{lms} gave a token that may not write this grade: let its admin allow the tool {key} the grade services (line items and scores), then replay.").by(Ags).says(&["scope", "scopes", "insufficient_scope", "permission", "permissions", "gave a token without"]),
        Row::of(R::Unauthorized, "Moodle does not let the tool {key} have a column for this activity: mostly resource_link_id is of another course than lineitems; send the event anew with both from one and the same launch.").by(Ags).at(Moodle).with(403).answering(Before),
        Row::of(R::Unauthorized, "{lms} does not let the tool {key} find or make a column: check that it may manage line items there, and that lineitems and resource_link_id of the event come from one and the same launch, then replay.").by(Ags).answering(Before),
        Row::of(R::Unauthorized, "Moodle refused a fresh token: check that grade sync is on for the tool {key} and that the line item is one of its own (type_id in its address), then replay.").by(Ags).at(Moodle),
        Row::of(R::Unauthorized, "{lms} refused a fresh token: check that the tool {key} is still enabled there and may write to this line item, then replay.").by(Ags),
        Row::of(R::Unauthorized, "The client's endpoint does not accept key {key} with its secret: compare both with what its owner has, then replay.").by(Delegated),
        // The token endpoint.
        Row::of(R::TokenRefused, "The launch granted no scope to write scores, so nothing was asked: let the platform's admin allow the tool the grade services, have the student launch again, and send the event anew.").says(&["lis_data scope"]),
        Row::of(R::TokenRefused, "{lms} could not fetch our public keys: check that this worker's /.well-known/jwks.json can be reached from there by the address that is registered, then replay.").telling(Says::Token(TokenCause::KeysUnreachable)),
        Row::of(R::TokenRefused, "{lms} says that our assertion is not of this time: set the clocks of this machine and of the platform by NTP, then replay.").telling(Says::Token(TokenCause::Clock)),
        Row::of(R::TokenRefused, "{lms} does not accept the audience: set token_aud of this platform to exactly what it expects (mostly the token URL, to the last slash; Brightspace has a value of its own), reload, then replay.").telling(Says::Token(TokenCause::Audience)),
        Row::of(R::TokenRefused, "{lms} does not know the deployment: compare deployment_id with the tool's registration there, or leave it out, reload, then replay.").telling(Says::Token(TokenCause::Deployment)),
        Row::of(R::TokenRefused, "{lms} grants none of the scopes: let its admin allow the tool {key} the grade services (line items and scores), then replay.").telling(Says::Token(TokenCause::Scope)),
        Row::of(R::TokenRefused, "{lms} knows no key that fits our signature: check that the JWKS registered there is this worker's, and that the key which signs is still published, then replay.").telling(Says::Token(TokenCause::Key)),
        Row::of(R::TokenRefused, "{lms} does not know the client id {key}: compare client_id, token_url and deployment_id with the tool's registration there, reload, then replay.").telling(Says::Token(TokenCause::Client)),
        // What is not there any more.
        Row::of(R::NotFound, "{lms} says that there is no such student: enrol them there and replay, or discard the job.").says(USER),
        Row::of(R::NotFound, "No column of the gradebook fits and the tool may not make one: let a teacher add it, or let the platform's admin allow the tool line items, then replay.").says(&["did not grant the scope to make one"]),
        Row::of(R::NotFound, "The column was made anew once and is gone again, so somebody does not want it: ask the teacher, then replay or discard.").says(&["made anew for this grade once"]),
        Row::of(R::NotFound, "{lms} says that the course is not there any more: ask its admins, then replay or discard.").by(Ags).says(COURSE),
        Row::of(R::NotFound, "{lms} finds no such course or activity where the column is looked for or made: check that lineitems and resource_link_id of the event come from one and the same launch, then replay or discard.").by(Ags).answering(Before),
        Row::of(R::NotFound, "There is no outcome service at this address: check lis_outcome_service_url, and that the platform still has this activity, then replay or discard.").by(Lti11),
        Row::of(R::NotFound, "There is nothing at the client's grade_passback_url: ask its owner for the right one, then replay or discard.").by(Delegated),
        // Refusals. The codes are Canvas's own.
        Row::of(R::Rejected, "{lms} does not know this student in the course, or not as a student: enrol them there and replay, or discard the job.").says(USER),
        Row::of(R::Rejected, "Canvas says that the course is over or closed: let its dates be opened and replay, or discard the job.").at(Canvas).says(COURSE),
        Row::of(R::Rejected, "Canvas says that all attempts are used up: give the student another one and replay, or discard the job.").at(Canvas).says(&["attempts", "allowed_attempts"]),
        Row::of(R::Rejected, "The assignment belongs to another tool now, or is gone: ask the teacher which tool it launches, then discard and let the student launch again.").says(&["assignment_invalid", "assignment_tool_mismatch", "tool_invalid"]),
        Row::of(R::Rejected, "Canvas does not accept the score: the assignment needs points, and the score must be a number from 0 to 1; correct it there or send the event again.").says(&["bad_score", "no_score", "no_points_possible", "no_parseable_result"]),
        Row::of(R::Rejected, "Canvas says that the submission time is in the future or cannot be read: check submitted_at of the event and both clocks, then replay.").says(&["timestamp_in_future", "timestamp_not_parseable", "submitted_at"]),
        Row::of(R::Rejected, "{lms} does not accept the sourcedId: it was changed on the way, or belongs to a launch that is gone; let the student launch again and send the event anew.").says(&["sourcedid", "signature_invalid"]),
        Row::of(R::Rejected, "Moodle takes no grades for this activity: it was deleted, or its privacy setting for grades is off; switch it on and replay, or discard.").says(&["tool does not accept grades"]),
        Row::of(R::Rejected, "The grade is locked in Moodle's gradebook: let the teacher unlock it and replay, or discard the job.").says(&["when the grade is locked"]),
        Row::of(R::Rejected, "The due date is past and the course takes no late grades: let the teacher extend it and replay, or discard the job.").says(&["past due"]),
        Row::of(R::Rejected, "Moodle stored nothing although it said 200: most often the student is not enrolled, or the grade is locked; look at the gradebook, then replay or discard.").by(Ags).says(&["moodle stored nothing"]),
        Row::of(R::Rejected, "Moodle finds no service at this address: check that the line item URL is to the letter the one that Moodle gave, then replay or discard.").by(Ags).says(&["no handler found"]),
        Row::of(R::Rejected, "Moodle refuses a score with a bare 400 when the user is not enrolled, is a teacher, or is unknown there: check the enrolment and replay, or discard the job.").by(Ags).at(Moodle).with(400).answering(Grade).telling(Says::Nothing),
        Row::of(R::Rejected, "{lms} refused to find or make the column: read its words, and check that lineitems and resource_link_id of the event come from one and the same launch, then replay or discard.").by(Ags).answering(Before),
        Row::of(R::Rejected, "Blackboard does not know this sourcedId or this user: let the student launch again and send the event anew.").at(Blackboard).says(&["incorrect", "could not be found"]),
        Row::of(R::Rejected, "The platform wants another media type, so this address is hardly its grade service: check the service URL, then replay.").with(415),
        Row::of(R::Rejected, "{lms} does not know replaceResult at this address: check that lis_outcome_service_url is its outcome service, then replay.").by(Lti11).telling(Says::Unsupported),
        // The rest: what is special about them is in the words.
        Row::of(R::RateLimited, "Canvas counts parallel calls before they are made: lower [delivery] per_platform to less than 10, restart, then replay.").at(Canvas),
        Row::of(R::ServerError, "Moodle answers 500 to a score whose grade or column is locked: let the teacher look at the gradebook; otherwise ask its admins, then replay.").by(Ags).at(Moodle).with(500).answering(Grade),
        Row::of(R::ServerError, "Behind this 502 Moodle hides an id that is none of its users (they are numbers), or a database in trouble: check lis_data.user_id, then replay.").by(Ags).at(Moodle).with(502).answering(Grade),
        Row::of(R::ServerError, "Open edX answers 500 when the student is unknown there or the grade cannot be published: check the enrolment, then replay.").at(OpenEdx).with(500).answering(Grade),
        Row::of(R::ServerError, "{lms} is in maintenance or overloaded: wait until it is back, then replay.").with(503),
        Row::of(R::BadResponse, "{lms} sends us to another address, so the service URL is not the one that it goes by: correct scheme, host and port there or in the registration, let the student launch again, and send the event anew.").says(&["a redirect"]),
        Row::of(R::BadResponse, "{lms} answered with a page, mostly a login or a maintenance page: check the service URL, wait until the platform is back, then replay.").says(&["a page not the answer"]),
        Row::of(R::BadResponse, "{lms} took the grade to work on it and does not show it: look at the grade there, then replay or discard.").says(&["still at work"]),
        Row::of(R::Tls, "The platform's certificate has expired: its admins must renew it; then replay.").telling(Says::Tls(TlsCause::Expired)),
        Row::of(R::Tls, "The platform's certificate is not valid yet: check this machine's clock, or let its admins install one that is valid now; then replay.").telling(Says::Tls(TlsCause::NotYetValid)),
        Row::of(R::Tls, "The platform's certificate is for another name: check the host in the service URL, or let its admins mend the certificate, then replay.").telling(Says::Tls(TlsCause::OtherName)),
        Row::of(R::Tls, "Nobody we trust has signed the platform's certificate: let its admins add the missing intermediate certificate, or name their root in [egress] ca_file, then replay.").telling(Says::Tls(TlsCause::UnknownIssuer)),
        Row::of(R::Tls, "What answers at this port speaks no TLS, so it is hardly the platform: check scheme and port of the service URL, then replay.").telling(Says::Tls(TlsCause::NotSpoken)),
        Row::of(R::Connection, "The platform's name cannot be resolved: check the host in the service URL and this machine's DNS, then replay.").says(&["could not be resolved"]),
        Row::of(R::Connection, "Nothing listens at the platform's address: check that it is up and that host and port are right, then replay.").says(&["refused the connection"]),
        Row::of(R::Connection, "The connection broke off before the answer was there, so the grade may have arrived: a replay does no harm: check that {lms} is up, then replay.").answering(Lost),
        Row::of(R::Timeout, "No whole answer came in time, so the grade may have arrived: {lms} may be overloaded; replay when it is quick again, which does no harm.").answering(Lost),
        // Known before anything is sent.
        Row::of(R::UnknownKey, "There is no signing key: make one with `passback keys generate`, add it to [[signing_keys]], reload, then replay.").by(Ags),
        Row::of(R::UnknownKey, "There is no secret for the consumer key {key}: add it to [[lti_keys]], reload, then replay."),
        Row::of(R::UnknownPlatform, "No registered platform fits the client id {key}, or more than one does: complete [[platforms]] (issuer and deployment_id count too), reload, then replay."),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::Door,
        outcome::{AttemptOutcome, Finding},
        time::Timestamp,
    };

    const LTI11: &str =
        r#""lis_outcome_service_url":"https://l/PATH","lis_result_sourcedid":"s","oauth_consumer_key":"our-key""#;
    const AGS: &str = r#""lti_version":"1.3","client_id":"our-client","user_id":"u","lineitem":"https://l/PATH""#;
    const DELEGATED: &str =
        r#""lti_version":"1.3","grade_passback_url":"https://l/PATH","oauth_consumer_key":"our-key""#;

    fn said(lis_data: &str, path: &str, reason: FailureReason, status: Option<u16>, words: &str) -> String {
        said_answering(Answering::Grade, (lis_data, path), reason, status, words)
    }

    fn said_answering(
        request: Answering,
        (lis_data, path): (&str, &str),
        reason: FailureReason,
        status: Option<u16>,
        words: &str,
    ) -> String {
        let lis_data = lis_data.replace("PATH", path);
        let json = format!(r#"{{"session_id":"s","score":1,"max_score":1,"lis_data":{{{lis_data}}}}}"#);
        let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json);
        let attempt = Attempt {
            started_at: Timestamp::default(),
            duration: std::time::Duration::ZERO,
            http_status: status,
            outcome: AttemptOutcome::Failed(reason),
            message: words.into(),
            reply_lost: false,
            counted: true,
            column_remade: false,
            grade_answered: request == Answering::Grade,
        };
        let delivery = event.destination.delivery();
        sentence(reason, delivery, Some(&attempt), Some(&event.destination)).into_owned()
    }

    #[test]
    fn advice_speaks_of_what_was_seen() {
        use FailureReason as R;
        let moodle = "mod/lti/service.php";
        let check = |said: String, wanted: &[&str]| {
            for wanted in wanted {
                assert!(said.contains(wanted), "{said}");
            }
        };
        check(
            said(LTI11, moodle, R::Unauthorized, Some(200), "Message signature not valid"),
            &["Moodle says that the signature is not valid", "key our-key", "port included"],
        );
        check(said(LTI11, "o", R::Unauthorized, Some(401), "Timestamp too old"), &["one of another time", "NTP"]);
        let vague = "Message signature not valid (the platform's clock is 400 s behind ours)";
        check(said(LTI11, "o", R::Unauthorized, Some(200), vague), &["one of another time", "NTP"]);
        check(said(LTI11, "o", R::Unauthorized, Some(401), ""), &["The platform, or a proxy", "our-key"]);
        check(said(DELEGATED, "o", R::Unauthorized, Some(401), ""), &["client's endpoint", "our-key"]);
        check(
            said(
                AGS,
                "d2l/api/lti/ags/2.0/lineitems/3",
                R::Unauthorized,
                Some(403),
                "User in requested score is not enrolled in the org unit",
            ),
            &["Brightspace says that the student is not in this course"],
        );
        let canvas = "api/lti/courses/3/line_items/5";
        check(said(AGS, canvas, R::RateLimited, Some(403), "Rate Limit Exceeded"), &["per_platform"]);
        check(said(AGS, canvas, R::TokenRefused, Some(400), "the 'aud' is invalid"), &["Canvas", "token_aud"]);
        let page = "Not found (the platform may not be able to fetch our JWKS)";
        check(said(AGS, "mod/lti/services.php/x", R::TokenRefused, Some(404), page), &["Moodle could not fetch"]);
        check(said(AGS, "x", R::TokenRefused, Some(400), r#"{"error":"invalid_client"}"#), &["client id our-client"]);
        check(said(AGS, "x", R::TokenRefused, Some(400), "Cannot handle token with iat prior to"), &["NTP"]);
        check(said(AGS, canvas, R::Rejected, Some(422), "User not found in course or is not a student"), &["enrol"]);
        check(said(LTI11, "x", R::Rejected, Some(422), "No [assignment_tool_mismatch]"), &["another tool"]);
        check(said(AGS, "x", R::NotFound, Some(404), ""), &["column or service"]);
        check(said(LTI11, "x", R::UnknownKey, None, ""), &["consumer key our-key", "[[lti_keys]]"]);
        check(said(AGS, "x", R::Tls, None, "the certificate of l has expired"), &["expired"]);
        check(said(AGS, "x", R::Timeout, None, ""), &[FailureReason::Timeout.advice()]);
    }

    /// A text that says it.
    fn texts(says: &Says) -> Vec<&'static str> {
        match says {
            Says::Anything | Says::Nothing => vec![""],
            Says::OneOf(phrases) => phrases.to_vec(),
            Says::Token(cause) => vec![match cause {
                TokenCause::KeysUnreachable => "fetch our JWKS",
                TokenCause::Clock => "Expired token",
                TokenCause::Audience => "the 'aud' is invalid",
                TokenCause::Deployment => "deployment_id",
                TokenCause::Scope => "invalid_scope",
                TokenCause::Key => "KeyId not found in token",
                TokenCause::Client => "invalid_client",
            }],
            Says::Tls(cause) => vec![match cause {
                TlsCause::Expired => "it has expired",
                TlsCause::NotYetValid => "it is not valid yet",
                TlsCause::OtherName => "for another name",
                TlsCause::UnknownIssuer => "from an unknown issuer",
                TlsCause::NotSpoken => "it does not speak TLS",
            }],
            Says::Unsupported => vec!["unsupported", "not supported"],
        }
    }

    #[test]
    fn each_row_is_one_sentence_and_every_word_of_it_is_heard() {
        for (number, row) in ROWS.iter().enumerate() {
            let sentence = row.sentence;
            assert!(sentence.ends_with('.') && sentence.len() > 40, "{sentence}");
            for text in texts(&row.says) {
                let seen = Seen {
                    reason: row.reason,
                    delivery: row.delivery.unwrap_or(Delivery::Lti11),
                    family: row.family,
                    status: row.status,
                    answering: row.answering,
                    words: Words::of(text),
                };
                let heard = ROWS.iter().position(|row| row.fits(&seen));
                let in_its_place = heard.map(|heard| ROWS[heard].sentence);
                assert_eq!(heard, Some(number), "{text:?} of {sentence}\nends in {in_its_place:?}");
            }
        }
    }

    const MOODLE: &str = "mod/lti/services.php/3/lineitems/5/lineitem?type_id=1";
    const CANVAS: &str = "api/lti/courses/3/line_items/5";
    const OPENEDX: &str = "api/lti_consumer/v1/lti/9/lti-ags/5";
    const SAKAI: &str = "imsblis/lti13/lineitems/site/5";
    const BRIGHTSPACE: &str = "d2l/api/lti/ags/2.0/lineitems/3";
    const BLACKBOARD: &str = "learn/api/v1/lti/courses/_1_1/lineItems/_2_1";

    /// What real platforms say of an LTI 1.1 grade, and what an admin then reads.
    #[test]
    fn lti_1_1_platforms_are_understood() {
        use FailureReason as R;
        let (moodle, canvas) = ("mod/lti/service.php", "api/lti/v1/tools/7/grade_passback");
        let (openedx, sakai) = ("handler_noauth/outcome_service_handler", "imsblis/service/");
        let blackboard = "webapps/gradebook/lti11grade";
        let check = |path: &str, reason: R, status: u16, words: &str, wanted: &str| {
            let said = said(LTI11, path, reason, Some(status), words);
            assert!(said.contains(wanted), "{path} {words}: {said}");
        };
        check(
            moodle,
            R::Unauthorized,
            200,
            "Message signature not valid",
            "Moodle says that the signature is not valid",
        );
        check(
            moodle,
            R::Unauthorized,
            200,
            "Missing or invalid consumer key or access token.",
            "the secret of key our-key",
        );
        check(moodle, R::Unauthorized, 403, "Forbidden by the firewall", "Moodle, or a proxy before it, turns us away");
        check(sakai, R::Unauthorized, 403, "HTTP 403, without a word", "Sakai, or a proxy before it, turns us away");
        check(canvas, R::Unauthorized, 401, "Invalid authorization header", "Canvas does not accept key our-key");
        check(canvas, R::Unauthorized, 401, "Timestamp too old, you may need to check the clock", "NTP");
        check(canvas, R::Unauthorized, 401, "Duplicate nonce detected", "a proxy on the way that repeats requests");
        check(openedx, R::Unauthorized, 200, "OAuth verification error: bad signature", "lti_passports");
        check(moodle, R::Rejected, 200, "SourcedId hash not valid", "does not accept the sourcedId");
        check(moodle, R::Rejected, 200, "Invalid sourcedId in result message", "does not accept the sourcedId");
        check(moodle, R::Rejected, 200, "Tool does not accept grades", "takes no grades for this activity");
        let locked = "Grade replace response (Moodle says so when the grade is locked)";
        check(moodle, R::Rejected, 200, locked, "The grade is locked");
        check(moodle, R::Rejected, 415, "Unsupported Media Type", "another media type");
        check(moodle, R::Rejected, 200, "unsupported", "does not know replaceResult");
        check(
            openedx,
            R::Rejected,
            200,
            "Target does not support the requested operation",
            "does not know replaceResult",
        );
        check(
            canvas,
            R::Rejected,
            422,
            "User is no longer in course [user_not_in_course]",
            "does not know this student",
        );
        check(canvas, R::Rejected, 422, "Course not available [course_not_available]", "the course is over or closed");
        check(canvas, R::Rejected, 422, "Assignment is invalid [assignment_invalid]", "belongs to another tool now");
        check(canvas, R::Rejected, 422, "No [assignment_tool_mismatch]", "belongs to another tool now");
        check(canvas, R::Rejected, 422, "Score is not between 0 and 1 [bad_score]", "does not accept the score");
        check(canvas, R::Rejected, 422, "Assignment has no points possible. [no_points_possible]", "needs points");
        check(canvas, R::Rejected, 422, "[timestamp_in_future]", "the submission time is in the future");
        check(canvas, R::Rejected, 422, "Invalid sourcedid [sourcedid_invalid]", "does not accept the sourcedId");
        check(canvas, R::Rejected, 422, "Invalid signature [signature_invalid]", "does not accept the sourcedId");
        check(openedx, R::Rejected, 200, "Grade is past due", "The due date is past");
        check(openedx, R::Rejected, 200, "User not found.", "does not know this student");
        check(blackboard, R::Rejected, 200, "Incorrect sourcedId", "does not accept the sourcedId");
        check(blackboard, R::Rejected, 200, "The course does not exist.", R::Rejected.advice());
        check("o", R::NotFound, 404, "HTTP 404, without a word", "There is no outcome service at this address");
        check(moodle, R::ServerError, 200, "Error writing to database", R::ServerError.advice());
        check(moodle, R::ServerError, 503, "Site is undergoing maintenance", "Moodle is in maintenance");
        let moved = "https://lms.example.edu/login (a redirect, which is not followed: correct the service URL)";
        check(moodle, R::BadResponse, 303, moved, "Moodle sends us to another address");
        let busy = "processing (the platform is still at work, and does not say that it is done)";
        check("o", R::BadResponse, 200, busy, "took the grade to work on it");
    }

    /// The same of AGS: tokens, columns and scores.
    #[test]
    fn ags_platforms_are_understood() {
        use FailureReason as R;
        let check = |path: &str, reason: R, status: u16, words: &str, wanted: &str| {
            let said = said(AGS, path, reason, Some(status), words);
            assert!(said.contains(wanted), "{path} {words}: {said}");
        };
        let iat = "Cannot handle token with iat prior to 2026-11-21T10:30:00+0000 (the platform's clock is 120 s behind ours)";
        check(MOODLE, R::TokenRefused, 400, iat, "Moodle says that our assertion is not of this time");
        check(MOODLE, R::TokenRefused, 400, "Expired token", "by NTP");
        check(MOODLE, R::TokenRefused, 400, "\"kid\" invalid, unable to lookup correct key", "no key that fits");
        check(MOODLE, R::TokenRefused, 400, "Signature verification failed", "no key that fits");
        check(MOODLE, R::TokenRefused, 400, "The consumer key is incorrect.", "does not know the client id our-client");
        check(MOODLE, R::TokenRefused, 400, "invalid_scope", "grants none of the scopes");
        let page = "Not found (the platform may not be able to fetch our JWKS)";
        check(MOODLE, R::TokenRefused, 404, page, "Moodle could not fetch our public keys");
        check(CANVAS, R::TokenRefused, 400, "the 'aud' is invalid", "set token_aud");
        check(CANVAS, R::TokenRefused, 400, "the 'iat' must not be in the future", "by NTP");
        check(OPENEDX, R::TokenRefused, 400, "unidentified_error", "by NTP");
        check(BRIGHTSPACE, R::TokenRefused, 400, "invalid_request: KeyId not found in token", "no key that fits");
        let deployment = "client not associated with this deployment";
        check(BLACKBOARD, R::TokenRefused, 400, deployment, "does not know the deployment");
        check(BLACKBOARD, R::TokenRefused, 400, "cannot initiate the grant", R::TokenRefused.advice());
        let times = "check aud, iat and exp (the platform's clock is 600 s ahead of ours)";
        check(SAKAI, R::TokenRefused, 400, times, "by NTP");
        check(SAKAI, R::TokenRefused, 400, "check aud, iat and exp", "set token_aud");

        check(MOODLE, R::Unauthorized, 401, "HTTP 401, without a word", "grade sync is on");
        check(CANVAS, R::Unauthorized, 401, "Insufficient permissions", "may not write this grade");
        check(OPENEDX, R::Unauthorized, 403, "User does not have permission", "may not write this grade");
        let not_enrolled = "User in requested score is not enrolled in the org unit";
        check(BRIGHTSPACE, R::Unauthorized, 403, not_enrolled, "the student is not in this course");
        check(BRIGHTSPACE, R::NotFound, 404, "User in requested score does not exist", "no such student");
        check(CANVAS, R::Rejected, 422, "User not found in course or is not a student", "does not know this student");
        check(CANVAS, R::Rejected, 422, "This course has concluded", "the course is over or closed");
        check(SAKAI, R::Rejected, 400, "User does not belong to site", "does not know this student");
        check(BLACKBOARD, R::Rejected, 400, "User could not be found: _9_1", "does not know this student");
        check(MOODLE, R::Rejected, 400, "[]", "with a bare 400");
        check(MOODLE, R::Rejected, 400, "HTTP 400, without a word", "with a bare 400");
        check(MOODLE, R::Rejected, 400, "No handler found for /3/lineitems/5/x", "the line item URL is to the letter");
        check(MOODLE, R::Rejected, 400, "scoreMaximum is missing", R::Rejected.advice());
        let stored_nothing = "[] (a success status with the body of a refusal; Moodle stored nothing)";
        check(MOODLE, R::Rejected, 200, stored_nothing, "although it said 200");
        check(OPENEDX, R::Rejected, 415, "Unsupported media type", "another media type");
        check(CANVAS, R::RateLimited, 403, "403 Forbidden (Rate Limit Exceeded)", "per_platform");
        check(MOODLE, R::ServerError, 500, "[]", "locked");
        check(MOODLE, R::ServerError, 502, "502 Bad Gateway", "check lis_data.user_id");
        check(OPENEDX, R::ServerError, 500, "Server Error (500)", "the student is unknown");
        check(
            MOODLE,
            R::BadResponse,
            200,
            "Log in (a page, not the answer of a grade service)",
            "answered with a page",
        );
    }

    /// What is said to a request for a token or a column speaks of no student and of no locked grade.
    #[test]
    fn a_refusal_before_the_grade_is_none_of_the_grade() {
        use FailureReason as R;
        let check = |path: &str, reason: R, status: u16, words: &str, wanted: &str| {
            let said = said_answering(Answering::Before, (AGS, path), reason, Some(status), words);
            assert!(said.contains(wanted), "{path} {status} {words}: {said}");
        };
        check(MOODLE, R::Unauthorized, 403, "Forbidden", "resource_link_id is of another course");
        check(MOODLE, R::Unauthorized, 401, "HTTP 401, without a word", "may manage line items there");
        check(CANVAS, R::NotFound, 404, "The specified resource does not exist.", "one and the same launch");
        check(CANVAS, R::NotFound, 404, "course_deleted: the course is gone", "the course is not there any more");
        check(CANVAS, R::Rejected, 412, "The resource link is of another tool", "refused to find or make the column");
        check(MOODLE, R::Rejected, 400, "[]", "refused to find or make the column");
        check(MOODLE, R::ServerError, 500, "[]", R::ServerError.advice());
        check(MOODLE, R::ServerError, 502, "502 Bad Gateway", R::ServerError.advice());
        check(OPENEDX, R::ServerError, 500, "Server Error (500)", R::ServerError.advice());
        check(OPENEDX, R::ServerError, 503, "upstream", "in maintenance or overloaded");
    }

    #[test]
    fn a_failed_handshake_is_told_by_its_cause() {
        let check = |words: &str, wanted: &str| {
            let said = said(AGS, MOODLE, FailureReason::Tls, None, words);
            assert!(said.contains(wanted), "{words}: {said}");
        };
        check("the certificate of l has expired on 2026-11-01", "must renew it");
        check("the certificate of l is not valid yet before 2027-01-01", "check this machine's clock");
        check("the certificate is not for l, but for another name: m", "is for another name");
        check("the certificate of l is from an unknown issuer ([egress] ca_file adds trusted roots)", "ca_file");
        check("l does not speak TLS on this port", "speaks no TLS");
        check("the TLS handshake with l failed", FailureReason::Tls.advice());
    }

    #[test]
    fn what_stands_in_the_way_of_a_look_too_ends_with_another_look() {
        use FailureReason as R;
        let common = |row: &&Row| {
            let token_for_reading = matches!(row.says, Says::Token(TokenCause::Scope))
                || matches!(row.says, Says::OneOf(["lis_data scope"]));
            match row.reason {
                R::Tls | R::Connection | R::UnknownKey | R::UnknownPlatform => true,
                R::TokenRefused => !token_for_reading,
                R::Unauthorized => row.delivery == Some(Delivery::Lti11),
                _ => false,
            }
        };
        let rows: Vec<_> = ROWS.iter().filter(common).collect();
        assert!(rows.len() > 15 && rows.iter().all(|row| row.sentence.ends_with(AND_THEN)));
        let check = |lis_data: &str, reason: FailureReason, words: &str, want: Option<&str>| {
            let json = format!(r#"{{"session_id":"s","score":1,"max_score":1,"lis_data":{{{lis_data}}}}}"#);
            let event = GradeEvent::parse(json.as_bytes(), Door::Event).expect("an event");
            let verdict = Verdict::without_reply(Finding::Failed(reason), words);
            let told = for_a_look(reason, &event.destination, &verdict);
            assert_eq!(told.is_some(), want.is_some(), "{words}: {told:?}");
            let (told, want) = (told.unwrap_or_default(), want.unwrap_or_default());
            assert!(told.contains(want) && (want.is_empty() || told.ends_with("then ask again")), "{told}");
        };
        check(LTI11, R::Tls, "the certificate has expired on 2021-01-01", Some("has expired"));
        check(LTI11, R::Unauthorized, "Timestamp too old", Some("NTP"));
        check(LTI11, R::Unauthorized, "signature not valid", Some("our-key"));
        check(AGS, R::Unauthorized, "Insufficient permissions", None);
        check(AGS, R::TokenRefused, "invalid audience", Some("token_aud"));
        check(AGS, R::TokenRefused, "invalid_scope", None);
        check(AGS, R::UnknownKey, "", Some("passback keys generate"));
        check(AGS, R::ServerError, "Down", None);
    }

    #[test]
    fn names_of_an_event_cannot_break_a_sentence() {
        let lis_data = AGS.replace("our-client", &format!("{}\\n\\u202e", "c".repeat(300)));
        let sentence = said(&lis_data, "x", FailureReason::UnknownPlatform, None, "");
        assert!(sentence.chars().count() < 400 && !sentence.chars().any(char::is_control), "{sentence}");
    }
}
