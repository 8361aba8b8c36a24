//! A simulated LMS with the manners of a platform, the settings of a worker that knows it, and events for it.

use std::fmt::Write as _;

use passback::{
    config::{lti::SigningKeyConfig, rsa, secret::Secret},
    domain::time::Timestamp,
    simulator::{Client, Consumer, Jwks, Likeness, Options, SimulatedLms},
};
use serde_json::{Value, json};

use crate::service::{
    delivery::{KEY, signing_key},
    worker::{LOCAL, Worker},
};

const SECRET: &str = "sesame-open-1";
pub(crate) const CLIENT: &str = "tool-1";
/// The course; ids that are numbers are good on every platform.
pub(crate) const COURSE: &str = "7";
/// When the first session came to its end; each further one a second later.
const FIRST: i64 = 1_704_067_200;

/// Many tries in quick succession: a storm must not use them up.
pub(crate) const BRISK: &str =
    "[retry]\ninitial = \"50ms\"\nmultiplier = 1.5\nmax = \"300ms\"\nmax_retries = 12\n[delivery]\ntimeout = \"5s\"\n";

/// A platform with the columns `1` and `2`, and no others unless somebody makes them.
pub(crate) async fn campus(like: Likeness) -> SimulatedLms {
    let options = Options {
        consumers: vec![Consumer::new(KEY, SECRET)],
        clients: vec![Client::new(CLIENT, Jwks::Inline(jwks()))],
        contexts: vec![(COURSE.to_owned(), vec!["1".to_owned(), "2".to_owned()])],
        like: Some(like),
        ..Options::default()
    };
    SimulatedLms::start(options).await.expect("a platform")
}

/// The public half of the tests' own key.
fn jwks() -> Value {
    let private_key = Secret::new(std::fs::read_to_string(signing_key()).expect("the tests' own key"));
    let key = SigningKeyConfig { kid: "k1".to_owned(), private_key };
    rsa::jwks(&[key.signing_key()]).expect("a key")
}

/// The settings of a worker that knows the platform.
pub(crate) fn settings(lms: &SimulatedLms, retry: &str) -> String {
    let mut text = format!(
        "{LOCAL}{retry}[[lti_keys]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n\
         [[signing_keys]]\nkid = \"k1\"\nprivate_key = {{ file = \"{}\" }}\n",
        signing_key()
    );
    let (token_url, token_aud) = (lms.token_url(), lms.token_audience());
    write!(
        text,
        "[[platforms]]\nname = \"campus\"\nclient_id = \"{CLIENT}\"\ntoken_url = \"{token_url}\"\n\
         token_aud = \"{token_aud}\"\n"
    )
    .expect("a text grows");
    text
}

/// A worker that knows the platform.
pub(crate) async fn worker(lms: &SimulatedLms) -> Worker {
    Worker::started(&settings(lms, BRISK)).await
}

/// A whole event: number `n` in time, with this score of 100.
pub(crate) fn event(n: u32, score: u32, lis_data: &Value) -> Value {
    json!({
        "session_id": format!("session-{n}"), "event_id": format!("event-{n}"), "score": score, "max_score": 100,
        "occurred_at": Timestamp::from_secs(FIRST + i64::from(n)).to_string(), "lis_data": lis_data,
    })
}

/// LTI 1.1 for this sourcedid.
pub(crate) fn outcome(lms: &SimulatedLms, like: Likeness, sourcedid: &str) -> Value {
    let mut lis_data = json!({
        "lis_outcome_service_url": lms.outcomes_url(), "lis_result_sourcedid": sourcedid, "oauth_consumer_key": KEY,
    });
    if like == Likeness::Canvas {
        lis_data["tool_family"] = "canvas".into();
    }
    lis_data
}

/// AGS into a column whose address is known.
pub(crate) fn known(lms: &SimulatedLms, user: &str, column: &str) -> Value {
    json!({"lti_version": "1.3", "client_id": CLIENT, "user_id": user, "lineitem": lms.lineitem_url(COURSE, column)})
}

/// AGS into the column of a resource, which is to be found or made.
pub(crate) fn sought(lms: &SimulatedLms, user: &str, resource: &str) -> Value {
    json!({
        "lti_version": "1.3", "client_id": CLIENT, "user_id": user, "lineitems": lms.lineitems_url(COURSE),
        "resource_id": resource, "label": format!("Resource {resource}"),
    })
}

/// The column of a resource. There is at most one.
pub(crate) fn column_of(lms: &SimulatedLms, resource: &str) -> Option<String> {
    let columns = lms.columns(COURSE).into_iter();
    let mut ids = columns.filter(|column| column.resource_id.as_deref() == Some(resource)).map(|column| column.id);
    let id = ids.next();
    assert_eq!(ids.next(), None, "a second column for {resource}: {:?}", lms.columns(COURSE));
    id
}
