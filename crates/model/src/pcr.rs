//! Platform configuration registers.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// One platform configuration register: 48 bytes of SHA-384, written as 96 lower-case hex digits.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pcr(pub [u8; 48]);

/// PCRs by index, 0 to 31.
pub type PcrSet = BTreeMap<u8, Pcr>;

/// Reads a set whose indexes are text, as they are in JSON. Inside an enum that serde tells apart by a
/// field, it would not take text for numbers by itself.
pub fn read_pcr_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PcrSet, D::Error> {
    let named = BTreeMap::<String, Pcr>::deserialize(deserializer)?;
    let index = |(name, pcr): (String, Pcr)| {
        let index = name.parse().map_err(|_| D::Error::custom("a PCR's index is a number"))?;
        Ok((index, pcr))
    };
    named.into_iter().map(index).collect()
}

impl Pcr {
    /// Whether every byte is zero, as PCR0 to PCR2 of an enclave in debug mode are.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

impl FromStr for Pcr {
    type Err = PcrError;

    fn from_str(text: &str) -> Result<Self, PcrError> {
        let mut bytes = [0; 48];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|source| PcrError { length: text.len(), source })?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Pcr {
    type Error = PcrError;

    fn try_from(text: String) -> Result<Self, PcrError> {
        text.parse()
    }
}

impl From<Pcr> for String {
    fn from(pcr: Pcr) -> Self {
        pcr.to_string()
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcr({self})")
    }
}

/// The text is not a PCR value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a PCR value is 96 hex digits, found {length} characters")]
pub struct PcrError {
    /// How many bytes the text has.
    length: usize,
    /// The decoder's reason.
    source: hex::FromHexError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_of_either_case_is_read_and_lower_case_is_written() {
        let pcr: Pcr = "AB".repeat(48).parse().unwrap();
        assert_eq!(pcr.to_string(), "ab".repeat(48));
        assert!(!pcr.is_zero());
    }

    #[test]
    fn other_lengths_are_refused() {
        assert!("ab".repeat(32).parse::<Pcr>().is_err());
    }
}
