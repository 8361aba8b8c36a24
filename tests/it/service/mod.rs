//! The whole program against real servers: a broker, platforms that judge, and verifiers that are not ours.

mod access;
mod admin;
pub(crate) mod broker;
mod broker_faults;
mod calls;
mod clock;
mod crashes;
mod cut_disk;
pub(crate) mod delivery;
mod demo;
mod doomed;
mod export;
mod kills;
mod load;
mod neighbours;
mod openapi;
mod oracle;
pub(crate) mod power_cuts;
mod read_back;
mod refusals;
mod secrecy;
mod synced;
mod verifiers;
pub(crate) mod worker;
mod write_errors;
