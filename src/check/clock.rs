//! How far our clock is off, by the `Date` header of a platform's reply (RFC 9110, section 6.6.1), and what that means.
//!
//! The header has whole seconds and the reply was some time on its way, so what cannot be told from no difference counts as
//! none.

use std::time::UNIX_EPOCH;

use super::Section;
use crate::{domain::time::Timestamp, lti::wire::Reply};

/// So far ahead nothing more is gained by the 5 s that an assertion is backdated: Moodle gives no leeway.
const AHEAD_MILLIS_MAX: i64 = 5_000;

/// So far off, in either direction, platforms begin to refuse.
const OFF_MILLIS_MAX: i64 = 30_000;

/// By how many milliseconds our clock is at least ahead of the platform's; below zero where it is behind. None where the
/// reply tells no time.
pub(super) fn ahead_millis(reply: &Reply, asked_at: Timestamp, answered_at: Timestamp) -> Option<i64> {
    let told = httpdate::parse_http_date(reply.header("date")?.trim()).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let told = i64::try_from(told.as_millis()).ok()?;
    let (asked, answered) = (asked_at.as_micros() / 1_000, answered_at.as_micros() / 1_000);
    // The platform's clock was somewhere within the second that it told, at some moment between the two of ours.
    let (least, most) = (asked.saturating_sub(told.saturating_add(999)), answered.saturating_sub(told));
    Some(if least > 0 { least } else { most.min(0) })
}

/// Tells what was measured.
pub(super) fn tell(section: &mut Section, ahead_millis: i64) {
    let secs = (ahead_millis.abs() + 500) / 1_000;
    let direction = if ahead_millis > 0 { "ahead of" } else { "behind" };
    let seen = format!("our clock is {secs} s {direction} the platform's");
    let mend = "set this machine's clock (a time service such as chrony keeps it right), or have the platform's set";
    if ahead_millis.abs() >= OFF_MILLIS_MAX {
        let why = "signatures and assertions with a wrong time are refused";
        section.fail("clock", seen, format!("{why}: {mend}"));
    } else if ahead_millis >= AHEAD_MILLIS_MAX {
        let why = "Moodle refuses an assertion that is made in its future, and ours are backdated by 5 s only";
        section.warn("clock", seen, format!("{why}: {mend}"));
    } else {
        section.ok("clock", if secs == 0 { "our clock and the platform's agree".to_owned() } else { seen });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Mark, *};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn reply(at_secs: i64) -> Reply {
        let moment = UNIX_EPOCH + std::time::Duration::from_secs(at_secs.unsigned_abs());
        let headers = vec![("date".to_owned(), httpdate::fmt_http_date(moment))];
        Reply { headers, ..Reply::default() }
    }

    #[test]
    fn a_difference_is_measured_as_far_as_it_is_certain() {
        let check = |platform_secs: i64, way_millis: i64, ahead: i64| {
            let answered_at = Timestamp::from_micros(NOW.as_micros() + way_millis * 1_000);
            let measured = ahead_millis(&reply(NOW.as_secs() + platform_secs), NOW, answered_at);
            assert_eq!(measured, Some(ahead), "{platform_secs} {way_millis}");
        };
        check(0, 0, 0);
        check(0, 900, 0);
        check(-1, 100, 1);
        check(-120, 0, 119_001);
        check(120, 0, -120_000);
        check(120, 30_000, -90_000);
        check(-3, 0, 2_001);
        assert_eq!(ahead_millis(&Reply::default(), NOW, NOW), None);
        let nonsense = Reply { headers: vec![("date".to_owned(), "soon".to_owned())], ..Reply::default() };
        assert_eq!(ahead_millis(&nonsense, NOW, NOW), None);
    }

    #[test]
    fn what_is_told_names_the_direction() {
        let check = |ahead: i64, status: Mark, words: &str| {
            let mut section = Section::new("platform");
            tell(&mut section, ahead);
            let remark = &section.remarks[0];
            assert!(remark.status == status && remark.seen.contains(words), "{ahead}: {remark:?}");
        };
        check(0, Mark::Ok, "agree");
        check(4_900, Mark::Ok, "5 s ahead of");
        check(5_000, Mark::Warning, "5 s ahead of");
        check(29_999, Mark::Warning, "30 s ahead of");
        check(30_000, Mark::Failed, "30 s ahead of");
        check(-29_000, Mark::Ok, "29 s behind");
        check(-119_800, Mark::Failed, "120 s behind");
    }
}
