//! `keep` as a process with a workload, as it lives in an enclave but for mounts and users.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "an enclave that cannot be prepared has failed its test"
)]

mod documents;
mod enclave;
mod ends;
mod example;
mod hostile;
mod output;
