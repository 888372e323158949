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
    pub fn spawn_work(&mut self, work: impl FnOnce() -> T + Send + 'static) {
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

/// Waits for a future on a thread of the blocking pool.
pub fn wait_blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

/// Computations that run on the blocking pool side by side and are taken in the order in which they were started. At
/// most `bound` are started and not yet taken. For use between blocking threads.
pub fn ordered<T: Send + 'static>(bound: usize) -> (OrderedSender<T>, OrderedReceiver<T>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(bound);
    (OrderedSender { sender }, OrderedReceiver { receiver })
}

/// Starts computations of an [`ordered`] pair.
#[derive(Debug)]
pub struct OrderedSender<T> {
    sender: tokio::sync::mpsc::Sender<tokio::sync::oneshot::Receiver<T>>,
}

/// Takes the results of an [`ordered`] pair.
#[derive(Debug)]
pub struct OrderedReceiver<T> {
    receiver: tokio::sync::mpsc::Receiver<tokio::sync::oneshot::Receiver<T>>,
}

/// The other side is gone: it failed, and its error is the one to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the next stage has stopped")]
pub struct Closed;

impl<T: Send + 'static> OrderedSender<T> {
    /// Starts a computation; blocks while too many are under way.
    pub fn start(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<(), Closed> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.sender.blocking_send(result).map_err(|_| Closed)?;
        tokio::task::spawn_blocking(move || {
            // A receiver that is gone no longer wants the result.
            let _ = done.send(work());
        });
        Ok(())
    }

    /// Puts a finished result into the order.
    pub fn put(&self, value: T) -> Result<(), Closed> {
        let (done, result) = tokio::sync::oneshot::channel();
        let _ = done.send(value);
        self.sender.blocking_send(result).map_err(|_| Closed)
    }
}

impl<T> OrderedReceiver<T> {
    /// The next result in order; blocks for it. `None` when the sender is gone.
    ///
    /// # Panics
    /// When the computation panicked.
    pub fn take_next(&mut self) -> Option<T> {
        let result = self.receiver.blocking_recv()?;
        Some(result.blocking_recv().expect("a computation ends with its result unless it panicked"))
    }
}
