//! Which of sled's pages has which keys, when some pages are lost: where two claim a key, the newer one has it. It reads
//! no page and knows no record.

use std::{collections::BTreeMap, ops::Bound};

/// Where a stretch of keys ends; none where it goes on for ever.
pub(super) type End = Option<Vec<u8>>;

/// Which page has which keys.
#[derive(Default)]
pub(super) struct Claims {
    /// By the first key of each stretch.
    pub(super) by_low: BTreeMap<Vec<u8>, Claim>,
    /// So many pages claim what a newer one has.
    pub(super) contested: u64,
}

/// A stretch of keys, from the one that it is kept under.
pub(super) struct Claim {
    pub(super) end: End,
    pub(super) page: u64,
}

impl Claims {
    /// Of pages, each with its number, where it stands in the log, and its bounds. The newest one comes first: where a page was split or merged, its older state claims what is not its own any more.
    pub(super) fn of(mut pages: Vec<(u64, u64, Vec<u8>, End)>) -> Self {
        pages.sort_unstable_by_key(|(_, lsn, ..)| std::cmp::Reverse(*lsn));
        let mut claims = Self::default();
        for (number, _, low, high) in pages {
            claims.add(&low, &high, number);
        }
        claims
    }

    /// Gives a page what nobody has yet.
    fn add(&mut self, low: &[u8], high: &End, page: u64) {
        let mut from = Some(low.to_vec());
        let mut free = Vec::new();
        let mut is_contested = false;
        for (begin, claim) in
            self.by_low.range(self.at_or_before(low)..).take_while(|(begin, _)| is_before(begin, high))
        {
            let Some(open) = from.take() else { break };
            if claim.end.as_ref().is_some_and(|end| *end <= open) {
                from = Some(open);
                continue;
            }
            is_contested = true;
            if open < *begin {
                free.push((open, Some(begin.clone())));
            }
            from.clone_from(&claim.end);
        }
        free.extend(from.filter(|open| is_before(open, high)).map(|open| (open, high.clone())));
        self.contested += u64::from(is_contested);
        self.by_low.extend(free.into_iter().map(|(low, end)| (low, Claim { end, page })));
    }

    /// The first key of the stretch that a key may be in.
    pub(super) fn at_or_before(&self, key: &[u8]) -> Vec<u8> {
        let before = self.by_low.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.map_or_else(|| key.to_vec(), |(low, _)| low.clone())
    }

    /// How many stretches of keys nobody has.
    pub(super) fn gaps(&self) -> u64 {
        let mut reached = Some(Vec::new());
        let mut gaps = 0;
        for (low, claim) in &self.by_low {
            gaps += u64::from(reached.as_ref() != Some(low));
            reached.clone_from(&claim.end);
        }
        gaps + u64::from(reached.is_some())
    }
}

/// Whether a key stands before an end.
pub(super) fn is_before(key: &[u8], end: &End) -> bool {
    end.as_ref().is_none_or(|end| key < &end[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_page_has_what_two_claim() {
        let mut claims = Claims::default();
        let end = |end: &str| Some(end.as_bytes().to_vec()).filter(|end| !end.is_empty());
        for (low, high, page) in [("m", "p", 1), ("", "c", 2), ("b", "", 3), ("a", "z", 4)] {
            claims.add(low.as_bytes(), &end(high), page);
        }
        let found: Vec<_> =
            claims.by_low.iter().map(|(low, claim)| (&low[..], claim.end.clone(), claim.page)).collect();
        assert_eq!(
            found,
            [(&b""[..], end("c"), 2), (&b"c"[..], end("m"), 3), (&b"m"[..], end("p"), 1), (&b"p"[..], end(""), 3),]
        );
        assert_eq!((claims.gaps(), claims.contested), (0, 2));
        let mut claims = Claims::default();
        assert_eq!(claims.gaps(), 1, "nobody has anything");
        claims.add(b"b", &end("c"), 1);
        claims.add(b"d", &end("e"), 1);
        assert_eq!(claims.gaps(), 3);
    }
}
