//! Which roots a document's chain may start from.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use x509_cert::der::Document;

/// SHA-256 of a root certificate's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootFingerprint([u8; 32]);

/// Why a text gives no [`RootFingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The text is not 64 hexadecimal digits, with or without colons.
    #[error("`{found}` is no SHA-256 fingerprint: 64 hexadecimal digits")]
    NotHex {
        /// The text.
        found: String,
    },
    /// The text is not exactly one certificate in PEM.
    #[error("the text is no PEM certificate")]
    NotPem,
}

impl RootFingerprint {
    /// The AWS Nitro Enclaves root G1, for all commercial partitions of AWS.
    ///
    /// AWS publishes it in the Nitro Enclaves user guide ("Verifying the root of trust"), next to
    /// the certificate itself: `AWS_NitroEnclaves_Root-G1.zip` at
    /// `https://aws-nitro-enclaves.amazonaws.com/`, whose SHA-256 AWS's *Attestation Process*
    /// (section 2.1) gives as `8cf60e2b…faff7c`. The certificate is valid until 2049-10-28.
    pub const AWS_NITRO_G1: Self = Self([
        0x64, 0x1A, 0x03, 0x21, 0xA3, 0xE2, 0x44, 0xEF, 0xE4, 0x56, 0x46, 0x31, 0x95, 0xD6, 0x06,
        0x31, 0x7E, 0xD7, 0xCD, 0xCC, 0x3C, 0x17, 0x56, 0xE0, 0x98, 0x93, 0xF3, 0xC6, 0x8F, 0x79,
        0xBB, 0x5B,
    ]);

    /// The fingerprint of a certificate's DER.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(fingerprint)
    }

    /// The fingerprint of the one certificate in a PEM text.
    pub fn of_pem(text: &str) -> Result<Self, FingerprintError> {
        match Document::from_pem(text) {
            Ok(("CERTIFICATE", der)) => Ok(Self::of_der(der.as_bytes())),
            _ => Err(FingerprintError::NotPem),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RootFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl FromStr for RootFingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fingerprint = [0; 32];
        hex::decode_to_slice(text.replace(':', ""), &mut fingerprint)
            .map_err(|_| FingerprintError::NotHex { found: text.to_owned() })?;
        Ok(Self(fingerprint))
    }
}

/// The roots that a document's chain may start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRoots(Vec<RootFingerprint>);

impl TrustedRoots {
    /// AWS's root alone: what production uses.
    #[must_use]
    pub fn aws() -> Self {
        Self(vec![RootFingerprint::AWS_NITRO_G1])
    }

    /// These roots and no other; AWS's is not among them unless it is named. An empty list trusts
    /// nothing.
    #[must_use]
    pub fn only(roots: Vec<RootFingerprint>) -> Self {
        Self(roots)
    }

    /// Whether `root` is among them.
    #[must_use]
    pub fn contains(&self, root: RootFingerprint) -> bool {
        self.0.contains(&root)
    }

    /// Each of them once, in an order that does not depend on how they were named.
    pub(crate) fn sorted(&self) -> Vec<RootFingerprint> {
        let mut roots = self.0.clone();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

impl fmt::Display for TrustedRoots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&roots.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aws_root_is_the_one_that_aws_publishes() {
        let published = "64:1A:03:21:A3:E2:44:EF:E4:56:46:31:95:D6:06:31:\
                         7E:D7:CD:CC:3C:17:56:E0:98:93:F3:C6:8F:79:BB:5B";
        assert_eq!(published.parse(), Ok(RootFingerprint::AWS_NITRO_G1));
        assert!(TrustedRoots::aws().contains(RootFingerprint::AWS_NITRO_G1));
    }

    #[test]
    fn only_the_named_roots_are_trusted() {
        let other = RootFingerprint::of_der(b"another root");
        let roots = TrustedRoots::only(vec![other]);
        assert!(roots.contains(other));
        assert!(!roots.contains(RootFingerprint::AWS_NITRO_G1));
        assert!(!TrustedRoots::only(Vec::new()).contains(other));
    }

    #[test]
    fn a_text_that_is_no_fingerprint_is_refused() {
        for text in ["", "64:1A", "zz", &"0".repeat(63), &"0".repeat(66)] {
            assert_eq!(
                text.parse::<RootFingerprint>(),
                Err(FingerprintError::NotHex { found: text.to_owned() })
            );
        }
        assert_eq!(RootFingerprint::of_pem("no PEM"), Err(FingerprintError::NotPem));
    }
}
