//! A Nitro Secure Module that signs under a local root, for tests and the local cloud.
//!
//! It makes attestation documents with the shape, the certificate depth and the validity windows
//! of the real thing, so that everything that reads documents can run its production code without
//! AWS. It is harmless by construction: it has no key of AWS's, so nothing that it signs verifies
//! under the AWS Nitro root; a verifier must be told to trust its [`Authority`] by fingerprint.
//!
//! - [`Authority`] is the local root; [`Authority::instance`] issues the certificates of one parent.
//! - [`SimulatedNsm`] is the module of one enclave: it answers the requests that `/dev/nsm` answers
//!   and serves them over any byte stream.
//! - [`DocumentBuilder`] and [`CertificatePlan`] make documents that the module itself never would,
//!   for tests of verifiers.

mod authority;
mod certificate;
mod document;
mod error;
mod measurement;
mod module;
mod serve;
mod signature;

pub use authority::{Authority, AuthorityPem, InstanceAuthority};
pub use certificate::{CertificatePlan, Chain, Constraints, Curve, KeyUsage};
pub use document::{DocumentBuilder, PayloadMap};
pub use error::{IssueError, ServeError};
pub use measurement::{PcrValue, extended_from_zero};
pub use module::{Attestation, Enclave, Mode, SimulatedNsm};
pub use serve::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
pub use signature::{DocumentKey, SignatureForm};

// The types that the knobs of this crate take, so that callers need no dependency of their own.
pub use aws_nitro_enclaves_nsm_api::api;
pub use ciborium::Value;
pub use rcgen::{CustomExtension, KeyUsagePurpose};
