//! Strict parsing and verification of AWS Nitro Enclaves attestation documents.
//!
//! [`verify()`] judges a document by a [`Policy`] and returns, beside the result, every check that it
//! made, in order, with what was expected and what was found. Only it makes a
//! [`VerifiedDocument`], so a function that takes one cannot be given a document that nobody
//! verified. [`AttestationDocument::parse`] reads a document without verifying anything.
//!
//! # Example
//! A coordinator's policy states everything; this one judges an answer to the nonce that it sent.
//! ```
//! use bailey_attestation::{
//!     BytesRule, DebugRule, InstanceBinding, ModuleIdRule, Outcome, PcrRule, PcrWanted, Policy,
//!     TrustedRoots, VerifyTime, verify,
//! };
//!
//! let policy = Policy {
//!     roots: TrustedRoots::aws(),
//!     time: VerifyTime::At(1_760_000_000_000),
//!     skew_ms: 5_000,
//!     max_age_ms: Some(300_000),
//!     issued_at_ms: Some(1_759_999_990_000),
//!     nonce: BytesRule::Exactly(b"32 random bytes, sent only once!".to_vec()),
//!     user_data: BytesRule::Any,
//!     public_key: BytesRule::Any,
//!     module_id: ModuleIdRule::Any,
//!     instance: Some(InstanceBinding {
//!         instance_id: "i-0123456789abcdef0".to_owned(),
//!         role_arn: Some("arn:aws:iam::123456789012:role/parent".to_owned()),
//!     }),
//!     debug: DebugRule::Refuse,
//!     pcrs: vec![PcrRule { index: 0, wanted: PcrWanted::NonZero }],
//! };
//! let judged = verify(b"what a parent sent instead of a document", &policy);
//! assert_eq!(judged.checks[0].name, "structure");
//! assert_eq!(judged.checks[0].outcome, Outcome::Failed);
//! let rejection = judged.result.unwrap_err();
//! assert_eq!(rejection.code(), "wrong_type");
//! ```
//!
//! # Threat model
//! What is protected is the decision to trust an enclave: to send it secrets, or to call it
//! verified.
//!
//! **The attacker** writes the input. They own the network, and the parent instance with all its
//! tools; they may run enclaves of their own on parents of their own, hold any number of genuine
//! documents, old ones and such of other enclaves, and have a certificate authority that AWS knows
//! nothing of. They know this code.
//!
//! **Assumed** are that the AWS Nitro root key and those that it vouches for sign truthfully, that
//! SHA-2 and ECDSA over P-384 hold, and that the caller's clock is right within
//! [`Policy::skew_ms`].
//!
//! **They cannot**, under a policy that asks for it, have a document accepted that no Nitro module
//! signed, that was changed, that runs other code, runs in debug mode, comes from another parent
//! or answers another question. They cannot make the reader panic, recurse or allocate more than a
//! small multiple of the input's length, nor have more checked than the nine signatures of the
//! longest chain; the [table](#rejections) says which check stands against what.
//!
//! **Not covered**: an enclave whose reviewed code is itself wrong; revocation, for which leaves
//! live 3 hours instead; a verifier that was given the wrong policy; and secrecy, for a document
//! is public.
//!
//! # What a verified document does not say
//! That it is fresh, unless the policy names a nonce or an age; that it answers only once, which the
//! caller ensures by accepting a nonce once. Several encodings of one signed statement exist (with or
//! without a tag, for one), so replays are told by the nonce and never by the document's bytes.
//!
//! # Speed
//! A document has five signatures: its own and those of the four certificates below the root. What
//! else is done with it is small beside them. Whoever sees many documents of the same enclaves
//! keeps a [`ChainCache`] and calls [`verify_cached()`]: one signature each.
//!
//! # Guarantees
//! The crate does no I/O, reads no clock and takes roots, time and every rule from its arguments.
//!
//! # Rejections
//! Every [`Rejection::code`], in the order of the checks. "AWS" is AWS's *Nitro Enclaves Attestation
//! Process*, with the section; "policy" names the field of [`Policy`] that asks for the check.
//!
#![doc = include_str!("../rejections.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cache;
mod cbor;
mod certificate;
mod chain;
mod document;
mod envelope;
mod limits;
mod measurement;
mod name;
mod policy;
mod rejection;
mod report;
mod roots;
mod rules;
mod signature;
mod verify;

pub use cache::ChainCache;
pub use chain::CertificateSummary;
pub use document::AttestationDocument;
pub use measurement::{PcrValue, pcr3_for_role, pcr4_for_instance};
pub use policy::{
    BytesRule, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted, Policy, VerifyTime,
};
pub use rejection::{CertificatePosition, Rejection};
pub use report::{Check, Outcome, Verification};
pub use roots::{FingerprintError, RootFingerprint, TrustedRoots};
pub use verify::{DocumentSummary, VerifiedDocument, verify, verify_cached};
