//! The real engine on paused time: hours pass in moments, latencies are exact, and a clock can be set while it runs.
//!
//! Only the ports are played: a store of plain maps that carries orders out with the production ledger, platforms with
//! moods, a wall clock beside the steady one. What a disk does to a commit, and a socket to a request, is tested
//! elsewhere.

mod audit;
pub(crate) mod books;
mod clock;
mod failing_store;
mod lms;
mod neighbours;
mod outage;
mod universe;
