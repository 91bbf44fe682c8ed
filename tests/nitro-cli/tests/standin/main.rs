//! The real programs on a simulated parent.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod life;
mod parent;
mod refusals;
