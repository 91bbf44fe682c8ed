//! Documents whose chain of certificates is not one of Nitro's.

use bailey_attestation::{
    CertificatePosition::{self, Bundle, Leaf},
    Policy, Rejection, RootFingerprint, TrustedRoots, VerifyTime,
};
use bailey_simulated_nsm::{
    Authority, CertificatePlan, Chain, Constraints, Curve, CustomExtension, KeyUsage,
    KeyUsagePurpose, Value,
};

use crate::common::{
    AUTHORITY, CHAIN, MADE_MS, NOW_MS, builder, chain_under, chain_with, document_of, genuine,
    policy, policy_under, reject, replaced,
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Where the certificates of a chain below the root stand, in the order of their plans.
const POSITIONS: [CertificatePosition; 4] = [Bundle(1), Bundle(2), Bundle(3), Leaf];

/// What the verifier says of a chain that `edit` has bent below the root.
fn with_plans(edit: impl FnOnce(&mut Vec<CertificatePlan>)) -> Rejection {
    reject(&document_of(&chain_with(edit)), &policy())
}

fn with_plan(index: usize, edit: impl FnOnce(&mut CertificatePlan)) -> Rejection {
    with_plans(|plans| edit(&mut plans[index]))
}

/// What the verifier says of a chain under a root that `edit` has bent, and that it trusts.
fn with_root(edit: impl FnOnce(&mut CertificatePlan)) -> Rejection {
    let mut plan = CertificatePlan::root();
    edit(&mut plan);
    let authority = Authority::with_root(plan).unwrap();
    reject(&document_of(&chain_under(&authority, |_| {})), &policy_under(&authority))
}

/// What the verifier says of the genuine chain with these bytes in place of a certificate's.
fn with_der(position: CertificatePosition, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Rejection {
    let mut bundle = CHAIN.bundle.clone();
    let mut leaf = CHAIN.leaf.clone();
    let mut rule = policy();
    match position {
        Leaf => leaf = edit(&leaf),
        Bundle(index) => bundle[index] = edit(&bundle[index]),
    }
    // A root that was edited is trusted all the same, or its fingerprint would be the reason.
    rule.roots = TrustedRoots::only(vec![RootFingerprint::of_der(&bundle[0])]);
    let bundle = bundle.into_iter().map(Value::Bytes).collect();
    let document = builder(&CHAIN)
        .with("cabundle", Value::Array(bundle))
        .with("certificate", Value::Bytes(leaf))
        .sign(&CHAIN.key)
        .unwrap();
    reject(&document, &rule)
}

fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

#[test]
fn a_local_root_is_never_trusted_where_aws_is() {
    let found = RootFingerprint::of_der(AUTHORITY.certificate_der()).to_string();
    let rule = Policy { roots: TrustedRoots::aws(), ..policy() };
    assert_eq!(reject(&genuine(), &rule), Rejection::RootNotTrusted { found });
}

#[test]
fn a_root_out_of_the_document_itself_is_not_trusted() {
    let stranger = Authority::generate().unwrap();
    let found = RootFingerprint::of_der(stranger.certificate_der()).to_string();
    let document = document_of(&chain_under(&stranger, |_| {}));
    assert_eq!(reject(&document, &policy()), Rejection::RootNotTrusted { found });
}

#[test]
fn a_trusted_root_in_front_of_a_strangers_chain_does_not_help() {
    let stranger = Authority::generate().unwrap();
    let mut chain = chain_under(&stranger, |_| {});
    chain.bundle[0] = AUTHORITY.certificate_der().to_vec();
    assert_eq!(
        reject(&document_of(&chain), &policy()),
        Rejection::CertificateSignature { certificate: Bundle(1) }
    );
}

#[test]
fn a_bundle_in_another_order_is_refused() {
    let reordered = |order: &[usize]| {
        let Chain { bundle, leaf, key } = chain_with(|_| {});
        let bundle = order.iter().map(|index| bundle[*index].clone()).collect();
        reject(&document_of(&Chain { bundle, leaf, key }), &policy())
    };
    assert_eq!(reordered(&[3, 2, 1, 0]).code(), "root_not_trusted");
    assert_eq!(reordered(&[0, 2, 1, 3]).code(), "issuer");
    assert_eq!(reordered(&[0, 1, 2]).code(), "issuer");
    assert_eq!(reordered(&[0, 1, 2, 3, 3]).code(), "issuer");
    assert_eq!(reordered(&[0]).code(), "issuer");
}

#[test]
fn what_is_no_certificate_is_refused() {
    for position in POSITIONS {
        let rejection = with_der(position, |_| b"no certificate".to_vec());
        assert!(
            matches!(rejection, Rejection::CertificateMalformed { certificate, .. }
                if certificate == position),
            "{rejection}"
        );
    }
}

#[test]
fn bytes_after_a_certificate_are_refused() {
    for position in [Bundle(0), Bundle(2), Leaf] {
        let rejection = with_der(position, |der| [der, &[0]].concat());
        assert!(
            matches!(rejection, Rejection::CertificateMalformed { certificate, .. }
                if certificate == position),
            "{rejection}"
        );
    }
}

#[test]
fn a_certificate_in_an_encoding_that_is_not_canonical_is_refused() {
    // The start of validity as GeneralizedTime, which is for years from 2050 on: 2 bytes more.
    let rejection = with_der(Leaf, |der| {
        let at = der.windows(4).position(|window| window == [0x30, 0x1E, 0x17, 0x0D]).unwrap();
        let (before, rest) = (&der[..at], &der[at + 4..]);
        let mut longer = [before, &[0x30, 0x20, 0x18, 0x0F], b"20", rest].concat();
        for header in [0, 4] {
            assert_eq!(longer[header..header + 2], [0x30, 0x82]);
            let length = u16::from_be_bytes([longer[header + 2], longer[header + 3]]) + 2;
            longer[header + 2..header + 4].copy_from_slice(&length.to_be_bytes());
        }
        longer
    });
    assert_eq!(rejection, Rejection::CertificateNotCanonical { certificate: Leaf });
}

#[test]
fn a_certificate_of_another_version_is_refused() {
    let rejection = with_der(Leaf, |der| {
        replaced(der, &[0xA0, 0x03, 0x02, 0x01, 0x02], &[0xA0, 0x03, 0x02, 0x01, 0x01])
    });
    assert_eq!(rejection, Rejection::CertificateVersion { certificate: Leaf });
}

#[test]
fn a_certificate_signed_with_another_algorithm_is_refused() {
    let rejection = with_root(|plan| plan.curve = Curve::P256);
    let found = "1.2.840.10045.4.3.2".to_owned();
    assert_eq!(rejection, Rejection::CertificateAlgorithm { certificate: Bundle(0), found });
}

#[test]
fn a_key_of_another_curve_is_refused() {
    let found = "1.2.840.10045.2.1 on 1.2.840.10045.3.1.7".to_owned();
    let rejection = with_plan(0, |plan| plan.curve = Curve::P256);
    assert_eq!(
        rejection,
        Rejection::CertificateCurve { certificate: Bundle(1), found: found.clone() }
    );
    let rejection = with_plan(3, |plan| plan.curve = Curve::P256);
    assert_eq!(rejection, Rejection::CertificateCurve { certificate: Leaf, found });
}

#[test]
fn a_key_that_is_no_point_of_the_curve_is_refused() {
    // A bit string of 97 bytes that starts with 4, the mark of an uncompressed point.
    const POINT: [u8; 4] = [0x03, 0x62, 0x00, 0x04];
    for position in [Bundle(2), Leaf] {
        let compressed = with_der(position, |der| replaced(der, &POINT, &[0x03, 0x62, 0x00, 0x02]));
        assert_eq!(compressed, Rejection::CertificateKey { certificate: position });
        let off_curve = with_der(position, |der| {
            let at = der.windows(4).position(|window| window == POINT).unwrap() + 60;
            let mut der = der.to_vec();
            der[at] ^= 1;
            der
        });
        assert_eq!(off_curve, Rejection::CertificateKey { certificate: position });
    }
}

#[test]
fn an_extension_that_occurs_twice_is_refused() {
    let oid = "1.2.3.4".to_owned();
    let rejection = with_plan(1, |plan| {
        plan.extensions = vec![extension(&[1, 2, 3, 4], false, &[5, 0]); 2];
    });
    assert_eq!(rejection, Rejection::ExtensionDuplicate { certificate: Bundle(2), oid });
}

#[test]
fn a_critical_extension_that_is_not_understood_is_refused_and_others_are_passed_over() {
    for (index, position) in POSITIONS.into_iter().enumerate() {
        let rejection = with_plan(index, |plan| {
            plan.extensions = vec![
                extension(&[1, 2, 3, 4], false, &[5, 0]),
                extension(&[1, 2, 3, 5], true, &[5, 0]),
            ];
        });
        let oid = "1.2.3.5".to_owned();
        assert_eq!(rejection, Rejection::ExtensionUnknown { certificate: position, oid });
    }
}

#[test]
fn an_extension_that_cannot_be_read_is_refused() {
    let rejection = with_plan(3, |plan| {
        plan.key_usage = KeyUsage::Missing;
        plan.extensions = vec![extension(&[2, 5, 29, 15], true, &[5, 0])];
    });
    let oid = "2.5.29.15".to_owned();
    assert_eq!(rejection, Rejection::ExtensionMalformed { certificate: Leaf, oid });
}

#[test]
fn a_certificate_in_the_bundle_that_is_no_authority_is_refused() {
    for (index, position) in POSITIONS.into_iter().take(3).enumerate() {
        for constraints in [Constraints::Missing, Constraints::EndEntity] {
            let rejection = with_plan(index, |plan| plan.constraints = constraints);
            assert_eq!(rejection, Rejection::NotAnAuthority { certificate: position });
        }
    }
    let root = with_root(|plan| plan.constraints = Constraints::EndEntity);
    assert_eq!(root, Rejection::NotAnAuthority { certificate: Bundle(0) });
}

#[test]
fn basic_constraints_of_an_authority_must_be_critical() {
    let rejection = with_plan(1, |plan| {
        plan.constraints = Constraints::Missing;
        // SEQUENCE { BOOLEAN TRUE }
        plan.extensions = vec![extension(&[2, 5, 29, 19], false, &[0x30, 3, 1, 1, 0xFF])];
    });
    assert_eq!(rejection, Rejection::ConstraintsNotCritical { certificate: Bundle(2) });
}

#[test]
fn a_leaf_that_is_an_authority_is_refused() {
    let rejection =
        with_plan(3, |plan| plan.constraints = Constraints::Authority { path_len: None });
    assert_eq!(rejection, Rejection::LeafIsAuthority);
}

#[test]
fn a_path_longer_than_an_authority_allows_is_refused() {
    for (index, (position, limit)) in [(Bundle(1), 1), (Bundle(2), 0)].into_iter().enumerate() {
        let rejection = with_plan(index, |plan| {
            plan.constraints = Constraints::Authority { path_len: Some(limit) };
        });
        let found = usize::from(limit) + 1;
        assert_eq!(rejection, Rejection::PathTooLong { certificate: position, limit, found });
    }
    let root = with_root(|plan| {
        plan.constraints = Constraints::Authority { path_len: Some(2) };
    });
    assert_eq!(root, Rejection::PathTooLong { certificate: Bundle(0), limit: 2, found: 3 });
}

#[test]
fn an_authority_that_may_not_sign_certificates_is_refused() {
    let usages = [KeyUsage::Missing, KeyUsage::Critical(vec![KeyUsagePurpose::DigitalSignature])];
    for usage in usages {
        for (index, position) in POSITIONS.into_iter().take(3).enumerate() {
            let rejection = with_plan(index, |plan| plan.key_usage = usage.clone());
            assert_eq!(
                rejection,
                Rejection::KeyUsage { certificate: position, wanted: "keyCertSign" }
            );
        }
    }
}

#[test]
fn a_leaf_that_may_not_sign_documents_is_refused() {
    for usage in [KeyUsage::Missing, KeyUsage::Critical(vec![KeyUsagePurpose::KeyAgreement])] {
        let rejection = with_plan(3, |plan| plan.key_usage = usage);
        assert_eq!(
            rejection,
            Rejection::KeyUsage { certificate: Leaf, wanted: "digitalSignature" }
        );
    }
}

#[test]
fn a_certificate_that_names_another_issuer_is_refused() {
    for (index, position) in POSITIONS.into_iter().enumerate() {
        let stranger = CertificatePlan::root().subject;
        let rejection = with_plan(index, |plan| {
            // Below the root, the root's own name is another one; just below it, the leaf's is.
            plan.issuer = Some(if index == 0 { plan.subject.clone() } else { stranger });
        });
        assert!(
            matches!(rejection, Rejection::Issuer { certificate, .. } if certificate == position),
            "{rejection}"
        );
    }
}

#[test]
fn a_certificate_is_refused_before_and_after_its_validity() {
    for (index, position) in POSITIONS.into_iter().enumerate() {
        let early = with_plan(index, |plan| {
            plan.not_before_ms = NOW_MS + 1_000;
            plan.not_after_ms = NOW_MS + DAY_MS;
        });
        let not_before_ms = NOW_MS + 1_000;
        assert_eq!(
            early,
            Rejection::CertificateNotYetValid {
                certificate: position,
                not_before_ms,
                at_ms: NOW_MS
            }
        );
        let late = with_plan(index, |plan| {
            plan.not_before_ms = MADE_MS - DAY_MS;
            plan.not_after_ms = MADE_MS;
        });
        assert_eq!(
            late,
            Rejection::CertificateExpired {
                certificate: position,
                not_after_ms: MADE_MS,
                at_ms: NOW_MS
            }
        );
    }
    let root = with_root(|plan| plan.not_after_ms = MADE_MS);
    assert_eq!(root.code(), "certificate_expired");
}

#[test]
fn a_document_is_refused_when_its_leaf_has_expired() {
    let at_ms = MADE_MS + 4 * HOUR_MS;
    let rule = Policy { time: VerifyTime::At(at_ms), ..policy() };
    let not_after_ms = MADE_MS + 3 * HOUR_MS;
    assert_eq!(
        reject(&genuine(), &rule),
        Rejection::CertificateExpired { certificate: Leaf, not_after_ms, at_ms }
    );
}

#[test]
fn skew_never_prolongs_a_certificate() {
    let rule =
        Policy { time: VerifyTime::At(MADE_MS + 3 * HOUR_MS + 1), skew_ms: DAY_MS, ..policy() };
    assert_eq!(reject(&genuine(), &rule).code(), "certificate_expired");
}

#[test]
fn a_certificate_signed_by_a_stranger_is_refused() {
    for (index, position) in POSITIONS.into_iter().enumerate() {
        let rejection = with_plan(index, |plan| plan.forged = true);
        assert_eq!(rejection, Rejection::CertificateSignature { certificate: position });
    }
}

#[test]
fn a_root_is_trusted_with_all_of_its_bytes() {
    let mut bundle = CHAIN.bundle.clone();
    *bundle[0].last_mut().unwrap() ^= 1;
    let found = RootFingerprint::of_der(&bundle[0]).to_string();
    let bundle = Value::Array(bundle.into_iter().map(Value::Bytes).collect());
    let document = builder(&CHAIN).with("cabundle", bundle).sign(&CHAIN.key).unwrap();
    assert_eq!(reject(&document, &policy()), Rejection::RootNotTrusted { found });
}
