//! The words in which manners are put: closed sets and small records, without a rule of their own.

use super::super::faults::Trouble;

/// Where the services are. `{context}` and `{id}` stand for a part of the path each.
pub(in super::super) struct Addresses {
    pub(in super::super) outcomes: &'static str,
    pub(in super::super) token: &'static str,
    pub(in super::super) container: &'static str,
    /// Results and scores are below it.
    pub(in super::super) line_item: &'static str,
    /// The query that a container's and a line item's address have, where they have one.
    pub(in super::super) container_query: Option<&'static str>,
    pub(in super::super) line_item_query: Option<(&'static str, &'static str)>,
    /// Whether a line item's id must be a number, or carry one.
    pub(in super::super) numbered: Numbered,
}

/// Whether the id of a line item must be a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Numbered {
    /// Any name will do.
    No,
    /// Another is answered with 400.
    Yes,
}

/// What becomes of a request for a host that is not the platform's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum WrongHost {
    Answered,
    /// 303 with a page.
    SeeOther,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum UserAgent {
    Optional,
    /// Without it: 403.
    Needed,
}

pub(in super::super) struct RateLimit {
    pub(in super::super) status: u16,
    pub(in super::super) words: &'static str,
    /// `X-Rate-Limit-Remaining`.
    pub(in super::super) remaining: Option<&'static str>,
    pub(in super::super) retry_after: Option<&'static str>,
}

pub(in super::super) struct Maintenance {
    pub(in super::super) status: u16,
    pub(in super::super) page: &'static str,
    pub(in super::super) retry_after: Option<&'static str>,
}

/// What is left of a grade that is read back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Precision {
    Whole,
    /// Percent with five decimals.
    FiveDecimals,
}

impl Precision {
    /// A share of the maximum, as it is kept.
    pub(in super::super) fn kept(self, share: f64) -> f64 {
        match self {
            Self::Whole => share,
            Self::FiveDecimals => (share * 1e7).round() / 1e7,
        }
    }
}

/// What becomes of a grade that a teacher changed, when the tool sends another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum TeachersGrade {
    /// The tool's takes its place.
    Replaced,
    /// It is shown from then on; the tool's is stored behind it.
    Stays,
}

/// How a platform says that it does not believe a request.
#[derive(Clone, Copy)]
pub(in super::super) enum Distrust {
    /// A failure with one of two sentences, whatever was wrong.
    Hidden { no_oauth: &'static str, not_valid: &'static str },
    /// 401 with plain words for each case.
    Plain,
    /// A failure with these words before the reason.
    Told(&'static str),
}

/// What a signature is judged by.
#[derive(Clone, Copy)]
pub(in super::super) struct OauthRules {
    /// How old a timestamp may be, in seconds.
    pub(in super::super) age_max_s: Option<i64>,
    /// How far ahead it may be.
    pub(in super::super) ahead_max_s: Option<i64>,
    pub(in super::super) nonces: Nonces,
    pub(in super::super) query: Query,
    pub(in super::super) body_hash: BodyHash,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Nonces {
    Once,
    Unchecked,
}

/// Whether the query of the address is part of what is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Query {
    Signed,
    LeftOut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum BodyHash {
    Needed,
    CheckedIfThere,
}

/// Which content types an outcome service takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum RequestType {
    /// `application/xml` and nothing else; another is a failure.
    XmlElseFailure,
    /// `application/xml` and nothing else; another is 415.
    XmlElse415,
    /// Any but a form, whose parameters would have been signed.
    AnyButForm,
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Operations {
    All,
    /// Others are `unsupported`.
    ReplaceOnly,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum SuccessWords {
    /// The new score.
    Score,
    /// The sourcedid, unescaped, and the new score.
    SourcedidUnescaped,
}

/// What an outcome service says.
#[derive(Clone, Copy)]
pub(in super::super) enum Said {
    /// Success, and nothing is written.
    Success,
    /// A failure, with Canvas's code where there is one.
    Failure { words: &'static str, code: Option<&'static str> },
    /// HTTP 500.
    Crash,
}

/// How a score service answers a user whom it refuses.
#[derive(Clone, Copy)]
pub(in super::super) enum Denied {
    /// As if all were well, and nothing is written.
    Taken,
    /// This status and these words.
    With(u16, &'static str),
}

/// What is said of whom.
pub(in super::super) struct RefusedWords<T> {
    pub(in super::super) not_enrolled: T,
    pub(in super::super) unknown: T,
    pub(in super::super) locked: T,
    pub(in super::super) course_over: T,
}

impl<T: Copy> RefusedWords<T> {
    /// The answer for this trouble.
    pub(in super::super) fn of(&self, trouble: Trouble) -> T {
        match trouble {
            Trouble::NotEnrolled => self.not_enrolled,
            Trouble::Unknown => self.unknown,
            Trouble::Locked => self.locked,
            Trouble::CourseOver => self.course_over,
        }
    }
}

/// The form of a token error.
pub(in super::super) struct TokenErrors {
    /// The status of `invalid_client`; all others are 400.
    pub(in super::super) invalid_client: u16,
    pub(in super::super) form: TokenErrorForm,
    /// The code for trouble with `iat` and `exp`.
    pub(in super::super) time_code: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum TokenErrorForm {
    /// `error` and `error_description`.
    Described,
    /// `error` alone.
    CodeAlone,
    /// `error` is the code, or for an assertion the library's own words, between quotes and unescaped.
    RawWords,
}

/// What `aud` must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Audience {
    /// The token URL, as one string.
    TokenUrl,
    /// The token URL, or a list that holds it.
    TokenUrlOrList,
    /// This value, as one string; a list is answered with 500.
    Own(&'static str),
    Unchecked,
}

/// What is asked of `iat` and `exp`, in seconds.
#[derive(Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "they end in their unit")]
pub(in super::super) struct AssertionTimes {
    pub(in super::super) iat_ahead_max_s: i64,
    pub(in super::super) iat_age_max_s: Option<i64>,
    /// How long after its end an assertion is taken.
    pub(in super::super) exp_leeway_s: i64,
    pub(in super::super) exp_ahead_max_s: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Jti {
    /// There, and never seen before.
    Once,
    Needed,
    Unchecked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Deployment {
    /// One of the client's, where it is named.
    Checked,
    Ignored,
}

/// What becomes of scopes that a client has not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Scopes {
    /// Left out of the grant; with none left, `invalid_scope`.
    Intersected,
    /// One of them fails the request.
    AllOrNone,
    /// Left out of the grant, which may end up with none.
    Dropped,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum KeysUnreachable {
    /// 404 with a page.
    NotFoundPage,
    /// An error like any other.
    InvalidClient,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Bearer {
    /// In exactly this spelling.
    Exact,
    AnyCase,
}

/// What is asked of `Accept` where line items are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum AcceptRule {
    /// Exactly the type of a container; of a single item and of results `*/*` as well. Else this status.
    Exactly(u16),
    /// The type, or `*/*`. Else this status.
    OrAnything(u16),
    Ignored,
}

/// What is asked of `Content-Type` where something is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum MediaRule {
    /// The type of the standard, else this status.
    Exactly(u16),
    Ignored,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Paging {
    /// By the page size of the options.
    Always,
    OnlyWithLimit,
    Never,
}

/// How `Link` is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Links {
    Plain,
    /// Curly quotes, and `&amp;` in the address.
    Curly,
}

#[derive(Clone, Copy)]
pub(in super::super) struct NewItemRules {
    pub(in super::super) maximum: Maximum,
    pub(in super::super) label_chars_max: usize,
    pub(in super::super) tag_chars_max: usize,
    pub(in super::super) names: Names,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Maximum {
    AboveZero,
    ZeroToo,
    /// A whole number above 0, written as one.
    Whole,
}

/// Whether a new line item must say what it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Names {
    Optional,
    /// `resourceId` or `resourceLinkId`.
    OneNeeded,
}

/// Which line items a tool may delete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Deleting {
    /// Those of an activity of the platform too.
    All,
    /// For one that is coupled to an activity: this status.
    NotCoupled(u16),
}

/// The form of a refusal in AGS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ErrorBody {
    /// `{"status", "reason"}`.
    StatusAndReason,
    /// The same with the request; `[]` for a score, whose reason and whole body stand in the status line. A body with a
    /// line break spoils that line, and the answer is 200.
    InStatusLine,
    /// `{"errors": {"type", "message"}}`.
    Errors,
    /// `{"detail"}`.
    Detail,
    /// `{"error"}`.
    Error,
    /// The words alone.
    Text,
    /// `{"status", "message"}`.
    StatusAndMessage,
}

/// The scale of a result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ResultScale {
    /// As the score was sent.
    AsSent,
    /// The column's own maximum.
    OfColumn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Taken {
    /// 200 without a body.
    Empty,
    /// 200 with `{"resultUrl"}`.
    ResultUrl,
    /// 201 with the score as it came.
    Echo,
}

/// Which timestamps are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Order {
    /// Newer by a millisecond, else 409.
    NewerMillisecond,
    /// Newer by a second, else 409; a cell that was cleared takes any.
    NewerSecond,
    /// Not older, else 400 in Canvas's words.
    NotOlder,
    /// Newer, else 400 in the words of Open edX.
    NewerOr400,
    Unchecked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Future {
    /// 400 for more than five seconds.
    Refused,
    Taken,
}

/// How strictly a score document is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Document {
    /// Nothing missing, unknown or of a wrong type.
    Strict,
    /// Unknown members and unknown words of progress are let through.
    Lenient,
    /// Only `userId` is needed.
    UserOnly,
}

/// What a score that is absent, or not `FullyGraded`, does to the grade.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Unfinished {
    Wipes,
    /// Unless the extension says `preserve_score`.
    WipesUnlessPreserved,
    LeavesGrade,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Zero {
    Stored,
    /// Taken, and the gradebook stays as it is.
    Unpublished,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Submissions {
    None,
    /// Each score makes one, unless Canvas's extension says otherwise.
    EachScore,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum UserIds {
    Any,
    /// Others are answered with 502.
    Numbers,
}
