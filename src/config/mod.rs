//! What a person said, checked: the process environment, `-p key=value` parameters, the rclone configuration that
//! `--no-template` names, and the small languages of flag values (booleans, durations, points in time).
//!
//! The only room that reads environment variables. Everything is a function of an [`Environment`], so that a test
//! passes a map. All mistakes are reported together; no message and no `Debug` ever holds a secret.

mod at;
mod check;
mod environment;
mod heartbeat;
mod local;
mod mistakes;
mod raw;
mod rclone_crypt;
mod rclone_file;
mod remote;
mod reporting;
mod s3;
mod served;
mod unlock;
mod words;

pub use at::{At, AtError, parse_at};
pub use environment::Environment;
pub use heartbeat::read_heartbeat;
pub use local::is_same_path;
pub use mistakes::{ConfigError, Mistake};
pub use rclone_crypt::{RcloneCryptOptions, names_rclone_crypt, read_encrypted_path, read_rclone_crypt};
pub use remote::{RemoteOptions, read_remote};
pub use reporting::read_reporting;
pub use unlock::{KeySource, Unlock, read_new_key, read_unlock};
pub use words::{WordError, parse_boolean, parse_listen, parse_span};
