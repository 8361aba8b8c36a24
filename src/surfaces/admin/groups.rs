//! `GET /api/v1/groups?state=flagged`: all flagged jobs, counted by platform and reason. The store counts them along with
//! each commit, so the numbers are exact and the call looks at no job.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;

use crate::{
    domain::{destination::Origin, job::StateName, outcome::FailureReason},
    ports::Census,
    problem::Problem,
};

use super::{
    Surface,
    params::{read_pairs, wrong},
};

/// So many groups are shown, the largest first. The names of platforms are anybody's, so there may be any number.
const GROUPS_MAX: usize = 1_000;

/// The groups.
#[derive(Debug, Serialize)]
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Jobs of groups that are not shown.
    omitted: u64,
}

/// Jobs of one platform that are flagged for one reason.
#[derive(Debug, Serialize)]
struct Group {
    state: StateName,
    platform: Arc<str>,
    reason: FailureReason,
    count: u64,
    advice: &'static str,
}

pub(super) async fn handle(
    State(surface): State<Surface>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Groups>, Problem> {
    match read_pairs(query)?.as_slice() {
        [] => {}
        [(name, value)] if value == StateName::Flagged.name() || name != "state" => {}
        [_] => return Err(wrong("state", "must be flagged: other jobs are not grouped")),
        [..] => return Err(wrong("state", "is given twice")),
    }
    Ok(Json(group(&surface.engine.census(), |origin| surface.labels.label(origin))))
}

/// Groups by the public name of a platform: its origins count together.
fn group(census: &Census, label: impl Fn(&Origin) -> Arc<str>) -> Groups {
    let mut counts: BTreeMap<(Arc<str>, FailureReason), u64> = BTreeMap::new();
    for (origin, count) in census.by_platform.iter().filter(|(_, count)| count.flagged > 0) {
        let platform = label(origin);
        for reason in FailureReason::ALL.into_iter().filter(|reason| count.flagged_for(*reason) > 0) {
            *counts.entry((platform.clone(), reason)).or_default() += count.flagged_for(reason);
        }
    }
    let shown = |((platform, reason), count)| Group {
        state: StateName::Flagged,
        platform,
        reason,
        count,
        advice: FailureReason::advice(reason),
    };
    let mut groups: Vec<Group> = counts.into_iter().map(shown).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let omitted = groups.iter().skip(GROUPS_MAX).map(|group| group.count).sum();
    groups.truncate(GROUPS_MAX);
    Groups { groups, omitted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::PlatformCount;

    #[test]
    fn groups_are_of_names_and_reasons_the_largest_first_and_not_without_end() {
        let mut flagged_by = [0; FailureReason::ALL.len()];
        flagged_by[FailureReason::Timeout as usize] = 2;
        flagged_by[FailureReason::Rejected as usize] = 3;
        let of = |number| {
            (
                Origin::from_stored(&format!("https://{number}.example")),
                PlatformCount { queued: 9, flagged: 5, flagged_by },
            )
        };
        let census = Census { by_platform: (0..1_500).map(of).collect(), ..Census::default() };
        let one = group(&census, |_| "moodle".into());
        let shown: Vec<_> =
            one.groups.iter().map(|group| (&*group.platform, group.reason.name(), group.count)).collect();
        assert_eq!(shown, [("moodle", "rejected", 4_500), ("moodle", "timeout", 3_000)]);
        assert_eq!(one.omitted, 0);
        let many = group(&census, |origin| origin.to_string().into());
        assert_eq!((many.groups.len(), many.omitted), (1_000, 500 * 3 + 1_500 * 2));
        assert!(many.groups.iter().all(|group| group.count == 3));
    }
}
