//! The platform's clock against ours, by the `Date` header of its reply (RFC 9110, section 6.6.1): what a refusal for a
//! time, or one that may be for a time, is told with.

use std::time::{Duration, UNIX_EPOCH};

use crate::domain::{
    outcome::{FailureReason, Finding, Verdict},
    time::Timestamp,
};

use super::{wire::Answer, words};

/// How far apart clocks may be before an OAuth 1.0 signature is refused for it: LTI 1.1 platforms take five minutes, less
/// the time of the way, and say mostly that the signature is not valid.
const OAUTH_MIN: Duration = Duration::from_secs(295);

/// What the platform takes for the time of day, to the second.
pub(super) fn of(answer: &Answer) -> Option<Timestamp> {
    let reply = answer.as_ref().ok()?;
    let since_epoch = httpdate::parse_http_date(reply.header("date")?.trim()).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::default() + since_epoch)
}

/// How far apart two times are.
pub(super) fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

/// What an admin reads of two clocks.
pub(super) fn difference(theirs: Timestamp, ours: Timestamp) -> String {
    let direction = if theirs > ours { "ahead of" } else { "behind" };
    format!("the platform's clock is {} s {direction} ours", apart(theirs, ours).as_secs())
}

/// A verdict of an LTI 1.1 service; where it refused us and the clocks are too far apart for a signature, it says so.
pub(super) fn remarked(verdict: Verdict, answer: &Answer, now: Timestamp) -> Verdict {
    let may_be_the_clock = verdict.finding == Finding::Failed(FailureReason::Unauthorized);
    match of(answer).filter(|theirs| may_be_the_clock && apart(*theirs, now) >= OAUTH_MIN) {
        Some(theirs) => Verdict { message: words::message(&verdict.message, &difference(theirs, now)), ..verdict },
        None => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lti::wire::Reply;

    #[test]
    fn a_refusal_tells_of_clocks_that_no_signature_bears() {
        let now = Timestamp::from_secs(1_800_000_000);
        let check = |date: Option<u64>, reason: FailureReason, words: &str| {
            let date = date.map(|secs| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs)));
            let headers = date.map(|date| ("date".to_owned(), date)).into_iter().collect();
            let answer = Ok(Reply { status: 200, headers, body: Vec::new() });
            let verdict = Verdict::without_reply(Finding::Failed(reason), "no");
            assert_eq!(remarked(verdict, &answer, now).message, words);
        };
        let refused = FailureReason::Unauthorized;
        check(Some(1_800_000_300), refused, "no (the platform's clock is 300 s ahead of ours)");
        check(Some(1_799_996_400), refused, "no (the platform's clock is 3600 s behind ours)");
        check(Some(1_800_000_290), refused, "no");
        check(None, refused, "no");
        check(Some(1_799_996_400), FailureReason::Rejected, "no");
    }
}
