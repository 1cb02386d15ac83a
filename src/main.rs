//! The binary: its exit code is all that is decided here.

use std::process::ExitCode;

fn main() -> ExitCode {
    connection_auditor::cli::main()
}
