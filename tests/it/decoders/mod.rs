//! The decoders under arbitrary bytes, in the normal run: each kept input of the fuzzer's corpora, the property tests that
//! find new ones in moments, and inputs that are as large as they may be. `fuzz/` runs the same checks for as long as one
//! likes.

mod checks;
mod properties;
