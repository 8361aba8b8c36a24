//! The filters of `list` and `replay`, and how they are said to the API. The same words select the same jobs in both.

use std::str::FromStr;

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Map, Value};

use super::{fault::CliError, when::When};
use crate::domain::{destination::Delivery, outcome::FailureReason, time::Timestamp};

/// Which jobs. All that are given must fit.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub struct FilterArgs {
    /// Only those of this platform: its configured name, else its host (with `:port` where it is not the usual one).
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// Only those that failed for this reason.
    #[arg(long, value_name = "REASON", value_parser = reasons(), hide_possible_values = true,
        long_help = reasons_help())]
    pub reason: Option<String>,
    /// Only those stored at this time or later: 2026-11-21T10:30:00Z, or how long ago: 30m, 2h, 3d, 1h30m.
    #[arg(long, value_name = "TIME", value_parser = When::from_str)]
    pub since: Option<When>,
    /// Only those stored before this time; written as for --since.
    #[arg(long, value_name = "TIME", value_parser = When::from_str)]
    pub until: Option<When>,
    /// Only those of this user (the event's `user_id`).
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// Only those of this activity (the event's `activity_id`).
    #[arg(long, value_name = "ID")]
    pub activity: Option<String>,
    /// Only those of this session (the event's `session_id`).
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Only those that go this way.
    #[arg(long, value_name = "DELIVERY", value_parser = PossibleValuesParser::new(Delivery::ALL.map(Delivery::name)))]
    pub delivery: Option<String>,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(FailureReason::ALL.map(FailureReason::name))
}

fn reasons_help() -> String {
    format!("Only those that failed for this reason: {}", FailureReason::ALL.map(FailureReason::name).join(", "))
}

impl FilterArgs {
    /// The names and values of those that are given.
    pub fn pairs(&self, now: Timestamp) -> Result<Vec<(&'static str, String)>, CliError> {
        let (since, until) = (self.since.map(|when| when.moment(now)), self.until.map(|when| when.moment(now)));
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(CliError::Usage("--since must be before --until: nothing is stored between them".to_owned()));
        }
        let pairs = [
            ("platform", self.platform.clone()),
            ("reason", self.reason.clone()),
            ("since", since.map(|moment| moment.to_string())),
            ("until", until.map(|moment| moment.to_string())),
            ("user_id", self.user.clone()),
            ("activity_id", self.activity.clone()),
            ("session_id", self.session.clone()),
            ("delivery", self.delivery.clone()),
        ];
        Ok(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }

    /// As the `filter` of a replay.
    pub fn object(&self, now: Timestamp) -> Result<Value, CliError> {
        let members = self.pairs(now)?.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
        Ok(Value::Object(members.collect::<Map<_, _>>()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_said_with_the_names_of_the_api() {
        let now = Timestamp::parse("2026-11-21T10:30:00Z").expect("a time");
        let filter = FilterArgs {
            platform: Some("moodle".to_owned()),
            since: Some("2h".parse().expect("a span")),
            until: Some("2026-11-21T10:00:00Z".parse().expect("a time")),
            user: Some("u-1".to_owned()),
            ..FilterArgs::default()
        };
        let expected = json!({
            "platform": "moodle", "since": "2026-11-21T08:30:00.000Z", "until": "2026-11-21T10:00:00.000Z",
            "user_id": "u-1",
        });
        assert_eq!(filter.object(now).expect("it is one"), expected);
        assert_eq!(FilterArgs::default().object(now).expect("it is one"), json!({}));
        let turned = FilterArgs { since: Some("10m".parse().expect("a span")), ..filter };
        assert!(matches!(turned.pairs(now), Err(CliError::Usage(_))));
    }
}
