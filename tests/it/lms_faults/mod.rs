//! The LMS under test: the real engine and the real transport against servers that answer slowly, in part, wrongly, or
//! not at all, at the level of jobs. Whatever a platform does, the attempt ends in time with the right reason and words,
//! its slot is free again, a lost reply is known as one, and the job is tried again.
//!
//! What the transport alone makes of each is tested in `transport`; what the whole program shows, in `service`.

pub(crate) mod conduct;
pub(crate) mod handshakes;
mod replies;
pub(crate) mod scene;
