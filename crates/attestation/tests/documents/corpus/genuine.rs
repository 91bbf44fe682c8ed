//! Documents that are good, in the forms in which the module makes them.

use bailey_simulated_nsm::{
    Chain, CustomExtension, DocumentKey, KeyUsage, KeyUsagePurpose, PayloadMap, SignatureForm,
    Value,
};

use super::Case;
use super::index::{Bytes, Pcr, Terms, Wanted};
use crate::common::{
    INSTANCE, MADE_MS, MODULE, ROLE, builder, chain_with, document_of, document_with, elements,
    encoded, genuine, pcrs_with,
};

const HOUR_MS: u64 = 3_600_000;

pub(super) fn cases() -> Vec<Case> {
    [forms(), contents(), times()].concat()
}

fn forms() -> Vec<Case> {
    let tagged = document_with(|mut builder| {
        builder.tagged = true;
        builder
    });
    let definite = document_with(|mut builder| {
        builder.payload_map = PayloadMap::Definite;
        builder
    });
    let reversed = document_with(|mut builder| {
        builder.fields.reverse();
        builder
    });
    let parts: Vec<Vec<u8>> = elements(&genuine()).iter().map(encoded).collect();
    let in_chunks =
        [&[0x9F, 0x5F][..], &parts[0], &[0xFF, 0xBF, 0xFF], &parts[2], &parts[3], &[0xFF]].concat();
    // An array of 4 in two bytes instead of one.
    let longer_head = [&[0x98, 4][..], &genuine()[1..]].concat();
    vec![
        Case::accepted("as today's module makes it", genuine()),
        Case::accepted("with the tag of a COSE_Sign1", tagged),
        Case::accepted("a payload map of definite length", definite),
        Case::accepted("fields in another order", reversed),
        Case::accepted("an envelope of indefinite length and chunks", in_chunks),
        Case::accepted("a length in more bytes than it needs", longer_head),
        Case::accepted("a signature with high s", signed_in(SignatureForm::HighS)),
        Case::accepted("a signature with low s", signed_in(SignatureForm::LowS)),
    ]
}

fn signed_in(form: SignatureForm) -> Vec<u8> {
    let Chain { bundle, leaf, key } = chain_with(|_| {});
    let chain = Chain { bundle, leaf, key: DocumentKey::in_form(key, form) };
    builder(&chain).sign(&chain.key).unwrap()
}

fn contents() -> Vec<Case> {
    let optional = ["nonce", "user_data", "public_key"];
    let with_all = |value: Option<&[u8]>| {
        document_with(|builder| {
            optional.iter().fold(builder, |builder, field| builder.with_bytes(field, value))
        })
    };
    let left_out = document_with(|builder| {
        optional.iter().fold(builder, |builder, field| builder.without(field))
    });
    let registers = |count: u8| {
        let entries = (0..count).map(|index| (index.into(), Value::Bytes(vec![9; 48])));
        document_with(|builder| builder.with("pcrs", Value::Map(entries.collect())))
    };
    let absent = Terms {
        nonce: Some(Bytes::Absent),
        user_data: Some(Bytes::Absent),
        public_key: Some(Bytes::Absent),
        ..Terms::authentic()
    };
    vec![
        Case::accepted("optional fields that are null", with_all(None)).under(absent.clone()),
        Case::accepted("optional fields that are left out", left_out).under(absent.clone()),
        Case::accepted("optional fields that are empty", with_all(Some(b""))).under(absent),
        Case::accepted("optional fields of 1024 bytes", with_all(Some(&[7; 1_024]))),
        Case::accepted("a leaf with more extensions than AWS's", extended_leaf()),
        Case::accepted("one register", registers(1)),
        Case::accepted("17 registers", registers(17)),
        Case::accepted("32 registers", registers(32)),
        Case::accepted("every rule that can be asked, met", genuine()).under(strictest()),
    ]
}

/// A leaf whose keyUsage is critical and that has an extension of its own, which is not.
fn extended_leaf() -> Vec<u8> {
    let chain = chain_with(|plans| {
        plans[3].key_usage = KeyUsage::Critical(vec![KeyUsagePurpose::DigitalSignature]);
        plans[3].extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
    });
    document_of(&chain)
}

fn strictest() -> Terms {
    let pcr = |index, wanted| Pcr { index, wanted };
    let exactly = |text: &str| Some(Bytes::Exactly(hex::encode(text)));
    Terms {
        max_age_ms: Some(1_000),
        issued_at_ms: Some(MADE_MS),
        nonce: exactly("the nonce"),
        user_data: exactly("the data"),
        public_key: exactly("the key"),
        module_id: Some(MODULE.to_owned()),
        instance_id: Some(INSTANCE.to_owned()),
        role_arn: Some(ROLE.to_owned()),
        refuse_debug: true,
        pcrs: vec![
            pcr(0, Wanted::Exactly("a0".repeat(48))),
            pcr(1, Wanted::OneOf(vec!["01".repeat(48), "a1".repeat(48)])),
            pcr(2, Wanted::NonZero),
            pcr(5, Wanted::Zero),
        ],
        ..Terms::authentic()
    }
}

fn times() -> Vec<Case> {
    let at = |at_ms, skew_ms| Terms { at_ms, skew_ms, ..Terms::authentic() };
    let debug = pcrs_with(|entries| {
        for (_, value) in entries.iter_mut().take(3) {
            *value = Value::Bytes(vec![0; 48]);
        }
    });
    vec![
        Case::accepted("at its own time", genuine()).under(at(None, 0)),
        Case::accepted("in the last moment of its leaf", genuine())
            .under(at(Some(MADE_MS + 3 * HOUR_MS), 0)),
        Case::accepted("by a clock that is behind within the skew", genuine())
            .under(at(Some(MADE_MS - 5_000), 5_000)),
        Case::accepted(
            "debug mode where it is allowed",
            document_with(|builder| builder.with("pcrs", debug)),
        ),
    ]
}
