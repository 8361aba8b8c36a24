//! `docs/operations.md`, the dashboards and the rules, compared with the code and with each other.

use std::{collections::BTreeSet, fs};

use passback::surfaces::metrics::NAMES;

use super::{
    expressions::metrics_of_ours,
    files::{alerts, dashboards, path, text},
};

const PAGE: &str = "docs/operations.md";

#[test]
fn every_metric_in_dashboards_rules_and_runbooks_exists() {
    let folders = ["dashboards", "docs"].map(|folder| fs::read_dir(path(folder)).expect(folder));
    let files = folders.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let mut found = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for name in metrics_of_ours(&text) {
            assert!(NAMES.contains(&name.as_str()), "{} names {name}, which is no metric", file.display());
            found += 1;
        }
    }
    assert!(found > 200, "only {found} metrics are named");
}

#[test]
fn every_metric_is_explained_and_shown() {
    let page = text(PAGE);
    let shown: BTreeSet<String> =
        dashboards().iter().flat_map(|(_, dashboard)| metrics_of_ours(&dashboard.to_string())).collect();
    for name in NAMES {
        assert!(page.lines().any(|line| line.starts_with(&format!("| `{name}"))), "{PAGE} does not explain {name}");
        assert!(shown.contains(*name), "no dashboard shows {name}");
    }
}

/// A runbook has the heading of its alert, and says both what to look at and what to do.
#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let page = text(PAGE);
    let runbooks: Vec<&str> = page.split("\n### ").skip(1).filter(|part| part.starts_with("Passback")).collect();
    let titles: Vec<&str> = runbooks.iter().map(|part| part.lines().next().expect("a heading")).collect();
    let alerts = alerts();
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "two alerts have one name");
    for alert in &alerts {
        assert!(titles.contains(&alert.as_str()), "{PAGE} has no section {alert}");
    }
    for (title, runbook) in titles.iter().zip(runbooks) {
        assert!(alerts.iter().any(|alert| alert == title), "{title} is no alert");
        for needed in ["**Look at:**", "**Do:**"] {
            assert!(runbook.contains(needed), "{title} does not say {needed}");
        }
    }
}

/// Links of alerts and dashboards into the page lead to a heading.
#[test]
fn every_link_into_the_page_leads_somewhere() {
    let page = text(PAGE);
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    let anchors: BTreeSet<String> = headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect();
    let rules = text("dashboards/alerts.yaml");
    let from_rules = rules.split("operations.md#").skip(1);
    let boards: Vec<String> = dashboards().into_iter().map(|(_, dashboard)| dashboard.to_string()).collect();
    let from_boards = boards.iter().flat_map(|text| text.split("${docs}#").skip(1));
    let own = page.split("](#").skip(1);
    for link in from_rules.chain(from_boards).chain(own) {
        let named: String =
            link.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect();
        assert!(anchors.contains(&named), "#{named} is no heading of {PAGE}");
    }
}

/// The anchor that Git hosts give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}
