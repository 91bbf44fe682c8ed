//! `nitro-cli-standin`: nitro-cli's arguments, JSON and failures, without Nitro hardware.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_nitro_cli_standin::commands::main()
}
