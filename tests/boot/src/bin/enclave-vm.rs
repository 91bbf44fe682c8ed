//! `enclave-vm`: boots an enclave image on a virtual machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_enclave_vm::command::main()
}
