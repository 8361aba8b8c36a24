//! The domain: what a grade, a job and an attempt are, and every rule about them, as plain values.
//!
//! Nothing here reads a clock, draws a number, logs, awaits or touches a file or a socket. Time and chance are
//! arguments, so a test can drive all of it.
//!
//! | word | meaning |
//! | --- | --- |
//! | event | one JSON message that a session changed state, mostly that it was completed |
//! | job | the durable record of one passback: the event, where it goes, its state and its attempts |
//! | attempt | one try to deliver a job: all of the HTTP requests that it takes |
//! | platform | an LMS that receives grades, known by its origin (scheme, host, port) |
//! | grade cell | the one gradebook cell a job writes |
//! | flagged | given up after the retries, waiting for an admin |
//! | replay | an admin's word that a flagged job gets a fresh set of attempts |
//!
//! ```text
//!                 ┌───────────── failed, retries left ────────────┐
//!                 ▼                                               │
//!   event ──▶ queued ──────── start ───────▶ queued, under way ───┤
//!              │   ▲                                              ├──▶ delivered
//!              │   └── replay ── flagged ◀── failed for good ─────┤
//!              │                    │                             └──▶ superseded
//!              ├── newer grade ─────┼──────────────────────────────▶ superseded
//!              └── discard ─────────┴──────────────────────────────▶ discarded
//! ```

pub mod advice;
pub mod audit;
pub mod bulk;
pub mod cause;
pub mod destination;
pub mod dispatch;
pub mod drawer;
pub mod ending;
pub mod event;
pub mod family;
pub mod health;
pub mod job;
pub mod ledger;
pub mod notice;
pub mod outcome;
pub mod platform;
pub mod retry;
pub mod score;
pub mod time;
pub mod transition;
pub mod verification;
pub mod watch;
