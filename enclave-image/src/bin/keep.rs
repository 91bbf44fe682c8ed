//! The program inside the enclave; see [`bailey_enclave_image::keep`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_enclave_image::keep::run()
}
