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
        let (now, wall_ms) = (clock::now(), clock::wall_ms());
        let mut ticks = Ticks { schedule, jitter, next: Next::Monotonic(now) };
        ticks.advance(now, wall_ms);
        ticks
    }

    fn advance(&mut self, now: Instant, wall_ms: u64) {
        let wait = self.schedule.wait(wall_ms) + self.jitter.mul_f64(random_share());
        self.next = if self.schedule.follows_the_wall() { Next::Wall(later(wall_ms, wait)) } else { Next::Monotonic(now + wait) };
    }

    /// Waits for a tick. Cancel-safe.
    pub async fn tick(&mut self) {
        while let Some(left) = self.left(clock::now(), clock::wall_ms()) {
            // The wall clock may be set while we sleep.
            clock::sleep(if self.schedule.follows_the_wall() { left.min(limits::WALL_LOOK) } else { left }).await;
        }
        self.advance(clock::now(), clock::wall_ms());
    }

    /// The time to the next tick; `None`: it is now.
    fn left(&mut self, now: Instant, wall_ms: u64) -> Option<Duration> {
        let left = match self.next {
            Next::Monotonic(at) => at.saturating_duration_since(now),
            Next::Wall(at) => {
                // After the clock was set back, the next tick is one of the new time.
                let at = at.min(later(wall_ms, self.schedule.wait(wall_ms) + self.jitter));
                self.next = Next::Wall(at);
                Duration::from_millis(at.saturating_sub(wall_ms))
            }
        };
        (!left.is_zero()).then_some(left)
    }
}

fn later(wall_ms: u64, wait: Duration) -> u64 {
    wall_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Ticks;
    use crate::runtime::clock;
    use std::time::Duration;

    const HOUR: u64 = 3_600_000;
    /// Ten o'clock of some day.
    const TEN: u64 = 86_400_000 * 20_000 + 10 * HOUR;

    fn ticks(schedule: &str, jitter: Duration) -> Ticks {
        let mut ticks = Ticks::new(schedule.parse().unwrap(), jitter);
        ticks.advance(clock::now(), TEN);
        ticks
    }

    #[test]
    fn a_schedule_by_the_wall_follows_a_clock_that_is_set() {
        let now = clock::now();
        let mut ticks = ticks("TZ=UTC 0 * * * *", Duration::ZERO);
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(ticks.left(now, TEN + HOUR / 4), minutes(45));
        assert_eq!(ticks.left(now, TEN - 30 * HOUR + HOUR / 2), minutes(30), "set back by more than a day");
        assert_eq!(ticks.left(now, TEN - 29 * HOUR), None, "its tick");
        ticks.advance(now, TEN - 29 * HOUR);
        assert_eq!(ticks.left(now, TEN - 29 * HOUR), minutes(60), "one tick for each time");
        assert_eq!(ticks.left(now, TEN + 500 * HOUR + 1), None, "set forward, what was missed is one tick");
        ticks.advance(now, TEN + 500 * HOUR + HOUR / 2);
        assert_eq!(ticks.left(now, TEN + 500 * HOUR + HOUR / 2), minutes(30));
    }

    #[test]
    fn an_interval_does_not_care_about_the_wall() {
        let now = clock::now();
        let mut ticks = ticks("@every 1h", Duration::ZERO);
        let begun = ticks.left(now, TEN).unwrap();
        for wall_ms in [TEN - 1000 * HOUR, 0, TEN + 1000 * HOUR, u64::MAX] {
            assert_eq!(ticks.left(now, wall_ms), Some(begun));
        }
        assert_eq!(ticks.left(now + begun, TEN), None);
    }

    #[test]
    fn jitter_makes_a_tick_later_and_takes_none_away() {
        let now = clock::now();
        for _ in 0..50 {
            let mut ticks = ticks("TZ=UTC 0 * * * *", Duration::from_secs(600));
            let at = TEN + u64::try_from(ticks.left(now, TEN).unwrap().as_millis()).unwrap();
            assert!((TEN + HOUR..TEN + HOUR + 600_000).contains(&at), "{at}");
            // Looked at after the hour and before its own time, it is still this hour's tick.
            let left = ticks.left(now, at - 1);
            assert_eq!(left, Some(Duration::from_millis(1)));
            assert_eq!(ticks.left(now, at), None);
        }
    }
}
