//! Documents whose encoding is not what the module emits.

use bailey_simulated_nsm::{DocumentBuilder, DocumentKey, Value};

use super::Case;
use crate::common::{
    CHAIN, PROTECTED, builder, document_with, elements, encoded, genuine, pcrs_with, replaced,
    signed_elements,
};

pub(super) fn cases() -> Vec<Case> {
    [
        bytes_of_the_whole(),
        types(),
        keys(),
        missing_fields(),
        sizes(),
        envelopes(),
        headers(),
        signatures(),
        registers(),
    ]
    .concat()
}

fn with_field(key: &str, value: Value) -> Vec<u8> {
    document_with(|builder| builder.with(key, value))
}

fn with_header(edit: impl FnOnce(&mut DocumentBuilder)) -> Vec<u8> {
    document_with(|mut builder| {
        edit(&mut builder);
        builder
    })
}

fn with_elements(edit: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
    let mut elements = elements(&genuine());
    edit(&mut elements);
    encoded(&Value::Array(elements))
}

fn bytes(length: usize) -> Value {
    Value::Bytes(vec![1; length])
}

fn bytes_of_the_whole() -> Vec<Case> {
    let whole = genuine();
    let mut cases = vec![
        Case::refused("document_too_long", "17409 bytes", vec![0x84; 17_409]),
        Case::refused("truncated", "nothing at all", Vec::new()),
        Case::refused("malformed", "a reserved head", vec![0x9C]),
        Case::refused("malformed", "a reserved head inside", vec![0x84, 0x5D]),
        Case::refused("trailing_bytes", "a byte after it", [&whole[..], &[0]].concat()),
        Case::refused("trailing_bytes", "itself after it", [&whole[..], &whole].concat()),
        Case::refused(
            "trailing_bytes",
            "bytes after the payload's map",
            with_elements(|elements| {
                let Value::Bytes(payload) = &mut elements[2] else { panic!("no payload") };
                payload.extend([0xF6, 0xF6]);
            }),
        ),
        Case::refused(
            "not_utf8",
            "a module's name that is not UTF-8",
            replaced(&whole, b"i-0123", b"i-\xFF123"),
        ),
        Case::refused("not_utf8", "a character spread over two chunks", name_in_chunks()),
        Case::refused(
            "truncated",
            "a header longer than all memory",
            [&[0x84, 0x5B][..], &[0xFF; 8]].concat(),
        ),
        Case::refused("truncated", "more fields than there is memory for", huge_payload()),
        Case::refused("wrong_type", "ten thousand arrays in each other", nested_arrays()),
        Case::refused("timestamp_zero", "made at the epoch", with_field("timestamp", 0.into())),
    ];
    for cut in [1, 97, whole.len() / 2, whole.len() - 1] {
        let what = format!("without its last {cut} bytes");
        cases.push(Case::refused("truncated", what, whole[..whole.len() - cut].to_vec()));
    }
    for found in ["SHA256", "SHA512", "sha384", ""] {
        let what = format!("registers of the digest {found:?}");
        cases.push(Case::refused("digest", what, with_field("digest", found.into())));
    }
    cases
}

/// The module's name in two chunks, of which the first ends within a character.
fn name_in_chunks() -> Vec<u8> {
    let document = with_field("module_id", Value::from("\u{E9}"));
    let Value::Bytes(payload) = &elements(&document)[2] else { panic!("no payload") };
    // U+00E9 is the bytes C3 A9.
    let payload = replaced(payload, b"\x62\xC3\xA9", b"\x7F\x61\xC3\x61\xA9\xFF");
    encoded(&Value::Array(signed_elements(&PROTECTED, &payload)))
}

/// A payload that is a map of 2^64 - 1 entries, of which none is there.
fn huge_payload() -> Vec<u8> {
    with_elements(|elements| elements[2] = Value::Bytes([&[0xBB][..], &[0xFF; 8]].concat()))
}

fn nested_arrays() -> Vec<u8> {
    [&[0x84][..], &[0x81; 10_000]].concat()
}

fn types() -> Vec<Case> {
    let text = || Value::from("text");
    let fields = [
        ("module_id", "bytes", bytes(8)),
        ("digest", "bytes", bytes(6)),
        ("timestamp", "a negative number", Value::from(-1)),
        ("timestamp", "a fraction", Value::from(1.5)),
        ("timestamp", "tagged as a time", Value::Tag(1, Box::new(Value::from(1)))),
        ("timestamp", "a text", Value::from("1760000000000")),
        ("pcrs", "an array", Value::Array(vec![])),
        ("certificate", "a text", text()),
        ("certificate", "null", Value::Null),
        ("cabundle", "bytes", bytes(4)),
        ("cabundle", "an array of texts", Value::Array(vec![text()])),
        ("nonce", "a text", text()),
        ("user_data", "a text", text()),
        ("public_key", "a boolean", Value::Bool(true)),
    ];
    let elements = [
        (0, "a protected header as a map", Value::Map(vec![])),
        (1, "an unprotected header as bytes", bytes(1)),
        (2, "no payload", Value::Null),
        (3, "a signature as a text", text()),
    ];
    let fields = fields.map(|(field, what, value)| {
        Case::refused("wrong_type", format!("{field}: {what}"), with_field(field, value))
    });
    let elements = elements.map(|(index, what, value)| {
        let document = with_elements(|elements| elements[index] = value);
        Case::refused("wrong_type", what, document)
    });
    let whole = Case::refused("wrong_type", "a map instead of an envelope", vec![0xA0]);
    fields.into_iter().chain(elements).chain([whole]).collect()
}

fn keys() -> Vec<Case> {
    let text_index = pcrs_with(|entries| entries[0].0 = Value::from("0"));
    let zero_twice = pcrs_with(|entries| entries.push((Value::from(0), bytes(48))));
    let nonce_twice = with_header(|builder| {
        builder.fields.push((Value::from("nonce"), Value::Bytes(b"the other".to_vec())));
    });
    // {1: -35, 1: -35}
    let algorithm_twice = Value::Bytes(vec![0xA2, 0x01, 0x38, 0x22, 0x01, 0x38, 0x22]);
    let integer_key = with_header(|builder| builder.fields.push((Value::from(1), Value::Null)));
    vec![
        Case::refused("wrong_type", "a register's index as a text", with_field("pcrs", text_index)),
        Case::refused("wrong_type", "a number as the name of a field", integer_key),
        Case::refused("duplicate_key", "two nonces", nonce_twice),
        Case::refused("duplicate_key", "PCR0 twice", with_field("pcrs", zero_twice)),
        Case::refused(
            "duplicate_key",
            "two algorithms in the protected header",
            with_elements(|elements| elements[0] = algorithm_twice),
        ),
        Case::refused("unknown_key", "a field of its own", with_field("revoked", false.into())),
        Case::refused(
            "unknown_key",
            "a field named with control characters",
            with_field("\u{1B}[2J\n", Value::Null),
        ),
    ]
}

fn missing_fields() -> Vec<Case> {
    ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"]
        .map(|field| {
            let document = document_with(|builder| builder.without(field));
            Case::refused("missing_field", format!("without {field}"), document)
        })
        .into()
}

fn sizes() -> Vec<Case> {
    let certificates = |count| Value::Array(vec![bytes(8); count]);
    let fields = [
        ("module_id", "empty", Value::from("")),
        ("module_id", "257 bytes", Value::from("i".repeat(257))),
        ("pcrs", "none", Value::Map(vec![])),
        ("certificate", "empty", bytes(0)),
        ("certificate", "1025 bytes", bytes(1_025)),
        ("cabundle", "empty", certificates(0)),
        ("cabundle", "nine entries", certificates(9)),
        ("cabundle", "an entry of 1025 bytes", Value::Array(vec![bytes(1_025)])),
        ("nonce", "1025 bytes", bytes(1_025)),
        ("user_data", "1025 bytes", bytes(1_025)),
        ("public_key", "1025 bytes", bytes(1_025)),
    ];
    let payload = with_elements(|elements| elements[2] = bytes(0));
    fields
        .into_iter()
        .map(|(field, what, value)| {
            Case::refused("field_size", format!("{field}: {what}"), with_field(field, value))
        })
        .chain([Case::refused("field_size", "an empty payload", payload)])
        .collect()
}

fn envelopes() -> Vec<Case> {
    let tagged = |tag: &[u8]| [tag, &genuine()].concat();
    let three = with_elements(|elements| drop(elements.pop()));
    let five = with_elements(|elements| elements.push(Value::Null));
    let inner: Vec<u8> = elements(&genuine())[..3].iter().flat_map(encoded).collect();
    let open_ended = [&[0x9F][..], &inner, &[0xFF]].concat();
    vec![
        Case::refused("cose_tag", "the tag of a COSE_Mac0", tagged(&[0xD1])),
        Case::refused("cose_tag", "the tag of a COSE_Sign", tagged(&[0xD8, 98])),
        Case::refused("wrong_type", "the right tag twice", tagged(&[0xD2, 0xD2])),
        Case::refused("cose_elements", "three elements", three),
        Case::refused("cose_elements", "five elements", five),
        Case::refused("cose_elements", "three elements and an end mark", open_ended),
    ]
}

fn headers() -> Vec<Case> {
    let key_id = || (Value::from(4), Value::Bytes(b"key".to_vec()));
    let critical = (Value::from(2), Value::Array(vec![Value::from(1)]));
    let unprotected = |entry| with_header(|builder| builder.unprotected.push(entry));
    let protected = |entry| with_header(|builder| builder.protected.push(entry));
    let algorithm = |number: i32| (Value::from(1), Value::from(number));
    let mut cases = vec![
        Case::refused("unprotected_header", "an unsigned key id", unprotected(key_id())),
        Case::refused("unprotected_header", "an unsigned algorithm", unprotected(algorithm(-7))),
        Case::refused("critical_header", "headers to be understood", protected(critical)),
        Case::refused("protected_header", "a signed key id", protected(key_id())),
        Case::refused(
            "algorithm_missing",
            "an empty protected header",
            with_header(|builder| builder.protected.clear()),
        ),
        Case::refused(
            "algorithm_missing",
            "an algorithm in the unprotected header alone",
            with_elements(|elements| elements[0] = Value::Bytes(vec![0xA0])),
        ),
    ];
    for (name, number) in [("ES256", -7), ("ES512", -36), ("EdDSA", -8), ("none", 0)] {
        let document = with_header(|builder| builder.protected = vec![algorithm(number)]);
        cases.push(Case::refused("algorithm", format!("the algorithm {name}"), document));
    }
    cases
}

fn signatures() -> Vec<Case> {
    let stranger = DocumentKey::generate().unwrap();
    let zeros = with_elements(|elements| elements[3] = Value::Bytes(vec![0; 96]));
    let flipped = with_elements(|elements| {
        let Value::Bytes(signature) = &mut elements[3] else { panic!("no signature") };
        signature[95] ^= 1;
    });
    let other_bytes = replaced(&genuine(), b"the nonce", b"my nonce!");
    let other_time = replaced(
        &genuine(),
        &crate::common::MADE_MS.to_be_bytes(),
        &(crate::common::MADE_MS + 1).to_be_bytes(),
    );
    let mut cases = vec![
        Case::refused(
            "cose_signature",
            "signed by a stranger",
            builder(&CHAIN).sign(&stranger).unwrap(),
        ),
        Case::refused("cose_signature", "a signature of zeros", zeros),
        Case::refused("cose_signature", "a bit of the signature flipped", flipped),
        Case::refused("cose_signature", "another nonce than the signed one", other_bytes),
        Case::refused("cose_signature", "another time than the signed one", other_time),
    ];
    for found in [0, 1, 64, 95, 97, 132] {
        let document = with_elements(|elements| elements[3] = bytes(found));
        let what = format!("a signature of {found} bytes");
        cases.push(Case::refused("signature_length", what, document));
    }
    cases
}

fn registers() -> Vec<Case> {
    let mut cases = Vec::new();
    for found in [32_u64, 256, u64::MAX] {
        let pcrs = pcrs_with(|entries| entries[0].0 = Value::from(found));
        cases.push(Case::refused("pcr_index", format!("PCR{found}"), with_field("pcrs", pcrs)));
    }
    for found in [0, 32, 47, 49, 64] {
        let pcrs = pcrs_with(|entries| entries[2].1 = bytes(found));
        let what = format!("a register of {found} bytes");
        cases.push(Case::refused("pcr_length", what, with_field("pcrs", pcrs)));
    }
    cases
}
