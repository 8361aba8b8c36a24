//! The threat model as tests: each line of `docs/security.md` names one of these, or one that stands beside the code that
//! it is about.

mod doors;
mod egress;
mod injection;
mod process;
mod replies;
mod sign_in;
mod slow;
