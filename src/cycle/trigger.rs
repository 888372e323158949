//! When the next pass is due, and what it looks at. Pure: it is told what happened and when, and asked.

use crate::runtime::limits;
use crate::tree::Dirty;
use std::time::{Duration, Instant};

/// How passes are spaced.
#[derive(Debug, Clone, Copy)]
pub struct Spacing {
    /// A pass begins when nothing was heard for so long…
    pub debounce: Duration,
    /// …but not sooner than so long after the last one began.
    pub interval: Duration,
    /// Everything is looked at when it was not for so long; `None`: never without a reason.
    pub reconcile: Option<Duration>,
    /// While changes are not heard, everything is looked at so often.
    pub poll: Duration,
}

/// How a pass ended, as far as the next one is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassEnd {
    /// The remote holds all that was looked at.
    Complete,
    /// Something was left out.
    Partial,
    /// Nothing is known to have been stored.
    Failed,
}

/// Decides when passes begin.
#[derive(Debug)]
pub struct Trigger {
    spacing: Spacing,
    dirty: Dirty,
    /// First and last time that something was heard since the last pass began.
    heard: Option<(Instant, Instant)>,
    /// A pass is wanted without regard to what was heard.
    wanted: bool,
    begun: Option<Instant>,
    ended: Option<Instant>,
    looked_at_everything: Option<Instant>,
    /// What the running pass looks at.
    under_way: Dirty,
    /// Passes in a row that left something to do.
    row: u32,
    polling: bool,
}

impl Trigger {
    /// A first pass over everything is due at once.
    pub fn new(spacing: Spacing) -> Trigger {
        Trigger {
            spacing,
            dirty: Dirty::everything(),
            heard: None,
            wanted: true,
            begun: None,
            ended: None,
            looked_at_everything: None,
            under_way: Dirty::default(),
            row: 0,
            polling: false,
        }
    }

    /// Something may have changed.
    pub fn heard(&mut self, dirty: Dirty, now: Instant) {
        self.dirty.merge(dirty);
        self.heard = Some((self.heard.map_or(now, |(first, _)| first), now));
    }

    /// A pass over everything is wanted now. False when one was wanted already: both are served by one pass.
    pub fn want_everything(&mut self) -> bool {
        self.dirty.mark_everything();
        !std::mem::replace(&mut self.wanted, true)
    }

    /// A pass over what is known to have changed is wanted now.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether changes go unheard from now on.
    pub fn set_polling(&mut self, polling: bool) {
        self.polling = polling;
    }

    /// When the next pass begins, if nothing else happens; `None`: never.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if self.wanted {
            return Some(now);
        }
        let again = self.ended.filter(|_| self.row > 0 && !self.dirty.is_clean()).map(|ended| ended + self.pause());
        let heard = self.heard.map(|(first, last)| {
            let quiet = (last + self.spacing.debounce).min(first + self.spacing.debounce * limits::DEBOUNCE_PATIENCE);
            let spaced = self.begun.map_or(quiet, |begun| quiet.max(begun + self.spacing.interval));
            // After a failure, what is heard does not make the next try come sooner.
            again.map_or(spaced, |again| spaced.max(again))
        });
        let poll = self.ended.filter(|_| self.polling).map(|ended| ended + self.spacing.poll.max(self.pause()));
        let reconcile = self.looked_at_everything.zip(self.spacing.reconcile).map(|(looked, every)| looked + every);
        let reconcile = reconcile.map(|at| again.map_or(at, |again| at.max(again)));
        [heard, again, poll, reconcile].into_iter().flatten().min()
    }

    fn pause(&self) -> Duration {
        match self.row.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => (limits::PASS_PAUSE * (1 << doublings.min(16))).min(limits::PASS_PAUSE_MAX),
        }
    }

    /// A pass begins. What it looks at.
    pub fn begin(&mut self, now: Instant) -> Dirty {
        let stale =
            |every: Option<Duration>, since: Option<Instant>| every.zip(since).is_some_and(|(every, since)| now >= since + every);
        if stale(self.spacing.reconcile, self.looked_at_everything) || self.polling {
            self.dirty.mark_everything();
        }
        self.wanted = false;
        self.heard = None;
        self.begun = Some(now);
        self.under_way = std::mem::take(&mut self.dirty);
        self.under_way.clone()
    }

    /// The pass ended. What a failed one looked at stays to be looked at, as does what a partial one did; after a partial
    /// one over everything, the next look at everything is soon enough.
    pub fn end(&mut self, end: PassEnd, now: Instant) {
        let looked_at = std::mem::take(&mut self.under_way);
        let everything = looked_at.paths().is_none();
        self.ended = Some(now);
        if everything && end != PassEnd::Failed {
            self.looked_at_everything = Some(now);
        }
        let again = match end {
            PassEnd::Complete => false,
            PassEnd::Partial => !everything,
            PassEnd::Failed => true,
        };
        self.row = if again { self.row.saturating_add(1) } else { 0 };
        if again {
            self.dirty.merge(looked_at);
        }
    }

    /// Whether nothing was heard or wanted since the last pass began.
    pub fn is_quiet(&self) -> bool {
        self.heard.is_none() && !self.wanted
    }

    /// Since when something waits, if anything does.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.heard.map(|(first, _)| first).or_else(|| self.begun.filter(|_| !self.dirty.is_clean()))
    }
}

#[cfg(test)]
mod tests {
    use super::{PassEnd, Spacing, Trigger};
    use crate::runtime::{clock, limits};
    use crate::tree::{Dirty, RelPath};
    use std::time::{Duration, Instant};

    const DEBOUNCE: Duration = Duration::from_millis(300);
    const RECONCILE: Duration = Duration::from_secs(600);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn change(name: &str) -> Dirty {
        let mut dirty = Dirty::default();
        dirty.mark(RelPath::new(name).unwrap(), false);
        dirty
    }

    /// A trigger whose first pass ended at the returned instant.
    fn settled(interval: Duration) -> (Trigger, Instant) {
        let spacing = Spacing { debounce: DEBOUNCE, interval, reconcile: Some(RECONCILE), poll: secs(10) };
        let (mut trigger, now) = (Trigger::new(spacing), clock::now());
        assert_eq!(trigger.due(now), Some(now), "the first pass is due at once");
        assert_eq!(trigger.begin(now).paths(), None, "over everything");
        trigger.end(PassEnd::Complete, now);
        assert_eq!(trigger.due(now), Some(now + RECONCILE));
        (trigger, now)
    }

    #[test]
    fn a_pass_waits_until_it_is_quiet_but_not_for_ever() {
        let (mut trigger, start) = settled(Duration::ZERO);
        trigger.heard(change("a"), start + secs(5));
        assert_eq!(trigger.due(start), Some(start + secs(5) + DEBOUNCE));
        for tenth in 1..200 {
            trigger.heard(change("a"), start + secs(5) + Duration::from_millis(100) * tenth);
        }
        assert_eq!(trigger.due(start), Some(start + secs(5) + DEBOUNCE * limits::DEBOUNCE_PATIENCE));
        assert_eq!(trigger.begin(start + secs(8)), change("a"));
        assert!(trigger.is_quiet());
    }

    #[test]
    fn passes_keep_their_distance() {
        let (mut trigger, start) = settled(secs(60));
        trigger.heard(change("a"), start + secs(1));
        assert_eq!(trigger.due(start), Some(start + secs(60)));
        trigger.want();
        assert_eq!(trigger.due(start), Some(start), "unless somebody asks");
    }

    #[test]
    fn ticks_during_a_pass_become_one() {
        let (mut trigger, start) = settled(Duration::ZERO);
        trigger.begin(start + secs(1));
        assert!(trigger.want_everything());
        assert!(!trigger.want_everything());
        trigger.end(PassEnd::Complete, start + secs(2));
        assert_eq!(trigger.due(start + secs(2)), Some(start + secs(2)));
        assert_eq!(trigger.begin(start + secs(2)).paths(), None);
        trigger.end(PassEnd::Complete, start + secs(3));
        assert_eq!(trigger.due(start + secs(3)), Some(start + secs(3) + RECONCILE));
    }

    #[test]
    fn a_failed_pass_is_tried_again_after_growing_pauses_and_forgets_nothing() {
        let (mut trigger, mut now) = settled(Duration::ZERO);
        trigger.heard(change("a"), now);
        let mut pauses = Vec::new();
        for round in 0..12 {
            trigger.heard(change(&format!("b{round}")), now);
            now = trigger.due(now).unwrap();
            let looked_at = trigger.begin(now);
            assert!(looked_at.paths().unwrap().contains_key(&RelPath::new("a").unwrap()));
            assert_eq!(looked_at.paths().unwrap().len(), 2 + round);
            trigger.end(PassEnd::Failed, now);
            pauses.push(trigger.due(now).unwrap() - now);
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (limits::PASS_PAUSE, limits::PASS_PAUSE * 2, limits::PASS_PAUSE_MAX));
        trigger.begin(now);
        trigger.end(PassEnd::Complete, now);
        assert_eq!((trigger.is_quiet(), trigger.waiting_since()), (true, None));
    }

    #[test]
    fn what_a_partial_pass_left_is_looked_at_again_unless_it_was_everything() {
        let (mut trigger, now) = settled(Duration::ZERO);
        trigger.heard(change("a"), now);
        trigger.begin(now + secs(1));
        trigger.end(PassEnd::Partial, now + secs(1));
        assert_eq!(trigger.due(now), Some(now + secs(1) + limits::PASS_PAUSE));
        trigger.want_everything();
        trigger.begin(now + secs(2));
        trigger.end(PassEnd::Partial, now + secs(2));
        assert_eq!(trigger.due(now), Some(now + secs(2) + RECONCILE));
    }

    #[test]
    fn it_is_quiet_when_nothing_came_since_the_pass_began() {
        let (mut trigger, now) = settled(Duration::ZERO);
        assert!(trigger.is_quiet());
        trigger.heard(change("a"), now);
        assert!(!trigger.is_quiet());
        trigger.begin(now);
        trigger.end(PassEnd::Partial, now);
        assert!(trigger.is_quiet(), "what is left is known");
        trigger.want();
        assert!(!trigger.is_quiet());
        trigger.begin(now);
        trigger.heard(change("b"), now);
        trigger.end(PassEnd::Complete, now);
        assert!(!trigger.is_quiet(), "heard during the pass");
    }

    #[test]
    fn unheard_changes_are_found_by_polling() {
        let (mut trigger, now) = settled(Duration::ZERO);
        trigger.set_polling(true);
        assert_eq!(trigger.due(now), Some(now + secs(10)));
        assert_eq!(trigger.begin(now + secs(10)).paths(), None);
    }

    #[test]
    fn everything_is_looked_at_from_time_to_time() {
        let (mut trigger, start) = settled(Duration::ZERO);
        trigger.heard(change("a"), start + RECONCILE);
        assert_eq!(trigger.begin(start + RECONCILE).paths(), None, "the change is part of it");
    }
}
