//! Authentic documents that are not what is asked for.

use bailey_simulated_nsm::Value;

use super::Case;
use super::index::{Bytes, Pcr, Terms, Wanted};
use crate::common::{INSTANCE, MADE_MS, MODULE, NOW_MS, document_with, genuine, pcrs_with};

const HOUR_MS: u64 = 3_600_000;

pub(super) fn cases() -> Vec<Case> {
    [times(), fields(), identities(), registers()].concat()
}

/// The genuine document under `terms`.
fn asked(expected: &'static str, what: &str, terms: Terms) -> Case {
    Case::refused(expected, what, genuine()).under(terms)
}

fn times() -> Vec<Case> {
    let base = Terms::authentic;
    let future = NOW_MS + 5_001;
    let future = document_with(|builder| builder.with("timestamp", Value::from(future)));
    let ended = MADE_MS + 3 * HOUR_MS + 1;
    vec![
        Case::refused("timestamp_in_future", "made beyond the skew", future)
            .under(Terms { skew_ms: 5_000, ..base() }),
        asked("too_old", "older than asked", Terms { max_age_ms: Some(999), ..base() }),
        asked(
            "before_issue",
            "made before the question",
            Terms { issued_at_ms: Some(MADE_MS + 501), skew_ms: 500, ..base() },
        ),
        asked(
            "certificate_expired",
            "a skew does not prolong the leaf",
            Terms { at_ms: Some(ended), skew_ms: 24 * HOUR_MS, ..base() },
        ),
    ]
}

fn fields() -> Vec<Case> {
    let base = Terms::authentic;
    let other = || Some(Bytes::Exactly(hex::encode("other")));
    let absent = || Some(Bytes::Absent);
    let without = |field| document_with(|builder| builder.with_bytes(field, None));
    let nonce = || Terms { nonce: other(), ..base() };
    let user_data = || Terms { user_data: other(), ..base() };
    let public_key = || Terms { public_key: other(), ..base() };
    let empty = Terms { nonce: Some(Bytes::Exactly(String::new())), ..base() };
    let missing = |expected, field, terms| {
        Case::refused(expected, format!("without {field}"), without(field)).under(terms)
    };
    vec![
        missing("nonce_missing", "nonce", nonce()),
        missing("nonce_missing", "nonce", empty),
        missing("user_data_missing", "user_data", user_data()),
        missing("public_key_missing", "public_key", public_key()),
        asked("nonce_mismatch", "another nonce", nonce()),
        asked("user_data_mismatch", "other user data", user_data()),
        asked("public_key_mismatch", "another public key", public_key()),
        asked("nonce_unexpected", "a nonce", Terms { nonce: absent(), ..base() }),
        asked("user_data_unexpected", "user data", Terms { user_data: absent(), ..base() }),
        asked("public_key_unexpected", "a public key", Terms { public_key: absent(), ..base() }),
    ]
}

fn identities() -> Vec<Case> {
    let on = |instance_id: &str| Terms {
        instance_id: Some(instance_id.to_owned()),
        ..Terms::authentic()
    };
    let shorter = INSTANCE.strip_suffix('0').unwrap();
    let role_arn = Some("arn:aws:iam::123456789012:role/other".to_owned());
    let zero = pcrs_with(|entries| entries[4].1 = Value::Bytes(vec![0; 48]));
    let absent = pcrs_with(|entries| drop(entries.remove(4)));
    let with_pcrs = |what: &str, pcrs| {
        let document = document_with(|builder| builder.with("pcrs", pcrs));
        Case::refused("instance_pcr", what, document).under(on(INSTANCE))
    };
    let other_module = Terms { module_id: Some(format!("{MODULE}0")), ..Terms::authentic() };
    vec![
        asked("module_id", "another module", other_module),
        asked("instance", "on another instance", on("i-0fedcba9876543210")),
        asked("instance", "on an instance whose id goes on", on(shorter)),
        with_pcrs("PCR4 is zero", zero),
        with_pcrs("without PCR4", absent),
        asked("role_pcr", "another role", Terms { role_arn, ..on(INSTANCE) }),
    ]
}

fn registers() -> Vec<Case> {
    let production = || Terms { refuse_debug: true, ..Terms::authentic() };
    let zeros = pcrs_with(|entries| {
        for (_, value) in entries.iter_mut().take(3) {
            *value = Value::Bytes(vec![0; 48]);
        }
    });
    let left_out = pcrs_with(|entries| drop(entries.drain(..3)));
    let debug = |what: &str, pcrs| {
        let document = document_with(|builder| builder.with("pcrs", pcrs));
        Case::refused("debug", what, document).under(production())
    };
    let pcr = |expected, what: &str, index, wanted| {
        asked(expected, what, Terms { pcrs: vec![Pcr { index, wanted }], ..Terms::authentic() })
    };
    let ones = || "01".repeat(48);
    vec![
        debug("registers 0 to 2 are zero", zeros),
        debug("registers 0 to 2 are left out", left_out),
        pcr("pcr_missing", "no PCR16, which is to be zero", 16, Wanted::Zero),
        pcr("pcr_mismatch", "another PCR0", 0, Wanted::Exactly(ones())),
        pcr("pcr_mismatch", "none of the values of PCR0", 0, Wanted::OneOf(vec![ones()])),
        pcr("pcr_mismatch", "no value would do for PCR0", 0, Wanted::OneOf(Vec::new())),
        pcr("pcr_zero", "PCR5 is not measured", 5, Wanted::NonZero),
        pcr("pcr_not_zero", "PCR0 is measured", 0, Wanted::Zero),
    ]
}
