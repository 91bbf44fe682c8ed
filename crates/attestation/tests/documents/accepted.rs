//! Genuine documents in all the forms in which they occur.

use std::collections::BTreeMap;

use bailey_attestation::{
    AttestationDocument, BytesRule, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted,
    Policy, VerifyTime, pcr3_for_role, pcr4_for_instance,
};
use bailey_simulated_nsm::{
    Attestation, CertificatePlan, Chain, DocumentKey, Enclave, Mode, PayloadMap, SignatureForm,
    SimulatedNsm, Value,
};

use crate::common::{
    AUTHORITY, CHAIN, INSTANCE, MADE_MS, MODULE, NOW_MS, ROLE, accept, builder, document_with,
    elements, encoded, genuine, pcrs_with, policy, registers,
};

const HOUR_MS: u64 = 3_600_000;

/// Every rule that a coordinator states, met by the genuine document.
fn strictest() -> Policy {
    let pcr = |index, wanted| PcrRule { index, wanted };
    Policy {
        max_age_ms: Some(1_000),
        issued_at_ms: Some(MADE_MS),
        nonce: BytesRule::Exactly(b"the nonce".to_vec()),
        user_data: BytesRule::Exactly(b"the data".to_vec()),
        public_key: BytesRule::Exactly(b"the key".to_vec()),
        module_id: ModuleIdRule::Exactly(MODULE.to_owned()),
        instance: Some(InstanceBinding {
            instance_id: INSTANCE.to_owned(),
            role_arn: Some(ROLE.to_owned()),
        }),
        debug: DebugRule::Refuse,
        pcrs: vec![
            pcr(0, PcrWanted::Exactly([0xA0; 48])),
            pcr(1, PcrWanted::OneOf(vec![[1; 48], [0xA1; 48]])),
            pcr(2, PcrWanted::NonZero),
            pcr(5, PcrWanted::Zero),
        ],
        ..policy()
    }
}

#[test]
fn a_document_that_meets_every_rule_is_accepted_with_all_that_it_says() {
    let verified = accept(&genuine(), &strictest());
    assert_eq!(verified.module_id(), MODULE);
    assert_eq!(verified.timestamp_ms(), MADE_MS);
    assert_eq!(verified.pcrs(), &registers());
    assert_eq!(verified.nonce(), Some(b"the nonce".as_slice()));
    assert_eq!(verified.user_data(), Some(b"the data".as_slice()));
    assert_eq!(verified.public_key(), Some(b"the key".as_slice()));
    assert!(!verified.is_debug());
    let subjects: Vec<&str> =
        verified.certificates().iter().map(|certificate| certificate.subject.as_str()).collect();
    assert_eq!(subjects.len(), 5);
    assert!(subjects[0].contains("CN=bailey local test root"), "{subjects:?}");
    assert!(subjects[4].contains(MODULE), "{subjects:?}");
    assert_eq!(verified.certificates()[4].not_before_ms, MADE_MS);
    assert_eq!(verified.certificates()[4].not_after_ms, MADE_MS + 3 * HOUR_MS);
}

#[test]
fn parsing_alone_shows_the_same_without_a_policy() {
    let parsed = AttestationDocument::parse(&genuine()).unwrap();
    assert_eq!(parsed.module_id(), MODULE);
    assert_eq!(parsed.timestamp_ms(), MADE_MS);
    assert_eq!(parsed.pcrs(), &registers());
    assert_eq!(parsed.bundle(), CHAIN.bundle.as_slice());
    assert_eq!(parsed.certificate(), CHAIN.leaf.as_slice());
    assert!(!parsed.is_debug());
}

#[test]
fn a_tagged_document_is_the_same_document() {
    let tagged = document_with(|mut builder| {
        builder.tagged = true;
        builder
    });
    assert_eq!(tagged[0], 0xD2);
    assert_eq!(accept(&tagged, &strictest()), accept(&genuine(), &strictest()));
}

#[test]
fn a_payload_map_of_definite_length_is_the_same_document() {
    let definite = document_with(|mut builder| {
        builder.payload_map = PayloadMap::Definite;
        builder
    });
    assert_eq!(accept(&definite, &strictest()), accept(&genuine(), &strictest()));
}

#[test]
fn an_envelope_of_indefinite_length_and_chunks_is_the_same_document() {
    let document = genuine();
    let parts: Vec<Vec<u8>> = elements(&document).iter().map(encoded).collect();
    let mut envelope = vec![0x9F, 0x5F];
    envelope.extend([&parts[0][..], &[0xFF, 0xBF, 0xFF], &parts[2], &parts[3], &[0xFF]].concat());
    assert_eq!(accept(&envelope, &strictest()), accept(&document, &strictest()));
}

#[test]
fn signatures_with_high_and_with_low_s_are_both_genuine() {
    for form in [SignatureForm::HighS, SignatureForm::LowS] {
        let plans = CertificatePlan::below_root(INSTANCE, MODULE, MADE_MS);
        let Chain { bundle, leaf, key } = Chain::issue(&AUTHORITY, &plans).unwrap();
        let chain = Chain { bundle, leaf, key: DocumentKey::in_form(key, form) };
        accept(&builder(&chain).sign(&chain.key).unwrap(), &strictest());
    }
}

#[test]
fn optional_fields_may_be_null_or_left_out_or_empty() {
    let absent = Policy {
        nonce: BytesRule::Absent,
        user_data: BytesRule::Absent,
        public_key: BytesRule::Absent,
        ..policy()
    };
    let fields = ["nonce", "user_data", "public_key"];
    let null = document_with(|builder| {
        fields.iter().fold(builder, |builder, field| builder.with_bytes(field, None))
    });
    assert_eq!(accept(&null, &absent).nonce(), None);
    let left_out = document_with(|builder| {
        fields.iter().fold(builder, |builder, field| builder.without(field))
    });
    assert_eq!(accept(&left_out, &absent).nonce(), None);
    let empty = document_with(|builder| {
        fields.iter().fold(builder, |builder, field| builder.with_bytes(field, Some(b"")))
    });
    assert_eq!(accept(&empty, &absent).nonce(), Some(b"".as_slice()));
}

#[test]
fn fields_of_1024_bytes_are_as_long_as_the_module_signs_them() {
    let longest = [7; 1_024];
    let document = document_with(|builder| {
        builder
            .with_bytes("nonce", Some(&longest))
            .with_bytes("user_data", Some(&longest))
            .with_bytes("public_key", Some(&longest))
    });
    let rule = Policy { nonce: BytesRule::Exactly(longest.to_vec()), ..policy() };
    assert_eq!(accept(&document, &rule).user_data(), Some(longest.as_slice()));
}

#[test]
fn one_seventeen_and_thirty_two_registers_are_genuine() {
    for count in [1_u8, 17, 32] {
        let pcrs = Value::Map(
            (0..count).map(|index| (Value::from(index), Value::Bytes(vec![9; 48]))).collect(),
        );
        let document = document_with(|builder| builder.with("pcrs", pcrs));
        assert_eq!(accept(&document, &policy()).pcrs().len(), usize::from(count));
    }
}

#[test]
fn fields_in_another_order_are_the_same_document() {
    let reversed = document_with(|mut builder| {
        builder.fields.reverse();
        builder
    });
    assert_eq!(accept(&reversed, &strictest()), accept(&genuine(), &strictest()));
}

#[test]
fn a_clock_that_is_behind_within_the_skew_still_accepts() {
    let rule = Policy { time: VerifyTime::At(MADE_MS - 5_000), skew_ms: 5_000, ..strictest() };
    accept(&genuine(), &rule);
    let issued_later = Policy { issued_at_ms: Some(MADE_MS + 5_000), ..rule };
    accept(&genuine(), &issued_later);
}

#[test]
fn an_archived_document_is_good_at_its_own_time() {
    let archived = Policy { time: VerifyTime::DocumentsOwn, ..strictest() };
    accept(&genuine(), &archived);
}

#[test]
fn a_document_is_good_until_the_last_moment_of_its_leaf() {
    let last = Policy { time: VerifyTime::At(MADE_MS + 3 * HOUR_MS), ..policy() };
    accept(&genuine(), &last);
}

#[test]
fn a_debug_document_is_accepted_where_debug_is_allowed_and_is_still_bound_to_its_parent() {
    let zeros = pcrs_with(|entries| {
        for (_, value) in entries.iter_mut().take(3) {
            *value = Value::Bytes(vec![0; 48]);
        }
    });
    let document = document_with(|builder| builder.with("pcrs", zeros));
    let bound = Policy { debug: DebugRule::Allow, pcrs: Vec::new(), ..strictest() };
    assert!(accept(&document, &bound).is_debug());
}

#[test]
fn the_simulated_module_answers_with_documents_that_verify_as_time_goes_on() {
    let module = simulated(Mode::Production);
    let asked = Attestation {
        nonce: Some(b"the nonce".to_vec()),
        user_data: Some(b"the data".to_vec()),
        public_key: Some(b"the key".to_vec()),
    };
    // Leaves live 3 hours and instance certificates a day, so both are renewed on the way.
    let mut leaves = BTreeMap::new();
    for hour in 0..30 {
        let made_ms = MADE_MS + hour * HOUR_MS;
        let rule = Policy {
            time: VerifyTime::At(made_ms + 1_000),
            issued_at_ms: Some(made_ms),
            ..strictest()
        };
        let verified = accept(&module.attest(&asked, made_ms).unwrap(), &rule);
        *leaves.entry(verified.certificates()[4].sha256.clone()).or_insert(0) += 1;
    }
    assert!(leaves.len() >= 10, "a leaf was kept beyond its 3 hours");
    assert!(leaves.len() < 30, "a leaf was made for each document");
}

#[test]
fn the_simulated_module_of_a_debug_enclave_says_so_and_names_its_parent() {
    let module = simulated(Mode::Debug);
    let document = module.attest(&Attestation::default(), MADE_MS).unwrap();
    let verified = accept(&document, &Policy { time: VerifyTime::At(NOW_MS), ..policy() });
    assert!(verified.is_debug());
    assert_eq!(verified.pcrs().get(&3), Some(&pcr3_for_role(ROLE)));
    assert_eq!(verified.pcrs().get(&4), Some(&pcr4_for_instance(INSTANCE)));
    assert_eq!(verified.pcrs().get(&8), Some(&[0; 48]));
}

fn simulated(mode: Mode) -> SimulatedNsm {
    let parent = AUTHORITY.instance(INSTANCE, ROLE, MADE_MS).unwrap();
    let measurements =
        registers().into_iter().filter(|(index, _)| [0, 1, 2, 8].contains(index)).collect();
    SimulatedNsm::new(parent, Enclave { module_id: MODULE.to_owned(), measurements, mode })
}
