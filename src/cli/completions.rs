//! `completions`

use super::Verdict;
use super::args::{Cli, Completions};
use super::out::stdout;
use clap::CommandFactory;

/// Prints a completion script.
pub fn print(args: &Completions) -> Verdict {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), env!("CARGO_PKG_NAME"), &mut script);
    let mut out = stdout();
    out.put(String::from_utf8_lossy(&script))?;
    out.finish()?;
    Ok(0)
}
