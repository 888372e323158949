//! How long to wait between tries.

use super::limits;
use std::time::Duration;

/// Waits that double from [`limits::RETRY_WAIT`] to [`limits::RETRY_WAIT_MAX`], each shortened by a random part of
/// up to half, so that many clients do not knock together.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// A fresh sequence.
    pub fn new() -> Backoff {
        Backoff::default()
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = limits::RETRY_WAIT.saturating_mul(1 << self.tries.min(16));
        self.tries += 1;
        let whole = doubled.min(limits::RETRY_WAIT_MAX);
        whole.mul_f64(0.5 + 0.5 * random_share())
    }
}

/// A number in 0.0..1.0; not for secrets.
pub fn random_share() -> f64 {
    let mut bytes = [0u8; 4];
    // Without randomness the wait is merely not spread.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::{Backoff, limits};

    #[test]
    fn waits_grow_to_their_bound() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..20).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] >= limits::RETRY_WAIT / 2 && waits[0] <= limits::RETRY_WAIT);
        assert!(waits[19] >= limits::RETRY_WAIT_MAX / 2 && waits[19] <= limits::RETRY_WAIT_MAX);
    }
}
