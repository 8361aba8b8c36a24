//! The dashboards as files: what Grafana needs to show them, and what a person needs to understand them at a bad hour.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{expressions::selectors, files::dashboards};

/// One thing on a dashboard that asks Prometheus something.
pub(super) struct Panel {
    /// File and title.
    pub(super) place: String,
    pub(super) expression: String,
}

/// All panels with their expressions; and with them the variables and annotations, which ask as well.
pub(super) fn panels() -> Vec<Panel> {
    let mut all = Vec::new();
    for (file, dashboard) in dashboards() {
        let mut add = |title: &Value, expression: &str| {
            let place = format!("{file}: {}", title.as_str().expect("a title"));
            all.push(Panel { place, expression: expression.to_owned() });
        };
        for panel in list(&dashboard["panels"]) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                add(&panel["title"], target["expr"].as_str().expect("an expression"));
            }
        }
        for annotation in list(&dashboard["annotations"]["list"]) {
            add(&annotation["name"], annotation["expr"].as_str().expect("an expression"));
        }
        for variable in list(&dashboard["templating"]["list"]).iter().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().expect("a query");
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) =
                inside.and_then(|inside| inside.rsplit_once(", ")).expect("label_values(metric, label)");
            add(&variable["name"], &format!("count by ({label}) ({metric})"));
        }
    }
    all
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list: {value}"))
}

#[test]
fn there_are_three_that_know_each_other_and_can_be_provisioned() {
    let all = dashboards();
    let uids: BTreeSet<&str> = all.iter().map(|(_, dashboard)| dashboard["uid"].as_str().expect("a uid")).collect();
    assert_eq!(uids.into_iter().collect::<Vec<_>>(), ["passback-intake", "passback-platform", "passback-service"]);
    for (file, dashboard) in &all {
        assert!(dashboard.get("id").is_none(), "{file}: an id belongs to one Grafana alone");
        assert_eq!(dashboard["tags"], serde_json::json!(["passback"]), "{file}: the links go by the tag");
        let links = list(&dashboard["links"]);
        assert!(links.iter().any(|link| link["type"] == "dashboards" && link["includeVars"] == true), "{file}");
        assert!(links.iter().any(|link| link["url"] == "${docs}"), "{file} leads to no runbooks");
        let text = dashboard.to_string();
        assert_eq!(text.matches("\"type\":\"prometheus\"").count(), text.matches("\"uid\":\"${datasource}\"").count());
    }
}

#[test]
fn every_panel_asks_a_question_and_says_how_to_read_its_answer() {
    for (file, dashboard) in dashboards() {
        let variables: BTreeSet<&str> = list(&dashboard["templating"]["list"])
            .iter()
            .map(|variable| variable["name"].as_str().expect("a name"))
            .collect();
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = panel["title"].as_str().expect("a title");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{file}: {title} has the id of another");
            assert!(title.contains('?'), "{file}: {title} is no question");
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                panel["description"].as_str().is_some_and(|words| words.len() > 20),
                "{file}: {title} is not explained"
            );
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title} has no unit");
            assert!(!list(&panel["fieldConfig"]["defaults"]["thresholds"]["steps"]).is_empty(), "{file}: {title}");
            assert!(!list(&panel["targets"]).is_empty(), "{file}: {title} asks nothing");
            for used in panel["targets"].to_string().split('$').skip(1) {
                let name: String =
                    used.trim_start_matches('{').chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // `$1` is label_replace's own.
                let known = variables.contains(name.as_str()) || ["__rate_interval", "1"].contains(&name.as_str());
                assert!(known, "{file}: {title} uses ${name}, which is no variable");
            }
        }
    }
}

/// Metrics such as `up` are everybody's. "All" must stand for all of ours, so it must not be a wild card.
#[test]
fn all_workers_are_ours_alone() {
    for (file, dashboard) in dashboards() {
        for variable in list(&dashboard["templating"]["list"]) {
            assert!(variable.get("allValue").is_none(), "{file}: {} has a wild card for all", variable["name"]);
        }
        for panel in list(&dashboard["panels"]).iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
            let expression = panel["expr"].as_str().expect("an expression");
            for selector in selectors(expression).iter().filter(|it| it.starts_with("up") || it.starts_with("process_"))
            {
                assert!(
                    selector.contains("job=~\"$job\"") && selector.contains("instance=~\"$instance\""),
                    "{file}: {selector}"
                );
            }
        }
    }
}

#[test]
fn no_panel_lies_on_another() {
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
            let (left, top) = (place("x"), place("y"));
            assert!(left + place("w") <= 24, "{file}: {} is too wide", panel["title"]);
            for cell in (top..top + place("h")).flat_map(|y| (left..left + place("w")).map(move |x| (x, y))) {
                assert!(taken.insert(cell), "{file}: {} lies on another", panel["title"]);
            }
        }
    }
}
