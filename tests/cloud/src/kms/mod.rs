//! A stand-in for AWS KMS as far as enclaves use it; no emulator has the parameter `Recipient`.
//!
//! It verifies the attestation document under the local cloud's root, asks the key's policy about its
//! registers, and encrypts its answer to the document's public key, as CMS in the stream encoding that
//! KMS has. Requests are signed, and the signature is checked.
//!
//! | module | holds |
//! | --- | --- |
//! | [`keys`] | keys, their policies, and what they encrypt |
//! | `calls` | a request's body to an answer |
//! | `seal` | the answer for the recipient |
//! | `server` | HTTPS |

mod calls;
pub mod keys;
mod seal;
mod server;
#[cfg(test)]
mod tests;

pub use calls::Refusal;
pub use keys::Key;
pub use server::{KmsServer, KmsServerError};
