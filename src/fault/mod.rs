//! What went wrong, told twice: to the caller as a [`Kind`] (what to do about it) and to a person as a [`Report`]
//! (message, causes, hint). This room knows nothing of what the program does.

mod kind;
mod report;

pub use kind::Kind;
pub use report::{Fault, Report};
