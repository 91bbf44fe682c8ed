//! A document that AWS's root signed, from the test data of a package that ships one.

use bailey_attestation::{
    CertificatePosition, Policy, Rejection, RootFingerprint, TrustedRoots, VerifyTime,
    pcr4_for_instance,
};

use crate::common::{AUTHORITY, accept, policy, reject};
use crate::shipped::{MADE_MS, document};

#[test]
fn a_document_of_aws_is_accepted_at_its_own_time_under_the_root_of_aws() {
    let verified = accept(&document(), &at(VerifyTime::DocumentsOwn));
    assert_eq!(verified.module_id(), "i-0bee92034f3d60691-enc01943c5eaab3ad6a");
    assert_eq!(verified.timestamp_ms() / 1_000, MADE_MS / 1_000);
    assert_eq!(verified.pcrs().get(&4), Some(&pcr4_for_instance("i-0bee92034f3d60691")));
    assert_eq!(verified.certificates().len(), 5);
    assert_eq!(verified.certificates()[0].sha256, RootFingerprint::AWS_NITRO_G1.to_string());
}

#[test]
fn a_document_of_aws_is_refused_after_its_certificates_have_expired() {
    // 2026-01-01: of the chain, only the root is still valid.
    let rejection = reject(&document(), &at(VerifyTime::At(1_767_225_600_000)));
    assert!(
        matches!(
            rejection,
            Rejection::CertificateExpired { certificate: CertificatePosition::Bundle(1), .. }
        ),
        "{rejection}"
    );
}

#[test]
fn a_document_of_aws_is_refused_under_any_other_root() {
    let found = RootFingerprint::AWS_NITRO_G1.to_string();
    for root in [AUTHORITY.certificate_der(), b"no root".as_slice()] {
        let rule = Policy {
            roots: TrustedRoots::only(vec![RootFingerprint::of_der(root)]),
            ..at(VerifyTime::DocumentsOwn)
        };
        assert_eq!(reject(&document(), &rule), Rejection::RootNotTrusted { found: found.clone() });
    }
}

fn at(time: VerifyTime) -> Policy {
    Policy { roots: TrustedRoots::aws(), time, ..policy() }
}
