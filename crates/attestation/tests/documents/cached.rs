//! A cache of chains changes how long a judgement takes, and nothing else.

use std::sync::LazyLock;
use std::thread;

use bailey_attestation::{
    ChainCache, Policy, Rejection, RootFingerprint, TrustedRoots, VerifyTime, verify, verify_cached,
};
use bailey_simulated_nsm::{Authority, Value};
use proptest::prelude::*;

use crate::common::{
    AUTHORITY, CHAIN, MADE_MS, NOW_MS, builder, chain_with, document_of, genuine, policy, reject,
};

const HOUR_MS: u64 = 3_600_000;

/// One cache for all cases of a property, so that most find something in it.
static CACHE: LazyLock<ChainCache> = LazyLock::new(|| ChainCache::new(2));

/// Three genuine documents with chains of their own, one with a forged leaf, and one whose own
/// signature is bad.
static DOCUMENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut unsigned = genuine();
    *unsigned.last_mut().unwrap() ^= 1;
    vec![
        genuine(),
        document_of(&chain_with(|_| {})),
        document_of(&chain_with(|plans| plans[3].not_after_ms = MADE_MS + HOUR_MS)),
        document_of(&chain_with(|plans| plans[3].forged = true)),
        unsigned,
    ]
});

fn assert_same_with_cache(document: &[u8], policy: &Policy, cache: &ChainCache) {
    let without = verify(document, policy);
    let with = verify_cached(document, policy, cache);
    assert_eq!(with.checks, without.checks);
    assert_eq!(with.result, without.result);
}

/// Any time, and often one at an end of a validity.
fn times() -> impl Strategy<Value = u64> {
    const EDGES: [u64; 4] = [MADE_MS, MADE_MS + HOUR_MS, MADE_MS + 3 * HOUR_MS, MADE_MS - HOUR_MS];
    prop_oneof![
        (prop::sample::select(&EDGES), 0_u64..6).prop_map(|(edge, offset)| edge + offset - 3),
        MADE_MS - 30 * HOUR_MS..MADE_MS + 30 * HOUR_MS,
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn checks_and_result_are_those_of_a_verification_without_the_cache(
        document in 0_usize..5,
        at_ms in prop::option::weighted(0.9, times()),
        skew_ms in prop_oneof![Just(0), 0_u64..5, Just(HOUR_MS), any::<u64>()],
        root_is_trusted in prop::bool::weighted(0.9),
    ) {
        let time = at_ms.map_or(VerifyTime::DocumentsOwn, VerifyTime::At);
        let mut policy = Policy { time, skew_ms, ..policy() };
        if !root_is_trusted {
            policy.roots = TrustedRoots::aws();
        }
        assert_same_with_cache(&DOCUMENTS[document], &policy, &CACHE);
    }
}

#[test]
fn a_good_chain_is_kept_even_when_the_document_is_refused_for_another_reason() {
    let cache = ChainCache::new(4);
    assert!(cache.is_empty());
    for expected in [Err(Rejection::CoseSignature), Err(Rejection::CoseSignature)] {
        let judged = verify_cached(&DOCUMENTS[4], &policy(), &cache);
        assert_eq!(judged.result.map(drop), expected);
        assert_eq!(cache.len(), 1);
    }
    assert_same_with_cache(&genuine(), &policy(), &cache);
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_chain_that_is_refused_is_not_kept() {
    let cache = ChainCache::new(4);
    assert_same_with_cache(&DOCUMENTS[3], &policy(), &cache);
    let late = Policy { time: VerifyTime::At(MADE_MS + 4 * HOUR_MS), ..policy() };
    assert_same_with_cache(&genuine(), &late, &cache);
    let elsewhere = Policy { roots: TrustedRoots::aws(), ..policy() };
    assert_same_with_cache(&genuine(), &elsewhere, &cache);
    assert!(cache.is_empty());
}

#[test]
fn a_chain_that_was_kept_is_refused_before_and_after_its_validity() {
    let cache = ChainCache::new(4);
    assert_same_with_cache(&genuine(), &policy(), &cache);
    for at_ms in [MADE_MS - 1, MADE_MS + 3 * HOUR_MS + 1] {
        let rule = Policy { time: VerifyTime::At(at_ms), ..policy() };
        assert!(verify_cached(&genuine(), &rule, &cache).result.is_err());
        assert_same_with_cache(&genuine(), &rule, &cache);
    }
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_chain_is_kept_for_the_roots_under_which_it_was_verified() {
    let cache = ChainCache::new(4);
    let ours = RootFingerprint::of_der(AUTHORITY.certificate_der());
    let both =
        |roots: Vec<RootFingerprint>| Policy { roots: TrustedRoots::only(roots), ..policy() };
    assert_same_with_cache(&genuine(), &both(vec![ours]), &cache);
    let stranger = RootFingerprint::of_der(Authority::generate().unwrap().certificate_der());
    let rule = both(vec![stranger]);
    assert_eq!(verify_cached(&genuine(), &rule, &cache).result, Err(reject(&genuine(), &rule)),);
    assert_eq!(cache.len(), 1);
    assert_same_with_cache(&genuine(), &both(vec![ours, stranger]), &cache);
    assert_same_with_cache(&genuine(), &both(vec![stranger, ours]), &cache);
    assert_eq!(cache.len(), 2);
}

#[test]
fn a_bundle_cut_in_another_place_is_another_chain() {
    let cache = ChainCache::new(4);
    assert_same_with_cache(&genuine(), &policy(), &cache);
    let mut bundle = CHAIN.bundle.clone();
    let leaf = [bundle.pop().unwrap(), CHAIN.leaf.clone()].concat();
    let document = builder(&CHAIN)
        .with("cabundle", Value::Array(bundle.into_iter().map(Value::Bytes).collect()))
        .with("certificate", Value::Bytes(leaf[..1_024].to_vec()))
        .sign(&CHAIN.key)
        .unwrap();
    assert!(verify_cached(&document, &policy(), &cache).result.is_err());
    assert_same_with_cache(&document, &policy(), &cache);
}

#[test]
fn no_more_chains_are_kept_than_the_cache_has_room_for() {
    let nothing = ChainCache::new(0);
    let two = ChainCache::new(2);
    for document in &DOCUMENTS[..3] {
        assert_same_with_cache(document, &policy(), &nothing);
        assert_same_with_cache(document, &policy(), &two);
    }
    assert_eq!(nothing.len(), 0);
    assert_eq!(two.len(), 2);
    assert_eq!(format!("{two:?}"), "ChainCache { capacity: 2, len: 2, .. }");
}

#[test]
fn threads_share_a_cache() {
    let cache = ChainCache::new(2);
    let at = |at_ms| Policy { time: VerifyTime::At(at_ms), ..policy() };
    thread::scope(|scope| {
        for offset in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for document in DOCUMENTS.iter() {
                    assert_same_with_cache(document, &at(NOW_MS + offset), cache);
                }
            });
        }
    });
    assert_eq!(cache.len(), 2);
}
