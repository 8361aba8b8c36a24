//! Blackboard Learn: timestamps with a zone, whole maxima, and the word "success" for a grade that is not there. Not
//! read in source, so much of it is modelled.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled, told,
};

const NO_USER: Denied = Denied::With(400, "User could not be found:");
const NO_SOURCEDID: Said = Said::Failure { words: "Incorrect sourcedId", code: None };
const NO_COURSE: Said = Said::Failure { words: "The course does not exist.", code: None };

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: told(
        "line items are at /learn/api/v1/lti/courses/{course}/lineItems/{id}",
        Addresses {
            outcomes: "/webapps/gradebook/lti11grade",
            token: "/api/v1/gateway/oauth2/jwttoken",
            container: "/learn/api/v1/lti/courses/{context}/lineItems",
            line_item: "/learn/api/v1/lti/courses/{context}/lineItems/{id}",
            container_query: None,
            line_item_query: None,
            numbered: Numbered::No,
        },
    ),
    wrong_host: modelled("any host name is answered", WrongHost::Answered),
    user_agent: modelled("a request needs no User-Agent", UserAgent::Optional),
    rate_limit: modelled(
        "too many requests: 429",
        RateLimit { status: 429, words: "Too Many Requests", remaining: None, retry_after: None },
    ),
    maintenance: modelled(
        "maintenance: 503 with a page",
        Maintenance { status: 503, page: super::neutral::PAGE, retry_after: None },
    ),
    precision: modelled("a grade is kept as it was sent", Precision::Whole),
    teachers_grade: modelled("a grade that a teacher changed is replaced by the tool's next", TeachersGrade::Replaced),
};

const OUTCOMES: OutcomeManners = OutcomeManners {
    reply_type: modelled("replies are application/xml", "application/xml"),
    refusal_status: told("a failure is HTTP 200, and sometimes clears later", 200),
    distrust: modelled("a request that is not believed is a failure", Distrust::Told("Invalid OAuth signature: ")),
    oauth: modelled(
        "300 s either way, each nonce once, the query is signed, a body hash is needed",
        OauthRules {
            age_max_s: Some(300),
            ahead_max_s: Some(300),
            nonces: Nonces::Once,
            query: Query::Signed,
            body_hash: BodyHash::Needed,
        },
    ),
    request_type: modelled("the content type is not looked at", RequestType::Any),
    operations: modelled("replaceResult, readResult and deleteResult; others are unsupported", Operations::All),
    success: modelled("a success tells the new score", SuccessWords::Score),
    ungraded: told("a result that is not there reads as the word success", "success"),
    bad_score: modelled("a score that is none is a failure", Said::Failure { words: "Invalid score", code: None }),
    refused: told(
        "a sourcedid that is not known: failure, Incorrect sourcedId; a course that is gone: does not exist",
        RefusedWords {
            not_enrolled: NO_SOURCEDID,
            unknown: NO_SOURCEDID,
            locked: NO_SOURCEDID,
            course_over: NO_COURSE,
        },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: modelled("a token is a Bearer", "Bearer"),
    reply_type: modelled("a grant is application/json", "application/json"),
    errors: modelled(
        "errors have a description; invalid_client is 401, others 400",
        TokenErrors { invalid_client: 401, form: TokenErrorForm::Described, time_code: "invalid_client" },
    ),
    audience: told("aud is the token URL of the developer gateway", Audience::TokenUrl),
    times: modelled(
        "iat and exp are needed, without leeway",
        AssertionTimes { iat_ahead_max_s: 0, iat_age_max_s: Some(300), exp_leeway_s: 0, exp_ahead_max_s: Some(3_600) },
    ),
    jti: modelled("each jti once", Jti::Once),
    deployment: modelled("a deployment_id claim must name one of the client's", Deployment::Checked),
    scopes: modelled("scopes that the client has not are left out", Scopes::Intersected),
    keys_unreachable: modelled(
        "a tool whose keys cannot be fetched is an invalid_client",
        KeysUnreachable::InvalidClient,
    ),
    bad_signature: modelled("a signature that is not right is 401", 401),
};

const AGS: AgsManners = AgsManners {
    dead_token: modelled("a dead token is 401", 401),
    missing_scope: modelled("a missing scope is 403", 403),
    bearer: modelled("the word is exactly Bearer", Bearer::Exact),
    accept: modelled("Accept must be the type or */*, else 406", AcceptRule::OrAnything(406)),
    media: modelled("Content-Type must be the type, else 415", MediaRule::Exactly(415)),
    paging: modelled("lists come in pages", Paging::Always),
    links: modelled("Link headers are plain", Links::Plain),
    filters: modelled(
        "lists are filtered by resource_link_id, resource_id and tag",
        &["resource_link_id", "resource_id", "tag"],
    ),
    created: modelled("a new line item is 201; the same POST twice makes two", 201),
    new_item: told(
        "a new line item has a whole maximum",
        NewItemRules {
            maximum: Maximum::Whole,
            label_chars_max: usize::MAX,
            tag_chars_max: usize::MAX,
            names: Names::Optional,
        },
    ),
    foreign_link: modelled("a resourceLinkId of another course is 404", 404),
    gone: modelled("a line item that is gone is 404", 404),
    foreign_item: modelled("a line item of another tool is 403", 403),
    deleting: modelled("a line item is deleted with 204", Deleting::All),
    lost_query: modelled("line items have no query to lose", 400),
    errors: modelled("refusals are JSON with status and message", ErrorBody::StatusAndMessage),
    results: modelled("results are on the scale of the column", ResultScale::OfColumn),
};

const SCORES: ScoreManners = ScoreManners {
    taken: modelled("a score is taken with 200 and no body", Taken::Empty),
    order: modelled("a score must be newer, else 409, as the standard has it", Order::NewerMillisecond),
    future: modelled("a timestamp of the future is taken", Future::Taken),
    document: told(
        "userId, timestamp and both kinds of progress are needed; a timestamp without a zone is 400",
        Document::Lenient,
    ),
    negative: modelled("a negative score is 400", 400),
    no_maximum: modelled("a maximum of 0 is 400", 400),
    unfinished: modelled("a score that is absent or not FullyGraded wipes the grade", Unfinished::Wipes),
    zero: modelled("0 is stored as 0", Zero::Stored),
    submissions: modelled("there are no submissions", Submissions::None),
    user_ids: modelled("any user id can be handled", UserIds::Any),
    refused: told(
        "a user who is not known: 400, User could not be found",
        RefusedWords { not_enrolled: NO_USER, unknown: NO_USER, locked: NO_USER, course_over: NO_USER },
    ),
};
