//! One certificate of a document's chain, read strictly.

use x509_cert::Certificate as X509;
use x509_cert::certificate::Version;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{
    self, Decode, Encode, Header, Reader as _, SliceReader, oid::ObjectIdentifier,
};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Time;

use crate::{CertificatePosition, Rejection};

/// ECDSA with SHA-384 (RFC 5758, section 3.2).
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// A key for elliptic curves (RFC 5480, section 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The curve P-384 (RFC 5480, section 2.1.1.1).
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A certificate whose own encoding is right; who issued it is not looked at here.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) position: CertificatePosition,
    pub(crate) subject: Name,
    pub(crate) issuer: Name,
    /// In hex.
    pub(crate) serial: String,
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
    /// The bytes of the key, not yet known to be a point of the curve.
    pub(crate) point: Vec<u8>,
    pub(crate) constraints: Option<Constraints>,
    pub(crate) key_usage: Option<KeyUsage>,
    /// What is signed.
    pub(crate) signed: Vec<u8>,
    /// The issuer's signature over it, as DER.
    pub(crate) signature: Vec<u8>,
}

/// The basicConstraints extension (RFC 5280, section 4.2.1.9).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constraints {
    pub(crate) is_critical: bool,
    pub(crate) is_authority: bool,
    pub(crate) path_len: Option<u8>,
}

impl Certificate {
    pub(crate) fn parse(der: &[u8], position: CertificatePosition) -> Result<Self, Rejection> {
        let malformed =
            |reason: String| Rejection::CertificateMalformed { certificate: position, reason };
        let parsed = X509::from_der(der).map_err(|cause| malformed(cause.to_string()))?;
        // DER has one encoding for each value: what encodes differently was not DER.
        if parsed.to_der().ok().as_deref() != Some(der) {
            return Err(Rejection::CertificateNotCanonical { certificate: position });
        }
        let body = parsed.tbs_certificate();
        let names = [body.issuer(), body.subject()].into_iter().flat_map(Name::iter);
        let extensions = body.extensions().map_or(&[][..], Vec::as_slice);
        let identifiers = names
            .map(|attribute| &attribute.oid)
            .chain(extensions.iter().map(|extension| &extension.extn_id));
        if identifiers.into_iter().any(is_padded) {
            return Err(Rejection::CertificateNotCanonical { certificate: position });
        }
        if body.version() != Version::V3 {
            return Err(Rejection::CertificateVersion { certificate: position });
        }
        check_algorithm(position, body.signature())?;
        check_algorithm(position, parsed.signature_algorithm())?;
        let extensions = Extensions::parse(extensions, position)?;
        let not_octets = || malformed("a bit string does not end with a whole byte".to_owned());
        Ok(Self {
            position,
            subject: body.subject().clone(),
            issuer: body.issuer().clone(),
            serial: hex::encode(body.serial_number().as_bytes()),
            not_before_ms: unix_ms(body.validity().not_before),
            not_after_ms: unix_ms(body.validity().not_after),
            point: point(position, body.subject_public_key_info())?
                .ok_or_else(not_octets)?
                .to_vec(),
            constraints: extensions.constraints,
            key_usage: extensions.key_usage,
            signed: body_of(der).map_err(|cause| malformed(cause.to_string()))?.to_vec(),
            signature: parsed.signature().as_bytes().ok_or_else(not_octets)?.to_vec(),
        })
    }
}

/// Whether a part of the identifier starts with zeros that it does not need (X.690, section
/// 8.19.2): another spelling, which the parser keeps as it is.
fn is_padded(identifier: &ObjectIdentifier) -> bool {
    let mut starts = true;
    identifier.as_bytes().iter().any(|byte| {
        let is_padding = starts && *byte == 0x80;
        starts = *byte < 0x80;
        is_padding
    })
}

/// The first part of a certificate, tbsCertificate, as it is encoded: what the issuer has signed
/// (RFC 5280, section 4.1.1.3).
fn body_of(certificate: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(certificate)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}

/// The extensions that are understood here.
#[derive(Debug, Default)]
struct Extensions {
    constraints: Option<Constraints>,
    key_usage: Option<KeyUsage>,
}

impl Extensions {
    fn parse(extensions: &[Extension], position: CertificatePosition) -> Result<Self, Rejection> {
        let mut read = Self::default();
        for (index, extension) in extensions.iter().enumerate() {
            let oid = extension.extn_id;
            if extensions.iter().take(index).any(|earlier| earlier.extn_id == oid) {
                let (certificate, oid) = (position, oid.to_string());
                return Err(Rejection::ExtensionDuplicate { certificate, oid });
            }
            match oid {
                BasicConstraints::OID => {
                    read.constraints = Some(Constraints::parse(extension, position)?);
                }
                KeyUsage::OID => read.key_usage = Some(content(extension, position)?),
                _ if extension.critical => {
                    let (certificate, oid) = (position, oid.to_string());
                    return Err(Rejection::ExtensionUnknown { certificate, oid });
                }
                // What is not critical may be passed over (RFC 5280, section 4.2): key identifiers
                // and the addresses of revocation lists.
                _ => {}
            }
        }
        Ok(read)
    }
}

impl Constraints {
    fn parse(extension: &Extension, position: CertificatePosition) -> Result<Self, Rejection> {
        let BasicConstraints { ca, path_len_constraint } = content(extension, position)?;
        if path_len_constraint.is_some() && !ca {
            let oid = extension.extn_id.to_string();
            return Err(Rejection::ExtensionMalformed { certificate: position, oid });
        }
        Ok(Self {
            is_critical: extension.critical,
            is_authority: ca,
            path_len: path_len_constraint,
        })
    }
}

fn content<T: for<'a> Decode<'a> + Encode>(
    extension: &Extension,
    position: CertificatePosition,
) -> Result<T, Rejection> {
    let der = extension.extn_value.as_bytes();
    T::from_der(der).ok().filter(|value| value.to_der().ok().as_deref() == Some(der)).ok_or_else(
        || Rejection::ExtensionMalformed {
            certificate: position,
            oid: extension.extn_id.to_string(),
        },
    )
}

fn check_algorithm(
    certificate: CertificatePosition,
    algorithm: &AlgorithmIdentifierOwned,
) -> Result<(), Rejection> {
    // RFC 5758, section 3.2: parameters are left out.
    if algorithm.oid == ECDSA_WITH_SHA384 && algorithm.parameters.is_none() {
        return Ok(());
    }
    let parameters = if algorithm.parameters.is_some() { " with parameters" } else { "" };
    let found = format!("{}{parameters}", algorithm.oid);
    Err(Rejection::CertificateAlgorithm { certificate, found })
}

/// The bytes of the key; `None` when they are no whole bytes.
fn point(
    certificate: CertificatePosition,
    key: &SubjectPublicKeyInfoOwned,
) -> Result<Option<&[u8]>, Rejection> {
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
    if key.algorithm.oid == EC_PUBLIC_KEY && curve == Some(SECP384R1) {
        return Ok(key.subject_public_key.as_bytes());
    }
    let curve = curve.map_or_else(|| "no named curve".to_owned(), |curve| curve.to_string());
    let found = format!("{} on {curve}", key.algorithm.oid);
    Err(Rejection::CertificateCurve { certificate, found })
}

fn unix_ms(time: Time) -> u64 {
    u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX)
}
