//! A nonce as a flag gives it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fmt, str::FromStr};

/// The nonce that a document must carry.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct NonceArgument(pub(crate) Vec<u8>);

/// NSM signs nonces of up to 1,024 bytes.
const MAX_LEN: usize = 1_024;

impl FromStr for NonceArgument {
    type Err = NonceError;

    /// Reads hex, or else base64. Text that could be either is hex: the prefixes `hex:` and
    /// `base64:` say which is meant.
    fn from_str(text: &str) -> Result<Self, NonceError> {
        let hex = |text: &str| hex::decode(text).ok();
        let base64 = |text: &str| STANDARD.decode(text).ok();
        let bytes = match text.split_once(':') {
            Some(("hex", text)) => hex(text),
            Some(("base64", text)) => base64(text),
            Some(_) => None,
            None => hex(text).or_else(|| base64(text)),
        };
        match bytes {
            None => Err(NonceError::Form),
            Some(bytes) if bytes.is_empty() || bytes.len() > MAX_LEN => {
                Err(NonceError::Length { length: bytes.len() })
            }
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

impl fmt::Debug for NonceArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NonceArgument({} bytes)", self.0.len())
    }
}

/// Why a text gives no nonce.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NonceError {
    /// It is neither hex nor base64.
    #[error("a nonce is written as hex or as base64; hex:… and base64:… say which")]
    Form,
    /// No document carries a nonce of this length.
    #[error("the nonce has {length} bytes, allowed are 1 to {MAX_LEN}")]
    Length { length: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_comes_before_base64_unless_the_prefix_says_so() {
        let bytes = |text: &str| text.parse::<NonceArgument>().map(|nonce| nonce.0);
        assert_eq!(bytes("00ff"), Ok(vec![0, 255]));
        assert_eq!(bytes("base64:00ff"), Ok(vec![0xd3, 0x47, 0xdf]));
        assert_eq!(bytes("AP8="), Ok(vec![0, 255]));
        assert_eq!(bytes("hex:AP8="), Err(NonceError::Form));
        assert_eq!(bytes("nonsense!"), Err(NonceError::Form));
        assert_eq!(bytes(""), Err(NonceError::Length { length: 0 }));
    }
}
