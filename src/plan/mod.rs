//! Judgment: what has changed, and what may be done about it. Pure: nothing here reads, writes or waits, so that every
//! rule can be tested by calling it.

mod diff;
mod valves;

pub use diff::{Known, Side, Verdict, judge, side};
pub use valves::{
    Begun, DeleteSet, Deletes, HoldReason, PushFacts, Refusal, RestoreAction, RestoreFacts, Target, admit_deletes, admit_push,
    admit_restore, admit_target,
};
