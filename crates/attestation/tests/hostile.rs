//! Inputs that are made to hurt: none makes the reader panic, nor take more memory than it promises.
//!
//! It is the short form, for every test run, of what `scripts/fuzz` does for longer. The memory in
//! use is counted for the whole program, so these tests are a program of their own and take turns.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should fail where it does"
)]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bailey_attestation::{
    AttestationDocument, BytesRule, ChainCache, DebugRule, ModuleIdRule, Policy, RootFingerprint,
    TrustedRoots, Verification, VerifyTime, verify, verify_cached,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;

/// How much more memory may be in use during a call than before it, in bytes.
const MEMORY_LIMIT: usize = 16 * MIB;

/// The longest document that is looked at, in bytes.
const DOCUMENT_BYTES: usize = 17_408;

/// How often each document of the corpus is changed in each way.
const ROUNDS: usize = 6;

/// What is accepted of a changed document is not looked at here: see `documents/mutated.rs`.
#[test]
fn flipped_bits_stay_within_the_limits() {
    let _turn = turn();
    each_document(|random, document| {
        let mut changed = document.to_vec();
        for _ in 0..=random.below(3) {
            if let Some(byte) = changed.get_mut(random.below(document.len())) {
                *byte ^= 1 << random.below(8);
            }
        }
        changed
    });
}

#[test]
fn truncated_documents_stay_within_the_limits() {
    let _turn = turn();
    each_document(|random, document| document[..random.below(document.len())].to_vec());
}

#[test]
fn spliced_documents_stay_within_the_limits() {
    let _turn = turn();
    let documents = corpus();
    each_document(|random, document| {
        let other = &documents[random.below(documents.len())];
        let (head, tail) = (random.below(document.len()), random.below(other.len()));
        [&document[..head], &other[tail..]].concat()
    });
}

#[test]
fn lengths_that_claim_too_much_stay_within_the_limits() {
    let _turn = turn();
    each_document(|random, document| {
        let heads = positions_of_heads(document);
        let Some(at) = heads.get(random.below(heads.len())) else { return document.to_vec() };
        let claim = CLAIMS[random.below(CLAIMS.len())];
        [&document[..*at], &with_major(claim, document[*at] & 0xE0), &document[at + 1..]].concat()
    });
}

#[test]
fn a_mebibyte_of_claims_stays_within_the_limits() {
    let _turn = turn();
    for envelope in envelopes() {
        for claim in CLAIMS {
            for major in 0..8 {
                let start = [envelope, &with_major(claim, major << 5)].concat();
                for fill in [0x00, 0x41, 0x5F, 0x81, 0x9F, 0xA1, 0xBF, 0xD2, 0xFF] {
                    endure(&filled(&start, fill, MIB));
                    endure(&filled(&start, fill, DOCUMENT_BYTES));
                }
            }
        }
    }
}

#[test]
fn deep_nesting_stays_within_the_limits() {
    let _turn = turn();
    // Arrays, maps and tags of one entry, and containers and strings without an end.
    let nests: [&[u8]; 8] = [
        &[0x81],
        &[0x9F],
        &[0xA1, 0x01],
        &[0xBF, 0x60],
        &[0xD2],
        &[0xD9, 0xD9, 0xF7],
        &[0x5F],
        &[0x7F],
    ];
    for envelope in envelopes() {
        for nest in nests {
            for length in [DOCUMENT_BYTES, MIB] {
                let count = (length - envelope.len()) / nest.len();
                endure(&[envelope, &nest.repeat(count)].concat());
            }
        }
    }
}

#[test]
fn strings_in_as_many_chunks_as_there_can_be_stay_within_the_limits() {
    let _turn = turn();
    let start = b"\x84\x44\xA1\x01\x38\x22\xA0\x5F";
    for chunk in [&b"\x40"[..], b"\x41\xA0", b"\x41\xBF", b"\x58\x01\x60"] {
        let count = (DOCUMENT_BYTES - start.len() - 99) / chunk.len();
        let end = [&b"\xFF\x58\x60"[..], &[0; 96]].concat();
        endure(&[&start[..], &chunk.repeat(count), &end].concat());
    }
}

#[test]
fn the_limit_is_one_that_can_be_missed() {
    let _turn = turn();
    // The harness's own threads may give a little back meanwhile.
    assert!(growth(|| vec![0_u8; MEMORY_LIMIT + MIB]) > MEMORY_LIMIT);
    let many = || (0..17).map(|_| vec![0_u8; MIB]).collect::<Vec<_>>();
    assert!(growth(many) > MEMORY_LIMIT);
    assert!(growth(|| vec![0_u8; MIB]) <= MEMORY_LIMIT);
}

/// The heads of items that claim lengths between one byte and all memory, as unsigned integers.
const CLAIMS: [&[u8]; 7] = [
    &[0x18, 0xFF],
    &[0x19, 0xFF, 0xFF],
    &[0x1A, 0x00, 0x10, 0x00, 0x00],
    &[0x1A, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0x1B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0x1B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    &[0x1F],
];

/// What may stand in front of a claim: nothing, and all up to the payload and up to places in it.
fn envelopes() -> [&'static [u8]; 5] {
    [
        b"",
        b"\x84",
        b"\x84\x44\xA1\x01\x38\x22\xA0",
        b"\x84\x44\xA1\x01\x38\x22\xA0\x59\x40\x00\xBF\x64pcrs",
        b"\x84\x44\xA1\x01\x38\x22\xA0\x59\x40\x00\xBF\x68cabundle",
    ]
}

fn with_major(claim: &[u8], major: u8) -> Vec<u8> {
    let mut claim = claim.to_vec();
    claim[0] |= major;
    claim
}

fn filled(start: &[u8], fill: u8, length: usize) -> Vec<u8> {
    let mut bytes = start.to_vec();
    bytes.resize(length, fill);
    bytes
}

/// Where strings, arrays and maps with a length begin, and what looks like them.
fn positions_of_heads(document: &[u8]) -> Vec<usize> {
    let is_head = |byte: &u8| matches!(byte >> 5, 2..=5) && matches!(byte & 0x1F, 1..=27);
    (0..document.len()).filter(|at| is_head(&document[*at])).collect()
}

/// Changes every document of the corpus again and again, always in the same way.
fn each_document(change: impl Fn(&mut Random, &[u8]) -> Vec<u8>) {
    let mut random = Random(0x00BA_11E7);
    for document in corpus() {
        for _ in 0..ROUNDS {
            endure(&change(&mut random, &document));
        }
    }
}

/// Reads and judges `bytes`, under a root that they bring along if they do, within the limits.
fn endure(bytes: &[u8]) {
    let mut root = RootFingerprint::AWS_NITRO_G1;
    assert_bounded(bytes, || {
        let document = AttestationDocument::parse(bytes);
        if let Ok(document) = &document {
            root = RootFingerprint::of_der(&document.bundle()[0]);
        }
        document
    });
    let policy = authentic(root);
    let cache = ChainCache::new(1);
    assert_bounded(bytes, || verify(bytes, &policy));
    assert_bounded(bytes, || -> Verification { verify_cached(bytes, &policy, &cache) });
}

fn assert_bounded<T>(bytes: &[u8], action: impl FnOnce() -> T) {
    let growth = growth(action);
    let start = &bytes[..bytes.len().min(40)];
    assert!(growth <= MEMORY_LIMIT, "{growth} bytes for {} like {start:02X?}", bytes.len());
}

/// By how much the memory in use grew at most while `action` was made and its value was there.
fn growth<T>(action: impl FnOnce() -> T) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    drop(action());
    ALLOCATOR.peak_usage().saturating_sub(before)
}

fn authentic(root: RootFingerprint) -> Policy {
    Policy {
        roots: TrustedRoots::only(vec![root]),
        time: VerifyTime::DocumentsOwn,
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

/// The documents of the corpus, in the order of their names.
fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cose"));
    paths.sort();
    assert!(paths.len() > 100);
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Another test's memory would be counted along.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that look random and are the same in every run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let limit = u64::try_from(limit).unwrap().max(1);
        usize::try_from(mixed % limit).unwrap()
    }
}
