//! What a verification costs, in CPU time, as a ratio to that of raw P-384 signatures and to that of
//! other verifiers. Each ratio has a goal; one that is missed fails the run.
//!
//! One thread judges one document that AWS's root signed. The subjects take turns in many short
//! rounds and each is given its best round, so that what else the machine does falls out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that meets the unexpected should stop where it does"
)]

#[path = "../../tests/documents/shipped.rs"]
mod shipped;

use std::hint::black_box;
use std::process::ExitCode;

use attestation_doc_validation::validate_and_parse_attestation_doc;
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

/// A ratio that is promised.
struct Goal {
    what: &'static str,
    found: f64,
    wanted: String,
    is_met: bool,
}

impl Goal {
    fn at_most(what: &'static str, found: f64, limit: f64) -> Self {
        Self { what, found, wanted: format!("at most {limit}"), is_met: found <= limit }
    }

    fn at_least(what: &'static str, found: f64, limit: f64) -> Self {
        Self { what, found, wanted: format!("at least {limit}"), is_met: found >= limit }
    }
}

fn main() -> ExitCode {
    let document = document();
    let policy = policy();
    let cache = ChainCache::new(16);
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let signature = key.sign(&SystemRandom::new(), b"a message").unwrap();
    let public_key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.public_key().as_ref());
    let made_s = MADE_MS / 1_000;
    let made = OffsetDateTime::from_unix_timestamp(made_s.try_into().unwrap()).unwrap();
    let mut ours = [
        Subject::new("one raw signature (aws-lc-rs)", || {
            black_box(public_key.verify(b"a message", signature.as_ref())).unwrap();
        }),
        Subject::new("cold verification", || {
            black_box(verify(&document, &policy)).result.unwrap();
        }),
        Subject::new("warm verification", || {
            black_box(verify_cached(&document, &policy, &cache)).result.unwrap();
        }),
    ];
    // Each is called as its documentation says.
    let mut peers = [
        Subject::new("nitro_attest", || {
            let unparsed = UnparsedAttestationDoc::from(document.as_slice());
            black_box(unparsed.parse_and_verify(made)).unwrap();
        }),
        // It takes the time from the clock, which scripts/bench sets back for this process.
        Subject::new("attestation-doc-validation", || {
            black_box(validate_and_parse_attestation_doc(&document)).unwrap();
        }),
    ];
    for _ in 0..ROUNDS {
        ours.iter_mut().chain(&mut peers).for_each(Subject::measure);
    }
    for Subject { name, best_us, .. } in ours.iter().chain(&peers) {
        println!("{name:<32} {best_us:>8.1} us {:>8.0} per CPU second", 1e6 / best_us);
    }
    let fastest = peers.iter().min_by(|a, b| a.best_us.total_cmp(&b.best_us)).unwrap();
    judge(ours.each_ref().map(|subject| subject.best_us), fastest)
}

/// Prints the ratios and whether each is as promised.
fn judge([raw, cold, warm]: [f64; 3], fastest: &Subject) -> ExitCode {
    let goals = [
        Goal::at_most("cold_over_5_raw", cold / (SIGNATURES * raw), 1.15),
        Goal::at_most("warm_over_raw", warm / raw, 1.3),
        Goal::at_least("cold_speedup_over_fastest_peer", fastest.best_us / cold, 3.0),
    ];
    for Goal { what, found, wanted, is_met } in &goals {
        let verdict = if *is_met { "met" } else { "missed" };
        println!("{what:<32} {found:>8.3} {wanted}: {verdict}");
    }
    let [over_5_raw, over_raw, speedup] = goals.each_ref().map(|goal| goal.found);
    println!(
        "bench: raw_verify_us={raw:.1} cold_over_5_raw={over_5_raw:.3} warm_over_raw={over_raw:.3} \
         fastest_peer={} cold_speedup_over_fastest_peer={speedup:.2}",
        fastest.name,
    );
    if goals.iter().all(|goal| goal.is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
