//! The plan: which gradebook cells there are, and which events are sent for them, when, how often and by which way.

use std::time::Duration;

use passback::domain::time::Timestamp;
use serde_json::{Value, json};

use super::{
    platform::{Flavour, Kind},
    world::Chance,
};

/// The first moment of every universe.
pub(super) const GENESIS: Timestamp = Timestamp::from_secs(1_795_000_000);

/// A cell of a gradebook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) platform: usize,
    pub(super) student: usize,
    pub(super) column: usize,
}

/// Which way an event comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Amqp,
    Http,
}

/// What the platform must be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Grade {
    /// Points out of a maximum.
    Points(f64, f64),
    /// No grade any more.
    Cleared,
    /// Nothing about the grade.
    StateOnly,
}

/// An event that will be sent.
pub(super) struct PlannedEvent {
    pub(super) cell: usize,
    pub(super) way: Way,
    pub(super) body: Vec<u8>,
    pub(super) message_id: Option<String>,
    /// Whether the broker is given a time with it.
    pub(super) is_dated: bool,
    pub(super) grade: Grade,
    /// It can never become a job.
    pub(super) is_poison: bool,
    /// How often it is sent, and when after the beginning.
    pub(super) sent_after: Vec<Duration>,
}

pub(super) fn origin(platform: usize) -> String {
    format!("https://lms{platform}.example.edu")
}

pub(super) fn cells(chance: &mut Chance, platforms: &[(Kind, Flavour)]) -> Vec<Cell> {
    let count = chance.one_of(&[1, 2, 3, 5, 8, 12, 16]);
    let draw = |chance: &mut Chance| Cell {
        platform: chance.below(platforms.len()),
        student: chance.below(6),
        column: chance.below(2),
    };
    (0..count).map(|_| draw(chance)).collect()
}

pub(super) fn events(
    chance: &mut Chance,
    platforms: &[(Kind, Flavour)],
    cells: &[Cell],
    waves: &[Duration],
    storm: Duration,
) -> Vec<PlannedEvent> {
    let count = usize::try_from(chance.between(4, 40)).expect("small");
    let mut events = Vec::new();
    for number in 0..count {
        let wave = waves[chance.below(waves.len())];
        let at = match chance.below(4) {
            0 => storm.mul_f64(chance.unit() * 0.8),
            1 => wave,
            _ => wave + chance.span(Duration::from_millis(1), Duration::from_secs(120)),
        };
        events.push(event(chance, platforms, cells, number, at, storm));
    }
    events
}

/// When most of the events are sent.
pub(super) fn waves(chance: &mut Chance, storm: Duration) -> Vec<Duration> {
    (0..chance.between(1, 4)).map(|_| storm.mul_f64(chance.unit() * 0.8)).collect()
}

fn event(
    chance: &mut Chance,
    platforms: &[(Kind, Flavour)],
    cells: &[Cell],
    number: usize,
    at: Duration,
    storm: Duration,
) -> PlannedEvent {
    let index = chance.below(cells.len());
    let cell = cells[index];
    let (kind, flavour) = &platforms[cell.platform];
    let way = if chance.hits(0.7) { Way::Amqp } else { Way::Http };
    let grade = match chance.below(12) {
        0 => Grade::Cleared,
        1 | 2 if kind.is_ags() => Grade::StateOnly,
        _ => points(chance),
    };
    let mut body = json!({
        "session_id": format!("session-{index}"),
        "user_id": format!("user-{}", cell.student),
        "lis_data": lis_data(*kind, flavour, cell, index),
    });
    match grade {
        Grade::Points(given, maximum) => {
            body["score"] = json!(given);
            body["max_score"] = json!(maximum);
        }
        Grade::Cleared => body["operation"] = json!("delete"),
        Grade::StateOnly => body["activity_progress"] = json!("Started"),
    }
    if let Some(occurred_at) = occurred_at(chance, at) {
        body["occurred_at"] = json!(occurred_at.to_string());
    }
    let mut message_id = None;
    match chance.below(5) {
        0 => {}
        1 if way == Way::Amqp => message_id = Some(format!("message-{number}")),
        _ => body["event_id"] = json!(format!("event-{number}")),
    }
    if chance.hits(0.2) {
        body["comment"] = json!("x".repeat(chance.one_of(&[10, 3000, 9000])));
    }
    let is_poison = chance.hits(0.03);
    if is_poison {
        body["score"] = json!("eight");
    }
    let mut sent_after = vec![at];
    while chance.hits(0.25) {
        // Its copies come at once, or when it is nearly forgotten.
        let after = chance.span(Duration::from_millis(1), storm);
        sent_after.push((at + after).min(storm));
    }
    let is_dated = chance.hits(0.5);
    PlannedEvent { cell: index, way, body: body.to_string().into(), message_id, is_dated, grade, is_poison, sent_after }
}

fn points(chance: &mut Chance) -> Grade {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (given, maximum) = (chance.between(0, 110) as f64 / 10.0, f64::from(chance.one_of(&[10, 10, 7])));
    Grade::Points(given, maximum)
}

/// Mostly some moments before it is sent; sometimes on the full hour, as others are; sometimes in the future.
fn occurred_at(chance: &mut Chance, sent: Duration) -> Option<Timestamp> {
    let sent = GENESIS + sent;
    let micros = |span: Duration| i64::try_from(span.as_micros()).expect("hours");
    match chance.below(8) {
        0 => None,
        1 => Some(Timestamp::from_secs(sent.as_secs() / 3600 * 3600)),
        2 => Some(sent + chance.span(Duration::from_secs(1), Duration::from_secs(7200))),
        _ => {
            let lag = chance.span(Duration::from_millis(1), Duration::from_secs(1800));
            Some(Timestamp::from_micros(sent.as_micros() - micros(lag)))
        }
    }
}

fn lis_data(kind: Kind, flavour: &Flavour, cell: Cell, index: usize) -> Value {
    let Cell { platform, student, column } = cell;
    let origin = origin(platform);
    match kind {
        Kind::Lti11 => {
            let mut data = json!({
                "lis_outcome_service_url": format!("{origin}/outcomes"),
                "lis_result_sourcedid": format!("{column}:{student}"),
                "oauth_consumer_key": format!("key-{platform}"),
            });
            if flavour.canvas {
                data["tool_family"] = json!("canvas");
            }
            data
        }
        Kind::Delegated => json!({
            "lti_version": "1.3",
            "grade_passback_url": format!("{origin}/passback"),
            "oauth_consumer_key": format!("key-{platform}"),
            "session": format!("session-{index}"),
        }),
        Kind::AgsKnown => json!({
            "lti_version": "1.3",
            "client_id": format!("client-{platform}"),
            "user_id": format!("user-{student}"),
            "lineitem": format!("{origin}/items/{column}?type=1"),
        }),
        Kind::AgsSought => json!({
            "lti_version": "1.3",
            "client_id": format!("client-{platform}"),
            "user_id": format!("user-{student}"),
            "lineitems": format!("{origin}/items"),
            "resource_id": format!("activity-{column}"),
        }),
    }
}

/// The name of a cell at its platform.
pub(super) fn name_of(kind: Kind, cell: Cell, index: usize) -> String {
    let Cell { student, column, .. } = cell;
    match kind {
        Kind::Lti11 => format!("{column}:{student}"),
        Kind::Delegated => format!("session-{index}"),
        Kind::AgsKnown => format!("{column} user-{student}"),
        Kind::AgsSought => format!("activity-{column} user-{student}"),
    }
}
