//! The body of a `POST /lti/grade_passback`.
#![no_main]

#[path = "../../tests/it/decoders/checks.rs"]
#[expect(dead_code, reason = "each target runs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::event(bytes, passback::domain::event::Door::GradePassback));
