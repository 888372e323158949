//! Arguments of the verbs that ask a running sidecar.

use crate::config::parse_boolean;
use crate::contract::control::{self, PID_PATH, socket_paths};
use crate::contract::env;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where the sidecar listens.
#[derive(Debug, Args)]
pub struct Socket {
    /// The sidecar's control socket [default: control.sock in the state directory, in /run/vsc, or in .vsc of the directory]
    #[arg(long, env = env::VSC_SOCKET, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The state directory of the sidecar, if it was given one
    #[arg(long, env = env::STATE_DIR, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The directory that the sidecar pushes
    #[arg(short = 's', long, value_name = "DIR")]
    pub src: Option<PathBuf>,
}

impl Socket {
    /// Where to look for it.
    pub fn paths(&self) -> Vec<PathBuf> {
        socket_paths(self.socket.as_deref(), self.state_dir.as_deref(), self.src.as_deref())
    }
}

/// `health`
#[derive(Debug, Args)]
pub struct Health {
    /// What to ask for
    #[arg(long, value_enum, value_name = "WHAT", default_value = "sync")]
    pub check: Check,
    /// Where the sidecar listens.
    #[command(flatten)]
    pub socket: Socket,
}

/// In which respect all may be well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Not too many passes failed in a row, and if too many did, a complete one came after them
    Sync,
    /// The sidecar's loop advances
    Stall,
    /// A first pass has finished
    Ready,
    /// Sync and stall together, as /healthz: for liveness probes
    Live,
}

impl From<Check> for control::Check {
    fn from(check: Check) -> control::Check {
        match check {
            Check::Sync => control::Check::Sync,
            Check::Stall => control::Check::Stall,
            Check::Ready => control::Check::Ready,
            Check::Live => control::Check::Live,
        }
    }
}

/// `interrupt`
#[derive(Debug, Args)]
pub struct Interrupt {
    /// Return when nothing is left to push or the time is over, instead of at once
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub wait: bool,
    /// Where no socket answers: send SIGTERM to the process that this file names, if it is this program
    #[arg(short = 'p', long, value_name = "PATH", default_value = PID_PATH)]
    pub pid_path: PathBuf,
    /// Where the sidecar listens.
    #[command(flatten)]
    pub socket: Socket,
}
