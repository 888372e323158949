//! The integration tests: one binary, one module per subject.
#![allow(clippy::disallowed_methods, reason = "tests measure time and start what they test")]

mod adversary;
mod connect;
mod displaced;
mod engine;
mod fidelity;
mod golden;
mod longlog;
mod machine;
mod model;
mod outside;
mod properties;
mod refusals;
mod s3;
mod tidy;
mod unfinished;
mod verbs;
