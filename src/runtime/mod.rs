//! Time, waiting and bounds: the only room that reads clocks, spawns tasks or names limits.

mod child;
pub mod clock;
pub mod limits;
mod retry;
mod shutdown;
mod tasks;

pub use child::{Child, ChildError};
pub use retry::{Backoff, random_share};
pub use shutdown::{Signals, Stop, Stopped, listen_for_signals};
pub use tasks::{Closed, OrderedReceiver, OrderedSender, Tasks, compute, ordered, wait_blocking};
