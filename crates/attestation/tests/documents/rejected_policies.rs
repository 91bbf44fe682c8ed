//! Authentic documents that are not what the policy asks for.

use bailey_attestation::{
    BytesRule, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted, Policy, Rejection,
    VerifyTime, pcr3_for_role, pcr4_for_instance,
};
use bailey_simulated_nsm::Value;

use crate::common::{
    INSTANCE, MADE_MS, MODULE, NOW_MS, ROLE, document_with, genuine, pcrs_with, policy, registers,
    reject,
};

fn with_pcr_rule(index: u8, wanted: PcrWanted) -> Rejection {
    reject(&genuine(), &Policy { pcrs: vec![PcrRule { index, wanted }], ..policy() })
}

fn bound_to(instance_id: &str, role_arn: Option<&str>) -> Policy {
    let binding = InstanceBinding {
        instance_id: instance_id.to_owned(),
        role_arn: role_arn.map(str::to_owned),
    };
    Policy { instance: Some(binding), ..policy() }
}

#[test]
fn a_document_from_the_future_is_refused() {
    let timestamp_ms = NOW_MS + 5_001;
    let document = document_with(|builder| builder.with("timestamp", Value::from(timestamp_ms)));
    let rule = Policy { skew_ms: 5_000, ..policy() };
    assert_eq!(
        reject(&document, &rule),
        Rejection::TimestampInFuture { timestamp_ms, at_ms: NOW_MS, skew_ms: 5_000 }
    );
}

#[test]
fn a_document_older_than_the_policy_allows_is_refused() {
    let rule = Policy { max_age_ms: Some(999), ..policy() };
    assert_eq!(reject(&genuine(), &rule), Rejection::TooOld { age_ms: 1_000, max_age_ms: 999 });
}

#[test]
fn a_document_made_before_the_question_was_asked_is_refused() {
    let issued_at_ms = MADE_MS + 501;
    let rule = Policy { issued_at_ms: Some(issued_at_ms), skew_ms: 500, ..policy() };
    let wanted = Rejection::BeforeIssue { timestamp_ms: MADE_MS, issued_at_ms, skew_ms: 500 };
    assert_eq!(reject(&genuine(), &rule), wanted);
    let archived = Policy { time: VerifyTime::DocumentsOwn, ..rule };
    assert_eq!(reject(&genuine(), &archived), wanted);
}

#[test]
fn another_nonce_than_the_one_sent_is_refused() {
    for expected in [b"the nonc".as_slice(), b"the noncf", b"the nonce ", b""] {
        let rule = Policy { nonce: BytesRule::Exactly(expected.to_vec()), ..policy() };
        assert_eq!(
            reject(&genuine(), &rule),
            Rejection::NonceMismatch {
                expected: hex::encode(expected),
                found: hex::encode("the nonce")
            }
        );
    }
}

#[test]
fn a_missing_nonce_is_never_an_empty_one() {
    let rule = Policy { nonce: BytesRule::Exactly(Vec::new()), ..policy() };
    let null = document_with(|builder| builder.with_bytes("nonce", None));
    assert_eq!(reject(&null, &rule), Rejection::NonceMissing);
    let left_out = document_with(|builder| builder.without("nonce"));
    assert_eq!(reject(&left_out, &rule), Rejection::NonceMissing);
}

#[test]
fn fields_where_none_are_expected_are_refused() {
    let nonce = Policy { nonce: BytesRule::Absent, ..policy() };
    let found = hex::encode("the nonce");
    assert_eq!(reject(&genuine(), &nonce), Rejection::NonceUnexpected { found });
    let user_data = Policy { user_data: BytesRule::Absent, ..policy() };
    let found = hex::encode("the data");
    assert_eq!(reject(&genuine(), &user_data), Rejection::UserDataUnexpected { found });
    let public_key = Policy { public_key: BytesRule::Absent, ..policy() };
    let found = hex::encode("the key");
    assert_eq!(reject(&genuine(), &public_key), Rejection::PublicKeyUnexpected { found });
}

#[test]
fn other_user_data_and_another_public_key_are_refused() {
    let other = || BytesRule::Exactly(b"other".to_vec());
    let expected = hex::encode("other");
    let user_data = Policy { user_data: other(), ..policy() };
    assert_eq!(
        reject(&genuine(), &user_data),
        Rejection::UserDataMismatch { expected: expected.clone(), found: hex::encode("the data") }
    );
    let public_key = Policy { public_key: other(), ..policy() };
    assert_eq!(
        reject(&genuine(), &public_key),
        Rejection::PublicKeyMismatch { expected, found: hex::encode("the key") }
    );
    let bare = document_with(|builder| {
        builder.with_bytes("user_data", None).with_bytes("public_key", None)
    });
    assert_eq!(reject(&bare, &user_data), Rejection::UserDataMissing);
    assert_eq!(reject(&bare, &public_key), Rejection::PublicKeyMissing);
}

#[test]
fn another_module_than_the_pinned_one_is_refused() {
    let expected = format!("{MODULE}0");
    let rule = Policy { module_id: ModuleIdRule::Exactly(expected.clone()), ..policy() };
    let found = MODULE.to_owned();
    assert_eq!(reject(&genuine(), &rule), Rejection::ModuleId { expected, found });
}

#[test]
fn a_module_on_another_instance_is_refused() {
    let prefix = INSTANCE.strip_suffix('0').unwrap();
    for expected in ["i-0fedcba9876543210", prefix, ""] {
        assert_eq!(
            reject(&genuine(), &bound_to(expected, None)),
            Rejection::Instance { expected: expected.to_owned(), found: MODULE.to_owned() }
        );
    }
}

#[test]
fn registers_of_another_parent_are_refused() {
    let expected = hex::encode(pcr4_for_instance(INSTANCE));
    let zero = pcrs_with(|entries| entries[4].1 = Value::Bytes(vec![0; 48]));
    let document = document_with(|builder| builder.with("pcrs", zero));
    let found = "0".repeat(96);
    assert_eq!(
        reject(&document, &bound_to(INSTANCE, None)),
        Rejection::InstancePcr { expected: expected.clone(), found }
    );
    let without = pcrs_with(|entries| drop(entries.remove(4)));
    let document = document_with(|builder| builder.with("pcrs", without));
    let found = "absent".to_owned();
    assert_eq!(
        reject(&document, &bound_to(INSTANCE, None)),
        Rejection::InstancePcr { expected, found }
    );
    let other_role = "arn:aws:iam::123456789012:role/other";
    assert_eq!(
        reject(&genuine(), &bound_to(INSTANCE, Some(other_role))),
        Rejection::RolePcr {
            expected: hex::encode(pcr3_for_role(other_role)),
            found: hex::encode(pcr3_for_role(ROLE))
        }
    );
}

#[test]
fn debug_mode_is_refused_where_the_policy_refuses_it() {
    let rule = Policy { debug: DebugRule::Refuse, ..policy() };
    let zeros = pcrs_with(|entries| {
        for (_, value) in entries.iter_mut().take(3) {
            *value = Value::Bytes(vec![0; 48]);
        }
    });
    let document = document_with(|builder| builder.with("pcrs", zeros));
    assert_eq!(reject(&document, &rule), Rejection::Debug);
    // Registers that are left out do not make an enclave look like production.
    let left_out = pcrs_with(|entries| drop(entries.drain(..3)));
    let document = document_with(|builder| builder.with("pcrs", left_out));
    assert_eq!(reject(&document, &rule), Rejection::Debug);
}

#[test]
fn a_register_with_another_value_is_refused() {
    let found = hex::encode([0xA0; 48]);
    let zero = "0".repeat(96);
    assert_eq!(
        with_pcr_rule(0, PcrWanted::Exactly([0; 48])),
        Rejection::PcrMismatch { index: 0, expected: zero, found: found.clone() }
    );
    let two = [[1; 48], [2; 48]];
    let expected = format!("{} or {}", hex::encode(two[0]), hex::encode(two[1]));
    assert_eq!(
        with_pcr_rule(0, PcrWanted::OneOf(two.to_vec())),
        Rejection::PcrMismatch { index: 0, expected, found: found.clone() }
    );
    let expected = "no value".to_owned();
    assert_eq!(
        with_pcr_rule(0, PcrWanted::OneOf(Vec::new())),
        Rejection::PcrMismatch { index: 0, expected, found: found.clone() }
    );
    assert_eq!(with_pcr_rule(0, PcrWanted::Zero), Rejection::PcrNotZero { index: 0, found });
    assert_eq!(with_pcr_rule(5, PcrWanted::NonZero), Rejection::PcrZero { index: 5 });
}

#[test]
fn a_register_that_is_not_in_the_document_meets_no_rule() {
    assert!(!registers().contains_key(&16));
    for wanted in [
        PcrWanted::Exactly([0; 48]),
        PcrWanted::NonZero,
        PcrWanted::OneOf(vec![[0; 48]]),
        PcrWanted::Zero,
    ] {
        assert_eq!(with_pcr_rule(16, wanted), Rejection::PcrMissing { index: 16 });
    }
}
