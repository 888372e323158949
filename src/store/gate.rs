//! How many requests a store gets at once: all that are wanted, until it asks for patience.
//!
//! A store that is overloaded says so, or falls silent. Then half as many go at once, and one more for each round of
//! successes. Requests that were under way when the number was lowered say nothing new.

use crate::runtime::{clock, limits};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The way in to one store.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that may be under way at once.
    allowed: usize,
    under_way: usize,
    /// Successes since the number changed.
    successes: usize,
    lowered: Option<Instant>,
    /// The store wants to hear nothing before.
    quiet_until: Option<Instant>,
    progress: Option<Instant>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The store answered.
    Answered,
    /// The store asks for patience, for so long if it says how long, or did not answer in time.
    Busy(Option<Duration>),
    /// Nothing that says how the store is.
    Unknown,
}

/// One request's right to be under way.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    since: Instant,
}

impl Gate {
    pub(super) fn new() -> Arc<Gate> {
        let state = State {
            allowed: limits::REQUESTS_AT_ONCE,
            under_way: 0,
            successes: 0,
            lowered: None,
            quiet_until: None,
            progress: None,
        };
        Arc::new(Gate { state: Mutex::new(state), freed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the store last answered.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.state().progress
    }

    /// Waits for a place. Cancel-safe.
    pub(super) async fn enter(self: &Arc<Gate>) -> Pass {
        loop {
            // Registered before the look, so that no place is freed unnoticed in between.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let quiet = match self.state().enter(clock::now()) {
                Ok(has_room) => {
                    if has_room {
                        self.freed.notify_one();
                    }
                    return Pass { gate: Arc::clone(self), since: clock::now() };
                }
                Err(quiet) => quiet,
            };
            match quiet {
                Some(wait) => {
                    // The wake-up that led here is passed on: a sleeper that is dropped would take it along, and the next
                    // one in the queue would wait for ever.
                    self.freed.notify_one();
                    clock::sleep(wait).await;
                }
                None => freed.await,
            }
        }
    }
}

impl Pass {
    /// Says how the request ended.
    pub(super) fn ended(self, end: End) {
        self.gate.state().learn(end, self.since, clock::now());
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().under_way -= 1;
        self.gate.freed.notify_one();
    }
}

impl State {
    /// Takes a place and says whether there is another; else how long to wait, or that a place must become free.
    fn enter(&mut self, now: Instant) -> Result<bool, Option<Duration>> {
        if let Some(until) = self.quiet_until.filter(|until| *until > now) {
            return Err(Some(until.duration_since(now)));
        }
        if self.under_way >= self.allowed {
            return Err(None);
        }
        self.under_way += 1;
        Ok(self.under_way < self.allowed)
    }

    fn learn(&mut self, end: End, since: Instant, now: Instant) {
        match end {
            End::Unknown => {}
            End::Answered => {
                self.progress = Some(now);
                self.successes += 1;
                if self.successes >= self.allowed {
                    (self.allowed, self.successes) = ((self.allowed + 1).min(limits::REQUESTS_AT_ONCE), 0);
                }
            }
            End::Busy(wait) => {
                if let Some(wait) = wait {
                    self.quiet_until = self.quiet_until.max(Some(now + wait.min(limits::RETRY_AFTER_CAP)));
                }
                if self.lowered.is_none_or(|lowered| since >= lowered) {
                    // What was not used was never proven to be too much.
                    self.allowed = (self.allowed.min(self.under_way) / 2).max(1);
                    (self.lowered, self.successes) = (Some(now), 0);
                    tracing::debug!(at_once = self.allowed, "the store asks for patience");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate_with(under_way: usize) -> (Arc<Gate>, Vec<Pass>) {
        let gate = Gate::new();
        let passes = (0..under_way).map(|_| {
            gate.state().enter(clock::now()).expect("room");
            Pass { gate: Arc::clone(&gate), since: clock::now() }
        });
        let passes = passes.collect();
        (gate, passes)
    }

    #[test]
    fn one_round_of_refusals_halves_the_number_once() {
        let (gate, passes) = gate_with(32);
        passes.into_iter().for_each(|pass| pass.ended(End::Busy(None)));
        assert_eq!(gate.state().allowed, 16);
        let later = clock::now();
        gate.state().under_way = 16;
        gate.state().learn(End::Busy(None), later, later);
        assert_eq!(gate.state().allowed, 8);
        gate.state().under_way = 1;
        for _ in 0..9 {
            let later = clock::now();
            gate.state().learn(End::Busy(None), later, later);
        }
        assert_eq!(gate.state().allowed, 1, "one always goes");
    }

    #[test]
    fn each_round_of_successes_adds_one() {
        let gate = Gate::new();
        let now = clock::now();
        let mut state = gate.state();
        state.allowed = 2;
        for (successes, allowed) in [(1, 2), (1, 3), (2, 3), (1, 4), (10_000, limits::REQUESTS_AT_ONCE)] {
            (0..successes).for_each(|_| state.learn(End::Answered, now, now));
            assert_eq!(state.allowed, allowed);
        }
        assert_eq!(state.progress, Some(now));
    }

    #[tokio::test]
    async fn nobody_enters_while_the_store_wants_quiet_and_all_that_may_do_then() {
        let (gate, mut passes) = gate_with(4);
        let began = clock::now();
        passes.pop().expect("one").ended(End::Busy(Some(Duration::from_millis(200))));
        drop(passes);
        let (one, two) = futures::join!(gate.enter(), gate.enter());
        assert!(clock::now().duration_since(began) >= Duration::from_millis(200));
        // Two are allowed: the third waits until one goes.
        let third = super::super::http::within(Duration::from_millis(50), gate.enter()).await;
        assert!(third.is_none());
        drop(one);
        gate.enter().await.ended(End::Unknown);
        drop(two);
    }

    #[tokio::test]
    async fn who_is_dropped_in_its_sleep_takes_no_wake_up_along() {
        let (gate, mut passes) = gate_with(1);
        gate.state().allowed = 1;
        let (mut one, mut two) = (Box::pin(gate.enter()), Box::pin(gate.enter()));
        assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut two).is_pending());
        passes.pop().expect("one").ended(End::Busy(Some(Duration::from_millis(50))));
        assert!(futures::poll!(&mut one).is_pending(), "it is woken, and sleeps as long as the store wants quiet");
        drop(one);
        let entered = super::super::http::within(Duration::from_secs(10), two).await;
        assert!(entered.is_some(), "the place is free and nobody takes it");
    }

    #[test]
    fn a_store_cannot_silence_us_for_ever() {
        let (gate, mut passes) = gate_with(1);
        passes.pop().expect("one").ended(End::Busy(Some(Duration::from_secs(1 << 40))));
        let wait = gate.state().enter(clock::now()).expect_err("quiet").expect("a time");
        assert!(wait <= limits::RETRY_AFTER_CAP, "{wait:?}");
    }
}
