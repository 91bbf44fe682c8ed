//! The `bailey` program; all of it is in the library of the same name.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_runtime::logging::to_stderr();
    bailey::run(bailey::Cli::parse())
}
