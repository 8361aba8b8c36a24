//! Sakai: 400 for almost everything, 403 for a dead token, and no filter for resource links.

use super::{
    AcceptRule, Addresses, AgsManners, AssertionTimes, Audience, Bearer, BodyHash, Deleting, Denied, Deployment,
    Distrust, Document, ErrorBody, Future, Jti, KeysUnreachable, Links, Maintenance, Manners, Maximum, MediaRule,
    Names, NewItemRules, Nonces, Numbered, OauthRules, Operations, Order, OutcomeManners, Paging, Precision, Query,
    RateLimit, RefusedWords, RequestType, ResultScale, Said, Scopes, ScoreManners, SiteManners, Submissions,
    SuccessWords, Taken, TeachersGrade, TokenErrorForm, TokenErrors, TokenManners, Unfinished, UserAgent, UserIds,
    WrongHost, Zero, modelled, source,
};

const NO_MEMBER: Denied = Denied::With(400, "User does not belong to site");
const CLOSED: Denied = Denied::With(400, "Unable to set grade");

const fn failure(words: &'static str) -> Said {
    Said::Failure { words, code: None }
}

pub(super) static MANNERS: Manners = Manners { site: SITE, outcomes: OUTCOMES, token: TOKEN, ags: AGS, scores: SCORES };

const SITE: SiteManners = SiteManners {
    addresses: source(
        "line items are at /imsblis/lti13/lineitems/{site}/{number}; another than a number is 400",
        Addresses {
            outcomes: "/imsblis/service/",
            token: "/imsblis/lti13/token/1",
            container: "/imsblis/lti13/lineitems/{context}",
            line_item: "/imsblis/lti13/lineitems/{context}/{id}",
            container_query: None,
            line_item_query: None,
            numbered: Numbered::Yes,
        },
    ),
    wrong_host: modelled("any host name is answered", WrongHost::Answered),
    user_agent: modelled("a request needs no User-Agent", UserAgent::Optional),
    rate_limit: modelled(
        "Sakai limits no rates; a web server before it would say 429",
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
    reply_type: source("replies are XML", "application/xml"),
    refusal_status: source("a failure is HTTP 200", 200),
    distrust: source("a request that is not believed is a failure", Distrust::Told("OAuth signature failure: ")),
    oauth: source(
        "the checks of the Java library: a timestamp 300 s off, each nonce once, a body hash",
        OauthRules {
            age_max_s: Some(300),
            ahead_max_s: Some(300),
            nonces: Nonces::Once,
            query: Query::Signed,
            body_hash: BodyHash::Needed,
        },
    ),
    request_type: source("the content type is ignored", RequestType::Any),
    operations: source("replaceResult, readResult and deleteResult; others are unsupported", Operations::All),
    success: modelled("a success tells the new score", SuccessWords::Score),
    ungraded: modelled("a result that is not there reads as an empty text", ""),
    bad_score: modelled("a score that is none is a failure", failure("Bad score")),
    refused: source(
        "an unknown user, a tampered sourcedid, a course that is gone: failure (the words are ours)",
        RefusedWords {
            not_enrolled: failure("User not found in site"),
            unknown: failure("User not found in site"),
            locked: failure("Unable to set grade"),
            course_over: failure("Site not found"),
        },
    ),
};

const TOKEN: TokenManners = TokenManners {
    token_type: source("a token is a Bearer", "Bearer"),
    reply_type: source("a grant is application/json", "application/json"),
    errors: source(
        "errors are 400 with a code alone",
        TokenErrors { invalid_client: 400, form: TokenErrorForm::CodeAlone, time_code: "invalid_client" },
    ),
    audience: source("aud is not looked at", Audience::Unchecked),
    times: source(
        "iat and exp with 60 s of leeway",
        AssertionTimes { iat_ahead_max_s: 60, iat_age_max_s: None, exp_leeway_s: 60, exp_ahead_max_s: None },
    ),
    jti: source("jti is not looked at", Jti::Unchecked),
    deployment: source("the deployment_id claim is not looked at", Deployment::Ignored),
    scopes: source("one scope that the client has not fails the request", Scopes::AllOrNone),
    keys_unreachable: modelled(
        "a tool whose keys cannot be fetched is an invalid_client",
        KeysUnreachable::InvalidClient,
    ),
    bad_signature: source("a signature that is not right is thrown without a catch: 500", 500),
};

const AGS: AgsManners = AgsManners {
    dead_token: source("a dead token is 403", 403),
    missing_scope: source("a missing scope is 400", 400),
    bearer: source("Authorization must begin with Bearer, else 403", Bearer::Exact),
    accept: source("Accept is ignored", AcceptRule::Ignored),
    media: source("Content-Type is ignored", MediaRule::Ignored),
    paging: modelled("a list comes whole", Paging::Never),
    links: modelled("there are no Link headers", Links::Plain),
    filters: source("lists are filtered by tag and resource_id, and not by resource_link_id", &["resource_id", "tag"]),
    created: source("a new line item is 200", 200),
    new_item: modelled(
        "a new line item needs a label and a maximum",
        NewItemRules {
            maximum: Maximum::AboveZero,
            label_chars_max: usize::MAX,
            tag_chars_max: usize::MAX,
            names: Names::Optional,
        },
    ),
    foreign_link: modelled("a resourceLinkId of another site is 400", 400),
    gone: source("a line item that is gone is 400", 400),
    foreign_item: source("a line item of another tool is 400", 400),
    deleting: modelled("a line item is deleted with 204", Deleting::All),
    lost_query: modelled("line items have no query to lose", 400),
    errors: source("refusals are JSON with the words as error", ErrorBody::Error),
    results: modelled("results are on the scale of the column", ResultScale::OfColumn),
};

const SCORES: ScoreManners = ScoreManners {
    taken: source("a score is taken with 200 and no body", Taken::Empty),
    order: source("timestamps are not compared: what came last holds", Order::Unchecked),
    future: source("a timestamp of the future is taken", Future::Taken),
    document: source("only userId is needed; numbers must be JSON numbers", Document::UserOnly),
    negative: modelled("a negative score is 400", 400),
    no_maximum: modelled("a maximum of 0 is 400", 400),
    unfinished: modelled("a score that is absent or not FullyGraded wipes the grade", Unfinished::Wipes),
    zero: modelled("0 is stored as 0", Zero::Stored),
    submissions: modelled("there are no submissions", Submissions::None),
    user_ids: modelled("any user id can be handled", UserIds::Any),
    refused: source(
        "users who do not belong to the site, and every refusal of the gradebook: 400 with its words",
        RefusedWords { not_enrolled: NO_MEMBER, unknown: NO_MEMBER, locked: CLOSED, course_over: CLOSED },
    ),
};
