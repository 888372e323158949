//! How a running sidecar is watched and told: its health, a page for probes and Prometheus, and the control socket with
//! both of its ends. It passes wishes on to the loop and never fulfils one itself; what it says over HTTP is made of
//! fixed words and numbers, since anybody in the cluster may read that.

mod accept;
mod client;
mod error;
mod health;
mod pid;
mod place;
mod socket;
mod web;

pub use accept::accept_until;
pub use client::{ask, ask_any};
pub use error::AdminError;
pub use health::{Ended, Health, HealthRules, Ignored, IgnoredError, Unwell};
pub use pid::{PidFile, terminate};
pub use socket::{Command, ControlSocket, Wish, Wishes, wishes};
pub use web::{Page, Web, listen, respond};
