//! The door.

use std::process::ExitCode;

fn main() -> ExitCode {
    volume_syncing_controller::cli::main()
}
