//! Faults that can be switched per route while the simulated LMS runs, and the users that it refuses for good.
//!
//! A route has a list of faults; of those the first that is due fires. There is no chance in it: `every = 3` is
//! every third request that no earlier fault of the list struck, so a
//! test that failed fails again. What firing means is `server.rs`'s business.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::ledger::Route;
use super::locked;

/// The longest delay that can be asked for: ten minutes.
const DELAY_MAX_MS: u64 = 600_000;

/// One thing that goes wrong, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many requests it strikes before it is spent; without it, for ever.
    #[serde(default)]
    pub times: Option<u64>,
    /// It strikes each n-th request; 1, the default, is every one.
    #[serde(default = "one")]
    pub every: u64,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// This status, and nothing is looked at.
    Status {
        /// From 200 to 599.
        code: u16,
        /// The body, as plain text.
        #[serde(default)]
        body: Option<String>,
        /// The `Retry-After` header, sane or not.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The request is carried out, and the connection is cut instead of an answer.
    AcceptThenCut,
    /// The request is carried out, and this status is answered, as by a gateway that lost patience.
    AcceptThenStatus {
        /// From 200 to 599.
        code: u16,
    },
    /// The connection is cut before the body is read.
    CutBefore,
    /// The request waits this long, and is then treated as usual.
    Delay {
        /// Milliseconds, at most ten minutes.
        ms: u64,
    },
    /// 200 with an HTML page, as from a login or maintenance page.
    Html,
    /// The platform's rate limit; without a likeness Canvas's: 403, the words, and `X-Rate-Limit-Remaining: 0.0`.
    RateLimit,
    /// The platform's answer while it is maintained.
    Maintenance,
    /// All access tokens are forgotten before the request is judged.
    RevokeTokens,
    /// LTI 1.1 only: codeMajor `failure`.
    Failure {
        /// The description.
        description: String,
    },
    /// 200 with `[]`, as Moodle answers some scores that it did not store.
    EmptyList,
}

/// Why a user, or a sourcedid, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Known to the platform, and no student of the course.
    NotEnrolled,
    /// Nobody has this id.
    Unknown,
    /// The grade is locked.
    Locked,
    /// The course has ended, or its activity is gone.
    CourseOver,
}

/// A fault that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// `every` must be at least 1.
    #[error("`every` is 0, and must be at least 1")]
    EveryZero,
    /// A status that a server cannot answer.
    #[error("`code` is {0}, and must be from 200 to 599")]
    Code(u16),
    /// A delay that is too long.
    #[error("`ms` is {0}, and must be at most {DELAY_MAX_MS}")]
    Delay(u64),
    /// A header that cannot be sent.
    #[error("`retry_after` cannot stand in a header")]
    RetryAfter,
    /// codeMajor exists in LTI 1.1 only.
    #[error("`failure` is for the route `lti11` alone; use `status`")]
    FailureElsewhere,
}

impl Fault {
    /// A fault that strikes each request until it is taken away.
    pub fn always(kind: FaultKind) -> Self {
        Self { kind, times: None, every: 1 }
    }

    /// A fault that strikes the next `times` requests.
    pub fn times(kind: FaultKind, times: u64) -> Self {
        Self { kind, times: Some(times), every: 1 }
    }

    /// This status for each request, without a body.
    pub fn status(code: u16) -> Self {
        Self::always(FaultKind::Status { code, body: None, retry_after: None })
    }

    /// Whether it can be done on this route.
    pub(super) fn check(&self, route: Route) -> Result<(), FaultError> {
        if self.every == 0 {
            return Err(FaultError::EveryZero);
        }
        match &self.kind {
            FaultKind::Status { code, .. } | FaultKind::AcceptThenStatus { code } if !(200..600).contains(code) => {
                Err(FaultError::Code(*code))
            }
            FaultKind::Status { retry_after: Some(text), .. } if HeaderValue::from_str(text).is_err() => {
                Err(FaultError::RetryAfter)
            }
            FaultKind::Delay { ms } if *ms > DELAY_MAX_MS => Err(FaultError::Delay(*ms)),
            FaultKind::Failure { .. } if route != Route::Lti11 => Err(FaultError::FailureElsewhere),
            _ => Ok(()),
        }
    }
}

/// A status that `check` has let through.
pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn one() -> u64 {
    1
}

#[derive(Default)]
pub(super) struct Faults {
    routes: [Mutex<Vec<Armed>>; 5],
    refused: Mutex<BTreeMap<String, Trouble>>,
}

struct Armed {
    fault: Fault,
    requests_seen: u64,
}

impl Faults {
    /// Puts these faults in the place of the ones that the route had.
    pub(super) fn set(&self, route: Route, faults: Vec<Fault>) -> Result<(), FaultError> {
        faults.iter().try_for_each(|fault| fault.check(route))?;
        *locked(&self.routes[route as usize]) =
            faults.into_iter().map(|fault| Armed { fault, requests_seen: 0 }).collect();
        Ok(())
    }

    /// A request came: what strikes it, if anything.
    pub(super) fn poll(&self, route: Route) -> Option<FaultKind> {
        let mut armed = locked(&self.routes[route as usize]);
        armed.iter_mut().find_map(Armed::strike)
    }

    /// The faults as they stand, with the `times` that are left.
    pub(super) fn current(&self) -> BTreeMap<Route, Vec<Fault>> {
        let faults =
            |route: Route| locked(&self.routes[route as usize]).iter().map(|armed| armed.fault.clone()).collect();
        Route::ALL.into_iter().map(|route| (route, faults(route))).collect()
    }

    /// Why a user, or a sourcedid, is refused, if it is.
    pub(super) fn trouble_of(&self, user: &str) -> Option<Trouble> {
        locked(&self.refused).get(user).copied()
    }

    /// Changes who is refused.
    pub(super) fn change_refused(&self, change: impl FnOnce(&mut BTreeMap<String, Trouble>)) {
        change(&mut locked(&self.refused));
    }

    /// The refused users and sourcedids, each with why.
    pub(super) fn refused(&self) -> BTreeMap<String, Trouble> {
        locked(&self.refused).clone()
    }
}

impl Armed {
    fn strike(&mut self) -> Option<FaultKind> {
        self.requests_seen += 1;
        if self.fault.times == Some(0) || !self.requests_seen.is_multiple_of(self.fault.every) {
            return None;
        }
        if let Some(left) = &mut self.fault.times {
            *left -= 1;
        }
        Some(self.fault.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(faults: Vec<Fault>, requests: usize) -> String {
        let all = Faults::default();
        all.set(Route::Scores, faults).expect("sensible faults");
        let letter = |kind| match kind {
            None => '.',
            Some(FaultKind::Html) => 'h',
            Some(_) => 'x',
        };
        (0..requests).map(|_| letter(all.poll(Route::Scores))).collect()
    }

    #[test]
    fn faults_strike_when_they_are_due_and_no_more() {
        let every = |kind, every, times| Fault { kind, times, every };
        assert_eq!(strikes(vec![], 3), "...");
        assert_eq!(strikes(vec![Fault::status(500)], 3), "xxx");
        assert_eq!(strikes(vec![Fault::times(FaultKind::Html, 2)], 4), "hh..");
        assert_eq!(strikes(vec![every(FaultKind::Html, 3, None)], 7), "..h..h.");
        assert_eq!(strikes(vec![every(FaultKind::Html, 2, Some(1))], 6), ".h....");
        assert_eq!(strikes(vec![every(FaultKind::Html, 2, None), every(FaultKind::CutBefore, 3, None)], 6), ".h.hxh");
        assert_eq!(strikes(vec![Fault::times(FaultKind::CutBefore, 1), Fault::times(FaultKind::Html, 1)], 3), "xh.");
    }

    #[test]
    fn senseless_faults_are_refused() {
        let check = |fault: Fault, words: &str| {
            let error = fault.check(Route::Scores).expect_err("senseless");
            assert!(error.to_string().contains(words), "{error}");
        };
        check(Fault::status(99), "code");
        check(Fault { every: 0, ..Fault::status(500) }, "every");
        check(Fault::always(FaultKind::Delay { ms: 600_001 }), "ms");
        check(Fault::always(FaultKind::Failure { description: String::new() }), "lti11");
    }
}
