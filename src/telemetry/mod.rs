//! What a person sees while the program works: log lines, progress, amounts in words. Never secrets, and never the only
//! trace of an error.

mod amounts;
mod log;
mod progress;

pub use amounts::{bytes, count, moment, span};
pub use log::{LogFilter, LogFilterError, start_log};
pub use progress::{Progress, ProgressMode};
