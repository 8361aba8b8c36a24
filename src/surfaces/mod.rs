//! The surfaces: where people and other programs look at the worker. They count, log and show what the core tells
//! them; they decide nothing.

pub mod admin;
pub mod audience;
pub mod cli;
pub mod log;
pub mod metrics;
pub mod recent;
pub mod sign_ins;
pub mod token_health;
