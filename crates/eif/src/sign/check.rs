//! Checking an image's signature.

use super::{PROTECTED, payload, public_point, to_be_signed};
use crate::signature::{SignatureError, decode_pem, first_entry};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use bailey_model::Pcr;
use ciborium::Value;
use x509_cert::{Certificate, der::Decode as _};

/// Who signed an image, and whether that is true.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignatureCheck {
    /// The certificate's subject.
    pub subject: String,
    /// The certificate's issuer.
    pub issuer: String,
    /// When the certificate starts to be valid, as the certificate says it. AWS refuses images
    /// whose certificate has expired; this check does not look at the clock.
    pub not_before: String,
    /// When it ends.
    pub not_after: String,
    /// Whether the signature is by the certificate's key and over this image's PCR0. Nothing is said
    /// of who issued the certificate: PCR8 names it, and whoever expects it knows.
    pub verified: bool,
}

/// Checks the body of a signature section against the image's PCR0.
pub fn check_signature(section: &[u8], pcr0: &Pcr) -> Result<SignatureCheck, SignatureError> {
    let entry = first_entry(section)?;
    let pem = String::from_utf8(entry.signing_certificate);
    let der = decode_pem(&pem.map_err(|_| SignatureError::NoCertificate)?)?;
    let certificate = Certificate::from_der(&der).map_err(|_| SignatureError::NotDer)?;
    let signed = certificate.tbs_certificate();
    Ok(SignatureCheck {
        subject: signed.subject().to_string(),
        issuer: signed.issuer().to_string(),
        not_before: signed.validity().not_before.to_string(),
        not_after: signed.validity().not_after.to_string(),
        verified: verifies(&entry.signature, &der, pcr0).unwrap_or(false),
    })
}

/// `None` where the parts of a signature are missing.
fn verifies(message: &[u8], certificate: &[u8], pcr0: &Pcr) -> Option<bool> {
    let message: Value = ciborium::from_reader(message).ok()?;
    let message = match message {
        // The tag of a COSE_Sign1 may be there or not.
        Value::Tag(18, message) => *message,
        message => message,
    };
    let Value::Array(parts) = message else { return None };
    let [Value::Bytes(protected), _, Value::Bytes(found), Value::Bytes(signature)] =
        parts.as_slice()
    else {
        return None;
    };
    if *protected != PROTECTED || *found != payload(pcr0).ok()? {
        return Some(false);
    }
    let signed = to_be_signed(protected, found).ok()?;
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_point(certificate)?);
    Some(key.verify(&signed, signature).is_ok())
}
