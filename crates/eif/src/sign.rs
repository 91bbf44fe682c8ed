//! Signing an image as nitro-cli does, and checking such a signature.
//!
//! The signature is a `COSE_Sign1` (RFC 9052) with ES384 over the CBOR of
//! `{register_index: 0, register_value: PCR0}`. It lies with its certificate in a section of its own,
//! which no register but PCR8 measures, so that PCR0 is known before it is made.

mod append;
mod check;

pub use append::append_signature;
pub use check::{SignatureCheck, check_signature};

use crate::signature::{Entry, SignatureError, decode_pem};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use bailey_model::Pcr;
use ciborium::Value;
use serde::Serialize;
use std::fmt;
use x509_cert::{
    Certificate,
    der::{Decode as _, SecretDocument},
};

/// The protected header: `{1: -35}`, ECDSA with SHA-384.
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// A key and the certificate for it.
pub struct ImageSigner {
    key: EcdsaKeyPair,
    certificate_pem: String,
}

impl ImageSigner {
    /// A private key (PKCS #8 or SEC 1, PEM) on P-384, and the certificate (X.509, PEM) for it.
    ///
    /// nitro-cli also takes other curves, whose images real enclaves start as well; one is enough.
    pub fn new(key_pem: &str, certificate_pem: &str) -> Result<Self, SignError> {
        let (label, der) = SecretDocument::from_pem(key_pem).map_err(|_| SignError::KeyPem)?;
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let key = match label {
            "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(algorithm, der.as_bytes()),
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(algorithm, der.as_bytes()),
            _ => return Err(SignError::KeyPem),
        };
        let key = key.map_err(|_| SignError::NotP384)?;
        let der = decode_pem(certificate_pem).map_err(SignError::Certificate)?;
        if public_point(&der).as_deref() != Some(key.public_key().as_ref()) {
            return Err(SignError::OtherKey);
        }
        Ok(Self { key, certificate_pem: certificate_pem.to_owned() })
    }

    /// The signature section of the image with this PCR0.
    pub fn section(&self, pcr0: &Pcr) -> Result<Vec<u8>, SignError> {
        let payload = payload(pcr0)?;
        let signed = to_be_signed(&PROTECTED, &payload)?;
        let signature =
            self.key.sign(&SystemRandom::new(), &signed).map_err(|_| SignError::Library)?;
        let message = Value::Array(vec![
            Value::Bytes(PROTECTED.to_vec()),
            Value::Map(Vec::new()),
            Value::Bytes(payload),
            Value::Bytes(signature.as_ref().to_vec()),
        ]);
        let signing_certificate = self.certificate_pem.clone().into_bytes();
        cbor(&[Entry { signing_certificate, signature: cbor(&message)? }])
    }
}

impl fmt::Debug for ImageSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageSigner").finish_non_exhaustive()
    }
}

/// The point of a certificate's public key, uncompressed.
fn public_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    key.subject_public_key.as_bytes().map(<[u8]>::to_vec)
}

/// What is signed of a register: its value as an array of numbers, as nitro-cli has it.
#[derive(Serialize)]
struct SignedRegister<'a> {
    register_index: u8,
    register_value: &'a [u8],
}

fn payload(pcr0: &Pcr) -> Result<Vec<u8>, SignError> {
    cbor(&SignedRegister { register_index: 0, register_value: &pcr0.0 })
}

/// `Sig_structure` of RFC 9052, section 4.4, without external data.
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Result<Vec<u8>, SignError> {
    cbor(&Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

fn cbor(value: &impl Serialize) -> Result<Vec<u8>, SignError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| SignError::Library)?;
    Ok(bytes)
}

/// Why an image cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The certificate cannot be read.
    #[error("the certificate cannot be used")]
    Certificate(#[source] SignatureError),
    /// The key is not PEM of a private key.
    #[error("the key is no `PRIVATE KEY` or `EC PRIVATE KEY` in PEM")]
    KeyPem,
    /// A library that cannot fail here did.
    #[error("the cryptographic library fails")]
    Library,
    /// The key is not on P-384.
    #[error("the key is not on the curve P-384")]
    NotP384,
    /// The certificate is for another key.
    #[error("the certificate is for another key")]
    OtherKey,
}

#[cfg(test)]
mod tests;
