//! D2L Brightspace: an audience that is not the token URL, and 403, 404 or 422 for three kinds of users. Not read in
//! source, so much of it is modelled.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled, told,
};

const NOT_GRADABLE: Denied = Denied::With(422, "User in requested score cannot be graded");

const fn failure(words: &'static str) -> Said {
    Said::Failure { words, code: None }
}

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: modelled(
        "line items are below /d2l/api/lti/ags/2.0",
        Addresses {
            outcomes: "/d2l/le/lti/outcomes",
            token: "/core/connect/token",
            container: "/d2l/api/lti/ags/2.0/deployment/1/orgunit/{context}/lineitems",
            line_item: "/d2l/api/lti/ags/2.0/deployment/1/orgunit/{context}/lineitems/{id}",
            container_query: None,
            line_item_query: None,
            numbered: Numbered::No,
        },
    ),
    wrong_host: modelled("any host name is answered", WrongHost::Answered),
    user_agent: modelled("a request needs no User-Agent", UserAgent::Optional),
    rate_limit: modelled(
        "too many AGS requests: 429 with Retry-After (that there is a limit is told)",
        RateLimit { status: 429, words: "Too Many Requests", remaining: None, retry_after: Some("1") },
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
    refusal_status: modelled("a failure is HTTP 200", 200),
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
    ungraded: modelled("a result that is not there reads as an empty text", ""),
    bad_score: modelled("a score that is none is a failure", failure("Invalid score")),
    refused: modelled(
        "whoever is refused: failure",
        RefusedWords {
            not_enrolled: failure("User is not enrolled"),
            unknown: failure("User not found"),
            locked: failure("User cannot be graded"),
            course_over: failure("Org unit is not available"),
        },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: modelled("a token is a Bearer", "Bearer"),
    reply_type: modelled("a grant is application/json", "application/json"),
    errors: modelled(
        "errors are 400 with a description",
        TokenErrors { invalid_client: 400, form: TokenErrorForm::Described, time_code: "invalid_client" },
    ),
    audience: told(
        "aud is a value of its own, not the token URL; a list is 500",
        Audience::Own("https://api.brightspace.com/auth/token"),
    ),
    times: modelled(
        "iat and exp are needed, without leeway",
        AssertionTimes { iat_ahead_max_s: 0, iat_age_max_s: Some(300), exp_leeway_s: 0, exp_ahead_max_s: Some(3_600) },
    ),
    jti: told("a jti is needed (we take each once)", Jti::Once),
    deployment: told("the deployment_id claim is not needed", Deployment::Ignored),
    scopes: modelled("one scope that the client has not fails the request", Scopes::AllOrNone),
    keys_unreachable: modelled(
        "a tool whose keys cannot be fetched is an invalid_client",
        KeysUnreachable::InvalidClient,
    ),
    bad_signature: modelled("a signature that is not right is 400", 400),
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
    new_item: modelled(
        "a new line item needs a label and a maximum above 0",
        NewItemRules {
            maximum: Maximum::AboveZero,
            label_chars_max: usize::MAX,
            tag_chars_max: usize::MAX,
            names: Names::Optional,
        },
    ),
    foreign_link: modelled("a resourceLinkId of another org unit is 404", 404),
    gone: modelled("a line item that is gone is 404", 404),
    foreign_item: modelled("a line item of another tool is 403", 403),
    deleting: modelled("a line item is deleted with 204", Deleting::All),
    lost_query: modelled("line items have no query to lose", 400),
    errors: modelled("refusals are plain words", ErrorBody::Text),
    results: modelled("results are on the scale of the column", ResultScale::OfColumn),
};

const SCORES: ScoreManners = ScoreManners {
    taken: modelled("a score is taken with 200 and no body", Taken::Empty),
    order: modelled("a score must be newer, else 409, as the standard has it", Order::NewerMillisecond),
    future: modelled("a timestamp of the future is taken", Future::Taken),
    document: modelled("userId, timestamp and both kinds of progress are needed", Document::Lenient),
    negative: modelled("a negative score is 400", 400),
    no_maximum: modelled("a maximum of 0 is 400", 400),
    unfinished: modelled("a score that is absent or not FullyGraded wipes the grade", Unfinished::Wipes),
    zero: modelled("0 is stored as 0", Zero::Stored),
    submissions: modelled("there are no submissions", Submissions::None),
    user_ids: modelled("any user id can be handled", UserIds::Any),
    refused: told(
        "not enrolled: 403; unknown: 404; a role that cannot be graded: 422, each with its words",
        RefusedWords {
            not_enrolled: Denied::With(403, "User in requested score is not enrolled in the org unit"),
            unknown: Denied::With(404, "User in requested score does not exist"),
            locked: NOT_GRADABLE,
            course_over: NOT_GRADABLE,
        },
    ),
};
