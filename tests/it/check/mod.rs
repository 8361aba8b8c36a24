//! `passback check` as the real program, on set-ups that are broken in one way each: what is broken must be named, with
//! advice, and nothing else. One that is well ends with 0.

mod certificates;
mod house;
mod platforms;
pub(crate) mod scene;
