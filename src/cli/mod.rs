//! The verbs: what a person typed becomes one call of a room below, and its outcome becomes words and an exit code.

mod args;
mod check;
mod doctor;
mod frame;
mod key;
mod look;
mod sync;

pub use args::Cli;

use self::args::{Command, Key};
use self::frame::{Frame, print};
use crate::fault::{Kind, Report};
use crate::runtime::{Stop, listen_for_signals};
use crate::telemetry::start_log;
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// Runs the program; the exit codes are those of [`Kind::exit_code`].
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match &cli.command {
        Command::SyncToRemote(args) if args.verbose => cli.log_level.clone().verbose(),
        Command::RemoteToLocalSync(args) if args.verbose => cli.log_level.clone().verbose(),
        _ => cli.log_level.clone(),
    };
    if start_log(&log, cli.log_json).is_err() {
        return ExitCode::from(Kind::Bug.exit_code());
    }
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(report) => {
            tell(&report, cli.log_json);
            ExitCode::from(report.kind.exit_code())
        }
    }
}

fn tell(report: &Report, json: bool) {
    if json {
        let causes = report.causes.join("; ");
        let hint = report.hint.as_deref().unwrap_or_default();
        tracing::error!(kind = report.kind.word(), causes, hint, "{}", report.message);
    } else {
        eprintln!("error: {report}");
    }
}

fn run(cli: &Cli) -> Result<u8, Report> {
    match &cli.command {
        Command::Key(Key::Generate) => return print(key::generate().expose()).map(|()| 0),
        Command::Completions(args) => {
            let mut out = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "volume-syncing-controller", &mut out);
            return print(String::from_utf8_lossy(&out).trim_end()).map(|()| 0);
        }
        _ => {}
    }
    let stop = Stop::new();
    listen_for_signals(&stop).map_err(|error| Report::new(Kind::Bug, format!("installing signal handlers: {error}")))?;
    let runtime = frame::runtime()?;
    let frame = Frame::new(stop, cli.log_json);
    let code = runtime.block_on(dispatch(&cli.command, &frame));
    // Blocking work that a stop left behind ends with the process.
    runtime.shutdown_background();
    code
}

async fn dispatch(command: &Command, frame: &Frame) -> Result<u8, Report> {
    match command {
        Command::SyncToRemote(args) => sync::sync_to_remote(args, frame).await,
        Command::RemoteToLocalSync(args) => sync::remote_to_local_sync(args, frame).await,
        Command::Snapshots(args) => look::snapshots(args, frame).await,
        Command::Ls(args) => look::ls(args, frame).await,
        Command::Check(args) => check::check(args, frame).await,
        Command::Doctor(args) => doctor::doctor(args, frame).await,
        Command::Key(Key::Add(args)) => key::add(args, frame).await,
        Command::Key(Key::Remove(args)) => key::remove(args, frame).await,
        Command::Key(Key::List(args)) => key::list(args, frame).await,
        Command::Key(Key::ExportKit(args)) => key::export_kit(args, frame).await,
        Command::Key(Key::Generate) | Command::Completions(_) => Ok(0),
    }
}
