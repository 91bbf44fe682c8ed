//! What an enclave image measures to, signed by whoever built it.
//!
//! A record can state the measurements that it expects. Where it does not, a **signed manifest** can:
//! whoever builds images signs each one's [`Manifest`](bailey_model::manifest::Manifest), puts the signed file beside the image, and
//! tells the coordinator the public key. The coordinator then knows what must run without having to
//! believe the parent or the record's author.
//!
//! The signed file is an envelope of the *Dead Simple Signing Envelope* (DSSE 1.0, of the in-toto
//! project: `protocol.md` and `envelope.md`), with ECDSA over P-384 and SHA-384, in DER. What is
//! signed is `PAE(type, payload)`: `DSSEv1`, then the length and the text of the payload's type, then
//! the length and the bytes of the payload, with a space between each two. So a signature can be made
//! by any tool that signs bytes with such a key, AWS KMS for one.
//!
//! ```
//! use bailey_manifest::{SigningKey, TrustedKeys, sign};
//! let key = SigningKey::from_pem(&SigningKey::generate_pem()?)?;
//! let pcr = |digit: &str| digit.repeat(96);
//! let manifest = serde_json::json!({
//!     "name": "demo", "version": "1.0.0", "profile": "aws", "size_bytes": 12_513_142,
//!     "eif_sha384": pcr("d"),
//!     "measurements": { "PCR0": pcr("a"), "PCR1": pcr("b"), "PCR2": pcr("c") },
//! });
//! let envelope = sign(manifest.to_string().as_bytes(), &key)?;
//! let trusted = TrustedKeys::new(vec![key.public_key()?]);
//! let signed = trusted.open(envelope.as_bytes())?;
//! assert_eq!(signed.manifest().name, "demo");
//! assert!(TrustedKeys::default().open(envelope.as_bytes()).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod envelope;
mod keys;

pub use envelope::{
    ENVELOPE_SUFFIX, MAX_ENVELOPE_BYTES, OpenError, PAYLOAD_TYPE, SignError, SignedManifest, sign,
};
pub use keys::{KeyError, PublicKey, SigningKey, TrustedKeys};
