//! `passback` gets every grade into the LMS gradebook.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod lti;
pub mod ports;
pub mod simulator;
