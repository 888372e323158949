//! The verbs: arguments in, exit code out. Each file reads one verb's arguments, lets the rooms below do the work and
//! tells a person what came of it. What decides about data lies below.

mod args;
mod check;
mod completions;
mod control;
mod crd;
mod doctor;
mod frame;
mod hooks;
mod key;
mod kit;
mod ls;
mod out;
mod plain;
mod snapshots;
mod stay;
mod sync;

pub use args::Cli;

use self::args::{Command, Key};
use self::frame::Frame;
use crate::config::Environment;
use crate::fault::{Kind, Report};
use crate::runtime::{clock, listen_for_signals};
use crate::telemetry::{ProgressMode, moment, start_log};
use clap::Parser;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// More threads than this do not make a push faster: the network and the disk are what it waits for.
const WORKERS_MAX: usize = 4;
/// Threads that compute or wait for the disk.
const BLOCKING_MAX: usize = 64;

/// What a verb comes to: an exit code for an outcome, a report for an error.
type Verdict = Result<u8, Report>;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that has gone away wants nothing more.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let log_json = cli.log_json;
    match catch_unwind(AssertUnwindSafe(|| run(cli))) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(report)) => {
            tell(&report, log_json);
            ExitCode::from(report.kind.exit_code())
        }
        Err(_) => {
            // The hook has told where; this tells what it means.
            let hint =
                "please report it, with the lines above; a push publishes at its end or not at all, so stored data is whole";
            tell(&Report::new(Kind::Bug, "a defect of this program ended it").hint(hint), log_json);
            ExitCode::from(Kind::Bug.exit_code())
        }
    }
}

fn run(cli: Cli) -> Verdict {
    let filter = if is_verbose(&cli.command) { cli.log_level.verbose() } else { cli.log_level };
    start_log(&filter, cli.log_json).map_err(|error| Report::new(Kind::Bug, format!("starting the log: {error}")))?;
    match &cli.command {
        Command::Completions(args) => return completions::print(args),
        Command::Crd => return crd::print(),
        Command::Key(Key::Generate) => return key::generate(),
        _ => {}
    }
    let signals = listen_for_signals()
        .map_err(|error| Report::new(Kind::Bug, format!("the kernel does not let us listen for signals: {error}")))?;
    let progress = ProgressMode::choose(cli.log_json);
    let frame = Frame { stop: signals.stop.clone(), signals, environment: Environment::of_process(), progress };
    let runtime = start_runtime()?;
    let verdict = runtime.block_on(dispatch(&cli.command, &frame));
    // What is left on the blocking pool was given up by its owner: nobody waits for it. The runtime is not taken down either:
    // letting go of a thread that ends at that very moment is a use after free in the C library (glibc bug 19951).
    std::mem::forget(runtime);
    verdict
}

fn is_verbose(command: &Command) -> bool {
    match command {
        Command::SyncToRemote(args) => args.common.verbose,
        Command::RemoteToLocalSync(args) => args.common.verbose,
        _ => false,
    }
}

fn start_runtime() -> Result<Runtime, Report> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .max_blocking_threads(BLOCKING_MAX)
        .enable_all()
        .build()
        .map_err(|error| {
            Report::new(Kind::Volume, format!("starting threads: {error}"))
                .hint("the limit of processes (ulimit -u, or the Pod's pids limit) is too low")
        })
}

async fn dispatch(command: &Command, frame: &Frame) -> Verdict {
    match command {
        Command::SyncToRemote(args) => sync::sync_to_remote(args, frame).await,
        Command::RemoteToLocalSync(args) => sync::remote_to_local_sync(args, frame).await,
        Command::Snapshots(args) => snapshots::print(args, frame).await,
        Command::Ls(args) => ls::print(args, frame).await,
        Command::Check(args) => check::run(args, frame).await,
        Command::Doctor(args) => doctor::run(args, frame).await,
        Command::Health(args) => control::health(args, &frame.stop).await,
        Command::Interrupt(args) => control::interrupt(args, &frame.stop).await,
        Command::Key(Key::Generate) => key::generate(),
        Command::Key(Key::Add(args)) => key::add(args, frame).await,
        Command::Key(Key::List(args)) => key::list(args, frame).await,
        Command::Key(Key::Remove(args)) => key::remove(args, frame).await,
        Command::Key(Key::ExportKit(args)) => kit::export(args, frame).await,
        Command::Completions(args) => completions::print(args),
        Command::Crd => crd::print(),
    }
}

/// Tells an error on standard error, once. With `--log-json` it is one line like the log's others.
fn tell(report: &Report, log_json: bool) {
    let text = if log_json {
        let line = serde_json::json!({
            "timestamp": moment(clock::wall_ms()),
            "level": "ERROR",
            "message": report.message,
            "kind": report.kind.word(),
            "exit_code": report.kind.exit_code(),
            "causes": report.causes,
            "hint": report.hint,
        });
        line.to_string()
    } else {
        format!("error: {report}")
    };
    // Nobody reads standard error: the exit code still tells.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
