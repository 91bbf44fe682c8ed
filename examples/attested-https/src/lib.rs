//! An HTTPS service for an enclave whose certificate is bound to its attestation.
//!
//! ```text
//! client ──TLS──> parent (a wire) ──TLS──> 127.0.0.1:PORT ─> service ─> keep ─> NSM
//!    └── the document's public_key is the certificate's, and the nonce is mine: this is the enclave
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`identity`] | a key that never leaves the enclave, and its certificate |
//! | [`service`] | what is asked of it over HTTP |
//! | [`serve`] | connections, and the bounds on them |

pub mod identity;
pub mod serve;
pub mod service;
