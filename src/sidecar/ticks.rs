//! The schedule against the clocks of the process.

use crate::cycle::Schedule;
use crate::runtime::{clock, limits, random_share};
use std::time::{Duration, Instant};

/// Tells when the next tick is.
#[derive(Debug)]
pub struct Ticks {
    schedule: Schedule,
    jitter: Duration,
    /// The next tick, jitter included; by the wall clock where the schedule follows it.
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Monotonic(Instant),
    Wall(u64),
}

impl Ticks {
    /// The first tick comes after one wait from now.
    pub fn new(schedule: Schedule, jitter: Duration) -> Ticks {
        let mut ticks = Ticks { schedule, jitter, next: Next::Wall(0) };
        ticks.advance();
        ticks
    }

    fn advance(&mut self) {
        let wait = self.wait();
        self.next = if self.schedule.follows_the_wall() {
            Next::Wall(clock::wall_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
        } else {
            Next::Monotonic(clock::now() + wait)
        };
    }

    fn wait(&self) -> Duration {
        self.schedule.wait(clock::wall_ms()) + self.jitter.mul_f64(random_share())
    }

    /// Waits for a tick. Cancel-safe.
    pub async fn tick(&mut self) {
        while let Some(left) = self.left() {
            // The wall clock may be set while we sleep.
            clock::sleep(if self.schedule.follows_the_wall() { left.min(limits::WALL_LOOK) } else { left }).await;
        }
        self.advance();
    }

    /// The time to the next tick; `None`: it is now.
    fn left(&mut self) -> Option<Duration> {
        let left = match self.next {
            Next::Monotonic(at) => at.saturating_duration_since(clock::now()),
            Next::Wall(at) => {
                // After the clock was set back, the next tick is one of the new time.
                let now = clock::wall_ms();
                let again =
                    now.saturating_add(u64::try_from((self.schedule.wait(now) + self.jitter).as_millis()).unwrap_or(u64::MAX));
                self.next = Next::Wall(at.min(again));
                Duration::from_millis(at.min(again).saturating_sub(now))
            }
        };
        (!left.is_zero()).then_some(left)
    }
}
