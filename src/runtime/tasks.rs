//! The only place that spawns.

use std::fmt;
use tokio::task::{JoinError, JoinSet};

/// Named tasks of one motion, joined together. Dropping the set aborts what still runs.
pub struct Tasks<T> {
    set: JoinSet<T>,
    name: &'static str,
}

impl<T: Send + 'static> Tasks<T> {
    /// An empty set; the name appears when one of its tasks panics.
    pub fn new(name: &'static str) -> Tasks<T> {
        Tasks { set: JoinSet::new(), name }
    }

    /// Starts a task.
    pub fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.set.spawn(work);
    }

    /// Starts work that computes or blocks, on the blocking pool.
    pub fn spawn_blocking(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        self.set.spawn_blocking(work);
    }

    /// Tasks not yet joined.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether all are joined.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The next result, in order of completion; `None` when none is left. Cancel-safe. A panic goes on here.
    pub async fn next(&mut self) -> Option<T> {
        let joined = self.set.join_next().await?;
        Some(unwrap(self.name, joined))
    }
}

impl<T> fmt::Debug for Tasks<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tasks({})", self.name)
    }
}

/// Runs work that computes or blocks on the blocking pool and waits for it. The work itself cannot be cancelled:
/// dropping the future leaves it running to its end.
pub async fn compute<T: Send + 'static>(name: &'static str, work: impl FnOnce() -> T + Send + 'static) -> T {
    unwrap(name, tokio::task::spawn_blocking(work).await)
}

fn unwrap<T>(name: &str, joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("task '{name}' was cancelled outside its set: {error}"),
    }
}
