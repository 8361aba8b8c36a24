//! `passback audit`: who did what, when, to how many jobs, and why.

use clap::{Args, value_parser};
use serde_json::Value;

use super::{
    answers::{AuditPage, Entry},
    connect::{AskArgs, FindLocal},
    fault::CliError,
    output::{Column, Fit, Look, NOTHING, Rows, Screen, Tone, note, printable, table, thousands},
};

/// The most entries that the API gives at once.
const LIMIT_MAX: i64 = 1000;

/// `passback audit`
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// Show at most so many, the newest first
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = value_parser!(u32).range(1..=LIMIT_MAX))]
    pub limit: u32,
    /// Go on where another list ended, with its `next_cursor`
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Carries the command out.
pub async fn run(args: &AuditArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.cursor.clone().map(|cursor| ("cursor", cursor)));
    let client = args.ask.connect.client(local)?;
    let body = client.get(&["api", "v1", "audit"], &query).await?;
    if args.ask.json {
        return screen.json(&body);
    }
    let page: AuditPage = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if page.entries.is_empty() {
        note("nobody has done anything yet");
        return Ok(());
    }
    screen.print(&render(&page.entries, screen.look))?;
    if let Some(cursor) = page.next_cursor {
        note(&format!("there are more: --limit COUNT for more, or --cursor {} to go on", printable(&cursor)));
    }
    Ok(())
}

const COLUMNS: [Column; 6] = [
    Column { heading: "WHEN", width_min: 0, fit: Fit::Whole },
    Column { heading: "WHO", width_min: 0, fit: Fit::Words },
    Column { heading: "WHAT", width_min: 0, fit: Fit::Whole },
    Column { heading: "JOBS", width_min: 0, fit: Fit::Number },
    Column { heading: "WHICH", width_min: 80, fit: Fit::Words },
    Column { heading: "WHY", width_min: 70, fit: Fit::Words },
];

fn render(entries: &[Entry], look: Look) -> String {
    table(look, &COLUMNS, Rows::Cut, &entries.iter().map(|entry| row(entry, look)).collect::<Vec<_>>())
}

fn row(entry: &Entry, look: Look) -> Vec<(Tone, String)> {
    let which = entry.job.clone().or_else(|| entry.filter.as_ref().map(words_of)).unwrap_or_else(|| NOTHING.to_owned());
    vec![
        (Tone::Plain, look.moment(entry.at.as_deref())),
        (Tone::Plain, entry.who.clone()),
        (Tone::Plain, entry.action.clone()),
        (Tone::Plain, entry.count.map_or_else(|| NOTHING.to_owned(), thousands)),
        (Tone::Plain, which),
        (Tone::Plain, entry.note.clone().unwrap_or_else(|| NOTHING.to_owned())),
    ]
}

/// A filter in words: `platform moodle, reason timeout`.
pub(super) fn words_of(filter: &Value) -> String {
    let Some(members) = filter.as_object() else { return filter.to_string() };
    let word = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) => format!("{name} {text}"),
        None => format!("{name} {value}"),
    };
    if members.is_empty() {
        return "all flagged".to_owned();
    }
    members.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn the_log_is_a_line_each() {
        let entries = r#"[
            {"at": "2026-11-21T10:26:40.000Z", "who": "ops", "action": "replay", "job": null, "count": 1200,
             "filter": {"platform": "moodle", "reason": "timeout"}, "note": "the LMS\nis back"},
            {"at": "2026-11-21T09:30:00.000Z", "who": "SIGHUP", "action": "reload", "job": null, "filter": null,
             "count": null, "note": null},
            {"at": "2026-11-21T09:30:00.000Z", "who": "ops", "action": "discard", "count": 1, "note": null,
             "job": "01JD8Y3K5V7Q2W9XZB4N6M8P0R", "filter": {}}]"#;
        let entries: Vec<Entry> = serde_json::from_str(entries).expect("entries");
        let expected = "\
WHEN       WHO     WHAT      JOBS  WHICH                            WHY
3 min ago  ops     replay   1,200  platform moodle, reason timeout  the LMS is back
1 h ago    SIGHUP  reload       -  -                                -
1 h ago    ops     discard      1  01JD8Y3K5V7Q2W9XZB4N6M8P0R       -
";
        assert_eq!(render(&entries, testing::person(100)), expected);
        assert_eq!(words_of(&serde_json::json!({})), "all flagged");
    }
}
