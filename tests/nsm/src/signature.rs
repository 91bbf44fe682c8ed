//! The key that signs documents, and the two forms that an ECDSA signature can take.

use aws_lc_rs::digest::{Digest, SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use aws_nitro_enclaves_cose::crypto::{
    Hash, MessageDigest, SignatureAlgorithm, SigningPrivateKey, SigningPublicKey,
};
use aws_nitro_enclaves_cose::error::CoseError;

use crate::IssueError;

/// The order of the P-384 group (FIPS 186-5, SEC 2), big endian.
const ORDER: [u8; 48] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC7, 0x63, 0x4D, 0x81, 0xF4, 0x37, 0x2D, 0xDF,
    0x58, 0x1A, 0x0D, 0xB2, 0x48, 0xB0, 0xA7, 0x7A, 0xEC, 0xEC, 0x19, 0x6A, 0xCC, 0xC5, 0x29, 0x73,
];

/// Which of the two equally valid forms of an ECDSA signature a document carries.
///
/// The real module emits both, each about half of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureForm {
    /// As the signer made it.
    AsSigned,
    /// With the larger of the two possible `s`.
    HighS,
    /// With the smaller of the two possible `s`.
    LowS,
}

/// A P-384 key that signs documents (ECDSA with SHA-384, COSE algorithm -35).
#[derive(Debug)]
pub struct DocumentKey {
    pair: EcdsaKeyPair,
    form: SignatureForm,
}

impl DocumentKey {
    /// Makes a new key that no certificate names.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, IssueError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
            .map_err(|cause| IssueError::DocumentKey { reason: cause.to_string() })?;
        Ok(Self { pair, form: SignatureForm::AsSigned })
    }

    /// The same key, signing in the given form.
    #[must_use]
    pub fn in_form(self, form: SignatureForm) -> Self {
        Self { form, ..self }
    }

    /// A key of another curve is replaced by a new P-384 key, which then is not the certificate's:
    /// such a chain is only ever made to be refused for its curve.
    pub(crate) fn from_key_pair(pair: &rcgen::KeyPair) -> Result<Self, IssueError> {
        if pair.algorithm() != &rcgen::PKCS_ECDSA_P384_SHA384 {
            return Self::generate();
        }
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pair.serialized_der())
                .map_err(|cause| IssueError::DocumentKey { reason: cause.to_string() })?;
        Ok(Self { pair, form: SignatureForm::AsSigned })
    }
}

impl SigningPublicKey for DocumentKey {
    fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
        Ok((SignatureAlgorithm::ES384, MessageDigest::Sha384))
    }

    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
        let digest = imported(digest)?;
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, self.pair.public_key());
        Ok(key.verify_digest(&digest, signature).is_ok())
    }
}

impl SigningPrivateKey for DocumentKey {
    fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, CoseError> {
        let digest = imported(digest)?;
        let signature = self
            .pair
            .sign_digest(&digest)
            .map_err(|cause| CoseError::SignatureError(Box::new(cause)))?;
        Ok(in_form(signature.as_ref(), self.form))
    }
}

/// SHA-384 for the COSE layer.
#[derive(Debug)]
pub(crate) struct Sha384;

impl Hash for Sha384 {
    fn hash(algorithm: MessageDigest, data: &[u8]) -> Result<Vec<u8>, CoseError> {
        match algorithm {
            MessageDigest::Sha384 => Ok(digest(&SHA384, data).as_ref().to_vec()),
            other => Err(CoseError::UnsupportedError(format!("{other:?}"))),
        }
    }
}

/// Bytes from the system's random source.
pub(crate) fn random_bytes<const N: usize>() -> Option<[u8; N]> {
    use aws_lc_rs::rand::SecureRandom as _;
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

fn imported(bytes: &[u8]) -> Result<Digest, CoseError> {
    Digest::import_less_safe(bytes, &SHA384)
        .map_err(|cause| CoseError::HashingError(Box::new(cause)))
}

/// Turns `r ‖ s` into the wanted one of `r ‖ s` and `r ‖ n − s`, which verify alike.
fn in_form(signature: &[u8], form: SignatureForm) -> Vec<u8> {
    let Some((r, s)) = signature.split_first_chunk::<48>() else {
        return signature.to_vec();
    };
    let other = order_minus(s);
    let s = match form {
        SignatureForm::AsSigned => s.to_vec(),
        SignatureForm::HighS => other.max(s.to_vec()),
        SignatureForm::LowS => other.min(s.to_vec()),
    };
    [r.as_slice(), &s].concat()
}

fn order_minus(number: &[u8]) -> Vec<u8> {
    let mut borrow = false;
    let mut difference: Vec<u8> = ORDER
        .iter()
        .zip(number)
        .rev()
        .map(|(left, right)| {
            let (partial, first) = left.overflowing_sub(*right);
            let (byte, second) = partial.overflowing_sub(u8::from(borrow));
            borrow = first || second;
            byte
        })
        .collect();
    difference.reverse();
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_signature_verify() {
        let message = digest(&SHA384, b"a message");
        for form in [SignatureForm::HighS, SignatureForm::LowS] {
            let key = DocumentKey::generate().unwrap().in_form(form);
            let signature = key.sign(message.as_ref()).unwrap();
            assert_eq!(signature.len(), 96);
            assert!(key.verify(message.as_ref(), &signature).unwrap(), "{form:?}");
            // The high form is above half of the order, whose first byte is 0x7F.
            assert_eq!(signature[48] >= 0x80, form == SignatureForm::HighS);
        }
    }
}
