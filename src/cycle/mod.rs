//! When passes begin and how long the last one may take. Pure: instants come in, decisions go out; nothing here waits,
//! reads a clock or knows what a pass does.

mod drain;
mod schedule;
mod trigger;

pub use drain::Grace;
pub use schedule::{Schedule, ScheduleError};
pub use trigger::{PassEnd, Spacing, Trigger};
