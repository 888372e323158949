//! The integration tests: one binary, one module per subject.
#![allow(clippy::disallowed_methods, reason = "tests measure time and start what they test")]

mod adversary;
mod engine;
mod golden;
mod longlog;
mod machine;
mod model;
mod properties;
mod rclone_crypt;
mod refusals;
mod s3;
mod tidy;
mod verbs;
