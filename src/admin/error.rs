//! What goes wrong between a sidecar and whoever watches it.

use crate::contract::control::ControlError;
use crate::fault::{Fault, Kind};
use std::time::Duration;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The kernel refused.
    #[error("{action} '{path}': {cause}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// Something else lies where the socket belongs.
    #[error("'{path}' is not a socket: it is left alone")]
    NotASocket {
        /// Where.
        path: String,
    },
    /// Another process listens there.
    #[error("another process listens on the control socket '{path}'")]
    InUse {
        /// Where.
        path: String,
    },
    /// No directory took the socket.
    #[error("there is no place for the control socket: {tried}")]
    NoPlace {
        /// Each place with what is wrong with it.
        tried: String,
    },
    /// No process listens.
    #[error("no sidecar listens on {tried}")]
    NobodyListens {
        /// Where it was looked for.
        tried: String,
    },
    /// The listening process did not answer.
    #[error("the sidecar at '{path}' did not answer within {} s", waited.as_secs())]
    NoAnswer {
        /// Where it listens.
        path: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A line is not understood.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The health address cannot be used.
    #[error("listening on {address}: {cause}")]
    Listen {
        /// The address.
        address: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// The process that a pid file names is not told to stop.
    #[error("the pid file '{path}' {problem}")]
    PidFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl AdminError {
    /// Whether nothing listens: another place may be tried, or another way.
    pub fn is_nobody(&self) -> bool {
        matches!(self, AdminError::NobodyListens { .. })
    }
}

impl Fault for AdminError {
    fn kind(&self) -> Kind {
        match self {
            AdminError::Kernel { .. } | AdminError::NoPlace { .. } | AdminError::PidFile { .. } => Kind::Volume,
            AdminError::NotASocket { .. } | AdminError::Listen { .. } => Kind::Usage,
            AdminError::InUse { .. } => Kind::Refused,
            AdminError::NobodyListens { .. } | AdminError::NoAnswer { .. } => Kind::Unavailable,
            AdminError::Control(_) => Kind::Unfinished,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            AdminError::NotASocket { .. } => "name another path with --socket or VSC_SOCKET",
            AdminError::InUse { .. } => "each sidecar needs a socket of its own: name another path with --socket or VSC_SOCKET",
            AdminError::NoPlace { .. } => "mount a directory at /run/vsc, or name a path with --socket or VSC_SOCKET",
            AdminError::NobodyListens { .. } => "if it runs, name its socket with --socket or VSC_SOCKET, or its volume with -s",
            AdminError::Listen { .. } => "choose an address that is free and that this user may listen on",
            _ => return None,
        };
        Some(text.to_string())
    }
}
