//! Flags that make a push stay: when its passes begin, how it is watched and how it ends.

use crate::admin::Ignored;
use crate::config::{WordError, parse_listen, parse_span};
use crate::contract::control::PID_PATH;
use crate::contract::env;
use crate::cycle::Schedule;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// When passes begin.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sidecar")]
pub struct Sidecar {
    /// Stay, and push at these times: '@every 5m', '*/5 * * * *', '0 30 * * * *' (seconds first), '@hourly'
    ///
    /// `TZ=Europe/Warsaw ` before it names a time zone. The first pass begins at once. Ticks during a pass become one pass after it.
    #[arg(long, value_name = "WHEN")]
    pub schedule: Option<Schedule>,
    /// Stay, and push what changes soon after it changed, but no more often than MIN_INTERVAL (10s, 5m; a number: minutes)
    #[arg(long, value_name = "MIN_INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    #[arg(value_parser = parse_minutes)]
    pub fsnotify: Option<Duration>,
    /// Each scheduled pass begins later by a random part of this
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse_span)]
    pub jitter: Duration,
    /// With --fsnotify: a pass begins when nothing has changed for this long
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = parse_span)]
    pub debounce: Duration,
    /// With --fsnotify: everything is looked at this often, whatever was heard; 0: never
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_span)]
    pub reconcile: Duration,
    /// With --fsnotify: everything is looked at this often (at most each second) where changes cannot be heard
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_span)]
    pub poll: Duration,
    /// The Pod's terminationGracePeriodSeconds: the last push ends before it is over
    #[arg(long, env = env::VSC_TERMINATION_GRACE_SECONDS, value_name = "SECONDS", default_value = "30")]
    #[arg(value_parser = parse_seconds)]
    pub grace: Duration,
    /// The file with the container's termination message
    #[arg(long, value_name = "PATH", default_value_os_t = crate::sidecar::usual_place())]
    pub termination_log: PathBuf,
    /// Answer probes and Prometheus (/healthz, /readyz, /metrics) at this address, for instance :9327
    #[arg(long, env = env::VSC_HEALTH_ADDR, value_name = "ADDRESS", value_parser = parse_listen)]
    pub health_addr: Option<SocketAddr>,
    /// Unwell after this many failed passes in a row; 0: never
    #[arg(long, value_name = "N", default_value = "5")]
    pub health_failures: u32,
    /// Failures that do not count: unavailable, denied, or both with a comma between them
    #[arg(long, value_name = "CLASSES", default_value = "")]
    pub health_ignore: Ignored,
    /// Unwell when the loop has said nothing for this long, beside the time that hooks may take; 0: never
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_span)]
    pub health_stall: Duration,
    /// The control socket [default: control.sock in the state directory, in /run/vsc, or in .vsc of the directory]
    #[arg(long, env = env::VSC_SOCKET, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// A file for the process id, as the predecessor kept it [default: /run/volume-syncing-controller.pid, if it can be made]
    #[arg(long, value_name = "PATH")]
    pub pid_path: Option<PathBuf>,
}

impl Sidecar {
    /// Whether the process stays.
    pub fn stays(&self) -> bool {
        self.schedule.is_some() || self.fsnotify.is_some()
    }

    /// The pid file, and whether it was asked for.
    pub fn pid_file(&self) -> (PathBuf, bool) {
        (self.pid_path.clone().unwrap_or_else(|| PID_PATH.into()), self.pid_path.is_some())
    }
}

/// A duration, or minutes as the predecessor's `maxOneSyncPerMinutes` counts them.
fn parse_minutes(text: &str) -> Result<Duration, WordError> {
    parse_span_or_number(text, Duration::from_secs(60))
}

/// A duration, or seconds as Kubernetes counts them.
fn parse_seconds(text: &str) -> Result<Duration, WordError> {
    parse_span_or_number(text, Duration::from_secs(1))
}

fn parse_span_or_number(text: &str, unit: Duration) -> Result<Duration, WordError> {
    match text.trim().parse::<u32>() {
        Ok(number) => Ok(unit * number),
        Err(_) => parse_span(text),
    }
}
