//! The wish to stop, passed to whatever waits.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

/// Says whether the process was asked to stop. Cheap to clone; clones share one wish.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
}

/// The wait ended because the process was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Stopped;

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks.
    pub fn ask(&self) {
        self.token.cancel();
    }

    /// Whether somebody asked.
    pub fn asked(&self) -> bool {
        self.token.is_cancelled()
    }

    /// `Err` once somebody asked.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.asked() { Err(Stopped) } else { Ok(()) }
    }

    /// Waits until somebody asks. Cancel-safe.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Runs a future until it ends or somebody asks; the future is dropped then, so it must be cancel-safe.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(Stopped),
            done = work => Ok(done),
        }
    }
}

/// SIGTERM and SIGINT ask; a second signal ends the process at once with exit code 9 (what is committed is safe, and
/// the next run continues).
pub fn listen_for_signals(stop: &Stop) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    let seen = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            if seen.fetch_add(1, Ordering::SeqCst) > 0 {
                signal_hook::low_level::exit(9);
            }
            stop.ask();
        }
    })?;
    Ok(())
}
