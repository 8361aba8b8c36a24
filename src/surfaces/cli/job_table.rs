//! A list of jobs as a table: a line each with the id whole, and below it what has no room there.

use super::{
    answers::Job,
    jobs::ListKind,
    output::{Column, Fit, Look, NOTHING, Rows, Tone, table},
};

/// The tone of a job's state.
pub(super) fn tone(state: &str) -> Tone {
    match state {
        "delivered" => Tone::Good,
        "queued" => Tone::Waiting,
        "flagged" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// The table, with its headings.
pub(super) fn render(kind: ListKind, jobs: &[Job], look: Look) -> String {
    match kind {
        ListKind::Jobs => {
            let rows: Vec<_> = jobs.iter().map(|job| job_row(job, look)).collect();
            table(look, &JOB_COLUMNS, Rows::Cut, &rows)
        }
        ListKind::Failures => {
            let rows: Vec<_> = jobs.iter().map(|job| failure_row(job, look)).collect();
            table(look, &FAILURE_COLUMNS, Rows::Cut, &rows)
        }
    }
}

const fn column(heading: &'static str, width_min: u16, fit: Fit) -> Column {
    Column { heading, width_min, fit }
}

const JOB_COLUMNS: [Column; 10] = [
    column("ID", 0, Fit::Whole),
    column("STATE", 0, Fit::Whole),
    column("STORED", 80, Fit::Whole),
    column("NEXT TRY", 120, Fit::Whole),
    column("PLATFORM", 0, Fit::Words),
    column("USER", 0, Fit::Words),
    column("ACTIVITY", 130, Fit::Words),
    column("SCORE", 100, Fit::Number),
    column("TRIES", 110, Fit::Number),
    column("REASON", 90, Fit::Words),
];

fn job_row(job: &Job, look: Look) -> Vec<(Tone, String)> {
    vec![
        plain(Some(&job.id)),
        (tone(&job.state), job.state.clone()),
        (Tone::Plain, look.moment(job.created_at.as_deref())),
        (Tone::Plain, look.moment(job.next_attempt_at.as_deref())),
        plain(job.platform.as_deref()),
        plain(job.user_id.as_deref()),
        plain(job.activity_id.as_deref()),
        plain(job.score_text().as_deref()),
        (Tone::Plain, job.attempts.count().to_string()),
        plain(job.reason.as_deref()),
    ]
}

const FAILURE_COLUMNS: [Column; 9] = [
    column("ID", 0, Fit::Whole),
    column("FLAGGED", 80, Fit::Whole),
    column("REASON", 0, Fit::Words),
    column("PLATFORM", 0, Fit::Words),
    column("USER", 0, Fit::Words),
    column("ACTIVITY", 120, Fit::Words),
    column("SCORE", 100, Fit::Number),
    column("TRIES", 110, Fit::Number),
    column("LAST WORDS", 140, Fit::Words),
];

fn failure_row(job: &Job, look: Look) -> Vec<(Tone, String)> {
    vec![
        plain(Some(&job.id)),
        (Tone::Plain, look.moment(job.flagged_at.as_deref())),
        (Tone::Bad, job.reason.clone().unwrap_or_default()),
        plain(job.platform.as_deref()),
        plain(job.user_id.as_deref()),
        plain(job.activity_id.as_deref()),
        plain(job.score_text().as_deref()),
        (Tone::Plain, job.attempts.count().to_string()),
        plain(job.last_error.as_deref()),
    ]
}

fn plain(text: Option<&str>) -> (Tone, String) {
    (Tone::Plain, text.unwrap_or(NOTHING).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    const JOBS: &str = r#"[
        {"id": "01JD8Y3K5V7Q2W9XZB4N6M8P0R", "state": "flagged", "delivery": "lti13-ags", "platform": "moodle",
         "session_id": "s-1", "user_id": "user-with-a-rather-long-id-of-some-forty-letters", "activity_id": "algebra-1",
         "score": 8.50, "max_score": 10, "attempts": 6, "reason": "server_error", "last_error": "503\nService Unavailable",
         "created_at": "2026-11-21T10:00:00.000Z", "flagged_at": "2026-11-21T10:26:40.000Z", "new_member": [1]},
        {"id": "01JD8Y3K5V7Q2W9XZB4N6M8P0S", "state": "queued", "platform": "lms.example.edu:8443", "user_id": null,
         "score": null, "attempts": 0, "reason": null, "created_at": "2026-11-21T10:29:55.000Z",
         "next_attempt_at": "2026-11-21T10:30:30.000Z"}]"#;

    fn check(kind: ListKind, look: Look, expected: &str) {
        let jobs: Vec<Job> = serde_json::from_str(JOBS).expect("jobs");
        assert_eq!(render(kind, &jobs, look), expected);
    }

    #[test]
    fn a_program_gets_every_column_uncut() {
        let expected = [
            "ID                          STATE    STORED                NEXT TRY              PLATFORM              ",
            "USER                                              ACTIVITY      SCORE  TRIES  REASON\n",
            "01JD8Y3K5V7Q2W9XZB4N6M8P0R  flagged  2026-11-21T10:00:00Z  -                     moodle                ",
            "user-with-a-rather-long-id-of-some-forty-letters  algebra-1  8.5 / 10      6  server_error\n",
            "01JD8Y3K5V7Q2W9XZB4N6M8P0S  queued   2026-11-21T10:29:55Z  2026-11-21T10:30:30Z  lms.example.edu:8443  ",
            "-                                                 -                 -      0  -\n",
        ];
        check(ListKind::Jobs, testing::program(), &expected.concat());
    }

    #[test]
    fn a_person_gets_what_fits() {
        let expected = "\
ID                          STATE    STORED      PLATFORM         USER
01JD8Y3K5V7Q2W9XZB4N6M8P0R  flagged  30 min ago  moodle           user-with-a-r…
  activity algebra-1 · score 8.5 / 10 · tries 6 · reason server_error
01JD8Y3K5V7Q2W9XZB4N6M8P0S  queued   5 s ago     lms.example.ed…  -
  next try in 30 s · tries 0
";
        check(ListKind::Jobs, testing::person(80), expected);
    }

    #[test]
    fn failures_say_why() {
        let expected = [
            "ID                          FLAGGED    REASON        PLATFORM             USER                ",
            "ACTIVITY      SCORE  TRIES\n",
            "01JD8Y3K5V7Q2W9XZB4N6M8P0R  3 min ago  server_error  moodle               user-with-a-rathe…  ",
            "algebra-1  8.5 / 10      6\n",
            "  last words 503 Service Unavailable\n",
            "01JD8Y3K5V7Q2W9XZB4N6M8P0S  -          -             lms.example.edu:84…  -                   ",
            "-                 -      0\n",
        ];
        check(ListKind::Failures, testing::person(120), &expected.concat());
        let usual = "\
ID                          FLAGGED    REASON        PLATFORM       USER
01JD8Y3K5V7Q2W9XZB4N6M8P0R  3 min ago  server_error  moodle         user-with-a…
  activity algebra-1 · score 8.5 / 10 · tries 6
  last words 503 Service Unavailable
01JD8Y3K5V7Q2W9XZB4N6M8P0S  -          -             lms.example.…  -
  tries 0
";
        check(ListKind::Failures, testing::person(80), usual);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_goes_in_silence() {
        let jobs: Vec<Job> = serde_json::from_str(JOBS).expect("jobs");
        for width in 40..200 {
            for kind in [ListKind::Jobs, ListKind::Failures] {
                let text = render(kind, &jobs, testing::person(width));
                for held in ["01JD8Y3K5V7Q2W9XZB4N6M8P0S", "algebra-1", "8.5 / 10", "moodle", "server_", "user-w"] {
                    assert!(text.contains(held), "{width}: {held}:\n{text}");
                }
                assert!(kind == ListKind::Jobs || text.contains("503 Serv"), "{width}:\n{text}");
                assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
            }
        }
    }
}
