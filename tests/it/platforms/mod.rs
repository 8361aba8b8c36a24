//! Six platforms as they really behave, by the simulated LMS with their manners: what each says, and what becomes of
//! grades that the real worker sends there.
//!
//! `storms` puts 500 events through each platform with its own faults; `PASSBACK_STORM_EVENTS` sets another number and
//! `PASSBACK_SEED` another seed (`tests/campaign platforms [N]`).

mod campus;
mod manners;
mod races;
mod storms;
