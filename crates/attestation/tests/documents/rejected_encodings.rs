//! Documents whose encoding is not what the module emits.

use bailey_attestation::{AttestationDocument, Rejection};
use bailey_simulated_nsm::{DocumentBuilder, DocumentKey, Value};

use crate::common::{
    CHAIN, builder, document_with, elements, encoded, genuine, pcrs_with, policy, reject, replaced,
};

/// The genuine document with field `key` set to `value`, and what the verifier says of it.
fn with_field(key: &str, value: Value) -> Rejection {
    reject(&document_with(|builder| builder.with(key, value)), &policy())
}

fn with_header(edit: impl FnOnce(&mut DocumentBuilder)) -> Rejection {
    let document = document_with(|mut builder| {
        edit(&mut builder);
        builder
    });
    reject(&document, &policy())
}

/// The genuine envelope with its elements changed, which no signature covers.
fn with_elements(edit: impl FnOnce(&mut Vec<Value>)) -> Rejection {
    let mut elements = elements(&genuine());
    edit(&mut elements);
    reject(&encoded(&Value::Array(elements)), &policy())
}

fn bytes(length: usize) -> Value {
    Value::Bytes(vec![1; length])
}

#[test]
fn an_input_longer_than_any_document_is_not_read() {
    assert_eq!(
        reject(&vec![0x84; 17_409], &policy()),
        Rejection::DocumentTooLong { limit: 17_408, found: 17_409 }
    );
}

#[test]
fn every_proper_prefix_of_a_document_is_truncated() {
    let document = genuine();
    for length in 0..document.len() {
        let rejection = AttestationDocument::parse(&document[..length]).unwrap_err();
        assert!(matches!(rejection, Rejection::Truncated { .. }), "{length}: {rejection}");
    }
}

#[test]
fn bytes_after_the_document_or_its_payload_are_refused() {
    let longer = [genuine(), vec![0]].concat();
    assert_eq!(reject(&longer, &policy()), Rejection::TrailingBytes { count: 1 });
    let rejection = with_elements(|elements| {
        let Value::Bytes(payload) = &mut elements[2] else { panic!("no payload") };
        payload.extend([0xF6, 0xF6]);
    });
    assert_eq!(rejection, Rejection::TrailingBytes { count: 2 });
}

#[test]
fn a_reserved_head_is_malformed() {
    assert_eq!(reject(&[0x9C], &policy()), Rejection::Malformed { at: 0 });
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let document = replaced(&genuine(), b"i-0123", b"i-\xFF123");
    assert_eq!(reject(&document, &policy()), Rejection::NotUtf8 { field: "module_id" });
}

#[test]
fn each_field_must_have_its_own_type() {
    let text = || Value::from("text");
    let wrong = |field, wanted, found| Rejection::WrongType { field, wanted, found };
    let cases = [
        ("module_id", bytes(8), wrong("module_id", "a text string", "a byte string")),
        ("digest", bytes(6), wrong("digest", "a text string", "a byte string")),
        (
            "timestamp",
            Value::from(-1),
            wrong("timestamp", "an unsigned integer", "a negative integer"),
        ),
        (
            "timestamp",
            Value::from(1.5),
            wrong("timestamp", "an unsigned integer", "a floating-point number"),
        ),
        (
            "timestamp",
            Value::Tag(1, Box::new(Value::from(1))),
            wrong("timestamp", "an unsigned integer", "a tag"),
        ),
        ("pcrs", Value::Array(vec![]), wrong("pcrs", "a map", "an array")),
        ("certificate", text(), wrong("certificate", "a byte string", "a text string")),
        ("certificate", Value::Null, wrong("certificate", "a byte string", "null")),
        ("cabundle", bytes(4), wrong("cabundle", "an array", "a byte string")),
        (
            "cabundle",
            Value::Array(vec![text()]),
            wrong("cabundle entry", "a byte string", "a text string"),
        ),
        ("nonce", text(), wrong("nonce", "a byte string", "a text string")),
        ("user_data", text(), wrong("user_data", "a byte string", "a text string")),
        ("public_key", Value::Bool(true), wrong("public_key", "a byte string", "a boolean")),
    ];
    for (field, value, rejection) in cases {
        assert_eq!(with_field(field, value), rejection);
    }
}

#[test]
fn keys_must_have_their_own_type_too() {
    let text_index = pcrs_with(|entries| entries[0].0 = Value::from("0"));
    assert_eq!(
        with_field("pcrs", text_index),
        Rejection::WrongType {
            field: "pcrs index",
            wanted: "an unsigned integer",
            found: "a text string"
        }
    );
    let integer_key = with_header(|builder| builder.fields.push((Value::from(1), Value::Null)));
    assert_eq!(
        integer_key,
        Rejection::WrongType {
            field: "payload key",
            wanted: "a text string",
            found: "an unsigned integer"
        }
    );
}

#[test]
fn an_envelope_of_other_types_is_refused() {
    let wrong = |field, wanted, found| Rejection::WrongType { field, wanted, found };
    assert_eq!(reject(&[0xA0], &policy()), wrong("COSE_Sign1", "an array", "a map"));
    let cases = [
        (0, Value::Map(vec![]), wrong("protected header", "a byte string", "a map")),
        (1, bytes(1), wrong("unprotected header", "a map", "a byte string")),
        (2, Value::Null, wrong("payload", "a byte string", "null")),
        (3, Value::from("text"), wrong("signature", "a byte string", "a text string")),
    ];
    for (index, value, rejection) in cases {
        assert_eq!(with_elements(|elements| elements[index] = value), rejection);
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused_wherever_it_does() {
    let payload = with_header(|builder| {
        builder.fields.push((Value::from("nonce"), Value::Bytes(b"the other".to_vec())));
    });
    assert_eq!(payload, Rejection::DuplicateKey { map: "payload", key: "nonce".to_owned() });
    let pcrs = pcrs_with(|entries| entries.push((Value::from(0), Value::Bytes(vec![0; 48]))));
    assert_eq!(
        with_field("pcrs", pcrs),
        Rejection::DuplicateKey { map: "pcrs", key: "0".to_owned() }
    );
    // {1: -35, 1: -35}
    let header = Value::Bytes(vec![0xA2, 0x01, 0x38, 0x22, 0x01, 0x38, 0x22]);
    assert_eq!(
        with_elements(|elements| elements[0] = header),
        Rejection::DuplicateKey { map: "protected header", key: "1".to_owned() }
    );
}

#[test]
fn a_field_that_the_specification_does_not_list_is_refused() {
    assert_eq!(
        with_field("revoked", Value::Bool(false)),
        Rejection::UnknownKey { map: "payload", key: "revoked".to_owned() }
    );
}

#[test]
fn control_characters_out_of_a_document_are_shown_escaped() {
    let rejection = with_field("\u{1B}[2J\n", Value::Null);
    assert_eq!(rejection.to_string(), r#"`payload` has the unknown key "\u{1b}[2J\n""#);
}

#[test]
fn each_mandatory_field_must_be_there() {
    for field in ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"] {
        let document = document_with(|builder| builder.without(field));
        assert_eq!(reject(&document, &policy()), Rejection::MissingField { field });
    }
}

#[test]
fn each_field_has_its_limits() {
    let size = |field, min, max, found| Rejection::FieldSize { field, min, max, found };
    let certificates = |count| Value::Array(vec![bytes(8); count]);
    let cases = [
        ("module_id", Value::from(""), size("module_id", 1, 256, 0)),
        ("module_id", Value::from("i".repeat(257)), size("module_id", 1, 256, 257)),
        ("pcrs", Value::Map(vec![]), size("pcrs", 1, 32, 0)),
        ("certificate", bytes(0), size("certificate", 1, 1_024, 0)),
        ("certificate", bytes(1_025), size("certificate", 1, 1_024, 1_025)),
        ("cabundle", certificates(0), size("cabundle", 1, 8, 0)),
        ("cabundle", certificates(9), size("cabundle", 1, 8, 9)),
        ("cabundle", Value::Array(vec![bytes(1_025)]), size("cabundle entry", 1, 1_024, 1_025)),
        ("nonce", bytes(1_025), size("nonce", 0, 1_024, 1_025)),
        ("user_data", bytes(1_025), size("user_data", 0, 1_024, 1_025)),
        ("public_key", bytes(1_025), size("public_key", 0, 1_024, 1_025)),
    ];
    for (field, value, rejection) in cases {
        assert_eq!(with_field(field, value), rejection);
    }
    assert_eq!(with_elements(|elements| elements[2] = bytes(0)), size("payload", 1, 16_384, 0));
}

#[test]
fn another_tag_than_that_of_a_cose_sign1_is_refused() {
    // 17 is COSE_Mac0, 98 is COSE_Sign; 0xD2D2 is the right tag twice.
    assert_eq!(
        reject(&[vec![0xD1], genuine()].concat(), &policy()),
        Rejection::CoseTag { found: 17 }
    );
    assert_eq!(
        reject(&[vec![0xD8, 98], genuine()].concat(), &policy()),
        Rejection::CoseTag { found: 98 }
    );
    assert_eq!(
        reject(&[vec![0xD2, 0xD2], genuine()].concat(), &policy()),
        Rejection::WrongType { field: "COSE_Sign1", wanted: "an array", found: "a tag" }
    );
}

#[test]
fn an_envelope_has_four_elements_however_it_is_encoded() {
    let dropped = with_elements(|elements| drop(elements.pop()));
    assert_eq!(dropped, Rejection::CoseElements { found: 3 });
    let added = with_elements(|elements| elements.push(Value::Null));
    assert_eq!(added, Rejection::CoseElements { found: 5 });
    let indefinite = |elements: &[Value]| {
        let inner: Vec<u8> = elements.iter().flat_map(encoded).collect();
        reject(&[vec![0x9F], inner, vec![0xFF]].concat(), &policy())
    };
    let mut elements = elements(&genuine());
    assert_eq!(indefinite(&elements[..3]), Rejection::CoseElements { found: 3 });
    elements.push(Value::Null);
    assert_eq!(indefinite(&elements), Rejection::CoseElements { found: 5 });
}

#[test]
fn an_unprotected_header_is_refused_whatever_is_in_it() {
    let key_id = with_header(|builder| {
        builder.unprotected.push((Value::from(4), Value::Bytes(b"key".to_vec())));
    });
    assert_eq!(key_id, Rejection::UnprotectedHeader);
    let algorithm =
        with_header(|builder| builder.unprotected.push((Value::from(1), Value::from(-7))));
    assert_eq!(algorithm, Rejection::UnprotectedHeader);
}

#[test]
fn the_algorithm_is_taken_from_the_protected_header_alone_and_is_es384() {
    let missing = with_header(|builder| builder.protected.clear());
    assert_eq!(missing, Rejection::AlgorithmMissing);
    let empty_map = with_elements(|elements| elements[0] = Value::Bytes(vec![0xA0]));
    assert_eq!(empty_map, Rejection::AlgorithmMissing);
    // ES256, ES512, EdDSA, and none at all in the way of JOSE.
    for found in [-7, -36, -8, 0] {
        let header = vec![(Value::from(1), Value::from(found))];
        let rejection = with_header(|builder| builder.protected = header);
        assert_eq!(rejection, Rejection::Algorithm { found: i128::from(found) });
    }
}

#[test]
fn a_protected_header_with_anything_else_in_it_is_refused() {
    let critical = (Value::from(2), Value::Array(vec![Value::from(1)]));
    let rejection = with_header(|builder| builder.protected.push(critical));
    assert_eq!(rejection, Rejection::CriticalHeader);
    let key_id = (Value::from(4), Value::Bytes(b"key".to_vec()));
    let rejection = with_header(|builder| builder.protected.push(key_id));
    assert_eq!(rejection, Rejection::ProtectedHeader { label: 4 });
}

#[test]
fn a_signature_of_another_length_is_refused_before_it_is_checked() {
    for found in [0, 1, 64, 95, 97, 132] {
        let rejection = with_elements(|elements| elements[3] = bytes(found));
        assert_eq!(rejection, Rejection::SignatureLength { found });
    }
}

#[test]
fn a_signature_by_another_key_or_over_other_bytes_is_refused() {
    let stranger = DocumentKey::generate().unwrap();
    let document = builder(&CHAIN).sign(&stranger).unwrap();
    assert_eq!(reject(&document, &policy()), Rejection::CoseSignature);
    let zeros = with_elements(|elements| elements[3] = Value::Bytes(vec![0; 96]));
    assert_eq!(zeros, Rejection::CoseSignature);
    let edited = replaced(&genuine(), b"the nonce", b"my nonce!");
    assert_eq!(reject(&edited, &policy()), Rejection::CoseSignature);
}

#[test]
fn another_digest_is_refused() {
    for found in ["SHA256", "SHA512", "sha384", ""] {
        let rejection = with_field("digest", Value::from(found));
        assert_eq!(rejection, Rejection::Digest { found: found.to_owned() });
    }
}

#[test]
fn a_timestamp_of_zero_is_refused() {
    assert_eq!(with_field("timestamp", Value::from(0)), Rejection::TimestampZero);
}

#[test]
fn registers_beyond_31_and_of_another_length_are_refused() {
    for found in [32_u64, 256, u64::MAX] {
        let pcrs = pcrs_with(|entries| entries[0].0 = Value::from(found));
        assert_eq!(with_field("pcrs", pcrs), Rejection::PcrIndex { found });
    }
    for found in [0, 32, 47, 49, 64] {
        let pcrs = pcrs_with(|entries| entries[2].1 = bytes(found));
        assert_eq!(with_field("pcrs", pcrs), Rejection::PcrLength { index: 2, found });
    }
}
