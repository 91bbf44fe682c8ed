//! The chain of certificates from a trusted root to the key that signed a document.
//!
//! RFC 5280, section 6.1, narrowed to what Nitro uses: one path, in the order of `cabundle`
//! (AWS attestation process, section 3.2.3), with one kind of key and signature throughout.

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::name::text_of;
use crate::report::Stage;
use crate::signature::{AuthorityKey, DocumentKey};
use crate::{CertificatePosition, Rejection, RootFingerprint, TrustedRoots};

/// What a certificate of a verified chain says, for reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSummary {
    /// The subject's name (RFC 4514).
    pub subject: String,
    /// The serial number, in hex.
    pub serial: String,
    /// Start of its validity, in milliseconds since the Unix epoch.
    pub not_before_ms: u64,
    /// End of its validity, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// SHA-256 of its DER, in hex.
    pub sha256: String,
}

/// A chain whose certificates passed every check but for the time, which [`Self::is_valid_at`] asks.
#[derive(Debug)]
pub(crate) struct VerifiedChain {
    /// The key that must have signed the document.
    pub(crate) document_key: DocumentKey,
    /// What the certificates say, root first.
    pub(crate) certificates: Vec<CertificateSummary>,
    /// The checks that were made, and what was found.
    pub(crate) findings: Vec<(Stage, String)>,
    /// When the last certificate became valid, in milliseconds since the Unix epoch.
    not_before_ms: u64,
    /// When the first certificate ceases to be.
    not_after_ms: u64,
}

/// A chain in the making: read, and then checked method by method.
#[derive(Debug)]
pub(crate) struct Chain {
    authorities: Vec<(Certificate, AuthorityKey)>,
    leaf: Certificate,
    document_key: DocumentKey,
    fingerprints: Vec<RootFingerprint>,
}

/// Whether the bundle starts with a trusted root; its fingerprint if so.
pub(crate) fn trusted_root(
    bundle: &[Vec<u8>],
    roots: &TrustedRoots,
) -> Result<RootFingerprint, Rejection> {
    let root = bundle.first().map_or(&[][..], Vec::as_slice);
    let fingerprint = RootFingerprint::of_der(root);
    if roots.contains(fingerprint) {
        return Ok(fingerprint);
    }
    Err(Rejection::RootNotTrusted { found: fingerprint.to_string() })
}

impl Chain {
    /// Reads the certificates, root first.
    pub(crate) fn parse(bundle: &[Vec<u8>], leaf: &[u8]) -> Result<Self, Rejection> {
        let mut authorities = Vec::with_capacity(bundle.len());
        for (index, der) in bundle.iter().enumerate() {
            let position = CertificatePosition::Bundle(index);
            let certificate = Certificate::parse(der, position)?;
            let key = AuthorityKey::parse(&certificate.point)
                .ok_or(Rejection::CertificateKey { certificate: position })?;
            authorities.push((certificate, key));
        }
        let ders = bundle.iter().map(Vec::as_slice).chain([leaf]);
        let fingerprints = ders.map(RootFingerprint::of_der).collect();
        let leaf = Certificate::parse(leaf, CertificatePosition::Leaf)?;
        let document_key = DocumentKey::parse(&leaf.point)
            .ok_or(Rejection::CertificateKey { certificate: CertificatePosition::Leaf })?;
        Ok(Self { authorities, leaf, document_key, fingerprints })
    }

    /// Each certificate names the one before it as its issuer, and the root names itself.
    pub(crate) fn check_names(&self) -> Result<(), Rejection> {
        for (issuer, _, certificate) in self.links() {
            if certificate.issuer != issuer.subject {
                return Err(Rejection::Issuer {
                    certificate: certificate.position,
                    wanted: issuer.subject.to_string(),
                    found: certificate.issuer.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Authorities are authorities and allow the path below them; the leaf is none and signs.
    pub(crate) fn check_constraints(&self) -> Result<(), Rejection> {
        let below = (0..self.authorities.len()).rev();
        for ((authority, _), below) in self.authorities.iter().zip(below) {
            check_authority(authority, below)?;
        }
        if self.leaf.constraints.is_some_and(|constraints| constraints.is_authority) {
            return Err(Rejection::LeafIsAuthority);
        }
        match self.leaf.key_usage {
            Some(usage) if usage.digital_signature() => Ok(()),
            _ => Err(Rejection::KeyUsage {
                certificate: CertificatePosition::Leaf,
                wanted: "digitalSignature",
            }),
        }
    }

    /// Every certificate is valid at `at_ms`; one that starts within `skew_ms` after it is too.
    pub(crate) fn check_validity(&self, at_ms: u64, skew_ms: u64) -> Result<(), Rejection> {
        for certificate in self.certificates() {
            let Certificate { position, not_before_ms, not_after_ms, .. } = *certificate;
            if at_ms.saturating_add(skew_ms) < not_before_ms {
                return Err(Rejection::CertificateNotYetValid {
                    certificate: position,
                    not_before_ms,
                    at_ms,
                });
            }
            if at_ms > not_after_ms {
                return Err(Rejection::CertificateExpired {
                    certificate: position,
                    not_after_ms,
                    at_ms,
                });
            }
        }
        Ok(())
    }

    /// Each certificate below the root is signed by the one before it.
    ///
    /// The root's own signature says nothing (RFC 5280, section 6.1, leaves trust anchors out): the
    /// fingerprint by which the root is trusted is over all of its bytes, the signature's too.
    pub(crate) fn check_signatures(&self) -> Result<(), Rejection> {
        for (_, key, certificate) in self.links().skip(1) {
            if !key.signed(&certificate.signed, &certificate.signature) {
                return Err(Rejection::CertificateSignature { certificate: certificate.position });
            }
        }
        Ok(())
    }

    /// The chain after its checks, which found `findings`.
    pub(crate) fn into_verified(self, findings: Vec<(Stage, String)>) -> VerifiedChain {
        VerifiedChain {
            certificates: self.summary(),
            not_before_ms: self.not_before_ms(),
            not_after_ms: self.not_after_ms(),
            document_key: self.document_key,
            findings,
        }
    }

    /// How many certificates the chain has.
    pub(crate) fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// The end of the first validity to end, in milliseconds since the Unix epoch.
    pub(crate) fn not_after_ms(&self) -> u64 {
        self.certificates().map(|certificate| certificate.not_after_ms).min().unwrap_or(0)
    }

    fn not_before_ms(&self) -> u64 {
        self.certificates().map(|certificate| certificate.not_before_ms).max().unwrap_or(u64::MAX)
    }

    fn summary(&self) -> Vec<CertificateSummary> {
        self.certificates()
            .zip(&self.fingerprints)
            .map(|(certificate, fingerprint)| CertificateSummary {
                subject: text_of(&certificate.subject),
                serial: certificate.serial.clone(),
                not_before_ms: certificate.not_before_ms,
                not_after_ms: certificate.not_after_ms,
                sha256: fingerprint.to_string(),
            })
            .collect()
    }

    fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities.iter().map(|(certificate, _)| certificate).chain([&self.leaf])
    }

    /// Each certificate with its issuer and the issuer's key; the root is its own.
    fn links(&self) -> impl Iterator<Item = (&Certificate, &AuthorityKey, &Certificate)> {
        let issuers = self.authorities.iter().take(1).chain(&self.authorities);
        issuers
            .zip(self.certificates())
            .map(|((issuer, key), certificate)| (issuer, key, certificate))
    }
}

impl VerifiedChain {
    /// Whether every certificate is valid at `at_ms`, by the rule of [`Chain::check_validity`].
    pub(crate) fn is_valid_at(&self, at_ms: u64, skew_ms: u64) -> bool {
        at_ms.saturating_add(skew_ms) >= self.not_before_ms && at_ms <= self.not_after_ms
    }
}

fn check_authority(authority: &Certificate, below: usize) -> Result<(), Rejection> {
    let certificate = authority.position;
    let constraints = authority
        .constraints
        .filter(|constraints| constraints.is_authority)
        .ok_or(Rejection::NotAnAuthority { certificate })?;
    if !constraints.is_critical {
        return Err(Rejection::ConstraintsNotCritical { certificate });
    }
    if let Some(limit) = constraints.path_len
        && below > usize::from(limit)
    {
        return Err(Rejection::PathTooLong { certificate, limit, found: below });
    }
    match authority.key_usage {
        Some(usage) if usage.key_cert_sign() => Ok(()),
        _ => Err(Rejection::KeyUsage { certificate, wanted: "keyCertSign" }),
    }
}
