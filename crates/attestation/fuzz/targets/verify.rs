//! Judges what comes as a document, by several policies.
#![no_main]

use bailey_attestation::{RootFingerprint, TrustedRoots};
use bailey_attestation_fuzz::{TEMPLATE, all, judge, own, parse, timed};

libfuzzer_sys::fuzz_target!(
    init: {
        std::sync::LazyLock::force(&TEMPLATE);
    },
    |input: &[u8]| {
        timed(input, |bytes| {
            // Two that ask little and much; what else may be asked is the target `signed`'s.
            let root = RootFingerprint::of_der(&TEMPLATE.document.bundle()[0]);
            for policy in all(root).iter().take(2) {
                let _ = judge(bytes, policy);
            }
            // Trusting what the document brings along leads further than a root that it must have.
            if let Ok(document) = parse(bytes) {
                let root = RootFingerprint::of_der(&document.bundle()[0]);
                let _ = judge(bytes, &own(TrustedRoots::only(vec![root])));
            }
        });
    }
);
