//! The ways in: each takes events from somewhere and vouches for them when they are on disk.

pub mod http;
