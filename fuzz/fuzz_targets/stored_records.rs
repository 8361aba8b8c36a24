//! A store whose records are damaged.
#![no_main]

#[path = "../../tests/it/decoders/checks.rs"]
#[expect(dead_code, reason = "each target runs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::stored_records(bytes));
