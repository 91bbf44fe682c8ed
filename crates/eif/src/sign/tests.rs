//! Signatures made here and checked here; `oracle/` has AWS's library make and check them.

use super::*;
use crate::{
    Architecture, BuildMetadata, EifError, ImageMetadata, ImageParts, ReadError, SectionKind,
    SectionReader, measure, write,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use std::io::Cursor;

fn key_and_certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "signer of images");
    let certificate = params.self_signed(&key).unwrap();
    (key.serialize_pem(), certificate.pem())
}

fn signer() -> ImageSigner {
    let (key, certificate) = key_and_certificate(&PKCS_ECDSA_P384_SHA384);
    ImageSigner::new(&key, &certificate).unwrap()
}

fn image() -> Cursor<Vec<u8>> {
    let build_metadata = BuildMetadata {
        build_time: "1970-01-01T00:00:00+00:00".into(),
        build_tool: "test".into(),
        build_tool_version: "1".into(),
        operating_system: "Linux".into(),
        kernel_version: "6.12".into(),
    };
    let metadata = ImageMetadata {
        image_name: "name".into(),
        image_version: "1".into(),
        build_metadata,
        docker_info: serde_json::Value::Null,
        custom_metadata: serde_json::Value::Null,
    };
    let parts = ImageParts {
        kernel: &b"kernel"[..],
        cmdline: "panic=1",
        ramdisks: vec![&b"first"[..], b"second"],
        metadata: &metadata,
        architecture: Architecture::X86_64,
    };
    let mut image = Cursor::new(Vec::new());
    write(parts, &mut image).unwrap();
    image
}

#[test]
fn a_signed_image_measures_as_before_but_for_its_signer_and_its_signature_verifies() {
    let mut image = image();
    let unsigned = measure(image.get_ref().as_slice()).unwrap();
    let section = signer().section(&unsigned.pcr0).unwrap();
    append_signature(&mut image, &section).unwrap();
    let signed = measure(image.get_ref().as_slice()).unwrap();
    assert_eq!(
        (signed.pcr0, signed.pcr1, signed.pcr2),
        (unsigned.pcr0, unsigned.pcr1, unsigned.pcr2)
    );
    assert!(signed.is_signed() && !unsigned.is_signed());

    let mut reader = SectionReader::open(&mut image).unwrap();
    let found = reader.of_kind(SectionKind::Signature).next().unwrap();
    let body = reader.read(found, crate::MAX_SIGNATURE_LEN).unwrap();
    assert_eq!(body, section);
    let check = check_signature(&body, &signed.pcr0).unwrap();
    assert!(check.verified);
    assert_eq!((check.subject.as_str(), &check.issuer), ("CN=signer of images", &check.subject));
    assert!(!check_signature(&body, &signed.pcr1).unwrap().verified);
}

#[test]
fn a_signature_with_any_bit_changed_does_not_verify() {
    let pcr0 = Pcr([7; 48]);
    let section = signer().section(&pcr0).unwrap();
    let mut entries: Vec<Entry> = ciborium::from_reader(section.as_slice()).unwrap();
    let message = entries[0].signature.clone();
    for place in 0..message.len() {
        let mut changed = message.clone();
        changed[place] ^= 1;
        entries[0].signature = changed;
        let section = cbor(&entries).unwrap();
        let verified = check_signature(&section, &pcr0).unwrap().verified;
        // The unprotected header is not signed: there, another kind of emptiness may pass.
        assert!(!verified || place == 6, "byte {place}");
    }
}

#[test]
fn keys_and_certificates_that_do_not_fit_are_refused() {
    let (key, certificate) = key_and_certificate(&PKCS_ECDSA_P384_SHA384);
    let (other, _) = key_and_certificate(&PKCS_ECDSA_P384_SHA384);
    let (small, small_certificate) = key_and_certificate(&PKCS_ECDSA_P256_SHA256);
    let problem = |key: &str, certificate: &str| ImageSigner::new(key, certificate).unwrap_err();
    assert!(matches!(problem(&other, &certificate), SignError::OtherKey));
    assert!(matches!(problem(&small, &small_certificate), SignError::NotP384));
    assert!(matches!(problem("key", &certificate), SignError::KeyPem));
    assert!(matches!(problem(&certificate, &certificate), SignError::KeyPem));
    assert!(matches!(problem(&key, "certificate"), SignError::Certificate(_)));
}

#[test]
fn an_image_without_room_for_a_section_is_refused() {
    let mut image = image();
    for _ in 0..MAX_MORE {
        append_signature(&mut image, b"x").unwrap();
    }
    let err = append_signature(&mut image, b"x").unwrap_err();
    assert!(matches!(err, ReadError::Eif(EifError::TooManySections { found: 33 })), "{err:?}");
}

/// Beside the five sections of the image.
const MAX_MORE: usize = crate::MAX_SECTIONS - 5;
