//! `passback failures list --group`: all flagged jobs, counted by platform and reason, with what to do about each.

use super::{
    answers::{Group, Groups},
    connect::{AskArgs, FindLocal},
    fault::CliError,
    output::{Column, Fit, Look, Rows, Screen, Tone, counted, note, table, thousands},
};

/// Carries the command out.
pub(super) async fn run(ask: &AskArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = ask.connect.client(local)?;
    let body = client.get(&["api", "v1", "groups"], &[("state", "flagged".to_owned())]).await?;
    if ask.json {
        return screen.json(&body);
    }
    let Groups { groups, omitted } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if groups.is_empty() {
        note("no flagged jobs");
        return Ok(());
    }
    screen.print(&render(&groups, screen.look))?;
    if omitted > 0 {
        note(&format!("{} of smaller groups are not shown", counted(omitted, "job", "jobs")));
    }
    Ok(())
}

const COLUMNS: [Column; 4] = [
    Column { heading: "JOBS", width_min: 0, fit: Fit::Number },
    Column { heading: "PLATFORM", width_min: 0, fit: Fit::Whole },
    Column { heading: "REASON", width_min: 0, fit: Fit::Whole },
    Column { heading: "ADVICE", width_min: 60, fit: Fit::Words },
];

fn render(groups: &[Group], look: Look) -> String {
    let row = |group: &Group| {
        vec![
            (Tone::Bad, thousands(group.count)),
            (Tone::Plain, group.platform.clone()),
            (Tone::Plain, group.reason.clone()),
            (Tone::Plain, group.advice.clone()),
        ]
    };
    table(look, &COLUMNS, Rows::Wrap, &groups.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn groups_say_what_to_do() {
        let answer = r#"{"groups": [
            {"state": "flagged", "platform": "moodle", "reason": "timeout", "count": 1200,
             "advice": "The platform did not answer in time: it may be overloaded; replay when it is quick again."},
            {"platform": "canvas", "reason": "not_found", "count": 3, "advice": "Look whether the column is there."}],
            "omitted": 0}"#;
        let Groups { groups, .. } = serde_json::from_str(answer).expect("an answer");
        let expected = "\x20JOBS  PLATFORM  REASON     ADVICE
1,200  moodle    timeout    The platform did not answer in time: it may be
                            overloaded; replay when it is quick again.
    3  canvas    not_found  Look whether the column is there.
";
        assert_eq!(render(&groups, testing::person(80)), expected);
        assert!(render(&groups, testing::program()).contains("overloaded; replay when it is quick again.\n"));
    }
}
