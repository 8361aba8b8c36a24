//! Open edX with xblock-lti-consumer: replaceResult alone, 403 where others say 401, and grades that are stored long
//! before they are published.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled, source,
};

const fn failure(words: &'static str) -> Said {
    Said::Failure { words, code: None }
}

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: source(
        "line items are at …/lti/{configuration}/lti-ags/{id}",
        Addresses {
            outcomes: "/courses/course-v1:demo/xblock/lti/handler_noauth/outcome_service_handler",
            token: "/api/lti_consumer/v1/token/1",
            container: "/api/lti_consumer/v1/lti/{context}/lti-ags",
            line_item: "/api/lti_consumer/v1/lti/{context}/lti-ags/{id}",
            container_query: None,
            line_item_query: None,
            numbered: Numbered::No,
        },
    ),
    wrong_host: modelled("any host name is answered", WrongHost::Answered),
    user_agent: modelled("a request needs no User-Agent", UserAgent::Optional),
    rate_limit: modelled(
        "the library limits no rates; a web server before it would say 429",
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
    reply_type: source("replies are application/xml", "application/xml"),
    refusal_status: source("a failure is HTTP 200", 200),
    distrust: source(
        "a request that is not believed is a failure that speaks of OAuth",
        Distrust::Told("OAuth verification error: "),
    ),
    oauth: source(
        "neither timestamps nor nonces are checked, the query is not part of the signature, a body hash is needed",
        OauthRules {
            age_max_s: None,
            ahead_max_s: None,
            nonces: Nonces::Unchecked,
            query: Query::LeftOut,
            body_hash: BodyHash::Needed,
        },
    ),
    request_type: source("the content type is not looked at", RequestType::Any),
    operations: source("replaceResult alone; others are unsupported", Operations::ReplaceOnly),
    success: source("a success repeats the sourcedid unescaped", SuccessWords::SourcedidUnescaped),
    ungraded: modelled("nothing can be read", ""),
    bad_score: source("a score that is no number is HTTP 500", Said::Crash),
    refused: source(
        "an unknown user: failure, User not found.; past the due date: failure, Grade is past due",
        RefusedWords {
            not_enrolled: failure("User not found."),
            unknown: failure("User not found."),
            locked: failure("Grade is past due"),
            course_over: failure("Grade is past due"),
        },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: source("a token is a bearer, in lower case", "bearer"),
    reply_type: source("a grant is application/json", "application/json"),
    errors: source(
        "errors are 400 with a code alone; unidentified_error for the times",
        TokenErrors { invalid_client: 400, form: TokenErrorForm::CodeAlone, time_code: "unidentified_error" },
    ),
    audience: source("aud is not looked at", Audience::Unchecked),
    times: source(
        "iat and exp without any leeway",
        AssertionTimes { iat_ahead_max_s: 0, iat_age_max_s: None, exp_leeway_s: 0, exp_ahead_max_s: None },
    ),
    jti: source("jti is not looked at", Jti::Unchecked),
    deployment: source("the deployment_id claim is ignored", Deployment::Ignored),
    scopes: source("scopes that are not known are dropped in silence; the grant may have none", Scopes::Dropped),
    keys_unreachable: modelled(
        "a tool whose keys cannot be fetched is an invalid_client",
        KeysUnreachable::InvalidClient,
    ),
    bad_signature: source("a signature that is not right is 400", 400),
};

const AGS: AgsManners = AgsManners {
    dead_token: source("a dead token is 403", 403),
    missing_scope: source("a missing scope is 403", 403),
    bearer: modelled("Bearer in any case", Bearer::AnyCase),
    accept: source("Accept is the type or */*, else 406", AcceptRule::OrAnything(406)),
    media: source("Content-Type must be the type, else 415", MediaRule::Exactly(415)),
    paging: source("a list comes whole", Paging::Never),
    links: modelled("there are no Link headers", Links::Plain),
    filters: source(
        "lists are filtered by resource_link_id, resource_id and tag",
        &["resource_link_id", "resource_id", "tag"],
    ),
    created: source("a new line item is 201; the same POST twice makes two", 201),
    new_item: source(
        "a new line item needs a whole maximum and a resourceId or resourceLinkId; label 100 characters, tag 50",
        NewItemRules { maximum: Maximum::Whole, label_chars_max: 100, tag_chars_max: 50, names: Names::OneNeeded },
    ),
    foreign_link: modelled("a resourceLinkId of another block is 400", 400),
    gone: source("a line item that is gone is 404", 404),
    foreign_item: source("a line item of another tool is 404", 404),
    deleting: source("a line item is deleted with 204", Deleting::All),
    lost_query: modelled("line items have no query to lose", 400),
    errors: source("refusals are JSON with a detail", ErrorBody::Detail),
    results: modelled("results are on the scale of the score", ResultScale::AsSent),
};

const SCORES: ScoreManners = ScoreManners {
    taken: source("a score is taken with 201, and repeated", Taken::Echo),
    order: source("an older or equal timestamp is 400, each in its own words", Order::NewerOr400),
    future: source("a timestamp of the future is taken", Future::Taken),
    document: source("userId, timestamp and both kinds of progress are needed", Document::Lenient),
    negative: modelled("a negative score is 400", 400),
    no_maximum: source("a maximum of 0 is 400", 400),
    unfinished: source(
        "a score that is absent or not FullyGraded is stored and not published",
        Unfinished::LeavesGrade,
    ),
    zero: source("0 is answered with 201 and not published", Zero::Unpublished),
    submissions: source("there are no submissions", Submissions::None),
    user_ids: modelled("any user id can be handled", UserIds::Any),
    refused: source(
        "whoever is not enrolled: 201 and nothing published; an unknown user: 500; past the due date: 201",
        RefusedWords {
            not_enrolled: Denied::Taken,
            unknown: Denied::With(500, "Server Error (500)"),
            locked: Denied::Taken,
            course_over: Denied::Taken,
        },
    ),
};
