//! The moods of a platform: how it can fail those who call it.

use std::time::{Duration, UNIX_EPOCH};

use passback::{
    domain::time::Timestamp,
    lti::wire::{Answer, Reply, TransportFailure, TransportFault, Written},
};

use super::world::Chance;

/// A mood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    /// Takes the grade, and the reply is lost.
    LosesReplies,
    /// The request is lost on the way to it.
    LosesRequests,
    /// A gateway answers in its place, after it has done the work or before.
    BadGateway,
    /// 429, or Canvas's 403; with and without `Retry-After`.
    RateLimits,
    /// 503, with and without `Retry-After`.
    Unavailable,
    /// 500, and nothing was done.
    Fails,
    /// 500, and yet it was done; only Open edX is known for it.
    FailsAndKeeps,
    /// Tokens die before their time.
    ForgetsTokens,
    /// The token endpoint refuses us.
    RefusesTokens,
    /// The column is gone.
    LosesColumns,
    /// 400 for good.
    Refuses,
    /// A success status around a failure, or around a grade that it is still at work on.
    Hollow,
    /// Replies late, some too late.
    Slow,
    /// Half a body.
    HalfABody,
    /// Connections are refused.
    Shut,
    /// A page in the place of an answer.
    ShowsAPage,
    /// The clock is wrong.
    WrongClock,
    /// A teacher writes grades by hand.
    WritesItself,
}

impl Mood {
    pub(super) const ALL: [Self; 18] = [
        Self::LosesReplies,
        Self::LosesRequests,
        Self::BadGateway,
        Self::RateLimits,
        Self::Unavailable,
        Self::Fails,
        Self::FailsAndKeeps,
        Self::ForgetsTokens,
        Self::RefusesTokens,
        Self::LosesColumns,
        Self::Refuses,
        Self::Hollow,
        Self::Slow,
        Self::HalfABody,
        Self::Shut,
        Self::ShowsAPage,
        Self::WrongClock,
        Self::WritesItself,
    ];
}

/// A reply without headers.
#[expect(clippy::unnecessary_wraps, reason = "what answers is a reply or a failure; this one is always a reply")]
pub(super) fn reply(status: u16, body: &str) -> Answer {
    Ok(Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
}

/// A reply that asks us to wait, in one of the ways that platforms have.
#[expect(clippy::unnecessary_wraps, reason = "what answers is a reply or a failure; this one is always a reply")]
pub(super) fn wait_reply(status: u16, now: Timestamp, chance: &mut Chance) -> Answer {
    let date = |secs: u64| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
    let now_secs = u64::try_from(now.as_secs()).unwrap_or(0);
    let asked = match chance.below(8) {
        0 | 1 => None,
        2 => Some(chance.between(1, 900).to_string()),
        3 => Some("0".to_owned()),
        4 => Some(chance.one_of(&[99_999_999, u64::MAX]).to_string()),
        5 => Some(format!("-{}", chance.between(1, 100))),
        6 => Some(date(now_secs + chance.between(1, 7200))),
        _ => Some(date(now_secs.saturating_sub(chance.between(1, 7200)))),
    };
    let headers = asked.map(|asked| ("retry-after".to_owned(), asked)).into_iter().collect();
    Ok(Reply { status, headers, body: b"slow down".to_vec() })
}

/// No whole reply.
pub(super) fn failure(fault: TransportFault, written: Written, status: Option<u16>) -> Answer {
    Err(TransportFailure { fault, written, status, detail: "the simulation had it so".to_owned() })
}
