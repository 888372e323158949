//! The integration tests: one binary, one module per subject.
#![allow(clippy::disallowed_methods, reason = "tests measure time and start what they test")]

mod admin;
mod adversary;
mod compat;
mod connect;
mod contention;
mod displaced;
mod engine;
mod faults;
mod fidelity;
mod golden;
mod handover;
mod hooks;
mod identity;
mod interop;
mod kills;
mod longlog;
mod machine;
mod manners;
mod model;
mod outside;
mod passes;
mod plain;
mod policies;
mod properties;
mod rclone_crypt;
mod refusals;
mod remotes;
mod rescue;
mod s3;
mod sidecar;
mod space;
mod sqlite;
mod tidy;
mod unfinished;
mod verbs;
