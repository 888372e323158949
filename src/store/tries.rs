//! How often and for how long a request is tried again.

use super::error::{Asked, StoreError, or_stopped};
use super::{Backend, Bucket};
use crate::runtime::{Backoff, Stop, clock, limits};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The tries of one operation.
#[derive(Debug)]
pub struct Tries {
    backoff: Backoff,
    began: Instant,
    count: u32,
}

impl Default for Tries {
    fn default() -> Tries {
        Tries { backoff: Backoff::new(), began: clock::now(), count: 0 }
    }
}

impl Tries {
    /// How many failed.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl Bucket {
    /// Tries until it succeeds, fails for good, or the tries or the time are used up.
    pub(super) async fn tries<T, F>(&self, stop: &Stop, asked: &Asked, mut once: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut tries = Tries::default();
        loop {
            // Boxed: the code of all stores together is far larger than what surrounds it, and would be part of every caller.
            match or_stopped(stop.or(Box::pin(once())).await, asked) {
                Err(error) if error.is_temporary() => self.pause(stop, asked, &mut tries, error).await?,
                outcome => return outcome,
            }
        }
    }

    /// Goes on behind what was `reached` after an attempt that failed; progress gives all tries back.
    pub(super) async fn walk_on(
        &self,
        stop: &Stop,
        asked: &Asked,
        mut reached: Option<String>,
        mut walk: impl AsyncFnMut(&mut Option<String>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut tries = Tries::default();
        loop {
            let before = reached.clone();
            match or_stopped(stop.or(walk(&mut reached)).await, asked) {
                Err(error) if error.is_temporary() => {
                    if reached != before {
                        tries = Tries::default();
                    }
                    self.pause(stop, asked, &mut tries, error).await?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits for the next try, or gives up with the error of the last one.
    pub(super) async fn pause(&self, stop: &Stop, asked: &Asked, tries: &mut Tries, error: StoreError) -> Result<(), StoreError> {
        let Some(wait) = self.next_wait(tries, &error) else { return Err(error.after(tries.count)) };
        stop.or(clock::sleep(wait)).await.map_err(|_| StoreError::Stopped(Box::new(asked.clone())))?;
        self.inner.meter.retried.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How long to wait after a try that failed so; nothing when that was the last. A store that asks for patience is
    /// given it for as long as it carries out other requests, or may do so again.
    pub fn next_wait(&self, tries: &mut Tries, error: &StoreError) -> Option<Duration> {
        let progress = match &self.inner.backend {
            Backend::S3(s3) => s3.progress(),
            Backend::Served(served) => served.progress(),
            Backend::Files(_) | Backend::Local(_) | Backend::Memory(_) => None,
        };
        let wait = tries.backoff.next_wait();
        tries.count += 1;
        let idle = clock::now().duration_since(progress.map_or(tries.began, |progress| progress.max(tries.began))) + wait;
        (!is_enough(tries.count, idle, error)).then_some(wait)
    }
}

/// Whether `count` tries, the last of which failed so, are enough: the store carried out nothing for that long when the
/// next one begins.
fn is_enough(count: u32, idle: Duration, error: &StoreError) -> bool {
    let most = if error.is_busy() { limits::BUSY_TRIES } else { limits::REQUEST_TRIES };
    count >= most || idle > limits::REQUEST_DEADLINE
}

#[cfg(test)]
mod tests {
    use super::super::error::Act;
    use super::*;

    #[test]
    fn a_busy_store_is_given_more_time_but_not_for_ever() {
        let asked = Asked { act: Act::Get, key: "k".into(), place: "s3://b".into() };
        let error = |busy| StoreError::unavailable(&asked, "words", true).of_busy(busy);
        let ambiguous = StoreError::Ambiguous(Box::new(error(true)));
        let seconds = Duration::from_secs;
        for (count, idle, error, enough) in [
            (7, 30, error(false), false),
            (8, 30, error(false), true),
            (8, 30, error(true), false),
            (8, 30, ambiguous, false),
            (39, 119, error(true), false),
            (9, 121, error(true), true),
            (40, 1, error(true), true),
        ] {
            assert_eq!(is_enough(count, seconds(idle), &error), enough, "{count} tries, {idle} s, {error}");
        }
    }
}
