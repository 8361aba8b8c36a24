//! What the demo says, in plain words, and by which numbers it judges itself.

use std::collections::BTreeMap;

use super::{
    super::answers::{BulkNumbers, Job, Stats},
    scenario::Scenario,
};

/// What is shown before anything happens.
pub(super) const OPENING: &str = "\
Three simulated platforms: healthy-college (LTI 1.1), sleepy-university (LTI 1.3, down for a while) and choosy-school
(LTI 1.1, does not know some students). 240 students finish a quiz, 60 of them twice: 300 events.\n";

/// The numbers at a moment.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) queued: u64,
    pub(super) delivered: u64,
    pub(super) flagged: u64,
    pub(super) superseded: u64,
    /// Flagged jobs by platform and reason.
    pub(super) reasons: BTreeMap<(String, String), u64>,
    /// Platforms that are not open.
    pub(super) held: Vec<String>,
}

impl Report {
    /// From what the API says.
    pub(super) fn new(stats: &Stats, flagged: Vec<Job>) -> Self {
        let count = |state: &str| stats.jobs.get(state).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let mut reasons = BTreeMap::new();
        for job in flagged {
            *reasons.entry((job.platform.unwrap_or_default(), job.reason.unwrap_or_default())).or_insert(0) += 1;
        }
        let held = stats.platforms.iter().filter(|platform| platform.state != "open");
        Self {
            queued: count("queued"),
            delivered: count("delivered"),
            flagged: count("flagged"),
            superseded: count("superseded"),
            reasons,
            held: held.map(|platform| format!("{} {}", platform.name, platform.state)).collect(),
        }
    }

    /// Jobs that have come to an end.
    pub(super) fn ended(&self) -> u64 {
        self.delivered + self.flagged + self.superseded
    }

    /// The numbers in a line.
    pub(super) fn line(&self) -> String {
        let held = if self.held.is_empty() { String::new() } else { format!(" · {}", self.held.join(", ")) };
        format!(
            "{} delivered, {} queued, {} superseded, {} flagged{held}",
            self.delivered, self.queued, self.superseded, self.flagged
        )
    }
}

/// What happened to the events.
pub(super) fn first_act(report: &Report, retries: u64, scenario: &Scenario) -> String {
    let reasons =
        report.reasons.iter().map(|((platform, reason), count)| format!("    {count} × {reason} at {platform}"));
    format!(
        "\
1. {} events came in, each on disk before it was acknowledged.
   {} delivered. While sleepy-university was down, its jobs waited until a probe got through; nobody had to do anything.
   {} retries were made on the way, each a little later than the one before.
   {} superseded: the student finished again before the first grade was sent, and the newest grade wins.
   {} flagged after six attempts each:
{}\n",
        scenario.events.len(),
        report.delivered,
        retries,
        report.superseded,
        report.flagged,
        reasons.collect::<Vec<_>>().join("\n"),
    )
}

/// What the replay did.
pub(super) fn second_act(replayed: &BulkNumbers, report: &Report) -> String {
    format!(
        "\
2. choosy-school has enrolled its students; an admin replays what was flagged there.
   {} replayed. Now {} grades are delivered (of some students both) and {} flagged.\n",
        replayed.replayed, report.delivered, report.flagged
    )
}

/// What the gradebooks show.
pub(super) fn third_act(scenario: &Scenario, wrong: &[String]) -> String {
    let cells = scenario.expected.len();
    if wrong.is_empty() {
        return format!(
            "3. All {cells} cells of the three gradebooks show the newest grade that was sent. Nothing was lost."
        );
    }
    format!("3. {} of {cells} cells are wrong:\n   {}", wrong.len(), wrong.join("\n   "))
}

/// All that the demo judges itself by.
pub(super) struct Outcome<'a> {
    pub(super) first: &'a Report,
    pub(super) last: &'a Report,
    pub(super) replayed: &'a BulkNumbers,
    pub(super) wrong: &'a [String],
}

impl Outcome<'_> {
    /// Whether all is right; else what is not.
    pub(super) fn judge(&self, scenario: &Scenario) -> Result<(), String> {
        let refused = scenario.refused.len() as u64;
        let total = scenario.events.len() as u64;
        let checks = [
            (self.wrong.is_empty(), "the gradebooks do not show what was sent"),
            (self.first.ended() == total, "the worker has not as many jobs as there were events"),
            (self.first.flagged == refused, "the refused students are not the flagged jobs"),
            (self.replayed.replayed == refused, "the replay did not take every flagged job"),
            (self.last.flagged == 0 && self.last.queued == 0, "something is still flagged or queued after the replay"),
            (self.last.ended() == total, "a job is missing after the replay"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, wrong)) => Err(format!("the demo did not end as it should: {wrong}")),
            None => Ok(()),
        }
    }
}
