//! Canvas: JSON with words and codes, a rate limit that is a 403, and a submission for each score.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled, source, told,
};

const fn failure(words: &'static str, code: &'static str) -> Said {
    Said::Failure { words, code: Some(code) }
}

const NO_STUDENT: Denied = Denied::With(422, "User not found in course or is not a student");
const OVER: Denied =
    Denied::With(422, "This course has concluded. AGS requests will no longer be accepted for this course.");

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: source(
        "line items are at /api/lti/courses/{course}/line_items/{id}",
        Addresses {
            outcomes: "/api/lti/v1/tools/1/grade_passback",
            token: "/login/oauth2/token",
            container: "/api/lti/courses/{context}/line_items",
            line_item: "/api/lti/courses/{context}/line_items/{id}",
            container_query: None,
            line_item_query: None,
            numbered: Numbered::No,
        },
    ),
    wrong_host: modelled("any host name is answered", WrongHost::Answered),
    user_agent: told("a request without a User-Agent is refused (we say with 403)", UserAgent::Needed),
    rate_limit: source(
        "too many requests: 403, Rate Limit Exceeded, X-Rate-Limit-Remaining: 0.0, no Retry-After",
        RateLimit {
            status: 403,
            words: "403 Forbidden (Rate Limit Exceeded)\n",
            remaining: Some("0.0"),
            retry_after: None,
        },
    ),
    maintenance: modelled(
        "maintenance: 503 with a page",
        Maintenance { status: 503, page: super::neutral::PAGE, retry_after: None },
    ),
    precision: modelled("a grade is kept as it was sent", Precision::Whole),
    teachers_grade: source("a grade that a teacher changed is replaced by the tool's next", TeachersGrade::Replaced),
};

const OUTCOMES: OutcomeManners = OutcomeManners {
    reply_type: source("replies are application/xml", "application/xml"),
    refusal_status: source("a failure is 422 with the XML", 422),
    distrust: source("a request that is not believed is 401 with plain words", Distrust::Plain),
    oauth: source(
        "a timestamp may be 90 minutes off, each nonce once, the query is signed, a body hash is checked where it is sent",
        OauthRules {
            age_max_s: Some(5_400),
            ahead_max_s: Some(5_400),
            nonces: Nonces::Once,
            query: Query::Signed,
            body_hash: BodyHash::CheckedIfThere,
        },
    ),
    request_type: source("the content type must be exactly application/xml, else 415", RequestType::XmlElse415),
    operations: source("replaceResult, readResult and deleteResult; others are unsupported", Operations::All),
    success: source("a success tells the new score", SuccessWords::Score),
    ungraded: source("a result that is not there reads as an empty text", ""),
    bad_score: source("a score that is none: failure, bad_score", failure("Score is not between 0 and 1", "bad_score")),
    refused: source(
        "failures carry a code: user_not_in_course, sourcedid_invalid, no_submission_created, course_not_available",
        RefusedWords {
            not_enrolled: failure("User is no longer in course", "user_not_in_course"),
            unknown: failure("Invalid sourcedid", "sourcedid_invalid"),
            locked: failure("This submission could not be created", "no_submission_created"),
            course_over: failure("Course not available for student", "course_not_available"),
        },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: source("a token is a Bearer", "Bearer"),
    reply_type: source("a grant is application/json", "application/json; charset=utf-8"),
    errors: source(
        "errors are JSON with a description; invalid_client is 401, others 400",
        TokenErrors { invalid_client: 401, form: TokenErrorForm::Described, time_code: "invalid_request" },
    ),
    audience: source("aud is the token URL exactly, or a list that holds it", Audience::TokenUrlOrList),
    times: source(
        "iat at most 5 minutes old and 30 s ahead, exp in the future",
        AssertionTimes { iat_ahead_max_s: 30, iat_age_max_s: Some(300), exp_leeway_s: 0, exp_ahead_max_s: None },
    ),
    jti: source("a jti must be there, and may repeat", Jti::Needed),
    deployment: source("the deployment_id claim is ignored", Deployment::Ignored),
    scopes: source("one scope that the client has not fails the request", Scopes::AllOrNone),
    keys_unreachable: modelled(
        "a tool whose keys cannot be fetched is an invalid_client",
        KeysUnreachable::InvalidClient,
    ),
    bad_signature: modelled("a signature that is not right is 401", 401),
};

const AGS: AgsManners = AgsManners {
    dead_token: source("a dead token is 401", 401),
    missing_scope: source("a missing scope is 401, Insufficient permissions", 401),
    bearer: modelled("Bearer in any case", Bearer::AnyCase),
    accept: modelled("Accept is ignored", AcceptRule::Ignored),
    media: modelled("Content-Type is ignored", MediaRule::Ignored),
    paging: source("lists come in pages of ten", Paging::Always),
    links: source("Link headers are plain", Links::Plain),
    filters: source(
        "lists are filtered by resource_link_id, resource_id and tag",
        &["resource_link_id", "resource_id", "tag"],
    ),
    created: source("a new line item is 201; the same POST twice makes two", 201),
    new_item: modelled(
        "a new line item needs a label and a maximum",
        NewItemRules {
            maximum: Maximum::ZeroToo,
            label_chars_max: usize::MAX,
            tag_chars_max: usize::MAX,
            names: Names::Optional,
        },
    ),
    foreign_link: source("a resourceLinkId that is not known is 404", 404),
    gone: source("a line item that is gone is 404", 404),
    foreign_item: source("a line item of another tool is 412", 412),
    deleting: source(
        "a line item is deleted with 204; one that is coupled to an assignment is 401",
        Deleting::NotCoupled(401),
    ),
    lost_query: modelled("line items have no query to lose", 400),
    errors: source("refusals are JSON with errors, type and message", ErrorBody::Errors),
    results: modelled("results are on the scale of the column", ResultScale::OfColumn),
};

const SCORES: ScoreManners = ScoreManners {
    taken: source("a score is taken with 200 and its resultUrl", Taken::ResultUrl),
    order: source("an older timestamp is 400, before last updated timestamp; an equal one is taken", Order::NotOlder),
    future: modelled("a timestamp of the future is taken", Future::Taken),
    document: source("userId, timestamp and both kinds of progress are needed", Document::Lenient),
    negative: source("a negative score is 422", 422),
    no_maximum: source("a maximum of 0 is 422", 422),
    unfinished: source(
        "a score that is absent or not FullyGraded clears the grade, unless preserve_score is said",
        Unfinished::WipesUnlessPreserved,
    ),
    zero: source("0 is stored as 0", Zero::Stored),
    submissions: source(
        "each score makes a submission, unless the extension says new_submission: false or submission_type none",
        Submissions::EachScore,
    ),
    user_ids: modelled("any user id can be handled", UserIds::Any),
    refused: source(
        "whoever is no student of the course: 422; a course that has concluded: 422",
        RefusedWords { not_enrolled: NO_STUDENT, unknown: NO_STUDENT, locked: OVER, course_over: OVER },
    ),
};
