//! Addresses and the protocols spoken between a parent and its enclave.
//!
//! Pure but for the few functions that take a [`Read`](std::io::Read) or [`Write`](std::io::Write), and for
//! [`documents`], a workload's client: else no sockets, no clock, no async runtime. Whoever does their own
//! I/O uses the parsing functions ([`frame::body_length`], [`connect::parse_reply`]) alone.
//!
//! # The attestation protocol, version 1
//!
//! The enclave listens on vsock port [`ATTESTATION_PORT`]. A connection carries one request or
//! several in a row, each answered before the next is read. A [`frame`] is a big-endian 32-bit
//! length and that many bytes of JSON: an [`AttestRequest`] of at most [`MAX_REQUEST_LEN`] bytes,
//! an [`AttestResponse`] of at most [`MAX_RESPONSE_LEN`].
//!
//! # Documents for the workload, version 1
//!
//! Inside the enclave, on a Unix socket that its workload alone can open and its environment names
//! ([`documents::PATH_VARIABLE`]). The framing, its limits and the answers are those of the attestation
//! protocol, the requests are [`DocumentRequest`]s: a workload chooses the document's `public_key`, which
//! a parent never does.
//!
//! # The workload protocol, version 1
//!
//! What the enclave's workload prints, what becomes of it and how it is: see [`workload`].

mod cid;
pub mod connect;
mod document_request;
pub mod documents;
pub mod frame;
mod request;
mod response;
pub mod workload;

pub use cid::{Cid, CidError};
pub use document_request::{
    DocumentField, DocumentRequest, DocumentRequestError, MAX_DOCUMENT_FIELD_LEN,
    MAX_PUBLIC_KEY_LEN,
};
pub use request::{AttestRequest, MAX_NONCE_LEN, RequestError};
pub use response::{AttestResponse, Refusal, RefusalCode, ResponseError};

/// The vsock port on which an enclave answers attestation requests.
pub const ATTESTATION_PORT: u32 = 5005;

/// The version of the attestation protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest request body, in bytes: the largest nonce, key and enclave id in base64 and JSON
/// need under 3 KiB, and a peer can make the enclave buffer no more than this.
pub const MAX_REQUEST_LEN: usize = 16 * 1024;

/// The longest response body, in bytes: documents seen in the field have up to 7.5 kB, the NSM
/// driver's buffer holds 12 KiB, and base64 makes that 16 KiB.
pub const MAX_RESPONSE_LEN: usize = 64 * 1024;

/// The port of [`PARENT_CID`] on which an enclave's outbound connections begin: HTTP `CONNECT` requests, each
/// answered by the parent's agent, which carries what follows to where the enclave's record allows.
pub const EGRESS_PORT: u32 = 3128;

/// The CID under which an enclave reaches its parent instance.
pub const PARENT_CID: u32 = 3;

/// The port of [`PARENT_CID`] on which nitro-cli waits for the boot heartbeat.
pub const HEARTBEAT_PORT: u32 = 9000;

/// The byte that a booted enclave sends to nitro-cli, and that nitro-cli sends back.
pub const HEARTBEAT_BYTE: u8 = 0xB7;
