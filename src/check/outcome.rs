//! An LTI 1.1 outcome service: the key, the way there, and, with a sourcedid, the grade that it holds, read and not
//! written.

use serde_json::json;

use super::{OutcomeWish, Patience, Remark, Road, Section, reach, signature::NOT_TRIED, told};
use crate::{
    domain::{
        cause::{Words, speaks_of_unsupported},
        event::{Door, GradeEvent},
        outcome::{FailureReason, Finding, Verdict},
        platform::SharedSecret,
        verification::Reading,
    },
    lti::exchange::{Credentials, Exchange, Step},
    ports::Registry as _,
};

/// Tries an outcome service.
pub(super) async fn section(road: Road<'_>, wish: &OutcomeWish) -> Vec<Remark> {
    let mut section = Section::named("lti 1.1", format!("{:?}", wish.url));
    let host = wish.url.as_url().host_str().unwrap_or_default();
    match road.registry.shared_secret(&wish.key, host) {
        Ok(secret) => {
            section.ok("key", format!("there is a secret for {}", wish.key));
            match &wish.sourcedid {
                Some(sourcedid) => read_grade(road, &mut section, wish, secret, sourcedid).await,
                None => {
                    reach::visit(road, &mut section, &wish.url, SETTING).await;
                    let advice = "give the lis_result_sourcedid of a launch with --sourcedid: its grade is read, and not written";
                    section.warn("signature", NOT_TRIED, advice);
                }
            }
        }
        Err(FailureReason::BlockedDestination) => {
            let seen = format!("the key {} may not be used at {host}", wish.key);
            section.fail("key", seen, "add the host to `hosts` of this key in [[lti_keys]]");
        }
        Err(_) => {
            let seen = format!("there is no [[lti_keys]] entry for the consumer key {}", wish.key);
            section.fail("key", seen, "add it with its secret, or correct --key");
        }
    }
    section.done()
}

const SETTING: &str = "the outcome URL";

/// A signed readResult (LTI 1.1.1, section 6.1.2): it shows whether the secret is right, and changes nothing.
async fn read_grade(road: Road<'_>, section: &mut Section, wish: &OutcomeWish, secret: SharedSecret, sourcedid: &str) {
    if !reach::is_on_the_way(road, section, &wish.url, SETTING).await {
        return;
    }
    let lis_data = json!({
        "lis_outcome_service_url": wish.url.as_url().as_str(), "lis_result_sourcedid": sourcedid,
        "oauth_consumer_key": wish.key,
    });
    let event = json!({ "session_id": "check", "score": 0, "max_score": 1, "lis_data": lis_data }).to_string();
    let event = match GradeEvent::parse(event.as_bytes(), Door::Event) {
        Ok(event) => event,
        Err(refused) => {
            section.fail("grade", refused.to_string(), "use the sourcedid of a launch to the letter");
            return;
        }
    };
    let Ok(mut exchange) = Exchange::inquiry(&event, Credentials::Shared(secret)) else {
        section.fail("grade", "nothing can be asked with this key", "correct --key");
        return;
    };
    exchange.keep(road.registry.confidential());
    let clock = road.clock;
    let mut is_first = true;
    // One question and its answer; the limit is for what an exchange may learn to ask.
    for _ in 0..QUESTIONS_MAX {
        match exchange.poll(clock.now(), clock.luck()) {
            Step::Send(request) => {
                let answer = road.send(request).await;
                if is_first && reach::contact(road, section, &answer, &wish.url, SETTING).await.is_none() {
                    return;
                }
                is_first = false;
                exchange.handle_reply(&answer, clock.now());
            }
            Step::Done(verdict) => {
                judge(road.patience, section, &verdict, exchange.reading(), &wish.key);
                return;
            }
            Step::Token(..) | Step::RecallColumn { .. } | Step::RememberColumn { .. } => return,
        }
    }
}

const QUESTIONS_MAX: u32 = 4;

fn judge(patience: Patience, section: &mut Section, verdict: &Verdict, reading: Option<Reading>, key: &str) {
    let seen = told(verdict);
    match (verdict.finding, reading) {
        (Finding::Accepted, Some(Reading::Grade(grade))) => {
            section.ok("grade", format!("it can be read: {grade}"));
        }
        (Finding::Accepted, _) => section.ok("grade", "it can be read: there is none yet"),
        (Finding::Failed(FailureReason::Unauthorized), _) => section.fail(
            "signature",
            seen,
            format!(
                "check the secret of the key \"{key}\", that the outcome URL is to the letter the one of a launch (scheme and \
                 port included), and both clocks; a platform behind a proxy must know its own address"
            ),
        ),
        // Open edX knows replaceResult alone.
        (Finding::Failed(FailureReason::Rejected), _) if speaks_of_unsupported(&Words::of(&verdict.message)) => section.warn(
            "grade",
            seen,
            "this platform does not read grades back, which is no failure of grades; it does not tell whether the secret is right",
        ),
        (Finding::Failed(FailureReason::Rejected | FailureReason::NotFound), _) => section.fail(
            "grade",
            seen,
            "use outcome URL and sourcedid of one and the same launch, to the letter, of an activity that is still there",
        ),
        (Finding::Failed(FailureReason::Timeout), _) => {
            patience.tell(section, "grade", &seen, "try again when the platform is quick");
        }
        (Finding::Failed(FailureReason::ServerError), _) => {
            section.fail("grade", seen, "the platform failed on its own side: ask its admins");
        }
        _ => section.fail("grade", seen, "what answers there is no outcome service: correct the outcome URL"),
    }
}
