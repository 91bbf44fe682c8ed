//! What a verification costs, in CPU time and as a ratio to that of one raw P-384 signature.
//!
//! One thread judges one document that AWS's root signed. The subjects take turns in many short
//! rounds and each is given its best round, so that what else the machine does falls out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that meets the unexpected should stop where it does"
)]

#[path = "../tests/documents/shipped.rs"]
mod shipped;

use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use bailey_attestation::{
    BytesRule, ChainCache, DebugRule, ModuleIdRule, Policy, TrustedRoots, VerifyTime, verify,
    verify_cached,
};
use nitro_attest::UnparsedAttestationDoc;
use nix::time::{ClockId, clock_gettime};
use shipped::{MADE_MS, document};
use time::OffsetDateTime;

const ROUNDS: usize = 60;
const CALLS: u32 = 12;

/// A document has five signatures: its own, and those of the certificates below the root.
const SIGNATURES: f64 = 5.0;

/// Something that is measured, and its best time for one call, in microseconds.
struct Subject<'a> {
    name: &'a str,
    call: Box<dyn Fn() + 'a>,
    best_us: f64,
}

impl<'a> Subject<'a> {
    fn new(name: &'a str, call: impl Fn() + 'a) -> Self {
        Self { name, call: Box::new(call), best_us: f64::INFINITY }
    }

    fn measure(&mut self) {
        let start_us = cpu_time_us();
        for _ in 0..CALLS {
            (self.call)();
        }
        self.best_us = self.best_us.min((cpu_time_us() - start_us) / f64::from(CALLS));
    }
}

fn main() {
    let document = document();
    let policy = policy();
    let cache = ChainCache::new(16);
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let signature = key.sign(&SystemRandom::new(), b"a message").unwrap();
    let public_key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.public_key().as_ref());
    let made = OffsetDateTime::from_unix_timestamp((MADE_MS / 1_000).try_into().unwrap()).unwrap();
    let mut subjects = [
        Subject::new("one raw signature (aws-lc-rs)", || {
            black_box(public_key.verify(b"a message", signature.as_ref())).unwrap();
        }),
        Subject::new("cold verification", || {
            black_box(verify(&document, &policy)).result.unwrap();
        }),
        Subject::new("warm verification", || {
            black_box(verify_cached(&document, &policy, &cache)).result.unwrap();
        }),
        Subject::new("nitro_attest", || {
            let unparsed = UnparsedAttestationDoc::from(document.as_slice());
            black_box(unparsed.parse_and_verify(made)).unwrap();
        }),
    ];
    for _ in 0..ROUNDS {
        subjects.iter_mut().for_each(Subject::measure);
    }
    for Subject { name, best_us, .. } in &subjects {
        println!("{name:<32} {best_us:>8.1} us {:>8.0} per CPU second", 1e6 / best_us);
    }
    let [raw, cold, warm, peer] = subjects.map(|subject| subject.best_us);
    println!(
        "bench: raw_verify_us={raw:.1} cold_over_5_raw={:.3} warm_over_raw={:.3} \
         cold_speedup_over_nitro_attest={:.2}",
        cold / (SIGNATURES * raw),
        warm / raw,
        peer / cold,
    );
}

/// Every rule that says something about a document of which only the time is known.
fn policy() -> Policy {
    Policy {
        roots: TrustedRoots::aws(),
        time: VerifyTime::At(MADE_MS),
        skew_ms: 5_000,
        max_age_ms: Some(300_000),
        issued_at_ms: Some(MADE_MS),
        nonce: BytesRule::Absent,
        user_data: BytesRule::Any,
        public_key: BytesRule::Any,
        module_id: ModuleIdRule::Any,
        instance: None,
        debug: DebugRule::Allow,
        pcrs: Vec::new(),
    }
}

/// The CPU time of this thread so far, in microseconds.
fn cpu_time_us() -> f64 {
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    std::time::Duration::from(spent).as_secs_f64() * 1e6
}
