//! `passback` gets every grade into the LMS gradebook: session-completed events come in, each becomes a durable job,
//! is delivered by LTI 1.1 or LTI 1.3, retried with backoff, and flagged with its reason when nothing helps.
//!
//! # The house
//!
//! Deciding is kept apart from doing, so that the whole worker can be driven by a test with a virtual clock, a fake
//! broker, a fake LMS and a fake disk. Five layers; arrows point down only, and a test reads the `use` lines.
//!
//! ```text
//!         app.rs  main.rs  shutdown.rs          the only files that know everybody
//!              │
//!    L5  surfaces/   admin API · metrics · log · command line
//!              │
//!    L4  engine/     the running loop: admit, dispatch, deliver, recover, manage
//!              │
//!    L3  ports.rs    what the engine asks of the world
//!              ▲                                 adapters implement the ports from the side:
//!              ├──── adapters/   amqp · http intake · sled store · http client · clock · secrets
//!              │
//!    L2  lti/        the protocols as plain values: requests out, replies in
//!              │
//!    L1  domain/     event, score, job, attempt, retry, transition, ledger, dispatch, notice
//! ```
//!
//! | layer | from us | from outside | never |
//! | --- | --- | --- | --- |
//! | `domain` | itself | value crates: serde, time, url, sha2, ulid, secrecy, backoff's intervals | async, clock, chance, log, I/O |
//! | `lti` | `domain` | and hashing, signing, XML, JSON | tokio, reqwest, sled, axum, clock |
//! | `adapters/x` | `domain`, `lti::wire`, `ports`, `config` | tokio and its own one I/O crate | other adapters, `engine`, `surfaces` |
//! | `engine` | `domain`, `lti`, `ports` | tokio | lapin, sled, reqwest, axum, prometheus, clap |
//! | `check` | `domain`, `lti`, `ports`, `adapters`, `config` | tokio | `engine`, `surfaces`; lapin, sled, reqwest, axum |
//! | `surfaces` | `domain`, the engine's handle, `config`, `check` | axum, clap, prometheus, tracing | lapin, sled |
//!
//! Beside them: `config` (values with documentation), `problem` (RFC 9457), `simulator` (an LMS that judges), `check`
//! (`passback check`, a small program of its own that tries the whole way).
//!
//! # The straight line
//!
//! ```text
//! message or POST          adapters::intake, adapters::amqp    bytes
//! GradeEvent               domain::event                       parsed, or refused with the field named
//! Job { Queued }           domain::ledger, in the store        durable first, acknowledged second
//! its turn                 domain::dispatch                    due, cell free, platform has room
//! Attempt                  engine::deliver                     lti::exchange ⇄ adapters::transport
//! Verdict                  lti::classify                       what came back, as one table
//! Job'                     domain::transition                  delivered, queued (later), flagged, superseded
//! Notice                   surfaces                            metrics and log
//! ```
//!
//! One arrow goes back: a job that is queued for later returns to "its turn". A replay enters there too.
//!
//! # Invariants
//!
//! 1. An event is acknowledged only when its job is on disk, synced.
//! 2. Every change of a job is made by `domain::transition`, called by `domain::ledger` on the store's one writer.
//! 3. The start of an attempt is on disk before its first byte leaves; an attempt that was cut off counts as made.
//! 4. Jobs of one grade cell go one at a time, and the newest grade is the last one sent.
//! 5. `domain` and `lti` know no clock, no chance, no socket and no log: time and chance are arguments.
//! 6. Index entries are a pure function of the job, written in the same batch as the job.
//! 7. A state other than queued is left only by a replay; history never shrinks, but for a documented limit.
//! 8. Secrets are of types that do not print, and no stored record holds one.
//!
//! Six files give the whole picture: this one, `domain/job.rs`, `domain/transition.rs`, `domain/dispatch.rs`,
//! `engine/deliver.rs` and `app.rs`.

pub mod domain;

pub mod lti;

pub mod ports;

pub mod adapters;

pub mod engine;

pub mod surfaces;

pub mod config;

pub mod problem;

pub mod simulator;

pub mod check;

pub mod shutdown;

pub mod app;
