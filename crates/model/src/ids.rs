//! Names of enclaves and of their attempts at life.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The id of an enclave record: the web app's primary key.
///
/// 1 to 128 ASCII letters, digits and `-_.:@=+`, not starting with a dot: it becomes an EC2 tag
/// value and a part of an S3 key, and both must mean the same enclave everywhere.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnclaveId(String);

/// An EC2 tag value holds 256 characters; half of it leaves room for prefixes in keys.
const MAX_LEN: usize = 128;

impl EnclaveId {
    /// The id as the web app wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnclaveId {
    type Err = EnclaveIdError;

    fn from_str(text: &str) -> Result<Self, EnclaveIdError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(EnclaveIdError::Length { length: text.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:@=+".contains(c);
        match text.chars().find(|c| !allowed(*c)) {
            Some(character) => Err(EnclaveIdError::Character { character }),
            None if text.starts_with('.') => Err(EnclaveIdError::Character { character: '.' }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for EnclaveId {
    type Error = EnclaveIdError;

    fn try_from(text: String) -> Result<Self, EnclaveIdError> {
        text.parse()
    }
}

impl From<EnclaveId> for String {
    fn from(id: EnclaveId) -> Self {
        id.0
    }
}

impl fmt::Display for EnclaveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not an [`EnclaveId`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnclaveIdError {
    /// The id holds a character that a tag value or an S3 key cannot carry unchanged.
    #[error("the id may not hold {character:?} there; letters, digits and -_.:@=+ are allowed")]
    Character {
        /// The first offending character.
        character: char,
    },
    /// The id is empty or too long.
    #[error("the id has {length} bytes, allowed are 1 to {MAX_LEN}")]
    Length {
        /// The length found, in bytes.
        length: usize,
    },
}

/// Counts the accepted requests to deploy one enclave id; never reset, not even when the record
/// is deleted, so that what was started for an older request is always recognised as old.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_both_web_apps_are_accepted() {
        for id in ["test-enclave-001", "enc_1763850000000_a1b2c3d4e"] {
            assert_eq!(id.parse::<EnclaveId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn ids_that_could_mean_another_key_are_refused() {
        assert_eq!("".parse::<EnclaveId>(), Err(EnclaveIdError::Length { length: 0 }));
        assert_eq!("a/b".parse::<EnclaveId>(), Err(EnclaveIdError::Character { character: '/' }));
        assert_eq!("..".parse::<EnclaveId>(), Err(EnclaveIdError::Character { character: '.' }));
        assert_eq!(
            "x".repeat(129).parse::<EnclaveId>(),
            Err(EnclaveIdError::Length { length: 129 })
        );
    }
}
