//! Where an object lies in S3.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A bucket and a key, written `s3://bucket/key`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct S3Location {
    /// The bucket's name: 3 to 63 characters.
    pub bucket: String,
    /// The object's key, not empty.
    pub key: String,
}

impl FromStr for S3Location {
    type Err = S3LocationError;

    fn from_str(text: &str) -> Result<Self, S3LocationError> {
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| S3LocationError::Scheme { text: text.to_owned() })?;
        let (bucket, key) =
            rest.split_once('/').ok_or_else(|| S3LocationError::NoKey { text: text.to_owned() })?;
        if !is_bucket_name(bucket) {
            return Err(S3LocationError::Bucket { bucket: bucket.to_owned() });
        }
        // S3 refuses keys of more than 1,024 bytes.
        if key.is_empty() || key.len() > 1_024 {
            return Err(S3LocationError::NoKey { text: text.to_owned() });
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

/// The part of S3's bucket naming rules that keeps a name from being read as anything else.
fn is_bucket_name(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c))
}

impl TryFrom<String> for S3Location {
    type Error = S3LocationError;

    fn try_from(text: String) -> Result<Self, S3LocationError> {
        text.parse()
    }
}

impl From<S3Location> for String {
    fn from(location: S3Location) -> Self {
        location.to_string()
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Why a text is not an [`S3Location`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum S3LocationError {
    /// The bucket's name breaks S3's naming rules.
    #[error("`{bucket}` is not a bucket name (3 to 63 lower-case letters, digits, dots, hyphens)")]
    Bucket {
        /// The name found.
        bucket: String,
    },
    /// No key, or one that S3 refuses.
    #[error("`{text}` names no object: a key of 1 to 1,024 bytes must follow the bucket")]
    NoKey {
        /// The text found.
        text: String,
    },
    /// The text does not start with `s3://`.
    #[error("`{text}` is not an S3 location (s3://bucket/key)")]
    Scheme {
        /// The text found.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_reads_back_from_its_text() {
        let text = "s3://your-bucket/images/test.eif";
        let location: S3Location = text.parse().unwrap();
        assert_eq!(location.key, "images/test.eif");
        assert_eq!(location.to_string(), text);
    }

    #[test]
    fn each_malformed_location_has_its_own_reason() {
        let parse = |text: &str| text.parse::<S3Location>().unwrap_err();
        assert!(matches!(parse("/tmp/x.eif"), S3LocationError::Scheme { .. }));
        assert!(matches!(parse("s3://bucket"), S3LocationError::NoKey { .. }));
        assert!(matches!(parse("s3://bucket/"), S3LocationError::NoKey { .. }));
        assert!(matches!(parse("s3://Bucket/x"), S3LocationError::Bucket { .. }));
    }
}
