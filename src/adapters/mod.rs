//! The adapters: each implements a port with one outside crate, and knows no other adapter.

pub mod amqp;
pub mod clock;
pub mod intake;
pub mod secrets;
pub mod store;
pub mod transport;
