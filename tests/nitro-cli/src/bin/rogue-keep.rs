//! `rogue-keep`: a hostile or broken responder, for tests only.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_nitro_cli_standin::rogue::main()
}
