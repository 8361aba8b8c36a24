//! What real platforms do that no standard says, one test for each: the real sender (engine and transport) against the
//! simulated LMS with the manners of the platform concerned, or against hand-made replies where only those show it.
//!
//! A test carries the number of its quirk (`quirk_02_…`), or the name of its row in the classification of replies
//! (`class_3xx_…`); [`the_map_is_whole`] sees that none is without. What each quirk is:
//!
//! | 01 | users who are refused | 09 | deleted columns | 17 | sourcedids | 25 | closed courses, locks |
//! | 02 | `/scores` before the query | 10 | failure inside a 200 | 18 | numbers | 26 | `Bearer` |
//! | 03 | token reuse | 11 | timestamps | 19 | foreign resource links | 27 | ambiguous answers |
//! | 04 | dead tokens | 12 | media types | 20 | redirects | 28 | one request a cell |
//! | 05 | zero | 13 | OAuth 1.0a | 21 | odd replies | 29 | the newest alone |
//! | 06 | lateness, submissions | 14 | clocks | 22 | next links | 30 | certificates |
//! | 07 | audience | 15 | scopes | 23 | our keys | 31 | Moodle's empty success |
//! | 08 | duplicate columns | 16 | rate limits | 24 | User-Agent | | |
//!
//! Two are shown as near as the sender alone can: 27 (that a grade is read back is tested where it is read), and 31 (what
//! nobody can see from here is said in `docs/failures.md`). Of 23, that old keys stay published is a matter of the
//! configuration and tested there.

mod any_reply;
mod campus;
mod columns;
mod outcomes;
mod score_replies;
mod scores;
mod scripted;
mod tap;
mod tokens;
mod ways;

use std::{fs, path::Path};

const QUIRKS: u32 = 31;

/// The rows of the classification, in their order.
const CLASSES: [&str; 26] = [
    "connection_faults",
    "tls_certificate_invalid",
    "408_425_429",
    "403_rate_limit",
    "500_502_503_504",
    "200_html",
    "3xx",
    "401",
    "403_no_rate_limit",
    "token_400_oauth_error",
    "token_400_time",
    "token_400_signature_and_404_html",
    "token_5xx_html_and_no_json",
    "score_2xx",
    "409",
    "400_older",
    "400_and_other_refusals",
    "404_on_score",
    "404_403_naming_the_user",
    "410",
    "lti11_success",
    "lti11_processing",
    "lti11_failure",
    "lti11_unsupported",
    "lti11_401",
    "lti11_200_unparsable",
];

#[test]
fn the_map_is_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/lms_quirks");
    let files = fs::read_dir(folder).expect("this folder").map(|entry| entry.expect("an entry").path());
    let tests: Vec<String> =
        files.flat_map(|path| crate::tidy::tests_in(&fs::read_to_string(path).expect("readable"))).collect();
    let quirks = (1..=QUIRKS).map(|number| format!("quirk_{number:02}_"));
    let classes = CLASSES.iter().map(|name| format!("class_{name}_"));
    let missing: Vec<_> =
        quirks.clone().chain(classes).filter(|wanted| !tests.iter().any(|name| name.starts_with(wanted))).collect();
    assert!(missing.is_empty(), "without a test: {missing:?}");
    let is_known = |name: &str| quirks.clone().any(|quirk| name.starts_with(&quirk));
    let astray: Vec<_> = tests.iter().filter(|name| name.starts_with("quirk_") && !is_known(name)).collect();
    assert!(astray.is_empty(), "no quirk has such a number: {astray:?}");
}
