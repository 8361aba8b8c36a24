//! How each platform really behaves, as data: one [`Manners`] value for each, read by the handlers, which know no
//! platform by name.
//!
//! Each manner is a [`Row`]: what it says, in words that `passback lms --like` prints; how it is known; and the value
//! that a handler reads. Without `--like` the neutral manners hold: strict where some real platform is strict.

mod blackboard;
mod brightspace;
mod canvas;
mod kinds;
mod moodle;
mod neutral;
mod openedx;
mod sakai;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub(super) use kinds::*;

/// A platform that can be imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Likeness {
    /// Moodle 4.5.
    Moodle,
    /// Canvas.
    Canvas,
    /// Open edX, with xblock-lti-consumer.
    OpenEdx,
    /// Sakai.
    Sakai,
    /// D2L Brightspace.
    Brightspace,
    /// Blackboard Learn.
    Blackboard,
}

impl Likeness {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Moodle, Self::Canvas, Self::OpenEdx, Self::Sakai, Self::Brightspace, Self::Blackboard];

    /// The name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Moodle => "moodle",
            Self::Canvas => "canvas",
            Self::OpenEdx => "openedx",
            Self::Sakai => "sakai",
            Self::Brightspace => "brightspace",
            Self::Blackboard => "blackboard",
        }
    }

    /// What it does, a line for each manner.
    pub fn lines(self) -> Vec<Line> {
        Manners::of(Some(self)).lines()
    }
}

impl FromStr for Likeness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|likeness| likeness.word() == text);
        known.ok_or_else(|| format!("must be one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a manner is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// Seen on a running platform.
    Observed,
    /// Read in the platform's source.
    Source,
    /// Told by the vendor's documentation, or in a report of somebody who met it.
    Told,
    /// Our guess: the standard, or what the others do.
    Modelled,
}

impl Known {
    /// The word in a list.
    pub fn word(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Source => "source",
            Self::Told => "told",
            Self::Modelled => "modelled",
        }
    }
}

/// One manner in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How it is known.
    pub known: Known,
    /// What the platform does.
    pub says: &'static str,
}

/// One manner.
pub(super) struct Row<T> {
    says: &'static str,
    known: Known,
    /// The value that a handler reads.
    pub(super) is: T,
}

const fn observed<T>(says: &'static str, is: T) -> Row<T> {
    Row { says, known: Known::Observed, is }
}

const fn source<T>(says: &'static str, is: T) -> Row<T> {
    Row { says, known: Known::Source, is }
}

const fn told<T>(says: &'static str, is: T) -> Row<T> {
    Row { says, known: Known::Told, is }
}

const fn modelled<T>(says: &'static str, is: T) -> Row<T> {
    Row { says, known: Known::Modelled, is }
}

/// A group of manners, and the list of their lines, which so forgets none.
macro_rules! manners {
    ($(#[$doc:meta])* $name:ident { $($(#[$what:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        pub(super) struct $name {
            $($(#[$what])* pub(super) $field: Row<$kind>,)*
        }

        impl $name {
            fn lines(&self) -> Vec<Line> {
                vec![$(Line { known: self.$field.known, says: self.$field.says },)*]
            }
        }
    };
}

manners! {
    /// What holds for the whole site.
    SiteManners {
        /// Where its services are.
        addresses: Addresses,
        /// What becomes of a request for a host that is not its own.
        wrong_host: WrongHost,
        /// Whether a sender must name itself.
        user_agent: UserAgent,
        /// What it says to somebody who asks too often.
        rate_limit: RateLimit,
        /// What it says while it is maintained.
        maintenance: Maintenance,
        /// What is left of a grade that is read back.
        precision: Precision,
        /// What becomes of a grade that a teacher changed.
        teachers_grade: TeachersGrade,
    }
}

manners! {
    /// LTI 1.1 Basic Outcomes.
    OutcomeManners {
        /// The content type of a reply.
        reply_type: &'static str,
        /// The HTTP status of a `failure` or `unsupported`.
        refusal_status: u16,
        /// How it says that a request is not believed.
        distrust: Distrust,
        /// What a signature is judged by.
        oauth: OauthRules,
        /// Which content types it takes.
        request_type: RequestType,
        /// Which operations it knows.
        operations: Operations,
        /// How a success is worded.
        success: SuccessWords,
        /// The `textString` where nothing is graded.
        ungraded: &'static str,
        /// What it says to a score that is none.
        bad_score: Said,
        /// What it says of those who are refused.
        refused: RefusedWords<Said>,
    }
}

manners! {
    /// The token endpoint.
    TokenManners {
        /// `token_type`.
        token_type: &'static str,
        /// The content type of a grant.
        reply_type: &'static str,
        /// The form of an error.
        errors: TokenErrors,
        /// What `aud` must be.
        audience: Audience,
        /// What it asks of `iat` and `exp`.
        times: AssertionTimes,
        /// What it asks of `jti`.
        jti: Jti,
        /// What it makes of the `deployment_id` claim.
        deployment: Deployment,
        /// What becomes of scopes that the client has not.
        scopes: Scopes,
        /// What it says when it cannot fetch the tool's keys.
        keys_unreachable: KeysUnreachable,
        /// The status for a signature that is not right.
        bad_signature: u16,
    }
}

manners! {
    /// AGS: line items, results and who may use what.
    AgsManners {
        /// The status for a token that is dead.
        dead_token: u16,
        /// The status for a token without the scope.
        missing_scope: u16,
        /// How it reads the word `Bearer`.
        bearer: Bearer,
        /// What it asks of `Accept`.
        accept: AcceptRule,
        /// What it asks of `Content-Type`.
        media: MediaRule,
        /// When a list comes in pages.
        paging: Paging,
        /// How it writes `Link`.
        links: Links,
        /// Which filters it knows; others are as if they were not there.
        filters: &'static [&'static str],
        /// The status of a line item that was made.
        created: u16,
        /// What it asks of a new line item.
        new_item: NewItemRules,
        /// The status for a `resourceLinkId` of another context.
        foreign_link: u16,
        /// The status for a line item that is gone.
        gone: u16,
        /// The status for a line item of another tool.
        foreign_item: u16,
        /// Which line items a tool may delete.
        deleting: Deleting,
        /// The status for a line item's address that lost its query, where it has one.
        lost_query: u16,
        /// The form of a refusal.
        errors: ErrorBody,
        /// The scale of a result.
        results: ResultScale,
    }
}

manners! {
    /// AGS: scores.
    ScoreManners {
        /// How a score that was taken is answered.
        taken: Taken,
        /// Which timestamps are taken.
        order: Order,
        /// What becomes of a timestamp in the future.
        future: Future,
        /// How strictly the document is read.
        document: Document,
        /// The status for a negative score; 0 takes it as 0 points.
        negative: u16,
        /// The status for a maximum of 0; 0 takes it.
        no_maximum: u16,
        /// What a score that is absent or not fully graded does.
        unfinished: Unfinished,
        /// What a score of 0 does.
        zero: Zero,
        /// What a score does beside the grade.
        submissions: Submissions,
        /// Which user ids can be handled at all.
        user_ids: UserIds,
        /// What it says of those who are refused.
        refused: RefusedWords<Denied>,
    }
}

/// All manners of one platform.
pub(super) struct Manners {
    pub(super) site: SiteManners,
    pub(super) outcomes: OutcomeManners,
    pub(super) token: TokenManners,
    pub(super) ags: AgsManners,
    pub(super) scores: ScoreManners,
}

impl Manners {
    /// Those of a platform, or the neutral ones.
    pub(super) fn of(likeness: Option<Likeness>) -> &'static Self {
        match likeness {
            None => &neutral::MANNERS,
            Some(Likeness::Moodle) => &moodle::MANNERS,
            Some(Likeness::Canvas) => &canvas::MANNERS,
            Some(Likeness::OpenEdx) => &openedx::MANNERS,
            Some(Likeness::Sakai) => &sakai::MANNERS,
            Some(Likeness::Brightspace) => &brightspace::MANNERS,
            Some(Likeness::Blackboard) => &blackboard::MANNERS,
        }
    }

    fn lines(&self) -> Vec<Line> {
        let groups =
            [self.site.lines(), self.outcomes.lines(), self.token.lines(), self.ags.lines(), self.scores.lines()];
        groups.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_likeness_has_a_word_and_its_manners_are_told() {
        for likeness in Likeness::ALL {
            assert_eq!(likeness.word().parse(), Ok(likeness));
            let lines = likeness.lines();
            assert!(lines.len() > 30 && lines.iter().all(|line| line.says.len() > 10), "{likeness}: {lines:?}");
        }
        assert!("webct".parse::<Likeness>().is_err());
    }

    #[test]
    fn the_documentation_lists_each_manner_with_how_it_is_known() {
        let page = include_str!("../../../docs/simulated-lms.md");
        let is_list = |section: &&str| section.contains("\n| known | what it does |\n");
        let sections: Vec<&str> = page.split("\n## ").skip(1).filter(is_list).collect();
        assert_eq!(sections.len(), Likeness::ALL.len());
        for (likeness, section) in Likeness::ALL.into_iter().zip(sections) {
            let lines = likeness.lines();
            let listed = lines.iter().map(|line| format!("| {} | {} |", line.known.word(), line.says));
            let rows: Vec<&str> = section.lines().skip(4).filter(|row| !row.is_empty()).collect();
            assert_eq!(rows, listed.collect::<Vec<_>>(), "{likeness}: docs/simulated-lms.md is not what the code has");
        }
    }

    #[test]
    fn what_was_seen_or_read_is_not_called_a_guess() {
        let guesses = |likeness: Likeness| likeness.lines().iter().filter(|line| line.known == Known::Modelled).count();
        assert!(guesses(Likeness::Moodle) < guesses(Likeness::Blackboard));
        assert!(guesses(Likeness::Canvas) < guesses(Likeness::Brightspace));
    }
}
