//! The integration tests: one binary with modules, so that it links once.

mod amqp;
mod check;
mod decoders;
mod golden_requests;
mod ledger;
mod lms_faults;
mod lms_quirks;
mod ops;
mod page;
mod platforms;
mod security;
mod service;
mod simulation;
mod small_disk;
mod store_common;
mod store_copies;
mod store_crashes;
mod store_damage;
mod store_durability;
mod store_golden;
mod store_mending;
mod store_model;
mod tidy;
mod transport;
mod virtual_time;
