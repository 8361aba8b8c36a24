//! No platform in particular: the standards, and the strictest of what real platforms do. What every test and demo has
//! that asks for no likeness.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled,
};

const NOT_A_STUDENT: Denied = Denied::With(422, "User not found in course or is not a student");
const NO_USER: Said = Said::Failure { words: "User not found", code: None };

pub(super) const PAGE: &str = "<!DOCTYPE html><html><head><title>Site maintenance</title></head>\
    <body><h1>This site is undergoing maintenance</h1></body></html>";

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: modelled(
        "short addresses of its own; those of line items have a query",
        Addresses {
            outcomes: "/lti11/outcomes",
            token: "/lti13/token",
            container: "/lti13/{context}/lineitems",
            line_item: "/lti13/{context}/lineitems/{id}/lineitem",
            container_query: None,
            line_item_query: Some(("type_id", "1")),
            numbered: Numbered::No,
        },
    ),
    wrong_host: modelled("any host name is answered", WrongHost::Answered),
    user_agent: modelled("a request needs no User-Agent", UserAgent::Optional),
    rate_limit: modelled(
        "too many requests: 403 with Canvas's words and X-Rate-Limit-Remaining: 0.0",
        RateLimit {
            status: 403,
            words: "403 Forbidden (Rate Limit Exceeded)\n",
            remaining: Some("0.0"),
            retry_after: None,
        },
    ),
    maintenance: modelled(
        "maintenance: 503 with a page and no Retry-After",
        Maintenance { status: 503, page: PAGE, retry_after: None },
    ),
    precision: modelled("a grade is kept as it was sent", Precision::Whole),
    teachers_grade: modelled("a grade that a teacher changed is replaced by the tool's next", TeachersGrade::Replaced),
};

const OUTCOMES: OutcomeManners = OutcomeManners {
    reply_type: modelled("replies are application/xml", "application/xml"),
    refusal_status: modelled("a failure is HTTP 200", 200),
    distrust: modelled(
        "a request that is not believed gets one of two sentences, as on Moodle",
        Distrust::Hidden {
            no_oauth: "Missing or invalid consumer key or access token.",
            not_valid: "Message signature not valid",
        },
    ),
    oauth: modelled(
        "HMAC-SHA1 over the address with its query, a body hash, 300 s either way, each nonce once",
        OauthRules {
            age_max_s: Some(300),
            ahead_max_s: Some(300),
            nonces: Nonces::Once,
            query: Query::Signed,
            body_hash: BodyHash::Needed,
        },
    ),
    request_type: modelled("the content type must be exactly application/xml", RequestType::XmlElseFailure),
    operations: modelled("replaceResult, readResult and deleteResult are known", Operations::All),
    success: modelled("a success tells the new score", SuccessWords::Score),
    ungraded: modelled("a result that is not there reads as an empty text", ""),
    bad_score: modelled(
        "a score that is no plain decimal from 0 to 1 is a failure that says so",
        Said::Failure { words: "", code: None },
    ),
    refused: modelled(
        "whoever is refused: failure, User not found",
        RefusedWords { not_enrolled: NO_USER, unknown: NO_USER, locked: NO_USER, course_over: NO_USER },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: modelled("a token is a Bearer", "Bearer"),
    reply_type: modelled("a grant is application/json", "application/json"),
    errors: modelled(
        "errors have a code and a description; invalid_client is 401, others 400",
        TokenErrors { invalid_client: 401, form: TokenErrorForm::Described, time_code: "invalid_client" },
    ),
    audience: modelled("aud is the token URL, as one string", Audience::TokenUrl),
    times: modelled(
        "iat and exp within 300 s, without any leeway",
        AssertionTimes { iat_ahead_max_s: 0, iat_age_max_s: Some(300), exp_leeway_s: 0, exp_ahead_max_s: Some(300) },
    ),
    jti: modelled("each jti once", Jti::Once),
    deployment: modelled("a deployment_id claim must name one of the client's", Deployment::Checked),
    scopes: modelled("scopes that the client has not are left out", Scopes::Intersected),
    keys_unreachable: modelled("a tool whose keys cannot be fetched gets a 404 page", KeysUnreachable::NotFoundPage),
    bad_signature: modelled("a signature that is not right is an invalid_client, 401", 401),
};

const AGS: AgsManners = AgsManners {
    dead_token: modelled("a dead token is 401", 401),
    missing_scope: modelled("a missing scope is 403", 403),
    bearer: modelled("the word is exactly Bearer", Bearer::Exact),
    accept: modelled("Accept must be exactly the type, else 406", AcceptRule::Exactly(406)),
    media: modelled("Content-Type must be exactly the type, else 415", MediaRule::Exactly(415)),
    paging: modelled("lists come in pages", Paging::Always),
    links: modelled("Link headers are plain", Links::Plain),
    filters: modelled(
        "lists are filtered by resource_link_id, resource_id and tag",
        &["resource_link_id", "resource_id", "tag"],
    ),
    created: modelled("a new line item is 201", 201),
    new_item: modelled(
        "a new line item needs a label and a maximum above 0",
        NewItemRules {
            maximum: Maximum::AboveZero,
            label_chars_max: usize::MAX,
            tag_chars_max: usize::MAX,
            names: Names::Optional,
        },
    ),
    foreign_link: modelled("a resourceLinkId of another context is 404", 404),
    gone: modelled("a line item that is gone is 404", 404),
    foreign_item: modelled("a line item of another tool is 403", 403),
    deleting: modelled("a line item is deleted with 204", Deleting::All),
    lost_query: modelled("an address that lost its query is 400", 400),
    errors: modelled("refusals are JSON with status and reason", ErrorBody::StatusAndReason),
    results: modelled("results are on the scale of the score", ResultScale::AsSent),
};

const SCORES: ScoreManners = ScoreManners {
    taken: modelled("a score is taken with 200 and no body", Taken::Empty),
    order: modelled("a score must be newer by a millisecond, else 409", Order::NewerMillisecond),
    future: modelled("a timestamp in the future is 400", Future::Refused),
    document: modelled("nothing may be missing, unknown or of a wrong type", Document::Strict),
    negative: modelled("a negative score is 400", 400),
    no_maximum: modelled("a maximum of 0 is 400", 400),
    unfinished: modelled("a score that is absent or not FullyGraded wipes the grade", Unfinished::Wipes),
    zero: modelled("0 is stored as 0", Zero::Stored),
    submissions: modelled("there are no submissions", Submissions::None),
    user_ids: modelled("any user id can be handled", UserIds::Any),
    refused: modelled(
        "whoever is refused: 422, not found or not a student",
        RefusedWords {
            not_enrolled: NOT_A_STUDENT,
            unknown: NOT_A_STUDENT,
            locked: NOT_A_STUDENT,
            course_over: NOT_A_STUDENT,
        },
    ),
};
