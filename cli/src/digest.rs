//! SHA-256 of a report, as the report after it and the head of the chain name it.

use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// The digest of a file's bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| DigestError { length: text.chars().count() })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is no SHA-256.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a SHA-256 is 64 hex digits, found {length} characters")]
pub(crate) struct DigestError {
    length: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_of_either_case_is_read_and_nothing_shorter() {
        let empty = Digest::of(b"");
        assert_eq!(empty.to_string().to_uppercase().parse(), Ok(empty));
        assert!(empty.to_string().starts_with("e3b0c44298fc1c14"));
        assert_eq!("e3b0".parse::<Digest>(), Err(DigestError { length: 4 }));
    }
}
