//! Moodle 4.5: everything is HTTP 200 in LTI 1.1, almost nothing has a body in AGS, and every text is `text/html`.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled, observed,
};

const PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><head><title>Campus: Site is undergoing maintenance</title></head>\
    <body><h1>Campus</h1><p>This site is undergoing maintenance and is currently not available</p></body></html>";

/// Enrolment is not looked at in LTI 1.1.
const LOCKED: Said = Said::Failure { words: "Grade replace response", code: None };
const NO_ACTIVITY: Said = Said::Failure { words: "Tool does not accept grades", code: None };
const INCORRECT: Denied = Denied::With(400, "Incorrect score received");

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: observed(
        "line items are below services.php, with type_id in their query; /scores stands before it",
        Addresses {
            outcomes: "/mod/lti/service.php",
            token: "/mod/lti/token.php",
            container: "/mod/lti/services.php/{context}/lineitems",
            line_item: "/mod/lti/services.php/{context}/lineitems/{id}/lineitem",
            container_query: Some("type_id=1"),
            line_item_query: Some(("type_id", "1")),
            numbered: Numbered::No,
        },
    ),
    wrong_host: observed("a request for another host name is 303 with a page", WrongHost::SeeOther),
    user_agent: modelled("a request needs no User-Agent", UserAgent::Optional),
    rate_limit: modelled(
        "Moodle limits no rates; a web server before it would say 429",
        RateLimit { status: 429, words: "Too Many Requests", remaining: None, retry_after: Some("1") },
    ),
    maintenance: observed(
        "maintenance: 503 with a page and Retry-After: 300, on all services",
        Maintenance { status: 503, page: PAGE, retry_after: Some("300") },
    ),
    precision: observed("a grade keeps five decimals of a percent", Precision::FiveDecimals),
    teachers_grade: observed(
        "a grade that a teacher changed stays as it is shown; the tool's is taken, and stored behind it",
        TeachersGrade::Stays,
    ),
};

const OUTCOMES: OutcomeManners = OutcomeManners {
    reply_type: observed("replies are XML that is called text/html", "text/html; charset=utf-8"),
    refusal_status: observed("a failure is HTTP 200", 200),
    distrust: observed(
        "a request that is not believed gets one of two sentences, whatever was wrong",
        Distrust::Hidden {
            no_oauth: "Missing or invalid consumer key or access token.",
            not_valid: "Message signature not valid",
        },
    ),
    oauth: observed(
        "a timestamp may be 300 s old or of any future, nonces may repeat, the query is signed, a body hash is needed",
        OauthRules {
            age_max_s: Some(300),
            ahead_max_s: None,
            nonces: Nonces::Unchecked,
            query: Query::Signed,
            body_hash: BodyHash::Needed,
        },
    ),
    request_type: observed("any content type but that of a form", RequestType::AnyButForm),
    operations: observed("replaceResult, readResult and deleteResult; others are unsupported", Operations::All),
    success: observed("a success tells the new score", SuccessWords::Score),
    ungraded: observed("a result that is not there reads as an empty text", ""),
    bad_score: observed(
        "a score that is none: failure, Score must be numeric, or not between 0.0 and 1.0",
        Said::Failure { words: "", code: None },
    ),
    refused: observed(
        "users who are unknown or not enrolled: success all the same; locked: failure, Grade replace response",
        RefusedWords { not_enrolled: Said::Success, unknown: Said::Success, locked: LOCKED, course_over: NO_ACTIVITY },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: observed("a token is a Bearer", "Bearer"),
    reply_type: observed("a grant is JSON that is called text/html", "text/html; charset=utf-8"),
    errors: observed(
        "errors are 400; the words of the library stand between quotes unescaped, so some are no JSON",
        TokenErrors { invalid_client: 400, form: TokenErrorForm::RawWords, time_code: "invalid_client" },
    ),
    audience: observed("aud is not looked at", Audience::Unchecked),
    times: observed(
        "iat and exp without any leeway, and of any length",
        AssertionTimes { iat_ahead_max_s: 0, iat_age_max_s: None, exp_leeway_s: 0, exp_ahead_max_s: None },
    ),
    jti: observed("jti is not looked at", Jti::Unchecked),
    deployment: observed("the deployment_id claim is ignored", Deployment::Ignored),
    scopes: observed("scopes that the client has not are left out; with none left, invalid_scope", Scopes::Intersected),
    keys_unreachable: observed("a tool whose keys cannot be fetched gets a 404 page", KeysUnreachable::NotFoundPage),
    bad_signature: observed("a signature that is not right is 400", 400),
};

const AGS: AgsManners = AgsManners {
    dead_token: observed("a dead token is 401", 401),
    missing_scope: observed("a missing scope is 401", 401),
    bearer: observed("the word is exactly Bearer; bearer is 401", Bearer::Exact),
    accept: observed("Accept must be exactly the type, else 400", AcceptRule::Exactly(400)),
    media: observed("Content-Type must be exactly the type, else 400", MediaRule::Exactly(400)),
    paging: observed("a list comes in pages only where limit was asked for", Paging::OnlyWithLimit),
    links: observed("Link has curly quotes, and &amp; in its address", Links::Curly),
    filters: observed(
        "lists are filtered by resource_link_id, resource_id and tag",
        &["resource_link_id", "resource_id", "tag"],
    ),
    created: observed("a new line item is 201; the same POST twice makes two", 201),
    new_item: observed(
        "a new line item needs a label and a maximum, which may be 0",
        NewItemRules {
            maximum: Maximum::ZeroToo,
            label_chars_max: usize::MAX,
            tag_chars_max: usize::MAX,
            names: Names::Optional,
        },
    ),
    foreign_link: observed("a resourceLinkId of another context is 403", 403),
    gone: observed("a line item that is gone is 404", 404),
    foreign_item: observed("a line item of another tool is 403", 403),
    deleting: observed("a line item is deleted with 204, an activity's own too", Deleting::All),
    lost_query: observed("another type_id, or none, is 401", 401),
    errors: observed(
        "a refused score is [], with the reason and the whole request in the status line; a line break makes it 200",
        ErrorBody::InStatusLine,
    ),
    results: observed("results are on the scale of the column", ResultScale::OfColumn),
};

const SCORES: ScoreManners = ScoreManners {
    taken: observed("a score is taken with 200 and no body", Taken::Empty),
    order: observed("a score must be newer by a second, else 409; a cleared cell takes any", Order::NewerSecond),
    future: observed("a timestamp of the future is taken, and all before it are 409 from then on", Future::Taken),
    document: observed(
        "userId, timestamp and both kinds of progress are needed, unknown words are let through",
        Document::Lenient,
    ),
    negative: observed("a negative score is taken, and shown as 0", 0),
    no_maximum: observed("a maximum of 0 is taken", 0),
    unfinished: observed("a score that is absent or not FullyGraded wipes the grade, with 200", Unfinished::Wipes),
    zero: observed("0 is stored as 0", Zero::Stored),
    submissions: observed("there are no submissions", Submissions::None),
    user_ids: observed("a user id that is no number is 502 of the web server", UserIds::Numbers),
    refused: observed(
        "users who are unknown or not enrolled: 400; a locked grade: 500 with []; no activity: 404",
        RefusedWords {
            not_enrolled: INCORRECT,
            unknown: INCORRECT,
            locked: Denied::With(500, "The grade is locked"),
            course_over: Denied::With(404, "Not Found"),
        },
    ),
};
