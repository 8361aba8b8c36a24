//! Outlines: what a list asks of a job, in a dozen bytes of its slot, and of a part, in a filter in memory.
//!
//! A list is narrowed by platform, reason, delivery, user, session, activity and time. An index of each would cost a record
//! a job and index. Instead each slot says these things of its job, the three ids as two bytes of a digest, so a walk over a part
//! reads neither events nor histories; and the directory has of each part a Bloom filter of what its slots say, so most
//! parts are passed by in memory. With a million jobs the filters take 3 MB, and what is rare among them is found in some
//! milliseconds; a whole walk, which only a filter of two common things that never meet comes near to, takes a tenth of a second.
//!
//! All of it is a hint, as marks are: what seems to fit is looked at whole. A slot of format 2 or older says nothing, and
//! may fit anything, until its job changes; those near flagged jobs are written when the store is upgraded.

use super::{
    codec::{Damage, In, Out},
    parts::Slot,
    record::{self, Standing},
};
use crate::{
    domain::{
        destination::Delivery,
        job::{Job, JobId, StateName},
        outcome::FailureReason,
    },
    ports::JobFilter,
};

/// The most bytes of an outline in a slot.
pub(super) const OUTLINE_BYTES_MAX: usize = 1 + 1 + 3 + 3 * 2;

/// The number of a platform takes no more than three bytes. Nobody has so many; whoever does has slow lists.
const PLATFORMS_MAX: u32 = 1 << 21;

/// What a slot says of its job beside where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// The number of its platform.
    platform: u32,
    delivery: Delivery,
    /// Why its last attempt failed: the one thing here that changes.
    reason: Option<FailureReason>,
    /// Its id carries a later time than that of its storing, because the clock was set back before.
    is_ahead: bool,
    session: u16,
    user: u16,
    activity: u16,
}

impl Outline {
    /// Of a new job. One whose event cannot be read has none of what stands there.
    pub(super) fn of(job: &Job, platform: u32) -> Self {
        let event = job.event().ok();
        let event = event.as_deref();
        Self {
            platform,
            delivery: job.delivery,
            reason: job.reason,
            is_ahead: JobId::first_at(job.created_at + MILLISECOND) <= job.id,
            session: digest(job.session_id.as_deref()),
            user: digest(event.and_then(|event| event.user_id.as_deref())),
            activity: digest(event.and_then(|event| event.activity_id.as_deref())),
        }
    }

    /// Writes an outline, or that there is none.
    pub(super) fn write(outline: Option<&Self>, out: &mut Out) {
        let Some(Self { platform, delivery, reason, is_ahead, session, user, activity }) =
            outline.filter(|outline| outline.platform < PLATFORMS_MAX)
        else {
            return out.byte(NONE);
        };
        out.byte(record::delivery_code(*delivery) | if *is_ahead { AHEAD } else { 0 });
        out.byte(reason.map_or(NONE, record::reason_code));
        out.number((*platform).into());
        for digest in [session, user, activity] {
            out.fixed(&digest.to_be_bytes());
        }
    }

    /// Reads what was written.
    pub(super) fn read(read: &mut In<'_>) -> Result<Option<Self>, Damage> {
        let first = read.byte()?;
        if first == NONE {
            return Ok(None);
        }
        let delivery = record::delivery_of(first & !AHEAD)?;
        let reason = match read.byte()? {
            NONE => None,
            code => Some(record::reason_of(code)?),
        };
        let platform = read.small("platform")?;
        let mut digest = || read.fixed().map(u16::from_be_bytes);
        let (session, user, activity) = (digest()?, digest()?, digest()?);
        Ok(Some(Self { platform, delivery, reason, is_ahead: first & AHEAD != 0, session, user, activity }))
    }

    /// The same, failed for another reason.
    pub(super) fn failed_for(self, reason: Option<FailureReason>) -> Self {
        Self { reason, ..self }
    }

    /// What is to be found of a job in this state.
    fn traits(&self, state: StateName) -> impl Iterator<Item = Trait> {
        let flagged = |kind: Kind, value| (state == StateName::Flagged).then(|| Trait::new(kind, value));
        let reason = self.reason.map(|reason| u32::from(record::reason_code(reason)));
        [
            Some(Trait::new(Kind::Platform, self.platform)),
            Some(Trait::new(Kind::Delivery, record::delivery_code(self.delivery).into())),
            reason.map(|reason| Trait::new(Kind::Reason, reason)),
            flagged(Kind::FlaggedPlatform, self.platform),
            reason.and_then(|reason| flagged(Kind::FlaggedReason, reason)),
            reason.and_then(|reason| flagged(Kind::FlaggedGroup, group(self.platform, reason))),
            Trait::of_id(Kind::Session, self.session),
            Trait::of_id(Kind::User, self.user),
            Trait::of_id(Kind::Activity, self.activity),
        ]
        .into_iter()
        .flatten()
    }
}

const NONE: u8 = 0;
const AHEAD: u8 = 1 << 7;
const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);

/// Sixteen bits of an id: FNV-1a, folded. 0 is no id.
fn digest(id: Option<&str>) -> u16 {
    let Some(id) = id else { return 0 };
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let half = hash ^ hash >> 32;
    (((half ^ half >> 16) & 0xffff) as u16).max(1)
}

fn group(platform: u32, reason: u32) -> u32 {
    platform << 4 ^ reason
}

/// What a trait is about.
#[derive(Clone, Copy)]
enum Kind {
    Platform = 1,
    Delivery,
    Reason,
    FlaggedPlatform,
    FlaggedReason,
    FlaggedGroup,
    Session,
    User,
    Activity,
}

/// One thing that may be sought, as the three bits by which a [`Bloom`] knows it.
#[derive(Clone, Copy)]
struct Trait([u16; 3]);

impl Trait {
    fn new(kind: Kind, value: u32) -> Self {
        let spread = (u64::from(value) << 8 | kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The upper bits of a product are those that all bits of its factors have a say in.
        Self([54, 44, 34].map(|shift| (spread >> shift & (BLOOM_BITS - 1)) as u16))
    }

    fn of_id(kind: Kind, digest: u16) -> Option<Self> {
        (digest != 0).then(|| Self::new(kind, digest.into()))
    }
}

const BLOOM_WORDS: usize = 16;

/// 64 for each word.
const BLOOM_BITS: u64 = 1_024;

/// What the jobs of a part are like: a Bloom filter. The 150 traits of a full part leave one look in twenty in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bloom {
    bits: [u64; BLOOM_WORDS],
    /// The id of a job is ahead of its time. A window of time leaves out most parts by their first id, so this is exact.
    is_ahead: bool,
}

impl Bloom {
    /// Of a part of which nothing is known.
    pub(super) const ANYTHING: Self = Self { bits: [u64::MAX; BLOOM_WORDS], is_ahead: true };

    /// Takes in what a slot says.
    pub(super) fn add(&mut self, outline: Option<&Outline>, state: StateName) {
        let Some(outline) = outline else {
            *self = Self::ANYTHING;
            return;
        };
        self.is_ahead |= outline.is_ahead;
        for bit in outline.traits(state).flat_map(|found| found.0) {
            self.bits[usize::from(bit / 64)] |= 1 << (bit % 64);
        }
    }

    fn may_hold(&self, sought: Trait) -> bool {
        sought.0.into_iter().all(|bit| self.bits[usize::from(bit / 64)] >> (bit % 64) & 1 != 0)
    }
}

/// A list's filter, as parts and slots are held against it.
pub(super) struct Sieve {
    state: Option<StateName>,
    /// Each of them is needed.
    needed: Vec<Trait>,
    /// One of them is needed, where there is a platform.
    one_of: Option<Vec<Trait>>,
    platforms: Option<Vec<u32>>,
    reason: Option<FailureReason>,
    delivery: Option<Delivery>,
    session: Option<u16>,
    user: Option<u16>,
    activity: Option<u16>,
    /// Ids from here on are too new, unless they are ahead of their time.
    end: Option<JobId>,
}

impl Sieve {
    /// For a filter; `platforms` are the numbers of the origins that it names.
    pub(super) fn of(filter: &JobFilter, platforms: Option<Vec<u32>>) -> Self {
        let id = |id: &Option<String>| id.as_deref().map(|id| digest(Some(id)));
        let (session, user, activity) = (id(&filter.session_id), id(&filter.user_id), id(&filter.activity_id));
        let is_flagged = filter.state == Some(StateName::Flagged);
        let reason = filter.reason.map(|reason| u32::from(record::reason_code(reason)));
        let of_platform = |platform: &u32| match (is_flagged, reason) {
            (true, Some(reason)) => Trait::new(Kind::FlaggedGroup, group(*platform, reason)),
            (true, None) => Trait::new(Kind::FlaggedPlatform, *platform),
            (false, _) => Trait::new(Kind::Platform, *platform),
        };
        let of_reason = if is_flagged { Kind::FlaggedReason } else { Kind::Reason };
        let needed = [
            reason.map(|reason| Trait::new(of_reason, reason)),
            filter.delivery.map(|delivery| Trait::new(Kind::Delivery, record::delivery_code(delivery).into())),
            session.and_then(|digest| Trait::of_id(Kind::Session, digest)),
            user.and_then(|digest| Trait::of_id(Kind::User, digest)),
            activity.and_then(|digest| Trait::of_id(Kind::Activity, digest)),
        ];
        Self {
            state: filter.state,
            needed: needed.into_iter().flatten().collect(),
            one_of: platforms.as_ref().map(|platforms| platforms.iter().map(of_platform).collect()),
            platforms,
            reason: filter.reason,
            delivery: filter.delivery,
            session,
            user,
            activity,
            end: filter.until.map(|until| JobId::first_at(until + MILLISECOND)),
        }
    }

    /// The state that is sought.
    pub(super) fn state(&self) -> Option<StateName> {
        self.state
    }

    /// Whether a part, named by its first job, may hold what is sought.
    pub(super) fn passes_part(&self, part: JobId, bloom: &Bloom) -> bool {
        self.needed.iter().all(|sought| bloom.may_hold(*sought))
            && self.one_of.as_ref().is_none_or(|one_of| one_of.iter().any(|sought| bloom.may_hold(*sought)))
            && (self.end.is_none_or(|end| part < end) || bloom.is_ahead)
    }

    /// Whether the job of a slot may be sought; what cannot be read is not.
    pub(super) fn passes(&self, slot: &Slot<'_>) -> bool {
        let stands = slot.state.standing().map(Standing::name);
        let stands = stands.is_ok_and(|stands| self.state.is_none_or(|state| stands == state));
        stands && slot.outline.as_ref().is_none_or(|outline| self.passes_outline(slot.id, outline))
    }

    fn passes_outline(&self, id: JobId, outline: &Outline) -> bool {
        self.platforms.as_ref().is_none_or(|platforms| platforms.contains(&outline.platform))
            && self.reason.is_none_or(|reason| outline.reason == Some(reason))
            && self.delivery.is_none_or(|delivery| outline.delivery == delivery)
            && self.session.is_none_or(|session| outline.session == session)
            && self.user.is_none_or(|user| outline.user == user)
            && self.activity.is_none_or(|activity| outline.activity == activity)
            && (outline.is_ahead || self.end.is_none_or(|end| id < end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn outline(number: u32) -> Outline {
        let id = |kind: &str| digest(Some(&format!("{kind}-{number}")));
        Outline {
            platform: number % 16,
            delivery: Delivery::Lti11,
            reason: None,
            is_ahead: false,
            session: id("session"),
            user: id("user"),
            activity: id("activity"),
        }
    }

    #[test]
    fn an_outline_comes_back_as_it_went_and_is_short() {
        let longest = Outline {
            platform: PLATFORMS_MAX - 1,
            reason: Some(FailureReason::InvalidScore),
            is_ahead: true,
            delivery: Delivery::Ags,
            ..outline(1)
        };
        for written in [None, Some(outline(0)), Some(longest)] {
            let mut out = Out::form(1, 0);
            Outline::write(written.as_ref(), &mut out);
            let bytes = out.done();
            assert!(bytes.len() <= 1 + OUTLINE_BYTES_MAX);
            let mut read = In::new(&bytes[1..]);
            assert_eq!(Outline::read(&mut read), Ok(written));
            assert!(read.is_empty());
        }
    }

    #[test]
    fn a_filter_of_a_part_never_denies_what_is_there_and_seldom_grants_what_is_not() {
        let mut bloom = Bloom::default();
        (0..46).for_each(|number| bloom.add(Some(&outline(number)), StateName::Delivered));
        let holds = |number: u32| bloom.may_hold(Trait::new(Kind::User, outline(number).user.into()));
        assert!((0..46).all(holds));
        let wrong = (46..10_046).filter(|number| holds(*number)).count();
        assert!(wrong < 1_000, "{wrong} of 10,000");
    }

    #[test]
    fn the_time_of_an_id_bounds_a_window_unless_the_clock_was_set_back() {
        let until = Timestamp::from_secs(1_000);
        let sieve = Sieve::of(&JobFilter { until: Some(until), ..JobFilter::default() }, None);
        let after = JobId::first_at(until + 5 * MILLISECOND);
        let (plain, ahead) = (outline(1), Outline { is_ahead: true, ..outline(1) });
        assert!(!sieve.passes_outline(after, &plain) && sieve.passes_outline(after, &ahead));
        let mut bloom = Bloom::default();
        bloom.add(Some(&plain), StateName::Queued);
        assert!(!sieve.passes_part(after, &bloom) && sieve.passes_part(JobId::first_at(until), &bloom));
        bloom.add(Some(&ahead), StateName::Queued);
        assert!(sieve.passes_part(after, &bloom));
    }
}
