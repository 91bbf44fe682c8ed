//! The workload protocol, version 1: what an enclave's workload prints, what becomes of it, and how
//! it is.
//!
//! The enclave listens on vsock port [`WORKLOAD_PORT`], apart from attestation, so that whoever
//! floods one of the two cannot block the other. The framing is [`frame`](crate::frame)'s; bodies
//! are JSON. The parent asks with a [`WorkloadRequest`] of at most [`MAX_WORKLOAD_REQUEST_LEN`]
//! bytes and gets [`WorkloadResponse`]s of at most [`MAX_WORKLOAD_RESPONSE_LEN`]:
//!
//! | request | answers |
//! | --- | --- |
//! | `{"version":1,"request":"health"}` | one, with [`Health`]; then the next request is read |
//! | `{"version":1,"request":"output","after":17}` | an [`OutputEntry`] each, until the parent hangs up |
//!
//! `output` may be the last of several requests on a connection. After it the parent sends nothing:
//! a byte more ends the connection. `after` is the sequence of the last entry that the parent has;
//! without it, or with one that this enclave has not reached, it starts with the oldest entry that
//! is still held. What cannot be answered gets a [`WorkloadRefusal`], after which the connection ends.
//!
//! The enclave holds the newest entries only, and never waits for a reader: each entry says how many
//! before it this reader has missed. Sequences start with 1 in each enclave, so a position belongs to
//! one enclave (nitro-cli's id), not to an assignment.

mod entry;
mod health;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use entry::{MAX_LINE_BYTES, MAX_REASON_BYTES, OutputEntry, OutputEvent, OutputStream};
pub use entry::{WorkloadExit, shorten};
pub use health::{Health, HealthStatus};
pub use request::{WorkloadRequest, WorkloadRequestError};
pub use response::{WorkloadRefusal, WorkloadRefusalCode, WorkloadResponse, WorkloadResponseError};

/// The vsock port on which an enclave hands out its workload's output, state and health.
pub const WORKLOAD_PORT: u32 = 5006;

/// The version of the workload protocol that this crate speaks.
pub const WORKLOAD_VERSION: u32 = 1;

/// The longest request body, in bytes: the longest that is meant has 62.
pub const MAX_WORKLOAD_REQUEST_LEN: usize = 1024;

/// The longest response body, in bytes: [`MAX_LINE_BYTES`] are 11 KiB in base64, and the reason of a
/// failed start is at most six times [`MAX_REASON_BYTES`] when JSON escapes every character.
pub const MAX_WORKLOAD_RESPONSE_LEN: usize = 16 * 1024;
