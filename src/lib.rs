//! Keeps a Pod's directory in an object store: restored before the application starts, pushed end-to-end encrypted
//! while it runs.
//!
//! The rooms, from the ground up; a room uses only rooms above it in this list (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Ground.
pub mod contract;
pub mod fault;
pub mod runtime;
pub mod secret;
// Words and time.
pub mod telemetry;
pub mod tree;
// Hands and judgment.
pub mod admin;
pub mod cycle;
pub mod disk;
pub mod plan;
pub mod seal;
pub mod store;
// Forms.
pub mod plain;
pub mod rclone_crypt;
pub mod vault;
// What lies at the remote.
pub mod remote;
// Motions: one pass each.
pub mod push;
pub mod restore;
// What stays while the Pod lives.
pub mod sidecar;
// What stands beside the Pods.
pub mod operator;
// Doors.
pub mod cli;
pub mod config;
