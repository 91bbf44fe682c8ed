//! Context ids of enclaves.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A vsock context id of an enclave.
///
/// 4 or more and below `u32::MAX`: 0 to 2 belong to the hypervisor, loopback and the host, 3 is
/// how enclaves address their parent, and `u32::MAX` is the wildcard. nitro-cli refuses the same.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Cid(u32);

/// The lowest CID that an enclave can have.
const FIRST: u32 = 4;

impl Cid {
    /// The CID as the kernel's `sockaddr_vm` takes it.
    #[must_use]
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Cid {
    type Error = CidError;

    fn try_from(cid: u32) -> Result<Self, CidError> {
        if cid < FIRST || cid == u32::MAX {
            return Err(CidError::Reserved { cid });
        }
        Ok(Self(cid))
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let cid: u32 = text.parse().map_err(|source| CidError::NotANumber { source })?;
        Self::try_from(cid)
    }
}

impl From<Cid> for u32 {
    fn from(cid: Cid) -> Self {
        cid.0
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a number or a text is not a [`Cid`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CidError {
    /// The text is not a 32-bit number.
    #[error("an enclave's CID is a number from {FIRST} to {}", u32::MAX - 1)]
    NotANumber {
        /// The parser's reason.
        source: std::num::ParseIntError,
    },
    /// The number means something else on every vsock.
    #[error("CID {cid} is reserved; enclaves have {FIRST} to {}", u32::MAX - 1)]
    Reserved {
        /// The number found.
        cid: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_cids_are_refused() {
        for cid in [0, 1, 2, 3, u32::MAX] {
            assert_eq!(Cid::try_from(cid), Err(CidError::Reserved { cid }));
        }
    }

    #[test]
    fn the_first_and_the_last_cid_of_an_enclave_are_accepted() {
        for cid in [4, u32::MAX - 1] {
            assert_eq!(cid.to_string().parse::<Cid>().map(Cid::as_u32), Ok(cid));
        }
    }

    #[test]
    fn json_cannot_smuggle_a_reserved_cid_in() {
        assert!(serde_json::from_str::<Cid>("3").is_err());
        assert_eq!(serde_json::from_str::<Cid>("16").unwrap().to_string(), "16");
    }
}
