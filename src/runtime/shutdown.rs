//! The wish to stop, passed to whatever waits.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// The process's SIGTERM and SIGINT.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Asked by the first signal.
    pub stop: Stop,
    second: Stop,
    second_is_heard: Arc<AtomicBool>,
}

impl Signals {
    /// From now on a second signal asks what is returned, instead of ending the process.
    pub fn hear_second(&self) -> Stop {
        self.second_is_heard.store(true, Ordering::SeqCst);
        self.second.clone()
    }

    fn arrived(&self) {
        if !self.stop.asked() {
            self.stop.ask();
        } else if self.second_is_heard.load(Ordering::SeqCst) {
            self.second.ask();
        } else {
            signal_hook::low_level::exit(9);
        }
    }
}

/// SIGTERM and SIGINT ask; a second signal ends the process at once with exit code 9 (what is committed is safe, and
/// the next run continues), unless somebody [hears](Signals::hear_second) it.
pub fn listen_for_signals() -> std::io::Result<Signals> {
    let mut arrived = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let signals = Signals::default();
    let told = signals.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || arrived.forever().for_each(|_| told.arrived()))?;
    Ok(signals)
}
