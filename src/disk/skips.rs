//! What a pass left out: all of it counted, the first few by name.

use crate::runtime::limits::NAMED_SKIPS;
use crate::tree::{Skip, SkipReason};

const REASONS: [SkipReason; 5] =
    [SkipReason::Unreadable, SkipReason::Special, SkipReason::OtherMount, SkipReason::Unstable, SkipReason::TooLong];

/// Counts per reason, and the first few skips by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skips {
    counts: [u64; REASONS.len()],
    named: Vec<Skip>,
}

impl Skips {
    /// Counts one skip, and keeps it by name while there is room.
    pub fn add(&mut self, skip: Skip) {
        self.counts[place(skip.reason)] += 1;
        if self.named.len() < NAMED_SKIPS {
            self.named.push(skip);
        }
    }

    /// How many were left out for `reason`.
    pub fn total(&self, reason: SkipReason) -> u64 {
        self.counts[place(reason)]
    }

    /// How many were left out for any reason.
    pub fn all(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The counts that are not zero.
    pub fn counts(&self) -> impl Iterator<Item = (SkipReason, u64)> + '_ {
        REASONS.into_iter().map(|reason| (reason, self.total(reason))).filter(|(_, count)| *count > 0)
    }

    /// The first few.
    pub fn named(&self) -> &[Skip] {
        &self.named
    }

    /// Adds what another pass left out.
    pub fn merge(&mut self, other: Skips) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        let room = NAMED_SKIPS.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }
}

fn place(reason: SkipReason) -> usize {
    match reason {
        SkipReason::Unreadable => 0,
        SkipReason::Special => 1,
        SkipReason::OtherMount => 2,
        SkipReason::Unstable => 3,
        SkipReason::TooLong => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMED_SKIPS, REASONS, Skip, SkipReason, Skips, place};

    #[test]
    fn all_are_counted_and_the_first_are_named() {
        let skip = |reason| Skip { path: None, reason, detail: None };
        let mut skips = Skips::default();
        for _ in 0..100 {
            skips.add(skip(SkipReason::Special));
        }
        let mut more = Skips::default();
        more.add(skip(SkipReason::TooLong));
        skips.merge(more);
        assert_eq!(skips.total(SkipReason::Special), 100);
        assert_eq!(skips.counts().collect::<Vec<_>>(), [(SkipReason::Special, 100), (SkipReason::TooLong, 1)]);
        assert_eq!((skips.all(), skips.named().len()), (101, NAMED_SKIPS));
    }

    #[test]
    fn every_reason_has_its_own_place() {
        for (at, reason) in REASONS.into_iter().enumerate() {
            assert_eq!(place(reason), at);
        }
    }
}
