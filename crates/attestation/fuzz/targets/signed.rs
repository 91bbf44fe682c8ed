//! Judges documents that were bent before they were signed, so that what stands behind the
//! signatures is reached.
#![no_main]

use bailey_attestation::AttestationDocument;
use bailey_attestation_fuzz::{all, forge, judge, timed};

libfuzzer_sys::fuzz_target!(
    init: {
        // If this were refused, nothing behind the signatures would ever be reached.
        for choice in [0, 1] {
            let genuine = forge(&[choice]);
            let judged = judge(&genuine.bytes, &all(genuine.root)[usize::from(choice)]);
            judged.result.expect("a genuine document is accepted");
        }
    },
    |input: &[u8]| {
        timed(input, |input| {
            let forged = forge(input);
            let policies = all(forged.root);
            let policy = &policies[usize::from(forged.choice) % policies.len()];
            if judge(&forged.bytes, policy).result.is_ok() {
                assert!(!forged.is_certificate_forged, "a forged certificate was accepted");
                assert!(!forged.is_signature_forged(), "a forged signature was accepted");
                let accepted = AttestationDocument::parse(&forged.bytes).ok();
                assert_eq!(accepted, forged.signed, "other than what was signed was accepted");
            }
        });
    }
);
