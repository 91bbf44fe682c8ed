//! The hash that ties an attestation document to one assignment.

use sha2::{Digest, Sha384};

/// Separates this hash from every other use of SHA-384 over the same bytes.
const DOMAIN: &[u8] = b"bailey/enclave-binding/v1\0";

/// The `user_data` of an attestation document made for an assignment.
///
/// SHA-384 over the domain, the big-endian 32-bit length of the enclave id and the id, the
/// big-endian 64-bit generation, and the big-endian 32-bit length of the nonce and the nonce.
/// Lengths are part of the hash, so no two assignments share an encoding.
#[must_use]
pub fn user_data(enclave_id: &str, generation: u64, nonce: &[u8]) -> [u8; 48] {
    let mut hash = Sha384::new();
    hash.update(DOMAIN);
    hash.update(length(enclave_id.as_bytes()));
    hash.update(enclave_id.as_bytes());
    hash.update(generation.to_be_bytes());
    hash.update(length(nonce));
    hash.update(nonce);
    hash.finalize().into()
}

/// Lengths above 4 GiB saturate; no id or nonce is that long.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_changes_the_hash() {
        let base = user_data("a", 1, b"n");
        assert_ne!(base, user_data("b", 1, b"n"));
        assert_ne!(base, user_data("a", 2, b"n"));
        assert_ne!(base, user_data("a", 1, b"m"));
        assert_ne!(user_data("ab", 1, b""), user_data("a", 1, b"b"));
    }

    /// The value was computed with Python's hashlib from the description above.
    #[test]
    fn the_encoding_is_the_documented_one() {
        assert_eq!(hex::encode(user_data("enc_1", 3, b"nonce")), REFERENCE);
    }

    const REFERENCE: &str = "6f1e47dcacc0cdeb9991163fa6ffe733cc476c0b852ebf25dd8dead5bc24b2ac38d570d7b0d185b97d9d088c39f4872b";
}
