//! ECDSA over P-384 with SHA-384: the only signatures that a document has.

use aws_lc_rs::digest::{Digest, SHA384, digest};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use aws_nitro_enclaves_cose::CoseSign1;
use aws_nitro_enclaves_cose::crypto::{Hash, MessageDigest, SignatureAlgorithm, SigningPublicKey};
use aws_nitro_enclaves_cose::error::CoseError;

use crate::envelope::Envelope;

/// An uncompressed point of P-384: the byte 4, then both coordinates (RFC 5480, section 2.2).
const POINT_BYTES: usize = 97;
const UNCOMPRESSED: u8 = 4;

/// The key of an authority; its signatures are DER, as X.509 has them (RFC 5758, section 3.2).
#[derive(Debug, Clone)]
pub(crate) struct AuthorityKey(ParsedPublicKey);

impl AuthorityKey {
    /// `None` when `point` is no uncompressed point of the curve.
    pub(crate) fn parse(point: &[u8]) -> Option<Self> {
        parse(&ECDSA_P384_SHA384_ASN1, point).map(Self)
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// The key of a leaf; its signatures are `r ‖ s`, as COSE has them (RFC 9053, section 2.1).
#[derive(Debug, Clone)]
pub(crate) struct DocumentKey(ParsedPublicKey);

impl DocumentKey {
    /// `None` when `point` is no uncompressed point of the curve.
    pub(crate) fn parse(point: &[u8]) -> Option<Self> {
        parse(&ECDSA_P384_SHA384_FIXED, point).map(Self)
    }

    /// Whether the envelope is signed with this key.
    ///
    /// The COSE library is given an encoding made from what was read here, not the input, so that
    /// it cannot read the input in another way.
    pub(crate) fn signed(&self, envelope: &Envelope<'_>) -> bool {
        CoseSign1::from_bytes(&encoded(envelope))
            .and_then(|signed| signed.verify_signature::<Sha384>(self))
            .unwrap_or(false)
    }
}

impl SigningPublicKey for DocumentKey {
    fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
        Ok((SignatureAlgorithm::ES384, MessageDigest::Sha384))
    }

    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
        let digest = Digest::import_less_safe(digest, &SHA384)
            .map_err(|cause| CoseError::HashingError(Box::new(cause)))?;
        Ok(self.0.verify_digest_sig(&digest, signature).is_ok())
    }
}

struct Sha384;

impl Hash for Sha384 {
    fn hash(algorithm: MessageDigest, data: &[u8]) -> Result<Vec<u8>, CoseError> {
        match algorithm {
            MessageDigest::Sha384 => Ok(digest(&SHA384, data).as_ref().to_vec()),
            other => Err(CoseError::UnsupportedError(format!("{other:?}"))),
        }
    }
}

fn parse(algorithm: &'static EcdsaVerificationAlgorithm, point: &[u8]) -> Option<ParsedPublicKey> {
    if point.len() != POINT_BYTES || point.first() != Some(&UNCOMPRESSED) {
        return None;
    }
    ParsedPublicKey::new(algorithm, point).ok()
}

/// The envelope in its plain encoding: untagged, definite lengths, an empty unprotected header.
fn encoded(envelope: &Envelope<'_>) -> Vec<u8> {
    const ARRAY_OF_4: u8 = 0x84;
    const EMPTY_MAP: u8 = 0xA0;
    let mut bytes = vec![ARRAY_OF_4];
    push_byte_string(&mut bytes, &envelope.protected);
    bytes.push(EMPTY_MAP);
    push_byte_string(&mut bytes, &envelope.payload);
    push_byte_string(&mut bytes, &envelope.signature);
    bytes
}

fn push_byte_string(bytes: &mut Vec<u8>, string: &[u8]) {
    // RFC 8949, section 3: major type 2 with an 8-byte length, which fits every length.
    const BYTE_STRING_LONG: u8 = 0x5B;
    bytes.push(BYTE_STRING_LONG);
    bytes.extend(u64::try_from(string.len()).unwrap_or(u64::MAX).to_be_bytes());
    bytes.extend(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator of P-384 (SEC 2, section 2.5.1).
    const X: &str = "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38\
                     5502f25dbf55296c3a545e3872760ab7";
    const Y: &str = "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0\
                     0a60b1ce1d7e819d7a431d7c90ea0e5f";

    #[test]
    fn a_point_is_read_in_its_uncompressed_form_alone() {
        let uncompressed = hex::decode(format!("04{X}{Y}")).unwrap();
        assert!(AuthorityKey::parse(&uncompressed).is_some());
        assert!(DocumentKey::parse(&uncompressed).is_some());
        let compressed = hex::decode(format!("03{X}")).unwrap();
        // The library reads this form too, so that the refusal is ours.
        assert!(ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &compressed).is_ok());
        assert!(AuthorityKey::parse(&compressed).is_none());
        assert!(DocumentKey::parse(&compressed).is_none());
    }
}
