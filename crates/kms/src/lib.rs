//! AWS KMS from within an enclave: what KMS answers is encrypted to a key that only this enclave has.
//!
//! ```text
//! Recipient::generate ──public key──> document of NSM ──> Kms: signed request over TLS ──> AWS KMS,
//!   which verifies the document, asks the key's policy about its registers, and encrypts its answer
//!   Recipient::open <── CiphertextForRecipient (CMS) <──────────────────────────────────────┘
//! ```
//!
//! The parent carries TLS and sees neither plaintext nor request. The TLS matters: CMS with RSA-OAEP
//! says nothing about who encrypted, so without KMS's certificate a parent could make up a "secret".
//!
//! | module | holds |
//! | --- | --- |
//! | [`recipient`] | the key pair, and what it opens |
//! | [`call`] | the requests and answers of KMS's API, as JSON |
//! | [`client`] | the signed request over TLS, through the enclave's proxy |
//! | [`credentials`] | whose request it is |
//! | [`command`] | the same for programs in other languages: `keep-kms` |
//! | [`secret`] | plaintext, wiped when it is dropped |

mod ber;
pub mod call;
pub mod client;
pub mod command;
pub mod credentials;
mod documents;
mod enveloped;
pub mod recipient;
pub mod secret;

pub use call::{DataKey, Decrypt, EncryptionContext, GenerateDataKey};
pub use client::{Endpoint, Kms, KmsError};
pub use credentials::Credentials;
pub use documents::KeepDocuments;
pub use recipient::{OpenError, Recipient};
pub use secret::Secret;
