//! Expressions for Prometheus as far as these tests read them: the selectors and names of metrics, and the variables that
//! Grafana would have put in.

/// An expression with the values that Grafana would put in for a person who looks at one platform.
pub(super) fn with_variables(expression: &str, platform: &str) -> String {
    let values = [
        ("$__rate_interval", "10s"),
        ("$__range", "1m"),
        ("$job", "passback"),
        ("$instance", ".+"),
        ("$platform", platform),
    ];
    // `$1` is label_replace's own.
    let filled = values.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.replace("$1", "").contains('$'), "a variable that nobody fills: {filled}");
    filled
}

/// Each metric of an expression with the labels that are asked for, without the span behind it.
pub(super) fn selectors(expression: &str) -> Vec<String> {
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some((name, after)) = next_word(rest) {
        rest = after;
        let labels = after.starts_with('{').then(|| after.find('}').map(|end| &after[..=end])).flatten();
        if is_metric(name, labels) {
            selectors.push(format!("{name}{}", labels.unwrap_or_default()));
        }
        // Label names and values are words too, and no metrics.
        rest = &rest[labels.map_or(0, str::len)..];
    }
    selectors
}

/// The metrics of ours that a text names, without the endings of a histogram's parts.
pub(super) fn metrics_of_ours(text: &str) -> Vec<String> {
    let mut metrics = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        if word.starts_with("passback_") {
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
            metrics.push(whole.to_owned());
        }
    }
    metrics
}

fn is_metric(name: &str, labels: Option<&str>) -> bool {
    let families = ["passback_", "process_", "node_", "kubelet_", "job:", "platform:"];
    families.iter().any(|family| name.starts_with(family)) || labels.is_some() && ["up", "ALERTS"].contains(&name)
}

/// The next run of the characters of metric names, and what follows it.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let is_of_word = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    let text = &text[text.find(is_of_word)?..];
    Some(text.split_at(text.find(|character| !is_of_word(character)).unwrap_or(text.len())))
}

#[test]
fn selectors_are_found_and_labels_are_none() {
    let check = |expression: &str, expected: &[&str]| assert_eq!(selectors(expression), expected, "{expression}");
    check(
        r#"sum by (job) (rate(passback_a_bucket{le=~"120(.0)?",b!="passback_x"}[5m])) / passback_b"#,
        &[r#"passback_a_bucket{le=~"120(.0)?",b!="passback_x"}"#, "passback_b"],
    );
    check(r#"up{job="passback"} == 0 or absent(up{job="passback"})"#, &[r#"up{job="passback"}"#; 2]);
    check("topk(10, platform:passback_a:rate5m > 0)", &["platform:passback_a:rate5m"]);
    check("histogram_quantile(0.9, sum by (le) (vector(0)))", &[]);
}

#[test]
fn the_parts_of_a_histogram_are_one_metric() {
    let text = "`passback_a_seconds_count` and passback_b{c=\"d\"}, but job:passback_c:ratio and passback-d are none";
    assert_eq!(metrics_of_ours(text), ["passback_a_seconds", "passback_b"]);
}
