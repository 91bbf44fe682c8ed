//! A local authority, a genuine document under it, and a policy that accepts it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA384, digest};
use aws_nitro_enclaves_cose::crypto::SigningPrivateKey as _;
use bailey_attestation::{
    BytesRule, DebugRule, ModuleIdRule, Policy, Rejection, RootFingerprint, TrustedRoots,
    VerifiedDocument, VerifyTime, verify,
};
use bailey_simulated_nsm::{
    Authority, CertificatePlan, Chain, DocumentBuilder, DocumentKey, PcrValue, Value,
    extended_from_zero,
};

/// When the documents are made: 2025-10-09, in milliseconds since the Unix epoch.
pub(crate) const MADE_MS: u64 = 1_760_000_000_000;
/// When they are judged: a second later.
pub(crate) const NOW_MS: u64 = MADE_MS + 1_000;
pub(crate) const INSTANCE: &str = "i-0123456789abcdef0";
pub(crate) const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/parent";

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::generate().unwrap());

/// One genuine chain, shared because keys take time to make.
pub(crate) static CHAIN: LazyLock<Chain> = LazyLock::new(|| chain_with(|_| {}));

/// A chain under [`AUTHORITY`] that `edit` has bent: regional, zonal, instance, leaf.
pub(crate) fn chain_with(edit: impl FnOnce(&mut Vec<CertificatePlan>)) -> Chain {
    chain_under(&AUTHORITY, edit)
}

pub(crate) fn chain_under(
    authority: &Authority,
    edit: impl FnOnce(&mut Vec<CertificatePlan>),
) -> Chain {
    let mut plans = CertificatePlan::below_root(INSTANCE, MODULE, MADE_MS);
    edit(&mut plans);
    Chain::issue(authority, &plans).unwrap()
}

/// The 16 registers of a production enclave of one signed image on the parent.
pub(crate) fn registers() -> BTreeMap<u8, PcrValue> {
    let mut pcrs: BTreeMap<u8, PcrValue> = (0..16).map(|index| (index, [0; 48])).collect();
    pcrs.extend([(0, [0xA0; 48]), (1, [0xA1; 48]), (2, [0xA2; 48]), (8, [0xA8; 48])]);
    pcrs.insert(3, extended_from_zero(ROLE.as_bytes()));
    pcrs.insert(4, extended_from_zero(INSTANCE.as_bytes()));
    pcrs
}

/// What the simulated module would sign with `chain`, with a nonce, user data and a public key.
pub(crate) fn builder(chain: &Chain) -> DocumentBuilder {
    DocumentBuilder::new(MODULE, MADE_MS, &registers(), chain)
        .with_bytes("nonce", Some(b"the nonce"))
        .with_bytes("user_data", Some(b"the data"))
        .with_bytes("public_key", Some(b"the key"))
}

/// A genuine document that `edit` has bent before it was signed.
pub(crate) fn document_with(edit: impl FnOnce(DocumentBuilder) -> DocumentBuilder) -> Vec<u8> {
    edit(builder(&CHAIN)).sign(&CHAIN.key).unwrap()
}

pub(crate) fn genuine() -> Vec<u8> {
    document_with(|builder| builder)
}

/// A genuine statement signed with the leaf of `chain`.
pub(crate) fn document_of(chain: &Chain) -> Vec<u8> {
    builder(chain).sign(&chain.key).unwrap()
}

/// The protected header of every genuine document: {1: -35}.
pub(crate) const PROTECTED: [u8; 4] = [0xA1, 0x01, 0x38, 0x22];

/// The elements of a COSE_Sign1 over bytes that no builder would make, signed by the genuine leaf
/// (RFC 9052, sections 4.2 and 4.4).
pub(crate) fn signed_elements(protected: &[u8], payload: &[u8]) -> Vec<Value> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let statement = [Value::from("Signature1"), bytes(protected), bytes(&[]), bytes(payload)];
    let signature = raw_signature(&CHAIN.key, &encoded(&Value::Array(statement.to_vec())));
    vec![bytes(protected), Value::Map(Vec::new()), bytes(payload), bytes(&signature)]
}

/// An ECDSA signature as two numbers of 48 bytes.
pub(crate) fn raw_signature(key: &DocumentKey, message: &[u8]) -> Vec<u8> {
    key.sign(digest(&SHA384, message).as_ref()).unwrap()
}

/// The pcrs field with `edit` applied to its entries.
pub(crate) fn pcrs_with(edit: impl FnOnce(&mut Vec<(Value, Value)>)) -> Value {
    let mut entries = registers()
        .into_iter()
        .map(|(index, value)| (Value::from(index), Value::Bytes(value.to_vec())))
        .collect();
    edit(&mut entries);
    Value::Map(entries)
}

/// Accepts every authentic document under [`AUTHORITY`].
pub(crate) fn policy() -> Policy {
    policy_under(&AUTHORITY)
}

pub(crate) fn policy_under(authority: &Authority) -> Policy {
    let root = RootFingerprint::of_der(authority.certificate_der());
    Policy {
        roots: TrustedRoots::only(vec![root]),
        time: VerifyTime::At(NOW_MS),
        skew_ms: 0,
        max_age_ms: None,
        issued_at_ms: None,
        nonce: BytesRule::Any,
        user_data: BytesRule::Any,
        public_key: BytesRule::Any,
        module_id: ModuleIdRule::Any,
        instance: None,
        debug: DebugRule::Allow,
        pcrs: Vec::new(),
    }
}

#[track_caller]
pub(crate) fn accept(document: &[u8], policy: &Policy) -> VerifiedDocument {
    verify(document, policy).result.unwrap_or_else(|rejection| panic!("rejected: {rejection}"))
}

#[track_caller]
pub(crate) fn reject(document: &[u8], policy: &Policy) -> Rejection {
    verify(document, policy).result.expect_err("the document was accepted")
}

/// The elements of a COSE_Sign1, to be changed one by one.
pub(crate) fn elements(document: &[u8]) -> Vec<Value> {
    let Value::Array(elements) = ciborium_value(document) else { panic!("no array") };
    elements
}

pub(crate) fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn ciborium_value(document: &[u8]) -> Value {
    ciborium::from_reader(document).unwrap()
}

/// `haystack` with the first `from` replaced by `to`.
#[track_caller]
pub(crate) fn replaced(haystack: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = haystack
        .windows(from.len())
        .position(|window| window == from)
        .expect("what is to be replaced is there");
    [&haystack[..at], to, &haystack[at + from.len()..]].concat()
}
