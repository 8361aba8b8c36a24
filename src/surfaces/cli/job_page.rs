//! One job in plain words: who, what, where to, how it stands, what to do, and the timeline of its attempts.

use super::{
    answers::{Attempt, Attempts, Job, JobChange, Waits},
    job_table::tone,
    output::{Column, Fit, Look, NOTHING, Rows, Tone, facts, printable, table},
    when,
};
use crate::domain::time::Timestamp;

/// The page.
pub(super) fn render(job: &Job, look: Look) -> String {
    let heading = look.paint(Tone::Quiet, &printable(&job.id));
    let state = look.paint(tone(&job.state), &printable(&job.state));
    let (listed, without) = match &job.attempts {
        Attempts::List(attempts) if !attempts.is_empty() => (attempts.as_slice(), String::new()),
        attempts if attempts.count() == 0 => (&[][..], format!("  {}\n", without(job))),
        _ => (&[][..], "  not shown\n".to_owned()),
    };
    let of = if job.changes.is_empty() { "Attempts" } else { "Attempts, and what was done" };
    let timeline = timeline(listed, &job.changes, look);
    format!("{heading}  {state}\n\n{}\n{of}\n{without}{timeline}", facts(look, &facts_of(job, look)))
}

/// What a queued job waits for, in a sentence.
pub(super) fn waiting(job: &Job, look: Look) -> Option<String> {
    let Waits { why, since, until, error } = job.waits.as_ref().filter(|_| job.state == "queued")?;
    let platform = printable(job.platform.as_deref().unwrap_or("its platform"));
    let at = |word: &str, text: &Option<String>| {
        text.as_deref().map(|at| format!("{word} {}", look.full_moment(at))).unwrap_or_default()
    };
    let words = error.as_deref().map(|words| format!(" ({})", printable(words))).unwrap_or_default();
    Some(match why.as_str() {
        "paused" => format!("{platform} is paused{}", at(" since", since)),
        "held" => format!("{platform} is held{}{words}{}", at(" since", since), at("; next probe", until)),
        "resting" => format!("{platform} asked for fewer requests{}", at("; nothing is sent there until", until)),
        "older_grade" => "an older grade for the same place in the gradebook goes first".to_owned(),
        other => printable(other),
    })
}

/// What can be done about it. The advice of the last reason speaks of a replay, which would wait just as long.
fn about_the_wait(job: &Job) -> Option<String> {
    let waits = job.waits.as_ref().filter(|_| job.state == "queued")?;
    let resume = format!("passback platforms resume {}", job.platform.as_deref().unwrap_or("NAME"));
    Some(match waits.why.as_str() {
        "paused" => format!("`{resume}` lets it go out"),
        "held" => format!("nothing has to be done: it goes out when a probe succeeds; `{resume}` has it tried at once"),
        _ => "nothing has to be done: it goes out by itself".to_owned(),
    })
}

/// Why there is no attempt.
fn without(job: &Job) -> String {
    match (job.state.as_str(), &job.reason) {
        ("flagged", Some(reason)) => {
            let reason = printable(reason);
            format!("none: it was flagged without one, since {reason} was known before anything was sent")
        }
        ("flagged" | "superseded" | "discarded" | "delivered", _) => "none".to_owned(),
        _ => "none yet".to_owned(),
    }
}

fn facts_of(job: &Job, look: Look) -> Vec<(&'static str, String)> {
    let optional = [
        ("Who", who(job)),
        ("What", what(job)),
        ("Score", job.score_text()),
        ("Where", Some(place(job))),
        ("Address", job.service_url()),
        ("Stored", job.created_at.as_deref().map(|at| look.full_moment(at))),
        ("State", Some(standing(job, look))),
        ("Waits", waiting(job, look)),
        ("Reason", job.reason.clone()),
        ("Last words", job.last_error.clone()),
        ("Advice", about_the_wait(job).or_else(|| job.advice.clone())),
        ("To replay", command(job, "replay")),
        ("To give up", command(job, "discard")),
    ];
    optional.into_iter().filter_map(|(label, text)| Some((label, text?))).collect()
}

fn who(job: &Job) -> Option<String> {
    match (&job.user_id, &job.session_id) {
        (Some(user), Some(session)) => Some(format!("user {user}, session {session}")),
        (Some(user), None) => Some(format!("user {user}")),
        (None, Some(session)) => Some(format!("session {session}")),
        (None, None) => None,
    }
}

fn what(job: &Job) -> Option<String> {
    let clears = job.event_text("operation").as_deref() == Some("delete");
    let activity = match (job.event_text("activity_name"), job.activity_id.as_deref()) {
        (Some(name), Some(id)) => Some(format!("{name} (activity {id})")),
        (Some(name), None) => Some(name),
        (None, Some(id)) => Some(format!("activity {id}")),
        (None, None) => None,
    };
    match activity {
        Some(activity) if clears => Some(format!("clears the grade of {activity}")),
        None if clears => Some("clears the grade".to_owned()),
        activity => activity,
    }
}

fn place(job: &Job) -> String {
    let way = match job.delivery.as_deref() {
        Some("lti11") => "LTI 1.1 Basic Outcomes",
        Some("lti13-delegated") => "LTI 1.3, delegated",
        Some("lti13-ags") => "LTI 1.3 AGS",
        Some(other) => other,
        None => "an unknown delivery",
    };
    format!("{} by {way}", job.platform.as_deref().unwrap_or("an unknown platform"))
}

/// How it stands, in a sentence.
fn standing(job: &Job, look: Look) -> String {
    let at = |text: &Option<String>| text.as_deref().map(|at| format!(" {}", look.full_moment(at))).unwrap_or_default();
    match job.state.as_str() {
        "queued" if job.waits.is_some() => "queued".to_owned(),
        "queued" if job.next_attempt_at.is_some() => format!("queued; next attempt{}", at(&job.next_attempt_at)),
        "queued" => "queued; an attempt is under way".to_owned(),
        "delivered" => format!("delivered{}", at(&job.delivered_at)),
        "flagged" => format!("flagged{}: given up, waits for you", at(&job.flagged_at)),
        "superseded" => format!("superseded{}: a newer grade has taken its place", at(&job.updated_at)),
        "discarded" => format!("discarded{}: an admin gave it up", at(&job.updated_at)),
        other => other.to_owned(),
    }
}

/// What an admin can do; each on a line of its own, to be copied.
fn command(job: &Job, verb: &str) -> Option<String> {
    (job.state == "flagged").then(|| format!("passback failures {verb} {}", job.id))
}

const TIMELINE: [Column; 6] = [
    Column { heading: "  #", width_min: 0, fit: Fit::Number },
    Column { heading: "WHEN", width_min: 0, fit: Fit::Whole },
    Column { heading: "TOOK", width_min: 70, fit: Fit::Number },
    Column { heading: "HTTP", width_min: 0, fit: Fit::Number },
    Column { heading: "OUTCOME", width_min: 0, fit: Fit::Whole },
    Column { heading: "WORDS", width_min: 0, fit: Fit::Words },
];

/// All that happened to a job, oldest first.
fn timeline(attempts: &[Attempt], changes: &[JobChange], look: Look) -> String {
    let attempts = attempts.iter().enumerate().map(|(index, attempt)| {
        let moment = attempt.started_at.as_deref().map(|at| look.time(at));
        let outcome = attempt.outcome.clone().unwrap_or_default();
        let tone = if outcome == "delivered" { Tone::Good } else { Tone::Plain };
        let row = vec![
            (Tone::Plain, (index + 1).to_string()),
            (Tone::Plain, moment.unwrap_or_default()),
            (Tone::Plain, attempt.duration_ms.map(when::span).unwrap_or_default()),
            (Tone::Plain, attempt.http_status.map(|status| status.to_string()).unwrap_or_default()),
            (tone, outcome),
            (Tone::Plain, attempt.message.clone().unwrap_or_else(|| NOTHING.to_owned())),
        ];
        (attempt.started_at.as_deref(), row)
    });
    let done = changes.iter().map(|change| (change.at.as_deref(), change_row(change, look)));
    let mut rows: Vec<_> = attempts.chain(done).collect();
    // Attempts alone are in their order already, also where a clock was set back.
    if !changes.is_empty() {
        rows.sort_by_key(|(at, _)| at.and_then(|at| Timestamp::parse(at).ok()));
    }
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    if rows.is_empty() { String::new() } else { table(look, &TIMELINE, Rows::Wrap, &rows) }
}

fn change_row(change: &JobChange, look: Look) -> Vec<(Tone, String)> {
    let done = match change.action.as_str() {
        "replay" => "replayed",
        "discard" => "discarded",
        other => other,
    };
    let by = change.who.as_ref().map(|who| format!("by {who}"));
    let bulk = change.bulk.as_ref().map(|id| format!("one of many: passback replays {id}"));
    let words: Vec<String> = [by, change.note.clone(), bulk].into_iter().flatten().collect();
    vec![
        (Tone::Plain, NOTHING.to_owned()),
        (Tone::Plain, change.at.as_deref().map(|at| look.time(at)).unwrap_or_default()),
        (Tone::Plain, String::new()),
        (Tone::Plain, String::new()),
        (Tone::Waiting, done.to_owned()),
        (Tone::Plain, words.join("; ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    const JOB: &str = r#"{
        "id": "01JD8Y3K5V7Q2W9XZB4N6M8P0R", "state": "flagged", "delivery": "lti13-ags", "platform": "moodle",
        "session_id": "s-1", "user_id": "u-1", "activity_id": "a-1", "score": 8, "max_score": 10, "reason": "rejected",
        "advice": "The platform refused this grade: read its words below; most often the student is not enrolled or the activity is closed.",
        "last_error": "User is not enrolled", "created_at": "2026-11-21T10:00:00.000Z",
        "flagged_at": "2026-11-21T10:26:40.000Z", "updated_at": "2026-11-21T10:26:40.000Z",
        "event": {"session_id": "s-1", "activity_name": "Algebra",
                  "lis_data": {"lti_version": "1.3", "lineitem": "https://lms.example.edu/li/3"}},
        "attempts": [
            {"started_at": "2026-11-21T10:00:00.000Z", "duration_ms": 30004, "http_status": null, "outcome": "timeout",
             "message": null},
            {"started_at": "2026-11-21T10:26:39.500Z", "duration_ms": 85, "http_status": 403, "outcome": "rejected",
             "message": "User is not enrolled in the course that this line item belongs to, or was never known at all"}]}"#;

    fn page(look: Look) -> String {
        render(&serde_json::from_str(JOB).expect("a job"), look)
    }

    #[test]
    fn a_job_is_shown_in_plain_words() {
        let expected = "\
01JD8Y3K5V7Q2W9XZB4N6M8P0R  flagged

  Who         user u-1, session s-1
  What        Algebra (activity a-1)
  Score       8 / 10
  Where       moodle by LTI 1.3 AGS
  Address     https://lms.example.edu/li/3
  Stored      2026-11-21 10:00:00Z (30 min ago)
  State       flagged 2026-11-21 10:26:40Z (3 min ago): given up, waits for you
  Reason      rejected
  Last words  User is not enrolled
  Advice      The platform refused this grade: read its words below; most often
              the student is not enrolled or the activity is closed.
  To replay   passback failures replay 01JD8Y3K5V7Q2W9XZB4N6M8P0R
  To give up  passback failures discard 01JD8Y3K5V7Q2W9XZB4N6M8P0R

Attempts
  #  WHEN                    TOOK  HTTP  OUTCOME   WORDS
  1  2026-11-21 10:00:00Z  30.0 s     -  timeout   -
  2  2026-11-21 10:26:39Z   85 ms   403  rejected  User is not enrolled in the
                                                   course that this line item
                                                   belongs to, or was never
                                                   known at all
";
        assert_eq!(page(testing::person(80)), expected);
        let piped = page(testing::program());
        assert!(piped.contains("  Stored      2026-11-21T10:00:00Z\n"), "{piped}");
        assert!(piped.contains("never known at all\n") && !piped.contains("ago"), "{piped}");
    }

    #[test]
    fn what_came_to_the_grade_passback_door_has_an_address_too() {
        let job = r#"{"state": "queued", "event": {"lti_version": "1.3", "lineitem": "https://lms.example.edu/li/3",
            "data": {"score": 8, "max_score": 10}}}"#;
        let page = render(&serde_json::from_str(job).expect("a job"), testing::program());
        assert!(page.contains("Address  https://lms.example.edu/li/3"), "{page}");
    }

    #[test]
    fn a_job_that_waits_says_for_what_and_not_when_its_turn_was() {
        let check = |waits: &str, state: &str, advice: &str| {
            let job = format!(
                r#"{{"id": "x", "state": "queued", "platform": "moodle", "next_attempt_at": "2026-11-21T09:00:00Z",
                "reason": "server_error", "advice": "Wait until it is up, then replay.", "waits": {waits}}}"#
            );
            let page = render(&serde_json::from_str(&job).expect("a job"), testing::program());
            let of = |label: &str| page.lines().find_map(|line| line.trim_start().strip_prefix(label)).map(str::trim);
            assert_eq!(of("Waits "), Some(state), "{page}");
            assert!(of("Advice ").is_some_and(|told| told.starts_with(advice)), "{page}");
            assert!(!page.contains("next attempt") && !page.contains("then replay"), "{page}");
        };
        check(
            r#"{"why": "held", "since": "2026-11-21T10:00:00Z", "until": "2026-11-21T10:31:00Z", "error": "HTTP 503"}"#,
            "moodle is held since 2026-11-21T10:00:00Z (HTTP 503); next probe 2026-11-21T10:31:00Z",
            "nothing has to be done",
        );
        check(
            r#"{"why": "paused", "since": "2026-11-21T10:00:00Z", "until": null, "error": null}"#,
            "moodle is paused since 2026-11-21T10:00:00Z",
            "`passback platforms resume moodle` lets it go out",
        );
        check(
            r#"{"why": "resting", "until": "2026-11-21T10:31:00Z"}"#,
            "moodle asked for fewer requests; nothing is sent there until 2026-11-21T10:31:00Z",
            "nothing has to be done",
        );
        check(r#"{"why": "older_grade"}"#, "an older grade for the same place in the gradebook goes first", "nothing");
    }

    #[test]
    fn what_somebody_did_stands_among_the_attempts_by_its_time() {
        let job = r#"{"state": "discarded", "changes": [
            {"at": "2026-11-21T10:10:00Z", "who": "ann", "action": "replay", "note": null, "bulk": "01JD"},
            {"at": "2026-11-21T10:20:00Z", "who": "ops", "action": "discard", "note": "the course is over", "bulk": null}],
            "attempts": [{"started_at": "2026-11-21T10:00:00Z", "outcome": "timeout"},
                         {"started_at": "2026-11-21T10:15:00Z", "outcome": "rejected"}]}"#;
        let page = render(&serde_json::from_str(job).expect("a job"), testing::program());
        let (_, timeline) = page.split_once("Attempts, and what was done\n").unwrap_or_else(|| panic!("{page}"));
        let outcomes: Vec<_> = timeline.lines().skip(1).filter_map(|line| line.split_whitespace().nth(4)).collect();
        assert_eq!(outcomes, ["timeout", "replayed", "rejected", "discarded"], "{page}");
        assert!(timeline.contains("by ann; one of many: passback replays 01JD\n"), "{page}");
        assert!(timeline.contains("by ops; the course is over\n"), "{page}");
    }

    #[test]
    fn each_state_is_a_sentence() {
        let check = |members: &str, words: &str| {
            let job: Job = serde_json::from_str(members).expect(members);
            let page = render(&job, testing::program());
            assert!(page.contains(words), "{page}");
        };
        check(r#"{"state": "queued", "next_attempt_at": "2026-11-21T10:31:00Z"}"#, "next attempt 2026-11-21T10:31:00Z");
        check(r#"{"state": "queued"}"#, "an attempt is under way");
        check(r#"{"state": "delivered", "delivered_at": "2026-11-21T10:31:00Z"}"#, "delivered 2026-11-21T10:31:00Z");
        check(r#"{"state": "superseded"}"#, "a newer grade has taken its place");
        check(r#"{"state": "discarded"}"#, "an admin gave it up");
        check(r#"{"state": "queued", "event": {"operation": "delete"}}"#, "clears the grade");
        check(r#"{"state": "delivered", "attempts": 3}"#, "not shown");
        let deep = format!(r#"{{"event": {{"x": {}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        check(&deep, "none yet");
        check("{}", "none yet");
        let known_before = "none: it was flagged without one, since unknown_key was known before anything was sent";
        check(r#"{"state": "flagged", "reason": "unknown_key", "attempts": []}"#, known_before);
        check(r#"{"state": "superseded", "attempts": []}"#, "  none\n");
    }
}
