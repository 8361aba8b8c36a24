//! The filters of lists and replays, read strictly: an unknown parameter, state or reason is named and refused.

use axum::{
    extract::{Query, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    domain::{
        audit::FILTER_BYTES_MAX,
        destination::{Delivery, Origin},
        job::{JobId, StateName},
        outcome::FailureReason,
        time::Timestamp,
    },
    ports::JobFilter,
    problem::Problem,
};

use super::Surface;

/// Jobs on a page unless told otherwise.
const LIMIT: usize = 50;
/// Jobs on a page at most.
const LIMIT_MAX: usize = 1_000;

/// A filter as it comes: the query of a list, or the `filter` of a replay.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// What a list is asked for.
#[derive(Debug)]
pub(super) struct ListQuery {
    /// Which jobs.
    pub filter: Filter,
    /// How many.
    pub limit: usize,
    /// Where to go on.
    pub cursor: Option<JobId>,
}

impl ListQuery {
    /// Reads the parameters of a list.
    pub(super) fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut query = Self { filter: Filter::default(), limit: LIMIT, cursor: None };
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in pairs {
            if seen.contains(&name) {
                return Err(wrong(&name, "is given twice"));
            }
            let filter = &mut query.filter;
            match name.as_str() {
                "state" => filter.state = Some(value),
                "platform" => filter.platform = Some(value),
                "reason" => filter.reason = Some(value),
                "delivery" => filter.delivery = Some(value),
                "user_id" => filter.user_id = Some(value),
                "session_id" => filter.session_id = Some(value),
                "activity_id" => filter.activity_id = Some(value),
                "since" => filter.since = Some(value),
                "until" => filter.until = Some(value),
                "limit" => query.limit = read_limit(&value)?,
                "cursor" => query.cursor = Some(read_cursor(&value)?),
                _ => return Err(wrong(&name, "is not a parameter of this call")),
            }
            seen.push(name);
        }
        Ok(query)
    }
}

/// Which page of a list without filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageQuery {
    /// How many.
    pub limit: usize,
    /// Where to go on.
    pub cursor: Option<JobId>,
}

impl PageQuery {
    /// Reads the parameters of a page.
    pub(super) fn read(query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Result<Self, Problem> {
        let ListQuery { limit, cursor, .. } = ListQuery::read(read_pairs(query)?)?;
        Ok(Self { limit, cursor })
    }
}

/// The parameters as they came.
pub(super) fn read_pairs(
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Vec<(String, String)>, Problem> {
    match query {
        Ok(Query(pairs)) => Ok(pairs),
        Err(rejection) => Err(Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())),
    }
}

fn read_limit(value: &str) -> Result<usize, Problem> {
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| wrong("limit", "must be a whole number from 1 to 1000"))
}

fn read_cursor(value: &str) -> Result<JobId, Problem> {
    value.parse().map_err(|_| wrong("cursor", "must be a next_cursor of an earlier page"))
}

pub(super) fn wrong(name: &str, why: &str) -> Problem {
    let name: String = name.chars().take(80).collect();
    Problem::new(StatusCode::BAD_REQUEST, format!("{name} {why}")).with("parameter", name)
}

impl Filter {
    /// As the audit log and a bulk change write it down; refused where it is longer than they can hold.
    pub(super) fn written(&self) -> Result<Value, Problem> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        if text.len() > FILTER_BYTES_MAX {
            return Err(wrong("filter", &format!("is longer than {FILTER_BYTES_MAX} bytes")));
        }
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// The filter as the store takes it. `None`: nothing can pass, because no platform has that name.
    pub(super) fn resolve(self, surface: &Surface) -> Result<Option<JobFilter>, Problem> {
        let filter = JobFilter {
            state: self.state.as_deref().map(read_state).transpose()?,
            origins: self.platform.as_deref().map(|platform| origins_of(surface, platform)).transpose()?,
            reason: self.reason.as_deref().map(read_reason).transpose()?,
            delivery: self.delivery.as_deref().map(read_delivery).transpose()?,
            user_id: self.user_id,
            session_id: self.session_id,
            activity_id: self.activity_id,
            since: self.since.as_deref().map(|text| read_time("since", text)).transpose()?,
            until: self.until.as_deref().map(|text| read_time("until", text)).transpose()?,
        };
        Ok((!filter.origins.as_ref().is_some_and(Vec::is_empty)).then_some(filter))
    }
}

/// The origins that have this public name.
pub(super) fn origins_of(surface: &Surface, platform: &str) -> Result<Vec<Origin>, Problem> {
    let known = surface.engine.platforms().map_err(|_| Problem::store_unavailable())?;
    let met = known.iter().map(|known| &known.origin).filter(|origin| &*surface.labels.label(origin) == platform);
    let mut origins: Vec<Origin> = met.cloned().collect();
    origins.extend(surface.labels.names().origins_of(platform, &known));
    origins.sort();
    origins.dedup();
    Ok(origins)
}

fn read_state(text: &str) -> Result<StateName, Problem> {
    let known = StateName::ALL.map(StateName::name).join(", ");
    StateName::from_name(text).ok_or_else(|| wrong("state", &format!("must be one of {known}")))
}

fn read_reason(text: &str) -> Result<FailureReason, Problem> {
    let known = FailureReason::ALL.map(FailureReason::name).join(", ");
    FailureReason::from_name(text).ok_or_else(|| wrong("reason", &format!("must be one of {known}")))
}

fn read_delivery(text: &str) -> Result<Delivery, Problem> {
    let known = Delivery::ALL.map(Delivery::name).join(", ");
    Delivery::from_name(text).ok_or_else(|| wrong("delivery", &format!("must be one of {known}")))
}

fn read_time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).map_err(|why| wrong(name, &why.to_string()))
}
