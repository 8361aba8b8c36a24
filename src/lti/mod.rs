//! The protocols as plain values: requests out, replies in.

pub mod wire;
