//! The signing certificate in the signature section.
//!
//! The section is CBOR: an array of `{signing_certificate, signature}`, both arrays of numbers,
//! the certificate as PEM text. PCR8 measures the DER of the first entry's certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The largest signature section read, in bytes. A P-384 certificate and a signature take 3 kB.
pub const MAX_SIGNATURE_LEN: u64 = 64 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The DER of the certificate with which the image was signed.
pub(crate) fn certificate_der(section: &[u8]) -> Result<Vec<u8>, SignatureError> {
    let pem = String::from_utf8(first_entry(section)?.signing_certificate);
    decode_pem(&pem.map_err(|_| SignatureError::NoCertificate)?)
}

/// The only entry that anybody writes or reads.
pub(crate) fn first_entry(section: &[u8]) -> Result<Entry, SignatureError> {
    let mut rest = section;
    let entries: Vec<Entry> =
        ciborium::from_reader(&mut rest).map_err(|source| SignatureError::Cbor { source })?;
    if !rest.is_empty() {
        return Err(SignatureError::TrailingBytes { count: rest.len() });
    }
    entries.into_iter().next().ok_or(SignatureError::Empty)
}

/// A signature of one register, in practice of PCR0. Both are arrays of numbers, not byte strings.
#[derive(Deserialize, Serialize)]
pub(crate) struct Entry {
    /// PEM.
    pub(crate) signing_certificate: Vec<u8>,
    /// A `COSE_Sign1`; whoever only measures needs none of it.
    #[serde(default)]
    pub(crate) signature: Vec<u8>,
}

pub(crate) fn decode_pem(pem: &str) -> Result<Vec<u8>, SignatureError> {
    let (_, after) = pem.split_once(BEGIN).ok_or(SignatureError::NoCertificate)?;
    let (body, _) = after.split_once(END).ok_or(SignatureError::NoCertificate)?;
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(base64).map_err(|source| SignatureError::Base64 { source })?;
    match sequence_len(&der) {
        Some(length) if length == der.len() => Ok(der),
        _ => Err(SignatureError::NotDer),
    }
}

/// The length of the DER sequence at the start of `der`, its header included.
fn sequence_len(der: &[u8]) -> Option<usize> {
    let (header, length) = match der {
        [0x30, length @ 0..=0x7f, ..] => (2, usize::from(*length)),
        [0x30, 0x81, length, ..] => (3, usize::from(*length)),
        [0x30, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return None,
    };
    length.checked_add(header)
}

/// Why the signing certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The certificate's PEM does not hold base64.
    #[error("the certificate is not base64")]
    Base64 {
        /// The decoder's reason.
        source: base64::DecodeError,
    },
    /// The section is not the expected CBOR.
    #[error("the section is not the expected CBOR")]
    Cbor {
        /// The decoder's reason.
        source: ciborium::de::Error<std::io::Error>,
    },
    /// The section holds no signature.
    #[error("the section holds no signature")]
    Empty,
    /// The first signature comes without a PEM certificate.
    #[error("the first signature has no PEM certificate")]
    NoCertificate,
    /// The certificate is not exactly one DER sequence.
    #[error("the certificate is not one DER sequence")]
    NotDer,
    /// Bytes follow the CBOR.
    #[error("{count} bytes follow the CBOR")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use ciborium::cbor;

    fn section(certificate: &[u8]) -> Vec<u8> {
        let value =
            cbor!([{ "signing_certificate" => certificate, "signature" => &[1_u8, 2][..] }]);
        let mut bytes = Vec::new();
        ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
        bytes
    }

    fn pem(der: &[u8]) -> String {
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    #[test]
    fn the_certificate_is_found_in_the_first_entry() {
        let der = [0x30, 3, 1, 2, 3];
        assert_eq!(certificate_der(&section(pem(&der).as_bytes())).unwrap(), der);
    }

    #[test]
    fn long_forms_of_length_are_understood() {
        assert_eq!(sequence_len(&[0x30, 0x81, 0x80, 0]), Some(0x83));
        assert_eq!(sequence_len(&[0x30, 0x82, 0x01, 0x00, 0]), Some(0x104));
        assert_eq!(sequence_len(&[0x30, 0x83, 1, 0, 0]), None);
        assert_eq!(sequence_len(&[]), None);
    }

    #[test]
    fn each_malformed_section_has_its_own_reason() {
        let with = |text: &str| certificate_der(&section(text.as_bytes())).unwrap_err();
        assert!(matches!(with("hello"), SignatureError::NoCertificate));
        assert!(matches!(with(&format!("{BEGIN}!{END}")), SignatureError::Base64 { .. }));
        assert!(matches!(with(&pem(&[0x30, 3, 1])), SignatureError::NotDer));
        assert!(matches!(with(&pem(&[0x30, 0, 1])), SignatureError::NotDer));
        assert!(matches!(certificate_der(&[0x80]), Err(SignatureError::Empty)));
        assert!(matches!(certificate_der(&[0xff]), Err(SignatureError::Cbor { .. })));
        let trailing = [section(pem(&[0x30, 0]).as_bytes()), vec![0]].concat();
        assert!(matches!(
            certificate_der(&trailing),
            Err(SignatureError::TrailingBytes { count: 1 })
        ));
    }
}
