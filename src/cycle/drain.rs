//! How long the end may take: the last pass obeys a deadline that the kubelet set.

use crate::runtime::limits;
use std::time::{Duration, Instant};

/// The time between the beginning of a Pod's end and the kill.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    whole: Duration,
    /// When somebody said that the end has begun.
    announced: Option<Instant>,
}

impl Grace {
    /// A Pod's `terminationGracePeriodSeconds`.
    pub fn new(whole: Duration) -> Grace {
        Grace { whole, announced: None }
    }

    /// A hook tells that termination has begun; the first one counts.
    pub fn announce(&mut self, asked: Instant) {
        if self.began(asked).is_none() {
            self.announced = Some(asked);
        }
    }

    /// When termination began, as far as it is known at `now`. A hook that somebody ran longer ago than the grace period
    /// belonged to no termination: the process would be dead.
    pub fn began(&self, now: Instant) -> Option<Instant> {
        self.announced.filter(|asked| now < *asked + self.whole)
    }

    /// Until when work may go on, if the end began at `now` or was announced before: a reserve is kept for saying how it
    /// ended. However little is left, one short try is made.
    pub fn deadline(&self, now: Instant) -> Instant {
        let began = self.began(now).unwrap_or(now);
        let reserve = limits::DRAIN_RESERVE.min(self.whole / 2);
        (began + self.whole - reserve).max(now + limits::DRAIN_LEAST)
    }

    /// The deadline after a second signal.
    pub fn hastened(deadline: Instant, now: Instant) -> Instant {
        deadline.min(now + limits::DRAIN_HASTE)
    }
}

#[cfg(test)]
mod tests {
    use super::Grace;
    use crate::runtime::{clock, limits};
    use std::time::Duration;

    #[test]
    fn the_deadline_counts_from_the_announcement_and_keeps_a_reserve() {
        let (now, secs) = (clock::now(), Duration::from_secs);
        let mut grace = Grace::new(secs(30));
        assert_eq!(grace.deadline(now + secs(5)), now + secs(5 + 28), "no announcement: from the signal");
        grace.announce(now);
        grace.announce(now + secs(4));
        assert_eq!(grace.deadline(now + secs(5)), now + secs(28), "the first announcement counts");
        assert_eq!(grace.deadline(now + secs(29)), now + secs(29) + limits::DRAIN_LEAST, "the application took nearly all");
        assert_eq!(grace.deadline(now + secs(90)), now + secs(90 + 28), "an old announcement was none");
        grace.announce(now + secs(100));
        assert_eq!(grace.deadline(now + secs(101)), now + secs(128));
    }

    #[test]
    fn a_short_grace_is_halved_and_a_second_signal_hastens() {
        let now = clock::now();
        assert_eq!(Grace::new(Duration::from_secs(2)).deadline(now), now + Duration::from_secs(1));
        assert_eq!(Grace::hastened(now + Duration::from_secs(20), now), now + limits::DRAIN_HASTE);
        assert_eq!(Grace::hastened(now, now), now);
    }
}
