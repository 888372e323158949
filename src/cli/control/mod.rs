//! `health` and `interrupt`: what probes and hooks run beside a sidecar. Both end soon, whatever state it is in.

pub mod args;

use self::args::{Health, Interrupt};
use super::Verdict;
use super::out::stdout;
use crate::admin::{AdminError, ask_any, terminate};
use crate::contract::control::Request;
use crate::fault::{Fault, Report};
use crate::runtime::{Stop, limits};

/// What a probe or a hook takes for "no".
const NO: u8 = 1;

/// Says whether all is well, in one line: the exit code is 0 or 1, also when there is nobody to ask.
pub async fn health(args: &Health, stop: &Stop) -> Verdict {
    let request = Request::Health { check: args.check.into() };
    let asked = stop.or(ask_any(&args.socket.paths(), &request, limits::CONTROL_TIMEOUT)).await;
    match asked {
        Ok(Ok(reply)) => tell(&reply.message, reply.exit),
        Ok(Err(error)) => tell(&in_words(error), NO),
        Err(stopped) => tell(&stopped.to_string(), NO),
    }
}

/// Says that the Pod is being terminated.
pub async fn interrupt(args: &Interrupt, stop: &Stop) -> Verdict {
    let patience = if args.wait { limits::INTERRUPT_WAIT } else { limits::CONTROL_TIMEOUT };
    let request = Request::Interrupt { wait: args.wait };
    match stop.or(ask_any(&args.socket.paths(), &request, patience)).await {
        Ok(Ok(reply)) => tell(&reply.message, reply.exit),
        Ok(Err(error)) if error.is_nobody() => match terminate(&args.pid_path) {
            Ok(pid) => tell(&format!("{error}; sent SIGTERM to process {pid}"), 0),
            Err(other) => tell(&format!("{}; {other}", in_words(error)), NO),
        },
        Ok(Err(error)) => tell(&in_words(error), NO),
        Err(stopped) => tell(&stopped.to_string(), NO),
    }
}

fn in_words(error: AdminError) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

/// On standard output, which the kubelet shows for probes and hooks alike.
fn tell(message: &str, exit: u8) -> Result<u8, Report> {
    let mut out = stdout();
    out.line(message)?;
    out.finish()?;
    Ok(exit)
}
