//! Reads what comes as a document.
#![no_main]

use bailey_attestation_fuzz::{parse, timed};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    timed(input, |bytes| {
        // Whatever is read can be shown; whether it is good is another target's question.
        if let Ok(document) = parse(bytes) {
            assert!(!document.module_id().is_empty());
            assert!(document.timestamp_ms() > 0);
            assert!((1..=32).contains(&document.pcrs().len()));
            assert!((1..=8).contains(&document.bundle().len()));
        }
    });
});
