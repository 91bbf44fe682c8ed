//! Documents that were changed at random after they were signed.

use std::sync::LazyLock;

use bailey_attestation::{AttestationDocument, VerifiedDocument, verify};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{accept, genuine, policy};

static DOCUMENT: LazyLock<Vec<u8>> = LazyLock::new(genuine);
static VERIFIED: LazyLock<VerifiedDocument> = LazyLock::new(|| accept(&DOCUMENT, &policy()));

/// What is accepted of a changed document must say what the genuine one says.
fn assert_rejected_or_unchanged(document: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(verified) = verify(document, &policy()).result {
        prop_assert_eq!(&verified, &*VERIFIED);
    }
    Ok(())
}

#[test]
fn a_flipped_bit_in_the_envelope_is_rejected_or_changes_nothing() {
    let length = DOCUMENT.len();
    for at in (0..12).chain(length - 100..length) {
        for bit in 0..8 {
            let mut document = DOCUMENT.clone();
            document[at] ^= 1_u8 << bit;
            assert_rejected_or_unchanged(&document).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn a_flipped_bit_is_rejected_or_changes_nothing(
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let mut document = DOCUMENT.clone();
        let at = at.index(document.len());
        document[at] ^= 1_u8 << bit;
        assert_rejected_or_unchanged(&document)?;
    }

    #[test]
    fn a_replaced_stretch_is_rejected_or_changes_nothing(
        start in any::<prop::sample::Index>(),
        removed in 0_usize..40,
        inserted in vec(any::<u8>(), 0..40),
    ) {
        let start = start.index(DOCUMENT.len());
        let end = (start + removed).min(DOCUMENT.len());
        let document = [&DOCUMENT[..start], &inserted, &DOCUMENT[end..]].concat();
        assert_rejected_or_unchanged(&document)?;
    }

    #[test]
    fn random_bytes_are_rejected_without_a_panic(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(AttestationDocument::parse(&bytes).is_err());
        prop_assert!(verify(&bytes, &policy()).result.is_err());
    }

    #[test]
    fn random_payloads_are_rejected_without_a_panic(payload in vec(any::<u8>(), 1..600)) {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [0x84, 0x44, 0xA1, 0x01, 0x38, 0x22, 0xA0, 0x59];
        let signature = [&[0x58, 0x60][..], &[0; 96]].concat();
        let document = [&head[..], &length, &payload, &signature].concat();
        prop_assert!(AttestationDocument::parse(&document).is_err());
    }
}
