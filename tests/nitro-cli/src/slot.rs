//! The number that tells an enclave from every other one.

use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// An enclave's slot: the number behind `-enc` in its names.
///
/// Its two names write it differently: nitro-cli's `EnclaveID` in as few hexadecimal digits as it
/// has, attestation documents in 16. Real numbers start with a byte 01, so their `EnclaveID`s have
/// 15 digits, and whoever takes the two for the same text is wrong.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Slot(u64);

/// The highest byte of the numbers that AWS gives.
const FIRST_BYTE: u64 = 1;

impl Slot {
    /// A number that nobody had before.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(u64::from_be_bytes(bytes) >> 8 | FIRST_BYTE << 56))
    }

    /// The `EnclaveID` of nitro-cli.
    #[must_use]
    pub fn enclave_id(self, instance_id: &str) -> String {
        format!("{instance_id}-enc{self}")
    }

    /// The module id in attestation documents.
    #[must_use]
    pub fn module_id(self, instance_id: &str) -> String {
        format!("{instance_id}-enc{:016x}", self.0)
    }

    /// The slot's digits in an `EnclaveID`.
    #[must_use]
    pub fn in_enclave_id(id: &str) -> &str {
        id.rsplit("-enc").next().unwrap_or(id)
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_names_differ_by_the_leading_zero() {
        let slot = Slot(0x018c_b6ee_2b9e_7cb4);
        assert_eq!(slot.enclave_id("i-0123"), "i-0123-enc18cb6ee2b9e7cb4");
        assert_eq!(slot.module_id("i-0123"), "i-0123-enc018cb6ee2b9e7cb4");
        assert_eq!(Slot::in_enclave_id("i-0123-enc18cb6ee2b9e7cb4"), slot.to_string());
    }

    #[test]
    fn slots_differ() {
        assert_ne!(Slot::random().unwrap(), Slot::random().unwrap());
    }
}
