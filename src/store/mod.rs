//! (room)

mod config;

pub use config::{RemoteConfig, S3Config};
