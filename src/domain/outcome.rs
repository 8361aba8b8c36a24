//! How an attempt ended: closed sets with stable text names, used in the store, the metrics, the log and the API
//! alike, and one sentence of plain advice for each failure.

use serde::{Deserialize, Serialize};

use super::{destination::Destination, time::Timestamp};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $advice:literal;)+) => {
        /// Why an attempt failed. A closed set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FailureReason { $($(#[$doc])* $variant,)+ }

        impl FailureReason {
            /// All of them, in the order of the contract.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The stable text name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What an admin can do about it, in one sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

reasons! {
    /// DNS, refused, reset, cut.
    Connection = "connection",
        "The platform could not be reached: check that its address is right and that it is up, then replay.";
    /// No whole answer in time.
    Timeout = "timeout",
        "The platform did not answer in time: it may be overloaded; replay when it is quick again.";
    /// The certificate or the handshake.
    Tls = "tls",
        "No secure connection could be made: check the platform's certificate (expired, wrong name, missing intermediate), then replay.";
    /// The egress rules forbid the address.
    BlockedDestination = "blocked_destination",
        "The address of this grade is not one that this worker may call; the last error says why: correct [egress] (restart) or `hosts` of the key or platform (reload), then replay; or discard.";
    /// The platform does not accept who we are.
    Unauthorized = "unauthorized",
        "The platform does not accept our signature or token: check the shared secret or the tool's registration there, then replay.";
    /// The token endpoint says no.
    TokenRefused = "token_refused",
        "The platform's token endpoint refused us: check client_id, token_aud and that it can fetch our JWKS, then replay.";
    /// 404 or 410.
    NotFound = "not_found",
        "The gradebook column or service is not there any more: check that the activity still exists in the course, then replay or discard.";
    /// The platform understood and said no.
    Rejected = "rejected",
        "The platform refused this grade: read its words; most often the student is not enrolled or the activity is closed.";
    /// Too many requests.
    RateLimited = "rate_limited",
        "The platform kept saying that it gets too many requests: lower [delivery] per_platform, restart, then replay.";
    /// 5xx.
    ServerError = "server_error",
        "The platform failed on its own side again and again: ask its admins, then replay.";
    /// An answer that is none.
    BadResponse = "bad_response",
        "The answer was not that of a grade service (a redirect, a login or a maintenance page?): check the service URL, then replay.";
    /// No secret for the consumer key, or no signing key.
    UnknownKey = "unknown_key",
        "There is no secret for this consumer key, or no signing key: add it to [[lti_keys]] or [[signing_keys]], reload, then replay.";
    /// No registration fits.
    UnknownPlatform = "unknown_platform",
        "No registered platform fits this client_id, or more than one does: complete [[platforms]], reload, then replay.";
    /// A score that cannot be sent.
    InvalidScore = "invalid_score",
        "This score cannot be sent by this delivery: correct it at the assessment platform and send the event again.";
}

impl FailureReason {
    /// Reads a stable text name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Known before anything is sent: the job is flagged at once, with no attempt, whatever the policy says.
    pub const fn is_known_before_sending(self) -> bool {
        matches!(self, Self::UnknownKey | Self::UnknownPlatform | Self::InvalidScore | Self::BlockedDestination)
    }

    /// What no retry is likely to mend; flagged at once with `permanent = "flag"`.
    pub const fn looks_permanent(self) -> bool {
        matches!(self, Self::Unauthorized | Self::TokenRefused | Self::NotFound | Self::Rejected)
    }

    /// Speaks against the platform and not against the job; such failures in a row put a platform on hold.
    pub const fn speaks_against_platform(self) -> bool {
        matches!(self, Self::Connection | Self::Timeout | Self::ServerError)
    }
}

/// How an attempt ended, as it stands in the job's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AttemptOutcome {
    /// The platform has the grade.
    Delivered,
    /// The platform holds a newer grade.
    Superseded,
    /// It did not work.
    Failed(FailureReason),
}

impl AttemptOutcome {
    /// The stable text name: `delivered`, `superseded`, or the failure's reason.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Superseded => "superseded",
            Self::Failed(reason) => reason.name(),
        }
    }
}

/// The words in which a platform says that a score is not newer than what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNewer {
    /// A 409, or words that name an older time.
    Older,
    /// "Already exists for the provided timestamp" (Open edX), which a rolled-back 500 can cause as well.
    AlreadyExists,
}

/// What came back, before the job's history is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The platform took the grade.
    Accepted,
    /// It says that it has this score, or a newer one.
    NotNewer(NotNewer),
    /// The attempt failed.
    Failed(FailureReason),
    /// Nothing was sent, and nothing could be: the job is flagged with no attempt.
    Unsendable(FailureReason),
}

/// `Retry-After` (RFC 9110, section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Seconds from the end of the attempt.
    Seconds(u64),
    /// A point in time.
    At(Timestamp),
}

impl RetryAfter {
    /// The moment that is meant, counted from `now`; `None` when it has passed.
    pub fn moment(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Seconds(seconds) => Some(now + std::time::Duration::from_secs(seconds)),
            Self::At(moment) => (moment > now).then_some(moment),
        }
    }
}

/// What is known of a finished attempt: the whole of what the protocol hands to the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What came back.
    pub finding: Finding,
    /// The status of the reply that decided, if there was one.
    pub http_status: Option<u16>,
    /// The platform's words, cut and redacted; empty where it had none.
    pub message: String,
    /// When the platform wants to be asked again.
    pub retry_after: Option<RetryAfter>,
    /// The score may have been written although no whole answer says so: a timeout or a cut after the score request
    /// was sent, a 502 or a 504.
    pub reply_lost: bool,
    /// The column was gone and was made anew, which is done once for a job.
    pub column_remade: bool,
    /// `http_status` answers the request with the grade, and not one for a token or a column before it.
    pub grade_answered: bool,
}

impl Verdict {
    /// A verdict without a reply.
    pub fn without_reply(finding: Finding, message: impl Into<String>) -> Self {
        Self {
            finding,
            http_status: None,
            message: message.into(),
            retry_after: None,
            reply_lost: false,
            column_remade: false,
            grade_answered: false,
        }
    }
}

/// What is missing, by its name, where a job cannot be sent for want of a key or a registration.
pub fn missing_key(reason: FailureReason, destination: &Destination) -> String {
    let (name, value) = match destination {
        Destination::Lti11(service) => ("consumer key", &service.consumer_key),
        Destination::Delegated(endpoint) => ("consumer key", &endpoint.consumer_key),
        Destination::Ags(target) => ("client_id", &target.client_id),
    };
    let value = shown_name(value);
    let host = destination.service_url().origin();
    match (reason, destination) {
        (FailureReason::UnknownKey, Destination::Ags(_)) => "there is no [[signing_keys]] entry".to_owned(),
        (FailureReason::UnknownKey, _) => format!("there is no [[lti_keys]] entry for the {name} {value}"),
        (FailureReason::UnknownPlatform, _) => {
            format!(
                "no [[platforms]] entry, or more than one, fits the {name} {value} (issuer and deployment_id count too)"
            )
        }
        (FailureReason::BlockedDestination, _) => {
            format!("the {name} {value} may not be used at {}: its `hosts`, or [egress], forbid it", host.host())
        }
        _ => reason.advice().to_owned(),
    }
}

/// A name that an event gives, fit to stand in a sentence.
pub fn shown_name(name: &str) -> String {
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    name.chars().filter(|letter| !steers(*letter)).take(NAME_CHARS_MAX).collect()
}

/// The most of a name that is shown.
const NAME_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_that_leads_back_and_one_sentence_of_advice() {
        for reason in FailureReason::ALL {
            assert_eq!(FailureReason::from_name(reason.name()), Some(reason));
            assert_eq!(serde_json::to_value(reason).expect("a name"), reason.name());
            assert!(reason.advice().ends_with('.') && reason.advice().len() > 40, "{}", reason.name());
        }
    }
}
