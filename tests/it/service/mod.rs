//! The whole program against real servers: a broker, platforms that judge, and verifiers that are not ours.

mod access;
pub(crate) mod broker;
mod crashes;
mod delivery;
mod demo;
mod refusals;
mod secrecy;
mod verifiers;
pub(crate) mod worker;
