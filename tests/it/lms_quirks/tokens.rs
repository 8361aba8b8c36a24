//! The token endpoint: how often it is asked, who the assertion is for, what is asked of it, whose clock is right, and whose
//! keys can be fetched.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use passback::{
    domain::outcome::{AttemptOutcome, FailureReason},
    simulator::{Client, Fault, FaultKind, Jwks, Likeness, Route, SCOPE_LINEITEM_READONLY, SCOPE_SCORE},
};
use serde_json::{Value, json};

use super::{
    campus::{Campus, Plan, each, is_delivered, is_flagged, is_refused},
    scripted::{Conduct, Script, meet_for_a_token, token_requests},
    tap::{Sort, Talk},
};
use crate::{
    check::scene::key_set,
    lms_faults::scene::{AMPLE, Scene, Setting, event, open_transport},
    service::worker::free_address,
};

/// A part of the client assertion: 0 is its header, 1 its claims.
fn assertion(talk: &Talk, part: usize) -> Value {
    let assertion = talk.form("client_assertion");
    let text = assertion.split('.').nth(part).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
}

/// Eight at once ask for one token, and for one more when it has died.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_03_one_token_serves_all_and_is_asked_for_once() {
    each(Likeness::ALL, |like| async move {
        let campus = Plan::like(like).flagging().room(8).open().await;
        let grades = |score: i32| -> Vec<_> { (1..=8).map(|user| campus.known(&user.to_string(), score)).collect() };
        for job in campus.deliver_all(&grades(8)).await {
            is_delivered(&job, 1, like.word());
        }
        assert_eq!(campus.tap.count(Sort::Token), 1, "{like}");
        campus.lms.revoke_tokens();
        let later = grades(9).into_iter().map(|mut event| {
            event["lis_data"]["lineitem"] = campus.lms.lineitem_url("c", "2").into();
            event
        });
        for job in campus.deliver_all(&later.collect::<Vec<_>>()).await {
            is_delivered(&job, 1, like.word());
        }
        assert_eq!(campus.tap.count(Sort::Token), 2, "{like}");
    })
    .await;
}

/// A token of an hour serves 59 minutes: to the last second would be a race.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_03_a_token_is_not_used_in_its_last_minute() {
    let script = Script::default();
    let server = script.server().await;
    let base = format!("http://{}", server.address);
    let scene = Scene::set(open_transport(), Setting::with_tokens_from(&format!("{base}/token"), AMPLE));
    for (jump, tokens) in [(0, 1), (3500, 1), (60, 2)] {
        scene.clock.jump(jump);
        let mut event = event("lti13-ags", &base);
        event["session_id"] = json!(format!("s{jump}"));
        is_delivered(&scene.ended(scene.submit(&event).await).await, 1, &jump.to_string());
        assert_eq!(token_requests(&script), tokens, "after {jump} s more");
    }
}

/// One string, to the last slash: Canvas wants the token URL, Brightspace a value of its own, and says 500 to a list.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_07_the_audience_is_one_string_and_can_be_set() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        let claims = assertion(&campus.tap.all(Sort::Token)[0], 1);
        assert_eq!(claims["aud"], json!(campus.lms.token_audience()), "{like}");
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("tool-1"), &json!("tool-1")), "{like}");
    })
    .await;
    each([Likeness::Canvas, Likeness::Brightspace], |like| async move {
        let slash = |setting: Setting| Setting { token_audience: format!("{}/", setting.token_url), ..setting };
        let campus = Plan::like(like).flagging().set(slash).open().await;
        is_refused(&campus.deliver(&campus.known("7", 8)).await, FailureReason::TokenRefused, "'aud'", "set token_aud");
    })
    .await;
}

/// Moodle has no leeway. A few seconds are allowed for; more is mended within the attempt by the platform's own time, where
/// its refusal speaks of times. Sakai has a minute of leeway, and says no more than that it does not know us.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_14_a_platform_whose_clock_is_wrong_gets_its_assertion() {
    each(Likeness::ALL, |like| async move {
        for (skew_ms, tokens) in [(0, 1), (-3_000, 1), (-120_000, 2), (900_000, 2)] {
            let mut plan = Plan::like(like).flagging();
            plan.options.clock_skew_ms = skew_ms;
            let campus = plan.open().await;
            let job = campus.deliver(&campus.known("7", 8)).await;
            let asked = campus.tap.all(Sort::Token);
            let claims = assertion(&asked[0], 1);
            let seconds = |name: &str| claims[name].as_i64().expect("seconds");
            assert!((1..=300).contains(&(seconds("exp") - seconds("iat"))), "{like}");
            if like == Likeness::Sakai && tokens == 2 {
                is_refused(&job, FailureReason::TokenRefused, "invalid_client", "does not know the client id");
                continue;
            }
            is_delivered(&job, 1, &format!("{like} {skew_ms}"));
            assert_eq!(asked.len(), tokens, "{like} {skew_ms}: {:?}", campus.lms.refusals());
        }
    })
    .await;
}

/// Canvas, Sakai and Brightspace refuse the whole request for one scope too many.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_15_only_scopes_that_are_needed_are_asked_for() {
    each(Likeness::ALL, |like| async move {
        let mut plan = Plan::like(like).flagging();
        plan.client.scopes = vec![SCOPE_SCORE.to_owned()];
        let campus = plan.open().await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        assert_eq!(campus.tap.all(Sort::Token)[0].form("scope"), SCOPE_SCORE, "{like}");
    })
    .await;
}

/// The launch says what was granted (its AGS claim), and nothing else is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_15_only_scopes_of_the_launch_are_asked_for() {
    each(Likeness::ALL, |like| async move {
        let mut plan = Plan::like(like).flagging();
        let granted = [SCOPE_LINEITEM_READONLY, SCOPE_SCORE];
        plan.client.scopes = granted.map(str::to_owned).to_vec();
        let campus = plan.open().await;
        let mut event = campus.sought("7", 8);
        event["lis_data"]["scope"] = json!(granted);
        event["lis_data"]["resource_id"] = json!("2");
        is_delivered(&campus.deliver(&event).await, 1, like.word());
        assert_eq!(campus.tap.all(Sort::Token)[0].form("scope"), granted.join(" "), "{like}");
        event["lis_data"]["resource_id"] = json!("quiz");
        let job = campus.deliver(&event).await;
        is_refused(&job, FailureReason::NotFound, "did not grant the scope to make one", "let a teacher add it");
        event["lis_data"]["scope"] = json!(SCOPE_LINEITEM_READONLY);
        event["session_id"] = json!("another");
        let before = campus.tap.count(Sort::Token);
        let job = campus.deliver(&event).await;
        is_refused(&job, FailureReason::TokenRefused, "lis_data.scope", "granted no scope to write scores");
        assert_eq!(campus.tap.count(Sort::Token), before, "{like}: nothing was asked");
    })
    .await;
}

/// A platform that cannot fetch our keys: Moodle says so with a 404 page, as if it were not there itself. Once it can, a
/// replay delivers.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_23_our_keys_are_named_and_their_outage_is_told() {
    let cases = [
        (Likeness::Moodle, "may not be able to fetch our JWKS"),
        (Likeness::Canvas, ""),
        (Likeness::Blackboard, ""),
        (Likeness::Brightspace, ""),
    ];
    each(cases, |(like, words)| async move {
        let mut plan = Plan::like(like).flagging();
        plan.client.jwks = Jwks::Url(format!("http://{}/jwks.json", free_address()));
        let campus = plan.open().await;
        let id = campus.submit(&campus.known("7", 8)).await;
        let job = campus.scene.ended(id).await;
        is_refused(&job, FailureReason::TokenRefused, words, "could not fetch our public keys");
        assert_eq!(assertion(&campus.tap.all(Sort::Token)[0], 0)["kid"], json!("k1"), "{like}");
        campus.lms.add_client(Client::new("tool-1", Jwks::Inline(key_set("k1")))).expect("a client");
        campus.scene.handle.replay(id, None).await.expect("it is flagged");
        is_delivered(&campus.scene.ended(id).await, 2, like.word());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn class_token_400_oauth_error_is_permanent() {
    let cases = [
        (r#"{"error":"invalid_client"}"#, "invalid_client", "does not know the client id tool-1"),
        (r#"{"error":"invalid_scope"}"#, "invalid_scope", "grants none of the scopes"),
        (r#"{"error":"invalid_grant"}"#, "invalid_grant", "check client_id"),
        (r#"{"error":"invalid_request"}"#, "invalid_request", "check client_id"),
    ];
    for (body, words, advice) in cases {
        let (job, script) = meet_for_a_token(vec![Conduct::Says(400, body)], Setting::flagging).await;
        is_refused(&job, FailureReason::TokenRefused, words, advice);
        assert_eq!(script.seen(), ["/token"], "and no grade was sent");
    }
    // Moodle knows the tool, and has switched grade sync off.
    let mut plan = Plan::like(Likeness::Moodle).flagging();
    plan.client.scopes.clear();
    let campus = plan.open().await;
    let job = campus.deliver(&campus.known("7", 8)).await;
    is_refused(&job, FailureReason::TokenRefused, "invalid_scope", "grade services");
}

/// Once more in the same attempt by the platform's clock, where it shows one; else it is final.
#[tokio::test(flavor = "multi_thread")]
async fn class_token_400_time_is_tried_once_by_the_platforms_clock() {
    for (like, skew_ms) in [(Likeness::Moodle, -60_000), (Likeness::OpenEdx, -60_000), (Likeness::Canvas, 600_000)] {
        let mut plan = Plan::like(like).flagging();
        plan.options.clock_skew_ms = skew_ms;
        let campus = plan.open().await;
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 1, like.word());
        assert_eq!(campus.tap.count(Sort::Token), 2, "{like}");
    }
    let refused = Conduct::Says(400, r#"{"error":"Cannot handle token with iat prior to 2026-11-22T05:44:44+0000"}"#);
    let (job, script) = meet_for_a_token(vec![refused; 2], Setting::flagging).await;
    is_refused(&job, FailureReason::TokenRefused, "iat prior", "by NTP");
    assert_eq!(token_requests(&script), 1, "there is no other clock to go by");
}

/// The keys may just have been rotated, or not be in reach: by default it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn class_token_400_signature_and_404_html_are_tried_again_by_default() {
    let cases = [
        (404, "<!DOCTYPE html><html><body>Page not found</body></html>", "could not fetch our public keys"),
        (400, r#"{"error":"Signature verification failed"}"#, "knows no key that fits our signature"),
        (400, r#"{"error":""kid" invalid, unable to lookup correct key"}"#, "knows no key that fits our signature"),
    ];
    for (code, body, advice) in cases {
        let (job, _) = meet_for_a_token(vec![Conduct::Says(code, body)], |setting| setting).await;
        is_delivered(&job, 2, body);
        assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::TokenRefused), "{body}");
        let (job, _) = meet_for_a_token(vec![Conduct::Says(code, body); 6], |setting| setting).await;
        is_flagged(&job, FailureReason::TokenRefused, "", advice);
    }
    // Moodle with another key than ours.
    let mut plan = Plan::like(Likeness::Moodle).flagging();
    plan.client.jwks = Jwks::Inline(key_set("another"));
    let campus = plan.open().await;
    let job = campus.deliver(&campus.known("7", 8)).await;
    is_refused(&job, FailureReason::TokenRefused, "unable to lookup correct key", "knows no key");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_token_5xx_html_and_no_json_are_tried_again() {
    use FailureReason::{BadResponse, ServerError};
    let cases = [
        (Conduct::Says(500, "oh no"), ServerError),
        (Conduct::Says(503, "<html>later</html>"), ServerError),
        (Conduct::Says(200, "<html>Please log in</html>"), BadResponse),
        (Conduct::Says(200, "{\"access_token\":"), BadResponse),
        (Conduct::Says(200, ""), BadResponse),
    ];
    for (reply, reason) in cases {
        let (job, _) = meet_for_a_token(vec![reply.clone()], Setting::flagging).await;
        is_delivered(&job, 2, &format!("{reply:?}"));
        assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(reason), "{reply:?}");
        assert!(!job.attempts[0].reply_lost, "no grade was on its way");
    }
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        let kinds = [FaultKind::Maintenance, FaultKind::Html, FaultKind::CutBefore];
        let faults = kinds.map(|kind| Fault::times(kind, 1)).to_vec();
        campus.lms.set_faults(Route::Token, faults).expect("sensible faults");
        is_delivered(&campus.deliver(&campus.known("7", 8)).await, 4, like.word());
    })
    .await;
}
