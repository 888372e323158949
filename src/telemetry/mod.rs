//! What a person sees while the program works: log lines, progress, amounts in words, metrics. Never secrets, and never the only
//! trace of an error.

mod admission;
mod amounts;
mod controller;
mod log;
mod metrics;
mod process;
mod progress;

pub use admission::{Certificate, OperatorMetrics, Refuse, Skip, Verdict};
pub use amounts::{bytes, count, moment, span};
pub use controller::{ControllerMetrics, Reported, Unwritten};
pub use log::{LogFilter, LogFilterError, start_log};
pub use metrics::{Direction, FinalPass, Gauges, METRICS_TYPE, Metrics, Operation};
pub use progress::{Progress, ProgressMode};
