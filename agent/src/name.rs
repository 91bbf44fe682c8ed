//! Names under which nitro-cli knows the enclaves of this agent.

use bailey_model::{EnclaveId, Generation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// What every name of ours starts with; enclaves with other names belong to somebody else.
const PREFIX: &str = "bailey-";

/// 96 bits: two assignments of one host never share a name, and the name stays readable.
const HASH_BYTES: usize = 12;

/// The name of the enclave of one assignment: `bailey-` and 24 hex digits.
///
/// Derived from enclave id and generation alone, so that an agent that remembers nothing still
/// recognises an enclave that it started.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct EnclaveName(String);

impl EnclaveName {
    /// The name for an assignment.
    #[must_use]
    pub fn of(enclave_id: &EnclaveId, generation: Generation) -> Self {
        let mut hash = Sha256::new();
        hash.update(enclave_id.as_str().as_bytes());
        // An id holds no NUL, so that no two assignments hash the same bytes.
        hash.update([0]);
        hash.update(generation.0.to_be_bytes());
        let digest = hash.finalize();
        let head: Vec<u8> = digest.iter().take(HASH_BYTES).copied().collect();
        Self(format!("{PREFIX}{}", hex::encode(head)))
    }

    /// The name in `text`, when it is one of ours.
    #[must_use]
    pub fn recognise(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let ours = digits.len() == 2 * HASH_BYTES && digits.chars().all(|c| c.is_ascii_hexdigit());
        ours.then(|| Self(text.to_owned()))
    }

    /// The text, as `nitro-cli run-enclave --enclave-name` takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnclaveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str, generation: u64) -> EnclaveName {
        EnclaveName::of(&id.parse().unwrap(), Generation(generation))
    }

    #[test]
    fn a_name_is_the_same_in_every_process() {
        assert_eq!(name("enc_1", 3).as_str(), "bailey-d8f2ac20b60eeef37c688a0e");
    }

    #[test]
    fn each_generation_has_its_own_name() {
        assert_ne!(name("enc_1", 3), name("enc_1", 4));
        assert_ne!(name("enc_1", 3), name("enc_13", 3));
    }

    #[test]
    fn only_our_own_names_are_recognised() {
        let ours = name("enc_1", 3);
        assert_eq!(EnclaveName::recognise(ours.as_str()), Some(ours));
        for other in ["hello", "bailey-", "bailey-tools", "bailey-d8f2ac20b60eeef37c688a0g"] {
            assert_eq!(EnclaveName::recognise(other), None);
        }
    }
}
