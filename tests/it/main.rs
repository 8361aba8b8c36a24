//! The integration tests: one binary with modules, so that it links once.

mod transport;
