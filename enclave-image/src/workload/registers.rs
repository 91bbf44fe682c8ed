//! The registers that are an enclave's own.

use super::WorkloadError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The first register that an enclave can extend and lock: those below are locked at its boot.
pub const FIRST_FREE_PCR: u8 = 16;

/// The last register of a Nitro Security Module.
pub const LAST_PCR: u8 = 31;

/// What `keep` does to registers before the workload starts.
///
/// Attestation documents state locked registers only. None is touched by default, so that they stay
/// for the workload; a register that was locked here can be changed by nobody.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registers {
    /// Texts by which registers are extended: `{"16": "text"}` makes register 16 the SHA-384 of 48
    /// zero bytes and the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extend: BTreeMap<u8, String>,
    /// The registers that are locked, after that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lock: Vec<u8>,
}

impl Registers {
    pub(super) fn check(&self) -> Result<(), WorkloadError> {
        let mut indexes = self.extend.keys().chain(&self.lock);
        match indexes.find(|index| !(FIRST_FREE_PCR..=LAST_PCR).contains(*index)) {
            Some(index) => Err(WorkloadError::Register { index: *index }),
            None => Ok(()),
        }
    }
}
