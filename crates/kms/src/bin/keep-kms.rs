//! `keep-kms`: AWS KMS for workloads that are not written in Rust.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_kms::command::run()
}
