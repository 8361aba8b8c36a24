//! `passback` gets every grade into the LMS gradebook.

pub mod config;
pub mod simulator;
