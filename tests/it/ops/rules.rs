//! The alerts, judged by Prometheus' own tool: they are rules, and each fires when it should and stays quiet when not.

use std::process::Command;

use super::files::{alerts, path, said_by, text};

/// The stories of the alerts; those that take hours are in a file of their own, in larger steps.
const STORIES: [&str; 2] = ["alerts.test.yaml", "alerts.slow.test.yaml"];

fn promtool(arguments: &[&str]) -> String {
    said_by(Command::new("promtool").args(arguments).current_dir(path("dashboards")))
}

#[test]
fn the_rules_are_rules() {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"]);
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_story_of_an_alert_ends_as_it_is_told() {
    let said = promtool(&["test", "rules", STORIES[0], STORIES[1]]);
    assert_eq!(said.matches("SUCCESS").count(), STORIES.len(), "{said}");
}

/// A story is named after its alert, and tells at least one alert with its words, or none at all.
#[test]
fn every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not() {
    let files = STORIES.map(|name| text(&format!("dashboards/{name}")));
    let stories: Vec<&str> = files.iter().flat_map(|file| file.split("  - name: '").skip(1)).collect();
    for alert in alerts() {
        let told = |kind: &str| {
            let is_told = |story: &&&str| {
                let fires = story.contains("exp_labels:") && story.contains("exp_annotations:");
                story.starts_with(&format!("{alert} {kind}: ")) && fires == (kind == "fires")
            };
            stories.iter().filter(is_told).count()
        };
        assert!(told("fires") >= 1, "{alert} never fires in {STORIES:?}");
        assert!(told("stays quiet") >= 1, "{alert} never stays quiet in {STORIES:?}");
    }
    let known = alerts();
    for story in stories {
        let alert = story.split(' ').next().expect("a name");
        assert!(known.iter().any(|known| known == alert), "{alert} is no alert");
        assert!(story.contains(&format!("alertname: {alert}")), "the story of {alert} asks for another");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_where_to_read_on() {
    let rules = text("dashboards/alerts.yaml");
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().expect("a name");
        let runbook = format!("runbook_url: https://passback.example/docs/operations.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&runbook), "{name}: {runbook}");
        assert!(rule.contains("severity: critical\n") || rule.contains("severity: warning\n"), "{name}");
        for needed in ["for: ", "summary: ", "description: "] {
            assert!(rule.contains(needed), "{name} has no {needed}");
        }
    }
}
