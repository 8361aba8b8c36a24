//! Whether a platform takes our signatures, where nothing is signed to find out: a shared secret is shown to be right by a
//! signed request alone, and that needs the sourcedid of a launch. So what was not tried is said, and what became of the
//! grades that went there.

use super::{Mark, Section};
use crate::domain::time::Timestamp;

/// What became of the grades that went to a platform, as the worker's store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The newest grade that waits or is flagged because the platform refused our signature or token.
    pub refused: Option<RefusedGrade>,
    /// When the platform took the newest one that it took.
    pub taken_at: Option<Timestamp>,
}

/// A grade that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedGrade {
    /// When.
    pub at: Timestamp,
    /// The platform's words.
    pub words: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// How a check has shown who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// By an assertion, which was answered.
    Signed,
    /// By nothing.
    Unsigned,
}

/// Says what the past shows, and what was not tried. What has failed before stands in the way of both.
pub(super) fn tell(section: &mut Section, proof: Proof, past: &Past) {
    if section.remarks.iter().any(|remark| remark.status == Mark::Failed) {
        return;
    }
    let refused = past.refused.as_ref().filter(|refused| past.taken_at.is_none_or(|taken_at| taken_at < refused.at));
    match (refused, past.taken_at, proof) {
        (Some(refused), ..) => {
            let seen = format!("the grade that was tried last, {}, was refused: {}", refused.at, refused.words);
            section.warn("signature", seen, refused.advice.as_deref().unwrap_or(COMPARE));
        }
        (None, Some(taken_at), Proof::Unsigned) => {
            section.ok("signature", format!("not tried now: nothing was signed; a grade was taken {taken_at}"));
        }
        (None, None, Proof::Unsigned) => section.warn("signature", NOT_TRIED, HOW_TO_TRY),
        (None, _, Proof::Signed) => {}
    }
}

/// What is said where nothing was signed.
pub(super) const NOT_TRIED: &str = "not tried: nothing was signed, so the secret may be wrong";

const HOW_TO_TRY: &str = "`passback check --outcome-url URL --key KEY --sourcedid ID` signs a question for a grade, with the outcome \
                          URL and the lis_result_sourcedid of a launch, and writes none";

const COMPARE: &str = "compare the secret of the key at both ends";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_nobody_tried_is_not_well_unless_a_grade_was_taken_since_the_last_refusal() {
        let at = |seconds| Timestamp::from_secs(seconds);
        let refused = |seconds| {
            let advice = Some("compare key k".to_owned());
            Some(RefusedGrade { at: at(seconds), words: "Invalid authorization header".to_owned(), advice })
        };
        let check = |proof, past: Past, told: Option<(Mark, &str)>| {
            let mut section = Section::new("platform");
            tell(&mut section, proof, &past);
            let found = section.remarks.first();
            assert_eq!(found.map(|remark| remark.status), told.map(|(status, _)| status), "{found:?}");
            let (found, words) = (format!("{found:?}"), told.map_or("None", |(_, words)| words));
            assert!(found.contains(words), "{found}");
        };
        check(Proof::Unsigned, Past::default(), Some((Mark::Warning, "the secret may be wrong")));
        check(Proof::Signed, Past::default(), None);
        let taken = |seconds, refused| Past { refused, taken_at: Some(at(seconds)) };
        check(Proof::Unsigned, taken(5, None), Some((Mark::Ok, "a grade was taken 1970-01-01T00:00:05")));
        check(Proof::Unsigned, taken(5, refused(6)), Some((Mark::Warning, "Invalid authorization header")));
        check(Proof::Signed, taken(5, refused(6)), Some((Mark::Warning, "compare key k")));
        check(Proof::Unsigned, taken(7, refused(6)), Some((Mark::Ok, "a grade was taken")));
        check(Proof::Signed, Past { refused: refused(6), taken_at: None }, Some((Mark::Warning, "was refused")));
        let mut broken = Section::new("platform");
        broken.fail("name", "unknown", "correct it");
        tell(&mut broken, Proof::Unsigned, &Past::default());
        assert_eq!(broken.remarks.len(), 1, "what was not reached needs no word of its secret");
    }
}
