//! The protocols as plain values: requests out, replies in. No clock, no chance, no socket: time and luck are arguments.
//!
//! | standard | what of it | file |
//! | --- | --- | --- |
//! | LTI 1.1.1, Basic Outcomes | replaceResult, deleteResult, readResult, and their replies | `basic_outcomes` |
//! | RFC 5849 (OAuth 1.0a), OAuth Request Body Hash | the signature over both | `oauth1` |
//! | Learnosity's delegated LTI 1.3 | the POST to a `grade_passback_url` | `delegated` |
//! | 1EdTech Security Framework 1.0, RFC 6749, RFC 7523 | client assertion, token, token cache | [`access_token`] |
//! | LTI AGS 2.0, score service | score documents and where they go | `ags` |
//! | LTI AGS 2.0, line item service | columns: look, page, match, make | `columns` |
//! | LTI AGS 2.0, result service | grades read back | `results` |
//! | RFC 8288 | lists of several pages | `pages` |
//! | RFC 9110 | what statuses and headers mean for a grade | `classify` |
//!
//! [`exchange`] is the door: one delivery as a conversation, or one look at a grade; that of LTI 1.1 in
//! `outcome_exchange`, that of AGS in `ags_exchange`. [`probe`] asks what writes no grade. [`wire`] is HTTP as plain
//! values. `words` makes a
//! platform's words fit to be shown, `json` writes and reads JSON as platforms need it.

mod ags;
mod ags_exchange;
mod basic_outcomes;
mod classify;
mod clock;
mod columns;
mod delegated;
mod json;
mod oauth1;
mod outcome_exchange;
mod pages;
mod results;
mod words;

pub mod access_token;
pub mod exchange;
pub mod probe;
pub mod wire;

pub use words::Confidential;
