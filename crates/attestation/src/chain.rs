//! The chain of certificates from a trusted root to the key that signed a document.
//!
//! RFC 5280, section 6.1, narrowed to what Nitro uses: one path, in the order of `cabundle`
//! (AWS attestation process, section 3.2.3), with one kind of key and signature throughout.

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
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

    /// Each certificate is signed by the one before it, and the root by itself.
    pub(crate) fn check_signatures(&self) -> Result<(), Rejection> {
        for (_, key, certificate) in self.links() {
            if !key.signed(&certificate.signed, &certificate.signature) {
                return Err(Rejection::CertificateSignature { certificate: certificate.position });
            }
        }
        Ok(())
    }

    /// The key that must have signed the document.
    pub(crate) fn document_key(&self) -> &DocumentKey {
        &self.document_key
    }

    /// How many certificates the chain has.
    pub(crate) fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// The end of the first validity to end, in milliseconds since the Unix epoch.
    pub(crate) fn not_after_ms(&self) -> u64 {
        self.certificates().map(|certificate| certificate.not_after_ms).min().unwrap_or(0)
    }

    /// What the certificates say, root first.
    pub(crate) fn summary(&self) -> Vec<CertificateSummary> {
        self.certificates()
            .zip(&self.fingerprints)
            .map(|(certificate, fingerprint)| CertificateSummary {
                subject: certificate.subject.to_string(),
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
