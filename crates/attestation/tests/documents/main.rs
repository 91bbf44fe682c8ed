//! Documents, good and bad, and what the verifier says of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected should fail where it does"
)]

mod accepted;
mod cached;
mod common;
mod corpus;
mod mutated;
mod peers;
mod real;
mod rejected_certificates;
mod rejected_encodings;
mod rejected_policies;
mod reports;
mod shipped;
