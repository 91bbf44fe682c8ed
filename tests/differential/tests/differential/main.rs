//! Whether two verifiers that were written apart from each other, this project's and the one in
//! `verifier.py`, accept the same documents and read the same in them.
//!
//! The documents are the corpus, one of AWS's, fresh ones with random contents, and thousands of
//! mutations, most of them signed again so that they get past the signature to what lies behind.
//! `BAILEY_DIFFERENTIAL_SEED=n` makes other choices than those of every day; keys are always new.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected should fail where it does"
)]

mod certificates;
#[path = "../../../../crates/attestation/tests/documents/common.rs"]
#[allow(dead_code, reason = "shared with the tests of the verifier")]
mod common;
mod encoder;
mod fresh;
#[path = "../../../../crates/attestation/tests/documents/corpus/index.rs"]
#[allow(dead_code, reason = "shared with the tests of the verifier")]
mod index;
mod judgement;
mod random;
mod second;
#[path = "../../../../crates/attestation/tests/documents/shipped.rs"]
#[allow(dead_code, reason = "shared with the tests of the verifier")]
mod shipped;

use std::fs;
use std::path::Path;

use bailey_attestation::RootFingerprint;
use bailey_simulated_nsm::Value;

use crate::common::{NOW_MS, PROTECTED, elements, encoded, genuine, signed_elements};
use crate::index::{Entry, Terms};
use crate::judgement::{Case, Counts, assert_agreement};
use crate::random::Random;

#[test]
fn both_judge_the_corpus_alike() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/attestation/corpus");
    let index = fs::read_to_string(corpus.join("index.json")).unwrap();
    let entries: Vec<Entry> = serde_json::from_str(&index).unwrap();
    let cases = entries.into_iter().map(|Entry { file, what, terms, .. }| {
        let document = fs::read(corpus.join(&file)).unwrap();
        Case { what: format!("{file} ({what})"), document, terms }
    });
    assert_agreement(&cases.collect::<Vec<_>>()).assert_at_least(10, 100);
}

#[test]
fn both_judge_a_document_of_aws_alike() {
    let case = |what: &str, root: &str, at_ms| Case {
        what: what.to_owned(),
        document: shipped::document(),
        terms: Terms { root: root.to_owned(), at_ms, ..Terms::authentic() },
    };
    let aws = RootFingerprint::AWS_NITRO_G1.to_string();
    let counts = assert_agreement(&[
        case("at its own time", &aws, None),
        case("a year later", &aws, Some(NOW_MS)),
        case("under another root", &Terms::authentic().root, None),
    ]);
    assert_eq!(counts, Counts { accepted: 1, rejected: 2, optional: 0 });
}

#[test]
fn both_judge_fresh_documents_by_random_terms_alike() {
    let mut random = Random::new("fresh");
    let cases = (0..400).map(|_| fresh::case(&mut random));
    assert_agreement(&cases.collect::<Vec<_>>()).assert_at_least(50, 50);
}

#[test]
fn both_judge_unsigned_changes_alike() {
    let mut random = Random::new("unsigned");
    let document = genuine();
    let cases = (0..600).map(|_| Case::authentic("changed", random.edited(&document)));
    assert_agreement(&cases.collect::<Vec<_>>()).assert_at_least(0, 500);
}

#[test]
fn both_judge_unusual_encodings_alike() {
    let mut random = Random::new("encodings");
    let cases = (0..1_500).map(|_| encoder::case(&mut random));
    assert_agreement(&cases.collect::<Vec<_>>()).assert_at_least(200, 200);
}

#[test]
fn both_judge_signed_changes_of_the_payload_alike() {
    let mut random = Random::new("payloads");
    let Value::Bytes(payload) = elements(&genuine()).remove(2) else { panic!("no payload") };
    let cases = (0..800).map(|_| {
        let elements = signed_elements(&PROTECTED, &random.edited(&payload));
        Case::authentic("signed again", encoded(&Value::Array(elements)))
    });
    assert_agreement(&cases.collect::<Vec<_>>()).assert_at_least(20, 200);
}

#[test]
fn both_judge_changed_certificates_that_are_signed_again_alike() {
    let mut random = Random::new("certificates");
    let cases = (0..1_200).map(|_| certificates::case(&mut random));
    assert_agreement(&cases.collect::<Vec<_>>()).assert_at_least(50, 300);
}
