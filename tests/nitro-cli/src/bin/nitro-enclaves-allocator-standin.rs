//! `nitro-enclaves-allocator-standin`: sets CPUs and memory of a simulated host apart.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_nitro_cli_standin::allocator::main()
}
